"""DOTA: images/NAME.png and labelTxt/NAME.txt, a line for each object: four corners, class, difficult.

The format: captain-whu.github.io/DOTA/dataset.html. A turned box is no mask: the box around it is read.
"""

from __future__ import annotations

import posixpath
from pathlib import Path

import numpy as np

from maskrcnn.errors import RecordError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.files_by_name import image_of_each, of_split, perhaps_of_split, split_below
from maskrcnn.labels.readers.folder_files import files_under, visible
from maskrcnn.labels.readers.text_lines import read_text
from maskrcnn.labels.shapes import box_around
from maskrcnn.labels.values import number
from maskrcnn.shell import counted

FOLDER = "labeltxt"  # labelTxt, labelTxt-v1.0, labelTxt-v1.5
HEAD = ("imagesource", "gsd")  # what the first lines say


def read_dota(source: Path, split: str | None = None) -> FileDataset:
    """Read a folder with labelTxt and images.

    Args:
        split: of labelTxt/train beside labelTxt/val and the like; None: all.

    Raises:
        DataError: a file or a line cannot be used, or there are several labelTxt.
    """
    source = Path(source)
    folders = _folders(source)
    if len(folders) != 1:
        if not folders:
            raise RecordError(source, "holds no folder labelTxt", "put the labels there")
        raise RecordError(source, f"holds {folders[0].name} and {folders[1].name}", "keep one of them")
    names = [name for name in files_under(source) if not name.startswith(f"{folders[0].name}/")]
    names, inside = perhaps_of_split(names, split), of_split(_inside(folders[0]), split)
    labels = [name for name in inside if name.lower().endswith(".txt")]
    builder = LabelBuilder(source, source)
    images, alone = image_of_each(labels, names, source, lambda name: posixpath.splitext(name)[0])
    lines: dict[str, list[tuple[int, list[str]]]] = {}
    for label in labels:
        refuse_leaving(source, source / label)
        lines[label] = [
            (position, words)
            for position, line in enumerate(read_text(source / label).splitlines(), start=1)
            if (words := line.split()) and not words[0].lower().startswith(HEAD)
        ]
        for position, words in lines[label]:
            if len(words) not in (9, 10):
                raise RecordError(
                    source / label,
                    f"has {counted(len(words), 'word')}",
                    "write x1 y1 x2 y2 x3 y3 x4 y4 class difficult",
                    f"line {position}",
                )
    ids = builder.add_classes(sorted({words[8] for found in lines.values() for _, words in found}))
    for label, found in lines.items():
        image = builder.add_image(images[label])
        for position, words in found:
            record = f"line {position} of {label!r}"
            corners = np.array([number(word) for word in words[:8]]).reshape(4, 2)
            if len(np.unique(corners[:, 0])) > 2 or len(np.unique(corners[:, 1])) > 2:
                builder.problems.note(ProblemKind.TURNED_BOX, record)
            if words[9:] not in ([], ["0"]):
                builder.problems.note(ProblemKind.ATTRIBUTE, record)
            builder.add_object(image, ids[words[8]], record, box=box_around(corners))
    for name in of_split(alone, split):
        builder.problems.note(ProblemKind.IMAGE_WITHOUT_FILE, f"{name!r}")
    return builder.build()


def looks_like_dota(source: Path) -> bool:
    """Whether `source` holds a folder labelTxt."""
    return bool(_folders(Path(source)))


def has_dota_split(source: Path, split: str) -> bool:
    """Whether labelTxt has a folder of that split."""
    return any(split_below(name) == split for folder in _folders(source)[:1] for name in _inside(folder))


def _inside(folder: Path) -> list[str]:
    """The label files, relative to the folder above."""
    return [posixpath.join(folder.name, name) for name in files_under(folder)]


def _folders(source: Path) -> list[Path]:
    try:
        found = [path for path in visible(source) if path.name.lower().startswith(FOLDER) and path.is_dir()]
    except OSError:
        return []
    return sorted(found)

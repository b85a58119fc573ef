"""Which images a split of a YOLO data set has, and where they lie.

What describes a data set often names the place where it was made: data.yaml has `path`, Roboflow writes
../train/images for train/images, CVAT data/images/train/x.png for images/train/x.png, Darknet the paths of
the machine where it ran. So what is not there is looked for under the data set's own folder.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from maskrcnn.errors import RecordError, UserError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.image_files import refuse_leaving, relative_name
from maskrcnn.labels.readers.folder_files import files_under
from maskrcnn.labels.readers.text_lines import read_text
from maskrcnn.labels.readers.yolo_description import Description, in_any_case, label_names
from maskrcnn.labels.split_names import subsets_of

LONGEST_PATH = 50  # folders that a name is shortened by


def images_of(description: Description, split: str | None) -> list[str]:
    """The images of a split, each once, as names relative to the data set's folder.

    Args:
        split: "train", "val" or "test"; None: the first of them that there is, all where there is none.

    Raises:
        UserError: there is no such split.
        DataError: an entry leads nowhere, or there is no image.
    """
    subsets = description.subsets
    wanted = subsets_of(split, subsets)
    if not wanted:
        raise UserError(
            f"{description.path}: has no {split or 'train'!r} split "
            f"({', '.join(filter(None, subsets)) or 'none at all'}); add the line {split or 'train'}: FOLDER"
        )
    images: dict[str, None] = {}
    for key in wanted:
        for entry in subsets[key]:
            if not isinstance(entry, str) or not entry.strip():
                raise RecordError(
                    description.path, f"{key} must name a folder of images or a .txt list", "correct it"
                )
            images |= dict.fromkeys(_images(description, key, entry.strip()))
    if not images:
        places = [place for key in wanted for place in subsets[key]]
        raise RecordError(
            description.path,
            f"empty data set, {wanted[0] or 'the folder'} has no image",
            f"put images into {places[0] if len(places) == 1 else places!r:.100}",
        )
    return list(images)


def _images(description: Description, key: str, entry: str) -> Iterator[str]:
    name = _locate(description, key, entry)
    path = description.folder / name
    if os.path.isdir(path):
        for file in files_under(path):
            if is_image(file):
                yield posixpath.normpath(posixpath.join(name, file))
    elif path.suffix.lower() == ".txt":
        refuse_leaving(description.folder, path)
        yield from _listed(description, name)
    elif is_image(name):
        yield name
    else:
        raise RecordError(description.path, f"{key} {entry!r} is no folder, .txt list or image", "correct it")


def is_image(name: str) -> bool:
    """Whether a file's name ends as an image's."""
    return name.lower().endswith(SUFFIXES)


def _locate(description: Description, key: str, entry: str) -> str:
    """Where an entry is, relative to the data set's folder."""
    folder = description.folder
    base = description.document.get("path")
    tries = [posixpath.join(base, entry)] if isinstance(base, str) and base else []
    bare = entry.replace("\\", "/")
    tries += [entry, bare]
    while bare.startswith("../"):
        bare = bare[3:]
    tries.append(bare)
    if bare.lower().endswith((".txt", *SUFFIXES)):
        tries += _shortened(entry)
    else:
        tries += [*_below(entry, folder), in_any_case(folder, bare)]
    for attempt in tries:
        name = _inside(attempt, folder)
        if name is not None and os.path.exists(folder / name):
            return name
    if not key:
        raise RecordError(description.path, f"no folder {entry!r} beside the labels", "put the images there")
    raise RecordError(
        description.path,
        f"{key} is {entry!r}, which is not there in {str(folder)!r}",
        (
            f"put {description.path.name} into the folder that holds the images and write train and "
            "val relative to it"
        ),
    )


def _inside(entry: str, folder: Path) -> str | None:
    """`entry` relative to `folder`, or None when it leads elsewhere."""
    if posixpath.isabs(entry):
        try:
            entry = PurePosixPath(posixpath.normpath(entry)).relative_to(folder.absolute()).as_posix()
        except ValueError:
            return None
    return "." if posixpath.normpath(entry) == "." else relative_name(entry)


def _parts(entry: str) -> list[str]:
    drive = PureWindowsPath(entry).drive
    rest = entry.removeprefix(drive).replace("\\", "/")
    return [part for part in rest.split("/") if part not in ("", ".", "..")]


def _shortened(entry: str) -> Iterator[str]:
    """The name of a file without its first folder, without the first two, and so on."""
    parts = _parts(entry)
    return ("/".join(parts[begin:]) for begin in range(max(0, len(parts) - LONGEST_PATH), len(parts)))


def _below(entry: str, folder: Path) -> Iterator[str]:
    """What a path of a folder says below a folder of the data set's name, or its last two folders: one alone,
    as "images", may be any data set's.
    """
    parts = _parts(entry)
    for begin in range(max(1, len(parts) - LONGEST_PATH), len(parts)):
        if len(parts) - begin >= 2 or parts[begin - 1] == folder.absolute().name:
            yield "/".join(parts[begin:])


def _listed(description: Description, name: str) -> list[str]:
    """The images that a .txt list names; its lines are relative to the data set's folder or to the list, or
    have folders before that.
    """
    folder = description.folder
    entries: dict[str, str] = {}  # by the image
    for number, line in enumerate(read_text(folder / name).splitlines(), start=1):
        entry = line.strip()
        if not entry:
            continue
        tries = dict.fromkeys((posixpath.join(posixpath.dirname(name), entry), entry))
        names = [inside for attempt in tries if (inside := _inside(attempt, folder)) is not None]
        image = next((one for one in names if os.path.isfile(folder / one)), None)
        image = image or _present([*names, *_shortened(entry)], folder) or next(iter(names), None)
        if image is None:
            raise RecordError(
                description.path,
                f"names an image outside the folder of {description.path.name}, {entry!r:.200}",
                "write it relative to that folder",
                f"line {number} of {name!r}",
            )
        if image in entries and _parts(entries[image]) != _parts(entry):
            what = (
                f"{entry!r:.200} in line {number} of {name!r} would be {image!r}, as "
                f"{entries[image]!r:.200} is"
            )
            raise RecordError(description.path, what, "restore the folders of the images")
        entries.setdefault(image, entry)
    return list(entries)


def _present(names: list[str], folder: Path) -> str | None:
    """The first of these images that is there, else the first whose labels are."""
    for name in names:
        if os.path.isfile(folder / name):
            return name
    texts = ((name, text) for name in names for text in label_names(name))
    return next((name for name, text in texts if os.path.isfile(folder / text)), None)

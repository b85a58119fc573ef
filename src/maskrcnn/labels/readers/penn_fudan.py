"""Penn-Fudan: PNGImages, an image of instance ids for each in PedMasks, and a text of boxes in Annotation.

The format: www.cis.upenn.edu/~jshi/ped_html. The masks are what is read; each is a person. The text only says
which persons there are, in the order of their ids, with boxes in pixels counted from 1, the last one inside.
"""

from __future__ import annotations

import re
from pathlib import Path

from maskrcnn.errors import RecordError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.folder_files import has_folders, need_folders, visible
from maskrcnn.labels.readers.label_image import read_ids, rles_by_id
from maskrcnn.labels.readers.text_lines import read_lines
from maskrcnn.labels.types import LabelledImage
from maskrcnn.masks.rle import Rle, rle_box

FOLDERS = ("PNGImages", "PedMasks")
MASK = "_mask.png"
BOX = re.compile(
    r"Bounding box for object (\d{1,9}) .*: *\((\d{1,9}), *(\d{1,9})\) *- *\((\d{1,9}), *(\d{1,9})\)$",
    re.ASCII,
)
Box = tuple[int, int, int, int]


def read_penn_fudan(source: Path) -> FileDataset:
    """Read PNGImages, PedMasks and, where it is there, Annotation. Images are numbered from 1 in their names'
    order.

    Args:
        source: the folder that holds them.

    Raises:
        UserError: no such folder.
        DataError: the labels cannot be used.
    """
    source = Path(source)
    images, masks = need_folders(source, *FOLDERS)
    stems = {path.name.removesuffix(MASK) for path in visible(masks, f"*{MASK}")}
    if not stems:
        raise RecordError(masks, f"no *{MASK}", "put the masks of the images there")
    builder = LabelBuilder(source, images)
    builder.add_classes(["person"])
    for path in visible(images, "*.png"):
        if path.stem not in stems:
            builder.problems.note(ProblemKind.IMAGE_WITHOUT_MASK_IMAGE, repr(path.name))
    for stem in sorted(stems):
        path = masks / f"{stem}{MASK}"
        refuse_leaving(masks, path)
        ids = read_ids(path, images / f"{stem}.png")
        image = builder.add_image(f"{stem}.png", size=ids.shape)
        _add_people(builder, image, rles_by_id(ids), _boxes(source / "Annotation", stem), path.name)
    return builder.build()


def looks_like_penn_fudan(source: Path) -> bool:
    """Whether `source` holds PNGImages and PedMasks."""
    return has_folders(source, *FOLDERS)


def _boxes(folder: Path, stem: str) -> dict[int, Box] | None:
    """Corners as the text has them, by the id of the person; None where the image has no text."""
    path = folder / f"{stem}.txt"
    if not path.is_file():
        return None
    found: dict[int, Box] = {}
    refuse_leaving(folder, path)
    for line in read_lines(path, "replace"):
        if match := BOX.match(line):
            person, x0, y0, x1, y1 = (int(digits) for digits in match.groups())
            found[person] = (x0, y0, x1, y1)
    return found


def _add_people(
    builder: LabelBuilder, image: LabelledImage, rles: dict[int, Rle], boxes: dict[int, Box] | None, name: str
) -> None:
    """Add an object for each mask, and for each box of the text that has none."""
    for person in sorted(rles.keys() | (boxes or {}).keys()):
        source = f"id {person} of {name!r}"
        rle, box = rles.get(person), None if boxes is None else boxes.get(person)
        if rle is not None:
            x0, y0, x1, y1 = rle_box(rle)
            if box is not None and box != (x0 + 1, y0 + 1, x1, y1):
                builder.problems.note(ProblemKind.PENN_FUDAN_BOX, source)
            elif box is None and boxes is not None:
                builder.problems.note(ProblemKind.PENN_FUDAN_UNLISTED, source)
            builder.add_object(image, 0, source, rle=rle)
        else:
            assert box is not None
            builder.problems.note(ProblemKind.OBJECT_WITHOUT_PIXELS, source)
            builder.add_object(image, 0, source, box=(box[0] - 1, box[1] - 1, box[2], box[3]))

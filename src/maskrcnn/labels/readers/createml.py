"""CreateML's JSON (Apple; exported by Roboflow, LabelImg and others): a list of images with boxes.

The format: developer.apple.com/documentation/createml/building-an-object-detector-data-source. A box is given
by its centre and size in pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maskrcnn.errors import RecordError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.files_by_name import folder_of_images, holds_one, load_only
from maskrcnn.labels.readers.json_file import glance
from maskrcnn.labels.values import number

NAMES = ("image", "imagefilename", "imageFilename")
OBJECTS = ("annotations", "annotation")


def read_createml(source: Path, image_folder: Path | None = None) -> FileDataset:
    """Read the file, or the only one of a folder. Images are numbered from 1 in its order.

    Args:
        image_folder: the folder of the images; None: looked for beside the file.

    Raises:
        DataError: the file or a record cannot be used; one line with the record and the remedy.
    """
    path, document = load_only(Path(source), "CreateML, a list of images", _glance)
    images: dict[str, list[Any]] = {}
    for position, entry in enumerate(document):
        fields = entry if isinstance(entry, dict) else {}
        name = next((fields[key] for key in NAMES if isinstance(fields.get(key), str)), "")
        objects = next((fields[key] for key in OBJECTS if isinstance(fields.get(key), list)), None)
        if not name or objects is None or name in images:
            what = "is there twice" if name in images else "has no image name or no list of annotations"
            raise RecordError(path, what, "export again", f"entry {position}")
        images[name] = objects
    builder = LabelBuilder(path, folder_of_images(path, images, image_folder))
    labels = {_label(one) for objects in images.values() for one in objects}
    ids = builder.add_classes(sorted(labels - {""}))
    boxes = [_box(one) for objects in images.values() for one in objects if _label(one)]
    if boxes and all(0 <= side <= 1 for box in boxes for side in box):
        remedy = "multiply x and width by the width of the image, y and height by its height"
        raise RecordError(path, "all boxes lie between 0 and 1: they are shares of the image", remedy)
    for name, objects in images.items():
        image = builder.add_image(name)
        for position, one in enumerate(objects):
            label, record = _label(one), f"annotation {position}"
            if not label:
                builder.note(ProblemKind.NO_CLASS, record, image)
                continue
            x, y, width, height = _box(one)
            corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            builder.add_object(image, ids[label], record, box=corners)
    return builder.build()


def looks_like_createml(source: Path) -> bool:
    """Whether `source` is such a .json, or a folder with one."""
    return holds_one(Path(source), _glance)


def _glance(path: Path) -> bool:
    text = glance(path)
    return text.startswith("[") and '"coordinates"' in text and any(f'"{name}"' in text for name in NAMES)


def _label(one: Any) -> str:
    label = one.get("label") if isinstance(one, dict) else None
    return label.strip() if isinstance(label, str) else ""


def _box(one: dict[str, Any]) -> list[float]:
    """Centre and size."""
    box = one.get("coordinates")
    sides = ("x", "y", "width", "height")
    return [number(box.get(key) if isinstance(box, dict) else None) for key in sides]

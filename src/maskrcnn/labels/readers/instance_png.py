"""Label pictures: beside each picture one of the same stem whose pixel values are instance ids, 0 for background."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnn.errors import DataError
from maskrcnn.labels.file_dataset import LabelledPictures
from maskrcnn.labels.image_files import upright_size
from maskrcnn.labels.readers.document import refuse_leaving
from maskrcnn.labels.readers.label_image import open_label_picture
from maskrcnn.labels.readers.repairs import Repairs
from maskrcnn.labels.types import Annotation, Picture, Rle
from maskrcnn.masks.rle import rle_area, rle_box

PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
LABEL_SUFFIXES = {".png", ".tif", ".tiff"}


def read_instance_labels(folder: Path, class_name: str | None = None) -> LabelledPictures:
    """Read `folder`/images and `folder`/labels. Pictures are numbered from 1 in the order of their names.

    Args:
        folder: holds `images` and `labels`.
        class_name: what every instance is. None: "nucleus" where the folder's path speaks of nuclei, else "object".

    Raises:
        DataError: no pictures, a label picture that is unreadable, in colour, without its picture or of another size, or a
            symbolic link out of `images` or `labels`.
    """
    folder = Path(folder)
    name = str(folder)
    if class_name is None:
        class_name = "nucleus" if any("nuclei" in part.lower() for part in folder.absolute().parts) else "object"
    pictures = _by_stem(folder / "images", PICTURE_SUFFIXES)
    labels = _by_stem(folder / "labels", LABEL_SUFFIXES)
    orphans = sorted(labels.keys() - pictures.keys())
    if orphans:
        raise DataError(
            f"{name}: {len(orphans)} label pictures have no picture in images, the first is"
            f" {labels[orphans[0]].name!r}; restore the pictures or delete the labels"
        )
    repairs = Repairs()
    for stem in sorted(pictures.keys() - labels.keys()):
        repairs.note("picture without labels left out", f"{pictures[stem].name!r}")
    found = list(_read(pictures, labels))
    if not found:
        raise DataError(f"{name}: empty data set; put pictures into images and label pictures into labels")
    if not any(picture.annotations for picture in found):
        raise DataError(f"{name}: all {len(found)} label pictures are 0 everywhere; label at least one instance")
    return LabelledPictures(
        found,
        name=name,
        classes=[class_name],
        class_ids=[1],
        repairs=repairs.counts,
        warnings=repairs.lines(name),
    )


def _by_stem(folder: Path, suffixes: set[str]) -> dict[str, Path]:
    """The pictures in a folder by the stem of their name."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; label pictures lie in labels, beside images")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in found:
                raise DataError(f"{folder}: {found[path.stem].name!r} and {path.name!r} share a stem; rename one")
            refuse_leaving(folder, path)
            found[path.stem] = path
    return found


def _read(pictures: dict[str, Path], labels: dict[str, Path]) -> Iterator[Picture]:
    annotation_id = 0
    for number, stem in enumerate(sorted(labels), start=1):
        path = pictures[stem]
        ids = read_ids(labels[stem], path)
        picture = Picture(number, path.name, path, ids.shape[0], ids.shape[1])
        for rle in instance_rles(ids):
            annotation_id += 1
            picture.annotations.append(
                Annotation(rle_box(rle), 0, rle=rle, area=float(rle_area(rle)), id=annotation_id)
            )
        yield picture


def read_ids(path: Path, picture: Path | tuple[int, int]) -> np.ndarray:
    """The instance ids (H, W) of a label picture: one channel of 8, 16 or 32 bits, or palette indices.

    Args:
        picture: the picture that it labels, or its height and width. Where there is no such file, others will say so.

    Raises:
        DataError: unreadable, in colour, or of another size than its picture.
    """
    if isinstance(picture, Path):
        size = upright_size(picture) if picture.is_file() else None
    else:
        size = picture
    with open_label_picture(path) as label:
        # before anything is decoded, so that a file that claims to be huge costs nothing
        if size is not None and size != (label.height, label.width):
            raise DataError(
                f"{path}: its picture is {size[1]} x {size[0]} (width x height) but the label picture"
                f" {label.width} x {label.height}; restore the picture that was labelled"
            )
        mode, ids = label.mode, np.asarray(label)
    if ids.ndim != 2 or ids.dtype.kind == "f":
        raise DataError(
            f"{path}: a label picture has one channel of whole numbers, not mode {mode}; save it as 16-bit PNG"
        )
    return ids


def instance_rles(ids: np.ndarray) -> list[Rle]:
    """The RLE of each id but 0 in an array (H, W), in the order of the ids.

    In one pass over the pixels for all instances: the runs of equal ids down the columns are the runs of their RLEs.
    """
    height, width = ids.shape
    pixels = ids.reshape(-1, order="F")
    starts = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1])
    ends = np.append(starts[1:], pixels.size)
    owners = pixels[starts]
    order = np.argsort(owners, kind="stable")
    order = order[owners[order] != 0]
    if len(order) == 0:
        return []
    starts, ends, owners = starts[order], ends[order], owners[order]
    firsts = np.flatnonzero(np.append(True, owners[1:] != owners[:-1]))
    plain = []
    for first, last in zip(firsts, np.append(firsts[1:], len(owners)), strict=True):
        # where the value changes: background up to the first run, object to its end, ...
        edges = np.stack([starts[first:last], ends[first:last]], axis=1).reshape(-1)
        counts = np.diff(edges, prepend=0, append=pixels.size)
        plain.append({"size": [height, width], "counts": counts.tolist()})
    rles: list[Rle] = coco_mask.frPyObjects(plain, height, width)
    return rles

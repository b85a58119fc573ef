"""Label images: beside each image one of the same stem whose pixel values are instance ids, 0 for background."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnn.errors import DataError
from maskrcnn.images.header import upright_size
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.problems import ProblemKind, Problems
from maskrcnn.labels.readers.document import refuse_leaving
from maskrcnn.labels.readers.label_image import open_label_image
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.masks.rle import Rle, rle_area, rle_box

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
LABEL_SUFFIXES = {".png", ".tif", ".tiff"}


def read_instance_labels(folder: Path, class_name: str | None = None) -> FileDataset:
    """Read `folder`/images and `folder`/labels. Images are numbered from 1 in the order of their names.

    Args:
        folder: holds `images` and `labels`.
        class_name: what every instance is. None: "nucleus" where the folder's path speaks of nuclei, else "object".

    Raises:
        DataError: no images, a label image that is unreadable, in colour, without its image or of another size, or a
            symbolic link out of `images` or `labels`.
    """
    folder = Path(folder)
    name = str(folder)
    if class_name is None:
        class_name = "nucleus" if any("nuclei" in part.lower() for part in folder.absolute().parts) else "object"
    images = _by_stem(folder / "images", IMAGE_SUFFIXES)
    labels = _by_stem(folder / "labels", LABEL_SUFFIXES)
    orphans = sorted(labels.keys() - images.keys())
    if orphans:
        raise DataError(
            f"{name}: {len(orphans)} label images have no image in images, the first is"
            f" {labels[orphans[0]].name!r}; restore the images or delete the labels"
        )
    problems = Problems(name)
    for stem in sorted(images.keys() - labels.keys()):
        problems.note(ProblemKind.IMAGE_WITHOUT_LABELS, f"{images[stem].name!r}")
    found = list(_read(images, labels))
    if not found:
        raise DataError(f"{name}: empty data set; put images into images and label images into labels")
    if not any(image.annotations for image in found):
        raise DataError(f"{name}: all {len(found)} label images are 0 everywhere; label at least one instance")
    return FileDataset(found, DatasetInfo(name, [class_name], [1], problems=problems))


def _by_stem(folder: Path, suffixes: set[str]) -> dict[str, Path]:
    """The images in a folder by the stem of their name."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; label images lie in labels, beside images")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in found:
                raise DataError(f"{folder}: {found[path.stem].name!r} and {path.name!r} share a stem; rename one")
            refuse_leaving(folder, path)
            found[path.stem] = path
    return found


def _read(images: dict[str, Path], labels: dict[str, Path]) -> Iterator[LabelledImage]:
    annotation_id = 0
    for number, stem in enumerate(sorted(labels), start=1):
        path = images[stem]
        ids = read_ids(labels[stem], path)
        image = LabelledImage(number, path.name, path, ids.shape[0], ids.shape[1])
        for rle in instance_rles(ids):
            annotation_id += 1
            image.annotations.append(Annotation(rle_box(rle), 0, rle=rle, area=float(rle_area(rle)), id=annotation_id))
        yield image


def read_ids(path: Path, image: Path | tuple[int, int]) -> np.ndarray:
    """The instance ids (H, W) of a label image: one channel of 8, 16 or 32 bits, or palette indices.

    Args:
        image: the image that it labels, or its height and width. Where there is no such file, others will say so.

    Raises:
        DataError: unreadable, in colour, or of another size than its image.
    """
    if isinstance(image, Path):
        size = upright_size(image) if image.is_file() else None
    else:
        size = image
    with open_label_image(path) as label:
        # before anything is decoded, so that a file that claims to be huge costs nothing
        if size is not None and size != (label.height, label.width):
            raise DataError(
                f"{path}: its image is {size[1]} x {size[0]} (width x height) but the label image"
                f" {label.width} x {label.height}; restore the image that was labelled"
            )
        mode, ids = label.mode, np.asarray(label)
    if ids.ndim != 2 or ids.dtype.kind == "f":
        raise DataError(
            f"{path}: a label image has one channel of whole numbers, not mode {mode}; save it as 16-bit PNG"
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

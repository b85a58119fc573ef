"""What label images are called: their folders and suffixes, and how their names go on after their image's."""

from __future__ import annotations

import os
import re
from collections.abc import Container
from pathlib import Path

from maskrcnn.errors import RecordError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.readers.folder_files import visible
from maskrcnn.labels.split_names import SPLIT_NAMES, Split, split_of

IMAGE_SUFFIXES = set(SUFFIXES)
LABEL_SUFFIXES = {".png", ".tif", ".tiff", ".gif", ".bmp"}
# of one folder beside another, in any case, the first before the others
IMAGE_FOLDERS = (
    *("images", "imgs", "img", "image", "tissue images", "jpegimages", "raw", "input", "inputs"),  # NuInsSeg
    *("original", "originals", "orig", "original_images", "photos", "frames", "rgb", "rawimages"),
)
LABEL_FOLDERS = (
    *("labels", "masks", "label", "mask", "gt", "groundtruth", "ground_truth", "ground truth"),
    *("annotations", "label masks", "label_images", "mask_images", "instance_masks", "binary_masks"),
    *("annotation", "segmentations", "segmentation", "targets", "target", "instances", "instance"),
    *("instance_labels", "instance_maps", "instance_segmentation", "instance_ids", "label_maps", "labelmaps"),
    *("seg", "segs", "msk", "msks", "gts", "gt_masks", "ground_truths"),
)
# how the name of a label image may go on after its image's
MARKS = (
    *("_cp_masks", "_mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_gt", "_instance"),
    *("_instances", "-mask", "-masks", "-label", "-labels"),
)
# what stands for "image" in the name of a label image, as in mask_001 of image_001
MARK_WORDS = re.compile(r"(?<![a-z])(?:masks?|labels?|seg|gt)(?![a-z])", re.IGNORECASE)
# files that say that the numbers beside them are classes, and whose they are
CLASS_LISTS = {
    "_classes.csv": "Roboflow's semantic masks",
    "class_dict.csv": "CamVid's",
    "label_colors.txt": "CamVid's",
    "ADE_*_seg.png": "ADE20K's",
}


def image_stem(stem: str, images: Container[str]) -> str:
    """The stem of a label image's image: the same, or without a mark or the image's suffix."""
    if stem in images:
        return stem
    base, suffix = os.path.splitext(stem)  # a.jpg.png of a.jpg
    return base if base in images and suffix.lower() in IMAGE_SUFFIXES else bare_stem(stem, images)


def bare_stem(stem: str, images: Container[str]) -> str:
    """A stem without its mark, or with "image" for it, where that is an image's; else as it stands."""
    lower = stem.lower()
    bare = [stem[: -len(mark)] for mark in MARKS if lower.endswith(mark)]
    if (word := MARK_WORDS.search(stem)) is not None:
        words = ("image", "img", "images", "Image", "Img", "IMG", "")
        bare += [(stem[: word.start()] + one + stem[word.end() :]).strip("_-. ") for one in words]
    return next((one for one in bare if one in images), stem)


def numbered_stem(stem: str, images: Container[str]) -> str | None:
    """The image that a mask belongs to with others, as a_0 and a_1 to a; None where it does not look so."""
    match = re.fullmatch(r"(.+?)([_-][A-Za-z]+)?[_-]\d{1,6}", stem)
    owners = [] if match is None or stem in images else [match[1] + (match[2] or ""), match[1]]
    return next((owner for owner in owners if owner in images), None)


def named_folders(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """The folders in one that are called so in any case, in the order of the names."""
    try:
        with os.scandir(folder) as entries:
            found = {entry.name.lower(): Path(entry.path) for entry in entries if entry.is_dir()}
    except OSError:
        return []
    return [found[name] for name in names if name in found]


def split_folders(folder: Path, names: tuple[str, ...], split: Split) -> list[Path]:
    """The folders of a split: in those of `names`, as images/train, or beside each other, as train_images."""
    below = [path for each in named_folders(folder, names) for path in visible(each, "*/")]
    return [path for path in below if split_of(path.name) == split] + joined_folders(folder, names, split)


def joined_folders(folder: Path, names: tuple[str, ...], split: Split) -> list[Path]:
    """The folders in one whose names are of `names` and of a split, as train_images or images_train."""
    words = SPLIT_NAMES[split]
    both = tuple(each for word in words for name in names for each in (f"{word}_{name}", f"{name}_{word}"))
    return named_folders(folder, both)


def refuse_classes(folder: Path, labels: Path) -> None:
    """Refuse label images whose numbers are known to be classes: all of a class would be one object."""
    for place in dict.fromkeys((labels, labels.parent, folder, folder.parent)):
        for name, whose in CLASS_LISTS.items():
            if next(place.glob(name), None) is not None:
                what = (
                    f"{whose}, as {name!r} beside them says: their numbers are classes, and objects have none"
                )
                raise RecordError(labels, what, "export instances, as COCO JSON")

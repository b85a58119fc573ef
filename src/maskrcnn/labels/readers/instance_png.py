"""Label images: beside each image one of the same stem, or with _mask after it, whose pixel values, or
colours, are instance ids, 0 or black for background.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from pathlib import Path

from maskrcnn.errors import RecordError
from maskrcnn.images.multichannel import ARRAY_SUFFIX
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.folder_files import visible
from maskrcnn.labels.readers.json_file import JSONS
from maskrcnn.labels.readers.label_image import ARRAYS, ARRAYS_SUFFIX, add_instances, ids_of_colours, read_ids
from maskrcnn.labels.readers.label_image_names import (
    IMAGE_FOLDERS,
    IMAGE_SUFFIXES,
    LABEL_FOLDERS,
    LABEL_SUFFIXES,
    image_stem,
    named_folders,
    numbered_stem,
    refuse_classes,
    split_folders,
)
from maskrcnn.labels.split_names import SPLIT_NAMES, SPLITS, split_of
from maskrcnn.labels.types import DEFAULT_CLASS
from maskrcnn.shell import counted

READ = LABEL_SUFFIXES | {ARRAY_SUFFIX, ARRAYS_SUFFIX}
UNREAD = (IMAGE_SUFFIXES | ARRAYS) - READ
StemOf = Callable[[str, Container[str]], str | None]  # from a label image's stem to its image's
LOSSY = {".jpg", ".jpeg", ".jpe", ".jfif", ".webp"}


def read_instance_labels(folder: Path, split: str | None = None, split_parts: bool = False) -> FileDataset:
    """Read `folder`/images and `folder`/labels or masks, or what else they are called. Images are numbered
    from 1 in the order of their names.

    Args:
        folder: holds a folder of `IMAGE_FOLDERS` and one of `LABEL_FOLDERS`.
        split: "train", "val" or "test": in `images`/train and `labels`/train, or train_images and
            train_masks. None: `images` itself.
        split_parts: each separate part of an id is an object of its own.

    Raises:
        DataError: no images, a label image that is unreadable, without its image or of another size, one that
            has classes for numbers, or a symbolic link out of `labels`.
    """
    folder = Path(folder)
    name = str(folder)
    pairs = _split_places(folder, split) if split else _places(folder) or _places(folder, numbered_stem)
    deeper = [] if pairs or split else _deeper_places(folder)
    photos, beside = pairs[0] if pairs else (folder / "images", folder / "labels")
    if deeper:
        photos, beside = deeper[0][0].parent, deeper[0][1].parent
    refuse_classes(folder, beside)
    _refuse_vistas(beside)
    builder = LabelBuilder(folder, photos)
    builder.add_classes([DEFAULT_CLASS])
    for other in dict.fromkeys(each for _, each in pairs if each != beside):
        builder.problems.note(ProblemKind.OTHER_LABEL_IMAGES, repr(other.name))
    if not deeper:
        below = [] if split else [(path, beside / path.name) for path in visible(photos, "*/")]
        deeper = [(photos, beside), *(place for place in below if _pairs(*place))]
    if split == "train" and split_of(photos.name) and split_of(beside.name):
        subsets = [path.name for path in visible(photos.parent, "*/") if split_of(path.name) is None]
        for each in (".", *subsets):
            if _pairs(photos.parent / each, beside.parent / each):
                builder.problems.note(ProblemKind.BESIDE_SPLITS, repr((photos.parent / each).name))
    for place in deeper:
        _read_pair(*place, builder, split_parts)
    if not builder.images:
        raise RecordError(name, "empty data set", "put images into images and label images into labels")
    if not any(image.annotations for image in builder.images):
        raise RecordError(
            name, f"all {len(builder.images)} label images are 0 everywhere", "label at least one instance"
        )
    return builder.build()


def _read_pair(photos: Path, beside: Path, builder: LabelBuilder, split_parts: bool) -> None:
    """Add the images of a folder with their label images in another."""
    images = images_by_stem(photos, IMAGE_SUFFIXES)
    labels = _by_image(images_by_stem(beside, READ), images)
    _refuse_unread(beside, images, labels)
    _refuse_orphans(builder.source, images, labels)
    names = {stem: path.relative_to(builder.folder).as_posix() for stem, path in images.items()}
    for stem in sorted(images.keys() - labels.keys()):
        builder.problems.note(ProblemKind.IMAGE_WITHOUT_LABELS, repr(names[stem]))
    for stem in sorted(labels):
        refuse_leaving(beside, labels[stem])
        ids = read_ids(labels[stem], images[stem], ids_of_colours)
        image = builder.add_image(names[stem], size=ids.shape)
        add_instances(ids, image, 0, builder, split_parts)


def has_instance_split(folder: Path, split: str) -> bool:
    """Whether images/ and labels/ or masks/ have a folder each for "train", "val" or "test"."""
    return bool(_split_places(folder, split))


def looks_like_instance_png(source: Path) -> bool:
    """Whether `source` is a folder with images/ beside labels/ or masks/, and label images in the latter."""
    if any(has_instance_split(source, split) for split in SPLITS):
        return True
    if has_label_images(source) or _places(source, numbered_stem) or _deeper_places(source):
        return True
    labels = source / "labels"
    if not (source / "images").is_dir() or not labels.is_dir():
        return False
    suffixes = {file.suffix.lower() for file in visible(labels)}
    return bool(suffixes & READ) or not suffixes


def has_label_images(folder: Path) -> bool:
    """Whether a folder in it has label images for the images of another."""
    return bool(_places(folder))


def _places(folder: Path, stem_of: StemOf = image_stem) -> list[tuple[Path, Path]]:
    """The folder of images and that of their label images; more than one where several are called so."""
    images, labels = named_folders(folder, IMAGE_FOLDERS), named_folders(folder, LABEL_FOLDERS)
    return [(photos, beside) for photos in images for beside in labels if _pairs(photos, beside, stem_of)]


def _deeper_places(folder: Path) -> list[tuple[Path, Path]]:
    """The folders in that of images and in that of their label images, as images/p1 and masks/p1, where
    these hold nothing else, and each of one has its like in the other, or both have one.
    """
    if _others_say(folder):
        return []
    for photos in named_folders(folder, IMAGE_FOLDERS):
        for beside in named_folders(folder, LABEL_FOLDERS):
            images, labels = (visible(place, "*/") for place in (photos, beside))
            alike = [path.name for path in images] == [path.name for path in labels]
            loose = stems_in(photos, IMAGE_SUFFIXES) or stems_in(beside, IMAGE_SUFFIXES)
            if not loose and (alike or len(images) == len(labels) == 1):
                pairs = list(zip(images, labels, strict=True))
                if pairs and all(_pairs(*pair) for pair in pairs):
                    return pairs
    return []


def _others_say(folder: Path) -> bool:
    """Whether other files may say what the labels are."""
    return (folder / "annotations").is_dir() or next(folder.glob(JSONS), None) is not None


def _split_places(folder: Path, split: str) -> list[tuple[Path, Path]]:
    """images/train and masks/train, train_images and train_masks, or Carvana's train and train_masks.

    None where others may say what the labels are.
    """
    if _others_say(folder):
        return []
    if (word := split_of(split)) is None:
        return []
    images = split_folders(folder, IMAGE_FOLDERS, word) + named_folders(folder, SPLIT_NAMES[word])
    labels = split_folders(folder, LABEL_FOLDERS, word)
    return [(photos, beside) for photos in images for beside in labels if _pairs(photos, beside)]


def _pairs(images: Path, labels: Path, stem_of: StemOf = image_stem) -> bool:
    """Whether a folder has a label image for one of the images of another, or what someone may take for it
    and nothing else. In annotations/ there are label images alone: beside a .json they are images.
    """
    if labels.name.lower() == "annotations" and _others(labels):
        return False
    found = stems_in(labels, READ)
    # the images last: of YOLO there may be a million
    suspects = set() if found or _others(labels) else stems_in(labels, UNREAD)
    beside = stems_in(images, IMAGE_SUFFIXES) if found or suspects else set()
    return any(stem_of(stem, beside) in beside for stem in found | suspects)


def _others(folder: Path) -> bool:
    """Whether a folder has files, or folders, that are no images."""
    try:
        with os.scandir(folder) as entries:
            names = (entry.name for entry in entries if not entry.name.startswith("."))
            return any(os.path.splitext(name)[1].lower() not in READ | UNREAD for name in names)
    except OSError:
        return True


def unpaired(folder: Path) -> str | None:
    """What is wrong with label images that do not lie as those of images, and what to do."""

    def shown(*paths: Path) -> str:
        return " beside ".join(repr(path.relative_to(folder).as_posix()) for path in paths)

    for photos in named_folders(folder, IMAGE_FOLDERS):
        for beside in named_folders(folder, LABEL_FOLDERS):
            label, image = images_by_stem(beside, READ), images_by_stem(photos, IMAGE_SUFFIXES)
            if label and image:
                first = shown(min(label.values()), min(image.values()))
                remedy = "give each the name of its image, or that and _mask"
                return f"no label image has the name of an image, the first is {first}; {remedy}"
            below = [path for path in visible(beside, "*/") if _pairs(photos, path)]
            if below:
                what = f"the label images of {photos.name!r} lie one folder deeper, in {shown(below[0])}"
                remedy = f"move them into {beside.name!r}; they have no classes: of several write COCO JSON"
                return f"{what}; {remedy}"
    return None


def stems_in(folder: Path, suffixes: set[str]) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            split = [(*os.path.splitext(entry.name), entry) for entry in entries]
            return {stem for stem, suffix, entry in split if suffix.lower() in suffixes and entry.is_file()}
    except OSError:
        return set()


def _by_image(labels: dict[str, Path], images: Container[str]) -> dict[str, Path]:
    """Label images by the stem of their image."""
    found: dict[str, Path] = {}
    for stem, path in labels.items():
        image = image_stem(stem, images)
        if image in found:
            what = f"{found[image].name!r} and {path.name!r} are for the same image"
            raise RecordError(path.parent, what, "delete one")
        found[image] = path
    return found


def images_by_stem(folder: Path, suffixes: set[str]) -> dict[str, Path]:
    """The images in a folder by the stem of their name."""
    if not folder.is_dir():
        raise RecordError(folder, "no such folder", "label images lie in labels, beside images")
    found: dict[str, Path] = {}
    for path in visible(folder):
        if path.suffix.lower() in suffixes and not path.is_dir():
            if path.stem in found:
                raise RecordError(
                    folder, f"{found[path.stem].name!r} and {path.name!r} share a stem", "rename one"
                )
            found[path.stem] = path
    return found


# ---- what is refused


def _refuse_unread(folder: Path, images: dict[str, Path], labels: Container[str]) -> None:
    """Refuse label images in a format that is not read: their image would have none."""
    unread = [path for path in visible(folder) if path.suffix.lower() in UNREAD and not path.is_dir()]
    unread = [
        path for path in unread if (stem := image_stem(path.stem, images)) in images and stem not in labels
    ]
    if not unread:
        return
    what = (
        f"{counted(len(unread), 'label image')} in a format that is not read, the first is {unread[0].name!r}"
    )
    remedy = "convert them to PNG or TIFF of one channel, or save arrays with numpy.save"
    if unread[0].suffix.lower() in LOSSY:
        what += ": its compression changes the numbers, which makes objects of noise"
        remedy = "export them anew as PNG or TIFF; converting these files does not bring the numbers back"
    raise RecordError(folder, what, remedy)


def _refuse_orphans(folder: Path, images: dict[str, Path], labels: dict[str, Path]) -> None:
    """Refuse label images without an image."""
    orphans = sorted(labels.keys() - images.keys())
    if not orphans:
        return
    what = (
        f"{counted(len(orphans), 'label image')} without an image in images, the first is "
        f"{labels[orphans[0]].name!r}"
    )
    remedy = "restore the images or delete the labels"
    if (stem := numbered_stem(orphans[0], images)) is not None:
        remedy = (
            f"a mask for each object of {images[stem].name!r}? Put those into a folder of their own, "
            f"{labels[orphans[0]].parent.name}/{stem}/"
        )
    raise RecordError(folder, what, remedy)


def _refuse_vistas(labels: Path) -> None:
    """Refuse the class maps of Mapillary Vistas, which lie beside the instances."""
    numbered = named_folders(labels.parent, ("instances",)) if labels.name.lower() == "labels" else []
    if any(_pairs(labels.parent / "images", one) for one in numbered):
        what = "beside 'instances': class maps, as of Mapillary Vistas"
        raise RecordError(labels, what, "give panoptic/panoptic_2018.json there, which is COCO panoptic")

"""CVAT's Segmentation mask 1.1, Pascal VOC's masks without XML: colours of objects and colours of classes.

The format: docs.cvat.ai/docs/dataset_management/formats/format-smask. In SegmentationObject/NAME.png each
colour but black is an object, in SegmentationClass/NAME.png its colour is its class's, which labelmap.txt
lists as name:r,g,b:parts:actions; without that file colours are those of VOC, and classes the lines of
class_names.txt (labelme2voc), else those of VOC, which is counted. The images are in JPEGImages, and
ImageSets/Segmentation has a list of names for each subset. A listed image without masks has no object: CVAT
writes none for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskrcnn.errors import RecordError, UserError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.folder_files import by_stem, files_under, visible
from maskrcnn.labels.readers.label_image import VOC_VOID, open_label_image, rles_by_id, voc_colour
from maskrcnn.labels.readers.safe_xml import XMLS
from maskrcnn.labels.readers.text_lines import read_lines
from maskrcnn.labels.split_names import other_subsets, split_of, subsets_of
from maskrcnn.labels.types import DEFAULT_CLASS, LabelledImage
from maskrcnn.shell import counted

OBJECTS, CLASSES, LISTS, LABELMAP = "SegmentationObject", "SegmentationClass", "ImageSets", "labelmap.txt"
CLASS_NAMES = "class_names.txt"  # of LabelMe's labelme2voc.py
IMAGE_FOLDERS = ("JPEGImages", "images")
BACKGROUND = "background"
OF_LABELME = {
    "_background_": BACKGROUND,
    "__ignore__": None,
}  # lines of it that are no class; None: no colour
VOC_CLASSES = (
    *(BACKGROUND, "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)
MOST_NAMES = 256  # as many as VOC's palette has colours
MOST_OBJECTS = 10_000  # colours of an image; a photo has more


@dataclass
class Layout:
    """Where the files of a data set lie, by the name that an image and its masks share."""

    root: Path
    images: Path
    files: dict[str, str]  # images, relative to their folder
    objects: dict[str, Path]
    classes: dict[str, Path]
    lists: dict[str, list[str]]  # names, by the subset


def looks_like_segmentation_masks(source: Path) -> bool:
    """Whether the folder holds SegmentationObject, and no XML files that would say more."""
    source = Path(source)
    if not (source / OBJECTS).is_dir():
        return False
    return not any(next((source / name).glob(f"**/{XMLS}"), None) for name in ("Annotations", "annotations"))


def read_segmentation_masks(source: Path, split: str | None = None) -> FileDataset:
    """Read such a folder. Images are numbered from 1 in the order of the lists, else of their names.

    Args:
        split: "train", "val" or "test": the list in ImageSets/Segmentation that is called so. None: the first
            of them that there is, or all where no list is one.

    Raises:
        UserError: there is no such list.
        DataError: a file cannot be used; one line with the record and the remedy.
    """
    layout = _layout(Path(source))
    builder = LabelBuilder(layout.root, layout.images)
    names = _class_colours(layout, builder)
    labels = builder.add_classes([name for name in dict.fromkeys(names.values()) if name != BACKGROUND])
    for key in _wanted(layout, split, builder):
        if key not in layout.files:
            builder.image_count += 1
            builder.missing.append(f"{key}.jpg")
            continue
        image = builder.add_image(layout.files[key])
        if key in layout.objects:
            _add_objects(layout, key, image, names, labels, builder)
    return builder.build()


def has_mask_split(source: Path, split: str) -> bool:
    """Whether ImageSets/Segmentation has a list for "train", "val" or "test"."""
    return any(split_of(path.stem) == split for path in _list_files(Path(source)))


def _layout(root: Path) -> Layout:
    images = next((root / name for name in IMAGE_FOLDERS if (root / name).is_dir()), None)
    if images is None:
        raise RecordError(
            root, f"no folder {IMAGE_FOLDERS[0]}", "put the images there, or export with 'Save images'"
        )
    if not (root / OBJECTS).is_dir():
        raise RecordError(root, f"no folder {OBJECTS}", "put the masks of the objects there")
    objects, classes = (
        {name[:-4]: folder / name for name in files_under(folder) if name.lower().endswith(".png")}
        if folder.is_dir()
        else {}
        for folder in (root / OBJECTS, root / CLASSES)
    )
    lists = {}
    for path in _list_files(root):
        refuse_leaving(root / LISTS, path)
        lists[path.stem] = list(dict.fromkeys(read_lines(path)))
    return Layout(root, images, by_stem(images, SUFFIXES), objects, classes, lists)


def _list_files(root: Path) -> list[Path]:
    return visible(root / LISTS / "Segmentation", "*.txt")


def _wanted(layout: Layout, split: str | None, builder: LabelBuilder) -> list[str]:
    """The names of the images of a split; what no list has is counted."""
    lists = layout.lists
    if not lists and split is None:
        known = set(layout.objects)
        wanted = sorted(known)
    else:
        chosen = subsets_of(split, lists)
        if not chosen:
            raise UserError(
                f"{layout.root}: no list in {LISTS}/Segmentation is {split!r} "
                f"({', '.join(lists) or 'none'}); add one"
            )
        wanted = list(dict.fromkeys(name for one in chosen for name in lists[one]))
        known = {name for names in lists.values() for name in names}
        in_splits = {name for one, names in lists.items() if split_of(one) for name in names}
        for one in other_subsets(lists):
            if not in_splits.issuperset(lists[one]):  # as trainval is of both
                builder.problems.note(ProblemKind.OTHER_SUBSET, repr(one))
    for name in sorted(layout.files.keys() - known):
        builder.problems.note(ProblemKind.IMAGE_WITHOUT_LABELS, repr(layout.files[name]))
    return wanted


# ---- colours


def _class_colours(layout: Layout, builder: LabelBuilder) -> dict[int, str]:
    """The names of classes by their colour."""
    path = layout.root / LABELMAP
    if not path.is_file():
        names = _voc_ordered(layout, builder)
        return {_packed(*voc_colour(index)): name for index, name in enumerate(names)}
    refuse_leaving(layout.root, path)
    found: dict[int, str] = {}
    lines = [line for line in read_lines(path) if not line.startswith("#")]
    for index, line in enumerate(lines):
        name, colour = _label(line, index, path)
        if found.setdefault(colour, name) != name:
            raise RecordError(path, f"{found[colour]!r} and {name!r} have one colour", "give each its own")
    if not layout.classes and len(set(found.values()) - {BACKGROUND}) > 1:
        raise RecordError(layout.root, f"no {CLASSES}, which tells the classes of objects", "export anew")
    return found


def _voc_ordered(layout: Layout, builder: LabelBuilder) -> Sequence[str]:
    """The names of classes in the order of VOC's palette, the background first."""
    path = layout.root / CLASS_NAMES
    if not layout.classes:
        return BACKGROUND, DEFAULT_CLASS
    if not path.is_file():
        builder.problems.note(ProblemKind.VOC_NAMES, f"folder {CLASSES!r}")
        return VOC_CLASSES
    refuse_leaving(layout.root, path)
    names = [name for line in read_lines(path) if (name := OF_LABELME.get(line, line)) is not None]
    if not 2 <= len(names) <= MOST_NAMES:
        remedy = "write _background_ and then the name of a class in each line"
        raise RecordError(path, f"{counted(len(names), 'name')} of colours", remedy)
    return names


def _label(line: str, index: int, path: Path) -> tuple[str, int]:
    """A line name:r,g,b:parts:actions."""
    name, *rest = line.split(":")
    values = [part.strip() for part in rest[0].split(",")] if rest and rest[0].strip() else []
    if not values:
        return name.strip(), _packed(*voc_colour(index))
    if len(values) != 3 or not all(
        value.isascii() and value.isdigit() and int(value[:4]) < 256 for value in values
    ):
        raise RecordError(
            path, f"{line!r:.80} has no colour of three numbers up to 255", "write name:r,g,b::"
        )
    return name.strip(), _packed(*map(int, values))


def _packed(red: int, green: int, blue: int) -> int:
    return red << 16 | green << 8 | blue


def _colours(path: Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) int32 of colours, R the highest byte."""
    with open_label_image(path, size) as image:
        if image.mode not in ("RGB", "RGBA", "P", "L", "1"):
            raise RecordError(path, f"has no colours (mode {image.mode})", "save it as RGB")
        pixels = np.asarray(image.convert("RGB")).astype(np.int32)
    colours: np.ndarray = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    return colours


def _classes_of(layout: Layout, key: str, size: tuple[int, int]) -> np.ndarray | None:
    """The colours (H, W) of an image's classes, black where nobody knows; None where no image has them."""
    if not layout.classes:
        return None
    path = layout.classes.get(key)
    if path is None:
        missing = layout.root / CLASSES / f"{key}.png"
        raise RecordError(missing, f"missing, beside the one in {OBJECTS}", "export anew")
    refuse_leaving(layout.root / CLASSES, path)
    colours = _colours(path, size)
    colours[colours == _packed(*VOC_VOID)] = 0
    return colours


# ---- objects


def _add_objects(
    layout: Layout,
    key: str,
    image: LabelledImage,
    names: dict[int, str],
    labels: dict[str, int],
    builder: LabelBuilder,
) -> None:
    """Add an object for each colour of an image's mask."""
    path = layout.objects[key]
    refuse_leaving(layout.root / OBJECTS, path)
    objects = _colours(path, image.size)
    classes = _classes_of(layout, key, image.size)
    # the borders of VOC, where no class is either: else it is the colour of the 255th object
    void = objects == _packed(*VOC_VOID)
    objects[void if classes is None else void & (classes == 0)] = 0
    found = np.unique(objects[objects != 0])
    if len(found) > MOST_OBJECTS:
        raise RecordError(
            path, f"{len(found)} colours, as a photo has", "save one plain colour for each object"
        )
    if classes is None:
        named = dict.fromkeys(found.tolist(), next(iter(labels), None))
    else:
        named = _object_classes(layout.classes[key], objects, classes, names, image, builder)
    for colour, rle in rles_by_id(objects).items():
        name = named.get(colour)
        if name is None:
            builder.note(ProblemKind.NO_CLASS, _record(colour), image)
        else:
            builder.add_object(image, labels[name], _record(colour), rle=rle)


def _object_classes(
    path: Path,
    objects: np.ndarray,
    classes: np.ndarray,
    names: dict[int, str],
    image: LabelledImage,
    builder: LabelBuilder,
) -> dict[int, str | None]:
    """The class of each object's colour: that of most of its pixels that have one, by the `classes` of the
    file at `path`.
    """
    inside = objects != 0
    pairs = objects[inside].astype(np.int64) << 24 | classes[inside]
    counts: dict[int, dict[str, int]] = {}
    for pair, count in zip(
        *(values.tolist() for values in np.unique(pairs, return_counts=True)), strict=True
    ):
        colour = pair & 0xFFFFFF
        name = names.get(colour, BACKGROUND if colour == 0 else None)
        if name is None:
            raise RecordError(
                path,
                f"the colour {_shown(colour)} of an object is not in {LABELMAP} or {CLASS_NAMES}",
                f"add a line NAME:{_shown(colour)}::",
            )
        if name != BACKGROUND:
            votes = counts.setdefault(pair >> 24, {})
            votes[name] = votes.get(name, 0) + count
    for colour, votes in counts.items():
        if len(votes) > 1:
            builder.note(ProblemKind.OBJECT_OF_SEVERAL_CLASSES, _record(colour), image)
    return {colour: max(votes, key=lambda name: votes[name]) for colour, votes in counts.items()}


def _shown(colour: int) -> str:
    return f"{colour >> 16},{colour >> 8 & 255},{colour & 255}"


def _record(colour: int) -> str:
    return f"object of colour {_shown(colour)}"

"""Pascal VOC: an XML file of boxes for each image, and masks in SegmentationObject where there are some.

The format: host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf; the same XML is written beside each image
by LabelImg. VOC's coordinates are indices of pixels counted from 1, the last one inside: 1 is taken off the
upper left corner, so that boxes are half-open. Tools that count from 0 (CVAT, Datumaro) give themselves away
where boxes touch the left or upper edge of their image: more of a set begin at 0 than at 1 then, and all of
it is taken as it stands.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from xml.etree.ElementTree import Element

from maskrcnn.errors import DataError, RecordError, UserError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.images.tiles import Box
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problems
from maskrcnn.labels.readers.files_by_name import TRIED
from maskrcnn.labels.readers.folder_files import each_visible, files_under, visible
from maskrcnn.labels.readers.label_image_names import IMAGE_FOLDERS, joined_folders, named_folders
from maskrcnn.labels.readers.safe_xml import XMLS, parse_xml
from maskrcnn.labels.readers.text_lines import listed_names, read_lines
from maskrcnn.labels.readers.voc_masks import object_mask, object_masks
from maskrcnn.labels.shapes import box_around_turned
from maskrcnn.labels.split_names import SPLITS, other_subsets, split_of
from maskrcnn.labels.types import LabelledImage
from maskrcnn.labels.usable_shape import ROUNDING
from maskrcnn.labels.values import turn_of
from maskrcnn.masks.rle import Rle
from maskrcnn.safe_files import decoded

PARTS = ("_train", "_val", "_trainval", "_test")  # how ImageSets/Main/dog_train.txt ends
LABELS_FOLDERS = ("annotations",)
XML_FOLDERS = ("labels", "xmls", "xml", "annotation", "ann", "annots")  # where XML files lie in them
CORNERS = ("xmin", "ymin", "xmax", "ymax")
LABELMAP = "# label:color_rgb:parts:actions"  # as Datumaro begins it


@dataclass
class Layout:
    """Where the files of a data set lie; all three are the same folder where LabelImg wrote beside the
    images.
    """

    root: Path
    labels: Path
    images: Path
    xmls: dict[str, Path]  # by the name that the image shares, without its suffix
    files: dict[str, list[str]]  # images, relative to their folder, by that name


@dataclass
class Object:
    """One object, its box as it stands in the file."""

    image: LabelledImage
    name: str  # of its class
    record: str
    box: Box | None
    rle: Rle | None
    turn: float  # degrees, of CVAT's


def read_voc(source: Path, split: str | None = None, image_folder: Path | None = None) -> FileDataset:
    """Read VOC's folders, or XML files beside their images. Images are numbered from 1 in the order of their
    names.

    Args:
        source: a folder as VOC2012 (with Annotations and JPEGImages), the VOCdevkit that holds one, or a
            folder of XML files and images.
        split: a list in ImageSets, "train" for ImageSets/Main/train.txt or, where that is missing,
            ImageSets/Segmentation/train.txt; "Segmentation/train" for a list in another folder. Without
            ImageSets the folder Annotations/train, or train_annotations beside train_images. None: every XML
            file.
        image_folder: the folder of the images; None: JPEGImages and the like, else that of the XML files.

    Raises:
        UserError: there is no such split, or several VOC folders.
        DataError: the labels cannot be used.
    """
    layout = _layout(_root(Path(source)), image_folder, split)
    builder = LabelBuilder(Path(source), layout.images)
    whole = split is None or layout.labels in _joined(layout.root, split)
    wanted = sorted(layout.xmls) if split is None or whole else _listed(layout, split, builder.problems)
    objects = [found for key in wanted for found in _read_xml(layout, key, builder)]
    taken = {image.file_name for image in builder.images}  # an XML file may be of one of another name
    for key in sorted(layout.files.keys() - layout.xmls.keys()) if whole else ():
        if taken.isdisjoint(layout.files[key]):
            builder.problems.note(ProblemKind.IMAGE_WITHOUT_XML, repr(layout.files[key][0]))
    boxes = [one.box for one in objects if one.box is not None]
    others = _other_boxes(layout, layout.xmls.keys() - set(wanted))
    counted_from = 0 if _of_cvat(layout.root) else _counted_from(boxes + others)
    labels = builder.add_classes(_classes(layout.root, {one.name for one in objects}))
    for one in objects:
        box = one.box
        if box is not None and counted_from == 0:
            builder.note(ProblemKind.VOC_FROM_0, one.record, one.image)
        elif box is not None:
            box = _half_open(box)
        if box is not None and one.turn:
            builder.note(ProblemKind.TURNED_BOX, one.record, one.image)
            x0, y0, x1, y1 = box_around_turned(box, one.turn)
            box = (x0, y0, x1, y1)
        builder.add_object(one.image, labels[one.name], one.record, box=box, rle=one.rle)
    return builder.build()


def looks_like_voc(source: Path) -> bool:
    """Whether `source` is a folder of VOC's XML files, as far as a few of them tell."""
    try:
        root = _root(Path(source))
        labels = _labels_folder(root)
        files = each_visible(labels, XMLS if labels == root else f"**/{XMLS}")
        return any(map(begins_voc, islice(files, TRIED)))
    except (OSError, UserError):
        return False


def begins_voc(path: Path) -> bool:
    """Whether a file begins like one of VOC's XML files.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = decoded(file.read(8192), "ignore")
    if "<annotation" not in head or "<annotations" in head:
        return False
    return any(tag in head for tag in ("<bndbox", "<size", "<segmented"))


def _root(source: Path) -> Path:
    """The folder that holds Annotations or the XML files: `source` or the one VOC* folder in it."""
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; give a folder with Annotations and JPEGImages")
    if _labels_folder(source) != source or any(each_visible(source, XMLS)):
        return source
    inner = [*source.glob("VOC*"), *source.glob("VOCdevkit/VOC*")]
    roots = sorted(path for path in inner if (path / "Annotations").is_dir())
    if len(roots) > 1:
        raise UserError(
            f"{source}: holds {', '.join(path.name for path in roots)}; give one of these folders"
        )
    if not roots:
        raise RecordError(
            source, "no Annotations folder and no XML file", "give the folder that the labels are in"
        )
    return roots[0]


def _layout(root: Path, image_folder: Path | None, split: str | None) -> Layout:
    labels = _labels_folder(root, split)
    images = image_folder
    if images is None:
        found = named_folders(root, ("jpegimages", *IMAGE_FOLDERS, "data"))  # data/ is FiftyOne's
        own = next((word for word in SPLITS if labels in _joined(root, word)), None)
        images = next(iter(joined_folders(root, IMAGE_FOLDERS, own) if own else found), labels)
    layout = Layout(root, labels, images, {}, {})
    for name in _files(images, root):
        if name.lower().endswith(SUFFIXES):
            layout.files.setdefault(_key(name), []).append(name)
    xmls = [name for name in _files(labels, root) if name.lower().endswith(".xml")]
    if not xmls:
        raise RecordError(labels, "no XML file", "put the labels there")
    # annotations/xmls/a.xml of images/a.jpg, as of Oxford's pets
    below = posixpath.commonpath([posixpath.dirname(name) for name in xmls])
    if below and split_of(below) is None and not any(key.startswith(f"{below}/") for key in layout.files):
        layout.labels = labels / below
        xmls = [name.removeprefix(f"{below}/") for name in xmls]
    layout.xmls |= {_key(name): layout.labels / name for name in xmls}
    return layout


def _labels_folder(root: Path, split: str | None = None) -> Path:
    """The folder of the XML files; where each split has its own, that of one, or of the first."""
    found = named_folders(root, LABELS_FOLDERS)
    if not found and not any(each_visible(root, XMLS)):
        for folder in named_folders(root, XML_FOLDERS):
            places = [folder, *(path for path in visible(folder, "*/") if split_of(path.name))]
            found += [folder] * any(any(each_visible(place, XMLS)) for place in places)
        found += [path for word in SPLITS if split in (None, word) for path in _joined(root, word)]
    return found[0] if found else root


def _joined(root: Path, split: str) -> list[Path]:
    """The folders of XML files of a split, as train_annotations."""
    word = split_of(split)
    folders = [] if word is None else joined_folders(root, (*LABELS_FOLDERS, *XML_FOLDERS), word)
    return [folder for folder in folders if any(each_visible(folder, XMLS))]


def _files(folder: Path, root: Path) -> list[str]:
    """Names of files under a folder; of a folder of images and XML together those in it, as others are other
    splits.
    """
    if folder == root:
        return [path.name for path in visible(folder) if path.is_file()]
    return files_under(folder)


def _key(name: str) -> str:
    """A file's name without its suffix; the folders before it stay."""
    return name.rpartition(".")[0]


def has_voc_split(source: Path, split: str) -> bool:
    """Whether there is a list of "train", "val" or "test" or, without any list, a folder of its XML files."""
    try:
        root = _root(source)
    except (DataError, UserError):
        return False
    sets, labels = root / "ImageSets", _labels_folder(root)
    if any(labels in _joined(root, word) for word in SPLITS):
        return bool(_joined(root, split))
    if sets.is_dir() or labels == root:
        return _list_file(sets, split) is not None
    folders = [folder for folder in labels.iterdir() if split_of(folder.name) == split]
    return any(next(folder.glob(f"**/{XMLS}"), None) for folder in folders)


def _list_file(sets: Path, split: str) -> Path | None:
    """A list in ImageSets; CVAT calls it Train.txt, others valid.txt."""
    if "/" in split:
        path = sets / f"{split}.txt"
        return path if ".." not in split.split("/") and path.is_file() else None
    for kind in ("Main", "Segmentation"):
        lists = sorted(visible(sets / kind, "*.txt"), key=lambda path: (path.stem != split, path.name))
        found = next((path for path in lists if split in (path.stem, split_of(path.stem))), None)
        if found is not None:
            return found
    return None


def _listed(layout: Layout, split: str, problems: Problems) -> list[str]:
    """The names in a list of ImageSets, or in the folder of a split, that have an XML file."""
    sets = layout.root / "ImageSets"
    path = _list_file(sets, split)
    folders = [] if sets.is_dir() else list(dict.fromkeys(key.partition("/")[0] for key in layout.xmls))
    if any(split_of(folder) == split for folder in folders):
        for other in other_subsets(folders):
            problems.note(ProblemKind.OTHER_SUBSET, repr(other))
        return [key for key in sorted(layout.xmls) if split_of(key.partition("/")[0]) == split]
    if path is None:
        known = sorted(file.relative_to(sets).with_suffix("").as_posix() for file in visible(sets, "*/*.txt"))
        raise UserError(
            f"{layout.root}: no split {split!r} in ImageSets; there is "
            f"{', '.join(known[:12]) or 'no list at all'}"
        )
    refuse_leaving(sets, path)
    listed = {_stem(name, layout) for name in listed_names(sets)} if split == "train" else layout.xmls.keys()
    if lost := sorted(layout.xmls.keys() - listed):
        problems.note(ProblemKind.XML_IN_NO_LIST, repr(lost[0]), count=len(lost))
    names = []
    for line in read_lines(path):
        name, _, flag = line.rpartition(" ")
        # the lists of one class say after each name whether the class is in the image: 1, 0 for difficult, -1
        # for no
        flagged = line not in layout.xmls and flag in ("1", "0", "-1")
        if flagged and flag == "-1":
            continue
        key = _stem(name.strip() if flagged else line, layout)
        if key in layout.xmls:
            names.append(key)
        else:
            problems.note(ProblemKind.IMAGE_WITHOUT_XML, repr(key))
    if not names:
        raise RecordError(path, f"none of its names has an XML file in {layout.labels}", "correct the list")
    return list(dict.fromkeys(names))


def _stem(name: str, layout: Layout) -> str:
    """The key of an XML file that a list names with a suffix, or with folders of another machine."""
    stems = (name, _key(name), _key(posixpath.basename(name.replace("\\", "/"))))
    return next((stem for stem in stems if stem in layout.xmls), name)


def _read_xml(layout: Layout, key: str, builder: LabelBuilder) -> Iterator[Object]:
    """Add an image; its objects."""
    path = layout.xmls[key]
    refuse_leaving(layout.labels, path)
    root = parse_xml(path)
    if root.tag != "annotation":
        raise RecordError(
            path, f"its root is {root.tag[:80]!r}, VOC's is 'annotation'", "move the file elsewhere"
        )
    file_name = _image(layout, key, root, builder.problems)
    image = builder.add_image(file_name, size=_size(root, path, builder.problems))
    objects = list(root.iter("object"))  # some lie in a list of their own
    masks = object_masks(layout.root, key, image.size, len(objects), builder.problems)
    for position, element in enumerate(objects, start=1):
        source = f"object {position} of {path.relative_to(layout.labels).as_posix()!r}"
        name = (element.findtext("name") or "").strip()
        rotated = element.find("bndbox") is None and element.find("robndbox") is not None
        if not name or rotated:
            builder.problems.note(ProblemKind.VOC_ROTATED_BOX if rotated else ProblemKind.NO_CLASS, source)
            continue
        if len(element.findall("bndbox")) > 1:
            raise RecordError(path, "has several boxes", "make each an object", f"object {position}")
        _count_lost(element, source, builder.problems)
        box = _box(element)
        mask = None if masks is None else object_mask(masks.get(position), box, source, builder.problems)
        if mask is not None and box is None:
            builder.problems.note(ProblemKind.BOX_FROM_MASK, source)
        yield Object(image, name, source, box, mask, _turn(element))


def _size(root: Element, path: Path, problems: Problems) -> tuple[float, float] | None:
    """Height and width as stated, None where they are not or are 0."""
    height, width = (_number(root.find("size"), side) for side in ("height", "width"))
    if height is None or width is None or not (height > 0 and width > 0):
        problems.note(ProblemKind.IMAGE_SIZE_READ, repr(path.name))
        return None
    return height, width


def _image(layout: Layout, key: str, root: Element, problems: Problems) -> str:
    """The image of the XML file's own name; what its <filename> says where there is none or several."""
    stated = (root.findtext("filename") or "").strip()
    files = layout.files.get(key, [])
    # relative to the folder of the images, or to the one in it that is like the XML's
    near = f"{key.rpartition('/')[0]}/{stated}".lstrip("/")
    for named in (near, stated):
        if named in files:
            return named
    if not files:
        return near or f"{key}.jpg"
    if len(files) > 1:
        what = (
            f"{', '.join(map(repr, files[:4]))} have its name and its <filename> is {stated!r}, none of them"
        )
        raise RecordError(layout.xmls[key], what, "correct that")
    if stated:
        problems.note(ProblemKind.VOC_FILENAME, f"{stated!r} of {files[0]!r}")
    return files[0]


def _box(element: Element) -> Box | None:
    """VOC's corners as they are, in their order; None where one of them is no number."""
    x0, y0, x1, y1 = (_number(element.find("bndbox"), tag) for tag in CORNERS)
    return None if x0 is None or y0 is None or x1 is None or y1 is None else (x0, y0, x1, y1)


def _turn(element: Element) -> float:
    """Degrees, of CVAT's attribute "rotation"."""
    said = {each.findtext("name"): _number(each, "value") for each in element.iter("attribute")}
    return turn_of(said)


def _other_boxes(layout: Layout, keys: Iterable[str]) -> list[Box]:
    """The boxes of XML files that another split lists, as far as they can be read."""
    boxes = []
    for key in keys:
        with suppress(OSError, DataError):
            root = parse_xml(layout.xmls[key])
            boxes += [box for each in root.iter("object") if (box := _box(each)) is not None]
    return boxes


def _of_cvat(root: Path) -> bool:
    """Whether CVAT or Datumaro wrote the folder, who count from 0, by the first line of labelmap.txt."""
    labelmap = root / "labelmap.txt"
    try:
        refuse_leaving(root, labelmap)
        return labelmap.is_file() and next(iter(read_lines(labelmap)), "").startswith(LABELMAP)
    except DataError:
        return False


def _counted_from(boxes: list[Box]) -> int:
    """Whether pixels are counted from 0 or from 1, after all boxes of a set."""
    starts = [min(box) for box in boxes]  # reversed ones too
    zeros = sum(-1 < start < 1 - ROUNDING for start in starts)
    return 0 if zeros > sum(abs(start - 1) <= ROUNDING for start in starts) else 1


def _half_open(box: Box) -> Box:
    """A box of pixels counted from 1, the last one inside, in its order: the builder says where that is
    reversed.
    """
    x0, y0, x1, y1 = box
    return (x0 - (x0 <= x1), y0 - (y0 <= y1), x1 - (x1 < x0), y1 - (y1 < y0))


def _count_lost(element: Element, source: str, problems: Problems) -> None:
    """Count what VOC knows of an object and we do not."""
    if _flag(element, "difficult"):
        problems.note(ProblemKind.VOC_DIFFICULT, source)
    if _flag(element, "truncated") or _flag(element, "occluded"):
        problems.note(ProblemKind.VOC_TRUNCATED, source)
    pose = (element.findtext("pose") or "").strip().lower()
    if pose not in ("", "unspecified") or any(
        element.find(tag) is not None for tag in ("part", "actions", "attributes")
    ):
        problems.note(ProblemKind.VOC_POSE, source)
    if element.find("polygon") is not None:
        problems.note(ProblemKind.VOC_POLYGON, source)


def _flag(element: Element, tag: str) -> bool:
    return (element.findtext(tag) or "").strip().lower() not in ("", "0", "false", "no", "unspecified")


def _number(element: Element | None, tag: str) -> float | None:
    try:
        return None if element is None else float(element.findtext(tag) or "")
    except ValueError:
        return None


def _classes(root: Path, used: set[str]) -> list[str]:
    """Names as labelmap.txt or the lists of each class give them, else sorted; those that neither lists come
    last.
    """
    return list(dict.fromkeys([*_listed_classes(root), *sorted(used)]))


def _listed_classes(root: Path) -> Iterator[str]:
    labelmap = root / "labelmap.txt"  # of CVAT: name:color:parts:actions
    if labelmap.is_file():
        refuse_leaving(root, labelmap)
        for line in read_lines(labelmap):
            name = line.partition(":")[0].strip()
            if name and not line.startswith("#") and name != "background":
                yield name
        return
    names = (path.stem.rpartition("_") for path in visible(root / "ImageSets" / "Main", "*_*.txt"))
    yield from sorted({name for name, mark, part in names if name and mark + part in PARTS})

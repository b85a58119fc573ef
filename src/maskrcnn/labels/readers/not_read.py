"""Labels of kinds that are not read, told by the names of their files, and what to give instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from maskrcnn.safe_files import decoded

HEAD = 4096  # bytes of a file that are looked into
MOST_SHOWN = 4  # kinds of files, and folders, that are named
MOST_COUNTED = 10_000  # files of a folder
EXPORT = "export COCO JSON there"
AS_IMAGES = "write them as label images, images/NAME.jpg and labels/NAME.png, or as COCO JSON"
AS_BOXES = "call its columns filename, class, xmin, ymin, xmax, ymax, or convert it to COCO JSON"


@dataclass(frozen=True)
class NotRead:
    """A kind of labels, or of what holds them."""

    name: str
    patterns: tuple[str, ...]  # of a file, relative to the folder that was given
    remedy: str
    words: tuple[str, ...] = ()  # of which the file has one in its head


# the first that fits counts
KINDS = (
    NotRead("Roboflow's CSV", ("_annotations.csv", "*/_annotations.csv"), EXPORT),
    NotRead("Roboflow's text for Keras", ("_annotations.txt", "*/_annotations.txt"), EXPORT),
    NotRead(
        "classes of whole images, or of pixels, from Roboflow",
        ("_classes.csv", "*/_classes.csv"),
        "export COCO JSON there, of a project whose objects are outlined",
    ),
    NotRead("polygons of HuBMAP", ("*.jsonl",), AS_IMAGES, ('"coordinates"',)),
    NotRead("prompts for a language model", ("*.jsonl", "*/*.jsonl"), EXPORT, ('"prefix"', '"suffix"')),
    NotRead("a project of VoTT", ("*.vott",), EXPORT),
    NotRead("lines of JSON", ("*.jsonl", "*/*.jsonl", "*.ndjson", "*/*.ndjson", "*.manifest"), EXPORT),
    NotRead("TFRecord", ("*.tfrecord*", "*/*.tfrecord*"), "convert it to COCO JSON"),
    NotRead(
        "LabelMe's XML",
        ("*.xml", "*/*.xml"),
        "export LabelMe's JSON or COCO JSON there, from CVAT 'CVAT for images 1.1'",
        ("<polygon>", "<sourceAnnotation", "<submittedBy"),
    ),
    NotRead("Parquet", ("*.parquet", "*/*.parquet"), "save its images, and its labels as COCO JSON"),
    NotRead(
        "Mapillary Vistas",
        ("*/v?.?/panoptic/*.json", "v?.?/panoptic/*.json"),
        "give that file, and its images with --images, as training/images",
    ),
    NotRead("BDD100K's folders", ("labels/ins_seg/*",), "give polygons/ins_seg_train.json in there"),
    NotRead("a table of tasks from Label Studio", ("*.[ct]sv",), "export JSON there", ("annotation_id",)),
    NotRead("a table of shapes from napari", ("*.csv",), "save a Labels layer as TIFF", ("shape-type",)),
    NotRead("a table", ("*.csv", "*/*.csv"), AS_BOXES, ("xmin", "x_min", "bbox")),
    NotRead("a table of images", ("*.csv", "*/*.csv"), AS_BOXES, (".jpg,", ".jpeg,", ".png,")),
    NotRead("KITTI's boxes", ("label_2/*.txt", "*/label_2/*.txt"), "convert them to COCO JSON"),
    NotRead("KITTI's boxes", ("labels/*.txt",), "convert them to COCO JSON", (" -10 ", " -1 ", ".00 ")),
    NotRead(
        "MOTChallenge's boxes", ("gt/gt.txt", "*/gt/gt.txt", "*/*/gt/gt.txt"), "convert them to COCO JSON"
    ),
    NotRead(
        "MOTS as CVAT writes it",
        ("*/instances/labels.txt", "instances/labels.txt"),
        "export COCO JSON, or 'Segmentation mask 1.1'",
    ),
    NotRead("the texts of MOTS", ("instances_txt/*.txt",), "give the PNGs: instances/ beside images/"),
    NotRead("WIDER FACE", ("wider_face_split/*",), "convert it to COCO JSON"),
    NotRead(
        "the Cell Tracking Challenge",
        ("*_GT/SEG/*.tif", "*_ST/SEG/*.tif", "SEG/man_seg*.tif"),
        "copy 01/ to images/ and 01_ST/SEG/ or 01_GT/SEG/ to labels/, each mask with its image's name",
    ),
    NotRead("ADE20K", ("images/ADE/*", "annotations/training/*.png"), "convert its objects to COCO JSON"),
    NotRead(
        "class maps as CamVid's", ("label_colors.txt", "class_dict.csv"), "export instances, as COCO JSON"
    ),
    NotRead(
        "DAVIS or YouTube-VOS",
        ("Annotations/*/*/*.png", "Annotations/*/*.png"),
        "copy the frames to images/ and their masks to labels/, with equal names",
    ),
    NotRead(
        "ImageScope's XML, as MoNuSeg's",
        ("*.xml", "Annotations/*.xml"),
        f"open it in QuPath and export GeoJSON, or {AS_IMAGES}",
        ("<Annotations",),
    ),
    NotRead(
        "arrays of many images, as PanNuke's", ("images.npy", "*/images.npy", "*/*/*/images.npy"), AS_IMAGES
    ),
    NotRead("PNGs of Segments.ai", ("*_label_*.png",), f"{EXPORT}, with its Python package"),
    NotRead("MATLAB's files", ("*.mat", "*/*.mat"), AS_IMAGES),
    NotRead("HDF5, as of ilastik", ("*.h5", "*.hdf5", "*.ilp"), "export label images there, as PNG or TIFF"),
    NotRead(
        "an archive",
        ("*.zip", "*.tar", "*.tgz", "*.gz", "*.7z", "*.rar"),
        "unpack it, and give its folder",
    ),
)


def not_read(path: Path) -> tuple[NotRead, Path] | None:
    """The kind of what a file is, or a folder holds, and the first file of it; None of none that we know."""
    for kind in KINDS:
        file = next((one for one in _files(path, kind) if _has_words(one, kind.words)), None)
        if file is not None:
            return kind, file
    return None


def contents(folder: Path) -> str:
    """What a folder holds, in words."""
    paths = [path for path in islice(folder.iterdir(), MOST_COUNTED) if not path.name.startswith(".")]
    folders = sorted(path.name for path in paths if path.is_dir())
    suffixes = Counter(path.suffix.lower() or "no suffix" for path in paths if not path.is_dir())
    found = [f"{count} {suffix}" for suffix, count in suffixes.most_common(MOST_SHOWN)]
    found += [f"{name}/" for name in folders[:MOST_SHOWN]] + ["..."] * (len(folders) > MOST_SHOWN)
    return ascii(", ".join(found))[1:-1] or "nothing"


def _files(path: Path, kind: NotRead) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for pattern in kind.patterns for file in path.glob(pattern))
    elif any(fnmatchcase(path.name.lower(), pattern) for pattern in kind.patterns):
        yield path


def _has_words(path: Path, words: tuple[str, ...]) -> bool:
    if not words or not path.is_file():
        return not words
    try:
        with path.open("rb") as file:
            head = decoded(file.read(HEAD), "ignore")
    except OSError:
        return False
    return any(word in head for word in words)

"""The same twelve images, as each labelling tool writes them, read back to identical objects.

What is expected comes from the COCO sample by way of pycocotools, which shares no code with our readers.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import samples_more
from claims import bitmap, iou
from make_samples import SAMPLES, make_samples
from PIL import Image
from pycocotools.coco import COCO
from samples_masks import CITYSCAPES
from twelve import Twelve

from maskrcnn.labels.detect import detect
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.types import Annotation, Dataset, LabelledImage


@dataclass
class Thing:
    """One object as it is expected."""

    name: str
    mask: np.ndarray  # bool (H, W)
    keypoints: np.ndarray | None  # (17, 3): continuous x, y, and visibility
    crowd: bool


@dataclass(frozen=True)
class Holds:
    """What a format can hold of the twelve images. The defaults are everything, exactly."""

    source: str = ""  # what a person names, in the sample's folder
    names: dict[str, str] | None = None  # what the classes are called there
    one_class: str = ""  # of all objects, where the format has no classes
    people_only: bool = False
    masks: bool = True
    least_iou: float = 1.0
    crowds: bool = True
    holes: bool = True  # else they are filled
    parts: bool = True  # else an object is its largest part
    keypoints: float | None = None  # pixels they may be off; None: the format has none, or none that we read
    joints: dict[str, str] | None = (
        None  # what those keypoints are called that it has, whose box is an object's
    )
    visibility: bool = True  # else what is labelled counts as visible
    box_error: float = 0.0  # pixels
    empty: bool = True  # else an image without an object has no place
    repairs: dict[str, int] = field(default_factory=dict)


SIDED = ("ankle", "knee", "hip", "wrist", "elbow", "shoulder")
MPII = {f"{side}_{name}": f"{side}_{name}" for side in ("left", "right") for name in SIDED}
FORMATS = {
    "coco": Holds(keypoints=1e-6),
    "coco-panoptic": Holds(repairs={"stuff segment left out": 12}),
    "lvis": Holds(source="annotations/lvis_v1_train.json", least_iou=0.99, crowds=False, holes=False),
    "cityscapes": Holds(names=CITYSCAPES),
    "penn-fudan": Holds(people_only=True),
    "voc": Holds(crowds=False),
    "yolo": Holds(crowds=False, least_iou=0.99),
    "yolo-pose": Holds(people_only=True, masks=False, keypoints=1e-4, box_error=1e-4),
    "labelme": Holds(crowds=False, least_iou=0.99),
    "via-project": Holds(crowds=False, holes=False, parts=False, least_iou=0.99),
    "via-export": Holds(crowds=False, holes=False, parts=False, least_iou=0.99),
    "via-csv": Holds(crowds=False, holes=False, parts=False, least_iou=0.99),
    "cvat": Holds(crowds=False, least_iou=0.99, keypoints=0.005),
    "label-studio": Holds(crowds=False, least_iou=0.99, keypoints=1e-6, visibility=False),
    "supervisely": Holds(crowds=False),
    "instance-png": Holds(crowds=False, one_class="object"),
    "mask-folders": Holds(crowds=False, one_class="object"),
    "createml": Holds(crowds=False, masks=False),
    "dota": Holds(crowds=False, masks=False),
    "bdd100k": Holds(),
    "kitti-mots": Holds(crowds=False, people_only=True, names={"person": "pedestrian"}),
    "kitti-semantic": Holds(names=CITYSCAPES),
    "datumaro": Holds(source="annotations/train.json"),
    "open-images": Holds(
        empty=False, box_error=1e-3, repairs={"image without a row in the table left out": 1}
    ),
    "run-lengths": Holds(crowds=False),
    "segmentation-masks": Holds(crowds=False),
    "cellpose": Holds(crowds=False, one_class="object"),
    "qupath": Holds(crowds=False, holes=False, least_iou=0.99),
    "imagej-rois": Holds(
        crowds=False,
        holes=False,
        parts=False,
        one_class="object",
        least_iou=0.99,
        empty=False,
        repairs={"image without an annotation file left out": 1},
    ),
    "via-3": Holds(crowds=False, holes=False, parts=False, least_iou=0.99),
    "mpii": Holds(
        source="annot/train.json",
        people_only=True,
        masks=False,
        keypoints=1e-6,
        box_error=1e-6,
        joints=MPII | {"nose": "head_top"},
        empty=False,
        repairs={"box taken from the keypoints": 8, "sigmas of 0.05 assumed": 1},
    ),
}


@cache
def truth() -> tuple[dict[str, list[Thing]], list[str]]:
    """The objects of each image by its stem, and the names of the keypoints."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(SAMPLES / "coco/train.json"))
    found: dict[str, list[Thing]] = {}
    for image in coco.dataset["images"]:
        records = coco.loadAnns(coco.getAnnIds([image["id"]]))
        found[Path(image["file_name"]).stem] = [_thing(coco, record) for record in records]
    person = next(category for category in coco.dataset["categories"] if category["name"] == "person")
    return found, person["keypoints"]


def _thing(coco: COCO, record: dict) -> Thing:
    keypoints = None
    if "keypoints" in record:
        keypoints = np.array(record["keypoints"], float).reshape(-1, 3)
        keypoints[:, :2] += 0.5  # of the pixel's index
    name = coco.cats[record["category_id"]]["name"]
    return Thing(name, coco.annToMask(record) > 0, keypoints, bool(record["iscrowd"]))


def expected(thing: Thing, holds: Holds) -> Thing | None:
    """What a format that holds so much makes of an object; None where it has no place for it."""
    if (thing.crowd and not holds.crowds) or (holds.people_only and thing.name != "person"):
        return None
    mask, keypoints = thing.mask, thing.keypoints
    if not holds.parts and not thing.crowd:
        count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
        mask = max((parts == part for part in range(1, count)), key=lambda part: fill(part).sum())
    if not holds.holes:
        mask = fill(mask)
    if keypoints is not None and not holds.visibility:
        keypoints = np.column_stack([keypoints[:, :2], np.where(keypoints[:, 2] > 0, 2, 0)])
    if keypoints is not None and holds.joints:
        keypoints = keypoints[[truth()[1].index(name) for name in holds.joints]]
    name = holds.one_class or (holds.names or {}).get(thing.name, thing.name)
    return Thing(name, mask, keypoints, thing.crowd)


def fill(mask: np.ndarray) -> np.ndarray:
    """The mask with its holes: all that the background does not reach from outside."""
    outside = np.ascontiguousarray(np.pad(mask, 1), dtype=np.uint8)
    cv2.floodFill(outside, None, (0, 0), 2)
    return outside[1:-1, 1:-1] != 2


def stem(image: LabelledImage) -> str:
    """The image's own name, which some tools add to."""
    name = Path(image.file_name).stem.removesuffix("_leftImg8bit")
    parts = [part for part in name.replace("-", "_").split("_") if part.isdigit()]
    number = parts[0] if len(parts) == 2 and parts[1] == "000019" else parts[-1]
    return f"{int(number):012d}"


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_objects(name: str, tmp_path: Path) -> None:
    holds = FORMATS[name]
    source = SAMPLES / name / holds.source
    if name in samples_more.WRITERS:
        source = tmp_path / holds.source
        samples_more.WRITERS[name](Twelve(), tmp_path)
    found = detect(source) or detect(source / "train")
    assert found is not None and found.name == {"yolo-pose": "yolo"}.get(
        name, name.partition("-")[0] if "via" in name else name
    )
    dataset = open_dataset(source, "train")
    assert dataset.problems.texts() == holds.repairs
    check(dataset, holds)


def test_the_polygons_of_cityscapes(tmp_path: Path) -> None:
    """They are drawn where there are no images of ids, as the tool does: each takes some pixels along its
    edge.
    """
    folder = tmp_path / "cityscapes"
    shutil.copytree(SAMPLES / "cityscapes", folder, ignore=shutil.ignore_patterns("*_instanceIds.png"))
    check(open_dataset(folder, "train"), Holds(names=CITYSCAPES, parts=False, least_iou=0.95, box_error=3.0))


def check(dataset: Dataset, holds: Holds) -> None:
    """The data set is the twelve images as far as its format holds them."""
    things, keypoint_names = truth()
    images = [name for name in things if holds.empty or any(expected(one, holds) for one in things[name])]
    assert sorted(stem(dataset.image(index)) for index in range(len(dataset))) == sorted(images)
    order = []
    if holds.keypoints is not None:
        assert dataset.keypoints is not None
        names = holds.joints or dict(zip(keypoint_names, keypoint_names, strict=True))
        order = [dataset.keypoints.names.index(name) for name in names.values()]
        if not holds.joints:
            assert sorted(dataset.keypoints.names) == sorted(keypoint_names)
            assert dataset.keypoints.sigmas[order[0]] == 0.026  # the nose's
            assert dataset.keypoints.names[dataset.keypoints.flip[order[1]]] == "right_eye"
    for index in range(len(dataset)):
        image = dataset.image(index)
        wanted = [thing for each in things[stem(image)] if (thing := expected(each, holds)) is not None]
        np.testing.assert_array_equal(dataset.pixels(index), pixels(stem(image)))
        assert len(image.annotations) == len(wanted), image.file_name
        left = list(image.annotations)
        for thing in wanted:
            same = [a for a in left if dataset.classes[a.label] == thing.name and a.crowd == thing.crowd]
            best = max(same, key=lambda a: iou_of(a, image, thing, holds))
            left.remove(best)
            check_object(best, image, thing, holds, order)


def iou_of(annotation: Annotation, image: LabelledImage, thing: Thing, holds: Holds) -> float:
    if holds.masks:
        return iou(bitmap(annotation, image), thing.mask)
    return -float(np.abs(np.subtract(annotation.box, wanted_box(thing, holds))).max())


def check_object(
    annotation: Annotation, image: LabelledImage, thing: Thing, holds: Holds, order: list[int]
) -> None:
    where = f"{image.file_name}: {thing.name} {annotation.id}"
    assert thing.mask.sum() > 100, where
    if holds.masks:
        found = bitmap(annotation, image)
        assert iou(found, thing.mask) >= holds.least_iou, f"{where}: IoU {iou(found, thing.mask):.4f}"
        assert annotation.area == found.sum(), where
    np.testing.assert_allclose(
        annotation.box, wanted_box(thing, holds), rtol=0, atol=holds.box_error, err_msg=where
    )
    if holds.keypoints is None:
        assert annotation.keypoints is None
    elif thing.keypoints is None:
        assert annotation.keypoints is None or not annotation.keypoints[:, 2].any()
    else:
        assert annotation.keypoints is not None, where
        np.testing.assert_allclose(annotation.keypoints[order], thing.keypoints, rtol=0, atol=holds.keypoints)


def wanted_box(thing: Thing, holds: Holds) -> list[float]:
    if not holds.joints or thing.keypoints is None:
        return box_of(thing.mask)
    there = thing.keypoints[thing.keypoints[:, 2] > 0, :2]
    return [*there.min(0), *there.max(0)]


def box_of(mask: np.ndarray) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


@cache
def pixels(stem: str) -> np.ndarray:
    return np.asarray(Image.open(SAMPLES / "coco/train" / f"{stem}.png").convert("RGB"))


def test_what_lvis_says_was_searched() -> None:
    dataset = open_dataset(SAMPLES / "lvis/annotations/lvis_v1_train.json")
    things, _ = truth()
    for index in range(len(dataset)):
        image = dataset.image(index)
        here = things[stem(image)]
        crowded = {thing.name for thing in here if thing.crowd}
        assert {dataset.classes[label] for label in image.not_exhaustive} == crowded
        assert image.negative is not None
        assert not {dataset.classes[label] for label in image.negative} & {thing.name for thing in here}
    assert sum(len(dataset.image(index).not_exhaustive) for index in range(len(dataset))) == 1


def test_the_samples_have_what_is_hard() -> None:
    """Holes, parts, a crowd, hidden keypoints, an empty image: a sample without them would prove nothing."""
    things = [thing for each in truth()[0].values() for thing in each]
    assert sum(thing.crowd for thing in things) == 1 and min(map(len, truth()[0].values())) == 0
    assert sum((fill(thing.mask) != thing.mask).any() for thing in things) >= 2
    parts = [cv2.connectedComponents(thing.mask.astype(np.uint8), connectivity=4)[0] - 1 for thing in things]
    assert sum(count > 1 for count in parts) >= 5
    visibility = np.concatenate([thing.keypoints[:, 2] for thing in things if thing.keypoints is not None])
    assert (visibility == 1).sum() >= 5 and (visibility == 2).sum() >= 50


def test_the_script_still_writes_them(tmp_path: Path) -> None:
    """The same files; their labels may only differ where another version draws or packs images otherwise."""
    make_samples(tmp_path)
    ours = {path.relative_to(SAMPLES) for path in SAMPLES.rglob("*") if path.is_file()}
    masks = {path for path in ours if path.parts[0] == "mask-folders"}  # named by their content
    again = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in again if path.parts[0] != "mask-folders"} == ours - masks
    assert sum((SAMPLES / path).stat().st_size for path in ours) < 1_500_000

"""The same twelve generated images in every form that we write, read back to the same objects."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from claims import bitmap, iou
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from maskrcnn.cli.main import main
from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.convert import WRITERS, convert_data
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset, open_pair
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Annotation, Dataset, DatasetInfo, LabelledImage
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.labels.writers.left_out import LeftOut
from maskrcnn.masks.polygons import bitmap_rings, one_ring
from maskrcnn.masks.rle import bitmap_rle, polygons_rle, rle_area, rle_bitmap, rle_box

NO_CLASSES = ("instance-png", "labels")  # tell objects apart, not classes


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    write_coco(Synthetic(12, seed=5), root / "train.json", root / "train")
    write_coco(Synthetic(3, seed=6), root / "val.json", root / "val")
    return root


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_the_same_objects_come_back(name: str, source: Path, tmp_path: Path) -> None:
    written, lost = convert_data(str(source), name, tmp_path / "out")
    back = dict(zip(("train", "val"), open_pair(tmp_path / "out"), strict=True))
    assert len(lost) == (1 if name in NO_CLASSES else 0)  # the names of the classes
    for split, dataset in written.items():
        again = back[split]
        assert again is not None and len(again) == len(dataset)
        for index in range(len(dataset)):
            mine, other = dataset.image(index), again.image(index)
            assert Path(mine.file_name).stem == Path(other.file_name).stem
            assert np.array_equal(dataset.pixels(index), again.pixels(index))
            assert len(mine.annotations) == len(other.annotations)
            for a, b in zip(mine.annotations, other.annotations, strict=True):
                assert iou(bitmap(a, mine), bitmap(b, other)) == 1.0
                if name not in NO_CLASSES:
                    assert dataset.classes[a.label] == again.classes[b.label]


@pytest.mark.parametrize("name", sorted(set(WRITERS) - set(NO_CLASSES)))
def test_splits_of_other_classes_keep_theirs(name: str, tmp_path: Path) -> None:
    root = tmp_path / "source"
    write_coco(Synthetic(6, seed=5), root / "train.json", root / "train")
    write_coco(Synthetic(3, seed=6), root / "val.json", root / "val")
    labels = json.loads((root / "val.json").read_text())
    # val lists them the other way round, with other ids, and has one that train has not
    ids = {each["id"]: 20 - each["id"] for each in labels["categories"]}
    labels["categories"] = [{**each, "id": ids[each["id"]]} for each in reversed(labels["categories"])]
    labels["categories"].insert(0, {"id": 50, "name": "zebra"})
    for each in labels["annotations"]:
        each["category_id"] = ids[each["category_id"]]
    labels["annotations"][0]["category_id"] = 50
    (root / "val.json").write_text(json.dumps(labels))
    written, lost = convert_data(str(root), name, tmp_path / "out")
    assert not lost
    for split, again in zip(("train", "val"), open_pair(tmp_path / "out"), strict=True):
        assert again is not None
        for mine, other in zip(open_dataset(str(root), split), again, strict=True):
            named = [
                [source.classes[a.label] for a in image.annotations]
                for source, image in ((open_dataset(str(root), split), mine), (again, other))
            ]
            assert named[0] == named[1]


def test_the_command(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["convert", "data", str(source), "--to", "instance-png", "--out", str(out)]) == 0
    output = capsys.readouterr()
    assert "15 images as instance-png" in output.out and "lost: class name" in output.err
    assert main(["convert", "data", str(source), "--to", "yolo", "--out", str(out)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert main(["convert", "data", str(source), "--to", "tfrecord", "--out", str(tmp_path / "x")]) == 2
    assert "coco, yolo" in capsys.readouterr().err


def hard_set(tmp_path: Path) -> Dataset:
    """A mask with a hole, one in two parts, a crowd, a box without a mask, two that overlap."""
    from PIL import Image

    Image.new("RGB", (90, 70)).save(tmp_path / "a.png")
    holed = np.zeros((70, 90), np.uint8)
    holed[10:40, 10:40], holed[20:30, 20:30] = 1, 0
    parts = np.zeros((70, 90), np.uint8)
    parts[50:60, 5:25], parts[50:60, 40:60] = 1, 1
    crowd = np.zeros((70, 90), np.uint8)
    crowd[0:8, 60:90] = 1
    over = np.zeros((70, 90), np.uint8)
    over[35:55, 15:30] = 1
    annotations = []
    for number, mask in enumerate((holed, parts, crowd, over), start=1):
        rle = bitmap_rle(mask)
        annotations.append(
            Annotation(rle_box(rle), 0, rle=rle, crowd=mask is crowd, area=rle_area(rle), id=number)
        )
    annotations.append(Annotation((62.0, 30.0, 80.0, 60.0), 1, area=540, id=5))
    image = LabelledImage(1, "a.png", tmp_path / "a.png", 70, 90, annotations)
    return FileDataset([image], DatasetInfo(name="hard", classes=["cell", "box"], class_ids=[1, 2]))


@pytest.mark.parametrize(
    ("name", "losses"),
    [
        ("coco", {}),
        ("yolo", {"crowd region": 1}),
        ("labelme", {"crowd region": 1}),
        ("voc", {"crowd region": 1, "pixels that two objects share": 125}),
        ("cvat", {"crowd region": 1}),
        ("label-studio", {"crowd region": 1}),
        ("geojson", {"crowd region": 1, "box drawn as an outline": 1}),
        (
            "labels",
            {
                "crowd region": 1,
                "object without a mask": 1,
                "class name": 3,
                "pixels that two objects share": 125,
            },
        ),
        (
            "instance-png",
            {
                "crowd region": 1,
                "object without a mask": 1,
                "class name": 3,
                "pixels that two objects share": 125,
            },
        ),
    ],
)
def test_what_a_format_cannot_hold_is_counted(name: str, losses: dict[str, int], tmp_path: Path) -> None:
    dataset = hard_set(tmp_path)
    lost = LeftOut()
    WRITERS[name]({"train": dataset}, tmp_path / "out", lost)
    if "pixels that two objects share" in losses:
        masks = [bitmap(a, dataset.image(0)) for a in dataset.image(0).annotations[:4]]
        shared = int((masks[3] & (masks[0] | masks[1])).sum())
        losses = losses | {"pixels that two objects share": shared}
    assert dict(lost.counts) == losses
    assert all(line.startswith("lost: ") for line in lost.lines())
    again = open_dataset(tmp_path / "out", "train")
    image, original = again.image(0), dataset.image(0)
    kept = [a for a in original.annotations if name == "coco" or not a.crowd]
    if name in NO_CLASSES:
        kept = [a for a in kept if a.rle is not None]
    assert len(image.annotations) == len(kept)
    if name not in ("voc", *NO_CLASSES):  # holes and parts survive
        for a, b in zip(kept, image.annotations, strict=True):
            assert again.classes[b.label] == dataset.classes[a.label] and a.crowd == b.crowd
            if a.rle is not None:
                assert iou(bitmap(a, original), bitmap(b, image)) == 1.0
            else:
                np.testing.assert_allclose(b.box, a.box, atol=1e-4)


def test_yolo_of_an_image_in_a_folder_called_images_in_part(tmp_path: Path) -> None:
    dataset = hard_set(tmp_path)
    image = replace(dataset.image(0), file_name="train_images/a.png")
    WRITERS["yolo"]({"train": FileDataset([image], dataset.info)}, tmp_path / "out", LeftOut())
    assert len(open_dataset(tmp_path / "out", "train").image(0).annotations) == 4


@pytest.mark.parametrize("name", ["yolo", "label-studio"])
@pytest.mark.parametrize(
    "rings",
    [
        [[(5, 5), (35, 5), (35, 45), (5, 45)], [(25, 25), (75, 25), (75, 55), (25, 55)]],  # on one another
        [[(-100, 35), (50, -15), (50, 85)]],  # its corners are outside of the image
    ],
)
def test_what_polygons_cover_is_kept_in_one_ring(
    name: str, rings: list[list[tuple[int, int]]], tmp_path: Path
) -> None:
    image = hard_set(tmp_path).image(0)
    image.annotations = [Annotation((0, 0, 90, 70), 0, polygons=[np.array(r, float) for r in rings], area=9)]
    dataset = FileDataset([image], DatasetInfo(name="one", classes=["cell"], class_ids=[1]))
    WRITERS[name]({"train": dataset}, tmp_path / "out", LeftOut())
    (again,) = open_dataset(tmp_path / "out", "train").image(0).annotations
    assert iou(bitmap(again, image), bitmap(image.annotations[0], image)) > 0.99


def test_val_alone_of_a_format_that_is_named(tmp_path: Path) -> None:
    write_coco(Synthetic(3, seed=6), tmp_path / "in/val.json", tmp_path / "in/val")
    written, _ = convert_data(f"coco:{tmp_path / 'in'}", "yolo", tmp_path / "out")
    assert {split: len(dataset) for split, dataset in written.items()} == {"val": 3}


@settings(max_examples=150, deadline=None)
@given(arrays(np.uint8, (12, 14), elements=st.integers(0, 1)))
def test_rings_draw_the_mask_again(mask: np.ndarray) -> None:
    """Any mask at all: its rings, with holes cut in, drawn by COCO's rule, are the mask."""
    parts = bitmap_rings(mask)
    assert bool(parts) == bool(mask.any())
    if not parts:
        return
    drawn = np.zeros_like(mask)
    for outer, holes in parts:
        rle = polygons_rle([one_ring([(outer, holes)])], *mask.shape)
        assert rle is not None
        drawn |= rle_bitmap(rle)
    assert iou(drawn > 0, mask > 0) > 0.99


def test_a_folder_of_two_formats_asks(source: Path, tmp_path: Path) -> None:
    convert_data(str(source), "yolo", tmp_path / "out")
    (tmp_path / "out" / "PNGImages").mkdir()
    (tmp_path / "out" / "PedMasks").mkdir()
    with pytest.raises(UserError, match="yolo and penn-fudan.*yolo:"):
        open_dataset(tmp_path / "out")
    assert len(open_dataset(f"yolo:{tmp_path / 'out'}", "train")) == 12


@st.composite
def shaped(draw: st.DrawFn) -> Annotation:
    """An object in an image of 90 x 120: a star of random arms as a polygon of over 100 pixels, or as an
    RLE.
    """
    count = draw(st.integers(3, 12))
    arms = np.array(draw(st.lists(st.floats(12, 34), min_size=count, max_size=count)))
    x, y = draw(st.floats(36, 84)), draw(st.floats(36, 54))
    turns = np.linspace(0, 2 * np.pi, count, endpoint=False) + draw(st.floats(0, 1))
    ring = np.stack([x + arms * np.cos(turns), y + arms * np.sin(turns)], axis=1)
    rle = polygons_rle([ring], 90, 120)
    assert rle is not None and rle_area(rle) > 100
    if draw(st.booleans()):
        return Annotation(rle_box(rle), 0, rle=rle, area=rle_area(rle), id=1)
    box = (*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist())
    return Annotation(box, 0, polygons=[ring], area=rle_area(rle), id=1)


@pytest.mark.parametrize("name", sorted(WRITERS))
@settings(max_examples=25, deadline=None)
@given(annotation=shaped())
def test_any_shape_comes_back(
    name: str, annotation: Annotation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from PIL import Image

    folder = tmp_path_factory.mktemp("shapes")
    Image.new("RGB", (120, 90)).save(folder / "a.png")
    image = LabelledImage(1, "a.png", folder / "a.png", 90, 120, [annotation])
    dataset = FileDataset([image], DatasetInfo(name="one", classes=["star"], class_ids=[1]))
    WRITERS[name]({"train": dataset}, folder / "out", LeftOut())
    (again,) = open_dataset(folder / "out", "train").image(0).annotations
    share = iou(bitmap(annotation, image), bitmap(again, image))
    assert share == 1.0 if annotation.rle is not None else share > 0.99


SAMPLES = sorted(path.name for path in (Path(__file__).parent / "samples").iterdir() if path.is_dir())


@pytest.mark.parametrize("name", sorted(WRITERS))
@pytest.mark.parametrize("sample", SAMPLES)
def test_every_format_becomes_every_other(sample: str, name: str, tmp_path: Path) -> None:
    """Whatever folders the images lie in, what was written is found again, and all that is not is counted."""
    written, lines = convert_data(str(Path(__file__).parent / "samples" / sample), name, tmp_path / "out")
    dataset = written["train"]
    lost = sum(
        int(line.split(": ")[2].split(";")[0])
        for line in lines
        if "crowd" in line or "without a mask" in line
    )
    count = sum(len(dataset.image(index).annotations) for index in range(len(dataset)))
    if lost == count:
        assert sample == "yolo-pose" and name in NO_CLASSES
        return
    again = open_dataset(tmp_path / "out", "train")
    assert len(again) == len(dataset) == 12
    assert sum(len(again.image(index).annotations) for index in range(12)) == count - lost


def test_poses_of_objects_without_keypoints_are_kept(tmp_path: Path) -> None:
    """A line of a pose has keypoints: an object that has none gets invisible ones, and is not lost."""
    source = Path(__file__).parent / "samples" / "yolo-pose"
    dataset = open_dataset(source, "train")
    images = list(dataset.image(index) for index in range(12))
    bare = next(image for image in images if image.annotations)
    bare.annotations[0].keypoints = None
    part = FileDataset(
        images,
        DatasetInfo(
            name="part", classes=dataset.classes, class_ids=dataset.class_ids, keypoints=dataset.keypoints
        ),
    )
    lost = LeftOut()
    WRITERS["yolo"]({"train": part}, tmp_path / "out", lost)
    again = open_dataset(tmp_path / "out", "train")
    assert not lost.counts and again.keypoints == dataset.keypoints
    for mine, other in zip(images, (again.image(index) for index in range(12)), strict=True):
        assert len(mine.annotations) == len(other.annotations)
        for a, b in zip(mine.annotations, other.annotations, strict=True):
            assert b.keypoints is not None
            expected = np.zeros_like(b.keypoints) if a.keypoints is None else a.keypoints
            np.testing.assert_allclose(b.keypoints, expected, atol=1e-3)


def test_stacks_are_refused_as_check_does(tmp_path: Path) -> None:
    """Each page may be an image of its own, of which the labels are for one."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
        page = Image.fromarray(np.eye(8, dtype=np.uint8))
        page.save(tmp_path / name / "a.tif", save_all=True, append_images=[page] * 4 * (name == "images"))
    with pytest.raises(DataError, match="a.tif: a TIFF of 5 pages"):
        convert_data(str(tmp_path), "coco", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    convert_data(str(tmp_path), "coco", tmp_path / "out", channels=5)
    assert (tmp_path / "out/train.json").exists()


@pytest.mark.parametrize("form", ["cvat", "voc", "coco"])
def test_names_that_xml_cannot_hold_lose_no_image(form: str, tmp_path: Path) -> None:
    """Control characters, a line end, and a byte that is no UTF-8."""
    write_coco(Synthetic(4, seed=5), tmp_path / "train.json", tmp_path / "train")
    names = [os.fsdecode(b"a\xff.png"), "b\x1b[1m.png", "c\nd.png", "\u00e9 <&>.png"]
    for place, name in zip(sorted((tmp_path / "train").iterdir()), names, strict=True):
        place.rename(place.with_name(name))
    labels = json.loads((tmp_path / "train.json").read_text())
    for image, name in zip(labels["images"], names, strict=True):
        image["file_name"] = name
    (tmp_path / "train.json").write_text(json.dumps(labels))
    written = convert_data(str(tmp_path), form, tmp_path / "out")[0]["train"]
    back = open_dataset(str(tmp_path / "out"), "train")
    paths = [back.image(index).path for index in range(len(back))]
    assert len(paths) == 4 and all(path is not None and path.is_file() for path in paths)
    count = sum(len(written.image(index).annotations) for index in range(4))
    assert sum(len(back.image(index).annotations) for index in range(4)) == count


def test_poses_of_two_classes_are_read_again(tmp_path: Path) -> None:
    """YAML has a shorthand for a list that is there twice, which is not read."""
    points = {"keypoints": ["nose", "tail"], "skeleton": []}
    categories = [{"id": number, "name": name, **points} for number, name in enumerate("ab", 1)]
    annotations = [
        {"id": number, "image_id": 1, "category_id": number, "bbox": [5, 5, 20, 10], "area": 200, "iscrowd": 0,
         "keypoints": [6, 6, 2, 9, 9, 2], "num_keypoints": 2}
        for number in (1, 2)
    ]  # fmt: skip
    images = [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps(document))
    convert_data(str(tmp_path / "a.json"), "yolo", tmp_path / "out")
    again = open_dataset(tmp_path / "out", "train")
    assert again.classes == ["a", "b"] and len(again.image(0).annotations) == 2
    assert again.keypoints is not None and again.keypoints.names == ["nose", "tail"]

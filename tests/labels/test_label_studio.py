"""Label Studio's JSON and JSON-MIN, the brush's bit stream, and where an export's images are found."""

from __future__ import annotations

import base64
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claims import refused
from fuzz import Subject, check_spoilt
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from samples_masks import brush_rle

from maskrcnn.errors import DataError, RecordError
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.readers.label_studio import looks_like_label_studio, read_label_studio
from maskrcnn.labels.readers.label_studio_rle import brush_mask
from maskrcnn.labels.types import Annotation
from maskrcnn.masks.rle import rle_bitmap

HEIGHT, WIDTH = 40, 50
ADDRESS = "/data/upload/3/0a1b2c3d-a.png"


def painted() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[5:15, 30:45] = 1
    mask[8, 33] = 0
    return mask


def region(kind: str, label: str, value: dict[str, Any], **fields: Any) -> dict[str, Any]:
    shared = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "to_name": "image"}
    return shared | {"id": f"{kind}_{label}", "type": kind, "value": value | {kind: [label]}} | fields


def good() -> list[dict[str, Any]]:
    """A task with a shape of each kind."""
    result = [
        region(
            "rectanglelabels", "car", {"x": 10.0, "y": 20.0, "width": 40.0, "height": 50.0, "rotation": 0}
        ),
        region("polygonlabels", "bus", {"points": [[20, 10], [60, 10], [60, 60]], "closed": True}),
        region("brushlabels", "car", {"format": "rle", "rle": brush_rle(painted())}),
        region("ellipselabels", "bus", {"x": 50, "y": 50, "radiusX": 20, "radiusY": 12.5, "rotation": 0}),
        region(
            "keypointlabels", "nose", {"x": 15.0, "y": 25.0, "width": 0.5}, parentID="rectanglelabels_car"
        ),
        region(
            "keypointlabels", "tail", {"x": 45.0, "y": 60.0, "width": 0.5}, parentID="rectanglelabels_car"
        ),
    ]
    result[4]["id"], result[5]["id"] = "k1", "k2"
    annotation = {"id": 1, "completed_by": 1, "was_cancelled": False, "result": result}
    return [{"id": 11, "annotations": [annotation], "data": {"image": ADDRESS}, "predictions": []}]


class Files:
    """An export in a folder of its own, to be spoilt by a test."""

    def __init__(self, folder: Path) -> None:
        self.json = folder / "export.json"
        self.image = folder / "images/a.png"
        self.image.parent.mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(self.image)
        self.tasks = good()
        self.task = self.tasks[0]
        self.regions: list[Any] = self.task["annotations"][0]["result"]

    def read(self) -> FileDataset:
        self.json.write_text(json.dumps(self.tasks))
        return read_label_studio(self.json)

    def lost(self, kind: str, count: int = 1) -> FileDataset:
        """Read; beside the assumed sigmas only `kind` is counted."""
        dataset = self.read()
        assert {k: n for k, n in dataset.problems.texts().items() if "sigmas" not in k} == {kind: count}
        assert any(kind in line and "; " in line for line in dataset.problems.lines())
        return dataset

    def refused(self, *words: str) -> None:
        refused(self.read, *words)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def objects(dataset: FileDataset) -> list[Annotation]:
    return dataset.image(0).annotations


def mask(annotation: Annotation) -> np.ndarray:
    return rle_bitmap(annotation_rle(annotation, HEIGHT, WIDTH))


def check_shapes(dataset: FileDataset) -> None:
    assert dataset.classes == ["bus", "car"] and dataset.class_ids == [1, 2]
    image = dataset.image(0)
    assert (image.image_id, image.height, image.width) == (11, HEIGHT, WIDTH)
    box, polygon, strokes, ellipse = image.annotations
    assert box.box == pytest.approx((5.0, 8.0, 25.0, 28.0)) and box.label == 1 and box.polygons is None
    np.testing.assert_allclose(polygon.polygons[0], [[10, 4], [30, 4], [30, 24]])
    np.testing.assert_array_equal(mask(strokes), painted())
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = ((x - 25) / 10) ** 2 + ((y - 20) / 5) ** 2 <= 1
    assert (mask(ellipse) != inside).sum() <= 8


def test_json(files: Files) -> None:
    dataset = files.read()
    assert looks_like_label_studio(files.json) and looks_like_label_studio(files.json.parent)
    assert set(dataset.problems.texts()) == {"sigmas of 0.05 assumed"}
    check_shapes(dataset)
    assert dataset.keypoints.names == ["nose", "tail"]
    np.testing.assert_allclose(objects(dataset)[0].keypoints, [[7.5, 10, 2], [22.5, 24, 2]])
    assert all(annotation.keypoints is None for annotation in objects(dataset)[1:])


def json_min(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same in JSON-MIN, which keeps values only."""
    values = [
        r["value"] | {key: r[key] for key in ("original_width", "original_height")}
        for r in tasks[0]["annotations"][0]["result"]
    ]
    shared = {"id": 11, "image": ADDRESS, "annotator": 1, "annotation_id": 5, "lead_time": 3.1}
    return [shared | {"label": values}]


def test_json_min(files: Files) -> None:
    files.tasks = json_min(files.tasks)
    files.tasks.append(files.tasks[0] | {"annotator": 2})
    dataset = files.read()
    assert looks_like_label_studio(files.json)
    check_shapes(dataset)
    assert len(dataset) == 1 and dataset.problems.texts() == {
        "annotation by another person left out": 1,
        "keypoint without an object left out": 2,
    }


def test_labels_apart_from_shapes(files: Files) -> None:
    value = {"x": 10.0, "y": 20.0, "width": 40.0, "height": 50.0, "rotation": 0}
    files.regions[:] = [
        region("rectangle", "", value, id="r") | {"value": value},
        region("labels", "car", value, id="r"),
        region("rectangle", "", value, id="s") | {"value": value},
    ]
    assert len(objects(files.lost("shape without a label left out"))) == 1


@pytest.mark.parametrize("region_id", [None, {}, [1], 3])
def test_ids_that_are_none(files: Files, region_id: Any) -> None:
    files.regions[0] |= {"id": region_id, "value": {"x": 1.0, "y": 1.0, "width": 9.0, "height": 9.0}}
    assert files.read().problems.texts()["shape without a label left out"] == 1


def test_several_annotators(files: Files) -> None:
    annotations = files.task["annotations"]
    annotations.insert(0, {"was_cancelled": True, "result": []})
    annotations.append(copy.deepcopy(annotations[1]) | {"completed_by": 2})
    check_shapes(files.lost("annotation by another person left out", 2))


def test_tasks_without_annotations(files: Files) -> None:
    files.tasks.append(
        {"id": 12, "annotations": [], "data": {"image": "b.png"}, "predictions": [{"result": []}]}
    )
    dataset = files.read()
    assert len(dataset) == 1 and dataset.problems.texts()["task without an annotation left out"] == 1
    assert dataset.problems.texts()["prediction left out"] == 1


def test_predictions_alone_are_no_labels(files: Files) -> None:
    """What `predict --save label-studio` writes, before a person has been over it."""
    files.task["predictions"] = files.task.pop("annotations")
    with pytest.raises(RecordError, match="predictions only; submit the tasks in Label Studio and export"):
        files.read()


def test_a_task_that_was_submitted_empty(files: Files) -> None:
    Image.new("RGB", (7, 9)).save(files.image.with_name("b.png"))
    files.tasks.append({"id": 12, "annotations": [{"result": []}], "data": {"image": "b.png"}})
    image = files.read().image(1)
    assert image.annotations == [] and (image.height, image.width) == (9, 7)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"type": "choices", "value": {"choices": ["x"]}}, "attribute left out"),
        ({"type": "vectorlabels"}, "shape of an unread kind left out"),
        ({"image_rotation": 90}, "shape on a turned image left out"),
        ({"value": {"points": [[1, 1], [9, 1], [9, 9]], "polygonlabels": []}}, "shape without a label left out"),
        ({"value": {"points": [[1, 1], [9, 1], [9, 9]], "polygonlabels": ["a", "b"]}}, "second label of a shape left out"),
        ({"value": {"points": [[1, 1], [9e306, 1], [9, 9]], "polygonlabels": ["a"]}}, "outline too long to draw dropped"),
        ({"value": {"points": [[1, 1], [10**400, 1], [9, 9]], "polygonlabels": ["a"]}}, "non-finite coordinates dropped"),
        ({"value": {"points": 5, "polygonlabels": ["a"]}}, "annotation without a usable box dropped"),
        ({"type": "keypointlabels", "value": {"keypointlabels": ["nose"]}}, "keypoint without an object left out"),
    ],
)  # fmt: skip
def test_what_is_lost_is_counted(files: Files, change: dict[str, Any], kind: str) -> None:
    files.regions[1] |= change
    assert files.read().problems.texts()[kind] == 1


def test_a_turned_rectangle(files: Files) -> None:
    files.regions[:] = files.regions[:1]
    files.regions[0]["value"] |= {"rotation": 90, "x": 50.0, "y": 25.0, "width": 20.0, "height": 25.0}
    (found,) = objects(files.lost("turned box replaced by the box around it"))
    assert found.box == pytest.approx((15.0, 10.0, 25.0, 20.0))  # 10 x 10 pixels about (25, 10)


def test_keypoints_without_their_object(files: Files) -> None:
    files.regions[4]["parentID"] = "gone"
    files.regions[5]["value"]["keypointlabels"] = ["nose"]
    files.regions.append(copy.deepcopy(files.regions[5]))
    dataset = files.read()
    assert dataset.problems.texts()["keypoint without an object left out"] == 1
    assert dataset.problems.texts()["second keypoint of the same name left out"] == 1


@pytest.mark.parametrize("literal", [False, True])
def test_brush(literal: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (HEIGHT, WIDTH))
    for wanted in (painted(), noise, np.ones((HEIGHT, WIDTH)), np.zeros((300, 300))):
        np.testing.assert_array_equal(brush_mask(brush_rle(wanted, literal), *wanted.shape), wanted != 0)


def bitmask(mask: np.ndarray, mode: str = "RGBA") -> str:
    """As the tool writes it: black where the object is, transparent elsewhere."""
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[..., 3] = mask * 255
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def test_bitmask(files: Files) -> None:
    files.regions[2] = region("bitmasklabels", "car", {"imageDataURL": bitmask(painted())})
    found = files.read().image(0).annotations[2]
    np.testing.assert_array_equal(rle_bitmap(annotation_rle(found, HEIGHT, WIDTH)), painted())


@pytest.mark.parametrize(
    ("url", "word"),
    [
        (None, "no imageDataURL"),
        ("data:image/png;base64,iVBORw0KGgo=", "not readable"),
        ("data:image/png;base64,%", "not readable"),
        (bitmask(painted()[:-1]), "50 x 39"),
        (bitmask(painted(), "RGB"), "not RGBA"),
    ],
)
def test_bitmask_that_is_none(files: Files, url: Any, word: str) -> None:
    files.regions[2] = region("bitmasklabels", "car", {"imageDataURL": url})
    files.refused("the bitmask of region 2 of task 11", word)


def test_brush_that_the_tool_wrote() -> None:
    """After the reference decoder's own terms: a literal run across pixels, a value of two bits."""
    bits = (
        f"{8:032b}{1:05b}"
        + f"{2:04b}" * 4
        + "0"
        + "00"
        + f"{4:03b}"
        + "0100010011"
        + "1"
        + "00"
        + "010"
        + "10"
    )
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    # the values are 1 0 1 0 3 2 2 2: alphas 0 and 2
    np.testing.assert_array_equal(brush_mask(rle, 1, 2), [[False, True]])


@pytest.mark.parametrize(
    ("rle", "word"),
    [
        (None, "no rle"),
        ([], "ends early"),
        ([300] * 20, "bytes"),
        (["x"], "bytes"),
        (brush_rle(painted())[:-3], "ends early"),
        (brush_rle(painted()[:-1]), "7800 values"),
        ([255] * 40, "values"),
    ],
)
def test_brush_that_is_none(files: Files, rle: Any, word: str) -> None:
    files.regions[2]["value"]["rle"] = rle
    files.refused("region 2 of task 11", word)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("/data/upload/3/0a1b2c3d-a.png", "0a1b2c3d-a.png"),
        ("/data/upload/3/0a1b2c3d-a.png", "a.png"),
        ("/data/upload/3/0a1b2c3d-a.png?x=1", "images/0a1b2c3d-a.png"),
        ("/data/local-files/?d=set%5Cx%20y/a.png", "set/x y/a.png"),
        ("/data/local-files/?d=set/a.png", "images/a.png"),
        ("s3://bucket/deep/set/a.png", "set/a.png"),
        ("https://host/a%20b.png", "a b.png"),
        ("odd #1 100%.png", "odd #1 100%.png"),
        ("../../a.png", "a.png"),
        ("/data/upload/3/0a1b2c3d-my_photo_1.png", "images/my photo (1).png"),  # as Django stores it
        ("/data/upload/3/0a1b2c3d-B%C3%A4r.png", "images/Ba\u0308r.png"),  # as macOS writes it
        ("/data/upload/3/0a1b2c3d-%E7%8C%AB.png", "猫.png"),
        ("s3://bucket/set/B.PNG", "export/b.png"),
    ],
)
def test_where_images_are_found(files: Files, address: str, place: str) -> None:
    files.image.unlink()
    path = files.json.parent / place
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    files.task["data"] = (
        {"ocr": address, "text": "some words"} if address.endswith("a.png") else {"image": address}
    )
    assert files.read().image(0).path == path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t[0]["data"].update(image="/data/upload/1/none.png"), ["1 of 1 images", "none.png"]),
        (lambda t: t[0].update(data=3), ["task 11", "data.image"]),
        (lambda t: t[0].update(annotations={}), ["task 11", "annotations"]),
        (lambda t: t[0]["annotations"][0].update(result=[3]), ["task 11", "result"]),
        (lambda t: t.append(3), ["list of tasks"]),
        (lambda t: t[0]["annotations"][0]["result"][0].update(original_width=5), ["several sizes"]),
        (lambda t: t.append(copy.deepcopy(t[0]) | {"id": 2, "data": {"image": "x/a.png"}}), ["both"]),
        (lambda t: t.clear(), ["empty data set"]),
    ],
)
def test_refused(files: Files, change: Any, words: list[str]) -> None:
    change(files.tasks)
    files.refused(*words)


def test_a_task_of_two_images(files: Files) -> None:
    """The objects of both were taken for the first's."""
    for number, one in enumerate(files.regions):
        one["to_name"] = f"image{number % 2}"
    files.task["data"]["image2"] = "/data/upload/1/b.png"
    files.refused("task 11", "'image0' and 'image1'", "a task of its own")


def test_two_tasks_of_one_image(files: Files) -> None:
    files.tasks.append(copy.deepcopy(files.task) | {"id": 12})
    assert len(files.lost("image file under a second id")) == 2


def test_json_that_is_none(files: Files) -> None:
    files.json.write_bytes(b"[" * 100_000)
    assert not looks_like_label_studio(files.json)
    with pytest.raises(DataError, match="not readable as JSON"):
        read_label_studio(files.json)
    files.json.write_bytes(b'{"images": []}')
    assert not looks_like_label_studio(files.json) and not looks_like_label_studio(
        files.json.parent / "none.json"
    )


def subjects(folder: Path) -> list[Subject]:
    """One for each form of the export."""
    found = []
    for form in ("json", "min"):
        (folder / form).mkdir()
        files = Files(folder / form)
        if form == "min":
            files.tasks = json_min(files.tasks)
        files.read()
        found.append(
            Subject(folder / form, files.json, read_label_studio, looks_like_label_studio, [files.json])
        )
    return found


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 0.999), new=st.integers(0, 255))
def test_damaged_brush(place: float, new: int) -> None:
    rle = brush_rle(painted())
    rle[int(place * len(rle))] = new
    try:
        assert brush_mask(rle, HEIGHT, WIDTH).shape == (HEIGHT, WIDTH)
    except ValueError as error:
        assert "rle" in str(error)


def test_a_shape_whose_class_is_a_choice_is_counted(files: Files) -> None:
    box = {"x": 10.0, "y": 10.0, "width": 20.0, "height": 20.0}
    shared = {"id": "f", "original_width": WIDTH, "original_height": HEIGHT, "to_name": "image"}
    files.regions.append(shared | {"type": "rectangle", "value": box})
    files.regions.append(shared | {"type": "choices", "value": box | {"choices": ["truck"]}})
    kinds = files.read().problems.texts()
    assert kinds["shape without a label left out"] == 1 and kinds["attribute left out"] == 1


def test_a_shape_of_json_min_without_a_label_is_counted(files: Files) -> None:
    files.tasks = json_min(files.tasks)
    files.tasks[0]["label"].append({"x": 10.0, "y": 10.0, "width": 20.0, "height": 20.0})
    assert files.read().problems.texts()["shape without a label left out"] == 1

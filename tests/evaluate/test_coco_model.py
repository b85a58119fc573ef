"""A model is scored on images by class name, in bounded memory."""

from __future__ import annotations

import copy
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maskrcnn.config.model import InputConfig, KeypointHeadConfig, KeypointSchema, ModelConfig, TestConfig
from maskrcnn.errors import DataError
from maskrcnn.evaluate.coco import evaluate, find_all, most_of
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.model.build import build
from maskrcnn.predict.predictor import predict


class AnswersWithLabels(torch.nn.Module):
    """A network that finds what it is told, in original pixels: its classes are the labels' in another
    order.
    """

    def __init__(
        self, classes: list[str], boxes: np.ndarray, labels: np.ndarray, mask_side: int = 28
    ) -> None:
        super().__init__()
        self.anything = torch.nn.Parameter(torch.zeros(1))
        self.config = ModelConfig(
            classes=classes, input=InputConfig(short_side=64, long_side=64), test=TestConfig(score=0.0)
        )
        self.boxes, self.labels, self.mask_side = torch.tensor(boxes), torch.tensor(labels), mask_side

    def forward(self, images: torch.Tensor, sizes: torch.Tensor) -> Any:
        count, side = self.boxes.shape[0], self.mask_side
        batch = images.shape[0]
        return SimpleNamespace(
            boxes=self.boxes.float().expand(batch, -1, -1),
            scores=torch.linspace(0.9, 0.8, count).expand(batch, -1),
            labels=self.labels.expand(batch, -1),
            valid=torch.ones(batch, count, dtype=torch.bool),
            masks=torch.ones(batch, count, side, side),
            keypoints=None,
            keypoint_logits=None,
        )


def one_image(
    folder: Path, side: int, boxes: list[tuple[float, float, float, float]], labels: list[int]
) -> FileDataset:
    """A black image with square objects."""
    path = folder / "street.png"
    Image.new("RGB", (side, side)).save(path)
    objects = []
    for box, label in zip(boxes, labels, strict=True):
        x0, y0, x1, y1 = box
        ring = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        objects.append(Annotation(box, label, polygons=[ring], area=(x1 - x0) * (y1 - y0), id=len(objects)))
    image = LabelledImage("street", "street.png", path, side, side, objects)
    return FileDataset([image], DatasetInfo(name="street", classes=["cat", "dog"], class_ids=[17, 4]))


def test_a_model_is_scored_by_class_name(tmp_path: Path) -> None:
    boxes = [(4.0, 4.0, 24.0, 24.0), (32.0, 30.0, 60.0, 60.0)]
    dataset = one_image(tmp_path, 64, boxes, [0, 1])
    model = AnswersWithLabels(["dog", "horse", "cat"], np.array([*boxes, boxes[0]]), np.array([2, 0, 1]))
    model.train()
    seen = []
    scores = evaluate(model, dataset, progress=lambda done, total: seen.append((done, total)))
    assert scores["bbox"]["AP"] == pytest.approx(100.0)
    assert scores["segm"]["AP"] == pytest.approx(100.0)
    assert scores.detections == 2  # the horse has no counterpart
    assert seen == [(1, 1)]
    assert model.training
    ids = [(result["image_id"], result["category_id"]) for result in find_all(model, dataset)]
    assert ids == [("street", 17), ("street", 4)]


def test_a_class_the_model_does_not_know_is_refused(tmp_path: Path) -> None:
    dataset = one_image(tmp_path, 64, [(4.0, 4.0, 24.0, 24.0)], [0])
    model = AnswersWithLabels(["dog"], np.array([[4.0, 4.0, 24.0, 24.0]]), np.array([0]))
    with pytest.raises(DataError, match="cat"):
        evaluate(model, dataset)


def test_labels_without_class_names_are_the_only_class_of_the_model(tmp_path: Path) -> None:
    dataset = one_image(tmp_path, 64, [(4.0, 4.0, 24.0, 24.0)], [0])
    dataset.info = DatasetInfo("street", ["object"], [1])
    model = AnswersWithLabels(["nucleus"], np.array([[4.0, 4.0, 24.0, 24.0]]), np.array([0]))
    scores = evaluate(model, dataset)
    assert scores["bbox"]["AP"] == pytest.approx(100.0) and list(scores.per_class["bbox"]) == ["nucleus"]
    assert any("'object'" in note and "'nucleus'" in note for note in scores.notes)


def test_kinds_that_cannot_be_compared_are_said(tmp_path: Path) -> None:
    dataset = one_image(tmp_path, 64, [(4.0, 4.0, 24.0, 24.0)], [0])
    model = AnswersWithLabels(["dog", "cat"], np.array([[4.0, 4.0, 24.0, 24.0]]), np.array([1]))
    schema = KeypointSchema(names=["nose"], flip=[0], sigmas=[0.05])
    model.config.keypoints, model.config.keypoint_head = schema, KeypointHeadConfig()
    scores = evaluate(model, dataset)
    assert "keypoints" not in scores
    assert any("keypoints" in note for note in scores.notes)


def test_memory_does_not_grow_with_image_size_times_detections(tmp_path: Path) -> None:
    side, count = 2000, 40
    dataset = one_image(tmp_path, side, [(4.0, 4.0, 1900.0, 1900.0)], [0])
    boxes = np.array([[0.1 + i * 0.1, 0.1, 60.0, 60.0] for i in range(count)])
    model = AnswersWithLabels(["cat", "dog"], boxes, np.zeros(count, np.int64))
    tracemalloc.start()
    results = list(find_all(model, dataset))
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(results) == count
    # one bitmap is 4 MB and one window in floats 16 MB; forty bitmaps would be 160 MB
    assert peak < 80e6
    assert held < 5e6


def test_a_training_network_is_put_in_eval_mode_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where there is no optimised copy."""
    data = Synthetic(3)
    settings = {"classes": data.classes, "backbone": {"kind": "mobilenetv2"}, "neck": {"channels": 16}}
    settings["input"] = {"short_side": 64, "long_side": 96}
    network = build(ModelConfig.model_validate(settings)).train()
    monkeypatch.setattr("maskrcnn.evaluate.coco.torch_runner", lambda model: model)
    copies = []

    def counted(model: object, memo: dict[int, object]) -> object:
        copies.append(model)
        return copy.deepcopy(model, memo)

    monkeypatch.setattr("maskrcnn.runtime.engine.copy", SimpleNamespace(deepcopy=counted))
    list(find_all(network, data))
    assert copies == [network] and network.training and network.backbone.training


def test_large_images_are_looked_at_in_tiles_as_predict_does(tmp_path: Path) -> None:
    dataset = one_image(tmp_path, 256, [(4.0, 4.0, 24.0, 24.0)], [0])
    network = build(
        ModelConfig(classes=["cat"], input=InputConfig(short_side=64, long_side=64, tile_side=64))
    ).eval()
    network.config.test.score = 0.0
    for tiles in ("auto", "off"):
        expected = predict(network, dataset.image(0).path, score=0.0, tiles=tiles)
        found = list(find_all(network, dataset, tiles=tiles))
        assert len(found) == len(expected) > 0
        np.testing.assert_allclose([each["score"] for each in found], expected.scores, rtol=1e-6)
    assert most_of(found * 200, network.config) == 200 * len(found)

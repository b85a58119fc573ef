"""Everything around the network, with a network that gives a fixed answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from maskrcnn.config.model import InputConfig, KeypointSchema, ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.images.batch import make_batch
from maskrcnn.images.read import as_pixels
from maskrcnn.ops.heatmaps import decode_resize
from maskrcnn.predict.predictor import finish, predict, predict_files, predict_pixels


class Raw(NamedTuple):
    """The fields of RawDetections."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    valid: Tensor
    masks: Tensor | None = None
    keypoints: Tensor | None = None
    keypoint_logits: Tensor | None = None


def config() -> ModelConfig:
    schema = KeypointSchema(names=["head", "foot"], flip=[0, 1], skeleton=[(0, 1)], sigmas=[0.05, 0.05])
    small = InputConfig(short_side=64, long_side=128, divisor=32)
    return ModelConfig(classes=["cat", "dog"], keypoints=schema, input=small)


def answer(images: int = 1) -> Raw:
    """Five slots: a cat, a dog over the right border, a low score, one that is not valid, one with nothing in it."""
    boxes = torch.tensor([[8.0, 4, 40, 60], [90, 10, 300, 50], [0, 0, 9, 9], [0, 0, 64, 64], [20, 20, 20, 40]])
    scores = torch.tensor([0.6, 0.9, 0.2, 0.99, 0.95])
    valid = torch.tensor([True, True, True, False, True])
    masks = torch.full((5, 28, 28), 0.9)
    points = torch.tensor([[10.0, 5, 0.7], [38, 59, 0.3]]).expand(5, 2, 3)
    labels = torch.tensor([0, 1, 0, 1, 1])
    return Raw(*(t.expand(images, *t.shape).clone() for t in (boxes, scores, labels, valid, masks, points)))


class FixedModel(nn.Module):
    """Answers the same whatever it sees, and remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.config = config()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor, sizes: Tensor) -> Raw:
        assert not self.training and not torch.is_grad_enabled()
        self.seen.append(tuple(images.shape))
        return answer(len(images))


def image(height: int = 128, width: int = 256, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_prepare_scales_and_pads_to_one_shape() -> None:
    batch = make_batch([image(128, 256), image(100, 50)], config().input)
    assert batch.images.shape == (2, 3, 128, 128) and batch.images.dtype == torch.uint8
    assert batch.sizes.tolist() == [[64, 128], [128, 64]]
    assert batch.originals.tolist() == [[128, 256], [100, 50]]
    assert torch.allclose(batch.scales.double(), torch.tensor([[0.5, 0.5], [1.28, 1.28]], dtype=torch.float64))


def test_prepare_keeps_pixels_of_a_image_that_has_the_right_size() -> None:
    pixels = image(64, 96)
    batch = make_batch([pixels], config().input)
    assert np.array_equal(batch.images[0, :, :64, :96].permute(1, 2, 0).numpy(), pixels)


def test_prepare_refuses_another_number_of_channels() -> None:
    with pytest.raises(UserError, match="4 channels"):
        make_batch([image()], InputConfig(channels=4))


def test_finish_gives_original_pixels_best_first() -> None:
    batch = make_batch([image()], config().input)
    (found,) = finish(answer(), batch, config(), score=0.5)
    assert found.names == ["dog", "cat"] and found.labels.tolist() == [1, 0] and found.size == (128, 256)
    assert np.allclose(found.scores, [0.9, 0.6])
    assert np.allclose(found.boxes, [[180, 20, 256, 100], [16, 8, 80, 120]])
    # the mask keeps the box that the network looked at, or it would be squeezed into the image
    assert np.allclose(found.masks.boxes, [[180, 20, 600, 100], [16, 8, 80, 120]])
    assert found.masks.bitmaps()[1, 8:120, 16:80].mean() > 0.99
    assert np.allclose(found.keypoints[1], [[20, 10, 0.7], [76, 118, 0.3]])
    assert found.keypoint_schema is not None
    assert all(a.dtype == np.float32 for a in (found.boxes, found.scores, found.keypoints, found.masks.boxes))
    assert found.labels.dtype == np.int64


def test_finish_keeps_every_valid_score_by_default() -> None:
    (found,) = finish(answer(), make_batch([image()], config().input), config())
    assert np.allclose(found.scores, [0.9, 0.6, 0.2])


def test_finish_with_unequal_scales_per_axis_and_image() -> None:
    batch = make_batch([image(101, 67), image(128, 256)], config().input)
    raw = answer(2)
    found = finish(raw, batch, config(), score=0.5)
    sx, sy = batch.scales[0].tolist()
    assert sx != sy
    assert np.allclose(found[0].boxes[found[0].names.index("cat")], [8 / sx, 4 / sy, 40 / sx, 60 / sy], atol=1e-3)
    assert np.allclose(found[1].boxes[1], [16, 8, 80, 120])


def test_finish_leaves_out_what_is_not_finite() -> None:
    raw = answer()
    raw.boxes[0, 0, 0] = float("nan")
    raw.scores[0, 1] = float("nan")
    (found,) = finish(raw, make_batch([image()], config().input), config())
    assert np.allclose(found.scores, [0.2])


def test_finish_with_boxes_only_and_with_nothing_found() -> None:
    raw = answer()._replace(masks=None, keypoints=None)
    (found,) = finish(raw, make_batch([image()], config().input), config(), score=0.5)
    assert found.masks is None and found.keypoints is None and found.keypoint_schema is None and len(found) == 2
    (none,) = finish(answer(), make_batch([image()], config().input), config(), score=1.0)
    assert len(none) == 0 and none.boxes.shape == (0, 4) and none.keypoints.shape == (0, 2, 3)


def test_finish_decodes_logits_in_the_models_pixels() -> None:
    batch = make_batch([image()], config().input)
    logits = torch.randn(1, 5, 2, 56, 56, generator=torch.Generator().manual_seed(0))
    raw = answer()._replace(keypoints=None, keypoint_logits=logits)
    (found,) = finish(raw, batch, config(), score=0.5)
    expected = decode_resize(logits[0, [1, 0]], raw.boxes[0, [1, 0]])[..., [0, 1, -1]].numpy()
    assert found.keypoints.shape == (2, 2, 3)
    assert np.allclose(found.keypoints, expected / (0.5, 0.5, 1), atol=1e-4)
    (none,) = finish(raw, batch, config(), score=1.0)
    assert none.keypoints.shape == (0, 2, 3)


def test_finish_takes_half_precision() -> None:
    raw = answer()
    raw = raw._replace(boxes=raw.boxes.bfloat16(), scores=raw.scores.bfloat16(), masks=raw.masks.bfloat16())
    (found,) = finish(raw, make_batch([image()], config().input), config(), score=0.5)
    assert found.boxes.dtype == np.float32 and len(found) == 2


def test_predict_one_of_every_kind(tmp_path: Path) -> None:
    model = FixedModel().train()
    path = tmp_path / "street.png"
    Image.fromarray(image()).save(path)
    for source in (path, str(path), image(), Image.fromarray(image())):
        found = predict(model, source)
        assert found.names == ["dog", "cat"]
        assert np.array_equal(found.pixels, image())
        assert found.path == (path if isinstance(source, (str, Path)) else None)
    assert model.training and model.seen == [(1, 3, 64, 128)] * 4


def test_predict_many(tmp_path: Path) -> None:
    model = FixedModel()
    for name in ("b", "a", "c"):
        Image.fromarray(image()).save(tmp_path / f"{name}.png")
    for source in (str(tmp_path), f"{tmp_path}/*.png"):
        found = predict(model, source, batch=2)
        assert [one.path.name for one in found] == ["a.png", "b.png", "c.png"]
        assert all(one.pixels is None and one.plot().size == (512, 256) for one in found)
    assert [shape[0] for shape in model.seen] == [2, 1, 2, 1]
    mixed = predict(model, [image(), str(tmp_path / "a.png")])
    assert mixed[0].pixels is not None and mixed[1].path is not None
    assert len(predict(model, [image()])) == 1


def test_the_size_of_the_batch_does_not_change_the_answer() -> None:
    pixels = [image(128, 256), image(100, 50)]
    together = predict_pixels(FixedModel(), pixels)
    for one, found in zip(pixels, together, strict=True):
        assert np.allclose(predict(FixedModel(), one).boxes, found.boxes)


def test_arrays_of_every_kind() -> None:
    grey = image()[..., 0]
    grey3 = np.repeat(grey[..., None], 3, axis=2)
    assert np.array_equal(as_pixels(grey), grey3) and np.array_equal(as_pixels(grey[..., None]), grey3)
    assert np.array_equal(as_pixels(grey.astype(np.uint16) * 257), grey3)
    assert np.array_equal(as_pixels(image() / 255.0), image())
    clear = np.dstack([image(), np.zeros((128, 256), np.uint8)])
    assert (as_pixels(clear) == 255).all()
    assert as_pixels(image()[:, ::-1]).flags.c_contiguous
    for bad in (np.zeros(5), np.zeros((4, 4, 2)), np.zeros((0, 4, 3)), np.array([["a"]]), None):
        with pytest.raises(UserError, match="image"):
            as_pixels(bad)


def test_predict_files_writes_overlays_and_results_and_goes_on(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out" / "deep"
    (source / "more").mkdir(parents=True)
    Image.fromarray(image()).save(source / "a.jpg")
    Image.fromarray(image()).save(source / "b.tif")
    Image.fromarray(image()).save(source / "more" / "b.png")
    (source / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    steps: list[tuple[int, int]] = []
    sources = [str(source), str(source / "more")]
    summary = predict_files(FixedModel(), sources, out, batch=3, progress=lambda *step: steps.append(step))
    assert [path.name for path in summary.overlays] == ["a.jpg", "b.png", "b_2.png"]
    assert all(Image.open(path).size == (512, 256) for path in summary.overlays)
    assert summary.exit_code == 3 and len(summary.unreadable) == 1 and "broken.png" in summary.unreadable[0]
    assert summary.objects == {"dog": 3, "cat": 3} and steps == [(3, 4), (4, 4)]
    results = json.loads(summary.results.read_text())
    assert len(results) == 6 and summary.results == out / "results.json"
    names = {result["image_id"]: result["file_name"] for result in results}
    assert names == {1: f"{source}/a.jpg", 2: f"{source}/b.tif", 4: f"{source}/more/b.png"}
    assert {"bbox", "segmentation", "keypoints", "score", "category_id"} <= set(results[0])


def test_predict_files_without_trouble_has_exit_code_0(tmp_path: Path) -> None:
    Image.fromarray(image()).save(tmp_path / "a.png")
    assert predict_files(FixedModel(), [str(tmp_path / "a.png")], tmp_path / "out").exit_code == 0


def test_predict_files_never_replaces_a_image_nor_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(image()).save(path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="replace"):
        predict_files(FixedModel(), [str(tmp_path)], tmp_path)
    with pytest.raises(UserError, match="in the way"):
        predict_files(FixedModel(), [str(path)], path)
    assert path.read_bytes() == before

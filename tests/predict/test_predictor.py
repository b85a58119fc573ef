"""Everything around the network, with a network that gives a fixed answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fixed_model import FixedModel, answer, config, image
from PIL import Image

from maskrcnn.config.model import InputConfig
from maskrcnn.errors import UserError
from maskrcnn.images.batch import make_batch
from maskrcnn.images.read import as_pixels
from maskrcnn.ops.heatmaps import decode_resize
from maskrcnn.predict.predictor import finish, predict, predict_pixels


def test_prepare_scales_and_pads_to_one_shape() -> None:
    batch = make_batch([image(128, 256), image(100, 50)], config().input)
    assert batch.images.shape == (2, 3, 128, 128) and batch.images.dtype == torch.uint8
    assert batch.sizes.tolist() == [[64, 128], [128, 64]]
    assert batch.originals.tolist() == [[128, 256], [100, 50]]
    assert torch.allclose(
        batch.scales.double(), torch.tensor([[0.5, 0.5], [1.28, 1.28]], dtype=torch.float64)
    )


def test_prepare_keeps_pixels_of_a_image_that_has_the_right_size() -> None:
    pixels = image(64, 96)
    batch = make_batch([pixels], config().input)
    assert np.array_equal(batch.images[0, :, :64, :96].permute(1, 2, 0).numpy(), pixels)


def test_prepare_refuses_another_number_of_channels() -> None:
    with pytest.raises(UserError, match="4 channels"):
        make_batch([image()], InputConfig(channels=4, mean=[0.0] * 4, std=[1.0] * 4))


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
    assert np.allclose(
        found[0].boxes[found[0].names.index("cat")], [8 / sx, 4 / sy, 40 / sx, 60 / sy], atol=1e-3
    )
    assert np.allclose(found[1].boxes[1], [16, 8, 80, 120])


def test_finish_moves_a_box_towards_where_its_mask_ends() -> None:
    batch, raw = make_batch([image()], config().input), answer()
    raw.masks[0, 0, :, :7] = 0  # the cat's left quarter, and the dog's right half
    raw.masks[0, 1, :, 14:] = 0
    found = {}
    for share in (0, 0.5, 1):
        settings = config()
        settings.test.box_from_mask = share
        (found[share],) = finish(raw, batch, settings, score=0.5)
        assert found[share].masks == found[0].masks
    assert np.allclose(found[0].boxes, [[180, 20, 256, 100], [16, 8, 80, 120]])
    # the dog's mask ends at 390, outside the image
    assert np.allclose(found[0.5].boxes, [[180, 20, 256, 100], [24, 8, 80, 120]])
    assert np.allclose(found[1].boxes, [[180, 20, 256, 100], [32, 8, 80, 120]])
    (usual,) = finish(raw, batch, config(), score=0.5)
    assert np.allclose(usual.boxes[1], [28, 8, 80, 120])


def test_an_empty_mask_moves_no_box() -> None:
    raw = answer()
    raw.masks[:] = 0.4
    (found,) = finish(raw, make_batch([image()], config().input), config(), score=0.5)
    assert np.allclose(found.boxes, [[180, 20, 256, 100], [16, 8, 80, 120]])


def test_finish_leaves_out_what_is_not_finite() -> None:
    raw = answer()
    raw.boxes[0, 0, 0] = float("nan")
    raw.scores[0, 1] = float("nan")
    (found,) = finish(raw, make_batch([image()], config().input), config())
    assert np.allclose(found.scores, [0.2])


def test_finish_with_boxes_only_and_with_nothing_found() -> None:
    raw = answer()._replace(masks=None, keypoints=None)
    (found,) = finish(raw, make_batch([image()], config().input), config(), score=0.5)
    assert (
        found.masks is None and found.keypoints is None and found.keypoint_schema is None and len(found) == 2
    )
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
        assert all(one.pixels is None and one.plot().size == one.size[::-1] for one in found)
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


def test_predict_any_sequence_or_iterator_of_images(tmp_path: Path) -> None:
    Image.fromarray(image()).save(tmp_path / "a.png")
    images = [image(), Image.fromarray(image()), tmp_path / "a.png"]
    for many in (images, tuple(images), iter(images), (one for one in images)):
        found = predict(FixedModel(), many)
        assert isinstance(found, list) and [one.path for one in found] == [None, None, tmp_path / "a.png"]
    assert predict(FixedModel(), ()) == []


def test_arguments_out_of_range_are_refused() -> None:
    for batch in (0, -1):
        with pytest.raises(UserError, match=f"batch={batch}"):
            predict(FixedModel(), image(), batch=batch)
    for score in (2, -0.1, float("nan")):
        with pytest.raises(UserError, match="score="):
            predict(FixedModel(), image(), score=score)


def test_a_folder_with_images_that_are_not_read_warns(tmp_path: Path) -> None:
    Image.fromarray(image()).save(tmp_path / "a.png")
    (tmp_path / "b.nef").write_bytes(b"II*\0")
    with pytest.warns(UserWarning, match=r"passed over: 1 file .*b.nef.*convert"):
        assert len(predict(FixedModel(), tmp_path)) == 1

"""Images of more than 8 bits: training, evaluation and prediction see the same 8 bits of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnn.config.load import Config, load_config
from maskrcnn.errors import UserError
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Dataset
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.model.build import build
from maskrcnn.predict.predictor import predict
from maskrcnn.training_data.prepare import prepare_data
from maskrcnn.training_data.samples import TestSamples, TrainSamples

HOT = (3, 5)


def deep(folder: Path, kind: type = np.uint16) -> Dataset:
    """Images of 12 bits, of which the last has a hot pixel; at (0, 0) all have the value 700."""
    count = 3
    names = [f"{index}.tif" for index in range(count)]
    (folder / "train").mkdir(parents=True)
    for index, name in enumerate(names):
        samples = np.random.default_rng(index).integers(0, 900, (64, 96)).astype(kind)
        samples[0, 0] = 700
        if index == count - 1:
            samples[HOT] = 4095
        Image.fromarray(samples).save(folder / "train" / name)
    write_coco(Synthetic(count, side=(64, 96)), folder / "train.json", file_names=names)
    return open_dataset(folder / "train.json")


def settings(*overrides: str) -> Config:
    augment = ["data.augment.short_sides=[64]", "data.augment.long_side=96", "data.augment.flip=0"]
    return load_config(
        "quick", ["model.input.short_side=64", "model.input.long_side=96", *augment, *overrides]
    )


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_training_and_prediction_see_the_same(tmp_path: Path, kind: type, channels: int) -> None:
    one_each = [f"model.input.{name}={[64.0] * channels}" for name in ("mean", "std")]
    chosen = settings(f"model.input.channels={channels}", *one_each)
    config, data, _, lines = prepare_data(chosen, deep(tmp_path, kind))
    low, high = config.model.input.value_range or (0, 0)
    assert low < 5 and (890 < high < 900 if kind == np.float32 else high == 4095)
    assert "become 0 to 255" in lines[0]
    model = build(config.model).eval()
    samples = TrainSamples(data, list(range(len(config.model.classes))), config)
    values = set()
    for index in range(len(data)):
        path = data.image(index).path
        found = predict(model, path)
        assert np.array_equal(found.pixels, data.pixels(index))  # type: ignore[union-attr]
        assert np.array_equal(found.pixels, samples[index, 0, 0].pixels)  # type: ignore[union-attr]
        assert found.pixels.shape[2] == channels  # type: ignore[union-attr]
        values.add(int(found.pixels[0, 0, 0]))  # type: ignore[union-attr]
        found.pixels = None  # type: ignore[union-attr]
        found.plot()  # type: ignore[union-attr]  # which reads the file again
    assert len(values) == 1


def test_tiles_of_deep_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path / "cache"))
    data = deep(tmp_path)
    whole = prepare_data(settings(), data)[1].pixels(0)
    tiles = ["data.tiles.side=48", "data.tiles.overlap=16", "data.tiles.empty=1"]
    for room in (1, 0):  # decoded once, or for each tile
        _, tiled, _, _ = prepare_data(settings(*tiles, f"data.tiles.cache_gb={room}"), data)
        assert np.array_equal(tiled.pixels(0), whole[:48, :48])


def test_a_range_that_is_given_stays(tmp_path: Path) -> None:
    config, data, _, _ = prepare_data(settings("model.input.value_range=[0,900]"), deep(tmp_path))
    assert config.model.input.value_range == (0, 900) and data.pixels(2)[HOT].tolist() == [255] * 3


def test_percentiles_of_the_data(tmp_path: Path) -> None:
    config, _, _, _ = prepare_data(settings("data.value_percentiles=[1,99]"), deep(tmp_path))
    low, high = config.model.input.value_range or (0, 0)
    assert 0 < low < 20 and 880 < high < 900


def test_eight_bits_keep_their_values(tmp_path: Path) -> None:
    write_coco(Synthetic(2), tmp_path / "train.json", tmp_path / "train")
    data = open_dataset(tmp_path / "train.json")
    config, prepared, _, lines = prepare_data(settings(), data)
    assert config.model.input.value_range is None and prepared is data
    (line,) = lines
    assert "in tiles of 160" in line  # and nothing of a range


def test_another_range_than_the_model_s_is_refused(tmp_path: Path) -> None:
    raw = deep(tmp_path)
    config, prepared, _, _ = prepare_data(settings(), raw)
    with pytest.raises(UserError, match=r"with_channels\(3, \(0\.0, 4095\.0\)\)"):
        TrainSamples(raw, [0, 1, 2, 3], config)
    with pytest.raises(UserError, match="value_range None"):
        TestSamples(raw, config.model.input)
    TestSamples(prepared, config.model.input)

"""Images of one channel or of many, from the file to the network and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnn.check.images import SplitFacts, inspect_images, mean_and_deviation
from maskrcnn.check.run import check
from maskrcnn.cli.main import main
from maskrcnn.config.load import Config, load_config
from maskrcnn.errors import DataError
from maskrcnn.images.draw import as_shown
from maskrcnn.images.view import resize_image, resized_view, warp_image
from maskrcnn.labels.channels import with_channels
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.training_data.augment import jitter_colour
from maskrcnn.training_data.loader import test_loader, train_loader
from maskrcnn.training_data.samples import UnreadableImage
from maskrcnn.training_data.tiles import TiledDataset

FIVE = [20.0, 60.0, 100.0, 140.0, 180.0]  # the mean of each channel


def banded(folder: Path, count: int = 3, channels: int = 5) -> Path:
    """A COCO file of generated images whose channels are `FIVE` with a square in them."""
    dataset = Synthetic(count, side=(64, 96))
    names = [f"{index}.npy" for index in range(count)]
    (folder / "train").mkdir(parents=True)
    for index, name in enumerate(names):
        rng = np.random.default_rng(index)
        pixels = rng.normal(FIVE[:channels], 5, (64, 96, channels)).clip(0, 255).astype(np.uint8)
        np.save(folder / "train" / name, pixels)
    write_coco(dataset, folder / "train.json", file_names=names)
    return folder / "train.json"


def settings(channels: int) -> Config:
    data = {
        "augment": {"short_sides": [64], "long_side": 96, "colour": 1.0, "flip": 0},
        "workers": 0,
        "mask_side": 28,
    }
    model = {"input": {"channels": channels, "mean": [1.0] * channels, "std": [1.0] * channels}}
    return Config.model_validate({"data": data, "model": model, "train": {"batch": 2}})


def test_a_data_set_gives_the_channels_that_it_was_asked_for(tmp_path: Path) -> None:
    dataset = open_dataset(banded(tmp_path))
    five = with_channels(dataset, 5)
    assert np.array_equal(five.pixels(1), np.load(tmp_path / "train/1.npy"))
    assert five.image(0) == dataset.image(0) and len(five) == 3 and five.classes == dataset.classes
    with pytest.raises(
        DataError, match=r"1\.npy: has 5 channels, the model takes 4; .*model\.input\.channels=5"
    ):
        with_channels(dataset, 4).pixels(1)
    assert with_channels(dataset, 3) is dataset
    np.save(tmp_path / "train/1.npy", np.zeros((9, 9, 5), np.uint8))
    with pytest.raises(DataError, match="9 x 9"):
        five.pixels(1)


def test_generated_images_are_rgb_or_grey() -> None:
    dataset = Synthetic(2)
    grey = with_channels(dataset, 1).pixels(0)
    assert grey.shape == (128, 160, 1)
    expected = dataset.pixels(0) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[..., 0] - expected).max() <= 1
    with pytest.raises(DataError, match="generated images have 3 channels"):
        with_channels(dataset, 4).pixels(0)


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 9])
def test_a_image_of_any_number_of_channels_is_resized_channel_by_channel(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, channels), dtype=np.uint8)
    for width, height in ((30, 20), (23, 31), (90, 70)):
        found = resize_image(pixels, width, height)
        assert found.shape == (height, width, channels)
        # OpenCV rounds otherwise when it does several channels at once
        alone = [resize_image(pixels[..., c : c + 1], width, height) for c in range(channels)]
        assert np.abs(found.astype(int) - np.concatenate(alone, axis=2)).max() <= 1
    assert warp_image(pixels, resized_view(40, 60, 20, 100)).shape == (20, 30, channels)


def test_channels_that_are_no_colours_change_in_brightness_and_contrast_only() -> None:
    pixels = np.random.default_rng(0).integers(90, 130, (20, 30, 5), dtype=np.uint8)
    changed = jitter_colour(pixels, 1.0, np.random.default_rng(3))
    assert changed.shape == pixels.shape and changed.dtype == np.uint8 and not np.array_equal(changed, pixels)
    levels = {value: set(changed[pixels == value].tolist()) for value in np.unique(pixels).tolist()}
    assert all(len(found) == 1 for found in levels.values()), "the same level in every channel"
    factors = {
        round(float(np.ptp(jitter_colour(pixels, 1.0, np.random.default_rng(seed))) / np.ptp(pixels)), 1)
        for seed in range(9)
    }
    assert len(factors) > 3
    assert jitter_colour(pixels, 0.0, np.random.default_rng(0)) is pixels


def test_batches(tmp_path: Path) -> None:
    dataset = with_channels(open_dataset(banded(tmp_path)), 5)
    batch, _, _ = next(iter(train_loader(dataset, [0, 1, 2, 3], settings(5))))
    assert batch.images.shape == (2, 5, 64, 96)
    test, _ = next(
        iter(
            test_loader(
                dataset, settings(5).model.input.model_copy(update={"short_side": 64, "long_side": 96}), 1, 0
            )
        )
    )
    assert test.images[0].float().mean((1, 2)).tolist() == pytest.approx(FIVE, abs=3)
    with pytest.raises(UnreadableImage, match="has 5 channels, the model takes 4"):
        next(iter(train_loader(dataset, [0, 1, 2, 3], settings(4))))
    with pytest.raises(UnreadableImage, match="has 3 channels, the model takes 1"):
        next(iter(test_loader(Synthetic(2), settings(1).model.input, 1, 0)))


def test_tiles_of_many_channels(tmp_path: Path) -> None:
    dataset = with_channels(open_dataset(banded(tmp_path)), 5)
    tiles = load_config({}, ["data.tiles.side=48", "data.tiles.overlap=16", "data.tiles.empty=1"]).data.tiles
    assert tiles is not None
    tiled = TiledDataset(dataset, tiles, channels=5)
    batch, _, _ = next(iter(train_loader(tiled, [0, 1, 2, 3], settings(5))))
    assert batch.images.shape[1] == 5 and np.array_equal(tiled.pixels(0), dataset.pixels(0)[:48, :48])


def test_check_measures_what_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = banded(tmp_path)
    dataset = with_channels(open_dataset(path), 5)
    split = SplitFacts()
    for _, facts in inspect_images(dataset, 5, None):
        split.add(facts)
    mean, deviation = mean_and_deviation(dataset, split, channels=5)
    assert mean == pytest.approx(FIVE, abs=1) and len(deviation) == 5
    report = check(str(path), measured=False)
    assert report.mean == mean and report.advice is not None and not report.findings.errors
    assert {"model.input.channels=5", f"model.input.mean=[{','.join(f'{m:g}' for m in mean)}]"} <= set(
        report.advice.overrides
    )
    assert load_config(report.advice.recipe, report.advice.overrides).model.backbone.freeze == 0
    assert main(["check", str(path), "--no-steps", "--channels", "4"]) == 3
    assert "has 5 channels, the model takes 4" in capsys.readouterr().out
    assert main(["check", str(path), "--no-steps", "--html", str(tmp_path / "page.html")]) == 0
    assert f"model.input.mean={mean}" in capsys.readouterr().out


def test_check_of_grey_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = with_channels(Synthetic(3), 1)
    write_coco(dataset, tmp_path / "train.json", tmp_path / "train")
    with Image.open(next((tmp_path / "train").glob("*.png"))) as image:
        assert image.mode == "L"
    assert main(["check", str(tmp_path), "--no-steps"]) == 0
    assert "all images are grey" in capsys.readouterr().out
    report = check(str(tmp_path), channels=1, measured=False)
    assert len(report.mean) == 1 and report.advice is not None
    assert "model.input.channels=1" in report.advice.overrides


def test_images_of_many_channels_are_written_as_arrays(tmp_path: Path) -> None:
    dataset = with_channels(open_dataset(banded(tmp_path / "a")), 5)
    write_coco(dataset, tmp_path / "b/train.json", tmp_path / "b/train")
    names = [image["file_name"] for image in json.loads((tmp_path / "b/train.json").read_text())["images"]]
    assert names == ["0.npy", "1.npy", "2.npy"]
    again = with_channels(open_dataset(tmp_path / "b/train.json"), 5)
    assert np.array_equal(again.pixels(2), dataset.pixels(2))


def test_what_is_shown() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 6), dtype=np.uint8)
    assert np.array_equal(as_shown(pixels), pixels[..., :3]) and np.array_equal(
        as_shown(pixels[..., :3]), pixels[..., :3]
    )
    for channels in (1, 2):
        assert np.array_equal(as_shown(pixels[..., :channels]), np.repeat(pixels[..., :1], 3, axis=2))

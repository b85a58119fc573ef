"""The range of values of a data set's samples of more than 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnn.images.read import read_image
from maskrcnn.images.value_range import find_value_range


def frames(folder: Path, most: list[float], dtype: type = np.uint16) -> list[Path]:
    """Images of values below 500, with one hot pixel each."""
    paths = []
    for index, hot in enumerate(most):
        samples = np.random.default_rng(index).uniform(0, 500, (24, 32)).astype(dtype)
        samples[5, 6], samples[7, 8] = hot, 700
        paths.append(folder / f"{index}.tif")
        Image.fromarray(samples).save(paths[-1])
    return paths


@pytest.mark.parametrize(
    ("most", "highest"),
    [([700], 1023), ([1024, 700], 4095), ([900, 4095], 4095), ([16000] * 3, 16383), ([40000], 65535)],
)
def test_the_depth_that_holds_the_data(tmp_path: Path, most: list[float], highest: int) -> None:
    assert find_value_range(frames(tmp_path, most)) == (0, highest)


def test_a_value_is_the_same_in_every_frame(tmp_path: Path) -> None:
    paths = frames(tmp_path, [900, 4000, 1500])
    values = find_value_range(paths)
    assert {int(read_image(path, 1, values)[7, 8, 0]) for path in paths} == {700 >> 4}


def test_eight_bits_have_no_range(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "b.tif")
    np.save(tmp_path / "c.npy", np.zeros((9, 9, 3), np.uint8))
    (tmp_path / "d.png").write_bytes(b"not an image")
    assert find_value_range(sorted(tmp_path.iterdir())) is None
    assert find_value_range([]) is None


def test_eight_and_sixteen_bits_together(tmp_path: Path) -> None:
    Image.fromarray(np.full((9, 9), 200, np.uint8)).save(tmp_path / "a.png")
    paths = [tmp_path / "a.png", *frames(tmp_path, [3000])]
    assert find_value_range(paths) == (0, 4095)
    assert (read_image(paths[0], 1, (0, 4095)) == 200).all()


def test_floats_and_wide_integers(tmp_path: Path) -> None:
    unit = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    Image.fromarray(unit).save(tmp_path / "unit.tif")
    assert find_value_range([tmp_path / "unit.tif"]) == (0, 1)
    unit[0, :2] = np.nan, np.inf
    Image.fromarray(unit * 3000).save(tmp_path / "wide.tif")
    low, high = find_value_range([tmp_path / "wide.tif"]) or (0, 0)
    assert 0 < low < 60 and 2940 < high < 3000
    assert find_value_range(frames(tmp_path, [100_000], np.int32)) == (0, 2**24 - 1)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_values_below_zero_are_not_cut_off(dtype: type, tmp_path: Path) -> None:
    """Normalised images lost their darker half without a word."""
    signed = np.linspace(-1, 1, 400).reshape(20, 20)
    np.save(tmp_path / "a.npy", (signed * (1 if dtype == np.float32 else 1000)).astype(dtype))
    values = find_value_range([tmp_path / "a.npy"])
    assert values is not None and values[0] < 0 and values[0] == pytest.approx(-values[1], rel=0.01)
    assert len(np.unique(read_image(tmp_path / "a.npy", 1, values))) > 200


def test_percentiles_where_asked(tmp_path: Path) -> None:
    low, high = find_value_range(frames(tmp_path, [60000, 900]), 1, (1, 99)) or (0, 0)
    assert 0 <= low < 15 and 480 < high < 510


def test_one_value_only(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((9, 9), 7.0))
    assert find_value_range([tmp_path / "a.npy"]) == (7, 8)


def test_stacks_and_files_too_large_for_memory_are_looked_at_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile = pytest.importorskip("tifffile")
    samples = np.random.default_rng(0).integers(0, 4096, (3, 900, 1100)).astype(np.uint16)
    samples[:, 0, 0] = 4095
    tifffile.imwrite(tmp_path / "stack.tif", samples, photometric="minisblack", tile=(256, 256))
    tifffile.imwrite(tmp_path / "one.tif", samples[0], photometric="minisblack", tile=(256, 256))
    assert find_value_range([tmp_path / "stack.tif"]) == (0, 4095)
    monkeypatch.setattr("maskrcnn.images.header.LARGEST", 10_000)
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 10_000)  # as Pillow does by itself
    assert find_value_range([tmp_path / "one.tif"]) == (0, 4095)
    low, high = find_value_range([tmp_path / "one.tif"], percentiles=(10, 90)) or (0, 0)
    assert 380 < low < 440 and 3600 < high < 3750


def test_the_range_of_a_zarr(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    samples = np.random.default_rng(0).integers(0, 1024, (90, 130)).astype(np.uint16)
    zarr.create_array(str(tmp_path / "a.zarr"), shape=(90, 130), chunks=(32, 32), dtype="uint16")[:] = samples
    assert find_value_range([tmp_path / "a.zarr"]) == (0, 1023)


def test_the_largest_value_of_all(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((4, 4), 2**64 - 1, np.uint64))
    assert find_value_range([tmp_path / "a.npy"]) == (0, 2.0**64)

"""Large files end to end: windows of the file in, tile by tile out, each object once."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blob_model import SIDE, BlobModel, blobs
from fixed_model import Raw
from PIL import Image

from maskrcnn.images import regions
from maskrcnn.instances import Instances
from maskrcnn.masks.rle import rle_bitmap
from maskrcnn.predict import reading
from maskrcnn.predict.files import Summary, predict_files
from maskrcnn.predict.kinds import KINDS
from maskrcnn.predict.predictor import predict, predict_pixels

tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")


def masks_of(summary: Summary, name: str | None = None) -> list[bytes]:
    """The pixels of every object in results.json, in an order of their own."""
    results: list[dict[str, Any]] = json.loads(summary.results.read_text())
    chosen = [result for result in results if name in (None, result["file_name"])]
    return sorted(rle_bitmap(result["segmentation"]).tobytes() for result in chosen)


@pytest.fixture
def only_by_windows(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Whatever is read must be a window; the sizes of all of them."""
    seen: list[tuple[int, ...]] = []
    real = regions.FileRegions.read

    def read(self: regions.FileRegions, window: regions.Window) -> np.ndarray:
        pixels = real(self, window)
        seen.append(pixels.shape)
        return pixels

    def refuse(*_: object) -> np.ndarray:
        raise AssertionError("the image was read whole")

    monkeypatch.setattr(regions.FileRegions, "read", read)
    monkeypatch.setattr(reading, "read_image", refuse)
    return seen


def test_a_tiff_is_predicted_by_windows(tmp_path: Path, only_by_windows: list[tuple[int, ...]]) -> None:
    pixels, count = blobs(288, 256)
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(32, 32), compression="zlib")
    summary = predict_files(BlobModel(), [path], tmp_path / "out", save=())
    assert summary.objects == {"blob": count} and summary.exit_code == 0
    assert summary.notes == [f"{path}: 256 x 288 pixels, predicted in 56 tiles of 64"]
    assert set(only_by_windows) == {(SIDE, SIDE, 3)} and len(only_by_windows) == 56
    found = predict_pixels(BlobModel(), [pixels], tiles="auto")[0]
    assert found.masks is not None
    assert masks_of(summary) == sorted(bitmap.tobytes() for bitmap in found.masks.bitmaps())


def test_from_python_too(tmp_path: Path, only_by_windows: list[tuple[int, ...]]) -> None:
    pixels, count = blobs(200, 250)
    tifffile.imwrite(tmp_path / "scan.tif", pixels, photometric="rgb")
    np.save(tmp_path / "scan.npy", pixels)
    for path in (tmp_path / "scan.tif", tmp_path / "scan.npy"):
        found = predict(BlobModel(), path)
        assert len(found) == count and found.pixels is None and found.path == path
    assert predict(BlobModel(), pixels).pixels is pixels


def test_every_kind_is_drawn(tmp_path: Path) -> None:
    pixels, count = blobs(200, 250)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    Image.fromarray(pixels).save(tmp_path / "b.png")
    summary = predict_files(
        BlobModel(), [tmp_path / "a.tif", tmp_path / "b.png"], tmp_path / "out", save=("overlay",)
    )
    drawn = [np.asarray(Image.open(path)) for path in summary.overlays]
    assert summary.objects["blob"] == 2 * count and np.array_equal(*drawn) and drawn[0].any()


def test_pages_are_images(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    pages = [blobs(100, 150, seed) for seed in range(3)]
    tifffile.imwrite(path, np.stack([pixels for pixels, _ in pages]), photometric="rgb")
    single = tmp_path / "single.png"
    Image.fromarray(pages[0][0]).save(single)
    summary = predict_files(BlobModel(), [path, single], tmp_path / "out", pages=True)
    assert summary.images == 4 and summary.exit_code == 0
    names = [f"{path}[1]", f"{path}[2]", f"{path}[3]", str(single)]
    results = json.loads(summary.results.read_text())
    assert list(dict.fromkeys(result["file_name"] for result in results)) == names
    for number, (_, count) in enumerate(pages):
        assert sum(result["image_id"] == number + 1 for result in results) == count
    assert [one.name for one in summary.overlays] == [
        "stack_page1.png", "stack_page2.png", "stack_page3.png", "single.png",
    ]  # fmt: skip
    summary = predict_files(BlobModel(), [path, single], tmp_path / "out2")
    assert summary.images == 1 and summary.exit_code == 3
    assert "3 pages" in summary.unreadable[0] and "--pages" in summary.unreadable[0]


@pytest.mark.parametrize("name", ["a.npy", "a.tif"])
def test_an_image_without_a_number_is_refused_in_tiles_too(tmp_path: Path, name: str) -> None:
    """It was said to hold nothing; one with a number in a corner is an image."""
    nothing = np.full((4 * SIDE, 4 * SIDE, 3), np.nan, np.float32)
    for images in (0, 1):
        nothing[-1, -1] = np.nan if not images else 0.5
        np.save(tmp_path / name, nothing) if name == "a.npy" else tifffile.imwrite(tmp_path / name, nothing)
        summary = predict_files(
            BlobModel(), [tmp_path / name], tmp_path / f"out{images}", tiles=SIDE, save=()
        )
        assert summary.images == images and len(summary.unreadable) == 1 - images
    assert images or "all of its samples are NaN" in summary.unreadable[0]


def test_small_pages_are_predicted_whole(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    pages = [blobs(SIDE, SIDE, seed) for seed in range(3)]
    tifffile.imwrite(path, np.stack([pixels for pixels, _ in pages]), photometric="rgb")
    summary = predict_files(BlobModel(), [path], tmp_path / "out", pages=True, save=(), batch=2)
    assert summary.images == 3 and summary.objects["blob"] == sum(count for _, count in pages)


def test_an_image_that_breaks_off_is_left_out_and_the_rest_go_on(tmp_path: Path) -> None:
    pixels, count = blobs(300, 250)
    broken, whole = tmp_path / "a.tif", tmp_path / "b.tif"
    for path in (broken, whole):
        tifffile.imwrite(path, pixels, photometric="rgb", tile=(32, 32), compression="zlib")
    content = bytearray(broken.read_bytes())
    with tifffile.TiffFile(broken) as tiff:
        last = tiff.pages[0].dataoffsets[-20]
    content[last : last + 40] = bytes(40)
    broken.write_bytes(content)
    summary = predict_files(BlobModel(), [broken, whole], tmp_path / "out", save=())
    assert (
        summary.images == 1 and summary.exit_code == 3 and "a.tif: cannot be decoded" in summary.unreadable[0]
    )
    results = json.loads(summary.results.read_text())
    assert len(results) == count and {result["file_name"] for result in results} == {str(whole)}


def written(out: Path) -> dict[str, bytes]:
    """All files but those of Parquet, whose bytes tell in how many parts it was written."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".parquet"
    }


def test_nothing_stays_of_an_image_that_breaks_off_and_a_later_run_has_all_of_it(tmp_path: Path) -> None:
    parquet, _ = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("skimage")
    folder, pixels = tmp_path / "in", blobs(180, 140)[0]
    folder.mkdir()
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(folder / name, pixels, photometric="rgb", tile=(32, 32), compression="zlib")
    content, broken = (folder / "b.tif").read_bytes(), bytearray((folder / "b.tif").read_bytes())
    with tifffile.TiffFile(folder / "b.tif") as tiff:
        last = tiff.pages[0].dataoffsets[-1]
    broken[last : last + 8] = bytes(8)
    state = (folder / "b.tif").stat()

    def run(out: str, content: bytes) -> Summary:
        (folder / "b.tif").write_bytes(content)
        os.utime(folder / "b.tif", ns=(state.st_atime_ns, state.st_mtime_ns))
        save = set(KINDS) - {"map"}
        return predict_files(BlobModel(), [folder], tmp_path / out, save=save)

    def images(out: str) -> set[str]:
        return set(parquet.read_table(tmp_path / out / "objects.parquet").column("image").to_pylist())

    whole, one = run("whole", content), predict_files(BlobModel(), [folder / "a.tif"], tmp_path / "one")
    for _ in range(2):  # the journal has rows of b.tif the second time
        summary = run("out", bytes(broken))
        assert (summary.images, summary.exit_code, len(summary.unreadable)) == (1, 3, 1)
        assert "b.tif" in summary.unreadable[0] and summary.objects == one.objects
        files = written(tmp_path / "out")
        assert not [name for name in files if Path(name).stem == "b"]
        assert not [name for name, data in files.items() if b"b.tif" in data]
        assert images("out") == {str(folder / "a.tif")}
        assert json.loads(files["coco-dataset/train.json"])["images"][0]["file_name"] == "a.tif"
    summary = run("out", content)
    assert (summary.images, summary.exit_code, summary.objects) == (2, 0, whole.objects)
    files, expected = written(tmp_path / "out"), written(tmp_path / "whole")
    for name in ("b.png", "a.png"):  # drawn enlarged, where masks of pixels are less smooth
        assert files.pop(name) and expected.pop(name)
    assert files == expected and images("out") == images("whole")


def test_an_image_whose_pixels_a_label_format_cannot_read_does_not_end_the_run(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    pixels, count = blobs(150, 100)
    form = {"chunks": (32, 32, 3), "dtype": "u1", "zarr_format": 2}
    zarr.create_array(str(tmp_path / "a.zarr"), shape=pixels.shape, **form)[:] = pixels
    (tmp_path / "a.zarr" / "4.0.0").write_bytes(b"damaged")
    Image.fromarray(pixels).save(tmp_path / "b.png")
    sources = [tmp_path / "a.zarr", tmp_path / "b.png"]
    summary = predict_files(BlobModel(), sources, tmp_path / "out", save=("labelme",))
    assert (summary.images, summary.exit_code, len(summary.unreadable)) == (1, 3, 1)
    assert summary.objects == {"blob": count}


def test_what_is_too_large_to_be_predicted_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST", 10_000)
    pixels, _ = blobs(200, 200)
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, pixels, photometric="rgb")
    summary = predict_files(BlobModel(), [path], tmp_path / "out", tiles="off")
    assert summary.exit_code == 3 and "add --tiles SIDE" in summary.unreadable[0]


def test_full_tiles_are_told(tmp_path: Path) -> None:
    pixels, count = blobs(300, 250)
    Image.fromarray(pixels).save(tmp_path / "scan.png")
    summary = predict_files(BlobModel(most=5), [tmp_path / "scan.png"], tmp_path / "out", save=())
    (line,) = [note for note in summary.notes if note.startswith("warning")]
    assert "of 63 tiles there are 5 objects" in line and line.endswith("--tiles 32")
    assert summary.objects["blob"] < count
    with pytest.warns(UserWarning, match="1 image with as many objects as the model gives") as told:
        found = predict(BlobModel(most=5), pixels)
    assert isinstance(found, Instances) and found.capped and "and perhaps more" in repr(found)
    found.save(tmp_path / "found.npz")
    assert Instances.load(tmp_path / "found.npz").capped
    with pytest.warns(UserWarning, match="2 images with as many"):
        assert all(one.capped for one in predict(BlobModel(most=5), [pixels[:60, :60]] * 2))
    assert not any("predictor.py" in str(one.message) for one in told)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict(BlobModel(), pixels)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels(channels: int, tmp_path: Path) -> None:
    pixels, count = blobs(150, 200, channels=channels)
    path = tmp_path / "scan.tif"
    shown = pixels[..., 0] if channels == 1 else pixels
    tifffile.imwrite(path, shown, photometric="minisblack", planarconfig=None if channels == 1 else "contig")
    found = predict(BlobModel(channels=channels), path)
    assert len(found) == count and found.channels == channels
    assert np.asarray(found.plot()).any()


def test_sixteen_bits_by_windows(tmp_path: Path, only_by_windows: list[tuple[int, ...]]) -> None:
    pixels, count = blobs(200, 250)
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, pixels[..., 0].astype(np.uint16) * 10, photometric="minisblack", tile=(32, 32))
    model = BlobModel()
    assert len(predict(model, path)) == 0  # as dark as 2,000 is of 65,535
    model.config.input = model.config.input.model_copy(update={"value_range": (0, 3000)})
    assert len(predict(model, path)) == count


class BlobEngine:
    """The same network as an exported engine has it: called, and no module."""

    name = "openvino"

    def __init__(self) -> None:
        self._model = BlobModel()
        self.config = self._model.config

    def __call__(self, images: torch.Tensor, sizes: torch.Tensor, score: float | None = None) -> Raw:
        return self._model(images, sizes)


def test_an_engine_takes_tiles_as_a_network_does() -> None:
    pixels, count = blobs(200, 260)
    found, expected = predict(BlobEngine(), pixels), predict(BlobModel(), pixels)
    assert len(found) == count and found == expected

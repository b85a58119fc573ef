"""Images of one, two, four and more channels, from every kind of file that holds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnn.errors import DataError
from maskrcnn.images import header
from maskrcnn.images.header import stored_channels, upright_size
from maskrcnn.images.multichannel import upright
from maskrcnn.images.read import from_pillow, read_image
from maskrcnn.predict.sources import find_images

tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")


def noise(channels: int, height: int = 20, width: int = 30, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels)).astype(dtype)


def refused(path: Path, channels: int = 3) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path, channels)
    line = str(caught.value)
    assert "\n" not in line and path.name in line and ";" in line
    return line


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 12])
def test_an_array_comes_as_it_is(channels: int, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, noise(channels))
    assert np.array_equal(read_image(path, channels), noise(channels))
    assert upright_size(path) == (20, 30) and stored_channels(path) == channels
    np.save(path, noise(channels).astype(np.uint16) << 8)
    assert np.array_equal(read_image(path, channels), noise(channels))


def test_an_array_for_a_model_of_rgb_or_grey(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, noise(1)[..., 0])
    assert np.array_equal(read_image(path), np.repeat(noise(1), 3, axis=2))
    assert np.array_equal(read_image(path, 1), noise(1))
    np.save(path, noise(3))
    assert np.array_equal(read_image(path), noise(3))
    luma = np.asarray(Image.fromarray(noise(3)).convert("L"))
    assert np.array_equal(read_image(path, 1)[..., 0], luma)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("channels", "dtype"), [(2, np.uint8), (4, np.uint8), (5, np.uint8), (5, np.uint16), (7, np.float32)]
)
def test_a_tiff_of_bands(channels: int, dtype: type, compression, planar: str, tmp_path: Path) -> None:
    pixels = noise(channels, dtype=dtype)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, 2, 0)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=planar, compression=compression)
    assert np.array_equal(read_image(path, channels, (0, 255)), noise(channels))
    assert stored_channels(path) == channels and upright_size(path) == (20, 30)
    # some of them Pillow opens and would give the first band of
    assert f"model.input.channels={channels}" in refused(path)


def test_grey_pages_are_channels_where_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = noise(4)
    pages = [Image.fromarray(pixels[..., c]) for c in range(4)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    assert np.array_equal(read_image(path, 4), pixels)
    assert "4 pages" in refused(path) and "model.input.channels=4" in refused(path)
    assert stored_channels(path) == 3  # a stack of images is not taken for channels unasked
    assert "has 4 channels, the model takes 5" in refused(path, 5)
    Image.fromarray(noise(3)).save(path, save_all=True, append_images=[Image.fromarray(noise(3))])
    assert "2 pages" in refused(path, 6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_as_pillow_turns_it(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(noise(3)).save(path, exif=exif)
    assert np.array_equal(read_image(path), upright(noise(3), orientation))
    path = tmp_path / "a.tif"
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(path, noise(5), photometric="minisblack", planarconfig="contig", extratags=tag)
    assert np.array_equal(read_image(path, 5), upright(noise(5), orientation))
    assert upright_size(path) == read_image(path, 5).shape[:2]


def test_grey(tmp_path: Path) -> None:
    rgb = Image.fromarray(noise(3))
    for name, image in (
        ("a.png", rgb),
        ("a.bmp", rgb),
        ("grey.png", rgb.convert("L")),
        ("p.png", rgb.convert("P")),
    ):
        image.save(tmp_path / name)
        assert np.array_equal(
            read_image(tmp_path / name, 1)[..., 0], np.asarray(image.convert("RGB").convert("L"))
        )
    Image.fromarray((noise(1)[..., 0].astype(np.uint16)) << 4).save(tmp_path / "deep.png")
    assert np.array_equal(read_image(tmp_path / "deep.png", 1, (0, 4095)), noise(1))
    assert stored_channels(tmp_path / "grey.png") == 3


def test_alpha_is_a_channel_where_four_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noise(4)).save(path)
    assert np.array_equal(read_image(path, 4), noise(4))
    assert read_image(path).shape == (20, 30, 3) and not np.array_equal(read_image(path), noise(4)[..., :3])
    Image.fromarray(noise(2)).save(path)
    assert np.array_equal(read_image(path, 2), noise(2))
    Image.fromarray(noise(3)).save(path)
    assert "has 3 channels, the model takes 4" in refused(path, 4)
    Image.fromarray(noise(3)).convert("L").save(path)
    assert "has 1 channel, the model takes 4" in refused(path, 4)
    palette = Image.fromarray(noise(3)).convert("P")
    assert from_pillow(palette, 4).shape == (20, 30, 3)
    palette.info["transparency"] = 0
    assert from_pillow(palette, 4).shape == (20, 30, 4)


def test_arrays_that_are_no_images(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for array in (
        np.zeros((2, 3, 4, 5)),
        np.zeros(7),
        np.zeros((0, 4, 3)),
        np.array([["a"]]),
        np.array([[1j]]),
    ):
        np.save(path, array)
        refused(path)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "Python objects" in refused(path)
    np.save(path, noise(3))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    refused(path)
    header = whole[: whole.index(b"\n") + 1].replace(b"(20, 30, 3)", b"(99999, 99999, 3)")
    path.write_bytes(header + bytes(100))
    refused(path)
    assert "no such file" in refused(tmp_path / "missing.npy")
    assert "no such file" in refused(tmp_path / "missing.tif", 5)


def test_more_than_the_limit_is_refused_from_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", noise(5))
    tifffile.imwrite(
        tmp_path / "a.tif", noise(5), photometric="minisblack", planarconfig="contig", compression="zlib"
    )
    monkeypatch.setattr(header, "MOST_BYTES", 20 * 30 * 5 - 1)
    assert "3,000 bytes, more than 2,999" in refused(tmp_path / "a.npy", 5)
    assert "3,000 bytes, more than 2,999" in refused(tmp_path / "a.tif", 5)


@pytest.mark.filterwarnings("error")
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    np.save(tmp_path / "a.npy", noise(5))
    layout = {"photometric": "minisblack", "compression": "zlib"}
    tifffile.imwrite(tmp_path / "a.tif", noise(5), planarconfig="contig", **layout)
    tifffile.imwrite(tmp_path / "b.tif", np.moveaxis(noise(5), 2, 0), planarconfig="separate", **layout)
    read = 0
    for name in ("a.npy", "a.tif", "b.tif"):
        path = tmp_path / name
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(100):
            damaged = whole.copy()
            damaged[rng.integers(0, min(400, len(whole)), 3)] = rng.integers(0, 256, 3)
            path.write_bytes(damaged[: rng.integers(1, len(whole)) if rng.random() < 0.1 else None].tobytes())
            for attempt in (lambda p: read_image(p, 5), stored_channels, upright_size):
                try:
                    attempt(path)
                    read += 1
                except DataError as error:
                    assert "\n" not in str(error)
    assert read > 50


def test_a_page_that_is_its_own_next_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(5), photometric="minisblack", planarconfig="contig")
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    tags = int.from_bytes(data[first : first + 2], "little")
    end = first + 2 + 12 * tags  # where the offset of the next page stands
    place = len(data)
    data[end : end + 4] = place.to_bytes(4, "little")
    data += bytes(2) + place.to_bytes(4, "little")  # a page without tags
    path.write_bytes(bytes(data))
    assert "2 pages" in refused(path, 5)
    data[end : end + 4] = first.to_bytes(4, "little")
    path.write_bytes(bytes(data))
    assert np.array_equal(read_image(path, 5), noise(5))


def test_arrays_are_found_where_there_is_nothing_else(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(5))
    assert find_images([str(tmp_path)]) == find_images([f"{tmp_path}/*"]) == [tmp_path / "a.npy"]
    Image.fromarray(noise(3)).save(tmp_path / "b.png")
    assert find_images([str(tmp_path)]) == [tmp_path / "b.png"]
    assert find_images([str(tmp_path / "a.npy")]) == [tmp_path / "a.npy"]


def test_without_tifffile_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(5), photometric="minisblack", planarconfig="contig")
    assert read_image(tmp_path / "a.tif", 5).shape == (20, 30, 5)
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    assert "pip install 'maskrcnn[tiff]'" in refused(tmp_path / "a.tif", 5)

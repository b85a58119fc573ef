"""Windows of files: the same samples that the whole image has, and no more of the file decoded than needed."""

from __future__ import annotations

import contextlib
import resource
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskrcnn.errors import ImageError
from maskrcnn.images import tiff_regions
from maskrcnn.images.read import read_image
from maskrcnn.images.regions import count_images, open_regions
from maskrcnn.images.tiles import Window

tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")

HEIGHT, WIDTH = 150, 210


def noise(channels: int = 3, dtype: Any = np.uint8, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Smooth enough for JPEG, different everywhere."""
    y, x = np.mgrid[:height, :width]
    planes = [(x * (c + 2) + y * (5 - c) + 40 * np.sin(x / 9 + c)) / 9 for c in range(channels)]
    pixels = np.dstack(planes) % 256
    return (pixels * (257 if np.dtype(dtype) == np.uint16 else 1)).astype(dtype)


def windows(seed: int, height: int = HEIGHT, width: int = WIDTH) -> list[Window]:
    rng = np.random.default_rng(seed)
    found = [Window(0, 0, width, height)]
    for _ in range(5):
        left, top = int(rng.integers(0, width)), int(rng.integers(0, height))
        found.append(
            Window(left, top, int(rng.integers(1, width - left + 1)), int(rng.integers(1, height - top + 1)))
        )
    return found


def check(path: Path, whole: np.ndarray, channels: int = 3, within: int = 0, **options: Any) -> None:
    """Every window of a file is that of the whole image."""
    image = open_regions(path, channels, **options)
    assert image is not None
    assert image.size == whole.shape[:2] and image.channels == channels
    for window in windows(0, *whole.shape[:2]):
        x0, y0, x1, y1 = window.box
        seen = image.read(window)
        assert seen.dtype == np.uint8 and seen.shape == (y1 - y0, x1 - x0, channels)
        assert np.abs(seen.astype(int) - whole[y0:y1, x0:x1]).max() <= within
    image.close()


def refused(path: Path, channels: int = 3, **options: Any) -> str:
    """The one line that opening a file or reading all of it ends in."""
    with pytest.raises(ImageError) as caught:
        image = open_regions(path, channels, **options)
        assert image is not None
        image.read(Window(0, 0, image.size[1], image.size[0]))
    line = str(caught.value)
    assert "\n" not in line and path.name in line and ";" in line
    return line


LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 7},
    "one strip": {},
    "tiles": {"tile": (32, 48)},
    "deflated strips": {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
    "deflated tiles": {"tile": (32, 48), "compression": "zlib"},
    "big": {"tile": (32, 48), "bigtiff": True},
    "big-endian": {"rowsperstrip": 9, "byteorder": ">"},
    "planes": {"tile": (32, 48), "planarconfig": "separate"},
    "planes in one piece": {"planarconfig": "separate"},
    "deflated planes": {"rowsperstrip": 7, "planarconfig": "separate", "compression": "zlib"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiffs_of_rgb(layout: str, dtype: Any, tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.tif", noise(3, dtype)
    options = dict(LAYOUTS[layout])
    if "planarconfig" in options:
        pixels = np.moveaxis(pixels, 2, 0)
    tifffile.imwrite(path, pixels, photometric="rgb", **options)
    check(path, (noise(3, dtype) >> 8 if dtype == np.uint16 else noise()))
    check(path, read_image(path))
    check(path, read_image(path, 1), 1)


@pytest.mark.parametrize("layout", ["strips", "deflated tiles", "one strip", "big-endian"])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int16, np.float32])
def test_tiffs_of_grey(layout: str, dtype: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = noise(1, np.uint16)[..., 0] >> 1
    value_range = (100.0, 20000.0) if dtype in (np.uint16, np.int16, np.float32) else None
    if dtype is bool or dtype == np.uint8:
        pixels = pixels >> 7
    if dtype is bool:
        pixels = pixels > 100
    tifffile.imwrite(path, pixels.astype(dtype), photometric="minisblack", **LAYOUTS[layout])
    for channels in (1, 3):
        check(path, read_image(path, channels, value_range), channels, value_range=value_range)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.tif", noise(4)
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unassalpha"], tile=(32, 32))
    check(path, read_image(path))
    check(path, read_image(path, 1), 1)
    check(path, pixels, 4)
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unspecified"], tile=(32, 32))
    assert "a TIFF of 4 channels; set model.input.channels=4" in refused(path)
    check(path, pixels, 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(path, noise(), photometric="rgb", tile=(32, 48), extratags=tag)
    check(path, read_image(path))
    tifffile.imwrite(
        path, noise(5), photometric="minisblack", planarconfig="contig", extratags=tag, tile=(32, 32)
    )
    check(path, read_image(path, 5), 5)


def test_jpeg_in_tiff(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, noise(), photometric="ycbcr", compression="jpeg", tile=(64, 64), subsampling=(2, 2)
    )
    check(path, read_image(path), within=3)
    tifffile.imwrite(path, noise(), photometric="rgb", compression="lzw", rowsperstrip=16)
    check(path, read_image(path))


def test_what_only_pillow_knows_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(noise()).convert("YCbCr").save(path)
    assert open_regions(path) is None and read_image(path).shape == (HEIGHT, WIDTH, 3)
    Image.fromarray(noise()[..., 0] > 99).save(path, compression="group4")
    assert open_regions(path) is None and np.array_equal(read_image(path, 1) > 0, noise()[..., :1] > 99)
    Image.fromarray(noise()).save(tmp_path / "a.png")
    assert open_regions(tmp_path / "a.png") is None and count_images(tmp_path / "a.png") == 1


def test_without_tifffile_pillow_reads_what_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(), photometric="rgb")
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    assert open_regions(path) is None and np.array_equal(read_image(path), noise())
    assert "pip install 'maskrcnn[tiff]'" in refused(path, page=1)


def test_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, noise(5))
    check(path, noise(5), 5)
    np.save(path, noise(1, np.uint16)[..., 0])
    check(path, read_image(path, 3, (0, 9999)), value_range=(0, 9999))


@pytest.mark.parametrize("kind", ["sub-pages", "pages"])
def test_of_a_pyramid_the_full_size_is_read(kind: str, tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.tif", noise()
    with tifffile.TiffWriter(path, bigtiff=True, ome=kind == "sub-pages") as tiff:
        options = {"photometric": "rgb", "tile": (32, 32), "compression": "zlib"}
        tiff.write(
            pixels,
            subifds=2 if kind == "sub-pages" else None,
            metadata=None if kind == "pages" else {},
            **options,
        )
        for level in (2, 4):
            tiff.write(pixels[::level, ::level], subfiletype=1, metadata=None, **options)
    assert count_images(path) == 1
    check(path, pixels)
    assert np.array_equal(read_image(path), pixels)


def test_pages_are_images_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    pages = np.stack([noise() + number for number in range(5)])
    tifffile.imwrite(path, pages, photometric="rgb", tile=(32, 32))
    assert count_images(path) == 5
    for number in range(5):
        check(path, pages[number], page=number)
    assert "5 pages" in refused(path) and "--pages" in refused(path)
    grey = pages[..., 0]
    tifffile.imwrite(path, grey, photometric="minisblack", imagej=True)  # one page in the file, five images
    with Image.open(path) as image:
        assert "5 pages" in refused(path) and image.tag_v2[270].startswith("ImageJ")
    assert count_images(path) == 5 and count_images(path, 5) == 1
    check(path, np.repeat(grey[3][..., None], 3, axis=2), page=3)
    check(path, np.moveaxis(grey, 0, 2), 5)
    with pytest.raises(ImageError, match="5 pages.*--pages"):
        read_image(path)


def test_an_imagej_stack_behind_one_page_is_not_taken_for_an_image(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    description = "ImageJ=1.53\nimages=5\nframes=5\n"
    tifffile.imwrite(
        path, np.stack([noise(1)[..., 0]] * 5), photometric="minisblack", metadata=None, description="x" * 40
    )
    grey = np.stack([noise(1)[..., 0] + number for number in range(5)])
    tifffile.imwrite(path, grey[0], photometric="minisblack", metadata=None, description=description)
    with path.open("ab") as file:
        file.write(grey[1:].tobytes())
    with pytest.raises(ImageError, match="5 pages"):
        read_image(path)
    assert "5 pages" in refused(path) and count_images(path) == 5


def test_groups_of_pages_that_are_channels(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    pages = np.stack([noise(1)[..., 0] + number for number in range(6)])
    tifffile.imwrite(path, pages, photometric="minisblack", tile=(32, 32))
    assert count_images(path, 2) == 3 and count_images(path, 6) == 1
    check(path, np.moveaxis(pages[2:4], 0, 2), 2, page=1)
    with pytest.raises(ImageError, match="6 pages are no images of 4 channels"):
        count_images(path, 4)
    volume = pages.reshape(3, 2, HEIGHT, WIDTH)
    tifffile.imwrite(path, volume, photometric="minisblack", metadata={"axes": "CZYX"}, ome=True)
    assert "XYCZT" in refused(path, 3 - 1, page=0)
    tifffile.imwrite(path, volume, photometric="minisblack", metadata={"axes": "ZCYX"}, ome=True)
    check(path, np.moveaxis(volume[1], 0, 2), 2, page=1)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the tiles and strips that are decoded."""
    numbers: list[int] = []
    kind = tifffile.TiffPage
    real = kind.__dict__["decode"]

    def decode(page: Any) -> Any:
        inner = real.__get__(page, kind)
        return lambda data, index, **named: (data and numbers.append(index), inner(data, index, **named))[1]

    monkeypatch.setattr(kind, "decode", property(decode))
    return numbers


def test_only_what_a_window_touches_is_decoded(
    tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(), photometric="rgb", tile=(32, 32), compression="zlib")
    image = open_regions(path)
    assert image is not None
    image.read(Window(40, 40, 20, 20))
    assert len(decoded) == 1
    image.read(Window(30, 40, 20, 40))
    assert len(decoded) == 4  # a tile that was decoded is kept
    monkeypatch.setattr(tiff_regions, "CACHE", 0)
    for window in windows(1):
        image.read(window)
    kept = image._samples._pages[0]  # type: ignore[attr-defined]
    assert kept._bytes == sum(one.nbytes for one in kept._kept.values())


def test_strips_are_decoded_once_for_a_row_of_windows(
    tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many bytes they are: as wide as the image, each window of the row needs all of them."""
    monkeypatch.setattr(tiff_regions, "CACHE", 0)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(), photometric="rgb", rowsperstrip=5, compression="zlib")
    image = open_regions(path)
    assert image is not None
    for top in (0, 45, 90):
        for left in range(0, 150, 50):
            image.read(Window(left, top, 60, 60))
    assert sorted(decoded) == list(range(30))
    whole = image.read(Window(0, 0, WIDTH, HEIGHT))
    kept = image._samples._pages[0]  # type: ignore[attr-defined]
    assert np.array_equal(whole, noise()) and len(kept._kept) == 1  # nothing lies beside this one


def test_sparse_tiles_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tiles = iter([noise(3, height=32, width=32), None, None, noise(3, height=32, width=32)])
    tifffile.imwrite(path, tiles, photometric="rgb", tile=(32, 32), shape=(64, 64, 3), dtype=np.uint8)
    whole = np.zeros((64, 64, 3), np.uint8)
    whole[:32, :32] = whole[32:, 32:] = noise(3, height=32, width=32)
    check(path, whole)


def with_tile(path: Path, data: bytes) -> None:
    """Put other bytes in the place of a file's first tile."""
    with tifffile.TiffFile(path) as tiff:
        offset, count = (tiff.pages[0].tags[tag].valueoffset for tag in (324, 325))
    content = bytearray(path.read_bytes())
    content[offset : offset + 4] = struct.pack("<I", len(content))
    content[count : count + 4] = struct.pack("<I", len(data))
    path.write_bytes(content + data)


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000"])
def test_a_tile_that_says_it_is_far_larger_is_not_decoded(compression: str, tmp_path: Path) -> None:
    codecs, path = pytest.importorskip("imagecodecs"), tmp_path / "a.tif"
    tifffile.imwrite(path, noise(), photometric="rgb", compression=compression, tile=(32, 32))
    encode = codecs.jpeg8_encode if compression == "jpeg" else codecs.jpeg2k_encode
    image = open_regions(path)
    assert image is not None and image.read(Window(0, 0, WIDTH, HEIGHT)).any()
    with_tile(path, encode(np.zeros((65, 70, 3), np.uint8)))
    assert "a tile of 32 x 32 that says it has 4,550 pixels" in refused(path)
    sides = [side.to_bytes(2 if compression == "jpeg" else 4, "big") * 2 for side in (64, 60_000)]
    with_tile(path, encode(np.zeros((64, 64, 3), np.uint8)).replace(*sides))
    assert "3,600,000,000 pixels" in refused(path)


@pytest.mark.parametrize("compression", ["png", "webp", "jpegxl", "jpegxr", "lerc"])
def test_a_tile_whose_decoder_says_that_it_is_far_larger_is_not_decoded(
    compression: str, tmp_path: Path
) -> None:
    codecs, path = pytest.importorskip("imagecodecs"), tmp_path / "a.tif"
    tifffile.imwrite(path, noise(), photometric="rgb", compression=compression, tile=(32, 32))
    encode = getattr(codecs, f"{compression}_encode")
    image = open_regions(path)
    assert image is not None and image.read(Window(0, 0, WIDTH, HEIGHT)).any()
    with_tile(path, encode(np.zeros((65, 70, 3), np.uint8)))
    assert "a tile of 32 x 32 that says it has 4,550 pixels" in refused(path)
    with_tile(path, b"no such code")
    assert "cannot be decoded" in refused(path)


@pytest.mark.parametrize("compression", ["zlib", "zstd", "lzma", "lzw"])
def test_a_tile_that_decodes_to_far_more_takes_no_memory(compression: str, tmp_path: Path) -> None:
    codecs, path = pytest.importorskip("imagecodecs"), tmp_path / "a.tif"
    tifffile.imwrite(path, noise(), photometric="rgb", compression=compression, tile=(32, 32))
    with_tile(path, bytes(getattr(codecs, f"{compression}_encode")(bytes(50_000_000))))
    before = peak_memory()
    image = open_regions(path)
    assert image is not None
    with contextlib.suppress(ImageError):  # some codecs tell, others stop at the tile's size
        image.read(Window(0, 0, 32, 32))
    assert peak_memory() - before < 30_000_000


def peak_memory() -> int:
    """Bytes of this process so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_damaged_tiffs_end_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(), photometric="rgb", tile=(32, 32), compression="zlib")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path)
    path.write_bytes(whole[:3000] + bytes(2000) + whole[5000:])
    refused(path)
    tifffile.imwrite(path, noise(), photometric="rgb")
    path.write_bytes(path.read_bytes()[:-5000])
    refused(path)
    tifffile.imwrite(path, noise(5), photometric="minisblack", planarconfig="contig")
    assert "a TIFF of 5 channels" in refused(path)
    assert "has 5 channels, the model takes 4" in refused(path, 4)
    tifffile.imwrite(path, noise(1, np.float32)[..., 0], photometric="minisblack")
    assert "--value-range" in refused(path)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_spoilt_tiffs_never_give_a_traceback(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng, path = np.random.default_rng(seed), tmp_path_factory.mktemp("spoilt") / "a.tif"
    options = LAYOUTS[list(LAYOUTS)[int(rng.integers(0, 7))]]
    tifffile.imwrite(path, noise(3, height=70, width=90), photometric="rgb", **options)
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    # the header's tags, which lie at the beginning
    for place in rng.integers(0, 400, 3).tolist():
        data[place] = rng.integers(0, 256)
    path.write_bytes(data.tobytes())
    for channels in (3, 4):
        try:
            image = open_regions(path, channels)
            if image is not None and image.size[0] * image.size[1] < 10**6:
                image.read(Window(0, 0, image.size[1], image.size[0]))
            count_images(path, channels)
        except ImageError as error:
            assert "\n" not in str(error)

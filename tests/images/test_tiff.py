"""TIFFs that mean the same in every way of reading them: whole, by windows, page by page and from bytes."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskrcnn.config.model import InputConfig
from maskrcnn.errors import DataError, ImageError
from maskrcnn.images.encoded import decode_image
from maskrcnn.images.header import read_header, upright_size
from maskrcnn.images.read import ValueRange, as_pixels, read_image
from maskrcnn.images.regions import count_images, open_regions, whole_pixels
from maskrcnn.images.value_range import find_value_range
from maskrcnn.labels.readers.label_image import read_ids
from maskrcnn.predict.reading import SourceImage, open_image

tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")

HEIGHT, WIDTH = 40, 56


def picture(dtype: Any = np.uint8) -> np.ndarray:
    """RGB (H, W, 3), each sample another at each place; of 16 bits in the high 8."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.dstack([x * 4, y * 6, 255 - x * 2 - y]).astype(np.uint8)
    return pixels if dtype == np.uint8 else pixels.astype(dtype) << 8


def every_way(path: Path, channels: int = 3, value_range: ValueRange | None = None) -> np.ndarray:
    """The pixels of a TIFF, which all ways of reading it agree on."""
    whole = read_image(path, channels, value_range)
    assert np.array_equal(whole, decode_image(path.read_bytes(), channels, value_range))
    assert whole.flags.c_contiguous and whole.flags.writeable and upright_size(path) == whole.shape[:2]
    regions = open_regions(path, channels, value_range)
    assert regions is not None and np.array_equal(whole, whole_pixels(regions, regions.size))
    regions.close()
    config = InputConfig(channels=channels, mean=[0] * channels, std=[1] * channels, value_range=value_range)
    opened, side = open_image(SourceImage(path), config, "off")
    assert side is None and np.array_equal(whole, whole_pixels(opened, opened.size))
    return whole


def refused(read: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["i2", "i4", "f4", "u2", "f8"])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
def test_big_endian_samples(dtype: str, compression: str | None, tmp_path: Path) -> None:
    path, grey = tmp_path / "a.tif", picture()[..., :1]
    tifffile.imwrite(path, grey[..., 0].astype(dtype), byteorder=">", compression=compression)
    assert np.array_equal(every_way(path, 1, (0, 255)), grey)
    if dtype != "f8":
        tifffile.imwrite(
            tmp_path / "label.tif", grey[..., 0].astype(dtype), byteorder=">", compression=compression
        )
        assert np.array_equal(read_ids(tmp_path / "label.tif", (HEIGHT, WIDTH)), grey[..., 0])


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("alpha", [None, "unassalpha", "assocalpha"])
def test_colours_in_planes(
    planes: bool, compression: str | None, dtype: Any, alpha: str | None, tmp_path: Path
) -> None:
    path, rgb = tmp_path / "a.tif", picture(dtype)
    top = np.iinfo(dtype).max
    share = np.full((HEIGHT, WIDTH, 1), top, dtype)
    share[:5], share[5:9] = 0, top // 5
    seen = rgb * (share / top) + (top - share.astype(float))
    extra = {"extrasamples": [alpha]} if alpha else {}
    for colours, photometric in ((rgb, "rgb"), (rgb[..., :1], "minisblack")):
        stored = np.rint(colours * (share / top)).astype(dtype) if alpha == "assocalpha" else colours
        stored = np.dstack([stored, share]) if alpha else stored
        if planes:
            stored = np.moveaxis(stored, 2, 0)
        kind = {"photometric": photometric, "planarconfig": "separate" if planes else "contig"}
        tifffile.imwrite(path, stored.squeeze(), compression=compression, **kind, **extra)
        wanted = (seen if alpha else rgb)[..., : colours.shape[2]] / (1 if dtype == np.uint8 else 256)
        assert np.abs(every_way(path, colours.shape[2]) - wanted).max() < 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planes", [False, True])
def test_cmyk(dtype: Any, planes: bool, tmp_path: Path) -> None:
    path, cmyk = tmp_path / "a.tif", Image.fromarray(picture()).convert("CMYK")
    stored = np.array(cmyk).astype(dtype) << (8 if dtype == np.uint16 else 0)
    form = {"photometric": "separated", "planarconfig": "separate" if planes else "contig"}
    tifffile.imwrite(path, np.moveaxis(stored, 2, 0) if planes else stored, **form)
    assert np.array_equal(every_way(path), np.array(cmyk.convert("RGB")))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_where_0_is_white(dtype: Any, compression: str | None, tmp_path: Path) -> None:
    path, grey = tmp_path / "a.tif", picture()[..., 0] if dtype is not bool else picture()[..., 0] > 90
    stored = ~(grey.astype(np.uint16) << 8) if dtype == np.uint16 else ~grey
    tifffile.imwrite(path, stored, photometric="miniswhite", compression=compression)
    assert np.array_equal(every_way(path, 1)[..., 0], grey * (255 if dtype is bool else 1))
    tifffile.imwrite(path, grey.astype(np.float32), photometric="miniswhite")
    assert "of which 0 is white" in refused(lambda: read_image(path))


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_signed_8_bits(compression: str | None, tmp_path: Path) -> None:
    """Pillow takes -1 for 255."""
    path, signed = tmp_path / "a.tif", (picture()[..., 0].astype(int) - 128).astype(np.int8)
    tifffile.imwrite(path, signed, compression=compression)
    assert np.array_equal(every_way(path, 1, (-128, 127))[..., 0], picture()[..., 0])
    assert "int8 below 0 may be of any range" in refused(lambda: read_image(path))
    assert np.array_equal(read_ids(path, (HEIGHT, WIDTH)), signed)


def test_a_palette(tmp_path: Path) -> None:
    path, image = tmp_path / "a.tif", Image.fromarray(picture()).quantize(200)
    image.save(path)
    assert np.array_equal(every_way(path), np.array(image.convert("RGB")))


def test_rgb_of_16_bits_keeps_its_low_bits(tmp_path: Path) -> None:
    """Cameras of 12 bits gave 16 greys: only the high 8 bits were taken, whatever the range."""
    path, rgb = tmp_path / "a.tif", picture().astype(np.uint16) << 4
    tifffile.imwrite(path, rgb, photometric="rgb")
    rgb[0, 0, 0] = 4095
    tifffile.imwrite(path, rgb, photometric="rgb")
    assert find_value_range([path]) == (0, 4095)
    assert np.array_equal(every_way(path, 3, (0, 4095))[1:], picture()[1:])


def test_bits_that_pillow_does_not_know(tmp_path: Path) -> None:
    path, grey = tmp_path / "a.tif", picture()[..., 0].astype(np.uint16)
    for bits in (10, 12, 14):
        tifffile.imwrite(path, grey << (bits - 8), bitspersample=bits, photometric="minisblack")
        assert np.array_equal(every_way(path, 1, (0, 2**bits - 1))[..., 0], grey)
    tifffile.imwrite(path, grey.astype(np.float64) / 255, photometric="minisblack")
    assert np.array_equal(every_way(path, 1)[..., 0], grey) and read_header(path).deep
    tifffile.imwrite(path, (picture() / 255).astype(np.float32), photometric="rgb")
    assert np.array_equal(every_way(path), picture())


def test_a_thumbnail_may_come_first(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tag = [(274, "H", 1, 6, True)]
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(picture()[::4, ::4], photometric="rgb", subfiletype=1)
        tiff.write(picture(), photometric="rgb", subfiletype=0, extratags=tag)
    assert count_images(path) == 1
    assert np.array_equal(every_way(path), np.rot90(picture(), -1))


def test_each_page_has_its_own_colours_and_orientation(tmp_path: Path) -> None:
    path, rgb, grey = tmp_path / "a.tif", picture(), picture()[..., 0]
    palette = Image.fromarray(rgb).quantize(250)
    colours = np.array(palette.getpalette(), np.uint16).reshape(-1, 3)
    colours = np.vstack([colours, np.zeros((256 - len(colours), 3), np.uint16)]).T * 257
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(rgb, photometric="rgb")
        tiff.write(rgb, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
        tiff.write(255 - grey, photometric="miniswhite")
        tiff.write(np.array(palette), photometric="palette", colormap=colours)
        tiff.write(np.array(Image.fromarray(rgb).convert("CMYK")), photometric="separated")
        tiff.write(rgb, photometric="cielab")
    wanted = [rgb, np.rot90(rgb, -1), np.repeat(grey[..., None], 3, 2), np.array(palette.convert("RGB")), rgb]
    assert count_images(path) == 6
    for number, pixels in enumerate(wanted):
        regions = open_regions(path, page=number)
        assert regions is not None and regions.size == pixels.shape[:2]
        assert np.abs(whole_pixels(regions, regions.size).astype(int) - pixels).max() <= 1
    assert "page 6 has colours or a compression that are not read page by page; save it as RGB" in refused(
        lambda: open_regions(path, page=5)
    )


def test_what_is_said_of_a_stack_can_be_done(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.moveaxis(picture(), 2, 0), photometric="minisblack", metadata={"axes": "CYX"})
    line = refused(lambda: read_image(path))
    assert (
        "channels=3" not in line
        and "3 pages" in line
        and "if they are channels of one image, save them as RGB" in line
    )
    tifffile.imwrite(path, np.stack([picture()] * 2), photometric="rgb")
    assert "model.input.channels" not in refused(lambda: read_image(path))
    stack = np.arange(4 * 5 * 6 * 7, dtype=np.uint8).reshape(4, 5, 6, 7)  # (T, C, Y, X), stored as XYZCT
    tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": "TCYX"})
    regions = open_regions(path, 5, page=2)
    assert regions is not None
    assert np.array_equal(whole_pixels(regions, regions.size), np.moveaxis(stack[2], 0, 2))


def test_more_pages_than_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5, 8, 8), np.uint8), photometric="minisblack")
    monkeypatch.setattr("maskrcnn.images.multichannel.MOST_PAGES", 4)
    for read in (lambda: read_image(path), lambda: count_images(path)):
        assert "a TIFF of 5 pages, more than 4; save each as a file of its own" in refused(read)


def test_a_stack_behind_one_compressed_page_is_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    about = "ImageJ=1.53\nimages=5\n"
    tifffile.imwrite(path, picture()[..., 0], description=about, metadata=None, compression="lzw")
    for read in (
        lambda: read_image(path),
        lambda: decode_image(path.read_bytes()),
        lambda: open_regions(path),
    ):
        assert "5 images lie behind one page" in refused(read)


@pytest.mark.parametrize("missing", ["tifffile", "imagecodecs"])
def test_what_pillow_misreads_is_refused_where_it_is_all_there_is(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, deep = tmp_path / "a.tif", picture(np.uint16)
    alpha = np.full_like(deep[..., :1], 65535)
    planes = {"planarconfig": "separate", "compression": "lzw"}
    files: list[tuple[Any, dict[str, Any]]] = [
        (deep[..., 0].astype(np.float32) / 65535, {"byteorder": ">", "compression": "lzw"}),
        (np.moveaxis(np.dstack([deep, alpha]), 2, 0), {"photometric": "rgb", "extrasamples": [2], **planes}),
        (np.moveaxis(picture()[..., :2], 2, 0), {"photometric": "minisblack", "extrasamples": [2], **planes}),
        (deep[..., 0], {"photometric": "miniswhite", "compression": "lzw"}),
        (picture()[..., 0].astype(np.int8), {"photometric": "minisblack", "compression": "lzw"}),
    ]
    tifffile.imwrite(tmp_path / "label.tif", picture()[..., 0].astype(np.int32), **files[0][1])
    contents = []
    for samples, form in files:
        tifffile.imwrite(path, samples, **form)
        contents.append(path.read_bytes())
    tifffile.imwrite(path, picture(), photometric="rgb", compression="lzw")
    monkeypatch.setitem(sys.modules, missing, None)
    assert np.array_equal(read_image(path), picture())  # which Pillow reads right
    assert np.array_equal(decode_image(path.read_bytes()), picture())
    assert "which Pillow cannot read" in refused(lambda: read_ids(tmp_path / "label.tif", (HEIGHT, WIDTH)))
    for content in contents:
        path.write_bytes(content)
        for read in (lambda: read_image(path), lambda: decode_image(path.read_bytes())):
            assert "which Pillow cannot read; give its file, after pip install 'maskrcnn[tiff]'" in refused(
                read
            )
        with pytest.raises(ImageError, match="which Pillow cannot read"), Image.open(path) as image:
            as_pixels(image)


def test_bytes_are_bounded_as_files_are(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture(), photometric="rgb")
    assert "is more than 100 pixels" in refused(lambda: decode_image(path.read_bytes(), largest=100))
    tifffile.imwrite(path, picture().astype(np.float64), photometric="rgb")
    most = HEIGHT * WIDTH
    assert f"more than {6 * most:,}" in refused(lambda: decode_image(path.read_bytes(), largest=most))
    tifffile.imwrite(path, picture(), photometric="rgb")
    assert "cannot be decoded" in refused(lambda: decode_image(path.read_bytes()[:-100]))


def test_threads_leave_the_filters_of_warnings_alone(tmp_path: Path) -> None:
    """`catch_warnings` in threads left everything ignored, for good."""
    for number in range(30):
        Image.fromarray(picture()).save(tmp_path / f"{number}.png")
    read_image(tmp_path / "0.png")
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_image, sorted(tmp_path.iterdir()) * 5))
    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)

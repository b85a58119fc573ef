"""Every kind of image file, and every kind of file that is not one."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from maskrcnn.errors import DataError, ImageError, UserError
from maskrcnn.images.encoded import decode_image
from maskrcnn.images.header import LARGEST, upright_size
from maskrcnn.images.read import ValueRange, as_pixels, from_pillow, read_image, to_uint8
from maskrcnn.images.regions import open_regions, whole_pixels
from maskrcnn.images.tiles import Window
from maskrcnn.images.value_range import find_value_range

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(height: int = 16, width: int = 24) -> np.ndarray:
    """Red, green / blue, white: no two orientations look alike."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = RED, GREEN
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = BLUE, WHITE
    return pixels


# how an image must be stored for each orientation to show it upright, by the definition in the EXIF standard
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    stored = np.ascontiguousarray(STORED[orientation](quarters()))
    options = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(stored).save(path, exif=exif, **options)
    image = read_image(path)
    assert image.shape == (16, 24, 3)
    assert np.abs(image.astype(int) - quarters()).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_grey_tiffs_that_lie_on_their_side(tmp_path: Path, orientation: int) -> None:
    """Pillow 12.2 to 13.0 maps them into memory by the size that they have after they are turned."""
    grey = (np.arange(16 * 24) % 256).astype(np.uint8).reshape(16, 24, 1)
    stored = np.ascontiguousarray(STORED[orientation](grey))[..., 0]
    path = tmp_path / "turned.tif"
    Image.fromarray(stored).save(path, tiffinfo={0x0112: orientation})
    assert np.array_equal(read_image(path, 1), grey)
    assert np.array_equal(from_pillow(Image.open(path), 1), grey)


def test_damaged_exif_counts_as_upright(tmp_path: Path) -> None:
    path = tmp_path / "exif.png"
    Image.fromarray(quarters()).save(path, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff\x01")
    assert np.array_equal(read_image(path), quarters()) and upright_size(path) == (16, 24)
    text = PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n4\nnot hexadecimal")
    Image.fromarray(quarters()).save(path, pnginfo=text)
    assert np.array_equal(read_image(path), quarters()) and upright_size(path) == (16, 24)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "gif", "webp"])
def test_rgb_comes_back_exactly_writable_and_uint8(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(quarters()).save(path, **({"lossless": True} if suffix == "webp" else {}))
    image = read_image(path)
    assert np.array_equal(image, quarters())
    assert image.dtype == np.uint8 and image.flags.writeable and image.flags.c_contiguous


def save(
    tmp_path: Path,
    image: Image.Image,
    suffix: str = "png",
    value_range: ValueRange | None = None,
    **options: object,
) -> np.ndarray:
    path = tmp_path / f"image.{suffix}"
    image.save(path, **options)
    return read_image(path, value_range=value_range)


def test_grey_and_bilevel(tmp_path: Path) -> None:
    grey = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
    assert np.array_equal(save(tmp_path, Image.fromarray(grey)), np.repeat(grey[..., None], 3, 2))
    black_white = save(tmp_path, Image.fromarray(grey > 100))
    assert np.array_equal(black_white[..., 1], (grey > 100) * np.uint8(255))


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(quarters()).quantize(4)
    assert np.array_equal(save(tmp_path, image), quarters())
    blue = image.getpixel((0, 15))
    seen = save(tmp_path, image, transparency=blue)
    assert tuple(seen[15, 0]) == WHITE and tuple(seen[0, 0]) == RED


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    alpha = np.zeros((16, 24), np.uint8)
    alpha[:, :12] = 255
    alpha[0, 0] = 128
    seen = save(tmp_path, Image.fromarray(np.dstack([quarters(), alpha])))
    assert tuple(seen[5, 0]) == RED and tuple(seen[5, 20]) == WHITE
    assert seen[0, 0, 0] == 255 and abs(int(seen[0, 0, 1]) - 127) <= 1
    grey = Image.merge("LA", [Image.new("L", (24, 16), 10), Image.fromarray(alpha)])
    seen = save(tmp_path, grey)
    assert tuple(seen[5, 0]) == (10, 10, 10) and tuple(seen[5, 20]) == WHITE


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits(tmp_path: Path, suffix: str) -> None:
    deep = (np.arange(240, dtype=np.uint16) * 256 + 37).reshape(12, 20)
    assert np.array_equal(save(tmp_path, Image.fromarray(deep), suffix)[..., 2], deep >> 8)
    shallow = np.arange(240, dtype=np.uint16).reshape(12, 20)
    assert np.array_equal(save(tmp_path, Image.fromarray(shallow), suffix, (0, 255))[..., 0], shallow)


def test_float_and_wide_integer_tiff(tmp_path: Path) -> None:
    unit = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    assert np.array_equal(save(tmp_path, Image.fromarray(unit), "tif")[..., 0].ravel(), np.arange(256))
    wide = (np.arange(256, dtype=np.int32).reshape(16, 16) << 8) - 300
    expected = np.maximum(wide, 0) >> 8
    assert np.array_equal(save(tmp_path, Image.fromarray(wide), "tif", (0, 65535))[..., 0], expected)
    assert "int32 may be of any range" in refused(tmp_path / "image.tif")
    Image.fromarray(unit * 300).save(tmp_path / "image.tif")
    assert "float32 above 1 may be of any range" in refused(tmp_path / "image.tif")


def test_to_uint8_rules() -> None:
    assert to_uint8(np.array([True, False])).tolist() == [255, 0]
    assert to_uint8(np.array([0.0, 0.5, 1.0, np.nan])).tolist() == [0, 128, 255, 0]
    assert to_uint8(np.array([-5.0, 100.4, 255.0, np.inf, np.nan]), (0, 255)).tolist() == [
        0,
        100,
        255,
        255,
        0,
    ]
    assert to_uint8(np.array([0, 2**32 - 1], dtype=np.uint32), (0, 2**32 - 1)).tolist() == [0, 255]
    assert to_uint8(np.array([-9, 0, 255, 300], dtype=np.int32), (0, 255)).tolist() == [0, 0, 255, 255]
    assert to_uint8(np.array([-1000, 0, 2000], dtype=np.int16), (-1000, 2000)).tolist() == [0, 85, 255]
    assert to_uint8(np.array([256, 65535], dtype=">u2")).tolist() == [1, 255]
    assert to_uint8(np.empty((0, 3), np.uint16)).shape == (0, 3)


@pytest.mark.parametrize(
    ("dtype", "value_range"),
    [(np.uint8, None), (np.uint16, None), (np.int16, None)]
    + [
        (d, r)
        for d in (np.uint16, np.int16, np.int32, np.int64, np.float32)
        for r in ((0, 4095), (17.5, 991))
    ],
)
def test_a_sample_depends_on_nothing_but_itself(dtype: type, value_range: ValueRange | None) -> None:
    """One hot pixel changes nothing else: 700 was 175 in one frame and 43 in the next."""
    frame = np.random.default_rng(0).integers(0, 120 if dtype == np.uint8 else 900, (20, 30)).astype(dtype)
    hot = frame.copy()
    hot[3, 4] = min(np.iinfo(dtype).max, 65535) if np.issubdtype(dtype, np.integer) else 65535
    changed = to_uint8(frame, value_range) != to_uint8(hot, value_range)
    assert not np.delete(changed.ravel(), 3 * 30 + 4).any()


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_values_below_zero_need_a_range(dtype: type) -> None:
    """They became 0 without a word, and of such an image nothing was left."""
    samples = np.array([-100, 0, 100], dtype)
    assert to_uint8(samples[1:]).tolist() == ([0, 100] if dtype == np.int8 else [0, 0])
    with pytest.raises(UserError, match="below 0 may be of any range"):
        to_uint8(samples)
    assert to_uint8(samples, (-100, 155)).tolist() == [0, 100, 200]
    assert to_uint8(samples[1:], (-100, 155)).tolist() == [100, 200]


def test_sixteen_bits_that_pillow_widens(tmp_path: Path) -> None:
    """Pillow has a 16-bit PGM and a TIFF of signed 16 bits as 32 bits."""
    deep = (np.arange(100, dtype=np.uint16) * 256 + 37).reshape(10, 10)
    (tmp_path / "a.pgm").write_bytes(b"P5 10 10 65535\n" + deep.astype(">u2").tobytes())
    assert np.array_equal(read_image(tmp_path / "a.pgm", 1)[..., 0], deep >> 8)
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    tifffile.imwrite(tmp_path / "a.tif", deep.astype(np.int16), photometric="minisblack")
    assert np.array_equal(read_image(tmp_path / "a.tif", 1)[..., 0], deep >> 7)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    options = {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
    seen = save(tmp_path, Image.fromarray(quarters()).convert("CMYK"), suffix, **options)
    assert np.abs(seen.astype(int) - quarters()).max() <= 6


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_animation_gives_its_first_frame(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    seen = save(tmp_path, frames[0], suffix, save_all=True, append_images=frames[1:], lossless=True)
    assert tuple(seen[4, 4]) == RED


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def test_tiff_of_several_pages_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    pages = [Image.new("L", (8, 8), shade) for shade in (1, 2, 3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    assert "3 pages" in refused(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "gif", "webp", "bmp", "avif"])
def test_truncated(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-1500])
    refused(path)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\x00" * 64)) + chunk(b"IEND", b"")


def test_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(60000, 60000))
    assert f"{LARGEST:,}" in refused(path)


def test_bomb_is_refused_where_pillow_was_told_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(60000, 60000))
    assert "60000 x 60000" in refused(path)


@pytest.mark.filterwarnings("error")
def test_large_but_allowed_image_gives_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png_header(10000, 10000))
    assert "cannot be decoded" in refused(path)


def test_what_is_not_a_image(tmp_path: Path) -> None:
    text, empty, eps = tmp_path / "text.jpg", tmp_path / "empty.png", tmp_path / "script.png"
    text.write_text("hello")
    empty.write_bytes(b"")
    eps.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    for path in (text, empty, eps):
        assert "not an image" in refused(path)
    assert "no such file" in refused(tmp_path / "missing.png")
    refused(tmp_path)


@pytest.mark.filterwarnings("error")
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    for suffix in ("jpg", "png", "tif", "gif", "webp", "bmp", "ppm", "avif"):
        path = tmp_path / f"damaged.{suffix}"
        noise.save(path)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            places = rng.integers(0, min(200, len(whole)), 4)
            damaged[places] = rng.integers(0, 256, 4)
            path.write_bytes(damaged.tobytes())
            try:
                assert read_image(path).ndim == 3
            except DataError as error:
                assert "\n" not in str(error)


def test_an_image_error_keeps_reason_and_remedy_apart(tmp_path: Path) -> None:
    """So that nobody takes its line apart; and it survives the way from one process to another."""
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "a.png")
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == f"{tmp_path / 'a.png'}: {error.what}; {error.remedy}"
    assert error.remedy == "convert it to PNG" and "not an image" in error.what


def test_avif_is_read_upright(tmp_path: Path) -> None:
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :32] = 200
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.avif", quality=100, exif=exif)
    found = read_image(tmp_path / "a.avif")
    assert found.shape == (64, 32, 3) and upright_size(tmp_path / "a.avif") == (64, 32)
    assert found[:28].min() > 180 and found[36:].max() < 20


@pytest.mark.parametrize("name", ["a.heic", "IMG_1.jpg"])
def test_heic_is_read_by_what_is_in_it(name: str, tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:, :64] = 200
    made = heif.from_pillow(Image.fromarray(pixels))
    made.save(tmp_path / name, quality=95, exif=exif.tobytes())
    found = read_image(tmp_path / name)
    assert found.shape == (128, 64, 3) and upright_size(tmp_path / name) == (128, 64)
    assert found[:60].min() > 180 and found[68:].max() < 20


def test_heic_without_its_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    for read in (read_image, upright_size):
        with pytest.raises(ImageError, match=r"a.jpg: a HEIC image.*pip install 'maskrcnn\[heic\]'"):
            read(tmp_path / "a.jpg")


def test_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"PK\3\4")
    with pytest.raises(ImageError, match="unpack it"):
        read_image(tmp_path / "images.zip")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_without_a_number_is_refused(tmp_path: Path, value: float) -> None:
    """Else every pixel is the lowest value, and nothing is found in it."""
    nothing = np.full((8, 10, 3), value, np.float32)
    np.save(tmp_path / "a.npy", nothing)
    Image.fromarray(nothing[..., 0]).save(tmp_path / "a.tif")
    for name in ("a.npy", "a.tif"):
        with pytest.raises(ImageError, match=f"{name}: all of its samples are NaN or infinite"):
            read_image(tmp_path / name)
    regions = open_regions(tmp_path / "a.npy", value_range=(0, 1))
    assert regions is not None
    with pytest.raises(ImageError, match="all of its samples are NaN"):
        whole_pixels(regions, regions.size)
    assert regions.read(Window(0, 0, 4, 4)).shape == (4, 4, 3)  # of a map, a tile may have none
    with pytest.raises(UserError, match="all of its samples are NaN"):
        as_pixels(nothing)
    nothing[0, 0] = 0.5
    np.save(tmp_path / "a.npy", nothing)
    assert read_image(tmp_path / "a.npy")[0, 0].tolist() == as_pixels(nothing)[0, 0].tolist() == [128] * 3


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "an empty file, not an image; copy or download it again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n",
            "Git LFS.*; .*git lfs pull",
        ),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", r"a web page \(HTML\), not an image; download"),
    ],
)
def test_what_a_download_left_is_said_of_the_pixels_and_of_the_size(
    tmp_path: Path, content: bytes, line: str
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for read in (read_image, upright_size):
        with pytest.raises(ImageError, match=line):
            read(path)


def test_bytes_in_memory_are_refused_as_a_file_is() -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 10), np.nan, np.float32)).save(file, "TIFF")
    with pytest.raises(ImageError, match="all of its samples are NaN"):
        decode_image(file.getvalue(), value_range=(0, 1))
    with pytest.raises(ImageError, match="all of its samples are NaN"):
        as_pixels(Image.open(io.BytesIO(file.getvalue())), value_range=(0, 1))


def test_complex_samples_are_no_image(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 10), np.complex64))
    with pytest.raises(ImageError, match="its samples are complex64"):
        read_image(tmp_path / "a.tif")
    assert find_value_range([tmp_path / "a.tif"]) is None

"""Windows of zarrs, whole slides and GeoTIFFs."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn.errors import ImageError
from maskrcnn.images.georeference import Georeference, read_georeference
from maskrcnn.images.regions import count_images, open_regions, whole_pixels
from maskrcnn.images.tiles import Window
from maskrcnn.predict.sources import find_sources, is_many


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def check(path: Path, whole: np.ndarray, channels: int = 3, within: int = 0, **options: Any) -> None:
    image = open_regions(path, channels, **options)
    assert image is not None and image.size == whole.shape[:2]
    height, width = image.size
    for window in (Window(0, 0, width, height), Window(7, 11, 40, 50), Window(width - 9, height - 5, 9, 5)):
        x0, y0, x1, y1 = window.box
        assert np.abs(image.read(window).astype(int) - whole[y0:y1, x0:x1]).max() <= within
    image.close()


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        image = open_regions(path, **options)
        assert image is not None
        whole_pixels(image, image.size)
    line = str(caught.value)
    assert "\n" not in line and path.name in line and ";" in line
    return line


def write_zarr(path: Path, array: np.ndarray, version: int, axes: str = "", **options: Any) -> None:
    """A zarr array; with `axes` an OME-Zarr image of two levels."""
    zarr = pytest.importorskip("zarr")
    chunks = tuple(min(side, 32) for side in array.shape)
    form = {"chunks": chunks, "dtype": array.dtype, "zarr_format": version} | options
    if not axes:
        zarr.create_array(str(path), shape=array.shape, **form)[:] = array
        return
    group = zarr.open_group(str(path), mode="w", zarr_format=version)
    form.pop("zarr_format")
    for level, shown in (("0", array), ("1", array[..., ::2, ::2])):
        group.create_array(level, shape=shown.shape, **form)[:] = shown
    scales = [{"axes": [{"name": name} for name in axes], "datasets": [{"path": "0"}, {"path": "1"}]}]
    group.attrs.update({"ome": {"multiscales": scales}} if version == 3 else {"multiscales": scales})


@pytest.mark.parametrize("version", [2, 3])
def test_zarr(version: int, tmp_path: Path) -> None:
    rgb = noise(90, 130, 3)
    write_zarr(tmp_path / "a.zarr", rgb, version)
    check(tmp_path / "a.zarr", rgb)
    write_zarr(tmp_path / "grey.zarr", rgb[..., 0], version)
    check(tmp_path / "grey.zarr", np.repeat(rgb[..., :1], 3, axis=2))
    write_zarr(tmp_path / "b.ome.zarr", np.moveaxis(rgb, 2, 0)[None, :, None], version, "tczyx")
    check(tmp_path / "b.ome.zarr", rgb)
    deep = noise(5, 90, 130, dtype=np.uint16) * 16
    write_zarr(tmp_path / "c.zarr", deep, version, "cyx")
    check(tmp_path / "c.zarr", np.moveaxis(deep >> 4, 0, 2), 5, value_range=(0, 4095))
    assert "has 5 channels, the model takes 3" in refused(tmp_path / "c.zarr")


@pytest.mark.parametrize("version", [2, 3])
def test_planes_of_a_zarr_are_images(version: int, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    stack = noise(2, 3, 4, 90, 130)
    write_zarr(path, stack, version, "tczyx")
    assert count_images(path) == 8 and "a zarr of 8 pages" in refused(path) and "--pages" in refused(path)
    for page, (t, z) in enumerate(np.ndindex(2, 4)):
        check(path, np.moveaxis(stack[t, :, z], 0, 2), page=page)


def test_a_zarr_is_one_image_in_any_folder(tmp_path: Path) -> None:
    for name in ("b.zarr", "a.zarr", "unnamed"):
        write_zarr(tmp_path / name, noise(90, 130, 3), 3)
    assert find_sources([tmp_path]).images == [tmp_path / "a.zarr", tmp_path / "b.zarr"]
    assert find_sources([tmp_path / "unnamed"]).images == [tmp_path / "unnamed"]
    assert not is_many(tmp_path / "unnamed") and is_many(tmp_path)
    assert find_sources([str(tmp_path / "?.zarr")]).images == [tmp_path / "a.zarr", tmp_path / "b.zarr"]


def test_a_zarr_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write_zarr(path, noise(90, 130, 3), 2)
    about = json.loads((path / ".zarray").read_text())
    for change in ({"compressor": {"id": "pickle", "protocol": 5}}, {"filters": [{"id": "pickle"}]}):
        (path / ".zarray").write_text(json.dumps(about | change))
        assert "pickle" in refused(path)
    (path / ".zarray").write_text(json.dumps(about | {"chunks": [100000, 100000, 3]}))
    assert "more than" in refused(path)
    (path / ".zarray").write_text("{")
    refused(path)
    write_zarr(tmp_path / "b.zarr", noise(3, 90, 130), 2, "cyx")
    attributes = tmp_path / "b.zarr" / ".zattrs"
    for place in ("../a.zarr", "/etc", "no"):
        attributes.write_text(attributes.read_text().replace('"path": "0"', f'"path": "{place}"'))
        refused(tmp_path / "b.zarr")
        attributes.write_text(attributes.read_text().replace(f'"path": "{place}"', '"path": "0"'))
    chunk = next((tmp_path / "b.zarr" / "0").glob("0*"))
    chunk.write_bytes(b"spoilt")
    refused(tmp_path / "b.zarr")


@pytest.mark.parametrize("compressor", ["blosc", "zstd", "gzip", "zlib", "lz4", "bz2", "lzma"])
@pytest.mark.parametrize("version", [2, 3])
def test_a_chunk_that_decodes_to_more_than_the_array_says_is_refused(
    version: int, compressor: str, tmp_path: Path
) -> None:
    """2,000 times as much is not decoded, and 2 bytes neither, whose memory nobody can measure."""
    pytest.importorskip("zarr")
    import numcodecs
    import zarr

    path, pixels = tmp_path / "a.zarr", noise(90, 130)
    numeric = numcodecs.registry.get_codec({"id": compressor})
    named: Any = numeric if version == 2 else {"name": f"numcodecs.{compressor}", "configuration": {}}
    if version == 3 and compressor in ("blosc", "zstd", "gzip"):
        named = getattr(zarr.codecs, f"{compressor.capitalize()}Codec")()
    with warnings.catch_warnings(action="ignore"):  # zarr's, of codecs without a specification
        write_zarr(path, pixels, version, compressors=named, fill_value=0)
    check(path, np.repeat(pixels[..., None], 3, axis=2))
    chunk = path / ("0.0" if version == 2 else "c/0/0")
    for bomb in (bytes(2_000 * 32 * 32), bytes(32 * 32 + 1026)):
        chunk.write_bytes(bytes(numeric.encode(bomb)))
        assert len(chunk.read_bytes()) < 9000
        assert "a chunk decodes to" in refused(path) and "at most 2,048" in refused(path)


@pytest.mark.parametrize("whole", [False, True])
def test_a_chunk_in_a_shard_that_decodes_to_more_is_refused(whole: bool, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    import numcodecs

    path, pixels = tmp_path / "a.zarr", noise(64, 128)
    form = {"chunks": (32, 32), "shards": (64, 64), "dtype": "u1", "compressors": zarr.codecs.GzipCodec()}
    zarr.create_array(str(path), shape=pixels.shape, **form)[:] = pixels
    check(path, np.repeat(pixels[..., None], 3, axis=2))
    shard = path / "c" / "0" / "0"
    content = shard.read_bytes()
    bomb = bytes(numcodecs.GZip().encode(bytes(100_000)))
    index = np.frombuffer(content[-68:-4], "<i8").copy()
    content = bomb + content[index[1] : -68]  # in the place of the first chunk, the rest moved
    index[0::2] += len(bomb) - index[1]
    index[0], index[1] = 0, len(bomb)
    packed = index.tobytes()
    shard.write_bytes(content + packed + numcodecs.CRC32C().encode(packed)[-4:].tobytes())
    image = open_regions(path)
    assert image is not None
    with pytest.raises(ImageError, match="a chunk decodes to 100,000 bytes or more"):
        image.read(Window(0, 0, 64, 64) if whole else Window(5, 5, 9, 9))
    assert np.array_equal(image.read(Window(64, 0, 64, 64))[..., 0], pixels[:, 64:])


@pytest.mark.parametrize("compressor", ["gzip", "zlib", "bz2", "lzma"])
def test_a_chunk_that_is_counted_is_decoded_once(
    compressor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("zarr")
    import numcodecs

    path, pixels = tmp_path / "a.zarr", noise(90, 130)
    codec = numcodecs.registry.get_codec({"id": compressor})
    write_zarr(path, pixels, 2, compressors=codec, fill_value=0)
    monkeypatch.setattr(type(codec), "decode", lambda *_: pytest.fail("decoded once more"))
    check(path, np.repeat(pixels[..., None], 3, axis=2))
    chunk = path / "0.0"
    chunk.write_bytes(chunk.read_bytes()[:-20])
    assert "cannot be decoded" in refused(path)


def test_a_zarr_that_is_compressed_twice_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    path = tmp_path / "a.zarr"
    write_zarr(path, noise(90, 130), 2)
    about = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps(about | {"filters": [{"id": "gzip", "level": 1}]}))
    assert "compressed more than once" in refused(path)


def test_whole_slides(tmp_path: Path) -> None:
    pytest.importorskip("tiffslide")
    tifffile = pytest.importorskip("tifffile")
    pixels, path = noise(300, 400, 3), tmp_path / "a.svs"
    about = "Aperio Image Library v12.0.15\r\n400x300 [0,0 400x300] (256x256)|AppMag = 20|MPP = 0.5"
    with tifffile.TiffWriter(path) as tiff:
        options = {"photometric": "rgb", "metadata": None, "description": about, "compression": "zlib"}
        tiff.write(pixels, tile=(64, 64), **options)
        tiff.write(pixels[::4, ::4], **options)  # the thumbnail
        tiff.write(pixels[::2, ::2], tile=(64, 64), **options)
    check(path, pixels)
    assert count_images(path) == 1 and find_sources([tmp_path]).images == [path]
    path.write_bytes(path.read_bytes()[:5000])
    refused(path)


@pytest.mark.parametrize("what", ["pipe", "device", "link", "pipe for metadata"])
def test_a_zarr_gives_nothing_but_its_own_files(what: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write_zarr(path, noise(90, 130), 2, compressors=None)
    file = path / (".zarray" if what == "pipe for metadata" else "0.0")
    (tmp_path / "outside").write_bytes(file.read_bytes())
    file.unlink()
    if what == "link":
        file.symlink_to(tmp_path / "outside")
    elif what == "device":
        file.symlink_to("/dev/zero")
    else:
        os.mkfifo(file)
    assert "is no file in it" in refused(path)


@pytest.mark.parametrize("shape", [(10**9, 4), (10**7, 10**7), (2**62, 2**62)])
def test_a_size_that_no_image_has_is_refused(shape: tuple[int, int], tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    zarr.create_array(str(tmp_path / "a.zarr"), shape=shape, chunks=(64, 64), dtype="u1")
    assert "no image is that large" in refused(tmp_path / "a.zarr")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300])
def test_a_georeference_of_no_use_is_none(number: float, tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    tifffile = pytest.importorskip("tifffile")
    tags = [(33550, "d", 3, (1.0, 1.0, 0.0), True), (33922, "d", 6, (0, 0, 0, number, 5.0, 0), True)]
    tifffile.imwrite(tmp_path / "a.tif", noise(90, 130, 3), photometric="rgb", extratags=tags)
    assert read_georeference(tmp_path / "a.tif") is None


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("zarr", "a.zarr", "zarr"), ("tiffslide", "a.svs", "slides"), ("tiffslide", "a.ndpi", "slides")],
)
def test_without_its_package_one_line_names_the_extra(
    module: str, name: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.mkdir() if extra == "zarr" else path.write_bytes(b"II*\0")
    monkeypatch.setitem(sys.modules, module, None)
    assert f"pip install 'maskrcnn[{extra}]'" in refused(path)


def test_the_georeference_of_a_geotiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rasterio = pytest.importorskip("rasterio")
    pixels, path = noise(100, 130, 3), tmp_path / "field.tif"
    where = rasterio.transform.from_origin(600_000, 5_200_000, 0.5, 0.25)
    form = {"driver": "GTiff", "width": 130, "height": 100, "count": 3, "dtype": "uint8", "tiled": True}
    form |= {"blockxsize": 32, "blockysize": 32, "compress": "deflate", "photometric": "rgb"}
    with rasterio.open(path, "w", crs="EPSG:32632", transform=where, **form) as file:
        file.write(np.moveaxis(pixels, 2, 0))
        file.build_overviews([2, 4])
    check(path, pixels)
    found = read_georeference(path)
    assert found == Georeference((0.5, 0, 600_000, 0, -0.25, 5_200_000), "EPSG:32632")
    assert found.point(10, 20) == (600_005, 5_199_995)
    with rasterio.open(tmp_path / "plain.tif", "w", **form) as file:
        file.write(np.moveaxis(pixels, 2, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    assert read_georeference(tmp_path / "plain.tif") is None and read_georeference(tmp_path / "a.png") is None
    with pytest.raises(ImageError, match="broken.tif"):
        read_georeference(tmp_path / "broken.tif")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert read_georeference(tmp_path / "plain.tif") is None
    with pytest.raises(ImageError, match=r"pip install 'maskrcnn\[geo\]'"):
        read_georeference(path)

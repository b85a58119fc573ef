"""Windows of zarr arrays and OME-Zarr images, version 2 and 3: only the chunks that a window touches.

Axes t and z are images of their own, c becomes the channels (https://ngff.openmicroscopy.org, 0.1 to 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from maskrcnn.errors import ImageError
from maskrcnn.images.header import MOST_BYTES, refuse_pages
from maskrcnn.images.multichannel import as_image_error
from maskrcnn.images.tiles import Window

SUFFIX = ".zarr"
MARKS = ("zarr.json", ".zgroup", ".zarray")  # one of them is in every zarr
OLD_AXES = "tczyx"  # of OME-Zarr before 0.3
MOST_CHANNELS = 16  # of a plain array (y, x, c)
# pickle, which some files may ask for, would run code
CODECS = frozenset(
    "blosc zstd gzip zlib lz4 bz2 lzma bytes transpose crc32c crc32 adler32 fletcher32 shuffle delta bitround"
    " fixedscaleoffset quantize packbits sharding_indexed".split()
)


class ZarrSamples:
    """One plane (y, x) or (c, y, x) of an array."""

    def __init__(self, path: Path, array: Any, axes: str, index: dict[str, int]) -> None:
        """
        Args:
            axes: a letter for each axis of the array: y, x and perhaps c, and those in `index`.
            index: the place along each other axis.
        """
        self._path, self._array, self._axes, self._index = path, array, axes, index
        sides = dict(zip(axes, array.shape, strict=True))
        self.size = (sides["y"], sides["x"])
        self.channels = sides.get("c", 1)

    def read(self, window: Window) -> np.ndarray:
        """(h, w, channels) of the type that is stored."""
        left, top, right, bottom = window.box
        chosen = {"y": slice(top, bottom), "x": slice(left, right), "c": slice(None)} | self._index
        with as_image_error(self._path):
            part = np.asarray(self._array[tuple(chosen[axis] for axis in self._axes)])
            left_axes = "".join(axis for axis in self._axes if axis not in self._index)
            if "c" not in left_axes:
                part, left_axes = part[..., None], left_axes + "c"
            return np.ascontiguousarray(part.transpose([left_axes.index(axis) for axis in "yxc"]))

    def close(self) -> None: ...


def is_zarr(path: Path) -> bool:
    """Whether a path is a zarr: a folder, which is one image."""
    return path.is_dir() and (path.suffix.lower() == SUFFIX or any((path / mark).is_file() for mark in MARKS))


def open_zarr_regions(path: Path, page: int | None = None) -> ZarrSamples:
    """A zarr array, or the level of full size of an OME-Zarr image.

    Args:
        page: one of `count_zarr_images` images; None: the only one.

    Raises:
        ImageError: damaged, of no image or of several where `page` is None, or zarr is not installed.
    """
    array, axes = _open(path)
    others = {axis: side for axis, side in zip(axes, array.shape, strict=True) if axis not in "yxc"}
    count = math.prod(others.values())
    if page is None:
        refuse_pages(count, path, False, "zarr")
    places = np.unravel_index(page or 0, tuple(others.values())) if others else ()
    return ZarrSamples(path, array, axes, {axis: int(at) for axis, at in zip(others, places, strict=True)})


def count_zarr_images(path: Path) -> int:
    """How many images `open_zarr_regions` can give: one for each time and depth."""
    array, axes = _open(path)
    return math.prod(side for axis, side in zip(axes, array.shape, strict=True) if axis not in "yxc")


def _open(path: Path) -> tuple[Any, str]:
    """The array of an image and the letters of its axes."""
    try:
        import zarr
    except ImportError:
        raise ImageError(
            path, "a zarr, for which zarr is not installed", "pip install 'maskrcnn[zarr]'"
        ) from None
    from maskrcnn.images.zarr_limits import with_limits

    with as_image_error(path):
        opened = zarr.open(_store(path), mode="r")
        axes = None
        if not isinstance(opened, zarr.Array):
            place, axes = _full_size(dict(opened.attrs), path)
            opened = opened[place]
        if not isinstance(opened, zarr.Array) or opened.dtype.kind not in "buif":
            raise ValueError("its first level is not an array of numbers")
        codecs = list(_codecs(opened.metadata.to_dict()))
        unknown = set(codecs) - CODECS
        if unknown:
            raise ValueError(f"compressed by {min(unknown)}, which is not read")
        chunk = math.prod(opened.shards or opened.chunks) * opened.dtype.itemsize
        if chunk > MOST_BYTES:
            raise ValueError(f"chunks of {chunk:,} bytes, more than {MOST_BYTES:,}")
        opened = with_limits(opened, codecs)
        axes = axes or _plain_axes(opened.shape)
        if len(axes) != len(opened.shape) or not {"y", "x"} <= set(axes) or len(set(axes)) != len(axes):
            raise ValueError(f"an array of shape {tuple(opened.shape)} with axes {axes}")
        if 0 in opened.shape:
            raise ValueError("it is empty")
        return opened, axes


def _store(path: Path) -> Any:
    """The folder of a zarr, which gives nothing but files in it: no links that leave it, pipes or devices."""
    from zarr.storage import LocalStore

    root = path.resolve()

    def check(key: str) -> None:
        inside = (root / key).resolve()
        if not inside.is_relative_to(root) or (inside.exists() and not (inside.is_file() or inside.is_dir())):
            raise ValueError(f"{key} is no file in it")
        if inside.is_file() and inside.stat().st_size > MOST_BYTES:
            raise ValueError(f"{key} is larger than {MOST_BYTES:,} bytes")

    class Inside(LocalStore):
        async def get(self, key: str, *given: Any, **named: Any) -> Any:
            check(key)
            return await super().get(key, *given, **named)

        def get_sync(self, key: str, *given: Any, **named: Any) -> Any:
            check(key)
            return super().get_sync(key, *given, **named)

        async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:
            wanted = list(key_ranges)
            for key, _ in wanted:
                check(key)
            return await super().get_partial_values(prototype, wanted)

    return Inside(path, read_only=True)


def _full_size(attributes: dict[str, Any], path: Path) -> tuple[str, str]:
    """Where the largest level of an OME-Zarr image lies in its group, and its axes."""
    scales = attributes.get("ome", attributes).get("multiscales")
    if not scales:
        raise ImageError(path, "a zarr group without an image (multiscales)", "name an array or image in it")
    place = str(scales[0]["datasets"][0]["path"])
    if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
        raise ValueError(f"its level {place} is outside of it")
    axes = scales[0].get("axes", list(OLD_AXES))
    return place, "".join((axis["name"] if isinstance(axis, dict) else axis).lower()[:1] for axis in axes)


def _plain_axes(shape: tuple[int, ...]) -> str:
    """Of an array that says nothing: (y, x); (y, x, c) where the last axis is short; else (z, y, x)."""
    if len(shape) == 3 and shape[2] <= MOST_CHANNELS < min(shape[:2]):
        return "yxc"
    return "zyx"[-len(shape) :]


def _codecs(metadata: object) -> Iterator[str]:
    """The names of all codecs in an array's metadata."""
    if isinstance(metadata, dict):
        for key, value in metadata.items():
            if key in ("compressor", "filters", "codecs", "index_codecs") and value:
                for codec in value if isinstance(value, list | tuple) else [value]:
                    yield str(codec.get("id") or codec.get("name")).removeprefix("numcodecs.")
            yield from _codecs(value)
    elif isinstance(metadata, list | tuple):
        for value in metadata:
            yield from _codecs(value)

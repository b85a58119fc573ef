"""TIFFs by tifffile, whole or by windows: only the tiles or strips that a window touches are decoded.

Full-size pages only: the smaller levels of a pyramid and thumbnails are passed over.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import ImageError
from maskrcnn.images.colours import JPEG, MINISBLACK, MINISWHITE, RGB, Convert, as_stored, grey_or_rgb
from maskrcnn.images.header import (
    BYTES,
    MOST_BYTES,
    refuse_bytes,
    refuse_channels,
    refuse_pages,
    refuse_size,
)
from maskrcnn.images.multichannel import (
    TIFF_EXTRA,
    as_image_error,
    full_pages,
    has_tifffile,
    imagej_images,
    open_tiff,
    page_orientation,
    upright,
)
from maskrcnn.images.tiles import Window
from maskrcnn.shell import counted

CACHE = 32_000_000  # bytes of decoded tiles or strips that are kept at least
ALIKE = (
    "imagewidth imagelength samplesperpixel dtype planarconfig photometric"  # of all pages that are one image
)
LZW, PLAIN = 5, ((MINISBLACK, 1), (RGB, 3))
JPEG_2000 = (33003, 33004, 33005, 34712)
# A tile in these says its own height and width, which the decoder believes whatever the TIFF says: in JPEG's
# frame header (ITU-T T.81, B.2.2) and the SIZ marker of JPEG 2000 (T.800, A.5.1).
FRAME = re.compile(
    rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7]\0[\x0b-\x26][\x02-\x10](..)(..)", re.DOTALL
)
SIZES = dict.fromkeys(JPEG, FRAME) | dict.fromkeys(
    JPEG_2000, re.compile(rb"\xff\x4f\xff\x51....(....)(....)", re.DOTALL)
)
# JPEG XR, LERC, WebP, PNG, JPEG XL: imagecodecs reads the header and refuses an `out` of another shape
TOLD_BY_DECODER = (22610, 34887, 34927, 34933, 34934, 50001, 50002, 52546)
DECODED_SHAPE = re.compile(r"invalid out\.shape=.*\bshape=\(([\d, ]+)\)")
LARGER = 4  # times the pixels of a tile that it may say: the last strip may be as high as the others
ORDER = re.compile(r'DimensionOrder="XY([ZCT]{3})"')  # of an OME-TIFF's pages, the fastest first


class TiffSamples:
    """One image of a TIFF, the way up a person sees it."""

    def __init__(self, path: Path | str, pages: list[Plane], form: tuple[int, Convert] | None) -> None:
        """
        Args:
            pages: alike; their channels follow each other.
            form: how many channels their samples become, and what makes them so; None: they stay as they are.
        """
        self._path, self._pages = path, pages
        self._turn = page_orientation(pages[0].page)
        size, samples = pages[0].size, pages[0].samples * len(pages)
        self.size = (size[1], size[0]) if self._turn >= 5 else size
        self.channels, self._convert = form or (samples, as_stored)
        self.pixel_bytes = samples * pages[0].page.dtype.itemsize  # as it is stored

    @property
    def faster_by_pillow(self) -> bool:
        """Whether Pillow gives the same whole image in two thirds of the time: LZW of 8 bits side by side."""
        page = self._pages[0].page
        lzw = page.compression == LZW and page.fillorder == page.planarconfig == 1 and len(self._pages) == 1
        return lzw and page.dtype == np.uint8 and (page.photometric, self._pages[0].samples) in PLAIN

    def read(self, window: Window) -> np.ndarray:
        """(h, w, channels), of the type that is stored but for palettes and CMYK, which become 8 bits.

        Raises:
            ImageError: this part of the file is damaged, or larger than `MOST_BYTES`.
        """
        refuse_bytes(window.height * window.width * self.pixel_bytes, self._path)
        with as_image_error(self._path):
            stored = _stored_window(window, self.size, self._turn)
            parts = [page.read(stored) for page in self._pages]
            samples = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
            return np.ascontiguousarray(upright(self._convert(samples), self._turn))

    def close(self) -> None:
        self._pages[0].close()


class Plane:
    """A page of a TIFF, or one of the images that ImageJ stores behind a single page."""

    def __init__(self, page: Any, number: int = 0) -> None:
        """
        Args:
            number: of the image behind this page.
        """
        self.page, self._number = page, number
        self.size = (int(page.imagelength), int(page.imagewidth))
        self.samples = int(page.samplesperpixel)
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._bytes = 0  # of what is kept

    def close(self) -> None:
        self.page.parent.close()

    def read(self, window: Window) -> np.ndarray:
        """(h, w, samples) of a window of the page as it is stored."""
        if self.page.is_memmappable and self.page.imagedepth == 1:
            return self._mapped(window)
        segments = list(self._segments(window))
        result = np.zeros((window.height, window.width, self.samples), self.page.dtype)
        if self.page.nodata:
            result[:] = self.page.nodata
        for index in segments:
            samples, (plane, _, top, left, _) = self._decoded(index)
            _put(result, samples, window, left, top, plane)
            # of strips that go on beside the window all, since the next window of the row needs them again
            wide = len(segments) * samples.nbytes if samples.shape[1] > window.width else 0
            while len(self._kept) > 1 and self._bytes > max(CACHE, wide):
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return result

    def _mapped(self, window: Window) -> np.ndarray:
        """Of samples that lie uncompressed one after the other."""
        page, (height, width) = self.page, self.size
        planes, last = (1, self.samples) if page.planarconfig == 1 else (self.samples, 1)
        # mapped anew each time: pages of the file that were read would count as memory of this process
        stored = np.memmap(
            page.parent.filehandle.path,
            np.dtype(page.parent.byteorder + page.dtype.char),
            "r",
            page.dataoffsets[0] + self._number * page.nbytes,
            (planes, height, width, last),
        )
        left, top, right, bottom = window.box
        part = stored[:, top:bottom, left:right].astype(page.dtype)
        return np.moveaxis(part, 0, 2).reshape(window.height, window.width, self.samples)

    def _segments(self, window: Window) -> Iterator[int]:
        """The numbers of the tiles or strips that a window touches."""
        page, (height, width) = self.page, self.size
        tall, wide = self._piece()
        samples = self.samples if page.planarconfig == 1 else 1
        if tall * wide * samples * page.dtype.itemsize > MOST_BYTES:
            raise ValueError(f"compressed in one piece of {wide} x {tall}: no part of it can be read alone")
        down, across = -(-height // tall), -(-width // wide)
        planes = 1 if page.planarconfig == 1 else self.samples
        if len(page.dataoffsets) < planes * down * across or page.imagedepth != 1:
            raise ValueError("its header names less data than its size needs")
        left, top, right, bottom = window.box
        for plane in range(planes):
            for y in range(top // tall, -(-bottom // tall)):
                for x in range(left // wide, -(-right // wide)):
                    yield (plane * down + y) * across + x

    def _decoded(self, index: int) -> tuple[np.ndarray, tuple[int, ...]]:
        """A tile or strip (h, w, samples), and its place: plane, depth, top, left, 0."""
        page = self.page
        tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        decode = page.keyframe.decode
        if index not in self._kept:
            offset, count = page.dataoffsets[index], page.databytecounts[index]
            file = page.parent.filehandle
            if offset + count > file.size:
                raise ValueError("the file ends too early")
            data = None
            if count:
                file.seek(offset)
                data = file.read(count)
                self._refuse_larger(data)
            samples, place, shape = decode(data, index, **(tables if page.compression in JPEG else {}))
            if samples is None:  # left out of the file, as sparse ones do
                samples = np.full(shape, page.nodata, page.dtype)
            self._kept[index] = np.ascontiguousarray(samples[0])
            self._bytes += self._kept[index].nbytes
        self._kept.move_to_end(index)
        _, place, _ = decode(None, index)
        return self._kept[index], place

    def _piece(self) -> tuple[int, int]:
        """Height and width of a tile or strip."""
        if self.page.is_tiled:
            return self.page.tilelength, self.page.tilewidth
        return min(self.page.rowsperstrip, self.size[0]), self.size[1]

    def _refuse_larger(self, data: bytes) -> None:
        """Raise a ValueError for a tile or strip that says of itself that it is far larger than it should."""
        tall, wide = self._piece()
        compression, said = int(self.page.compression), list[int]()
        if compression in SIZES:
            sizes = (found.groups() for found in SIZES[compression].finditer(data))
            said = [math.prod(int.from_bytes(side, "big") for side in sides) for sides in sizes]
        elif compression in TOLD_BY_DECODER:
            said = [self._samples_of(data) // (self.samples if self.page.planarconfig == 1 else 1)]
        for pixels in said:
            if pixels > LARGER * tall * wide:
                raise ValueError(f"a tile of {wide} x {tall} that says it has {pixels:,} pixels")

    def _samples_of(self, data: bytes) -> int:
        """How many samples a tile says it has; one of `TOLD_BY_DECODER`."""
        from tifffile import TIFF

        try:
            TIFF.DECOMPRESSORS[self.page.compression](data, out=np.empty((1, 1, 1), self.page.dtype))
        except ValueError as error:
            told = DECODED_SHAPE.search(str(error))
            if told is None:
                raise
            return math.prod(int(side) for side in told[1].split(",") if side.strip())
        return 1


def read_tiff(
    path: Path | str, channels: int, data: bytes | None = None, largest: int | None = None
) -> np.ndarray | None:
    """All of a TIFF's only image, upright, as (H, W, C); None where Pillow is to read it.

    Args:
        channels: as `open_tiff_regions` takes them.
        data: what is in the file; None: it is read. `path` is its name in messages.
        largest: pixels above which it is refused from its header; None: `LARGEST` of header.py.

    Raises:
        ImageError: as `open_tiff_regions`, or too large.
    """
    image = open_tiff_regions(path, channels, data=data)
    if image is None:
        return None
    try:
        if image.faster_by_pillow:
            return None
        height, width = image.size
        refuse_size(height, width, path, largest)
        refuse_bytes(height * width * image.pixel_bytes, path, largest and BYTES * largest)
        return image.read(Window(0, 0, width, height))
    finally:
        image.close()


def open_tiff_regions(
    path: Path | str, channels: int, page: int | None = None, data: bytes | None = None
) -> TiffSamples | None:
    """A TIFF that can be read by windows; None where only Pillow reads it, or where tifffile is missing.

    Args:
        channels: as `read_image` takes them: 1 and 3 become each other later, any other number is taken as it
            is stored.
        page: one of `count_tiff_images` images; None: the only one.
        data: as `read_tiff` takes it.

    Raises:
        ImageError: damaged, of several images where `page` is None, of other channels, or tifffile is needed.
    """
    flat = channels in (1, 3)
    if flat and page is None and not has_tifffile():
        return None
    tiff = open_tiff(path, data)
    try:
        with as_image_error(path):
            planes = _chosen(tiff, path, channels, page)
            form = grey_or_rgb(planes[0].page) if flat else None
            if form is None and flat:
                if page is not None:
                    reason = f"page {page + 1} has colours or a compression that are not read page by page"
                    raise ImageError(path, reason, f"save it as RGB, in a file of its own, or {TIFF_EXTRA}")
                tiff.close()
                return None
            if form is not None and form[0] not in (1, 3):
                refuse_channels(form[0], path)
            return TiffSamples(path, planes, form)
    except ImageError:
        tiff.close()
        raise


def _chosen(tiff: Any, path: Path | str, channels: int, number: int | None) -> list[Plane]:
    """The pages of one image: several are its channels; `number` as `open_tiff_regions` takes a page."""
    planes = _planes(tiff, path)
    if not planes:
        raise ValueError("no page in it")
    each = 1 if channels in (1, 3) or planes[0].samples > 1 else channels
    if number is None and len(planes) != each:
        if each > 1 and len(planes) % each:
            have = counted(len(planes), "channel")
            remedy = f"convert it, or train a model with model.input.channels={len(planes)}"
            raise ImageError(path, f"has {have}, the model takes {channels}", remedy)
        grey = planes[0].samples == 1 and planes[0].page.photometric in (MINISWHITE, MINISBLACK)
        refuse_pages(len(planes), path, grey)
    chosen = planes[(number or 0) * each : ((number or 0) + 1) * each]
    if len(chosen) != each or len({_kind(plane) for plane in chosen}) != 1:
        raise ImageError(path, f"{len(planes)} pages that are no channels of one image", "save it as .npy")
    if len(planes) > each > 1 and _apart(tiff.pages[0].description):
        raise ImageError(path, "its channels are not next to each other", "save it in the order XYCZT")
    kind = chosen[0].page.dtype
    if 0 in chosen[0].size or chosen[0].samples == 0 or kind is None:
        raise ValueError("its samples are of an unknown type")
    if kind.kind not in "buif":
        raise ImageError(path, f"its samples are {kind}", "save plain numbers")
    return chosen


def _apart(description: str) -> bool:
    """Whether an OME-TIFF has other images between the channels of one."""
    order = ORDER.search(description)
    before = order[1].partition("C")[0] if order else ""
    sizes = (re.search(rf'Size{axis}="(\d+)"', description) for axis in before)
    return any(size is None or int(size[1]) != 1 for size in sizes)


def count_tiff_images(path: Path, channels: int) -> int:
    """How many images `open_tiff_regions` can give of a TIFF: its full-size pages, or groups of them that are
    the channels of one.
    """
    tiff = open_tiff(path)
    with tiff, as_image_error(path):
        planes = _planes(tiff, path)
        each = 1 if channels in (1, 3) or (planes and planes[0].samples > 1) else channels
        if each > 1 and len(planes) % each:
            raise ImageError(path, f"{len(planes)} pages are no images of {each} channels", "save it as .npy")
        return len(planes) // each


def _planes(tiff: Any, path: Path | str) -> list[Plane]:
    pages = full_pages(tiff, path)
    behind = imagej_images(tiff.pages[0].description) if len(pages) == 1 else 1
    if behind > 1:
        if not pages[0].is_memmappable:
            raise ValueError(f"it says that {behind} images lie behind one page, which cannot be told apart")
        return [Plane(pages[0], number) for number in range(behind)]
    return [Plane(page) for page in pages]


def _kind(plane: Plane) -> tuple[Any, ...]:
    named = (str(getattr(plane.page, name)) for name in ALIKE.split())
    return (*named, page_orientation(plane.page))


def _put(result: np.ndarray, samples: np.ndarray, window: Window, left: int, top: int, plane: int) -> None:
    """Copy what a tile or strip at (left, top) holds of a window into it, from its channel `plane` on."""
    x0, y0 = max(left, window.left), max(top, window.top)
    x1 = min(left + samples.shape[1], window.box[2])
    y1 = min(top + samples.shape[0], window.box[3])
    if x1 > x0 and y1 > y0:
        place = result[y0 - window.top : y1 - window.top, x0 - window.left : x1 - window.left]
        place[..., plane : plane + samples.shape[2]] = samples[y0 - top : y1 - top, x0 - left : x1 - left]


def _stored_window(window: Window, size: tuple[int, int], turn: int) -> Window:
    """Where a window of the upright image lies in the image as it is stored."""
    left, top, right, bottom = window.box
    if turn in (3, 4, 7, 8):
        top, bottom = size[0] - bottom, size[0] - top
    if turn in (2, 3, 6, 7):
        left, right = size[1] - right, size[1] - left
    if turn >= 5:
        left, top, right, bottom = top, left, bottom, right
    return Window(left, top, right - left, bottom - top)

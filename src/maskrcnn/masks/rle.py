"""Masks as COCO run-length encodings (RLE): runs down the columns, first background, then object, and so
on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

# COCO's compressed form: {"size": [height, width], "counts": bytes}
Rle = dict[str, Any]

MIN_POINTS = 3  # of a ring that encloses anything


def polygons_rle(polygons: Sequence[np.ndarray], height: int, width: int) -> Rle | None:
    """The union of rings (n, 2) of x, y; None where no ring has the three points that enclose anything."""
    # pycocotools takes a list of four numbers for a box, hence a two-point ring must never reach it
    rings = [ring.reshape(-1).tolist() for ring in polygons if len(ring) >= MIN_POINTS]
    if not rings:
        return None
    merged: Rle = coco_mask.merge(coco_mask.frPyObjects(rings, height, width))
    return merged


def union_rle(rles: Sequence[Rle]) -> Rle:
    """The union of masks of one size."""
    merged: Rle = coco_mask.merge(list(rles))
    return merged


def rle_bitmap(rle: Rle) -> np.ndarray:
    """The mask as uint8 (H, W), 0 or 1."""
    bitmap: np.ndarray = coco_mask.decode(rle)
    return bitmap


def bitmap_rle(bitmap: np.ndarray) -> Rle:
    """The compressed RLE of a bitmap (H, W) in which everything but 0 is object."""
    rle: Rle = coco_mask.encode(np.asfortranarray(bitmap != 0).view(np.uint8))
    return rle


def runs_rle(runs: Sequence[int] | np.ndarray, height: int, width: int) -> Rle:
    """The compressed RLE of plain run lengths that add up to `height` x `width`."""
    rle: Rle = coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return rle


def edges_rle(edges: np.ndarray, height: int, width: int) -> Rle:
    """The compressed RLE of a mask whose runs begin and end at `edges` (see `masks.paste.paste_edges`)."""
    runs = np.diff(edges, prepend=0, append=height * width)
    return runs_rle(runs if runs[-1] else runs[:-1], height, width)


def rle_area(rle: Rle) -> int:
    """Object pixels."""
    return int(coco_mask.area(rle))


def rle_box(rle: Rle) -> tuple[float, float, float, float]:
    """The box xyxy around the object pixels, half-open; zeros when there is none."""
    x, y, width, height = (float(value) for value in coco_mask.toBbox(rle))
    return (x, y, x + width, y + height)


def mask_box(
    polygons: Sequence[np.ndarray] | None, rle: Rle | None
) -> tuple[float, float, float, float] | None:
    """The box xyxy around a mask, which is rings of points or an RLE; None around nothing."""
    rings = [ring for ring in polygons or () if len(ring) >= MIN_POINTS]
    if rings:
        points = np.concatenate(rings)
        (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
        return x0, y0, x1, y1
    return rle_box(rle) if rle is not None and rle_area(rle) else None


def crop_rle(rle: Rle, left: int, top: int, width: int, height: int) -> Rle:
    """The part of a mask in a window that lies inside its image; the image is never decoded.

    A disc of 400 pixels in 10,000 x 10,000: 0.14 ms; to decode, slice and encode it 269 ms and 100 MB.
    """
    rows = int(rle["size"][0])
    ends = np.cumsum(string_runs(rle["counts"]))
    starts, stops = ends[:-1:2], ends[1::2]
    starts, stops = starts[starts < stops], stops[starts < stops]
    # a run that goes on in the next column becomes one piece per column
    first, last = starts // rows, (stops - 1) // rows
    near = (last >= left) & (first < left + width)
    starts, stops, first, last = starts[near], stops[near], np.maximum(first[near], left), last[near]
    pieces = np.minimum(last, left + width - 1) - first + 1
    owner = np.repeat(np.arange(len(pieces)), pieces)
    column = first[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    low = np.clip(starts[owner] - column * rows, top, top + height)
    high = np.clip(stops[owner] - column * rows, top, top + height)
    begin = ((column - left) * height + low - top)[low < high]
    end = ((column - left) * height + high - top)[low < high]
    apart = begin[1:] != end[:-1]
    bounds = (
        np.stack([begin[np.append(True, apart)], end[np.append(apart, True)]], axis=1)
        if len(begin)
        else begin
    )
    return edges_rle(bounds.ravel(), height, width)


def json_rle(segmentation: dict[str, Any], height: int, width: int) -> Rle:
    """The compressed RLE of what a JSON file holds: `counts` as a list of runs or as COCO's string.

    Everything is checked here, because pycocotools trusts what it is given.

    Raises:
        ValueError: of another size than `height` x `width`, or not an RLE; the message says which.
    """
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, (list, tuple)) or list(size) != [height, width]:
        raise ValueError(f"its size is {size!r} but the image's [height, width] is {[height, width]}")
    if isinstance(counts, list):
        if not all(type(run) is int and run >= 0 for run in counts):
            raise ValueError("its counts are not whole numbers from 0 up")
        if sum(counts) != height * width:
            raise ValueError(f"its runs add up to {sum(counts)} pixels but the image has {height * width}")
        return runs_rle(counts, height, width)
    if isinstance(counts, str) and counts.isascii():
        counts = counts.encode("ascii")
    if not isinstance(counts, bytes):
        raise ValueError("its counts are neither a list nor a string of COCO's alphabet")
    total = int(string_runs(counts).sum())
    if total != height * width:
        raise ValueError(f"its runs add up to {total} pixels but the image has {height * width}")
    return {"size": [height, width], "counts": counts}


def string_runs(counts: bytes) -> np.ndarray:
    """The run lengths int64 (n,) in COCO's compressed string.

    Each character carries five bits, low ones first, a flag "more follow" and, in the last, the sign. From
    the fourth run on it is the difference from the run before the last.

    Raises:
        ValueError: not such a string.
    """
    codes = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return np.zeros(0, dtype=np.int64)
    last = (codes & 0x20) == 0
    if codes.min() < 0 or codes.max() > 63 or not last[-1]:
        raise ValueError("its counts are not a string of COCO's alphabet")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:  # 35 bits hold every run that fits an image
        raise ValueError("its counts hold a run longer than any image")
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((codes & 0x1F) << (5 * place), starts)
    runs[(codes[ends] & 0x10) != 0] -= 1 << (5 * lengths[(codes[ends] & 0x10) != 0])
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    if runs.min() < 0:
        raise ValueError("its counts hold a negative run")
    return runs

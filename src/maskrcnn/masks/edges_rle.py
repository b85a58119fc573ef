"""COCO's run-length codes of many masks at once, from the places where their runs begin and end.

The compressed form (cocodataset.org/#format-data; pycocotools' C reads it) holds the lengths of runs down the columns,
background first. From the fourth on, a length is written as its difference from the one before the last. A number is cut
into groups of five bits, low ones first; each is one character, which also says whether more follow, and the highest bit
of the last is the sign.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskrcnn.labels.types import Rle

BITS = 5  # of a character
MORE = 32  # set in all characters of a number but the last
FIRST = 48  # the character of 0


def edges_rle(masks: Sequence[np.ndarray], height: int, width: int) -> list[Rle]:
    """The compressed RLE of each mask of an image of `height` x `width`.

    Args:
        masks: for each int64, strictly increasing: places where runs of the object begin and end in turn, 0 to
            `height` x `width` (see `ops.paste.paste_edges`).

    Returns:
        for each a dict with size [height, width] and counts as bytes.
    """
    if not masks:
        return []
    end = np.array([height * width])
    # a mask's runs end at its edges and at the end of the image, unless its last edge is that
    parts = [part for edges in masks for part in (edges, end[:0] if len(edges) and edges[-1] == end[0] else end)]
    ends = np.concatenate(parts)
    stops = np.cumsum([len(part) for part in parts])[1::2]
    starts = np.append(0, stops[:-1])
    runs = np.diff(ends, prepend=0)
    runs[starts] = ends[starts]
    numbers = runs.copy()
    numbers[2:] -= runs[:-2]
    for place in range(3):
        some = starts[stops - starts > place] + place
        numbers[some] = runs[some]
    text, cuts = _text(numbers)
    spans = zip(cuts[starts].tolist(), cuts[stops].tolist(), strict=True)
    return [{"size": [height, width], "counts": text[a:b]} for a, b in spans]


def _text(numbers: np.ndarray) -> tuple[bytes, np.ndarray]:
    """All numbers as characters, and where each number's begin, with the end of the last."""
    # a number and its complement need the same bits beside the sign
    size = np.where(numbers < 0, ~numbers, numbers)
    lengths = np.ones(len(numbers), np.int64)
    most = 1
    while (longer := size >= 1 << (BITS * most - 1)).any():
        lengths += longer
        most += 1
    cuts = np.append(0, np.cumsum(lengths))
    characters = np.empty(cuts[-1], np.uint8)
    for group in range(most):
        if group == 0:
            rest, place, left = numbers, cuts[:-1], lengths
        else:
            more = left > 1
            rest, place, left = rest[more] >> BITS, place[more] + 1, left[more] - 1
        characters[place] = FIRST + (rest & (MORE - 1)) + MORE * (left > 1)
    return characters.tobytes(), cuts

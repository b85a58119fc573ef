"""Many masks of one image, a bit a pixel: little memory each, and thousands of pairs are compared at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from maskrcnn.masks.paste import Window

BITS = 64  # of a word
WORDS = 1 << 16  # that are compared together: their indices fit a core's cache
ALL = np.uint64(2**64 - 1)
BITS_OF_BYTE = np.array([number.bit_count() for number in range(256)], np.uint8)


class PackedMasks:
    """N masks. Bit b of a word is column 64 w + b of the image, whatever the mask, so that words of two masks
    are compared as they are.
    """

    def __init__(self, boxes: np.ndarray, words: np.ndarray) -> None:
        """
        Args:
            boxes: (N, 4) int64 xyxy, whole pixels: the window of each mask.
            words: uint64, those of a mask row by row, one mask after the other.
        """
        self.boxes, self.words = boxes, words
        self._across = -(-boxes[:, 2] // BITS) - boxes[:, 0] // BITS  # words in a row
        self._counts = self._across * (boxes[:, 3] - boxes[:, 1])
        self._starts = np.cumsum(self._counts) - self._counts

    @classmethod
    def of(cls, windows: Iterable[Window]) -> PackedMasks:
        """Masks given as x0, y0, bool (h, w)."""
        boxes, parts = [], [np.zeros(0, np.uint8)]
        for x0, y0, bitmap in windows:
            height, width = bitmap.shape
            left, across = x0 % BITS, -(-(x0 + width) // BITS) - x0 // BITS
            padded = np.zeros((height, across * BITS), bool)
            padded[:, left : left + width] = bitmap
            boxes.append((x0, y0, x0 + width, y0 + height))
            parts.append(np.packbits(padded, bitorder="little"))
        return cls(np.array(boxes, np.int64).reshape(-1, 4), np.concatenate(parts).view("<u8"))

    @classmethod
    def joined(cls, parts: Sequence[PackedMasks]) -> PackedMasks:
        return cls(
            np.concatenate([part.boxes for part in parts]), np.concatenate([part.words for part in parts])
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: np.ndarray) -> PackedMasks:
        """The masks in some rows, int64."""
        return PackedMasks(self.boxes[rows], self.words[_runs(self._starts[rows], self._counts[rows])])

    def windows(self, rows: np.ndarray) -> Iterator[Window]:
        """The masks in some rows as x0, y0, bool (h, w), one after the other."""
        packed = self.words.view(np.uint8)
        columns = (array[rows].tolist() for array in (self.boxes, 8 * self._starts, 8 * self._across))
        for (x0, y0, x1, y1), start, across in zip(*columns, strict=True):
            bits = np.unpackbits(packed[start : start + across * (y1 - y0)], bitorder="little")
            left = x0 % BITS
            yield x0, y0, bits.reshape(y1 - y0, 8 * across)[:, left : left + x1 - x0].astype(bool)

    def shared(self, some: np.ndarray, others: np.ndarray, within: np.ndarray) -> np.ndarray:
        """int64 (P,): pixels that two masks have in common.

        Args:
            some, others: (P,) int64, the rows of each pair.
            within: (P, 4) xyxy, the part of the image in which they are counted.
        """
        boxes = self.boxes[some], self.boxes[others]
        starts = np.maximum(np.maximum(boxes[0][:, :2], boxes[1][:, :2]), within[:, :2])
        ends = np.minimum(np.minimum(boxes[0][:, 2:], boxes[1][:, 2:]), within[:, 2:])
        first = starts[:, 0] // BITS
        across = -(-ends[:, 0] // BITS) - first
        words = np.where(np.all(ends > starts, axis=1), across * (ends[:, 1] - starts[:, 1]), 0)
        if words.sum() > WORDS and len(words) > 1:
            halves = slice(len(words) // 2), slice(len(words) // 2, None)
            return np.concatenate([self.shared(some[half], others[half], within[half]) for half in halves])
        pair, stop = np.repeat(np.arange(len(words)), words), np.cumsum(words)
        row, column = np.divmod(np.arange(len(pair)) - (stop - words)[pair], across[pair])
        both = np.full(len(pair), ALL)
        for rows, box in zip((some, others), boxes, strict=True):
            corner = self._starts[rows] + first - box[:, 0] // BITS
            corner += (starts[:, 1] - box[:, 1]) * self._across[rows]
            both &= self.words[corner[pair] + row * self._across[rows][pair] + column]
        column += first[pair]
        both &= ALL << np.maximum(starts[pair, 0] - column * BITS, 0).astype(np.uint64)
        both &= ALL >> np.maximum((column + 1) * BITS - ends[pair, 0], 0).astype(np.uint64)
        bits = np.cumsum(BITS_OF_BYTE[both.view(np.uint8)], dtype=np.int64)
        shared: np.ndarray = np.diff(np.append(0, bits)[8 * stop], prepend=0)
        return shared


def _runs(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of each start as many numbers upwards as its count says, one after the other."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)

"""The run lengths of Label Studio's brush: a bit stream of the RGBA bytes of the mask.

The format is that of the JavaScript package rle-pack (thi.ng/umbrella, packages/rle-pack): 32 bits count the
values, 5 bits hold a value's bits less 1, four times 4 bits hold the bits less 1 of a run's length. Then
runs: a bit that says whether one value repeats (1) or each value follows (0), two bits that choose among the
four sizes, the length less 1, and the value or values. A pixel belongs to the mask where its alpha is not 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

HEADER_BITS = 32 + 5 + 4 * 4
CHANNELS = 4


def brush_mask(rle: Sequence[int], height: int, width: int) -> np.ndarray:
    """The mask as bool (H, W).

    Raises:
        ValueError: not such a stream, or of another size; the message says which.
    """
    if not all(type(byte) is int and 0 <= byte <= 255 for byte in rle):
        raise ValueError("its rle is no list of bytes")
    data = bytes(rle)
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
    if len(bits) < HEADER_BITS:
        raise ValueError("its rle ends early")
    count = _read(data, 0, 32)
    if count != height * width * CHANNELS:
        raise ValueError(
            f"its rle holds {count} values but an image of {width} x {height} has {height * width} x 4"
        )
    value_bits = _read(data, 32, 5) + 1
    size_bits = [_read(data, 37 + 4 * i, 4) + 1 for i in range(4)]
    mask = np.zeros(height * width, dtype=bool)
    place, begin = HEADER_BITS, 0
    while begin < count:
        repeats = _read(data, place, 1)
        length_bits = size_bits[_read(data, place + 1, 2)]
        length = _read(data, place + 3, length_bits) + 1
        place += 3 + length_bits
        end, values = begin + length, 1 if repeats else length
        if place + values * value_bits > len(bits) or end > count:
            raise ValueError("its rle ends early")
        # pixels whose alpha, the last of four values, is among these
        first, last = begin // CHANNELS, end // CHANNELS
        if repeats:
            mask[first:last] = _read(data, place, value_bits) != 0
        else:
            present = bits[place : place + length * value_bits].reshape(length, value_bits).max(axis=1)
            mask[first:last] = present[CHANNELS - 1 - begin % CHANNELS :: CHANNELS]
        place += values * value_bits
        begin = end
    return mask.reshape(height, width)


def _read(data: bytes, place: int, bits: int) -> int:
    """The number in `bits` bits from bit `place`, highest first; bits behind the end count as missing
    zeros.
    """
    first, last = place // 8, (place + bits + 7) // 8
    found = int.from_bytes(data[first:last].ljust(last - first, b"\0"), "big")
    return (found >> (last * 8 - place - bits)) & ((1 << bits) - 1)

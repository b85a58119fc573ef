"""What an .onnx file may not hold: tensors that are kept elsewhere.

A tensor of ONNX can name a file, and an engine then reads it; to OpenVINO one such name even means an address
in memory. Our exports keep every tensor in the file, so any other is refused before an engine sees it. The
field numbers are those of onnx.proto; reading them here needs no package.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from maskrcnn.errors import UserError

# for each kind of message its fields that hold messages in which a tensor may lie
_GRAPH, _TENSOR = "graph", "tensor"
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: _GRAPH, 20: "training", 25: "function"},
    "training": {1: _GRAPH, 2: _GRAPH},
    "function": {7: "node", 11: "attribute"},
    _GRAPH: {1: "node", 5: _TENSOR, 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: "sparse", 23: "sparse"},
    "sparse": {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {},
}
_ELSEWHERE = (13, 14)  # a tensor's external_data and data_location
_DEEPEST = 100  # messages in one another; protobuf's own parsers stop there too


def refuse_external_data(path: Path) -> None:
    """Raises a UserError for an .onnx file that is damaged or has a tensor outside of itself."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            outside = _names_a_file(data, 0, len(data), "model", 0)
    except (OSError, ValueError, IndexError):
        raise UserError(f"{path}: not readable as ONNX; export it anew") from None
    if outside:
        raise UserError(
            f"{path}: refused: a tensor in it is kept in another file, which could be any; export it anew, "
            "all in one file"
        )


def _names_a_file(data: mmap.mmap, start: int, end: int, kind: str, depth: int) -> bool:
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    inside = _INSIDE[kind]
    for field, first, last in _fields(data, start, end):
        if kind == _TENSOR and field in _ELSEWHERE:
            return True
        if field in inside and first < last and _names_a_file(data, first, last, inside[field], depth + 1):
            return True
    return False


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each field's bytes; begin is end for a field of one number.

    Raises:
        ValueError, IndexError: not protobuf's wire format.
    """
    while start < end:
        tag, start = _varint(data, start)
        wire = tag & 7
        if wire == 2:
            size, start = _varint(data, start)
        else:
            size = {1: 8, 5: 4}.get(wire, 0)
            if wire == 0:
                _, start = _varint(data, start)
            elif not size:
                raise ValueError("unknown wire type")
        if start + size > end:
            raise ValueError("cut off")
        yield tag >> 3, start, start + size if wire == 2 else start
        start += size


def _varint(data: mmap.mmap, start: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
    raise ValueError("a number too long")

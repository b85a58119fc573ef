"""Chunks of a zarr that would decode to far more than the array says are refused before they are decoded.

A compressor decodes whatever it is given: a chunk of a megabyte can stand for a thousand and more. Formats
that begin with their decoded size (blosc, lz4, zstd) are asked for it; the others are decoded here, in small
pieces that are counted.
"""

from __future__ import annotations

import bz2
import lzma
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import zarr
from numcodecs.abc import Codec
from numcodecs.compat import ndarray_copy
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import ShardingCodec

COUNTED = frozenset("gzip zlib bz2 lzma".split())
COMPRESSORS = COUNTED | frozenset("blosc zstd lz4".split())
PIECE = 1 << 20  # bytes that are decoded at a time
PLAIN = frozenset("bytes transpose shuffle sharding_indexed crc32c crc32 adler32 fletcher32".split())
WIDER = 8  # times what an array's numbers take that filters may make of them
MORE = 1024  # bytes that checksums may add


def with_limits(array: zarr.Array[Any], codecs: list[str]) -> zarr.Array[Any]:
    """The same array, which raises ValueError for a chunk that is larger than it should be.

    Args:
        codecs: names of all codecs of the array.

    Raises:
        ValueError: its chunks are compressed more than once.
    """
    if sum(name in COMPRESSORS for name in codecs) > 1:
        raise ValueError("its chunks are compressed more than once")
    about: Any = array.metadata
    wider = 1 if set(codecs) <= COMPRESSORS | PLAIN else WIDER
    most = wider * math.prod(array.chunks) * array.dtype.itemsize + MORE
    if about.zarr_format == 3:
        about = replace(about, codecs=_limited(about.codecs, most))
    elif about.compressor is not None:
        about = replace(about, compressor=_LimitedCompressor(about.compressor, most))
    return zarr.Array(zarr.AsyncArray(about, array.store_path))


def _limited(codecs: tuple[Any, ...], most: int) -> list[Any]:
    """Codecs in the order of writing, a compressor with what looks at its bytes first when they are read."""
    limited: list[Any] = []
    for codec in codecs:
        if isinstance(codec, ShardingCodec):
            codec = replace(codec, codecs=tuple(_limited(codec.codecs, most)))
        about = codec.to_dict()
        name = str(about["name"]).removeprefix("numcodecs.")
        options = about.get("configuration") or {}
        limited += [] if name in COUNTED else [codec]
        limited += [_Limit(name, options, most)] if name in COMPRESSORS else []
    return limited


@dataclass(frozen=True)
class _Limit(BytesBytesCodec):
    """Bytes as they are, decoded where they are `COUNTED`, or ValueError."""

    name: str
    options: dict[str, Any]
    most: int
    is_fixed_size = True

    def to_dict(self) -> dict[str, Any]:
        return {"name": "limit", "configuration": {}}

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: Any) -> int:
        return input_byte_length

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        decoded = within(self.name, self.options, chunk_data.to_bytes(), self.most)
        return chunk_data if decoded is None else chunk_spec.prototype.buffer.from_bytes(decoded)


class _LimitedCompressor(Codec):
    """A compressor of zarr 2 that looks at the bytes first."""

    codec_id = "limited"

    def __init__(self, compressor: Any, most: int) -> None:
        self._compressor, self._most = compressor, most

    def encode(self, buf: Any) -> Any:
        return self._compressor.encode(buf)

    def decode(self, buf: Any, out: Any = None) -> Any:
        options = self._compressor.get_config()
        decoded = within(self._compressor.codec_id, options, bytes(buf), self._most)
        return self._compressor.decode(buf, out) if decoded is None else ndarray_copy(decoded, out)

    def get_config(self) -> dict[str, Any]:
        return dict(self._compressor.get_config())


def within(name: str, options: dict[str, Any], data: bytes, most: int) -> bytes | None:
    """What `data` decodes to; None, not decoded, where it begins with how much that is.

    Args:
        name, options: of the compressor, as numcodecs knows it.

    Raises:
        ValueError: that is more than `most` bytes, or `data` breaks off or does not say its size.
    """
    begun: dict[str, Callable[[], Any]] = {
        "gzip": lambda: zlib.decompressobj(31),
        "zlib": zlib.decompressobj,
        "bz2": bz2.BZ2Decompressor,
        "lzma": lambda: lzma.LZMADecompressor(
            lzma.FORMAT_RAW if options.get("format") == lzma.FORMAT_RAW else lzma.FORMAT_AUTO,
            filters=options.get("filters") if options.get("format") == lzma.FORMAT_RAW else None,
        ),
    }
    if name in begun:
        return _decoded(begun[name], data, most)
    if name == "blosc":
        _refuse(struct.unpack_from("<I", data, 4)[0], most)
    elif name == "lz4":
        _refuse(struct.unpack_from("<I", data)[0], most)
    elif name == "zstd":
        _refuse(_zstd_size(data), most)
    return None


def _refuse(size: int, most: int) -> None:
    if size > most:
        raise ValueError(f"a chunk decodes to {size:,} bytes or more, its array has at most {most:,}")


def _decoded(begin: Callable[[], Any], data: bytes, most: int) -> bytes:
    """Decode piece by piece, stream after stream, until there is nothing more or too much."""
    size, pieces = 0, list[bytes]()
    while data:
        decoder = begin()
        while not decoder.eof:
            piece = decoder.decompress(data, PIECE)
            data = getattr(decoder, "unconsumed_tail", b"")
            size += len(piece)
            _refuse(size, most)
            pieces.append(piece)
            if not piece and not data and (getattr(decoder, "needs_input", True)):
                raise ValueError("a chunk that breaks off")
        data = decoder.unused_data
    return b"".join(pieces)


def _zstd_size(data: bytes) -> int:
    """What the header of a zstd frame says (RFC 8878, 3.1.1)."""
    magic, about = struct.unpack_from("<IB", data)
    width = (about >> 6) and 1 << (about >> 6)
    single = about & 32
    if magic != 0xFD2FB528 or not (width or single):
        raise ValueError("a chunk in zstd that does not say its size")
    place = 5 + (not single) + (0, 1, 2, 4)[about & 3]
    field = data[place : place + (width or 1)]
    return int.from_bytes(field, "little") + (256 if width == 2 else 0)

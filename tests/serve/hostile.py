"""Uploads that nobody means well with, by name: each is to be refused with 4xx."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image
from service_thread import encoded, form, pixels

MIB = 2**20


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes = b"", extra: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    whole = chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + whole


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG whose header tells of another size than its pixels have."""
    data = encoded(pixels(64, 64), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def scans(count: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(64, 64)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * count + data[-2:]


def tiff(entries: list[tuple[int, int, int]], following: int = 0) -> bytes:
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, _, value in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + fields + struct.pack("<I", following)


def tiff_of(side: int, offset: int = 8) -> bytes:
    tags = {
        256: side,
        257: side,
        258: 8,
        259: 1,
        262: 1,
        273: offset,
        277: 1,
        278: side,
        279: side * side % 2**32,
    }
    return tiff([(tag, 4, value) for tag, value in tags.items()])


def bodies() -> Iterator[tuple[str, bytes]]:
    """What is sent as an image."""
    whole = {kind: encoded(pixels(300, 300), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")}
    yield "empty", b""
    yield "random", np.random.default_rng(0).bytes(5000)
    yield "text", b"an image, honestly"
    yield "an address to fetch", b"http://169.254.169.254/latest/meta-data/"
    yield "a path", b"/etc/passwd"
    yield "a path with dots", b"../../../../etc/passwd"
    yield "SVG with an entity", b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>'
    yield "PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run"
    yield "a pickle", pickle.dumps({"a": [1] * 1000})
    yield "a NumPy array", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (9,)}"
    yield "gzip", zlib.compress(bytes(20 * MIB), 9, 31)
    yield "PNG: a signature only", b"\x89PNG\r\n\x1a\n"
    yield "PNG: 3.6 gigapixels", png(60_000, 60_000)
    yield "PNG: 64.008 megapixels", png(8001, 8000)
    yield "PNG: 2**31 - 1 wide", png(2**31 - 1, 1)
    yield "PNG: no side", png(0, 0)
    yield "PNG: 16 megapixels told, no data", png(4000, 4000)
    yield (
        "PNG: a text that unpacks to 64 MiB",
        png(4, 4, bytes(52), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(64 * MIB)))),
    )
    yield (
        "PNG: a profile that unpacks to 64 MiB",
        png(4, 4, bytes(52), chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(64 * MIB)))),
    )
    yield "PNG: a chunk longer than the file", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**31 - 1) + b"IHDR"
    yield "JPEG: 4 gigapixels", jpeg_of(65_500, 65_500)
    yield "JPEG: 200 scans", scans(200)
    yield "JPEG: no side", jpeg_of(0, 0)
    yield (
        "GIF: 4 gigapixels",
        b"GIF89a"
        + struct.pack("<HH", 65_535, 65_535)
        + b"\0\0\0"
        + b","
        + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0),
    )
    yield (
        "BMP: 900 megapixels",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0),
    )
    yield (
        "BMP: 49 megapixels told, no data",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 7000, 7000, 1, 24, 0, 0, 0, 0, 0, 0),
    )
    yield "TIFF: 1.6 gigapixels", tiff_of(40_000)
    yield "TIFF: pixels far behind its end", tiff_of(500, 2**31)
    yield "TIFF: a folder that is its own next", tiff([(256, 4, 4), (257, 4, 4)], following=8)
    yield "WebP: 268 megapixels", b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\xff\xff\xff\x0f\0\0\0\0\0\0\0\0"
    yield "PPM: 10 gigapixels", b"P6 99999 99999 255\n"
    yield "PPM: no data", b"P6 5000 5000 255\n"
    yield "PPM: a number of a megabyte", b"P6 " + b"9" * MIB
    yield "AVIF: a head only", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(64)
    yield "HEIC: a head only", b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(64)
    for kind, data in whole.items():
        yield f"{kind}: half of it", data[: len(data) // 2]


def requests() -> Iterator[tuple[str, bytes]]:
    """Requests as bytes on the wire."""
    post, host = b"POST /predict HTTP/1.1\r\n", b"Host: localhost\r\n"
    image = encoded(pixels(32, 32))
    yield "a compressed body", post + host + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n" + bytes(9)
    yield "40 MB told", post + host + b"Content-Length: 40000000\r\n\r\n"
    yield "a length of 5,000 digits", post + host + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"
    yield "a length below 0", post + host + b"Content-Length: -1\r\n\r\n"
    yield "two lengths", post + host + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"
    piece = b"100000\r\n" + bytes(MIB) + b"\r\n"
    yield "33 MiB in pieces", post + host + b"Transfer-Encoding: chunked\r\n\r\n" + piece * 33 + b"0\r\n\r\n"
    yield "pieces that are none", post + host + b"Transfer-Encoding: chunked\r\n\r\nzzz\r\n"
    yield "a head of 100 kB", post + host + b"A: " + b"a" * 100_000 + b"\r\n\r\n"
    yield "10,000 headers", post + host + b"A: a\r\n" * 10_000 + b"\r\n"
    yield "no HTTP", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n"
    yield "both lengths", post + host + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    yield "a length with a space before its colon", post + host + b"Content-Length : 3\r\n\r\nabc"
    yield "another coding", post + host + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
    yield "a header with a byte of 0", post + host + b"A: a\0b\r\n\r\n"
    yield "an address of 100 kB", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + host + b"\r\n"
    yield "a setting of 10 kB", b"POST /predict?model=" + b"a" * 10_000 + b" HTTP/1.1\r\n" + host + b"\r\n"
    yield "a score beyond numbers", b"POST /predict?score=1e999 HTTP/1.1\r\n" + host + b"\r\n"
    yield "a model of odd bytes", b"GET /v2/models/%00%ff%2e%2e%2f HTTP/1.1\r\n" + host + b"\r\n"
    yield "a method of its own", b"PREDICT /predict HTTP/1.1\r\n" + host + b"\r\n"
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "HTTP/1.0", b"POST /predict HTTP/1.0\r\nContent-Length: 1\r\n\r\na"
    yield (
        "a WebSocket",
        b"GET /predict HTTP/1.1\r\n" + host + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    )
    for other in (
        b"rebound.example",
        b"[::1",
        b"127.0.0.1.example.org",
        b"127.0.0.1@example.org",
        b"",
        b"\xff",
    ):
        yield f"asked as {other!r}", post + b"Host: " + other + b"\r\nContent-Length: 0\r\n\r\n"
    for origin in (b"https://example.org", b"null", b"http://localhost.example.org", b"file://", b""):
        yield f"from {origin!r}", post + host + b"Origin: " + origin + b"\r\nContent-Length: 0\r\n\r\n"
    infer = b"POST /v2/models/small/infer HTTP/1.1\r\n" + host
    lists = b"[" + b"[]," * (2 * MIB) + b"[]]"
    head = b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 3], "data": '
    for name, data in {
        "tensors of 2 million lists": head + lists + b"}]}",
        "tensors of a million lists": head + lists[: 3 * MIB] + b"[]]}]}",
    }.items():
        yield name, infer + b"Content-Length: " + str(len(data)).encode() + b"\r\n\r\n" + data
    yield "no host", post + b"Content-Length: 0\r\n\r\n"
    yield "a path name", b"GET /../../etc/passwd HTTP/1.1\r\n" + host + b"\r\n"
    yield "an address of another server", b"GET http://example.org/ HTTP/1.1\r\n" + host + b"\r\n"
    for name, (body, headers) in {
        "a form without an end": (form(image)[0][:-10], form(image)[1]),
        "a form of 1,000 files": form(*[b"a"] * 1000),
        "a form with another field": form(image, name="file"),
        "a form with a path for a name and no image": form(b"x", file_name="../../etc/passwd"),
        "a form without a boundary": (form(image)[0], {"Content-Type": "multipart/form-data"}),
        "a form with a head of a megabyte": (b"--LINE\r\nA: " + b"a" * MIB, form(image)[1]),
        "a form that is none": (image, form(image)[1]),
    }.items():  # fmt: skip
        kind = headers["Content-Type"].encode()
        length = str(len(body)).encode()
        yield (
            name,
            post + host + b"Content-Type: " + kind + b"\r\nContent-Length: " + length + b"\r\n\r\n" + body,
        )

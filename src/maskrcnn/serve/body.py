"""A request's body in memory: at most `MOST_BYTES` of it, never unpacked, never on the disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from maskrcnn.serve.options import MOST_BYTES, MOST_IMAGES
from maskrcnn.serve.refused import Refused

TOO_LARGE = f"the body is larger than {MOST_BYTES:,} bytes; send a smaller image, or fewer at once"
FIELD = "image"  # the only field of a form


class _InMemory(MultiPartParser):
    spool_max_size = MOST_BYTES + 1  # nothing is written to the disk


async def read_body(request: Request) -> bytes:
    """The whole body.

    Raises:
        Refused: 413, of more than `MOST_BYTES`.
        ClientDisconnect: the client hung up.
    """
    return b"".join([chunk async for chunk in _chunks(request)])


async def read_images(request: Request, most: int = MOST_IMAGES) -> list[bytes]:
    """The images of a body: itself, or the files of a form.

    Raises:
        Refused: as `read_body`; and 400 for a form without images, with more than `most` or with fields of
            other names.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        body = await read_body(request)
        if not body:
            raise Refused(400, "the body is empty; send the bytes of an image")
        return [body]
    try:
        parser = _InMemory(request.headers, _chunks(request), max_files=most, max_fields=0)
        form = await parser.parse()
    except (Refused, ClientDisconnect):
        raise
    except MultiPartException as error:
        if error.message.startswith("Too many"):
            line = f"a form has at most {most} file{'s' * (most > 1)} called {FIELD}, and no other field"
            raise Refused(400, line) from None
        raise Refused(400, f"the form cannot be read: {error.message:.100}") from None
    except Exception as error:  # noqa: BLE001 - parsers raise whatever they stumble over
        raise Refused(400, f"the form cannot be read ({type(error).__name__})") from None
    files = form.multi_items()
    if not files or any(name != FIELD or not isinstance(file, UploadFile) for name, file in files):
        raise Refused(400, f"a form has its images in files called {FIELD}, and nothing else")
    return [await file.read() for _, file in files if isinstance(file, UploadFile)]


def body_size(request: Request) -> int:
    """Bytes that a body will hold at most.

    Raises:
        Refused: 413, 415 of a compressed one, 400 of a length that is none.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "compressed bodies are not read; images are compressed themselves")
    length = request.headers.get("content-length", str(MOST_BYTES))
    if not (length.isascii() and length.isdigit()):
        raise Refused(400, "content-length is not a number")
    if len(length) > 12 or int(length) > MOST_BYTES:
        raise Refused(413, TOO_LARGE)
    return int(length)


async def _chunks(request: Request) -> AsyncGenerator[bytes, None]:
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > MOST_BYTES:
            raise Refused(413, TOO_LARGE)
        yield chunk

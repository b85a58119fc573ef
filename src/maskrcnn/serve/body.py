"""The images of a request's body: in memory, never unpacked, never on the disk."""

from __future__ import annotations

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect

from maskrcnn.serve.options import MOST_BYTES

FIELD = "image"  # the only field of a form


class _InMemory(MultiPartParser):
    spool_max_size = MOST_BYTES + 1


async def read_images(request: Request, most: int) -> list[bytes]:
    """The images of a body: itself, or the files of a form.

    Raises:
        HTTPException: 400 for none, more than `most`, or a form with fields of other names.
        ClientDisconnect: the client hung up.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        if body := await request.body():
            return [body]
        raise HTTPException(400, "the body is empty; send the bytes of an image")
    count = "one file" if most == 1 else f"1 to {most} files"
    wanted = f"a form has {count} called {FIELD}, and nothing else"
    try:
        parser = _InMemory(request.headers, request.stream(), max_files=most, max_fields=0)
        files = (await parser.parse()).multi_items()
    except (AnyHTTPException, ClientDisconnect):
        raise
    except Exception as error:  # noqa: BLE001 - parsers raise whatever they stumble over
        reason = f"{getattr(error, 'message', error)!s:.100}".rstrip(".")
        raise HTTPException(400, f"{reason}: {wanted}") from None
    images = [await file.read() for name, file in files if name == FIELD and isinstance(file, UploadFile)]
    if not 0 < len(images) == len(files):
        raise HTTPException(400, wanted)
    return images

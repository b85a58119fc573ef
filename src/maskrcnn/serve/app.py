"""The addresses of the service."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect

from maskrcnn.errors import UserError
from maskrcnn.instances import Instances
from maskrcnn.serve import protocol
from maskrcnn.serve.answer import Answer, BatchAnswer, MaskForm, ModelInfo, model_info, to_answer, to_overlay
from maskrcnn.serve.body import FIELD, read_images
from maskrcnn.serve.guard import Guard, refusal
from maskrcnn.serve.options import MOST_BYTES, MOST_IMAGES
from maskrcnn.serve.service import Service, T
from maskrcnn.version import __version__

ERRORS = (AnyHTTPException, RequestValidationError, UserError, Exception)
JSON = "application/json"
UNKNOWN = {  # what Starlette says in two words
    404: "no such address; /openapi.json lists all",
    405: "this address does not take that method; see /openapi.json",
}
HUNG_UP = 499  # nobody reads it; nginx's number for it


class Error(BaseModel):
    """What every refusal says."""

    error: str


class BatchQuery(BaseModel):
    """What the address of a request may say."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, max_length=200, description="Its name; else the first that is served.")
    score: float | None = Field(
        None, ge=0, le=1, description="Keep objects with at least this; else the model's own.", examples=[0.5]
    )
    masks: MaskForm = Field(MaskForm.rle, description="How masks are written.", examples=["polygon"])


class PredictQuery(BatchQuery):
    """The same for one image."""

    overlay: bool = Field(False, description="Answer with a JPEG, the objects drawn on the image.")


REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Error, "description": "Refused. 429: the queue is full; Retry-After says for how long."},
    "5XX": {"model": Error, "description": "503: the models are loaded, or the service ends. 504: too late."},
}
FILE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
BINARY = {"application/octet-stream": FILE}
JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": FILE}}}
TENSORS: dict[int | str, dict[str, Any]] = {200: {"content": BINARY}}


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    form = {"type": "object", "properties": {FIELD: schema}, "required": [FIELD]}
    return {"multipart/form-data": {"schema": form}}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    """A body that FastAPI does not read itself."""
    return {"requestBody": {"required": True, "content": content}}


ONE_IMAGE = _body({"image/*": FILE} | _form(FILE["schema"]))
IMAGES = _body(_form({"type": "array", "items": FILE["schema"], "minItems": 1, "maxItems": MOST_IMAGES}))
REQUEST = {"schema": {"type": "object", "required": ["inputs"]}, "example": protocol.EXAMPLE}
WANTED = _body({JSON: REQUEST} | BINARY)


def make_app(service: Service) -> Guard:
    """The service's ASGI app."""
    app = FastAPI(
        title="maskrcnn",
        version=__version__,
        description="Objects in images: masks, boxes, keypoints.",
        docs_url=None,  # their scripts come from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        responses=REFUSALS,
        exception_handlers=dict.fromkeys(ERRORS, _refused),
    )
    _add_predict(app, service)
    _add_protocol(app, service)
    page, policy = _page()

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy})

    @app.get("/models")
    async def models() -> list[ModelInfo]:
        """What is served, the default first."""
        service.runner(None)
        return [model_info(name, runner.config) for name, runner in service.models.items()]

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Guard(app, service)


def _add_predict(app: FastAPI, service: Service) -> None:
    @app.post("/predict", response_model=Answer, responses=JPEG, openapi_extra=ONE_IMAGE)
    async def predict(request: Request, query: Annotated[PredictQuery, Query()]) -> Response:
        """Find the objects in one image: its bytes, or a form with one file called image."""
        name, _ = service.runner(query.model)
        encode = to_overlay if query.overlay else partial(_json, name, query.masks)

        async def work(images: list[bytes]) -> Response:
            body = await service.predict(name, images[0], query.score, encode)
            return Response(body, media_type="image/jpeg" if query.overlay else JSON)

        return await _in_time(service, request, partial(read_images, request, 1), work)

    @app.post("/predict/batch", response_model=BatchAnswer, openapi_extra=IMAGES)
    async def predict_batch(request: Request, query: Annotated[BatchQuery, Query()]) -> Response:
        """Find the objects in several images: a form with files called image."""
        name, _ = service.runner(query.model)
        encode = partial(_json, name, query.masks)

        async def work(images: list[bytes]) -> Response:
            with service.room(len(images) - 1):
                each = (service.predict(name, data, query.score, encode) for data in images)
                found = await asyncio.gather(*each, return_exceptions=True)
                parts = []
                for place, one in enumerate(found, 1):
                    if isinstance(one, UserError):
                        raise HTTPException(422, f"image {place} of {len(images)}: {one}")
                    if isinstance(one, BaseException):
                        raise one
                    parts.append(one)
            return Response(b'{"answers": [' + b", ".join(parts) + b"]}", media_type=JSON)

        return await _in_time(service, request, partial(read_images, request, MOST_IMAGES), work)


def _add_protocol(app: FastAPI, service: Service) -> None:
    """The Open Inference Protocol."""

    @app.get("/v2")
    async def server() -> dict[str, Any]:
        return {"name": "maskrcnn", "version": __version__, "extensions": ["binary_tensor_data"]}

    @app.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready")
    async def ready(response: Response) -> dict[str, bool]:
        response.status_code = 200 if service.ready else 503
        return {"ready": service.ready}

    @app.get("/v2/models/{model}")
    @app.get("/v2/models/{model}/versions/1")
    async def metadata(model: str) -> dict[str, Any]:
        name, runner = service.runner(model)
        return protocol.metadata(name, runner.config)

    @app.get("/v2/models/{model}/ready")
    @app.get("/v2/models/{model}/versions/1/ready")
    async def model_ready(model: str) -> dict[str, Any]:
        return {"name": service.runner(model)[0], "ready": True}

    @app.post("/v2/models/{model}/infer", responses=TENSORS, openapi_extra=WANTED)
    @app.post("/v2/models/{model}/versions/1/infer", responses=TENSORS, openapi_extra=WANTED)
    async def infer(request: Request, model: str) -> Response:
        if request.query_params:  # it would be lost
            raise HTTPException(422, "settings go into the JSON, as parameters, not into the address")
        name, runner = service.runner(model)
        length = request.headers.get(protocol.HEADER)

        async def work(body: bytes) -> Response:
            read = partial(protocol.read_request, body, length, runner.config)
            wanted, image = await service.in_thread("decode", read)
            encode = partial(protocol.write_answer, wanted, name)
            content, headers = await service.predict(name, image, wanted.parameters.score, encode)
            return Response(content, headers=headers)

        return await _in_time(service, request, request.body, work)


async def _in_time(
    service: Service,
    request: Request,
    read: Callable[[], Awaitable[T]],
    work: Callable[[T], Awaitable[Response]],
) -> Response:
    """`work` on the body once the queue has room, within the deadline and unless the client hangs up."""
    names = [name for name, _ in request.query_params.multi_items()]
    if twice := [name for name in names if names.count(name) > 1]:
        raise HTTPException(422, f"{twice[0]}: given more than once; give it once")
    gone, seconds = None, service.options.deadline_s
    try:
        with service.room(size=int(request.headers.get("content-length", MOST_BYTES))):
            async with asyncio.timeout(seconds) as limit:
                body = await read()
                gone = asyncio.create_task(_until_gone(request, limit))
                return await work(body)
    except TimeoutError:
        if gone is None:
            raise HTTPException(408, f"the body did not come within {seconds:g} s") from None
        if not gone.done():
            line = f"no answer within {seconds:g} s; send a smaller image, or fewer at once"
            raise HTTPException(504, line) from None
    except ClientDisconnect:
        pass
    finally:
        if gone is not None:
            gone.cancel()
    service.metrics.hung_up.inc()
    return Response(status_code=HUNG_UP)


async def _until_gone(request: Request, limit: asyncio.Timeout) -> None:
    """Let the time be over once the client hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    limit.reschedule(0)


def _json(name: str, masks: MaskForm, found: Instances) -> bytes:
    return json.dumps(to_answer(found, name, masks)).encode()


async def _refused(request: Request, error: Exception) -> Response:
    """Every error as one line of JSON."""
    if isinstance(error, AnyHTTPException):
        bare = error.detail == HTTPStatus(error.status_code).phrase
        line = UNKNOWN.get(error.status_code, error.detail) if bare else error.detail
        return refusal(error.status_code, line, error.headers)
    if isinstance(error, RequestValidationError):
        return refusal(422, "; ".join(map(_why, error.errors())))
    if isinstance(error, UserError):
        return refusal(422, str(error))
    traceback.print_exception(error)
    return refusal(500, "a defect of the service; its log says more")


def _why(mistake: dict[str, Any]) -> str:
    """A mistake that pydantic found in a request, as a line."""
    place, *names = mistake["loc"]
    said = mistake["msg"]
    if place == "query" and mistake["type"] == "extra_forbidden":
        said = f"not known here; known are {', '.join(BatchQuery.model_fields)} and, for one image, overlay"
    return f"{'.'.join(map(str, names))}: {said}"


def _page() -> tuple[bytes, str]:
    """The page and its content security policy, which allows its own script and style and no others."""
    page = files("maskrcnn.serve").joinpath("page.html").read_bytes()

    def sources(tag: str) -> str:
        parts = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), page, re.DOTALL)
        hashes = (base64.b64encode(hashlib.sha256(part).digest()).decode() for part in parts)
        return " ".join(f"'sha256-{one}'" for one in hashes)

    return page, (
        f"default-src 'none'; script-src {sources('script')}; style-src {sources('style')};"
        " img-src 'self' blob: data:; media-src blob:; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    )

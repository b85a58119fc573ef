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
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from maskrcnn.errors import UserError
from maskrcnn.images.read import as_pixels
from maskrcnn.instances import Instances
from maskrcnn.serve import protocol
from maskrcnn.serve.answer import (
    EXAMPLE,
    Answer,
    BatchAnswer,
    MaskForm,
    ModelInfo,
    model_info,
    to_answer,
    to_overlay,
)
from maskrcnn.serve.body import FIELD, body_size, read_body, read_images
from maskrcnn.serve.guard import Guard
from maskrcnn.serve.options import MOST_IMAGES
from maskrcnn.serve.refused import Refused, error_line
from maskrcnn.serve.service import Service
from maskrcnn.version import __version__

JSON = "application/json"
Responses = dict[int | str, dict[str, Any]]
HUNG_UP = 499  # nobody reads it; nginx's number for it


class Error(BaseModel):
    """What every refusal says."""

    error: str


class BatchQuery(BaseModel):
    """What the address of a request may say."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None, description="Its name; the first that is served where left out.", max_length=200
    )
    score: float = Field(
        0.5, ge=0, le=1, description="Keep objects with at least this score.", examples=[0.5]
    )
    masks: MaskForm = Field(MaskForm.rle, description="How masks are written.", examples=["polygon"])


class PredictQuery(BatchQuery):
    """The same for one image."""

    overlay: bool = Field(False, description="Answer with a JPEG, the objects drawn on the image.")


REASONS = {
    400: "The request cannot be understood.",
    401: "The token is missing or another.",
    403: "Asked by a page of another site.",
    404: "No such model.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    415: "The body is compressed.",
    421: "Without a token, a name of this machine only.",
    422: "An image or a setting that cannot be used.",
    429: "The queue is full; Retry-After says when to try again.",
    503: "The models are being loaded, or the service is being stopped.",
    504: "The answer took longer than the deadline.",
}
ERRORS: Responses = {status: {"model": Error, "description": reason} for status, reason in REASONS.items()}
FILE = {"type": "string", "format": "binary"}


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": {FIELD: schema}, "required": [FIELD]}}


def _body(**content: Any) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


ONE_IMAGE = _body(**{"image/*": {"schema": FILE}, "multipart/form-data": _form(FILE)})
IMAGES = _body(
    **{"multipart/form-data": _form({"type": "array", "items": FILE, "minItems": 1, "maxItems": MOST_IMAGES})}
)
TENSORS = _body(
    **{
        JSON: {
            "schema": {"type": "object", "required": ["inputs"]},
            "example": {
                "parameters": {"score": 0.5},
                "inputs": [
                    {"name": "image", "datatype": "UINT8", "shape": [1, 2, 3], "data": [0, 0, 0, 9, 9, 9]}
                ],
            },
        },
        "application/octet-stream": {"schema": FILE},
    }
)
ANSWER: Responses = {
    200: {"model": Answer, "content": {JSON: {"example": EXAMPLE}, "image/jpeg": {"schema": FILE}}}
}
ANSWERS: Responses = {200: {"model": BatchAnswer, "content": {JSON: {"example": {"answers": [EXAMPLE]}}}}}
OUTPUTS: Responses = {
    200: {"content": {JSON: {"schema": {"type": "object"}}, "application/octet-stream": {"schema": FILE}}}
}


def make_app(service: Service) -> Guard:
    """The service's ASGI app."""
    app = FastAPI(
        title="maskrcnn",
        version=__version__,
        description="Objects in images: masks, boxes, keypoints.",
        docs_url=None,  # their scripts come from elsewhere
        redoc_url=None,
    )
    _add_errors(app)
    _add_predict(app, service)
    _add_protocol(app, service)
    page, policy = _page()

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy})

    @app.get("/models", response_model=list[ModelInfo], responses=_some(401, 403, 421, 503))
    async def models() -> list[ModelInfo]:
        """What is served, the default first."""
        service.runner(None)
        return [model_info(name, runner.config) for name, runner in service.models.items()]

    @app.get("/metrics", response_class=Response, responses=_some(401, 403, 421))
    async def metrics() -> Response:
        """Figures for Prometheus."""
        service.metrics.accepted.set(service.accepted - service.answered)
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    return Guard(app, service)


def _add_predict(app: FastAPI, service: Service) -> None:
    @app.post("/predict", responses=ANSWER | ERRORS, openapi_extra=ONE_IMAGE)
    async def predict(request: Request, query: Annotated[PredictQuery, Query()]) -> Response:
        """Find the objects in one image: its bytes, or a form with one file called image."""
        name, _ = service.runner(query.model)
        encode = to_overlay if query.overlay else partial(_json, name, query.masks)

        async def work() -> Response:
            (data,) = await read_images(request, 1)
            body = await _unless_gone(request, service.predict_encoded(name, data, query.score, encode))
            return Response(body, media_type="image/jpeg" if query.overlay else JSON)

        return await _in_time(service, request, work)

    @app.post("/predict/batch", responses=ANSWERS | ERRORS, openapi_extra=IMAGES)
    async def predict_batch(request: Request, query: Annotated[BatchQuery, Query()]) -> Response:
        """Find the objects in several images: a form with files called image."""
        name, _ = service.runner(query.model)

        async def work() -> Response:
            images = await read_images(request)
            with service.also(len(images) - 1):
                encode = partial(_json, name, query.masks)
                each = (service.predict_encoded(name, data, query.score, encode) for data in images)
                found = await _unless_gone(request, asyncio.gather(*each, return_exceptions=True))
            for place, one in enumerate(found, 1):
                if isinstance(one, Refused):
                    raise Refused(one.status, f"image {place} of {len(images)}: {one.line}")
                if isinstance(one, BaseException):
                    raise one
            return Response(b'{"answers": [' + b", ".join(found) + b"]}", media_type=JSON)

        return await _in_time(service, request, work)


def _add_protocol(app: FastAPI, service: Service) -> None:
    """The Open Inference Protocol."""
    guarded, health = _some(401, 403, 421), _some(403, 421)

    @app.get("/v2", responses=guarded)
    async def server() -> dict[str, Any]:
        return {"name": "maskrcnn", "version": __version__, "extensions": ["binary_tensor_data"]}

    @app.get("/v2/health/live", responses=health)
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready", responses=health | _some(503))
    async def ready() -> Response:
        body = json.dumps({"ready": service.ready})
        return Response(body, 200 if service.ready else 503, media_type=JSON)

    @app.get("/v2/models/{model}", responses=guarded | _some(404, 422, 503))
    @app.get("/v2/models/{model}/versions/1", responses=guarded | _some(404, 422, 503))
    async def metadata(model: str) -> dict[str, Any]:
        name, runner = service.runner(model)
        return protocol.metadata(name, runner.config)

    @app.get("/v2/models/{model}/ready", responses=guarded | _some(404, 422, 503))
    @app.get("/v2/models/{model}/versions/1/ready", responses=guarded | _some(404, 422, 503))
    async def model_ready(model: str) -> dict[str, Any]:
        return {"name": service.runner(model)[0], "ready": True}

    @app.post("/v2/models/{model}/infer", responses=OUTPUTS | ERRORS, openapi_extra=TENSORS)
    @app.post("/v2/models/{model}/versions/1/infer", responses=OUTPUTS | ERRORS, openapi_extra=TENSORS)
    async def infer(request: Request, model: str) -> Response:
        name, runner = service.runner(model)

        async def work() -> Response:
            body = await read_body(request)
            wanted = protocol.read_request(body, request.headers.get(protocol.HEADER), runner.config)
            encode = partial(protocol.write_answer, wanted, name)
            if isinstance(wanted.image, bytes):
                found = service.predict_encoded(name, wanted.image, wanted.score, encode)
            else:
                pixels = as_pixels(wanted.image, runner.config.input.channels)
                found = service.predict_pixels(name, pixels, wanted.score, encode)
            content, headers = await _unless_gone(request, found)
            return Response(content, headers=headers)

        return await _in_time(service, request, work)


async def _in_time(service: Service, request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
    """`work` once the queue has room, within the deadline."""
    try:
        with service.admitted(body_size(request)):
            async with asyncio.timeout(service.options.deadline_s):
                return await work()
    except TimeoutError:
        seconds = f"{service.options.deadline_s:g} s"
        if not getattr(request, "_stream_consumed", True):
            raise Refused(408, f"the body did not come within {seconds}") from None
        raise Refused(504, f"no answer within {seconds}; send a smaller image, or fewer at once") from None
    except ClientDisconnect:
        service.metrics.hung_up.inc()
        return Response(status_code=HUNG_UP)


async def _unless_gone(request: Request, work: Awaitable[Any]) -> Any:
    """What `work` gives, which is cancelled once the client hangs up.

    Raises:
        ClientDisconnect: it did.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(name: str, masks: MaskForm, found: Instances) -> bytes:
    return json.dumps(to_answer(found, name, masks)).encode()


def _some(*statuses: int) -> Responses:
    return {status: ERRORS[status] for status in statuses}


def _add_errors(app: FastAPI) -> None:
    """Every error as one line of JSON."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return Response(error.body(), error.status, error.headers, JSON)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return Response(error_line(str(error.detail)), error.status_code, error.headers, JSON)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return Response(error_line("; ".join(map(_why, error.errors()))), 422, media_type=JSON)

    @app.exception_handler(UserError)
    async def user(request: Request, error: UserError) -> Response:
        return Response(error_line(str(error)), 422, media_type=JSON)

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> Response:
        traceback.print_exception(error)
        return Response(error_line("a defect of the service; its log says more"), 500, media_type=JSON)


def _why(mistake: dict[str, Any]) -> str:
    """A mistake that pydantic found in a request, as a line."""
    place, *names = mistake["loc"]
    said = mistake["msg"]
    if place == "query" and mistake["type"] == "extra_forbidden":
        known = list(BatchQuery.model_fields)
        said = f"not known here; known are {', '.join(known)} and, for one image, overlay"
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

"""The Open Inference Protocol, version 2: tensors in and out, as JSON or behind it in binary.

https://github.com/open-inference/open-inference-protocol, "Inference" and "Binary tensor data" extension.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Literal

import numpy as np
from fastapi import HTTPException
from pydantic import BaseModel, Field, ValidationError

from maskrcnn.config.model import ModelConfig
from maskrcnn.instances import Instances
from maskrcnn.serve.options import MOST_JSON_BYTES

HEADER = "inference-header-content-length"
IMAGE = {"name": "image", "datatype": "UINT8", "shape": [1, 2, 3], "data": [0, 0, 0, 9, 9, 9]}
EXAMPLE = {"parameters": {"score": 0.5}, "inputs": [IMAGE]}
KINDS = {np.dtype("<f4"): "FP32", np.dtype("<i8"): "INT64", np.dtype(object): "BYTES"}


class Parameters(BaseModel, extra="forbid"):
    """What the protocol leaves to each of its objects: here to a request."""

    score: float | None = Field(None, ge=0, le=1)
    binary_data_output: bool = False


class InputParameters(BaseModel, extra="forbid"):
    """The same of an input."""

    binary_data_size: int | None = None  # its bytes behind the JSON


class OutputParameters(BaseModel, extra="forbid"):
    """The same of an output."""

    binary_data: bool | None = None


class Input(BaseModel):
    """`image`, UINT8 (H, W, C), in JSON or binary; or `encoded`, BYTES, the bytes of a file in binary."""

    name: Literal["image", "encoded"]
    datatype: str
    shape: list[int]
    parameters: InputParameters = InputParameters()
    data: Any = None


class Output(BaseModel):
    """An output that is wanted."""

    name: str
    parameters: OutputParameters = OutputParameters()


class Wanted(BaseModel):
    """A request to `infer`; without `outputs`, all of them are wanted."""

    id: str | None = None
    parameters: Parameters = Parameters()
    inputs: list[Input] = Field(min_length=1, max_length=1)
    outputs: list[Output] = Field([], max_length=16)


def metadata(name: str, config: ModelConfig) -> dict[str, Any]:
    """The model's inputs and outputs; an input is one of the two."""
    inputs = [("image", "UINT8", [-1, -1, config.input.channels]), ("encoded", "BYTES", [1])]
    outputs = [("boxes", "FP32", [-1, 4]), ("scores", "FP32", [-1]), ("labels", "INT64", [-1])]
    if config.mask_head is not None:
        outputs.append(("masks", "BYTES", [-1]))
    if config.keypoint_head is not None and config.keypoints is not None:
        outputs.append(("keypoints", "FP32", [-1, len(config.keypoints.names), 3]))
    return {
        "name": name,
        "versions": ["1"],
        "platform": "maskrcnn",
        "inputs": [{"name": n, "datatype": kind, "shape": s} for n, kind, s in inputs],
        "outputs": [{"name": n, "datatype": kind, "shape": s} for n, kind, s in outputs],
    }


def read_request(
    body: bytes, header_length: str | None, config: ModelConfig
) -> tuple[Wanted, bytes | np.ndarray]:
    """A request to `infer`, and its image: the bytes of a file, or uint8 (H, W, C).

    Raises:
        HTTPException: 400, with what is wrong in it; 413 for more JSON than `MOST_JSON_BYTES`.
    """
    given = str(len(body)) if header_length is None else header_length
    if not re.fullmatch("[0-9]{1,9}", given) or (length := int(given)) > len(body):
        raise HTTPException(400, f"{HEADER} is not within the body")
    if length > MOST_JSON_BYTES:
        raise HTTPException(413, f"more than {MOST_JSON_BYTES:,} bytes of JSON; send the image in binary")
    try:
        wanted = Wanted.model_validate_json(body[:length], strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        line = f"{'.'.join(map(str, first['loc'])) or 'the JSON'}: {first['msg']}"
        raise HTTPException(400, f"not a request of the Open Inference Protocol: {line}") from None
    known = [output["name"] for output in metadata("", config)["outputs"]]
    if any(output.name not in known for output in wanted.outputs):
        raise HTTPException(400, f"there is no such output; there are: {', '.join(known)}")
    return wanted, _image(wanted.inputs[0], body[length:], config.input.channels)


def write_answer(wanted: Wanted, name: str, found: Instances) -> tuple[bytes, dict[str, str]]:
    """Body and headers."""
    binary = wanted.parameters.binary_data_output
    outputs = {one.name: one.parameters.binary_data for one in wanted.outputs}
    parts, tensors = [], []
    for output, array in _arrays(found, outputs).items():
        kind, flat = KINDS[array.dtype], array.ravel().tolist()
        tensor: dict[str, Any] = {"name": output, "datatype": kind, "shape": list(array.shape)}
        if binary if outputs.get(output) is None else outputs[output]:
            text = [len(one).to_bytes(4, "little") + one for one in flat] if kind == "BYTES" else None
            parts.append(array.tobytes() if text is None else b"".join(text))
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor["data"] = [one.decode("ascii") for one in flat] if kind == "BYTES" else flat
        tensors.append(tensor)
    id_ = {} if wanted.id is None else {"id": wanted.id}
    answer = {"model_name": name, "model_version": "1", "parameters": {"capped": found.capped}}
    head = json.dumps(answer | {"outputs": tensors} | id_).encode()
    if not parts:
        return head, {"Content-Type": "application/json"}
    return head + b"".join(parts), {"Content-Type": "application/octet-stream", HEADER: str(len(head))}


def _image(tensor: Input, rest: bytes, channels: int) -> bytes | np.ndarray:
    """The one input: its data in JSON, or all that is behind the JSON."""
    size = tensor.parameters.binary_data_size
    if (size or 0) != len(rest):
        raise HTTPException(400, f"binary_data_size is {size}, but {len(rest)} bytes are behind the JSON")
    if tensor.name == "encoded":
        length = int.from_bytes(rest[:4], "little")
        if tensor.datatype != "BYTES" or tensor.shape != [1] or length != len(rest) - 4:
            raise HTTPException(400, "encoded is BYTES [1] in binary: its length in 4 bytes, then a file")
        return rest[4:]
    shape = tensor.shape
    if tensor.datatype != "UINT8" or len(shape) != 3 or min(shape) < 1 or shape[2] != channels:
        raise HTTPException(400, f"image is UINT8, its shape [height, width, {channels}], of one image")
    values = np.frombuffer(rest, np.uint8) if size is not None else _from_json(tensor.data)
    if values.size != math.prod(shape):
        wanted = count if (count := math.prod(shape)) < 2**63 else "too many"
        raise HTTPException(400, f"image: its shape has {wanted} values, {values.size} are there")
    return values.reshape(shape)


def _from_json(data: Any) -> np.ndarray:
    try:
        values = np.asarray(data)
    except ValueError:  # lists of different lengths
        values = np.asarray(None)
    if values.dtype.kind not in "iu" or (values.size and not 0 <= values.min() <= values.max() <= 255):
        raise HTTPException(400, "image: its data are whole numbers from 0 to 255")
    return values.astype(np.uint8).ravel()


def _arrays(found: Instances, wanted: dict[str, bool | None]) -> dict[str, np.ndarray]:
    """The outputs by name; masks are COCO's run lengths, of images of the size that was sent."""
    arrays: dict[str, np.ndarray] = {
        "boxes": found.boxes.astype("<f4"),
        "scores": found.scores.astype("<f4"),
        "labels": found.labels.astype("<i8"),
    }
    if found.masks is not None and (not wanted or "masks" in wanted):
        arrays["masks"] = np.array([rle["counts"] for rle in found.masks.rle()], object)
    if found.keypoints is not None:
        arrays["keypoints"] = found.keypoints.astype("<f4")
    return {name: array for name, array in arrays.items() if not wanted or name in wanted}

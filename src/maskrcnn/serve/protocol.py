"""The Open Inference Protocol, version 2: tensors in and out, as JSON or behind it in binary.

https://github.com/open-inference/open-inference-protocol, "Inference" and "Binary tensor data" extension.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskrcnn.config.model import ModelConfig
from maskrcnn.instances import Instances
from maskrcnn.serve.refused import Refused

HEADER = "inference-header-content-length"
IMAGE, ENCODED = "image", "encoded"  # the inputs, of which a request has one
KINDS = {"FP32": "<f4", "INT64": "<i8", "UINT8": "|u1"}
MOST_OUTPUTS = 16


@dataclass
class Request:
    """What a client asks for."""

    id: str | None
    score: float
    image: np.ndarray | bytes  # pixels uint8 (H, W, C), or an encoded image
    outputs: dict[str, bool]  # name to whether in binary; empty: all
    binary: bool  # those that `outputs` does not name


def metadata(name: str, config: ModelConfig) -> dict[str, Any]:
    """The model's inputs and outputs; an input is one of the two."""
    shape = [-1, -1, config.input.channels]
    inputs = [(IMAGE, "UINT8", shape), (ENCODED, "BYTES", [1])]
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


def read_request(body: bytes, header_length: str | None, config: ModelConfig) -> Request:
    """A request to `infer`.

    Raises:
        Refused: 400, with what is wrong in it.
    """
    try:
        return _read(body, header_length, config)
    except Refused:
        raise
    except RecursionError:
        raise Refused(400, "the JSON is nested too deeply") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, struct.error) as error:
        raise Refused(400, f"not a request of the Open Inference Protocol ({error!s:.100})") from None


def write_answer(request: Request, name: str, found: Instances) -> tuple[bytes, dict[str, str]]:
    """Body and headers."""
    parts, tensors = [], []
    arrays = _arrays(found, request.outputs)
    for output, array in arrays.items():
        in_binary = request.outputs.get(output, request.binary)
        kind = next((kind for kind, code in KINDS.items() if array.dtype == np.dtype(code)), "BYTES")
        tensor: dict[str, Any] = {"name": output, "datatype": kind, "shape": list(array.shape)}
        if in_binary:
            part = b"".join(map(_with_length, array)) if kind == "BYTES" else array.tobytes()
            tensor["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        else:
            flat = array.ravel().tolist()
            tensor["data"] = [one.decode("ascii") for one in flat] if kind == "BYTES" else flat
        tensors.append(tensor)
    answer = {"model_name": name, "model_version": "1", "outputs": tensors}
    if request.id is not None:
        answer["id"] = request.id
    head = json.dumps(answer).encode()
    if not parts:
        return head, {"Content-Type": "application/json"}
    return head + b"".join(parts), {"Content-Type": "application/octet-stream", HEADER: str(len(head))}


def _read(body: bytes, header_length: str | None, config: ModelConfig) -> Request:
    length = len(body) if header_length is None else int(header_length)
    if not 0 <= length <= len(body):
        raise Refused(400, f"{HEADER} is not within the body")
    head, rest = json.loads(body[:length]), body[length:]
    wanted, inputs = head.get("parameters", {}), head["inputs"]
    if len(inputs) != 1:
        raise Refused(400, f"a request has one input, {IMAGE} or {ENCODED}; send more images at once")
    score = wanted.get("score", 0.5)
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise Refused(400, "the parameter score is a number from 0 to 1")
    known = [output["name"] for output in metadata("", config)["outputs"]]
    outputs = {}
    for output in head.get("outputs", [])[:MOST_OUTPUTS]:
        if output["name"] not in known:
            raise Refused(400, f"there is no such output; there are: {', '.join(known)}")
        in_binary = wanted.get("binary_data_output", False)
        outputs[output["name"]] = output.get("parameters", {}).get("binary_data", in_binary) is True
    id_ = head.get("id")
    if id_ is not None and not isinstance(id_, str):
        raise Refused(400, "id is a string")
    image = _image(inputs[0], rest, config.input.channels)
    return Request(id_, float(score), image, outputs, wanted.get("binary_data_output", False) is True)


def _image(tensor: dict[str, Any], rest: bytes, channels: int) -> np.ndarray | bytes:
    """The one input: its data in JSON, or all that is behind the JSON."""
    name, kind, shape = tensor["name"], tensor["datatype"], tensor["shape"]
    size = tensor.get("parameters", {}).get("binary_data_size")
    if size is None and rest or size is not None and size != len(rest):
        raise Refused(400, f"binary_data_size is {size!s:.20}, but {len(rest)} bytes are behind the JSON")
    if name == ENCODED and kind == "BYTES" and size is not None and shape in ([1], [1, 1]):
        (length,) = struct.unpack_from("<I", rest)
        if length != len(rest) - 4:
            raise Refused(400, f"{ENCODED}: its length is {length}, but {len(rest) - 4} bytes are there")
        return rest[4:]
    if name != IMAGE or kind != "UINT8":
        raise Refused(400, f"give {IMAGE} as UINT8 (H, W, {channels}), or {ENCODED} as BYTES in binary")
    sides = shape[1:] if len(shape) == 4 and shape[0] == 1 else shape
    plain = [side for side in sides if type(side) is int and 0 < side < 2**31]
    if len(plain) != 3 or len(sides) != 3 or plain[2] != channels:
        raise Refused(400, f"{IMAGE}: the shape is [height, width, {channels}], of one image")
    given = np.frombuffer(rest, np.uint8) if size is not None else _from_json(tensor["data"])
    if given.size != math.prod(plain):
        raise Refused(400, f"{IMAGE}: its shape has {math.prod(plain)} values, {given.size} are there")
    return given.reshape(plain)


def _from_json(data: Any) -> np.ndarray:
    values = np.asarray(data)
    if values.dtype.kind not in "iu" or (values.size and not 0 <= values.min() <= values.max() <= 255):
        raise Refused(400, f"{IMAGE}: its data are whole numbers from 0 to 255")
    return values.astype(np.uint8).ravel()


def _arrays(found: Instances, wanted: dict[str, bool]) -> dict[str, np.ndarray]:
    """The outputs by name; masks are COCO's run lengths, of images of the size that was sent."""
    arrays: dict[str, np.ndarray] = {
        "boxes": found.boxes.astype(np.float32),
        "scores": found.scores.astype(np.float32),
        "labels": found.labels.astype(np.int64),
    }
    if found.masks is not None and (not wanted or "masks" in wanted):
        arrays["masks"] = np.array([rle["counts"] for rle in found.masks.rle()], object)
    if found.keypoints is not None:
        arrays["keypoints"] = found.keypoints.astype(np.float32)
    return {name: array for name, array in arrays.items() if not wanted or name in wanted}


def _with_length(one: bytes) -> bytes:
    return struct.pack("<I", len(one)) + one

"""The Open Inference Protocol: what tritonclient and plain requests get is what `predict` finds."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi import HTTPException
from hypothesis import given, settings
from hypothesis import strategies as st
from service_thread import Answer, Served, encoded, pixels, served
from small import small_config, small_model

from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.runtime.torch_engine import TorchEngine
from maskrcnn.serve.protocol import read_request

INPUT = {"short_side": 96, "long_side": 128, "divisor": 32}
HEADER = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def runner() -> TorchEngine:
    return TorchEngine(small_model(input=INPUT))


@pytest.fixture(scope="module")
def service(runner: TorchEngine) -> Iterator[Served]:
    with served(lambda: {"small": runner}) as one:
        yield one


def infer(service: Served, head: Any, rest: bytes | None = None) -> Answer:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    headers = {} if rest is None else {HEADER: str(len(text))}
    return service.ask("POST", "/v2/models/small/infer", text + (rest or b""), headers)


def image_input(image: np.ndarray, **more: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": "UINT8", "shape": list(image.shape), **more}


def test_tritonclient(service: Served, runner: TorchEngine) -> None:
    client = pytest.importorskip("tritonclient.http")
    triton = client.InferenceServerClient(f"127.0.0.1:{service.port}")
    assert triton.is_server_live() and triton.is_server_ready() and triton.is_model_ready("small")
    assert triton.get_server_metadata()["name"] == "maskrcnn"
    assert [one["name"] for one in triton.get_model_metadata("small")["outputs"]] == [
        *("boxes", "scores", "labels", "masks", "keypoints")
    ]
    image = pixels()
    (found,) = predict_pixels(runner, [image], score=0.0)
    assert found.masks is not None and found.keypoints is not None and len(found) > 2
    one = client.InferInput("image", list(image.shape), "UINT8")
    one.set_data_from_numpy(image, binary_data=True)
    for binary in (True, False):
        outputs = [
            client.InferRequestedOutput(name, binary_data=binary) for name in ("boxes", "masks", "keypoints")
        ]
        answer = triton.infer("small", [one], outputs=outputs, parameters={"score": 0.0}, request_id="7")
        assert np.array_equal(answer.as_numpy("boxes"), found.boxes)
        assert np.array_equal(answer.as_numpy("keypoints"), found.keypoints)
        counts = [part if isinstance(part, bytes) else part.encode() for part in answer.as_numpy("masks")]
        assert counts == [rle["counts"] for rle in found.masks.rle()]
        assert answer.get_response()["id"] == "7" and answer.as_numpy("scores") is None
    sent = client.InferInput("encoded", [1], "BYTES")
    sent.set_data_from_numpy(np.array([encoded(image)], dtype=np.object_), binary_data=True)
    answer = triton.infer("small", [sent], parameters={"score": 0.0})
    assert np.array_equal(answer.as_numpy("scores"), found.scores)
    assert answer.as_numpy("labels").tolist() == found.labels.tolist()
    with pytest.raises(Exception, match="no such model"):
        triton.infer("none", [sent])
    triton.close()


def test_json_in_and_out(service: Served, runner: TorchEngine) -> None:
    image = pixels(16, 24)
    (found,) = predict_pixels(runner, [image], score=0.0)
    answer = infer(
        service, {"inputs": [image_input(image, data=image.tolist())], "parameters": {"score": 0}, "id": "a"}
    )
    assert answer.status == 200 and answer.json["id"] == "a" and answer.json["model_name"] == "small"
    outputs = {one["name"]: one for one in answer.json["outputs"]}
    assert outputs["boxes"]["data"] == found.boxes.ravel().tolist()
    assert outputs["boxes"]["shape"] == [len(found), 4]
    versioned = service.ask("GET", "/v2/models/small/versions/1")
    assert versioned.json == service.ask("GET", "/v2/models/small").json
    assert service.ask("GET", "/v2/models/none/ready").status == 404


def test_settings_in_the_address_are_refused(service: Served) -> None:
    """They were lost: the answer was that of the default score."""
    answer = service.ask("POST", "/v2/models/small/infer?score=0.9", b"{}")
    assert answer.status == 422 and "into the JSON" in answer.error


IMAGE = pixels(4, 5)


@pytest.mark.parametrize(
    ("head", "rest", "words"),
    [
        (b"{", None, "not a request"),
        (b"[" * 100_000, None, "recursion limit"),
        ([], None, "not a request"),
        ({"inputs": []}, None, "inputs: List should have at least 1 item"),
        ({"inputs": [image_input(IMAGE)]}, None, "from 0 to 255"),
        ({"inputs": [image_input(IMAGE, data=[[1], [2, 3]])]}, None, "from 0 to 255"),
        ({"inputs": [image_input(IMAGE, data=[1, 2])]}, None, "2 are there"),
        ({"inputs": [image_input(IMAGE, data=[300] * 60)]}, None, "from 0 to 255"),
        ({"inputs": [image_input(IMAGE, data=[0.5] * 60)]}, None, "from 0 to 255"),
        ({"inputs": [image_input(IMAGE[None, None])]}, IMAGE.tobytes(), "binary_data_size"),
        ({"inputs": [image_input(IMAGE, parameters={"binary_data_size": 7})]}, IMAGE.tobytes(), "60 bytes are behind"),
        ({"inputs": [image_input(IMAGE, parameters={"binary_data_size": 3})]}, b"abc", "3 are there"),
        (
            {"inputs": [image_input(IMAGE[..., :1], parameters={"binary_data_size": 20})]},
            bytes(20),
            "its shape [height, width, 3]",
        ),
        (
            {"inputs": [{**image_input(IMAGE, parameters={"binary_data_size": 0}), "shape": [2**40, 2**40, 3]}]},
            b"",
            "values, 0 are there",
        ),
        (
            {"inputs": [{"name": "encoded", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}}]},
            struct.pack("<I", 2**31) + b"ab",
            "its length in 4 bytes",
        ),
        (
            {"inputs": [image_input(IMAGE, data=[0] * 60)], "parameters": {"score": 7}},
            None,
            "score",
        ),
        ({"inputs": [image_input(IMAGE, data=[0] * 60)], "parameters": {"scores": 0.9}}, None, "parameters.scores"),
        ({"inputs": [image_input(IMAGE, data=[0] * 60, parameters={"score": 0.9})]}, None, "0.parameters.score"),
        ({"inputs": [image_input(IMAGE, data=[0] * 60)], "outputs": [{"name": "x"}]}, None, "no such output"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(service: Served, head: Any, rest: bytes | None, words: str) -> None:
    answer = infer(service, head, rest)
    assert answer.status == 400 and words in answer.error


def test_the_length_of_the_json_is_within_the_body(service: Served) -> None:
    for length in ("99999", "-1", "x", "9" * 5000):
        answer = service.ask("POST", "/v2/models/small/infer", b"{}", {HEADER: length})
        assert answer.status == 400 and answer.error


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["inputs", "outputs", "parameters", "name", "shape", "datatype", "data", "id", "score"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(values, st.binary(max_size=40), st.sampled_from(["image", "encoded"]))
def test_any_json_is_a_request_or_refused(value: Any, rest: bytes, name: str) -> None:
    config = small_config()
    for head in (
        value,
        {"inputs": [value]},
        {"inputs": [{"name": name, "datatype": "UINT8", "shape": value, "data": value}]},
    ):
        text = json.dumps(head).encode()
        try:
            read_request(text + rest, str(len(text)), config)
        except HTTPException as refused:
            assert refused.status_code == 400 and len(refused.detail) < 400

"""What is answered over HTTP is what `predict` finds, and what is not answered is refused in one line."""

from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from service_thread import Served, encoded, form, pixels, served
from small import small_model

from maskrcnn.instances import Instances
from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.runtime.engine import Runner
from maskrcnn.runtime.torch_engine import TorchEngine

INPUT = {"short_side": 96, "long_side": 128, "divisor": 32}


@pytest.fixture(scope="module")
def runner() -> TorchEngine:
    return TorchEngine(small_model(input=INPUT))


@pytest.fixture(scope="module")
def service(runner: TorchEngine) -> Iterator[Served]:
    with served(lambda: {"small": runner, "other": runner}) as one:
        yield one


def expected(runner: Runner, image: np.ndarray, score: float = 0.0) -> Instances:
    (found,) = predict_pixels(runner, [image], score=score)
    assert len(found) > 2
    return found


def test_an_answer_is_what_predict_finds_bit_for_bit(service: Served, runner: TorchEngine) -> None:
    image = pixels()
    answer = service.predict(encoded(image), "?score=0")
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    found = expected(runner, image)
    assert answer.json["capped"] == found.capped == (len(found) >= runner.config.test.detections)
    want = json.loads(json.dumps(found.to_coco(0)))
    assert (answer.json["width"], answer.json["height"], answer.json["model"]) == (128, 96, "small")
    areas, names = [], []
    for one, other in zip(answer.json["objects"], want, strict=True):
        areas.append(one.pop("area"))
        names.append(one.pop("category_name"))
        del other["image_id"]
        assert one == other
    assert names == found.names and found.masks is not None and areas == found.masks.areas().tolist()


def test_the_score_is_the_models_own_where_none_is_asked_for(service: Served, runner: TorchEngine) -> None:
    image = pixels()
    scores = [float(score) for score in expected(runner, image).scores]
    kept, own = runner.config.test.predict_score, scores[1]
    runner.config.test.predict_score = own
    try:
        objects = service.predict(encoded(image)).json["objects"]
    finally:
        runner.config.test.predict_score = kept
    assert [one["score"] for one in objects] == [score for score in scores if score >= own]


def test_answers_do_not_depend_on_what_else_is_asked(service: Served, runner: TorchEngine) -> None:
    images = [pixels(seed=seed, height=64 + 8 * (seed % 3)) for seed in range(12)]
    bodies = [encoded(image) for image in images]
    want = [service.predict(body, "?score=0").body for body in bodies]
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(lambda body: service.predict(body, "?score=0").body, bodies)) == want
    batch = service.ask("POST", "/predict/batch?score=0", *form(*bodies))
    assert batch.json["answers"] == [json.loads(body) for body in want]
    found = expected(runner, images[3])
    assert [one["score"] for one in json.loads(want[3])["objects"]] == [
        float(score) for score in found.scores
    ]


def test_images_of_one_shape_share_a_forward_pass(runner: TorchEngine) -> None:
    seen: list[int] = []

    class Counted:
        name, config = "counted", runner.config

        def __call__(self, images, sizes, score=None):  # type: ignore[no-untyped-def]
            seen.append(len(images))
            return runner(images, sizes, score)

    bodies = [encoded(pixels(seed=seed)) for seed in range(4)] + [encoded(pixels(height=32))]
    with served(lambda: {"small": Counted()}, max_batch=4, max_wait_ms=1000) as service:
        seen.clear()
        answers = service.ask("POST", "/predict/batch?score=0.1", *form(*bodies)).json["answers"]
        assert sorted(seen) == [1, 4]
        for seed, answer in enumerate(answers[:4]):
            alone = expected(runner, pixels(seed=seed), 0.1)
            np.testing.assert_allclose([one["score"] for one in answer["objects"]], alone.scores, atol=1e-4)


def test_forms_of_masks(service: Served, runner: TorchEngine) -> None:
    image = pixels(seed=5)
    masks = expected(runner, image).masks
    assert masks is not None
    bitmaps = masks.bitmaps()

    def objects(form_: str) -> list[dict]:  # type: ignore[type-arg]
        found: list[dict] = service.predict(encoded(image), f"?score=0&masks={form_}").json["objects"]  # type: ignore[type-arg]
        return found

    for one, bitmap in zip(objects("png"), bitmaps, strict=True):
        part = one["segmentation"]
        decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(part["png"]))))
        top, left = part["top"], part["left"]
        assert (bitmap[top : top + decoded.shape[0], left : left + decoded.shape[1]] == decoded).all()
        assert one["area"] == bitmap.sum() == decoded.sum()
    for one, rings in zip(objects("polygon"), masks.polygons(), strict=True):
        assert one["segmentation"] == [ring.ravel().tolist() for ring in rings]
    assert all("segmentation" not in one and "area" not in one for one in objects("none"))


def test_an_overlay_is_an_image(service: Served) -> None:
    answer = service.predict(encoded(pixels()), "?overlay=1&score=0")
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.body)).format == "JPEG"


def test_a_form_and_another_model(service: Served) -> None:
    data = encoded(pixels())
    assert service.ask("POST", "/predict?model=other", *form(data)).json["model"] == "other"
    # a file's name is never used
    assert service.ask("POST", "/predict", *form(data, file_name="../../etc/passwd")).status == 200


def test_what_is_served(service: Served) -> None:
    models = service.ask("GET", "/models").json
    assert [one["name"] for one in models] == ["small", "other"]
    assert models[0]["keypoint_names"] == ["a", "b", "c"] and models[0]["has_masks"]
    assert models[0]["score"] == 0.5
    assert (
        service.ask("GET", "/v2/health/live").status == service.ask("GET", "/v2/health/ready").status == 200
    )
    openapi = service.ask("GET", "/openapi.json").json
    assert openapi["components"]["schemas"]["Answer"]["example"]["objects"][0]["category_name"] == "person"
    text = service.ask("GET", "/metrics").body.decode()
    assert 'maskrcnn_images_total{model="small"}' in text and "maskrcnn_stage_seconds_bucket" in text
    page = service.ask("GET", "/")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("?score=2", 422, "score"),
        ("?score=nan", 422, "score"),
        ("?scoer=0.1", 422, "scoer: not known here; known are model, score, masks"),
        ("?masks=gif", 422, "masks"),
        ("?model=none", 404, "no such model"),
        ("?score=0.9&score=0.1", 422, "score: given more than once"),
    ],
)
def test_a_wrong_address_is_refused(service: Served, query: str, status: int, words: str) -> None:
    answer = service.predict(encoded(pixels()), query)
    assert answer.status == status and words in answer.error


def test_unknown_addresses_are_refused_in_json(service: Served) -> None:
    assert service.ask("GET", "/etc/passwd").error.startswith("no such address")
    assert service.ask("GET", "/predict").status == 405
    assert service.ask("GET", "/docs").status == 404


def test_one_wrong_image_of_several_is_named(service: Served) -> None:
    answer = service.ask("POST", "/predict/batch", *form(encoded(pixels()), b"GIF89a"))
    assert answer.status == 422 and answer.error.startswith("image 2 of 2: image:")


def test_a_token_is_asked_for(runner: TorchEngine) -> None:
    with served(lambda: {"small": runner}, token=b"0123456789abcdef", loopback=False) as service:
        data = encoded(pixels())
        refused = service.predict(data)
        assert refused.status == 401 and "token" in refused.error
        assert refused.headers["www-authenticate"] == "Bearer"
        assert service.predict(data, Authorization="Bearer 0123456789abcdeF").status == 401
        assert service.ask("GET", "/metrics").status == service.ask("GET", "/openapi.json").status == 401
        assert service.ask("GET", "/v2/health/live").status == service.ask("GET", "/").status == 200
        assert service.predict(data, Authorization="bearer 0123456789abcdef", Host="a.example").status == 200


def test_pages_of_other_sites_are_refused_without_one(service: Served) -> None:
    data = encoded(pixels())
    assert service.predict(data, Host="rebound.example:8000").status == 421
    assert service.predict(data, **{"Sec-Fetch-Site": "cross-site"}).status == 403
    assert service.predict(data, Origin="https://rebound.example").status == 403
    for own in ("localhost:8000", "LOCALHOST", "127.0.0.2:80", "[::1]:8000"):
        assert service.predict(data, Host=own, Origin=f"http://{own}").status == 200


def test_answers_on_a_connection_do_not_wait_for_acknowledgements(service: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    seconds = []
    for _ in range(40):
        begin = time.perf_counter()
        connection.request("GET", "/models")
        connection.getresponse().read()
        seconds.append(time.perf_counter() - begin)
    connection.close()
    assert min(seconds[20:]) < 0.03  # with Nagle's algorithm none takes less than 40 ms


class Slow:
    """An engine that waits until it is let go."""

    name = "slow"

    def __init__(self, runner: TorchEngine) -> None:
        self.config, self._runner = runner.config, runner
        self.go, self.calls = threading.Event(), 0

    def __call__(self, images, sizes, score=None):  # type: ignore[no-untyped-def]
        self.calls += 1
        self.go.wait(20)
        return self._runner(images, sizes, score)


@pytest.fixture
def slow(runner: TorchEngine) -> Slow:
    one = Slow(runner)
    one.go.set()
    return one


def wait_until(condition) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_full_queue_is_refused_with_a_time(slow: Slow) -> None:
    data = encoded(pixels())
    with served(lambda: {"small": slow}, queue=3) as service, ThreadPoolExecutor(3) as pool:
        slow.go.clear()
        waiting = [pool.submit(service.predict, data) for _ in range(3)]
        wait_until(lambda: service.service.accepted == 3)
        refused = service.predict(data * 200)
        assert refused.status == 429 and int(refused.headers["retry-after"]) >= 1
        assert "waiting" in refused.error
        assert service.ask("GET", "/v2/health/ready").status == 200
        slow.go.set()
        assert [one.result().status for one in waiting] == [200] * 3
        assert service.predict(data).status == 200


def test_who_hangs_up_leaves_the_queue(slow: Slow) -> None:
    data = encoded(pixels())
    with served(lambda: {"small": slow}) as service, ThreadPoolExecutor(1) as pool:
        slow.go.clear()
        first = pool.submit(service.predict, data)
        wait_until(lambda: slow.calls == 2)  # the first call was the warm-up
        head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", service.port)) as gone:
                accepted = service.service.accepted
                gone.sendall(head + data)
                wait_until(lambda accepted=accepted: service.service.accepted > accepted)
        wait_until(lambda: service.service.accepted - service.service.answered == 1)
        slow.go.set()
        assert first.result().status == 200 and service.predict(data).status == 200
        assert slow.calls == 3
        assert b"maskrcnn_hung_up_total 5.0" in service.ask("GET", "/metrics").body


def test_a_deadline(slow: Slow) -> None:
    data = encoded(pixels())
    with served(lambda: {"small": slow}, deadline_s=0.5) as service:
        slow.go.clear()
        answer = service.predict(data)
        assert answer.status == 504 and "0.5 s" in answer.error
        with socket.create_connection(("127.0.0.1", service.port)) as late:
            late.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nabc")
            assert late.recv(12) == b"HTTP/1.1 408"
        slow.go.set()


def test_503_while_loading_and_draining_and_nothing_is_lost(slow: Slow) -> None:
    data, loaded = encoded(pixels()), threading.Event()

    def load() -> dict[str, Runner]:
        loaded.wait(20)
        return {"small": slow}

    with served(load, wait=False) as service, ThreadPoolExecutor(4) as pool:
        refused = service.predict(data)
        assert refused.status == 503 and "loaded" in refused.error and refused.headers["retry-after"]
        assert service.ask("GET", "/v2/health/ready").status == 503
        assert service.ask("GET", "/v2/health/live").status == 200
        loaded.set()
        wait_until(lambda: service.service.ready)
        slow.go.clear()
        waiting = [pool.submit(service.predict, data) for _ in range(4)]
        wait_until(lambda: service.service.accepted == 4)
        service.stop()
        time.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            service.predict(data)
        slow.go.set()
        assert [one.result().status for one in waiting] == [200] * 4
    assert service.lines[-1] == "stopped: 4 of 4 accepted images answered"


def test_images_that_were_refused_are_not_counted_as_answered(slow: Slow) -> None:
    with served(lambda: {"small": slow}) as service:
        assert service.predict(encoded(pixels())).status == 200
        assert service.predict(b"no image").status == 422
        both = form(encoded(pixels()), b"no image")
        assert service.ask("POST", "/predict/batch", *both).status == 422
    assert service.lines[-1] == "stopped: 1 of 4 accepted images answered, 3 refused or given up"

"""Addresses of an object store, by moto's S3 on this machine: `pip install 'moto[server,s3]'`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from blob_model import BlobModel
from photos import photos

from maskrcnn.errors import UserError
from maskrcnn.scale.addresses import find_addresses
from maskrcnn.scale.batch_predictor import BatchPredictor

pytest.importorskip("pyarrow")
boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto.server")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files are in s3://bucket/photos/ too."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "b",
        "DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    folder, store = photos(tmp_path / "photos", 4, broken=(2,)), boto3.client("s3")
    store.create_bucket(Bucket="bucket")
    for path in folder.iterdir():
        store.upload_file(str(path), "bucket", f"photos/{path.name}")
    yield folder
    server.stop()


def test_a_store_gives_the_rows_of_a_folder(bucket: Path) -> None:
    there = find_addresses(["s3://bucket/photos/"], allow_network=True).between(range(4))
    assert there == [f"s3://bucket/photos/{number:03d}.png" for number in range(4)]
    predictor = BatchPredictor(BlobModel(), allow_network=True)
    rows = predictor.rows([{"address": name} for name in there])
    ours = predictor.rows([{"address": str(path)} for path in sorted(bucket.iterdir())])
    assert [row | {"address": ""} for row in rows] == [row | {"address": ""} for row in ours]
    assert [bool(row.get("error")) for row in rows] == [False, False, True, False]


def test_what_a_store_does_not_have(bucket: Path) -> None:
    wrong = [{"address": "s3://bucket/photos/none.png"}, {"address": "s3://none/000.png"}]
    rows = BatchPredictor(BlobModel(), allow_network=True).rows(wrong)
    assert [row["error"] for row in rows] == ["no such file; check the name"] * 2


def test_a_store_that_does_not_answer(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{held.getsockname()[1]}")
        with pytest.raises(UserError, match="s3://bucket/photos/000.png: cannot be reached"):
            BatchPredictor(BlobModel(), allow_network=True).rows([{"address": "s3://bucket/photos/000.png"}])

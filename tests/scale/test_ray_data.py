"""The same parts by Ray Data."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from photos import photos

from maskrcnn.errors import UserError
from maskrcnn.scale.addresses import find_addresses
from maskrcnn.scale.batch_predictor import BatchPredictor
from maskrcnn.scale.ray_data import predict_on_ray
from maskrcnn.scale.shards import predict_shard

pytest.importorskip("ray")


@pytest.mark.usefixtures("one_thread")
def test_ray_writes_what_one_process_does(tmp_path: Path) -> None:
    found = find_addresses([str(photos(tmp_path / "photos", 5, broken=(0,)))])
    options = {"score": 0.05, "device": "cpu"}
    predict_shard(BatchPredictor("nuclei-mobilenet", **options), found, tmp_path / "one", block=2)  # type: ignore[arg-type]
    (tmp_path / "ray").mkdir()
    reached = []
    summary = predict_on_ray(
        "nuclei-mobilenet", options, found, tmp_path / "ray", block=2, progress=lambda *at: reached.append(at)
    )
    assert (summary.images, summary.failures, summary.resumed) == (5, 1, 0) and reached[-1] == (5, 5)
    one, other = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "ray"))
    assert one == other and len(one) == 4
    again = predict_on_ray("nuclei-mobilenet", options, found, tmp_path / "ray", block=2)
    assert (again.images, again.failures, again.resumed) == (5, 1, 5)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read")
def test_an_error_of_a_worker_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "photos", 2)
    (tmp_path / "photos" / "9.png").symlink_to("/proc/self/mem")  # Input/output error
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="photos/9.png: Input/output error; check the disk"):
        predict_on_ray("nuclei-mobilenet", {"device": "cpu"}, find_addresses(["photos"]), Path("out"))
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no machine of the cluster has a GPU"):
            predict_on_ray("nuclei-mobilenet", {"device": "cuda"}, find_addresses(["photos"]), Path("out"))
    with pytest.raises(UserError, match="no-such-model"):
        predict_on_ray("no-such-model", {"device": "cpu"}, find_addresses(["photos"]), Path("other"))


def test_processes_that_end_are_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*given: object) -> None:
        os._exit(1)

    found = find_addresses([str(photos(tmp_path / "photos", 2))])
    monkeypatch.setattr("maskrcnn.scale.ray_data._describe", end)
    with pytest.raises(
        UserError, match="--ray local: The worker died unexpectedly.*the same command goes on"
    ):
        predict_on_ray("nuclei-mobilenet", {"device": "cpu"}, found, tmp_path / "out")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://[::1]:1", "auto", "nonsense"])
def test_no_cluster_is_a_line_soon(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # what auto means
    found, start = find_addresses([str(photos(tmp_path / "photos", 2))]), time.monotonic()
    with pytest.raises(UserError, match="no cluster there"):
        predict_on_ray("nuclei-mobilenet", {}, found, tmp_path / "out", address=address)
    assert time.monotonic() - start < 30

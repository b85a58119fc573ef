"""Processes of a training that come and go."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from argparse import Namespace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import torch
from torch.distributed.elastic.rendezvous import RendezvousConnectionError

from maskrcnn.cli.main import main
from maskrcnn.errors import UserError
from maskrcnn.files import write_json
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.train.checkpoint import read_state
from maskrcnn.train.processes import follow_processes, together
from maskrcnn.train.run_folder import LAUNCHED, goes_on
from maskrcnn.train.setup import make_accelerator
from tiny_network import people, small_config, tiny_config, train_small

TIME = re.compile(r"time +: ([\d_:-]+)")
SCRIPT = Path(__file__).parent / "tiny_network.py"


@pytest.mark.parametrize(
    ("before", "accumulate", "now", "parts"),
    [
        (2, 1, 1, 2),
        (1, 2, 2, 1),
        (2, 2, 4, 1),
        (4, 1, 1, 4),
        (1, 1, 2, 1),
        (2, 1, 2, 1),
        (4, 1, 3, 1),
        (1, 4, 1, 4),
    ],
)
def test_parts_follow_the_processes(
    tmp_path: Path, before: int, accumulate: int, now: int, parts: int
) -> None:
    """No process takes more images at once than before, and the batch stays."""
    (tmp_path / "env.json").write_text(json.dumps({"processes": before}))
    (tmp_path / "config.yaml").write_text(f"train: {{batch: 8, accumulate: {accumulate}}}")
    config = tiny_config(batch=8, accumulate=1 if accumulate == 1 else 2)
    found, lines = follow_processes(config, tmp_path, now)
    assert (found.train.batch, found.train.lr) == (8, config.train.lr)
    assert found.train.accumulate == parts and len(lines) == (
        (before, accumulate) != (now, config.train.accumulate)
    )


@pytest.mark.parametrize("text", [None, "{", "{}", '{"processes": "2"}', "[]"])
def test_a_run_that_does_not_say_how_many_it_had_is_as_it_is(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "env.json").write_text(text)
    config = tiny_config()
    assert follow_processes(config, tmp_path, 3) == (config, [])


@pytest.mark.parametrize("name", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_sharded_weights_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "true")
    with pytest.raises(UserError, match=f"every process holds them whole; leave {name} out"):
        make_accelerator(tiny_config().train)


def test_what_is_restarted_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").touch()
    assert not goes_on(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert goes_on(tmp_path) and not goes_on(tmp_path / "new") and not goes_on(None)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert not goes_on(tmp_path)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="gloo"), together(tmp_path):  # no processes, so none has ended
        raise RuntimeError("gloo")


def test_wrong_commands_are_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["--run", str(tmp_path / "run")]
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "config.yaml").touch()
    first = ("--processes", "2", "--machines", "2")
    for words, line in {
        ("--processes", "2", "evaluate", "m", "data"): "several processes are for train",
        ("--processes", "2", "train", "data"): "--run: several processes must agree",
        ("--processes", "2", "train", "data", *run, "--epochs", "3"): "--set train.epochs=N",
        ("--processes", "2", "--machines", "2", "train", "data", *run): "give --rank and --address too",
        ("--processes", "2", "--rank", "0", "train", "data", *run): "with one neither",
        ("--processes", "2", "train", "data", "--run", str(tmp_path / "held")): "add --resume to continue it",
        ("--processes", "2", "--machines", "x", "train", "data", *run): "--machines x: write how many",
        ("--processes", "2", "--machines", "0", "train", "data", *run): "--machines 0: write how many",
        ("--processes", "2", "--machines", "4:1", "train", "data", *run): "--machines 4:1: write how many",
        (
            *first,
            "--rank",
            "2",
            "--address",
            "host",
            "train",
            "data",
            *run,
        ): "--rank 2: of 2 machines the last",
        (*first, "--rank", "0", "--address", "host:x", "train", "data", *run): "--address host:x: write HOST",
        (
            *first,
            "--rank",
            "0",
            "--address",
            "h:70000",
            "train",
            "data",
            *run,
        ): "--address h:70000: write HOST",
        (*first, "--rank", "0", "--address", "a b/c", "train", "data", *run): "--address a b/c: write HOST",
    }.items():
        assert main(["launch", *words]) == 2
        assert line in capsys.readouterr().err


def test_machines_that_do_not_meet_are_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait(arguments: Namespace) -> None:
        assert arguments.rdzv_endpoint == "[::1]:29400"
        raise RendezvousConnectionError("see inner exception") from OSError("timed out")

    monkeypatch.setattr("torch.distributed.run.run", wait)
    for name in (LAUNCHED, "OMP_NUM_THREADS"):  # which it sets: for this test alone
        monkeypatch.setenv(name, "1")
    where = ["--machines", "1:2", "--rank", "1", "--address", "[::1]"]
    words = ["launch", "--processes", "1", *where, "train", "data", "--run", str(tmp_path / "run")]
    assert main(words) == 2
    assert (
        "--address: the machines did not meet (timed out); start that of --rank 0" in capsys.readouterr().err
    )


def train_in(processes: int, run: Path, *kill: int) -> tuple[int, str]:
    """A training that is killed; its exit code and what it says."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launch, str(SCRIPT), str(run), "killed", *map(str, kill)],
        env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_two_then_one_then_two_processes_reach_the_weights_of_one(tmp_path: Path) -> None:
    """One of two is killed, and the other ends with a line; then the only one; two go on to the end."""
    run = tmp_path / "run"
    code, told = train_in(2, run, 1, 2)
    # of both processes, in whatever order torchrun tells them
    first, second = sorted(datetime.fromisoformat(each.replace("_", "T")) for each in TIME.findall(told))
    assert code and second - first < timedelta(seconds=30)
    # its own line; or torchrun ended it before it could notice
    line = "another process of this training has ended; it goes on with --resume"
    assert line in told or "SIGTERM" in told
    code, told = train_in(1, run, 0, 4)
    assert code and "before 2: the batch stays 4 and the rate too; train.accumulate=4, before 2" in told
    code, told = train_in(2, run, 2, 0)
    assert code == 0 and "train.accumulate=2, before 4" in told, told[-3000:]
    train_small(tmp_path / "one", accumulate=1)
    one, other = (read_state(folder / "state.pt") for folder in (tmp_path / "one", run))
    assert one["progress"]["iteration"] == other["progress"]["iteration"] == 5
    for name, tensor in one["model"].items():
        torch.testing.assert_close(other["model"][name], tensor, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_two_machines_reach_the_weights_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two launches that find each other by an address, here of one machine."""
    write_coco(people(), tmp_path / "labels.json", tmp_path / "images")
    write_json(tmp_path / "recipe.yaml", small_config(1).model_dump(mode="json", exclude_unset=True))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    train = ["train", "labels.json", "--recipe", "recipe.yaml", "--run", "two"]
    machines = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "maskrcnn", "launch", "--processes", "1", "--machines", "2"),
                *("--rank", str(rank), "--address", address, *train),
            ],
            env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    told = [machine.communicate(timeout=300)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], told
    assert "done in" in told[0] and "done in" not in told[1]
    assert json.loads((tmp_path / "two" / "env.json").read_text())["processes"] == 2
    monkeypatch.chdir(tmp_path)
    assert main([*train[:-1], "one"]) == 0
    one, other = (read_state(tmp_path / name / "state.pt")["model"] for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=1e-5, rtol=0)

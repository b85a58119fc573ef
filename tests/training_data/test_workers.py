"""Processes that load data: little shared memory, few open files, kills and signals."""

from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from maskrcnn.errors import DataError, RecordError, UserError
from maskrcnn.images.batch import Batch
from maskrcnn.training_data import workers
from maskrcnn.training_data.workers import WorkerLoader

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals")


class Numbers(Dataset[Tensor]):
    def __getitem__(self, index: int) -> Tensor:
        return torch.full((4, 5), float(index))


def collate(samples: list[Tensor]) -> tuple[Batch, list[int]]:
    sizes = torch.zeros(len(samples), 0)
    return Batch(torch.stack(samples), sizes, sizes, sizes), [int(sample[0, 0]) for sample in samples]


def loader(count: int = 12, processes: int = 2) -> WorkerLoader:
    batches = [[2 * index, 2 * index + 1] for index in range(count)]
    return WorkerLoader(Numbers(), batches, collate, processes, persistent=False)


def check(batches: list[Any], count: int = 12) -> None:
    assert [names for _, names in batches] == [[2 * index, 2 * index + 1] for index in range(count)]
    for batch, names in batches:
        assert batch.images[:, 0, 0].tolist() == names and batch.images.shape == (2, 4, 5)


@pytest.mark.parametrize("processes", [0, 2])
def test_batches_come_in_order(processes: int) -> None:
    check(list(loader(processes=processes)))


@posix
def test_a_full_shared_memory_sends_batches_through_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Tensor) -> Tensor:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"
        )

    monkeypatch.setattr(Tensor, "share_memory_", full)
    check(list(loader()))


@posix
def test_so_does_a_limit_of_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Tensor) -> Tensor:
        raise AssertionError("an open file for each tensor")

    monkeypatch.setattr(Tensor, "share_memory_", refused)
    monkeypatch.setattr(workers, "FEWEST_FILES", 1 << 62)
    monkeypatch.setattr("resource.getrlimit", lambda _: (40, 40))
    check(list(loader()))


@posix
def test_workers_never_free_what_the_parent_left_over(tmp_path: Path) -> None:
    class Left:
        """Such as an OpenVINO model: freed in a fork, it would wait for threads that are not there."""

        def __del__(self) -> None:
            (tmp_path / str(os.getpid())).touch()

    class Collecting(Numbers):
        def __getitem__(self, index: int) -> Tensor:
            gc.collect()
            return super().__getitem__(index)

    gc.collect()
    left = Left()
    left.itself = left  # type: ignore[attr-defined]
    del left
    batches = WorkerLoader(Collecting(), [[0, 1], [2, 3]], collate, 2, persistent=False)
    check(list(batches), 2)
    gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]


def test_no_room_for_the_locks_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(workers, "_try_locks", full)
    with pytest.raises(UserError, match=r"^data.workers=2: cannot be started: No space.*--shm-size=2g\)$"):
        iter(loader())


def processes_of(batches: Any) -> list[Any]:
    return batches.gi_frame.f_locals["source"]._workers


@posix
@pytest.mark.parametrize("waiting", [True, False])
def test_a_killed_worker_is_one_line_where_a_batch_is_waited_for(waiting: bool) -> None:
    batches: Any = iter(loader(1000))
    next(batches)
    worker = processes_of(batches)[0]
    time.sleep(0.5)  # it waits for work then: with a lock of torch's in its hand its parent would hang
    os.kill(worker.pid, signal.SIGKILL)
    if not waiting:  # nothing is raised in the midst of other work
        worker.join()
        for _ in range(100):
            time.sleep(0.001)
    with pytest.raises(UserError, match="worker was killed by signal 9.*data.workers.*--shm-size") as error:
        while True:
            next(batches)
    assert "\n" not in str(error.value)


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_leave_signals_to_their_parent(number: signal.Signals) -> None:
    batches: Any = iter(loader())
    found = [next(batches)]
    for worker in processes_of(batches):
        subprocess.run(["kill", f"-{number}", str(worker.pid)], check=True)
    check(found + list(batches))


@posix
def test_workers_end_when_their_parent_says_so() -> None:
    batches: Any = iter(loader(1000))
    next(batches)
    for worker in processes_of(batches):
        worker.terminate()
        worker.join(10)
        assert worker.exitcode == 0


@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize(
    "error",
    [
        UserError("/cache: cannot be written"),
        DataError("a.jpg: torn"),
        RecordError("a.json", "is bad", "mend it"),
    ],
)
def test_what_a_data_set_refuses_leaves_a_worker_as_it_is(error: UserError, processes: int) -> None:
    class Refusing(Numbers):
        def __getitem__(self, index: int) -> Tensor:
            if index == 3:
                raise error
            return super().__getitem__(index)

    batches = iter(WorkerLoader(Refusing(), [[0, 1], [2, 3]], collate, processes, persistent=False))
    next(batches)
    with pytest.raises(type(error)) as caught:
        next(batches)
    assert str(caught.value) == str(error) and type(caught.value) is type(error)


@posix
@pytest.mark.parametrize("error", [ValueError("augment: made float32"), FileNotFoundError("no font")])
def test_a_mistake_in_a_worker_is_not_told_as_a_killed_one(error: Exception) -> None:
    class Wrong(Numbers):
        def __getitem__(self, index: int) -> Tensor:
            raise error

    with pytest.raises(type(error), match=f"(?s)worker process 0.*Traceback.*__getitem__.*{error}"):
        next(iter(WorkerLoader(Wrong(), [[0, 1]], collate, 1, persistent=False)))

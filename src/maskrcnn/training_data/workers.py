"""Processes that load data, and what ends them: little shared memory, a kill, a signal to the whole group.

A batch comes from a worker in shared memory (`/dev/shm`) or, where that has no room for it, through the
worker's pipe, which is slower and always works. Docker gives `/dev/shm` 64 MB unless told otherwise.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torch.utils.data._utils import signal_handling

from maskrcnn.errors import UserError
from maskrcnn.stop import SIGNALS, unstopped_children
from maskrcnn.system_errors import refusal

FEWEST_FILES = 256  # that may be open, for tensors in shared memory: each is an open file
DYING = 0.5  # seconds
DEAD = "DataLoader worker (pid"  # how torch begins to tell of a worker that has ended
CHILD_ENDED = getattr(signal, "SIGCHLD", None)  # Windows has none
REMEDY = "use fewer data.workers (0: none), or give /dev/shm more room (docker run --shm-size=2g)"


class WorkerLoader(DataLoader[Any]):
    """A DataLoader of batches of tensors. Where a worker cannot go on it ends in one line; it never hangs."""

    def __init__(
        self,
        dataset: Dataset[Any],
        batches: Iterable[list[Any]],
        collate: Callable[..., Any],
        workers: int,
        persistent: bool,
    ) -> None:
        super().__init__(
            _Refusing(dataset),
            batch_sampler=batches,  # type: ignore[arg-type]
            collate_fn=partial(_send, collate),
            num_workers=workers,
            persistent_workers=persistent and workers > 0,
            worker_init_fn=_begin,
            pin_memory=torch.cuda.is_available(),
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """
        Raises:
            UserError: on the first batch or a later one: a worker was killed or could not be started, or what
                the data set raised in a worker. Any other error of the data set has the worker's traceback in
                its text.
        """
        if not self.num_workers:
            return super().__iter__()
        try:
            _try_locks(self.num_workers)
            with unstopped_children(), _garbage_stays_here():
                source = super().__iter__()
        except (OSError, RuntimeError) as error:
            refused = refusal(error)
            if refused is None:
                raise
            raise UserError(
                f"data.workers={self.num_workers}: cannot be started: {refused[1]}; {REMEDY}"
            ) from None
        return _received(source)

    def check_worker_number_rationality(self) -> None:
        """Say nothing where there are fewer cores than `data.workers`: torch warns even of our default."""


def _try_locks(workers: int) -> None:
    """Make as many locks as the workers' queues will: where one fails, torch leaves a half-made loader."""
    context = torch.multiprocessing.get_context()
    locks = [context.Lock() for _ in range(4 * workers + 16)]
    del locks


@contextmanager
def _garbage_stays_here() -> Iterator[None]:
    """Processes that are forked inside never free what this one has left over.

    A fork has no thread but one, and an OpenVINO model that is freed there waits for its threads for ever.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True)
class _Pickled:
    """A batch on its way through the pipe."""

    content: bytes


@dataclass(frozen=True)
class _Refused:
    """What a worker has in place of a sample. torch would send the error with its traceback as its text."""

    error: UserError


class _Refusing(Dataset[Any]):
    """A data set whose refusals come as samples, so that they leave a worker as they are."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.dataset[key]
        except UserError as error:
            if get_worker_info() is None:
                raise
            return _Refused(error)


def _begin(worker: int) -> None:
    """A worker's start. It has one thread for its work: workers are parallel among each other already."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=_end_for_parent, daemon=True).start()
    elif hasattr(
        signal, "pthread_sigmask"
    ):  # macOS: a kill of the group ends workers too, and the parent saves
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _end_for_parent() -> None:
    """End this worker at a SIGTERM from its parent. Others mean the group, whose parent saves first."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _send(collate: Callable[..., Any], samples: Any) -> Any:
    """A batch; from a worker in shared memory or, where there is no room for it, pickled.

    Done here and not by the queue, whose thread would drop what it cannot send and leave the parent waiting.
    """
    refused = next((sample for sample in samples if isinstance(sample, _Refused)), None)
    if refused is not None:
        return refused
    batch = collate(samples)
    if get_worker_info() is None:
        return batch
    try:
        if not _many_files():
            return _Pickled(pickle.dumps(batch))
        for tensor in _tensors(batch):
            if tensor.numel():
                tensor.share_memory_()
        return batch
    except RuntimeError:  # torch's for a full /dev/shm
        return _Pickled(pickle.dumps(batch))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _many_files() -> bool:
    """Whether this process may open as many files as tensors in shared memory want."""
    try:
        import resource
    except ImportError:  # Windows
        return True
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most == resource.RLIM_INFINITY or most >= FEWEST_FILES


def _received(source: Any) -> Iterator[Any]:
    with _quiet_deaths() as watched:
        while True:
            try:
                with watched():
                    batch = next(source)
            except StopIteration:
                return
            except Exception as error:
                if isinstance(
                    error, OSError | EOFError
                ):  # its connection breaks before it is seen to be dead
                    for worker in source._workers:
                        worker.join(DYING)
                ended = [worker.exitcode for worker in source._workers if worker.exitcode]
                if not ended and DEAD not in str(error):  # of the data set, or a mistake of ours
                    raise
                _abandon(source)
                raise UserError(_death(ended)) from None
            if isinstance(batch, _Refused):
                raise batch.error
            yield pickle.loads(batch.content) if isinstance(batch, _Pickled) else batch  # noqa: S301  # our own


def _abandon(source: Any) -> None:
    """End the other workers without the locks that a dead one may hold."""
    signal_handling._remove_worker_pids(id(source))
    source._worker_pids_set, source._shutdown = False, True
    for worker in source._workers:
        worker.kill()
        worker.join()


def _death(codes: list[int]) -> str:
    by = f" by signal {-codes[0]}" if codes and codes[0] < 0 else ""
    return (
        f"a data-loading worker was killed{by}, for want of memory perhaps: use fewer data.workers or a "
        "smaller train.batch, give it more memory, or /dev/shm more room (docker run --shm-size=2g)"
    )


@contextmanager
def _quiet_deaths() -> Iterator[Callable[[], Any]]:
    """A worker's death raises an error while a batch is waited for, and not in the midst of a step or a save.

    torch raises it wherever the signal comes; without it, a worker that died within a message would be waited
    for without end.
    """
    if CHILD_ENDED is None or threading.current_thread() is not threading.main_thread():
        yield nullcontext
        return
    before = signal.signal(CHILD_ENDED, signal.SIG_DFL)

    @contextmanager
    def watched() -> Iterator[None]:
        assert CHILD_ENDED is not None
        signal.signal(CHILD_ENDED, lambda *_: signal_handling._error_if_any_worker_fails())
        try:
            signal_handling._error_if_any_worker_fails()  # of those that died meanwhile
            yield
        finally:
            signal.signal(CHILD_ENDED, signal.SIG_DFL)

    try:
        yield watched
    finally:
        signal.signal(CHILD_ENDED, before)

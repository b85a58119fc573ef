"""The same blocks, shared out by Ray Data: it starts the processes on all machines, and does what was on a
machine that ended on another.

A row of Ray's is a block. So a part has its name before its images are read, and a block that Ray does twice
is the same part.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskrcnn.errors import DataError, UserError, one_line
from maskrcnn.files import make_folder
from maskrcnn.progress import Progress
from maskrcnn.scale.addresses import Addresses
from maskrcnn.scale.limit import Limit
from maskrcnn.scale.parts import Run, ShardSummary, missing_blocks, open_run, read_run
from maskrcnn.shell import counted
from maskrcnn.stop import telling
from maskrcnn.system_errors import refusal
from maskrcnn.tuning import tune

if TYPE_CHECKING:
    from maskrcnn.scale.batch_predictor import BatchPredictor


Model = tuple[str, dict[str, Any], str]  # weights, options and the folder that relative paths are from


class BlockWorker:
    """A process of Ray's: writes the parts of the blocks that it is given."""

    def __init__(self, model: Model, folder: str) -> None:
        """
        Args:
            folder: of the run.
        """
        self.model, self.folder = model, folder

    @cached_property
    def loaded(self) -> tuple[BatchPredictor, Run]:
        """At the first block: what goes wrong before, Ray makes another error of.

        Raises:
            UserError: its weights or settings are not those of the run in the folder.
        """
        from maskrcnn.scale.shards import describe

        predictor, run = _load(*self.model), read_run(Path(self.folder))
        differ = [name for name, value in describe(predictor).items() if run.record.get(name) != value]
        if differ:
            raise UserError(f"the model has other {' and '.join(differ)} on a machine of the cluster")
        return predictor, run

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"block": row["block"], "failures": 0, **_answer(partial(self._do, row))}

    def _do(self, row: dict[str, Any]) -> dict[str, Any]:
        from maskrcnn.scale.shards import predict_block

        block = int(row["block"])
        predictor, run = self.loaded
        failures = run.failures(block)
        if failures is None:
            failures = predict_block(predictor, run, block, row["addresses"].split("\n"))
        return {"failures": failures}


def _load(weights: str, options: Mapping[str, Any], here: str) -> BatchPredictor:
    """The model, in a process of Ray's.

    Raises:
        UserError: as `BatchPredictor`.
    """
    from maskrcnn.scale.batch_predictor import BatchPredictor

    tune()  # the process is ours
    if os.path.isdir(here):  # a machine that has only what is on the network needs none
        os.chdir(here)
    return BatchPredictor(weights, **options)


def _describe(weights: str, options: Mapping[str, Any], here: str) -> dict[str, Any]:
    """In a process of Ray's, since this one needs neither PyTorch's memory nor a GPU."""
    from maskrcnn.scale.shards import describe

    return _answer(lambda: {"predictor": describe(_load(weights, options, here))})


def _answer(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a process of Ray's says of some work; of an error that it raised, Ray would make another."""
    line, of_data, found = "", False, dict[str, Any]()
    try:
        found = work()
    except (UserError, OSError) as error:
        line, of_data = str(error), isinstance(error, DataError)
        if not isinstance(error, UserError) and (refused := refusal(error)):
            line = refused[1]
    return {**found, "error": line, "of_data": of_data}


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    """
    Raises:
        UserError, DataError: those that the process met.
    """
    if answer["error"]:
        raise (DataError if answer["of_data"] else UserError)(answer["error"])
    return answer


def predict_on_ray(
    weights: str,
    options: Mapping[str, Any],
    found: Addresses,
    out: Path,
    *,
    address: str = "local",
    block: int = 256,
    limit: Limit | None = None,
    progress: Progress | None = None,
) -> ShardSummary:
    """Predict all blocks that have no part on a cluster of Ray, a process a CPU or, with a device "cuda", a
    GPU.

    Args:
        weights, options: as `BatchPredictor` takes them; every machine must have the same.
        out: a folder that all machines share.
        address: of the cluster; "local" starts one on this machine, "auto" takes the running one.
        block, limit: as `predict_shard` takes them.

    Raises:
        UserError: Ray is not installed, there is no cluster, or `out` has parts of another run.
        DataError: more images than `limit` could not be read, or parts are missing at the end.
    """
    if find_spec("ray") is None:
        raise UserError("--ray: needs Ray; pip install 'maskrcnn[ray]'")
    make_folder(out)
    summary = ShardSummary()

    def line() -> str:
        return f"{summary.images} of {len(found)} images are done: {out}; the same command goes on"

    with telling(line), _cluster(address):
        model = (weights, dict(options), os.getcwd())
        run = open_run(out.resolve(), found, block, _described(model))
        missing = missing_blocks(run)
        there = set(run.blocks) - set(missing)
        summary.images = summary.resumed = sum(len(run.places(number)) for number in there)
        summary.failures = sum(run.failures(number) or 0 for number in there)
        items = [{"block": number, "addresses": found.lines(run.places(number))} for number in missing]
        for row in _results(items, model, str(run.folder)):
            summary.images += len(run.places(row["block"]))
            summary.failures += row["failures"]
            if progress:
                progress(summary.images, run.images)
            if limit:
                limit.check(summary.failures, run.images)
    if lost := missing_blocks(run):
        raise DataError(f"{out}: Ray ended without {counted(len(lost), 'part')}; the same command goes on")
    summary.capped = sum(map(run.capped, run.blocks))
    return summary


def _described(model: Model) -> dict[str, Any]:
    """What run.json says of the model.

    Raises:
        UserError: as `BatchPredictor`, or no machine has a GPU where one is wanted.
    """
    import ray

    if "num_gpus" in _needs(model) and not ray.cluster_resources().get("GPU"):  # it would wait for one
        raise UserError("--device cuda: no machine of the cluster has a GPU; add one, or leave it out")
    answer = ray.get(ray.remote(**_needs(model))(_describe).remote(*model))
    return dict(_checked(answer)["predictor"])


def _results(items: list[dict[str, Any]], model: Model, folder: str) -> Iterator[dict[str, Any]]:
    """What the workers say of each block, as it is done."""
    import ray

    if not items:
        return
    work = ray.data.from_items(items, override_num_blocks=len(items)).map(
        BlockWorker,
        fn_constructor_args=[model, folder],
        compute=ray.data.ActorPoolStrategy(min_size=1),
        **_needs(model),
    )
    for row in work.iter_rows():
        yield _checked(row)


def _needs(model: Model) -> dict[str, int]:
    """What a process of Ray's needs to run the model."""
    gpu = (model[1].get("device") or "").startswith("cuda")
    return {"num_gpus": 1} if gpu else {"num_cpus": 1}


def _refuse_closed(address: str) -> None:
    """
    Raises:
        OSError: nothing listens there, for which Ray would wait long.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "")
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():  # of other forms Ray says what is wrong
        socket.create_connection((host.strip("[]"), int(port)), timeout=20).close()


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    """Ray, connected inside.

    Raises:
        UserError: there is no cluster at `address`, or its processes end again and again.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it tells its makers otherwise
    for name, level in {"RAY_DATA_LOG_LEVEL": "CRITICAL", "RAY_BACKEND_LOG_LEVEL": "fatal"}.items():
        os.environ.setdefault(name, level)  # a raised error says the same
    if address != "local":
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # it tries for five minutes otherwise
    import ray

    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        _refuse_closed(address)
        if address == "local":
            ray.init(address="local", include_dashboard=False, **options)
        else:
            ray.init(address=address, **options)
    except Exception as error:  # noqa: BLE001  # of a machine too busy it raises Exception itself
        remedy = "start one with ray start --head"
        if address == "local":  # Ray waits 15 s for its own processes to import
            remedy = "try again when the machine is less busy"
        raise UserError(f"--ray {address}: no cluster there ({one_line(error):.120}); {remedy}") from None
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    except ray.exceptions.RayError as error:  # a process of it ended, as for want of memory, more than once
        raise UserError(f"--ray {address}: {one_line(error):.200}; the same command goes on") from None
    finally:
        ray.shutdown()

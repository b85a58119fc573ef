"""The same blocks, shared out by Ray Data: it starts the processes on all machines, and does what was on a
machine that ended on another.

A row of Ray's is a block. So a part has its name before its images are read, and a block that Ray does twice
is the same part.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from maskrcnn.errors import DataError, UserError, one_line
from maskrcnn.predict.files import make_folder
from maskrcnn.progress import Progress
from maskrcnn.scale.addresses import Addresses
from maskrcnn.scale.batch_predictor import BatchPredictor
from maskrcnn.scale.parts import Run, missing_blocks, open_run, read_run
from maskrcnn.scale.shards import Limit, ShardSummary, describe, describe_predictor, predict_block
from maskrcnn.shell import counted
from maskrcnn.stop import telling
from maskrcnn.system_errors import refusal
from maskrcnn.tuning import tune


class BlockWorker:
    """A process of Ray's: writes the parts of the blocks that it is given."""

    def __init__(self, weights: str, options: Mapping[str, Any], folder: str, here: str) -> None:
        """
        Args:
            here: the folder that relative paths are from.
        """
        tune()  # the process is ours
        self.weights, self.options, self.folder = weights, options, folder
        if os.path.isdir(here):  # a machine that has only what is on the network needs none
            os.chdir(here)

    @cached_property
    def loaded(self) -> tuple[BatchPredictor, Run]:
        """At the first block: what goes wrong before, Ray makes another error of.

        Raises:
            UserError: its weights or settings are not those of the run in the folder.
        """
        predictor, run = BatchPredictor(self.weights, **self.options), read_run(Path(self.folder))
        own = describe_predictor(predictor)
        differ = [name for name, value in own.items() if run.record.get(name) != value]
        if differ:
            raise UserError(f"{self.weights}: has other {' and '.join(differ)} on a machine of the cluster")
        return predictor, run

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        block, failures, line, of_data = int(row["block"]), 0, "", False
        try:
            predictor, run = self.loaded
            done = run.done(block)
            failures = done[1] if done else predict_block(predictor, run, block, list(row["addresses"]))
        except (UserError, OSError) as error:  # Ray would make another error of it
            line, of_data = str(error), isinstance(error, DataError)
            if not isinstance(error, UserError) and (refused := refusal(error)):
                line = refused[1]
        return {"block": block, "failures": failures, "error": line, "of_data": of_data}


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
    run = open_run(out.resolve(), describe(BatchPredictor(weights, **options), found, block))
    missing = missing_blocks(run)
    there = set(run.blocks) - set(missing)
    summary = ShardSummary(images=sum(len(run.places(number)) for number in there))
    summary.resumed = summary.images
    summary.failures = sum(done[1] for number in there if (done := run.done(number)))
    items = []
    for number in missing:
        places = run.places(number)
        items.append({"block": number, "addresses": found.images[places.start : places.stop]})

    def line() -> str:
        return f"{summary.images} of {run.images} images are done: {out}; the same command goes on"

    with telling(line), _cluster(address):
        arguments = [weights, dict(options), str(run.folder), os.getcwd()]
        for row in _results(items, arguments, options.get("device")):
            summary.images += len(run.places(row["block"]))
            summary.failures += row["failures"]
            if progress:
                progress(summary.images, run.images)
            if limit:
                limit.check(summary.failures, run.images)
    if lost := missing_blocks(run):
        raise DataError(f"{out}: Ray ended without {counted(len(lost), 'part')}; the same command goes on")
    return summary


def _results(
    items: list[dict[str, Any]], arguments: list[Any], device: str | None
) -> Iterator[dict[str, Any]]:
    """What the workers say of each block, as it is done."""
    import ray

    if not items:
        return
    gpu = (device or "").startswith("cuda")
    work = ray.data.from_items(items, override_num_blocks=len(items)).map(
        BlockWorker,
        fn_constructor_args=arguments,
        compute=ray.data.ActorPoolStrategy(min_size=1),
        **({"num_gpus": 1} if gpu else {"num_cpus": 1}),
    )
    for row in work.iter_rows():
        if row["error"]:
            raise (DataError if row["of_data"] else UserError)(row["error"])
        yield row


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
        UserError: there is no cluster at `address`.
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
    finally:
        ray.shutdown()

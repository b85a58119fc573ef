"""Trainings of several processes, which come and go: what each may count on, and what ends them all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import distributed

from maskrcnn.config.load import Config
from maskrcnn.errors import UserError
from maskrcnn.safe_files import parse_json, parse_yaml
from maskrcnn.shell import shell_command

SHARDED = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
# how the exchange says that another process has gone
GONE = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe")


def refuse_sharded_weights() -> None:
    """
    Raises:
        UserError: accelerate was told to shard the weights over the processes.
    """
    for name, title in SHARDED.items():
        if os.environ.get(name, "").lower() in ("1", "true", "yes"):
            raise UserError(
                f"{title}: these networks have 4 to 110 M parameters, which with gradients and momentum take"
                f" 2 GB at most, so every process holds them whole; leave {name} out"
            )


def follow_processes(config: Config, run: Path, processes: int) -> tuple[Config, list[str]]:
    """The settings for another number of processes than the run had before: the same batch, and so the same
    rate, in parts that are no larger than before.

    Returns:
        The settings, and a line where something changed.
    """
    try:
        before = int(parse_json(run / "env.json", "")["processes"])
        recorded = parse_yaml(run / "config.yaml")["train"]
        parts = int(recorded["accumulate"])
        largest = max(1, int(recorded["batch"]) // (before * parts))
    # a run that was killed at once, or that somebody edited: nothing to follow
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError, UserError):
        return config, []
    batch, now = config.train.batch, config.train.accumulate
    if now > parts or (before, parts) == (processes, now):
        return config, []
    fits = (n for n in range(1, batch // processes + 1) if batch % (processes * n) == 0)
    follows = next((n for n in fits if batch // (processes * n) <= largest), now)
    train = config.train.model_copy(update={"accumulate": follows})
    line = (
        f"{processes} processes, before {before}: the batch stays {batch} and the rate too;"
        f" train.accumulate={follows}, before {parts}"
    )
    return config.model_copy(update={"train": train}), [line]


@contextmanager
def together(run: Path) -> Iterator[None]:
    """Inside, the end of another process of the training is one line."""
    try:
        yield
    except UserError:
        raise
    except (distributed.DistError, RuntimeError) as error:
        if not distributed.is_initialized() or not _is_gone(error):
            raise
        again = shell_command(["--resume", "--run", str(run)])
        raise UserError(f"another process of this training has ended; it goes on with {again}") from error


def leave_gloo() -> None:
    """End the exchange before Python ends, whose end gloo's threads now and then make an abort."""
    if distributed.is_initialized() and distributed.get_backend() == distributed.Backend.GLOO:
        distributed.destroy_process_group()


def _is_gone(error: Exception) -> bool:
    words = str(error).lower()
    return isinstance(error, distributed.DistError) or any(each in words for each in GONE)

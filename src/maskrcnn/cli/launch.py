"""`maskrcnn launch`: several processes of a training, by torchrun."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from maskrcnn.environment import usable_cores
from maskrcnn.errors import DataError, UserError, one_line

ONE_MACHINE = "1"
PORT = 29400


def launch(
    context: typer.Context,
    words: Annotated[
        list[str], typer.Argument(metavar="train DATA ...", help="The training, as without launch.")
    ],
    processes: Annotated[int, typer.Option(min=1, help="On each machine, as many as it has GPUs.")],
    machines: Annotated[
        str, typer.Option(metavar="N|LOW:HIGH", help="How many take part; LOW:HIGH, as many as there are.")
    ] = ONE_MACHINE,
    rank: Annotated[
        int | None, typer.Option(min=0, help="Which of the machines this is; 0 is the one at --address.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="HOST[:PORT]", help="Where machine 0 is found by the others.")
    ] = None,
    restarts: Annotated[
        int,
        typer.Option(min=0, help="How often to restart all from the last saved state when one ends early."),
    ] = 0,
) -> None:
    """Train with several processes, on one machine or many."""
    run = _run_folder(context, words)
    most = _most_machines(machines)
    several = most > 1
    if (rank is not None, address is not None) != (several, several):
        raise UserError("--machines: with more than one give --rank and --address too, with one neither")
    if rank is not None and rank >= most:
        raise UserError(f"--rank {rank}: of {most} machines the last is {most - 1}")
    place = None if address is None else _place(address)
    from maskrcnn.train.run_folder import LAUNCHED, refuse_folder

    if not rank:  # the other machines may come later, to a run that has begun
        refuse_folder(run, "--resume" in words)
    os.environ[LAUNCHED] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    options = ["--nproc-per-node", str(processes), "--nnodes", machines, "--max-restarts", str(restarts)]
    if place is None:
        options.append("--standalone")
    else:
        options += ["--rdzv-backend", "c10d", "--rdzv-endpoint", place, "--rdzv-id", run.name]
        options += ["--rdzv-conf", f"is_host={rank == 0}"]
    _start(options, words)


def _run_folder(context: typer.Context, words: list[str]) -> Any:
    """The run's folder, once the command is known to be one, and not only by each process."""
    if words[0] != "train":
        raise UserError(f"launch {words[0]:.40}: several processes are for train")
    group = context.parent
    assert group is not None
    train: Any = group.command.get_command(group, "train")  # type: ignore[attr-defined]
    run = train.make_context("train", list(words[1:]), parent=group).params["run"]
    if run is None:
        raise UserError("--run: several processes must agree on the run folder, so name it: --run FOLDER")
    return run


def _most_machines(text: str) -> int:
    found = re.fullmatch(r"(\d{1,4})(?::(\d{1,4}))?", text)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= low <= high:
        raise UserError(f"--machines {text:.40}: write how many, as in 4, or from how many to how many, 1:4")
    return high


def _place(address: str) -> str:
    """HOST:PORT."""
    try:
        parts = urlsplit(f"//{address}")
        if parts.hostname and parts.netloc == address:
            return address if parts.port else f"{address}:{PORT}"
    except ValueError:
        pass
    raise UserError(f"--address {address:.80}: write HOST or HOST:PORT")


def _start(options: list[str], words: list[str]) -> None:
    """Run torchrun to its end.

    Raises:
        UserError, DataError: a process ended early; with the exit code that it had. Or the machines did not
            find each other.
        SystemExit: a signal ended all.
    """
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError

    arguments = torchrun.get_args_parser().parse_args([*options, "-m", "maskrcnn"])
    arguments.training_script_args = words
    try:
        torchrun.run(arguments)
    except SignalException as stop:
        raise SystemExit(128 + stop.sigval) from None
    except RendezvousError as error:
        raise UserError(
            f"--address: the machines did not meet ({one_line(error.__cause__ or error):.120}); start that "
            "of --rank 0, and name it as the others reach it, with a port that is free there"
        ) from None
    except ChildFailedError as error:
        first, failure = error.get_first_failure()
        if failure.exitcode == DataError.exit_code:
            raise DataError(f"process {first} ended; its line is above") from None
        if failure.exitcode == UserError.exit_code:
            raise UserError(f"process {first} ended; its line is above") from None
        how = f"code {failure.exitcode}" if failure.exitcode > 0 else failure.signal_name()
        raise UserError(
            f"process {first} ended with {how}, and the others with it; the same command with --resume goes"
            " on"
        ) from None

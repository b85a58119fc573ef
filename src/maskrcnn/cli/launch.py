"""`maskrcnn launch`: several processes of a training, by torchrun."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from maskrcnn.environment import usable_cores
from maskrcnn.errors import DataError, UserError

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
        int, typer.Option(min=0, help="How often all go on from the last state when one ends early.")
    ] = 0,
) -> None:
    """Train with several processes, on one machine or many."""
    run = _checked(context, words)
    several = machines != ONE_MACHINE
    if (rank is not None, address is not None) != (several, several):
        raise UserError("--machines: with more than one give --rank and --address too, with one neither")
    from maskrcnn.train.run_folder import LAUNCHED, refuse_folder

    if not rank:  # the other machines may come later, to a run that has begun
        refuse_folder(run, "--resume" in words)
    os.environ[LAUNCHED] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    options = ["--nproc-per-node", str(processes), "--nnodes", machines, "--max-restarts", str(restarts)]
    if address is None:
        options.append("--standalone")
    else:
        place = address if ":" in address else f"{address}:{PORT}"
        options += ["--rdzv-backend", "c10d", "--rdzv-endpoint", place, "--rdzv-id", run.name]
        options += ["--rdzv-conf", f"is_host={rank == 0}"]
    _start(options, words)


def _checked(context: typer.Context, words: list[str]) -> Any:
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


def _start(options: list[str], words: list[str]) -> None:
    """Run torchrun to its end.

    Raises:
        UserError, DataError: a process ended early; with the exit code that it had.
        SystemExit: a signal ended all.
    """
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    arguments = torchrun.get_args_parser().parse_args([*options, "-m", "maskrcnn"])
    arguments.training_script_args = words
    try:
        torchrun.run(arguments)
    except SignalException as stop:
        raise SystemExit(128 + stop.sigval) from None
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

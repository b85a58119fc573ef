"""`maskrcnn reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskrcnn.cli.common import Settings, one_of, say, seconds_of, share_of
from maskrcnn.cli.outputs import check_outputs
from maskrcnn.errors import UserError
from maskrcnn.shell import first_of

if TYPE_CHECKING:
    from maskrcnn.reproduce.runs import Plan, Study
    from maskrcnn.reproduce.table import Table

TIMED_ROUNDS = 7


def reproduce(
    table: Annotated[
        str,
        typer.Option(
            metavar="TABLE",
            autocompletion=one_of(
                *("2a", "2b", "2c", "2d", "2e", "3", "5", "6", "agnostic", "resolution", "frozen"),
                *("timing", "all"),
            ),
            help="A table of the paper (2a to 2e, 3, 5, 6), or agnostic, resolution, frozen, timing, all.",
        ),
    ] = "2d",
    data: Annotated[
        str | None,
        typer.Option(
            help="Labelled images with a val split. [default: generated images that suit the table]"
        ),
    ] = None,
    set_: Settings = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="30m|2h", help="Time for a table's trainings and evaluations. [default: 30m]"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of each training, equal on any machine, in place of --budget."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 3,
    only: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Of N processes that share the work, do the I-th's part."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs and reports.")] = Path("reproduced"),
) -> None:
    """Measure what the paper claims, on your data or on generated images."""
    check_outputs(out, kind="folder")
    if budget and steps:
        raise UserError("--budget and --steps: give one of them")
    share = share_of("--only", only or "1/1")
    minutes = None if steps else seconds_of("--budget", budget or "30m") / 60
    from maskrcnn.reproduce.summary import write_summary
    from maskrcnn.reproduce.table import names, read_table

    wanted = [*names(), "timing"] if table == "all" else [table]
    if wanted == ["timing"] and (set_ or data):
        raise UserError(f"{'--set' if set_ else '--data'}: timing trains nothing; leave it out")
    # refused before the work
    tables = {name: read_table(name).with_overrides(set_ or []) for name in wanted if name != "timing"}
    for name, one in tables.items():
        study = _study(one, name, data, out / name)
        _measure(study, study.plan(minutes, steps, seeds, say), share)
        write_summary(out)
    if "timing" in wanted and share[0] == 1:
        _time(out / "timing")


def _study(table: Table, name: str, data: str | None, out: Path) -> Study:
    from maskrcnn.reproduce.data import open_data
    from maskrcnn.reproduce.runs import Study

    print(f"table {name}: {table.title}")
    train_data, val_data, source = open_data(table, data)
    return Study(table, train_data, val_data, out, source)


def _measure(study: Study, plan: Plan, share: tuple[int, int]) -> None:
    from maskrcnn.reproduce.report import sentence, write_report

    missing = study.run(plan, share, say)
    if missing:
        print(f"not done yet: {first_of(missing, 1)}; run the same again, or the other parts of --only")
        return
    for outcome in write_report(study, plan):
        print(sentence(outcome))
    print(f"report: {study.folder / 'report.html'}")


def _time(out: Path) -> None:
    from maskrcnn.files import write_json
    from maskrcnn.reproduce.timing import PAPER, measure
    from maskrcnn.train.run_folder import environment

    measured = measure(TIMED_ROUNDS, say) | {"environment": environment(1)}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "report.json", measured)
    for name, (_, middle, _) in measured["milliseconds"].items():
        print(f"{name}: {middle:.0f} ms")
    for name, (low, middle, high) in measured["adds percent"].items():
        print(f"{name} adds {middle:.1f}% ({low:.1f} to {high:.1f}, quartiles)")
    print(f"the paper: {PAPER}; report: {out / 'report.json'}")

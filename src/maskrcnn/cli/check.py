"""`maskrcnn check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskrcnn.cli.common import (
    AUTO,
    RECIPES,
    ClassAttribute,
    ClassName,
    Data,
    Images,
    LabelSettings,
    SplitParts,
    label_options,
    recipe_names,
    told_progress,
)
from maskrcnn.cli.outputs import check_outputs, files_of
from maskrcnn.errors import DataError
from maskrcnn.shell import printable

if TYPE_CHECKING:
    from maskrcnn.check.fix import Fixed


def check(
    data: Data,
    json: Annotated[Path | None, typer.Option(help="Write the report to this file as JSON.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the report to this file as a page with images.")
    ] = None,
    val: Annotated[
        str | None,
        typer.Option(help="Labelled images to check as the val split. [default: the val split of DATA]"),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar=RECIPES,
            autocompletion=recipe_names,
            help="Give advice on this recipe. [default: the one that fits]",
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Read images with so many channels, as model.input.channels does."
        ),
    ] = None,
    fix: Annotated[
        Path | None, typer.Option(help="Write a repaired copy of DATA to this new folder.")
    ] = None,
    class_name: ClassName = None,
    images: Images = None,
    class_attribute: ClassAttribute = None,
    split_parts: SplitParts = False,
    set_: LabelSettings = None,
    steps: Annotated[bool, typer.Option(help="Run two training steps to measure time and memory.")] = True,
) -> None:
    """Find mistakes in labelled images before a training does."""
    recipe = None if recipe == AUTO else recipe
    check_outputs(json, html, inputs=[data, val])
    check_outputs(fix, kind="new folder")
    from maskrcnn.check.fix import write_fixed
    from maskrcnn.check.run import check as run_check
    from maskrcnn.check.run import write_reports
    from maskrcnn.check.terminal import print_report

    def reached(done: int, total: int | None) -> str:
        return f"{done} of {total} images were looked at, and no report is written" if total else ""

    with told_progress("checking", reached) as progress:
        report = run_check(
            data,
            val=val,
            recipe=recipe,
            channels=channels,
            options=label_options(class_name, images, class_attribute, split_parts, set_, recipe),
            measured=steps,
            progress=progress,
        )
    check_outputs(json, html, inputs=files_of(*report.datasets.values()))
    print_report(report)
    write_reports(report, json, html)
    if fix is not None:
        _print_fixed(write_fixed(report, fix))
    if report.exit_code:
        raise DataError(report.verdict)


def _print_fixed(fixed: Fixed) -> None:
    for path in fixed.written:
        print(printable(f"repaired copy: {path}"))
    for change, count in fixed.changes.items():
        print(printable(f"  {change}: {count}"))

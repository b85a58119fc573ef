"""`maskrcnn split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskrcnn.cli.common import (
    ClassAttribute,
    ClassName,
    Data,
    Images,
    LabelSettings,
    SplitParts,
    choice,
    label_options,
    progress_bar,
    tell_repairs,
)
from maskrcnn.cli.outputs import check_outputs
from maskrcnn.shell import printable


def split(
    data: Data,
    out: Annotated[Path, typer.Option(help="A new folder for train.json, val.json and test.json.")],
    val: Annotated[float, typer.Option(min=0, max=1, help="Share of the images to evaluate on.")] = 0.2,
    test: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the images to keep for a final test.")
    ] = 0.0,
    by: Annotated[
        str,
        choice(
            "random|stratified|group", "stratified: each class in equal shares; group: groups stay together."
        ),
    ] = "random",
    group_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="The part of the file name in ( ) is the image's group."),
    ] = None,
    groups: Annotated[
        str | None,
        choice("folder|duplicates|FILE.csv", "What makes a group; a CSV file has lines of file_name,group."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another split.")] = 0,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the images instead of linking to their folder.")
    ] = False,
    images: Images = None,
    class_attribute: ClassAttribute = None,
    class_name: ClassName = None,
    split_parts: SplitParts = False,
    set_: LabelSettings = None,
) -> None:
    """Split labelled images into train, val and test."""
    check_outputs(out, kind="folder")
    from maskrcnn.labels.split import Grouping, print_split, split_data

    grouping = Grouping(group_pattern, groups)
    with progress_bar("comparing images") as progress:
        parts = split_data(
            data,
            out,
            val=val,
            test=test,
            by=by,
            grouping=grouping,
            seed=seed,
            copy=copy,
            options=label_options(class_name, images, class_attribute, split_parts, set_),
            progress=progress,
        )
    tell_repairs(next(iter(parts.values())))
    print_split(parts)
    print(printable(f"{' and '.join(f'{name}.json' for name in parts)}: {out}"))

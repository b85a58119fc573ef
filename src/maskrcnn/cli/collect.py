"""`maskrcnn collect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskrcnn.cli.common import choice, progress_bar, say
from maskrcnn.cli.outputs import check_outputs
from maskrcnn.errors import DataError, UserError
from maskrcnn.shell import counted, nearest, printable


def collect(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What predict --shard or --ray wrote.")],
    to: Annotated[
        str, choice("coco|csv|parquet", "COCO results as in results.json; a row an object; a row an image.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file. [default: FOLDER's name, beside it]")
    ] = None,
) -> None:
    """Join what many processes predicted in parts into one file."""
    from maskrcnn.scale.collect import SUFFIXES
    from maskrcnn.scale.collect import collect as join

    if to not in SUFFIXES:
        raise UserError(f"--to {to:.40}: {nearest(to, list(SUFFIXES))}")
    file = out or folder.absolute().with_name(folder.absolute().name + SUFFIXES[to])
    check_outputs(file)
    with progress_bar("collecting") as progress:
        found = join(folder, to, file, progress)
    print(printable(f"{counted(found.objects, 'object')} in {counted(found.images, 'image')}: {file}"))
    if found.capped:
        from maskrcnn.predict.predictor import capped_line

        say(f"warning: {capped_line(found.capped, 'image')}")
    if found.failures:
        say(f"warning: the first that could not be read: {found.first_failure}")
        raise DataError(f"{counted(found.failures, 'image')} of them could not be read")

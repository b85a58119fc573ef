"""`maskrcnn export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskrcnn.cli.common import Weights, choice, load_network, say
from maskrcnn.cli.outputs import check_outputs
from maskrcnn.cli.value_range import ValueRangeOption, parse_value_range
from maskrcnn.errors import UserError
from maskrcnn.shell import printable


def export(
    weights: Weights,
    to: Annotated[str, choice("openvino|onnx|torch", "What will run it.")],
    out: Annotated[
        Path | None, typer.Option(help="A new folder. [default: named after WEIGHTS, as in NAME-openvino]")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise to 8 bits; needs --calibrate.")] = False,
    calibrate: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Images to calibrate --int8 on, of the kind the model will see."),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Calibrate on at most this many images. [default: 300]")
    ] = None,
    value_range: ValueRangeOption = None,
) -> None:
    """Write the whole network as one graph for another engine."""
    from maskrcnn.export.run import check_target
    from maskrcnn.export.run import export as write_export

    check_target(to, int8)
    _check_int8(int8, calibrate, images)
    wanted = parse_value_range(value_range)
    if wanted is not None and wanted.values is None:
        raise UserError(f"--value-range {value_range}: an export sees no images; give values, as in 0,4095")
    folder = out or Path(f"{Path(weights).name}-{to}{'-int8' if int8 else ''}")
    check_outputs(folder, kind="new folder")
    from rich.console import Console

    from maskrcnn.labels.open import open_dataset

    dataset = open_dataset(calibrate, "train") if calibrate is not None else None
    console = Console(width=max(100, Console().width))  # twelve columns of figures
    network, most = load_network(weights), images or 300
    if wanted is not None:
        network.config.input.value_range = wanted.values
    write_export(
        network, to, folder, source=weights, calibrate=dataset, images=most, say=say, show=console.print
    )
    print(printable(f"exported: {folder}"))


def _check_int8(int8: bool, calibrate: str | None, images: int | None) -> None:
    if int8 and calibrate is None:
        raise UserError("--int8: needs images of the kind the model is for: --calibrate DATA")
    for option, value in (("--calibrate", calibrate), ("--images", images)):
        if value is not None and not int8:
            raise UserError(f"{option}: is for --int8; add it, or leave {option} out")

"""`maskrcnn export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskrcnn.cli.common import Weights, load_network


def export(
    weights: Weights,
    to: Annotated[str, typer.Option(help="openvino, onnx or torch.")],
    out: Annotated[
        Path | None, typer.Option(help="A new folder. [default: named after WEIGHTS, as in NAME-openvino]")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise to 8 bits; needs --calibrate.")] = False,
    calibrate: Annotated[
        str | None, typer.Option(metavar="DATA", help="Images to calibrate --int8 on, of the kind the model will see.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Calibrate on at most this many images.")] = 300,
) -> None:
    """Write the whole network as one graph for another engine."""
    from maskrcnn.export.run import run_export

    folder = out or Path(f"{Path(weights).name}-{to}{'-int8' if int8 else ''}")
    run_export(lambda: load_network(weights), to, folder, weights, int8, calibrate, images)
    print(f"exported: {folder}")

"""`maskrcnn export`, top-down: trace, write, quantise where asked, verify, and only then hand the folder
out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from maskrcnn.errors import UserError
from maskrcnn.export import verify as verification
from maskrcnn.export.graph import least_side, refuse, trace, write_program
from maskrcnn.files import new_folder, refuse_filled
from maskrcnn.model.digest import weights_digest
from maskrcnn.runtime.engine import open_export
from maskrcnn.runtime.exported_folder import (
    GRAPHS,
    INPUTS,
    MOST_SIDE,
    Record,
    SideRange,
    Target,
    outputs,
    write_export,
)
from maskrcnn.runtime.openvino import refuse_for_openvino
from maskrcnn.stop import telling
from maskrcnn.version import __version__

if TYPE_CHECKING:
    from maskrcnn.labels.types import Dataset
    from maskrcnn.model.mask_rcnn import MaskRCNN

Say = Callable[[str], None]
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")


def export(
    model: MaskRCNN,
    to: str,
    out: Path,
    *,
    source: str = "",
    calibrate: Dataset | None = None,
    images: int = 300,
    say: Say = print,
    show: Callable[[object], None] = print,
) -> Path:
    """Write the whole network as one graph into the new folder `out`, verified beside PyTorch's eager mode.

    Args:
        to: "openvino", "onnx" or "torch".
        source: where the model came from, for the record.
        calibrate: labelled or unlabelled images of the kind the model is for: quantises to int8 with them.
        images: of `calibrate` that are looked at, at most.
        say: told in a line what is being done.
        show: given the table of differences.

    Raises:
        UserError: nothing is left behind then. No such target, it is not installed, settings that cannot be
            exported, `out` is not a new or empty folder, or the graph's answers differ too much from
            PyTorch's.
    """
    target = check_target(to, calibrate is not None)
    refuse(model.config)
    if target == "openvino":
        refuse_for_openvino(model.config)
    refuse_filled(out)
    # a refusal, Ctrl-C or a full disk leaves nothing that looks like an export
    with new_folder(out) as unfinished, telling(lambda: f"{out} is not written"):
        record = _write(model, target, unfinished, source, calibrate, images, say)
        write_export(unfinished, record, model.config)
        engine = open_export(unfinished, trust_code=True)  # written a moment ago
        limits = verification.INT8 if record.precision == "int8" else verification.FP32
        say("comparing with PyTorch")
        rows = verification.verify(model, engine, limits)
        show(verification.as_table(rows, f"{record.target} {record.precision} beside PyTorch: differences"))
        wrong = verification.refusal(rows, limits)
        if wrong:
            raise UserError(f"export to {target} refused: {wrong}")
        record = record.model_copy(update={"verified": [asdict(row) for row in rows]})
        write_export(unfinished, record, model.config)
        del engine  # Windows renames no folder of which a file is open
    return out


def check_target(to: str, int8: bool = False) -> Target:
    """`to` as a target whose packages are installed.

    Raises:
        UserError: it is not one, or they are not.
    """
    if to not in get_args(Target):
        raise UserError(f"--to {to}: there are: {', '.join(get_args(Target))}")
    needs = {
        "openvino": ["openvino", "onnx", "onnxscript"],
        "onnx": ["onnx", "onnxscript", "onnxruntime"],
        "torch": [],
    }
    wanted = needs[to] + (["nncf"] if int8 else [])
    if int8 and to != "openvino":
        raise UserError(f"--int8: is for --to openvino, not {to}")
    from importlib.util import find_spec

    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        raise UserError(f"--to {to}: {', '.join(missing)} not installed; pip install 'maskrcnn[{to}]'")
    return to  # type: ignore[return-value]


def digest(model: MaskRCNN) -> str:
    """SHA-256 of a network's settings and tensors."""
    return weights_digest(model, json.dumps(model.config.model_dump(mode="json"), sort_keys=True))


def _write(
    model: MaskRCNN,
    target: Target,
    folder: Path,
    source: str,
    calibrate: Dataset | None,
    images: int,
    say: Say,
) -> Record:
    """The graph's files, not yet verified, and what there is to record about them."""
    config = model.config
    graph = folder / GRAPHS[target]
    say("tracing the network")
    program = trace(model)
    calibration = None
    if target == "torch":
        write_program(program, graph)
    else:
        from maskrcnn.export.onnx import write_onnx

        say("translating to ONNX")
        onnx = folder / GRAPHS["onnx"]
        write_onnx(program, onnx, outputs(config))
    if target == "openvino":
        from maskrcnn.export.onnx import write_openvino

        write_openvino(onnx, graph)
        onnx.unlink()
        if calibrate is not None:
            from maskrcnn.export.quantise import quantise

            say(f"calibrating int8 on {min(images, len(calibrate))} images of {calibrate.name}")
            calibration = quantise(graph, config, calibrate, images)
    return Record(
        target=target,
        precision="fp32" if calibrate is None else "int8",
        source=source,
        weights=digest(model),
        versions={"maskrcnn": __version__} | {n: v for n in PACKAGES if (v := installed_version(n))},
        sides=SideRange(least=least_side(config), most=MOST_SIDE, multiple=config.input.divisor),
        inputs=list(INPUTS),
        outputs=outputs(config),
        calibration=calibration,
    )


def installed_version(package: str) -> str:
    """Of a package; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""

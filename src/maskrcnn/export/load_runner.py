"""From what a person calls a model, a device and an engine to what predicts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from maskrcnn.environment import best_device
from maskrcnn.errors import UserError
from maskrcnn.export.cached import engine_of
from maskrcnn.export.run import Say
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.progress import Progress
from maskrcnn.runtime.engine import Runner, choose, open_export
from maskrcnn.runtime.exported_folder import is_export
from maskrcnn.weights.load import load_model


def open_runner(
    weights: str,
    device: str | None = None,
    engine: str | None = None,
    *,
    trust_code: bool = False,
    compiled: Callable[[MaskRCNN], Runner] | None = None,
    say: Say = lambda line: None,
    progress: Progress | None = None,
) -> Runner:
    """The network on its device, or the engine that runs it; an exported folder is an engine already.

    Args:
        weights: as `load_model` takes it, or an exported folder.
        device: of PyTorch; None: the fastest there is.
        engine: "torch", "openvino", "onnxruntime" or "auto"; None: torch, or what the folder was exported
            for.
        trust_code: read an exported folder of a .pt2, which is code.
        compiled: makes what runs the network, in place of an engine.
        say: told in a line what takes long.
        progress: told of a download.

    Raises:
        UserError: no such model, engine or device.
    """
    if is_export(weights):
        if compiled is not None:
            raise UserError(f"--compile: {weights} is an exported folder; name the model that it was made of")
        if device not in (None, "cpu"):
            raise UserError(
                f"--device {device}: {weights} is an exported folder, which runs on the CPU; leave it out"
            )
        runner: Runner = open_export(Path(weights), engine, trust_code=trust_code)
    else:
        name = engine or "torch"
        place = device or (best_device() if name in ("auto", "torch") else "cpu")
        # both before the weights are loaded
        _check_device(place)
        if name != "auto":
            choose(name, "cpu" if name == "torch" else place)
        network = load_model(weights, progress).to(place)
        runner = engine_of(network, name, say) if compiled is None else compiled(network)
    if engine == "auto":
        say(f"engine: {getattr(runner, 'name', 'torch')}")
    return runner


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        known = device.partition(":")[0] in ("cpu", "cuda", "mps")
        reason = str(error).splitlines()[0] if known else "there are cpu, cuda, cuda:1 and the like, and mps"
        raise UserError(
            f"--device {device}: cannot be used here: {reason}; leave it out for the fastest there is"
        ) from None

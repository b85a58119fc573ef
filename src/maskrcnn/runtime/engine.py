"""What runs the network: PyTorch, OpenVINO or ONNX Runtime, behind one call from padded images to
RawDetections.
"""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import DataError, UserError
from maskrcnn.model.mask_rcnn import MaskRCNN, RawDetections
from maskrcnn.runtime.exported_folder import read_export

ENGINES = ("torch", "openvino", "onnxruntime")
# fastest first, as docs/export.md measured them: Winograd's algorithm wins in a ResNet; depthwise backbones
# have no convolution for it
FASTEST = dict.fromkeys(("mobilenetv2", "efficientnet_lite0"), ("openvino", "onnxruntime", "torch"))
FASTEST_OF_OTHERS = ("torch", "openvino", "onnxruntime")
FASTEST_OF_EXPORTS = ("openvino", "onnxruntime", "torch")
EXTRAS = {"openvino": "openvino", "onnxruntime": "onnx"}  # of the package, that installs each engine


class Engine(Protocol):
    """A network that somebody else runs."""

    name: str
    config: ModelConfig

    def __call__(self, images: Tensor, sizes: Tensor, score: float | None = None) -> RawDetections:
        """What `MaskRCNN.detect` gives.

        Args:
            images: (B, C, H, W) uint8 or float, 0 to 255.
            sizes: (B, 2) height and width of the images inside their padding.
            score: in place of `test.score`.

        Raises:
            UserError: images that the engine does not take.
        """
        ...


Runner = MaskRCNN | Engine  # what predicts


def run_network(runner: Runner, images: Tensor, sizes: Tensor, score: float | None = None) -> RawDetections:
    """Test-time detections by a network or an engine.

    A network that is training meanwhile is not disturbed, and threads may share it.

    Args:
        score: detections of at least this score are wanted, whatever `test.score`; None: those above
            `test.score`.

    Raises:
        UserError: images that the engine does not take; or a compiled network, which cannot go below
            `test.score`.
        DataError: the network's numbers became NaN or infinite.
    """
    raw = _run(runner, images, sizes, score)
    refuse_overflow(raw)
    return raw


def refuse_overflow(raw: RawDetections) -> None:
    """Raises a DataError where the numbers of an image became NaN or infinite on their way through the
    network: it found nothing, and would not say so.
    """
    if bool(raw.scores.isnan().any()):
        raise DataError(
            "the network's numbers became NaN or infinite on their way through it, so nothing it found would "
            "be true; load other weights, or train with a lower train.lr"
        )


def _run(runner: Runner, images: Tensor, sizes: Tensor, score: float | None) -> RawDetections:
    # the network takes what is above its threshold, and those of exactly this score are wanted
    least = None if score is None else float(np.nextafter(np.float32(score), np.float32(-1)))
    if not isinstance(runner, nn.Module):
        return runner(images, sizes, least)
    device = device_of(runner)
    if isinstance(runner, MaskRCNN):
        runner = in_eval_mode(runner)
    training = [module for module in runner.modules() if module.training]
    for module in training:  # of something around a network
        module.training = False
    try:
        # not inference_mode: what a model caches (anchors) must stay usable for training
        with torch.no_grad():
            given = images.to(device), sizes.to(device)
            if isinstance(runner, MaskRCNN):
                return runner.detect(*given, least)
            # something around a network, a compiled one for example, has its `forward` only
            if score is not None and score < runner.config.test.score:
                raise UserError(
                    f"score={score:g}: a compiled network finds nothing below "
                    f"test.score={runner.config.test.score:g}"
                )
            found: RawDetections = runner(*given)
            return found
    finally:
        for module in training:
            module.training = True


def device_of(runner: Runner) -> torch.device:
    """Where it computes; an engine that does not say so does on the CPU."""
    if isinstance(runner, nn.Module):
        return next(runner.parameters()).device
    device: torch.device = getattr(runner, "device", torch.device("cpu"))
    return device


def in_eval_mode(model: MaskRCNN) -> MaskRCNN:
    """`model` in eval mode: itself, or where a part of it is training a view with the same tensors.

    The view takes as long as a small image on a GPU: who predicts many makes it once.
    """
    if not any(module.training for module in model.modules()):
        return model
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    shared[id(model.config)] = model.config
    return copy.deepcopy(model, shared).eval()


def installed(name: str) -> bool:
    """Whether an engine could be imported."""
    return name == "torch" or find_spec(name) is not None


def choose(name: str, device: str | torch.device = "cpu", backbone: str = "") -> str:
    """The engine of that name, or for "auto" the fastest for that kind of backbone that is installed.

    Raises:
        UserError: no such engine, not installed, or none that runs on `device`.
    """
    on_cpu = torch.device(device).type == "cpu"
    if name == "auto" and not on_cpu:
        return "torch"
    if name == "auto":
        return next(each for each in FASTEST.get(backbone, FASTEST_OF_OTHERS) if installed(each))
    if name not in ENGINES:
        raise UserError(f"--engine {name}: there are: {', '.join(ENGINES)}, auto")
    if not installed(name):
        raise UserError(f"--engine {name}: not installed; pip install 'maskrcnn[{EXTRAS[name]}]'")
    if name != "torch" and not on_cpu:
        raise UserError(f"--engine {name}: runs on the CPU; leave --device out, or take --engine torch")
    return name


def open_export(folder: Path, name: str | None = None, *, trust_code: bool = False) -> Engine:
    """The engine of an exported folder.

    Args:
        name: an engine that can read what is in it; OpenVINO reads ONNX too. None: the one that it was
            exported for.
        trust_code: read a .pt2 too, which runs as code with all that you may do.

    Raises:
        UserError: no sound exported folder, not one for that engine, or a .pt2 without `trust_code`.
    """
    record, config, graph = read_export(folder)
    readers = {"openvino": ("openvino",), "onnx": ("openvino", "onnxruntime"), "torch": ("torch",)}[
        record.target
    ]
    if name == "auto":
        name = next((each for each in FASTEST_OF_EXPORTS if each in readers and installed(each)), readers[-1])
    name = choose(name or readers[-1])
    if name not in readers:
        raise UserError(
            f"{folder}: exported for {record.target}, which {name} does not run; export it for {name}"
        )
    if name == "openvino":
        from maskrcnn.runtime.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(graph, record, config)
    if name == "onnxruntime":
        from maskrcnn.runtime.onnxruntime_engine import OnnxRuntimeEngine

        return OnnxRuntimeEngine(graph, record, config)
    from maskrcnn.runtime.program_engine import ProgramEngine

    return ProgramEngine(graph, record, config, trust_code=trust_code)

"""OpenVINO: importing it without its telemetry, and what it computes wrongly."""

from __future__ import annotations

import sys
from typing import Any

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError

MISSING = "OpenVINO is not installed; pip install 'maskrcnn[openvino]'"


def openvino() -> Any:
    """The module, imported so that it reports to nobody.

    `import openvino` sends an event to Intel by way of the package openvino_telemetry, as nncf does. Without
    that package both fall back to a stub of theirs, so it is made impossible to import.

    Raises:
        UserError: it is not installed.
    """
    forbid_telemetry()
    try:
        import openvino as module
    except ImportError:
        raise UserError(MISSING) from None
    return module


def refuse_for_openvino(config: ModelConfig) -> None:
    """Raises a UserError for settings that OpenVINO answers wrongly, found by comparing with PyTorch and ONNX
    Runtime.
    """
    if config.roi.reduce == "max":
        raise UserError(
            "OpenVINO 2026.4 computes model.roi.reduce=max wrongly; use onnx and onnxruntime, or torch"
        )


def forbid_telemetry() -> None:
    """Make `import openvino_telemetry` fail in this process, where it has not happened yet."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is how Python marks "not there"

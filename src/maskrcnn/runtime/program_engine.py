"""PyTorch's own exported program as an engine: the graph without the package's Python code.

A .pt2 file is read without running what it may hold of pickled code.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.model.mask_rcnn import RawDetections
from maskrcnn.runtime.exported_folder import Record
from maskrcnn.runtime.exported_graph import detections, fitted

if TYPE_CHECKING:
    from torch.export import ExportedProgram


class ProgramEngine:
    """Runs the .pt2 file of an exported folder on the CPU; see `maskrcnn.runtime.engine.Engine`."""

    name = "torch"

    def __init__(self, graph: Path, record: Record, config: ModelConfig) -> None:
        self.config, self._record = config, record
        # its guards compare strides of small images, which change nothing of the answer; `fitted` looks after
        # the shapes
        self._module = read_program(graph).module(check_guards=False)

    def __call__(self, images: Tensor, sizes: Tensor, score: float | None = None) -> RawDetections:
        least = torch.tensor(self.config.test.score if score is None else score)
        with torch.no_grad():
            found = self._module(fitted(images, self._record.sides), sizes.to(torch.int64), least)
        return detections(self._record, dict(zip(self._record.outputs, found, strict=True)))


def read_program(path: Path) -> ExportedProgram:
    """The program of a .pt2 file.

    Raises:
        UserError: damaged, or with pickled parts: torch.export.load would run them.
    """
    import maskrcnn.ops.nms
    import maskrcnn.ops.roi_align  # noqa: F401  # registers the nodes

    try:
        _refuse_pickles(path)
        return torch.export.load(path)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever its parsers stumble over on damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path}: not readable as a PyTorch program ({reason:.120}); export it anew"
        ) from None


def _refuse_pickles(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("_config.json"):
                entries = json.loads(archive.read(name)).get("config", {}).values()
                if any(entry.get("use_pickle") for entry in entries):
                    raise UserError(f"{path}: holds pickled tensors, which could run code; export it anew")
            elif name.endswith(".pt"):
                torch.load(io.BytesIO(archive.read(name)), weights_only=True)

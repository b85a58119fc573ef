"""PyTorch's own exported program as an engine: the graph without the package's Python code.

A .pt2 file is code: `torch.export.load` unpickles parts of it, evaluates its shape expressions as Python and
can load libraries from it. No check of the file beforehand makes that safe, so it is read only on trust.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.model.mask_rcnn import RawDetections
from maskrcnn.runtime.exported_folder import Record
from maskrcnn.runtime.exported_graph import detections, fitted, last_line

if TYPE_CHECKING:
    from torch.export import ExportedProgram


class ProgramEngine:
    """Runs the .pt2 file of an exported folder on the CPU; see `maskrcnn.runtime.engine.Engine`."""

    name = "torch"

    def __init__(self, graph: Path, record: Record, config: ModelConfig, *, trust_code: bool) -> None:
        self.config, self._record = config, record
        self.weights = f"{record.weights} {record.precision}"  # what tells them from others
        # its guards compare strides of small images, which change nothing of the answer; `fitted` looks after
        # the shapes
        self._module = read_program(graph, trust_code).module(check_guards=False)

    def __call__(self, images: Tensor, sizes: Tensor, score: float | None = None) -> RawDetections:
        least = torch.tensor(self.config.test.score if score is None else score, dtype=torch.float32)
        given = fitted(images, self._record.sides), sizes.to(torch.int64), least
        try:
            with torch.no_grad():
                found = self._module(*given)
            arrays = dict(zip(self._record.outputs, found, strict=True))
        except (RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"PyTorch cannot run it ({last_line(error)}); export it anew") from None
        return detections(self._record, self.config, arrays)


def read_program(path: Path, trust_code: bool) -> ExportedProgram:
    """The program of a .pt2 file, which may run anything while it is read.

    Raises:
        UserError: `trust_code` is false, or a damaged file.
    """
    if not trust_code:
        raise UserError(
            f"{path}: is code, which runs with all your rights when it is read; if you made it or trust who "
            "did, add --trust-code (Python: trust_code=True), else use the model that it was exported from"
        )
    import maskrcnn.ops.nms
    import maskrcnn.ops.roi_align  # noqa: F401  # registers the nodes

    try:
        return torch.export.load(path)
    except Exception as error:  # noqa: BLE001  # whatever its parsers stumble over on damaged bytes
        raise UserError(
            f"{path}: not readable as a PyTorch program ({last_line(error):.120}); export it anew"
        ) from None

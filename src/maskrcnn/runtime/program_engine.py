"""PyTorch's own exported program as an engine: the graph without the package's Python code."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.export.torch import read_program
from maskrcnn.model.mask_rcnn import RawDetections
from maskrcnn.runtime.engine import detections, fitted
from maskrcnn.runtime.exported_folder import Record


class ProgramEngine:
    """Runs the .pt2 file of an exported folder on the CPU; see `maskrcnn.runtime.engine.Engine`."""

    name = "torch"

    def __init__(self, graph: Path, record: Record, config: ModelConfig) -> None:
        self.config, self._record = config, record
        # its guards compare strides of small images, which change nothing of the answer; `fitted` looks after the shapes
        self._module = read_program(graph).module(check_guards=False)

    def __call__(self, images: Tensor, sizes: Tensor, score: float | None = None) -> RawDetections:
        least = torch.tensor(self.config.test.score if score is None else score)
        with torch.no_grad():
            found = self._module(fitted(images, self._record.sides), sizes.to(torch.int64), least)
        return detections(self._record, dict(zip(self._record.outputs, found, strict=True)))

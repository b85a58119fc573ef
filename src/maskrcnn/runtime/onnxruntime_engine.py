"""ONNX Runtime as an engine."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.model.mask_rcnn import RawDetections
from maskrcnn.runtime.exported_folder import Record
from maskrcnn.runtime.exported_graph import detections, inputs, last_line
from maskrcnn.runtime.onnx_file import refuse_external_data


class OnnxRuntimeEngine:
    """Runs the .onnx file of an exported folder on the CPU; see `maskrcnn.runtime.engine.Engine`."""

    name = "onnxruntime"

    def __init__(self, graph: Path, record: Record, config: ModelConfig) -> None:
        self.config, self._record = config, record
        self.weights = f"{record.weights} {record.precision}"  # what tells them from others
        refuse_external_data(graph)
        import onnxruntime

        onnxruntime.disable_telemetry_events()  # on Windows its builds have some
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what it raises says the same
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001  # it has a class of its own for each code
            raise UserError(
                f"{graph}: ONNX Runtime cannot read it ({last_line(error)}); export it anew"
            ) from None
        self._takes = {tensor.name for tensor in self._session.get_inputs()}

    def __call__(self, images: Tensor, sizes: Tensor, score: float | None = None) -> RawDetections:
        takes = inputs(self._record, self.config, self._takes, images, sizes, score)
        try:
            found = self._session.run(self._record.outputs, takes)
        except Exception as error:  # noqa: BLE001  # as above
            raise UserError(f"ONNX Runtime cannot run it ({last_line(error)}); export it anew") from None
        arrays = {name: torch.from_numpy(a) for name, a in zip(self._record.outputs, found, strict=True)}
        return detections(self._record, self.config, arrays)

"""OpenVINO as an engine."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.model.mask_rcnn import RawDetections
from maskrcnn.runtime.exported_folder import Record
from maskrcnn.runtime.exported_graph import detections, inputs, last_line
from maskrcnn.runtime.onnx_file import refuse_external_data
from maskrcnn.runtime.openvino import openvino, refuse_for_openvino

# fp32 stays fp32: on processors with bf16 units the plugin would take those of itself
SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}


class OpenVinoEngine:
    """Runs the graph of an exported folder, .xml or .onnx, on the CPU; see
    `maskrcnn.runtime.engine.Engine`.
    """

    name = "openvino"

    def __init__(self, graph: Path, record: Record, config: ModelConfig) -> None:
        self.config, self._record = config, record
        self.weights = f"{record.weights} {record.precision}"  # what tells them from others
        refuse_for_openvino(config)
        if graph.suffix == ".onnx":
            refuse_external_data(graph)
        ov = openvino()
        try:
            self._compiled = ov.Core().compile_model(str(graph), "CPU", SETTINGS)
        except RuntimeError as error:
            raise UserError(
                f"{graph}: OpenVINO cannot read it ({last_line(error)}); export it anew"
            ) from None
        self._threads = threading.local()

    def __call__(self, images: Tensor, sizes: Tensor, score: float | None = None) -> RawDetections:
        request = self._request()
        takes = {name for tensor in request.model_inputs for name in tensor.get_names()}
        given = inputs(self._record, self.config, takes, images, sizes, score)
        try:
            found = request.infer(given)
            # a copy each: the request writes its next answer into the same memory
            arrays = {name: torch.from_numpy(found[name].copy()) for name in self._record.outputs}
        except (RuntimeError, KeyError) as error:
            raise UserError(f"OpenVINO cannot run it ({last_line(error)}); export it anew") from None
        return detections(self._record, self.config, arrays)

    def _request(self) -> Any:
        """This thread's own request: one that is running cannot be asked again."""
        if not hasattr(self._threads, "request"):
            self._threads.request = self._compiled.create_infer_request()
        return self._threads.request

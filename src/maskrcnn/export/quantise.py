"""int8 by nncf's post-training quantisation of the OpenVINO graph.

Convolutions, fully connected layers and the sums between them run in int8. Coordinates do not, since 1,333
pixels do not fit into 256 steps. The first layer and the last of the RPN and of each head stay in float too:
few channels, so next to no time, and what they say is used as it is; so do depthwise layers and all of
MobileNetV2 but its last blocks.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.config.model import ModelConfig
from maskrcnn.export.calibrate import CalibrationImages
from maskrcnn.export.onnx import save_openvino
from maskrcnn.labels.types import Dataset
from maskrcnn.runtime.openvino import openvino

# the layers after which numbers are scores, coordinates and probabilities
LAST_LAYERS = (
    "rpn.objectness",
    "rpn.deltas",
    "box_head.score",
    "box_head.deltas",
    "mask_head.predict",
    "keypoint_head.deconv",
)
FIRST_LAYERS = ("backbone.stem.conv",)
# MobileNetV2's blocks of 16 to 96 channels: in int8 those of 16 and 24 cost person-mobilenet 0.8 of 29.4 AP,
# those of 32 another 0.2 of 30.6, those of 64 and 96 another 0.35 of 31.4, and none of them saves time
SENSITIVE = {"mobilenetv2": ("backbone.stages.0.", "backbone.stages.1.", "backbone.stages.2.")}
WEIGHTED = ("Convolution", "GroupConvolution", "MatMul", "ConvolutionBackpropData")
# what int8 passes
THROUGH = "Add", "Relu", "Clamp", "MaxPool", "Interpolate", "Reshape", "Transpose", "Concat"


def quantise(graph: Path, config: ModelConfig, dataset: Dataset, count: int) -> dict[str, Any]:
    """Replace the OpenVINO graph `graph` (.xml) by its int8 form, fitted to up to `count` images of
    `dataset`.

    Returns:
        what is to be recorded.
    """
    ov = openvino()
    import nncf

    nncf.set_log_level(logging.ERROR)
    images = CalibrationImages(dataset, config, count)
    model = ov.Core().read_model(graph)
    kept = float_operations(model, SENSITIVE.get(config.backbone.kind, ()))
    score = np.float32(config.test.score)

    def as_inputs(item: tuple[Any, Any]) -> dict[str, Any]:
        return {"images": item[0].numpy(), "sizes": item[1].numpy(), "score": score}

    quantised = nncf.quantize(
        model,
        nncf.Dataset(images, as_inputs),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        fast_bias_correction=True,
        ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
    )
    # not onto itself: the weights are still mapped into memory from the file
    new = graph.with_name("int8.xml")
    save_openvino(quantised, new)
    del model, quantised
    for suffix in (".xml", ".bin"):
        new.with_suffix(suffix).replace(graph.with_suffix(suffix))
    return {"data": dataset.name, "images": len(images), "float operations": len(kept)}


def float_operations(model: Any, sensitive: tuple[str, ...] = ()) -> list[str]:
    """Names of the operations that stay in float: all but the layers and the sums on the way of the features.

    Args:
        sensitive: beginnings of the names of layers that stay in float too.
    """
    last = [operation for operation in model.get_ops() if _layer_of(operation) in LAST_LAYERS]
    features: set[str] = set()
    waiting = [operation.input_value(0).get_node() for operation in last]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() in features:
            continue
        features.add(node.get_friendly_name())
        # the first input is the features; the others are weights, shapes and places, but for a sum and what
        # is put together
        inputs = (
            node.get_input_size()
            if node.get_type_name() in ("Add", "Concat")
            else min(1, node.get_input_size())
        )
        waiting += [node.input_value(place).get_node() for place in range(inputs)]

    def in_int8(operation: Any) -> bool:
        if operation.get_type_name() == "GroupConvolution" and operation.input_value(1).get_shape()[1:3] == [
            1,
            1,
        ]:
            # depthwise: run in float all the same, and the rounding before it made OpenVINO 2026.4 crash for
            # some shapes
            return False
        if operation.get_type_name() in WEIGHTED:
            layer = _layer_of(operation)
            # without weights are the products that find a keypoint in its heatmap
            return (
                bool(layer) and layer not in (*FIRST_LAYERS, *LAST_LAYERS) and not layer.startswith(sensitive)
            )
        return operation.get_type_name() in THROUGH and operation.get_friendly_name() in features

    kinds = ("Constant", "Parameter", "Result")
    return sorted(
        o.get_friendly_name() for o in model.get_ops() if o.get_type_name() not in kinds and not in_int8(o)
    )


def _layer_of(operation: Any) -> str:
    """The layer whose weights an operation multiplies by, as PyTorch names it; empty for an operation without
    weights.
    """
    if operation.get_type_name() not in WEIGHTED:
        return ""
    source = operation.input_value(1).get_node()
    while source.get_input_size() and source.get_type_name() != "Constant":
        source = source.input_value(0).get_node()  # a conversion or a change of shape on the way
    name: str = source.get_friendly_name()
    return name.removeprefix("network.").removesuffix(".weight") if name.endswith(".weight") else ""

"""ONNX: the graph with NMS as NonMaxSuppression and RoIAlign as one RoiAlign per pyramid level."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from maskrcnn.errors import UserError
from maskrcnn.runtime.exported_folder import INPUTS
from maskrcnn.runtime.exported_graph import last_line
from maskrcnn.runtime.openvino import openvino

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.export import ExportedProgram

OPSET = 18
_FLOAT, _INT64, _BOOL = 1, 7, 9  # ONNX's numbers of types


def write_onnx(program: ExportedProgram, path: Path, outputs: list[str]) -> None:
    """Write `program`, as `maskrcnn.export.graph.trace` makes it, to one .onnx file.

    Raises:
        UserError: onnx or onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError("export: ONNX needs onnx and onnxscript; pip install 'maskrcnn[onnx]'") from None
    with _quiet():
        made = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table=_translations(),
            input_names=list(INPUTS),
            output_names=outputs,
            external_data=False,
            verbose=False,
        )
    assert made is not None
    made.save(str(path))


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What each of our nodes becomes."""
    import maskrcnn.ops.nms
    import maskrcnn.ops.roi_align  # noqa: F401  # registers the nodes

    ours = torch.ops.maskrcnn
    return {
        ours.nms.default: _nms,
        ours.roi_align.default: _roi_align,
        ours.weighted_sums.default: _weighted_sums,
    }


def _nms(boxes: Any, valid: Any, groups: Any, iou: float) -> Any:
    """`maskrcnn.ops.nms.nms`. The engines' operator sorts by score itself: a box's score is its place from
    the end.
    """
    op = _operators()

    count = op.Shape(boxes, start=1, end=2)
    zero, one = op.Constant(value_int=0), op.Constant(value_int=1)
    places = op.Cast(op.Range(op.Squeeze(count), zero, op.Constant(value_int=-1)), to=_FLOAT)
    nothing = op.Constant(value_float=0.0)
    scores = op.Unsqueeze(op.Where(valid, op.Unsqueeze(places, [0]), nothing), [1])  # (S, 1, N)
    if groups is not None:
        # a class each: boxes of different classes do not see each other
        classes = op.Range(zero, op.Add(op.ReduceMax(groups, keepdims=0), one), one)
        own = op.Equal(op.Unsqueeze(groups, [1]), op.Unsqueeze(classes, [0, 2]))
        scores = op.Where(own, scores, nothing)
    threshold, above = op.Constant(value_floats=[float(iou)]), op.Constant(value_floats=[0.5])
    kept = op.Gather(op.NonMaxSuppression(boxes, scores, count, threshold, above), [0, 2], axis=1)
    ones = op.Expand(op.Constant(value_float=1.0), op.Shape(kept, start=0, end=1))
    return op.Cast(op.ScatterND(op.ConstantOfShape(op.Shape(valid)), kept, ones), to=_BOOL)


def _roi_align(
    features: Sequence[Any],
    strides: Sequence[float],
    boxes: Any,
    image: Any,
    level: Any,
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Any:
    """Average `maskrcnn.ops.roi_align.roi_align`: the boxes of each level in turn, then back into their
    order.
    """
    op = _operators()

    convention = "half_pixel" if aligned else "output_half_pixel"
    pooled, members = [], []
    for number, (feature, stride) in enumerate(zip(features, strides, strict=True)):
        rows = op.Squeeze(op.NonZero(op.Equal(level, op.Constant(value_int=number))), [0])
        members.append(rows)
        pooled.append(
            op.RoiAlign(
                feature,
                op.Gather(boxes, rows),
                op.Gather(image, rows),
                mode="avg",
                output_height=size,
                output_width=size,
                sampling_ratio=sampling_ratio,
                spatial_scale=1.0 / stride,
                coordinate_transformation_mode=convention,
            )
        )
    if len(pooled) == 1:
        return pooled[0]
    order = op.Concat(*members, axis=0)
    count = op.Shape(order)
    numbers = op.Range(op.Constant(value_int=0), op.Squeeze(count), op.Constant(value_int=1))
    places = op.ScatterElements(op.Cast(op.ConstantOfShape(count), to=_INT64), order, numbers)
    return op.Gather(op.Concat(*pooled, axis=0), places)


def _weighted_sums(index: Any, table: Any, weights: Any) -> Any:
    """`maskrcnn.ops.roi_align.weighted_sums_graph`, which only a maximum RoIAlign has in a graph."""
    op = _operators()

    return op.ReduceSum(op.Mul(op.Gather(table, index), op.Unsqueeze(weights, [2])), [1], keepdims=0)


def _operators() -> Any:
    """ONNX's operators as functions; their stated types are of eager values, ours are values of a graph."""
    from onnxscript import opset18

    return opset18


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of torchvision's absence and of its own insides."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(before)


def write_openvino(onnx: Path, path: Path) -> None:
    """Write the graph of an .onnx file as `path` (.xml) and its weights beside it (.bin), in full
    precision.
    """
    save_openvino(openvino().Core().read_model(onnx), path)


def save_openvino(model: Any, path: Path) -> None:
    """Write an OpenVINO model as `path` (.xml) and its weights beside it (.bin), in full precision.

    Raises:
        UserError: it cannot be written.
    """
    try:
        openvino().save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:  # "iostream error" is all that it says
        raise UserError(
            f"{path.parent}: OpenVINO cannot write there ({last_line(error)}): is the disk full, or the "
            "limit of file sizes (ulimit -f) too low? Free some space or write elsewhere"
        ) from None

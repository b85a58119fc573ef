"""NMS on a GPU: a Triton kernel in which one program goes through a set's boxes, best first.

A box that is still alive takes out the later ones that overlap it, which is the greedy algorithm as it is
written. All boxes of a set are in the registers of one program, and the sets are side by side, so nothing is
synchronised and no matrix of overlaps is kept. Overlaps are computed as in `maskrcnn.ops.nms`, in float32
without fused multiply-adds.

Importing this imports Triton, and raises ImportError where it cannot work; `nms` then does without.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from maskrcnn.ops.triton_compiler import demand_compiler

MOST_BOXES = 8192  # of a set: as many as fit into the registers of one program

demand_compiler()


@torch.library.custom_op("maskrcnn::nms_triton", mutates_args=())
def nms_triton(boxes: Tensor, valid: Tensor, groups: Tensor | None, iou: float) -> Tensor:
    """`nms` of at most `MOST_BOXES` boxes a set, in float32."""
    sets, count = valid.shape
    keep = torch.empty_like(valid)
    if keep.numel() == 0:
        return keep
    boxes, valid = boxes.float().contiguous(), valid.contiguous()
    block = triton.next_power_of_2(count)
    with torch.cuda.device_of(keep):  # Triton launches on the current device
        _kernel[(sets,)](
            boxes,
            valid,
            valid if groups is None else groups.contiguous(),
            keep,
            count,
            iou,
            GROUPED=groups is not None,
            BLOCK=block,
            num_warps=max(1, min(16, block // 256)),
            # overlaps round as the plain way's do
            enable_fp_fusion=False,
        )
    return keep


@nms_triton.register_fake
def _(boxes: Tensor, valid: Tensor, groups: Tensor | None, iou: float) -> Tensor:
    return torch.empty_like(valid)


@triton.jit(do_not_specialize=["count"])
def _kernel(boxes, valid, groups, keep, count, iou, GROUPED: tl.constexpr, BLOCK: tl.constexpr):
    """From `boxes` (S, N, 4), `valid` and `groups` (S, N) to `keep` (S, N), with N = `count`."""
    begin = tl.program_id(0).to(tl.int64) * count
    boxes += 4 * begin
    place = tl.arange(0, BLOCK)
    there = place < count
    x1, y1 = _load(boxes, 4 * place, there), _load(boxes + 1, 4 * place, there)
    x2, y2 = _load(boxes + 2, 4 * place, there), _load(boxes + 3, 4 * place, there)
    area = tl.maximum(x2 - x1, 0.0) * tl.maximum(y2 - y1, 0.0)
    alive = _load(valid + begin, place, there).to(tl.int32)
    if GROUPED:
        group = _load(groups + begin, place, there)
    for number in range(count):
        if tl.max(tl.where(place == number, alive, 0), 0) != 0:
            left, top = tl.load(boxes + 4 * number), tl.load(boxes + 4 * number + 1)
            right, bottom = tl.load(boxes + 4 * number + 2), tl.load(boxes + 4 * number + 3)
            own = tl.maximum(right - left, 0.0) * tl.maximum(bottom - top, 0.0)
            width = tl.maximum(tl.minimum(right, x2) - tl.maximum(left, x1), 0.0)
            height = tl.maximum(tl.minimum(bottom, y2) - tl.maximum(top, y1), 0.0)
            both = width * height
            over = (both > (own + area - both) * iou) & (place > number)
            if GROUPED:
                over = over & (group == tl.load(groups + begin + number))
            alive = tl.where(over, 0, alive)
    tl.store(keep + begin + place, alive != 0, mask=there)


@triton.jit
def _load(start, place, there):
    return tl.load(start + place, mask=there, other=0)

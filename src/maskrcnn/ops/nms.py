"""Non-maximum suppression with the exact greedy result and no sequential loop over boxes.

With boxes sorted by score and M[j, i] = "j stands before i and overlaps it by more than the threshold", the
greedy answer is the only fixed point of keep[i] = not any(keep[j] and M[j, i]), and iterating from "keep all"
reaches it in as many rounds as the longest chain of suppressions (Cluster-NMS, Zheng et al. 2020). Boxes are
taken in blocks, so memory is a block's square rather than N x N, and blocks after the first see only settled
answers of the earlier ones.

On a GPU one kernel (`nms_kernel.py`) does it instead, where Triton is there.

On a CPU a block's square is small enough for PyTorch to leave it to one thread. In larger ones NMS entered
117 parallel regions, and in each the threads wait for one another: beside another busy program that took a
hundred times as long.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop

from maskrcnn.ops.boxes import area, intersection
from maskrcnn.ops.tracing import exporting

_BLOCK = 256  # boxes settled at a time in a graph and on accelerators
_GRAIN = 32768  # at::internal::GRAIN_SIZE: operators on no more elements than this use one thread


class _Boxes(NamedTuple):
    """Some boxes of each set."""

    boxes: Tensor  # (S, n, 4)
    alive: Tensor  # (S, n) bool: valid and, once settled, not suppressed
    groups: Tensor | None  # (S, n)

    def part(self, start: int, stop: int) -> _Boxes:
        groups = None if self.groups is None else self.groups[:, start:stop]
        return _Boxes(self.boxes[:, start:stop], self.alive[:, start:stop], groups)

    def joined(self, other: _Boxes) -> _Boxes:
        """Both, these first."""
        boxes, alive = torch.cat([self.boxes, other.boxes], 1), torch.cat([self.alive, other.alive], 1)
        if self.groups is None or other.groups is None:
            return _Boxes(boxes, alive, None)
        return _Boxes(boxes, alive, torch.cat([self.groups, other.groups], 1))

    def survivors(self) -> _Boxes:
        """Those that are alive, in their order, and others where a set has fewer; asks how many there are."""
        order = self.alive.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
        order = order[:, : int(self.alive.sum(1).max())]
        boxes = self.boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
        groups = None if self.groups is None else self.groups.gather(1, order)
        return _Boxes(boxes, self.alive.gather(1, order), groups)


def nms(
    boxes: Tensor, valid: Tensor, iou: float, groups: Tensor | None = None, block: int | None = None
) -> Tensor:
    """Which boxes survive, in several independent sets at once.

    Args:
        boxes: (S, N, 4) xyxy, each set sorted by falling score.
        valid: (S, N) bool; a box that is not valid neither survives nor suppresses.
        iou: a box goes when it overlaps a better survivor by more than this.
        groups: (S, N) int; boxes of different groups (classes) do not see each other.
        block: boxes settled at a time; by default what suits the device.

    Returns:
        (S, N) bool.
    """
    if exporting():
        return nms_node(boxes, valid, groups, iou)
    if block is None and _on_triton(boxes):
        from maskrcnn.ops.nms_kernel import nms_triton

        kept: Tensor = nms_triton(boxes.detach(), valid, groups, iou)
        return kept
    graph = torch.compiler.is_compiling()
    if block is None:
        eager_cpu = boxes.device.type == "cpu" and not graph
        block = max(1, math.isqrt(_GRAIN // max(1, len(boxes)))) if eager_cpu else _BLOCK
    return _settle(boxes, valid, iou, groups, block, graph=graph)


def _on_triton(boxes: Tensor) -> bool:
    """Whether the kernel takes these: on a GPU, where Triton is there."""
    if not boxes.is_cuda:
        return False
    try:
        from maskrcnn.ops.nms_kernel import MOST_BOXES
    except ImportError:  # not every build of PyTorch has Triton, nor every machine what Triton needs
        return False
    return boxes.dtype == torch.float32 and boxes.shape[1] <= MOST_BOXES


@torch.library.custom_op("maskrcnn::nms", mutates_args=())
def nms_node(boxes: Tensor, valid: Tensor, groups: Tensor | None, iou: float) -> Tensor:
    """`nms` as one node of an exported graph: inference engines have an operator of their own for it."""
    return _settle(boxes, valid, iou, groups, _BLOCK, graph=False).clone()


@nms_node.register_fake
def _(boxes: Tensor, valid: Tensor, groups: Tensor | None, iou: float) -> Tensor:
    return torch.empty_like(valid)


def _settle(
    boxes: Tensor, valid: Tensor, iou: float, groups: Tensor | None, block: int, *, graph: bool
) -> Tensor:
    """`nms`, block by block; in a `graph` nothing is asked on the way."""
    everything = _Boxes(boxes, valid, groups)
    on_cpu = boxes.device.type == "cpu" and not graph
    settled: list[Tensor] = []
    earlier: list[_Boxes] = []
    for start in range(0, boxes.shape[1], block):
        here = everything.part(start, start + block)
        alive = here.alive
        for before in earlier:
            alive = alive & ~(_overlaps(before, here, iou) & before.alive.unsqueeze(-1)).any(1)
        settled.append(_fixed_point(_overlaps(here, here, iou).triu(1), alive, graph))
        here = here._replace(alive=settled[-1])
        if on_cpu:  # which can be asked how many are left: what was suppressed suppresses nothing
            here = here.survivors()
            if earlier and earlier[-1].alive.shape[1] + here.alive.shape[1] <= block:
                here = earlier.pop().joined(here)
        earlier.append(here)
    return torch.cat(settled, 1) if settled else valid


def _overlaps(left: _Boxes, right: _Boxes, iou: float) -> Tensor:
    """(S, left, right) bool: the two boxes see each other and overlap by more than `iou`."""
    both = intersection(left.boxes, right.boxes)
    # iou > t without a division: inter > t * union
    union = (area(left.boxes).unsqueeze(-1) + area(right.boxes).unsqueeze(-2)).sub_(both)
    over = both > union.mul_(iou)
    if left.groups is None or right.groups is None:
        return over
    return over & (left.groups.unsqueeze(-1) == right.groups.unsqueeze(-2))


def _fixed_point(suppresses: Tensor, alive: Tensor, graph: bool) -> Tensor:
    """The fixed point (S, n) of keep = alive and not any(keep[j] and suppresses[j, i])."""

    def changed(keep: Tensor, before: Tensor) -> Tensor:
        return (keep != before).any()

    def again(keep: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        return alive & ~(suppresses & keep.unsqueeze(-1)).any(1), keep.clone()

    first = again(alive, alive)
    if graph:
        return while_loop(changed, again, first)[0]
    # eagerly this asks "changed?" once a round, which is a synchronisation on an accelerator without Triton
    keep, before = first
    while changed(keep, before):
        keep, before = again(keep, before)
    return keep

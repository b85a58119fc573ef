"""RoIAlign, mask pasting with RLE, and NMS beside torchvision's, at the sizes of a ResNet-50-FPN on 800 x 1333.

python benchmarks/operators.py [--json FILE] [--rounds N] [--plain-allocator]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from measure import OURS, PEER, Line, arguments, in_turns, report, torchvision
from pycocotools import mask as coco_mask
from torch import Tensor

from maskrcnn.allocator import keep_freed_memory
from maskrcnn.instances import Masks
from maskrcnn.ops.nms import nms
from maskrcnn.ops.roi_align import roi_align

HEIGHT, WIDTH = 800, 1344
STRIDE = 4
CHANNELS = 256


def random_boxes(count: int, smallest: float, largest: float) -> Tensor:
    """(count, 4) boxes inside the picture, sides drawn evenly on a logarithmic scale."""
    sides = torch.exp(torch.empty(count, 2).uniform_(np.log(smallest), np.log(largest)))
    corner = torch.rand(count, 2) * (torch.tensor([WIDTH, HEIGHT]) - sides).clamp(min=0)
    return torch.cat([corner, corner + sides], 1)


def align(count: int, size: int, ratio: int, backward: bool, peer: Any, rounds: int) -> Line:
    """One RoIAlign on the finest map; ours gets it channels-last, as our network keeps it, the peer as it keeps it."""
    plain = torch.randn(1, CHANNELS, HEIGHT // STRIDE, WIDTH // STRIDE)
    last = plain.to(memory_format=torch.channels_last)
    boxes = random_boxes(count, 8, 112 if count > 500 else 500)
    zeros = torch.zeros(count, dtype=torch.int64)

    def ours() -> Tensor:
        return roi_align([last], [STRIDE], boxes, zeros, zeros, size=size, sampling_ratio=ratio)

    def theirs() -> Tensor:
        found: Tensor = peer.ops.roi_align(plain, [boxes], size, 1 / STRIDE, max(ratio, -1) or -1, True)
        return found

    def trained(way: Any, features: Tensor) -> None:
        features.requires_grad_(True)
        found = way()
        found.backward(torch.ones_like(found))
        features.grad = None

    ways: dict[str, Any] = {OURS: (lambda: trained(ours, last)) if backward else ours}
    if peer is not None:
        difference = (ours() - theirs()).abs().max() / theirs().abs().max()
        assert difference < 1e-4, f"RoIAlign differs by {difference:.1e}"
        ways[PEER] = (lambda: trained(theirs, plain)) if backward else theirs
    name = (
        f"RoIAlign {count:,} x {size} x {size}{', adaptive' if not ratio else ''}{', and backward' if backward else ''}"
    )
    return Line(name, in_turns(ways, rounds), least=15)


def pyramid(peer: Any, rounds: int) -> Line:
    """RoIAlign of 1,000 proposals over the four levels of a pyramid."""
    plain = [torch.randn(1, CHANNELS, HEIGHT // s, WIDTH // s) for s in (4, 8, 16, 32)]
    last = [level.to(memory_format=torch.channels_last) for level in plain]
    boxes = random_boxes(1000, 16, 700)
    zeros = torch.zeros(1000, dtype=torch.int64)
    side = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    level = (4 + torch.log2(side / 224 + 1e-8)).floor().clamp(2, 5).long() - 2
    ways: dict[str, Any] = {
        OURS: lambda: roi_align(last, [4, 8, 16, 32], boxes, zeros, level, size=7, sampling_ratio=2)
    }
    if peer is not None:
        pooler = peer.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
        maps = dict(zip("0123", plain, strict=True))
        ways[PEER] = lambda: pooler(maps, [boxes], [(HEIGHT, WIDTH)])
    return Line("RoIAlign 1,000 x 7 x 7, four levels", in_turns(ways, rounds), least=15)


def paste(peer: Any, rounds: int) -> Line:
    """100 masks of 28 x 28 to RLE at the picture's size."""
    boxes = random_boxes(100, 30, 700)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 28), torch.linspace(-1, 1, 28), indexing="ij")
    radius = torch.rand(100, 1, 1) * 0.3 + 0.7
    probabilities = torch.sigmoid(8 * (radius - torch.sqrt(x**2 + y**2) + 0.1 * torch.sin(9 * x)))
    ways: dict[str, Any] = {
        OURS: lambda: Masks(probabilities.numpy(), boxes.numpy(), (HEIGHT, WIDTH)).rle(),
    }
    if peer is not None:
        paste_masks = peer.models.detection.roi_heads.paste_masks_in_image

        def theirs() -> list[Any]:
            full = paste_masks(probabilities[:, None], boxes, (HEIGHT, WIDTH))[:, 0] > 0.5
            return [coco_mask.encode(np.asfortranarray(mask)) for mask in full.numpy().view(np.uint8)]

        ways[PEER] = theirs
    return Line("paste 100 masks, then RLE", in_turns(ways, rounds), least=20)


def suppress(peer: Any, rounds: int) -> Line:
    """NMS of a picture's proposals: five levels of up to 1,000."""
    boxes = torch.stack([random_boxes(1000, 20, 300) for _ in range(5)])
    scores = torch.rand(5, 1000).sort(descending=True).values
    valid = torch.ones(5, 1000, dtype=torch.bool)
    level = torch.arange(5).repeat_interleave(1000)
    ways: dict[str, Any] = {OURS: lambda: nms(boxes, valid, 0.7)}
    if peer is not None:
        kept = nms(boxes, valid, 0.7).sum()
        assert len(peer.ops.batched_nms(boxes.flatten(0, 1), scores.flatten(), level, 0.7)) == kept
        ways[PEER] = lambda: peer.ops.batched_nms(boxes.flatten(0, 1), scores.flatten(), level, 0.7)
    return Line("NMS, 5 levels of 1,000 boxes", in_turns(ways, rounds))


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--plain-allocator", action="store_true", help="memory is handled as Python comes, for both")
    options = parser.parse_args()
    if not options.plain_allocator:
        keep_freed_memory()  # as `maskrcnn` does; the peer has the benefit of it too
    torch.manual_seed(0)
    peer, rounds = torchvision(), options.rounds
    with torch.no_grad():
        lines = [
            align(1000, 7, 2, False, peer, rounds),
            align(1000, 7, 0, False, peer, rounds),
            align(100, 14, 2, False, peer, rounds),
            pyramid(peer, rounds),
            paste(peer, rounds),
            suppress(peer, rounds),
        ]
    lines.insert(2, align(1000, 7, 2, True, peer, rounds))
    report("Operators, median ms (spread)", lines, options.json)


if __name__ == "__main__":
    main()

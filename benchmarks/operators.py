"""RoIAlign, mask pasting with RLE, and NMS beside torchvision's, at the sizes of a ResNet-50-FPN on 800 x
1333.

    python benchmarks/operators.py [--json FILE] [--rounds N] [--plain-allocator | --busy N]

First tuned (`maskrcnn.tune`), as `maskrcnn` is and to the peer's benefit too, then in another process with
memory and threads as Python comes (FILE gets "-plain" in its name); with --plain-allocator only that.

With --busy N each row, and a whole image, quiet and beside N processes that keep a core busy each, tuned
only: the last columns are the time beside them over the quiet time per core left (aim for ours: at most 2).
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from inference import way
from measure import OURS, PEER, Line, arguments, busy_processes, in_turns, report, torchvision
from pycocotools import mask as coco_mask
from torch import Tensor

from maskrcnn.instances import Masks
from maskrcnn.ops.nms import nms
from maskrcnn.ops.roi_align import roi_align
from maskrcnn.tuning import SPINS, tune

HEIGHT, WIDTH = 800, 1344
STRIDE = 4
STRIDES = [4, 8, 16, 32]
CHANNELS = 256


def random_boxes(count: int, smallest: float, largest: float) -> Tensor:
    """(count, 4) boxes inside the image, sides drawn evenly on a logarithmic scale."""
    sides = torch.exp(torch.empty(count, 2).uniform_(np.log(smallest), np.log(largest)))
    return placed(sides)


def proposals(count: int) -> Tensor:
    """(count, 4) boxes of 16 to 700 pixels, up to three times as long as wide, as a network proposes them."""
    side = torch.exp(torch.empty(count, 1).uniform_(np.log(16), np.log(700)))
    ratio = torch.exp(torch.empty(count, 1).uniform_(-np.log(3), np.log(3)) / 2)
    return placed(torch.cat([side * ratio, side / ratio], 1))


def placed(sides: Tensor) -> Tensor:
    """Boxes of these widths and heights, cut at the image's, anywhere in it."""
    sides = torch.minimum(sides, torch.tensor([WIDTH, HEIGHT]))
    corner = torch.rand(len(sides), 2) * (torch.tensor([WIDTH, HEIGHT]) - sides)
    return torch.cat([corner, corner + sides], 1)


def trained(way: Callable[[], Tensor], features: list[Tensor]) -> None:
    """Forward, and backward into every map."""
    for each in features:
        each.requires_grad_(True)
    with torch.enable_grad():
        found = way()
        found.backward(torch.ones_like(found))
    for each in features:
        each.grad = None
        each.requires_grad_(False)


def named(what: str, ratio: int, backward: bool) -> str:
    return f"RoIAlign {what}{', adaptive' if not ratio else ''}{', and backward' if backward else ''}"


def compared(
    name: str, ways: dict[str, Any], maps: dict[str, list[Tensor]], backward: bool, rounds: int
) -> Line:
    """Both ways of an RoIAlign, which must agree, in turns."""
    if PEER in ways:
        mine, other = ways[OURS](), ways[PEER]()
        difference = (mine - other).abs().max() / other.abs().max()
        assert difference < 1e-4, f"{name}: differs by {difference:.1e}"
    if backward:
        ways = {who: functools.partial(trained, way, maps[who]) for who, way in ways.items()}
    return Line(name, in_turns(ways, rounds), least=15)


def align(count: int, size: int, ratio: int, backward: bool, peer: Any, rounds: int) -> Line:
    """One RoIAlign on the finest map; ours gets it channels-last, as our network keeps it, the peer as it
    keeps it.
    """
    plain = torch.randn(1, CHANNELS, HEIGHT // STRIDE, WIDTH // STRIDE)
    last = plain.to(memory_format=torch.channels_last)
    boxes = random_boxes(count, 8, 112 if count > 500 else 500)
    zeros = torch.zeros(count, dtype=torch.int64)
    ways: dict[str, Any] = {
        OURS: lambda: roi_align([last], [STRIDE], boxes, zeros, zeros, size=size, sampling_ratio=ratio)
    }
    if peer is not None:
        ways[PEER] = lambda: peer.ops.roi_align(plain, [boxes], size, 1 / STRIDE, ratio or -1, True)
    name = named(f"{count:,} x {size} x {size}", ratio, backward)
    return compared(name, ways, {OURS: [last], PEER: [plain]}, backward, rounds)


def pyramid(ratio: int, backward: bool, peer: Any, rounds: int) -> Line:
    """RoIAlign of 1,000 proposals over the four levels of a pyramid, as torchvision's own pooler spreads
    them.
    """
    plain = [torch.randn(1, CHANNELS, HEIGHT // s, WIDTH // s) for s in STRIDES]
    last = [level.to(memory_format=torch.channels_last) for level in plain]
    boxes = proposals(1000)
    zeros = torch.zeros(1000, dtype=torch.int64)
    side = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    level = (4 + torch.log2(side / 224 + 1e-8)).floor().clamp(2, 5).long() - 2
    ways: dict[str, Any] = {
        # the peer's pooler has no half-pixel shift
        OURS: lambda: roi_align(
            last, STRIDES, boxes, zeros, level, size=7, sampling_ratio=ratio, aligned=False
        )
    }
    if peer is not None:
        pooler = peer.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], 7, ratio or -1)
        maps = dict(zip("0123", plain, strict=True))
        ways[PEER] = lambda: pooler(maps, [boxes], [(HEIGHT, WIDTH)])
    name = named("1,000 x 7 x 7, four levels", ratio, backward)
    return compared(name, ways, {OURS: last, PEER: plain}, backward, rounds)


def paste(peer: Any, rounds: int) -> Line:
    """100 masks of 28 x 28 to RLE at the image's size."""
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
    """NMS of an image's proposals: five levels of up to 1,000."""
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


def operators(peer: Any, rounds: int) -> list[Line]:
    """Every operator's row."""
    lines = []
    for backward in (False, True):
        lines += [align(1000, 7, ratio, backward, peer, rounds) for ratio in (2, 0)]
    lines.append(align(100, 14, 2, False, peer, rounds))
    for backward in (False, True):
        lines += [pyramid(ratio, backward, peer, rounds) for ratio in (2, 0)]
    return [*lines, paste(peer, rounds), suppress(peer, rounds)]


def beside_others(peer: Any, rounds: int, busy: int) -> list[Line]:
    """Every row twice: quiet, and beside `busy` processes."""

    def rows() -> list[Line]:
        torch.manual_seed(0)
        lines = operators(peer, rounds)
        if peer is not None:
            lines.append(Line("whole image", in_turns({who: way(who) for who in (OURS, PEER)}, rounds)))
        return lines

    quiet = rows()
    with busy_processes(busy):
        loaded = rows()
    cores = torch.get_num_threads()
    left = max(1, cores - busy)
    lines = []
    for before, after in zip(quiet, loaded, strict=True):
        for who in before.seconds:
            ratio = after.median(who) / (before.median(who) * cores / left)
            after.notes[f"{who}, busy / quiet per core left"] = f"{ratio:.2f}" + (
                " (aim 2)" if who == OURS else ""
            )
        before.least = after.least = None  # of the table of operators
        after.name += f", beside {busy} busy"
        lines += [before, after]
    return lines


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--plain-allocator", action="store_true", help="only with memory and threads as Python comes"
    )
    parser.add_argument("--busy", type=int, default=0, help="quiet and beside so many busy processes")
    options = parser.parse_args()
    if (
        not options.plain_allocator
        and "GOMP_SPINCOUNT" not in os.environ
        and "OMP_WAIT_POLICY" not in os.environ
    ):
        # torch, which `measure` imports, reads the threads' setting when it is loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"GOMP_SPINCOUNT": SPINS})
    if not options.plain_allocator:
        tune()
    torch.manual_seed(0)
    peer, rounds = torchvision(), options.rounds
    with torch.no_grad():
        lines = beside_others(peer, rounds, options.busy) if options.busy else operators(peer, rounds)
    tuned = "as Python comes" if options.plain_allocator else "tuned"
    report(f"Operators, {tuned}, median ms (spread)", lines, options.json)
    if not options.plain_allocator and not options.busy:
        again = [sys.executable, __file__, "--plain-allocator", "--rounds", str(rounds)]
        if options.json:
            again += ["--json", str(options.json.with_stem(options.json.stem + "-plain"))]
        plain = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
        subprocess.run(again, check=True, env=plain)


if __name__ == "__main__":
    main()

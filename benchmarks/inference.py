"""One image of 800 x 1333 through a ResNet-50-FPN Mask R-CNN, boxes and full-size masks out, beside
torchvision's.

    python benchmarks/inference.py [--json FILE] [--rounds N]

Same weights, 1,000 proposals, 100 detections, batch 1, fp32; each way in a process of its own. torchvision is
measured as it comes, and at its best: plain batch norms, channels last, and the allocator set as ours is.
Ours also with one thread, which says what the second core brings, and how much of an image's time NMS takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from measure import (
    OURS,
    PEER,
    Apart,
    Line,
    arguments,
    in_turns,
    peak_gflops,
    report,
    serve,
    share_of_peak,
    torchvision,
)
from peer_network import HEIGHT, WIDTH, image, ours, state_of, theirs

from maskrcnn.ops.nms import nms
from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.runtime.engine import Runner
from maskrcnn.runtime.torch_engine import TorchEngine
from maskrcnn.tuning import tune

GFLOP = 538.0  # of direct convolutions: the network at this size, 1,000 proposals and 100 detections
BEST = "torchvision at its best"
BACKBONE = ", backbone and pyramid"
ONE_THREAD = ", one thread"


def way(name: str) -> Callable[[], Any]:
    """What is measured under that name."""
    peer = torchvision()
    if peer is None:
        raise SystemExit("inference.py: needs torchvision beside us; benchmarks/README.md says how")
    if name.endswith(ONE_THREAD):
        torch.set_num_threads(1)
    who, alone = name.removesuffix(ONE_THREAD).removesuffix(BACKBONE), name.endswith(BACKBONE)
    if who != PEER:
        tune()
    state, pixels = state_of(peer), image()
    batch = torch.nn.functional.pad(pixels[None].float() / 255, (0, 1344 - WIDTH))
    if who == OURS:
        engine = TorchEngine(ours(state))
        last = batch.to(memory_format=torch.channels_last)
        if alone:
            return no_grad(lambda: engine.network.neck(engine.network.backbone(last)))
        return to_masks(engine)
    other: Any = theirs(peer, state, best=who == BEST)
    if alone:
        given = batch.to(memory_format=torch.channels_last) if who == BEST else batch
        return no_grad(lambda: other.backbone(given))
    return no_grad(lambda: other([pixels.float() / 255])[0])


def to_masks(engine: Runner) -> Callable[[], Any]:
    """From pixels to what is found with full-size masks."""
    array = image().permute(1, 2, 0).contiguous().numpy()

    def whole() -> Any:
        (found,) = predict_pixels(engine, [array], score=engine.config.test.score)
        assert found.masks is not None and len(found) == 100, len(found)
        return found, found.masks.bitmaps()

    return whole


def no_grad(work: Callable[[], Any]) -> Callable[[], Any]:
    def done() -> Any:
        with torch.no_grad():
            return work()

    return done


def compare() -> str:
    """How many of our detections have their like: within a pixel, a thousandth of score and 0.1% of mask
    pixels.
    """
    (found, bitmaps), other = way(OURS)(), way(PEER)()
    if len(found) != len(other["scores"]):
        raise SystemExit(f"{len(found)} detections against {len(other['scores'])}")
    far = (torch.from_numpy(found.boxes)[:, None] - other["boxes"]).abs().amax(-1)
    score = (torch.from_numpy(found.scores)[:, None] - other["scores"]).abs()
    near = (far < 1) & (score < 1e-3)
    masks = [
        float(((other["masks"][int(column)][0] > 0.5).numpy() != bitmaps[row]).mean())
        for row, column in near.nonzero().tolist()
    ]
    share = float(near.any(1).float().mean())
    return (
        f"{len(found)} detections each, {share:.0%} of ours have a match,"
        f" masks differ in {max(masks):.2%} of pixels"
    )


def nms_share(rounds: int) -> str:
    """How much of an image's time is spent in NMS, of proposals and of detections."""
    spent = 0.0

    def timed(*given: Any, **named: Any) -> torch.Tensor:
        nonlocal spent
        begin = time.perf_counter()
        kept = nms(*given, **named)
        spent += time.perf_counter() - begin
        return kept

    whole = way(OURS)
    with mock.patch("maskrcnn.model.rpn.nms", timed), mock.patch("maskrcnn.model.box_head.nms", timed):
        whole()
        spent, begin = 0.0, time.perf_counter()
        for _ in range(rounds):
            whole()
    return f"{spent / (time.perf_counter() - begin):.2%}"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--serve")
    options = parser.parse_args()
    if options.serve:
        serve(way(options.serve))
        return
    agreement = compare()
    print(agreement)
    share_of_nms = nms_share(options.rounds)
    peaks = [peak_gflops()]
    lines = []
    for part, least in (("", {PEER: 1.7, BEST: 1.35}), (BACKBONE, None)):
        apart = {who: Apart(__file__, who + part) for who in (OURS, PEER, BEST)}
        lines.append(Line("whole image" if not part else part[2:], in_turns(apart, options.rounds), least))
        lines[-1].notes = {f"{who}, GB": round(each.close() / 1e9, 2) for who, each in apart.items()}
        peaks.append(peak_gflops())
    alone = Apart(__file__, OURS + ONE_THREAD)
    lines.append(Line("whole image, one thread", in_turns({OURS: alone}, options.rounds)))
    alone.close()
    report(
        f"Inference, {HEIGHT} x {WIDTH}, median ms (spread)",
        lines,
        options.json,
        peak_gflops=round(max(peaks)),
        share_of_peak=f"{share_of_peak(GFLOP, lines[0].median(OURS), max(peaks))} (aim 75%)",
        share_of_nms=f"{share_of_nms} (aim at most 2%)",
        agreement=agreement,
    )


if __name__ == "__main__":
    main()

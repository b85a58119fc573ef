"""A ResNet-50-FPN Mask R-CNN on a GPU beside torchvision's: an image of 800 x 1333, and a training step.

    PYTHONPATH=src python benchmarks/gpu.py [--json FILE] [--rounds N]

The same weights, images, objects and numbers of RoIs as on a CPU (`inference.py`, `training.py`), in the
precisions that PyTorch starts with (float32, convolutions in TF32) and under autocast to bfloat16. Both ways
take turns in one process. Memory is what PyTorch's allocator held at most while a way ran, weights and both
networks included.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import torch
from inference import no_grad
from measure import OURS, PEER, Line, arguments, report, torchvision
from peer_network import HEIGHT, WIDTH, image, ours, state_of, theirs
from training import way as training_step

from maskrcnn.predict.predictor import predict_pixels

DEVICE = "cuda"


def in_turns(
    ways: dict[str, Callable[[], Any]], rounds: int, warm: int = 3
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each way in each round, until the GPU is done; and the GB that PyTorch held at most."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    held = dict.fromkeys(ways, 0.0)
    for number in range(warm + rounds):
        for name, way in ways.items():
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
            begin = time.perf_counter()
            way()
            torch.cuda.synchronize()
            if number >= warm:
                seconds[name].append(time.perf_counter() - begin)
            held[name] = max(held[name], torch.cuda.max_memory_allocated() / 1e9)
    return seconds, held


def inference(peer: Any, batch: int, bf16: bool, network_only: bool) -> dict[str, Callable[[], Any]]:
    """Images to boxes and full-size masks on the CPU; or the network alone, from pixels that are on the GPU
    already.
    """
    state, pixels = state_of(peer), image()
    network, other = ours(state).to(DEVICE), theirs(peer, state).to(DEVICE)
    array = pixels.permute(1, 2, 0).contiguous().numpy()
    padded = torch.nn.functional.pad(pixels, (0, 1344 - WIDTH)).expand(batch, -1, -1, -1).to(DEVICE)
    sizes = torch.tensor([[HEIGHT, WIDTH]] * batch, device=DEVICE)
    on_gpu = pixels.to(DEVICE)

    def mine() -> Any:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bf16):
            if network_only:
                return network(padded, sizes)
            return [
                found.masks.bitmaps()
                for found in predict_pixels(network, [array] * batch, score=None)
                if found.masks
            ]

    def peers() -> Any:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bf16):
            if network_only:
                return other([on_gpu.float() / 255] * batch)
            found = other([pixels.to(DEVICE).float() / 255] * batch)
            return [(each["masks"] > 0.5).cpu() for each in found]

    return {OURS: no_grad(mine), PEER: no_grad(peers)}


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    options = parser.parse_args()
    peer = torchvision()
    if peer is None or not torch.cuda.is_available():
        raise SystemExit("gpu.py: needs a GPU and torchvision")
    lines = []

    def add(name: str, ways: dict[str, Callable[[], Any]]) -> None:
        seconds, held = in_turns(ways, options.rounds)
        lines.append(Line(name, seconds, notes={f"{who}, GB": round(gb, 2) for who, gb in held.items()}))
        torch.cuda.empty_cache()

    for bf16 in (False, True):
        precision = "bf16" if bf16 else "TF32"
        for batch in (1, 8):
            add(f"network, batch {batch}, {precision}", inference(peer, batch, bf16, network_only=True))
        add(f"image to full-size masks, {precision}", inference(peer, 1, bf16, network_only=False))
        for batch in (2, 16):
            step = functools.partial(training_step, batch=batch, device=DEVICE, bf16=bf16)
            add(f"training step, batch {batch}, {precision}", {who: step(who) for who in (OURS, PEER)})
    card = torch.cuda.get_device_name()
    report(f"{card}, {HEIGHT} x {WIDTH}, median ms (spread)", lines, options.json, card=card)


if __name__ == "__main__":
    main()

"""A training step of a ResNet-50-FPN Mask R-CNN beside torchvision's: same image, objects, RoIs sampled; and
the loader.

    python benchmarks/training.py [--json FILE] [--rounds N] [--batch B ...]

fp32, 512 RoIs and 256 anchors sampled an image, frozen norms, gradients of everything from the third stage
on; forward, backward, and SGD's step. Each way in a process of its own. Then the images a second of the data
loader alone against those of the step: for a ResNet-50-FPN at this size and for the shipped recipe, fp32 and
bf16.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
from peer_network import HEIGHT, WIDTH, ellipses, image, ours, state_of, theirs
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from maskrcnn.config.load import Config, load_config
from maskrcnn.images.batch import empty_targets
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.model.build import build
from maskrcnn.training_data.fill_config import fill_config
from maskrcnn.training_data.loader import train_loader
from maskrcnn.tuning import tune

OBJECTS = 12


def boxes_and_masks() -> tuple[torch.Tensor, torch.Tensor]:
    """Twelve ellipses: their boxes (12, 4) and full-size masks (12, H, W) uint8."""
    generator = torch.Generator().manual_seed(3)
    sides = torch.rand(OBJECTS, 2, generator=generator) * 250 + 60
    corner = torch.rand(OBJECTS, 2, generator=generator) * (torch.tensor([WIDTH, HEIGHT]) - sides)
    boxes = torch.cat([corner, corner + sides], 1)
    return boxes, ellipses(boxes.tolist(), HEIGHT, WIDTH)


def way(name: str, batch: int, device: str = "cpu", bf16: bool = False) -> Callable[[], Any]:
    """A step of training by `name`."""
    peer = torchvision()
    if peer is None:
        raise SystemExit("training.py: needs torchvision beside us; benchmarks/README.md says how")
    state, pixels = state_of(peer), image()
    boxes, masks = boxes_and_masks()
    if name == OURS:
        tune()
        network = ours(state).to(device)
        targets = empty_targets(batch, OBJECTS, 112, 0)
        targets.boxes[:] = targets.mask_boxes[:] = boxes
        targets.valid[:] = targets.has_mask[:] = True
        targets.masks[:] = 1
        targets.seeds[:] = torch.arange(batch)
        images = torch.nn.functional.pad(pixels, (0, 1344 - WIDTH)).expand(batch, -1, -1, -1).to(device)
        sizes = torch.tensor([[HEIGHT, WIDTH]] * batch, device=device)
        targets = targets.to(device)

        def losses() -> dict[str, Any]:
            return network.losses(images, sizes, targets)
    else:
        network: Any = theirs(peer, state).to(device)  # type: ignore[no-redef]
        objects = {"boxes": boxes, "labels": torch.ones(OBJECTS, dtype=torch.int64), "masks": masks}
        given = [{key: value.to(device) for key, value in objects.items()} for _ in range(batch)]
        pixels = pixels.to(device)

        def losses() -> dict[str, Any]:
            return network([pixels.float() / 255] * batch, given)

    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-6, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            found = losses()
        sum(found.values()).backward()  # type: ignore[union-attr]
        optimizer.step()

    return step


def step_gflop(batch: int) -> float:
    """The 1e9 operations of convolutions and products of matrices in a step of ours, a product and its sum
    being two.
    """
    step = way(OURS, batch)
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9


def loader_against_step(
    recipe: str, config: Config, side: tuple[int, int], skip_steps: bool = False
) -> dict[str, Any]:
    """Images a second of the loader by itself, from image files, and of the steps that its batches feed."""
    with TemporaryDirectory() as folder:
        generated = Synthetic(
            6 * config.train.batch + 24, side=side, people=config.model.keypoint_head is not None
        )
        write_coco(generated, Path(folder) / "train.json", Path(folder) / "images")
        dataset = open_dataset(Path(folder) / "train.json")
        config = fill_config(config, dataset)
        loader = train_loader(dataset, list(range(len(dataset.classes))), config)
        images, begin, samples = 0, 0.0, []
        for number, (batch, targets, _) in enumerate(loader):
            if number == 2:  # the workers have started
                begin = time.perf_counter()
            elif number > 2:
                images += len(batch.images)
            if number < 3:
                samples.append((batch, targets))
        found: dict[str, Any] = {"recipe": recipe, "loader": images / (time.perf_counter() - begin)}
    if not skip_steps:
        for precision in ("fp32", "bf16"):
            found[precision] = step_rate(config, samples, precision)
    return found


def step_rate(config: Config, samples: list[Any], precision: str) -> float:
    """Images a second of the training step alone, on batches that the loader gave."""
    network = build(config.model).train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-6, momentum=0.9)
    rates = []
    for batch, targets in samples:
        begin = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            losses = network.losses(batch.images, batch.sizes, targets)
        sum(losses.values()).backward()  # type: ignore[union-attr]
        optimizer.step()
        rates.append(len(batch.images) / (time.perf_counter() - begin))
    return statistics.median(rates)


def loaders(large_step: float) -> list[dict[str, Any]]:
    """The loader of both recipes against their steps; `large_step` is the ResNet's images a second."""
    large = load_config({"train": {"batch": 2}})
    rows = [
        loader_against_step(f"ResNet-50-FPN, {HEIGHT} x {WIDTH}, batch 2", large, (480, 640), skip_steps=True)
        | {"fp32": large_step},
        # its batch of 16 in parts of 4: the same images a second, in less memory
        loader_against_step(
            "person-mobilenet", load_config("person-mobilenet", ["train.batch=4"]), (360, 480)
        ),
    ]
    table = Table(title=f"Images/s: the loader alone, {large.data.workers} workers, and the step alone")
    for name in ("", "loader", "step, fp32", "step, bf16", "loader / fastest step"):
        table.add_column(name, justify="right")
    for row in rows:
        row["ratio"] = row["loader"] / max(row["fp32"], row.get("bf16", 0))
        cells = [f"{row[key]:.2f}" if key in row else "" for key in ("loader", "fp32", "bf16", "ratio")]
        table.add_row(row["recipe"], *cells)
    Console(width=120).print(table)
    return rows


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--serve")
    options = parser.parse_args()
    if options.serve:
        who, _, batch = options.serve.rpartition(":")
        serve(way(who, int(batch)))
        return
    lines = []
    peaks = [peak_gflops()]
    for batch in options.batch:
        apart = {who: Apart(__file__, f"{who}:{batch}") for who in (OURS, PEER)}
        # the larger a batch, the longer its rounds
        line = Line(
            f"training step, batch {batch}", in_turns(apart, max(1, options.rounds // batch)), least=1.4
        )
        line.notes = {f"{who}, GB": round(each.close() / 1e9, 2) for who, each in apart.items()}
        peaks.append(peak_gflops())
        lines.append(line)
    gflop = step_gflop(1)
    for batch, line in zip(options.batch, lines, strict=True):
        line.notes["share of peak"] = share_of_peak(gflop * batch, line.median(OURS), max(peaks))
    report(
        f"Training, {HEIGHT} x {WIDTH}, median ms (spread)",
        lines,
        options.json,
        gflop_of_a_image=round(gflop),
        peak_gflops=round(max(peaks)),
        loader=loaders(options.batch[-1] / lines[-1].median(OURS)),
    )


if __name__ == "__main__":
    main()

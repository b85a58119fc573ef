"""A training step of a ResNet-50-FPN Mask R-CNN beside torchvision's: same picture, objects, RoIs sampled; and the loader.

    python benchmarks/training.py [--json FILE] [--rounds N] [--batch B]

fp32, 512 RoIs and 256 anchors sampled a picture, frozen norms, gradients of everything from the third stage on; forward,
backward, and SGD's step. Each way in a process of its own. Then the pictures a second of the data loader alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from measure import OURS, PEER, Apart, Line, arguments, in_turns, report, serve, torchvision
from peer_network import HEIGHT, WIDTH, ours, picture, state_of, theirs

from maskrcnn.allocator import keep_freed_memory
from maskrcnn.batch import empty_targets
from maskrcnn.config import load_config
from maskrcnn.data.fill_config import fill_config
from maskrcnn.data.loader import train_loader
from maskrcnn.data.open import open_dataset
from maskrcnn.data.synthetic import Synthetic
from maskrcnn.data.write_coco import write_coco

OBJECTS = 12


def boxes_and_masks() -> tuple[torch.Tensor, torch.Tensor]:
    """Twelve ellipses: their boxes (12, 4) and full-size masks (12, H, W) uint8."""
    generator = torch.Generator().manual_seed(3)
    sides = torch.rand(OBJECTS, 2, generator=generator) * 250 + 60
    corner = torch.rand(OBJECTS, 2, generator=generator) * (torch.tensor([WIDTH, HEIGHT]) - sides)
    boxes = torch.cat([corner, corner + sides], 1)
    y, x = torch.arange(HEIGHT)[:, None] + 0.5, torch.arange(WIDTH)[None] + 0.5
    masks = []
    for x1, y1, x2, y2 in boxes.tolist():
        inside = ((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2 <= 1
        masks.append(inside.to(torch.uint8))
    return boxes, torch.stack(masks)


def way(name: str, batch: int) -> Callable[[], Any]:
    """A step of training by `name`."""
    peer = torchvision()
    if peer is None:
        raise SystemExit("training.py: needs torchvision beside us; benchmarks/README.md says how")
    state, pixels = state_of(peer), picture()
    boxes, masks = boxes_and_masks()
    if name == OURS:
        keep_freed_memory()
        network = ours(state)
        targets = empty_targets(batch, OBJECTS, 112, 0)
        targets.boxes[:], targets.valid[:], targets.has_mask[:], targets.mask_boxes[:] = boxes, True, True, boxes
        targets.masks[:] = torch.ones(112, 112, dtype=torch.uint8)
        targets.seeds[:] = torch.arange(batch)
        images = torch.nn.functional.pad(pixels, (0, 1344 - WIDTH)).expand(batch, -1, -1, -1)
        sizes = torch.tensor([[HEIGHT, WIDTH]] * batch)

        def losses() -> dict[str, Any]:
            return network.losses(images, sizes, targets)
    else:
        network: Any = theirs(peer, state)  # type: ignore[no-redef]
        labels = torch.ones(OBJECTS, dtype=torch.int64)
        given = [{"boxes": boxes, "labels": labels, "masks": masks} for _ in range(batch)]

        def losses() -> dict[str, Any]:
            return network([pixels.float() / 255] * batch, given)

    network.train()
    for part in ("backbone.body.conv1", "backbone.body.layer1", "backbone.stem", "backbone.stages.0"):
        for parameter_name, parameter in network.named_parameters():
            if parameter_name.startswith(part):
                parameter.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-6, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        sum(losses().values()).backward()
        optimizer.step()

    return step


def loader_rate() -> dict[str, str]:
    """Pictures a second that the loader gives by itself at the person recipe's settings, from picture files."""
    config = load_config("person-mobilenet")
    with TemporaryDirectory() as folder:
        generated = Synthetic(120, side=(360, 480), people=True)
        write_coco(generated, Path(folder) / "train.json", Path(folder) / "images")
        dataset = open_dataset(Path(folder) / "train.json")
        config.model.classes = dataset.classes
        loader = train_loader(dataset, list(range(len(dataset.classes))), fill_config(config, dataset))
        pictures, begin = 0, 0.0
        for number, (batch, _, _) in enumerate(loader):
            if number == 2:
                begin = time.perf_counter()
            elif number > 2:
                pictures += len(batch.images)
        rate = pictures / (time.perf_counter() - begin)
    return {"person-mobilenet": f"{rate:.1f} pictures/s with {config.data.workers} workers"}


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--serve")
    options = parser.parse_args()
    if options.serve:
        who, _, batch = options.serve.rpartition(":")
        serve(way(who, int(batch)))
        return
    apart = {who: Apart(__file__, f"{who}:{options.batch}") for who in (OURS, PEER)}
    line = Line(f"training step, batch {options.batch}", in_turns(apart, options.rounds), least=1.4)
    line.notes = {f"{who}, GB": round(each.close() / 1e9, 2) for who, each in apart.items()}
    report(f"Training, {HEIGHT} x {WIDTH}, median ms (spread)", [line], options.json, loader=loader_rate())


if __name__ == "__main__":
    main()

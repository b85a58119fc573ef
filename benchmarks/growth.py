"""How time and memory grow: with image area, detections, batch, and ground truths.

    python benchmarks/growth.py [--json FILE] [--plot FILE] [--rounds N]

A small network of ours (MobileNetV2-FPN, the shipped recipe's heads, random weights) on random images; COCO's
figures of 100 detections an image, boxes and masks of the same size in images of any. Each row has the time
of a step and its ratio to a straight line through the first row: 1 is linear, below 1 is better than linear.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import OURS, arguments, in_child, in_turns, in_words, machine, peak_memory
from rich.console import Console
from rich.table import Table

from maskrcnn.config.load import load_config
from maskrcnn.evaluate.coco import score_results
from maskrcnn.files import write_json
from maskrcnn.images.batch import empty_targets
from maskrcnn.instances import Masks
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.model.optimise import optimise
from maskrcnn.tuning import tune

SWEEPS: dict[str, list[int]] = {
    "image side, prediction": [256, 512, 1024, 2048],
    "detections, masks as RLE": [10, 100, 1000],
    "batch, prediction": [1, 2, 4, 8],
    "ground truths, training step": [1, 10, 100, 1000],
    "image side, training step": [256, 512, 1024],
    "images, COCO evaluation": [50, 100, 200, 400],
    "image side, COCO evaluation": [256, 512, 1024, 2048],
}


def network(side: int) -> MaskRCNN:
    torch.manual_seed(0)
    config = load_config("person-mobilenet").model
    config.classes, config.keypoint_head = ["thing"], None
    config.input = config.input.model_copy(update={"short_side": side, "long_side": side})
    return build(config)


def evaluation(images: int, side: int) -> Callable[[], Any]:
    """Scoring 100 detections in each of so many square images, 20 of them near one of 10 objects each."""
    rng = np.random.default_rng(0)
    labels, results = [], []
    for number in range(images):
        corners = rng.uniform(0, side - 60, (100, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(20, 60, (100, 2))], 1).astype(np.float32)
        boxes[:20] = boxes[20:30].repeat(2, 0) + rng.uniform(-3, 3, (20, 4))
        codes = Masks(np.ones((100, 28, 28), np.float32), boxes, (side, side)).rle()
        shapes = list(zip(boxes.tolist(), codes, strict=True))
        objects = [Annotation((x0, y0, x1, y1), 0, rle=code) for (x0, y0, x1, y1), code in shapes[20:30]]
        labels.append(LabelledImage(number, f"{number}.png", None, side, side, objects))
        results += [
            {
                "image_id": number,
                "category_id": 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "score": float(rng.random()),
                "segmentation": {"size": [side, side], "counts": code["counts"].decode()},
            }
            for (x0, y0, x1, y1), code in shapes
        ]
    dataset = FileDataset(labels, DatasetInfo(name="generated", classes=["thing"], class_ids=[1]))
    return lambda: score_results(dataset, results, ["bbox", "segm"])


def work(sweep: str, size: int) -> tuple[Callable[[], Any], float]:
    """What is timed at one size, and how much work that is."""
    if sweep == "detections, masks as RLE":
        rng = np.random.default_rng(0)
        corners = rng.uniform(0, 900, (size, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(40, 100, (size, 2))], 1).astype(np.float32)
        masks = Masks(rng.random((size, 28, 28), np.float32), boxes, (1000, 1000))
        return masks.rle, size
    if sweep.endswith("COCO evaluation"):
        if sweep.startswith("images"):
            return evaluation(size, 480), size
        return evaluation(50, size), size * size
    side = size if sweep.startswith("image side") else 256
    batch = size if sweep.startswith("batch") else 1
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
    sizes = torch.tensor([[side, side]] * batch)
    model = network(side)
    if "training" not in sweep:
        model = optimise(model)

        def predict() -> None:
            with torch.no_grad():
                model(images, sizes)

        return predict, side * side * batch
    count = size if sweep.startswith("ground truths") else 10
    targets = empty_targets(1, count, 112, 0)
    corner = torch.rand(count, 2) * (side - 40)
    corners = torch.cat([corner, corner + 8 + 30 * torch.rand(count, 2)], 1)
    targets.boxes[0] = targets.mask_boxes[0] = corners
    targets.valid[:], targets.has_mask[:], targets.masks[:] = True, True, 1

    def step() -> None:
        model.zero_grad()
        sum(model.losses(images, sizes, targets).values()).backward()

    return step, count if sweep.startswith("ground truths") else side * side


def measure(sweep: str, size: int, rounds: int) -> dict[str, float]:
    """Median seconds and peak memory, in this process."""
    tune()
    way, amount = work(sweep, size)
    seconds = float(np.median(in_turns({OURS: way}, rounds)[OURS]))
    return {"size": size, "amount": amount, "seconds": seconds, "memory": peak_memory()}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--plot", type=Path, help="draw the curves here; else beside the JSON")
    parser.add_argument(
        "--one", nargs=2, metavar=("SWEEP", "SIZE"), help="measure one point (the others call this)"
    )
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]), options.rounds)))
        return
    found: dict[str, list[dict[str, float]]] = {}
    rounds = "--rounds", str(options.rounds)
    for sweep, sizes in SWEEPS.items():
        found[sweep] = [in_child(__file__, "--one", sweep, str(size), *rounds) for size in sizes]
        show(sweep, found[sweep])
    where = machine()
    print(in_words(where))
    if options.json:
        write_json(options.json, {"machine": where, "sweeps": found})
    plot = options.plot or (options.json and options.json.with_suffix(".png"))
    if plot:
        draw(found, plot)


def show(sweep: str, rows: list[dict[str, float]]) -> None:
    table = Table(title=sweep)
    for name in ("size", "ms", "times the first", "of linear", "peak memory, MB"):
        table.add_column(name, justify="right")
    for row in rows:
        grown, more = row["seconds"] / rows[0]["seconds"], row["amount"] / rows[0]["amount"]
        cells = [f"{row['size']:g}", f"{1e3 * row['seconds']:.1f}", f"{grown:.1f}", f"{grown / more:.2f}"]
        table.add_row(*cells, f"{row['memory'] / 1e6:.0f}")
    Console().print(table)


def draw(found: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Time against work on logarithmic axes, a straight line of slope 1 beside each curve."""
    from matplotlib.figure import Figure

    across = -(-len(found) // 2)
    figure = Figure(figsize=(4 * across, 7), layout="constrained")
    every = figure.subplots(2, across).ravel()
    for axes in every[len(found) :]:
        axes.remove()
    for axes, (sweep, rows) in zip(every, found.items(), strict=False):
        amounts = [row["amount"] / rows[0]["amount"] for row in rows]
        first = 1e3 * rows[0]["seconds"]
        axes.loglog(amounts, [1e3 * row["seconds"] for row in rows], "o-", label="measured")
        axes.loglog(amounts, [first * amount for amount in amounts], ":", color="grey", label="linear")
        axes.set(title=sweep, xlabel="work, times the first", ylabel="ms")
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()

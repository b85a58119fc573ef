"""What to train with, from the sizes of the objects: image side, anchors, schedule, and what a step costs here."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from maskrcnn.check.findings import Findings, Suspect
from maskrcnn.check.statistics import Statistics
from maskrcnn.config.load import Config, load_config
from maskrcnn.images.view import resized_view, transform_boxes
from maskrcnn.labels.types import Dataset
from maskrcnn.model.anchors import cell_anchors
from maskrcnn.shell import shell_command
from maskrcnn.training_data.fill_config import fill_config

WANTED_SIDE = 24.0  # pixels of the network's input that three in four objects should have: less costs masks, more time
SIDES = (256, 1024)  # short sides that are reasonable on the machines people have
MOST_ENLARGED = 2.0
TILED = 1600  # long side of the network's input above which tiles are better
OBJECT_VIEWS = 30_000  # views of objects after which narrow networks have stopped learning fast
STRIDES = (4, 8, 16, 32, 64)
MOSAIC_MORE = 64  # pixels by which a mosaic's canvas passes the short side
ENOUGH = 5.0  # seconds of steps
MEASURED_BATCH = 2  # images of a step that is measured
WIDEST_STEP = 2.5  # between the anchors of two levels


@dataclass
class Advice:
    """Settings to train with, as overrides of a recipe, and what they cost on this machine."""

    recipe: str
    overrides: list[str]
    command: str
    reasons: list[str]
    seconds_per_image: float | None = None  # of a training step, measured
    hours: float | None = None
    memory_gb: float | None = None  # the most that this process held while a step ran

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def advise(
    source: str,
    train: Dataset,
    stats: Statistics,
    recipe: str | None = None,
    *,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    class_name: str | None = None,
) -> Advice:
    """Overrides of a shipped recipe that fit the data.

    Args:
        class_name: what --class said, for the command.
        mean, std: of the images' channels, where these are not RGB's three.
    """
    if recipe is None:
        recipe = "person-mobilenet" if stats.with_keypoints else "nuclei-mobilenet"
    reasons, overrides = [], []
    small, large = stats.sides[0], stats.sides[4]
    if len(mean) not in (0, 3):
        reasons.append(
            f"images of {len(mean)} channel{'s' * (len(mean) > 1)}: the first convolution is adapted, and learns"
        )
        overrides += [f"model.input.channels={len(mean)}", f"model.input.mean={_listed(mean)}"]
        overrides += [f"model.input.std={_listed(std)}", "model.backbone.freeze=0"]
    side, long, scale = _side(stats)
    tiles = _tiles(stats)
    quarter = stats.sides[1]
    if tiles is None:
        reasons.append(
            f"short side {side}: a quarter of the objects are under {quarter:.0f} pixels, {quarter * scale:.0f} then"
        )
    else:
        side = long = SIDES[1]
        scale = side / tiles[0]
        reasons.append(
            f"tiles of {tiles[0]} pixels: a quarter of the objects are under {quarter:.0f} pixels in images of up to "
            f"{stats.long_sides[4]:.0f}, {quarter * scale:.0f} in a tile; they overlap by {tiles[1]}, as large objects"
        )
        overrides += [f"data.tiles.side={tiles[0]}", f"data.tiles.overlap={tiles[1]}"]
        overrides += _ignored_remnants(load_config(recipe))
    overrides += [f"model.input.short_side={side}", f"model.input.long_side={long}"]
    overrides += [f"data.augment.short_sides={_around(side)}", f"data.augment.long_side={long}"]
    augment = load_config(recipe).data.augment
    if augment.jitter is not None:  # it would be taken instead of the short sides
        overrides += ["data.augment.jitter=null", "data.augment.crop=null"]
    if augment.mosaic:  # as large as an image, whose long side is cut
        overrides.append(f"data.augment.mosaic_canvas=[{side + MOSAIC_MORE},{side + MOSAIC_MORE}]")
    anchors = _anchor_sizes(small * scale, large * scale)
    if len(load_config(recipe).model.rpn.sizes) == 1:  # C4 and DC5 have one level
        anchors = [[size for level in anchors for size in level]]
    reasons.append(
        f"anchors from {anchors[0][0]} to {anchors[-1][-1]}: nine in ten objects are {small * scale:.0f} to"
        f" {large * scale:.0f} then"
    )
    overrides.append(f"model.rpn.sizes={str(anchors).replace(' ', '')}")
    low, high = stats.ratios[0], stats.ratios[4]
    ratios = (
        [1.0]
        if 0.6 <= low and high <= 1.7
        else [0.5, 1.0, 2.0]
        if 0.3 <= low and high <= 3.5
        else [0.25, 0.5, 1.0, 2.0, 4.0]
    )
    reasons.append(f"anchor ratios {ratios}: height / width is {low:.2f} to {high:.2f} (5 to 95%)")
    overrides.append(f"model.rpn.ratios={str(ratios).replace(' ', '')}")
    epochs = int(np.clip(math.ceil(OBJECT_VIEWS / max(stats.objects, 1)), 5, 200))
    reasons.append(f"{epochs} epochs: {epochs * stats.objects} views of {stats.objects} objects")
    overrides.append(f"train.epochs={epochs}")
    if not stats.with_mask:
        overrides.append("model.mask_head=null")
    if not stats.with_keypoints:
        if load_config(recipe).model.keypoint_head is not None:
            overrides.append("model.keypoint_head=null")
    sets = [word for override in overrides for word in ("--set", override)]
    named = [] if class_name is None else ["--class", class_name]
    command = shell_command(["maskrcnn", "train", source, *named, "--recipe", recipe, *sets])
    return Advice(recipe, overrides, command, reasons)


def measure(advice: Advice, train: Dataset) -> None:
    """Runs training steps with the advised settings and notes what the fastest cost: the first warms up, others may be
    slowed by what else the machine does."""
    from maskrcnn.model.build import build
    from maskrcnn.training_data.loader import train_loader
    from maskrcnn.training_data.tiles import TiledDataset

    config = fill_config(load_config(advice.recipe, advice.overrides), train)
    if config.data.tiles is not None:
        train = TiledDataset(train, config.data.tiles, channels=config.model.input.channels)
    config.data.workers = 0
    # one process, and the memory of one part: the recipe's own parts need not divide so small a batch
    config.train.batch, config.train.accumulate = min(MEASURED_BATCH, len(train)), 1
    network = build(config.model).train()
    batches = iter(train_loader(train, list(range(len(train.classes))), config))
    bf16 = config.train.precision == "bf16"
    batch, targets, _ = next(batches)
    times: list[float] = []
    while len(times) < 2 or (len(times) < 3 and sum(times) < ENOUGH):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = network.losses(batch.images, batch.sizes, targets)
        torch.stack(list(losses.values())).sum().backward()
        times.append(time.perf_counter() - start)
    advice.seconds_per_image = round(min(times) / len(batch.images), 3)
    advice.hours = round(advice.seconds_per_image * len(train) * config.train.epochs / 3600, 2)
    advice.memory_gb = _peak_memory_gb()


def _peak_memory_gb() -> float | None:
    """The most memory that this process ever held; None on Windows, which does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1024**3, 2)


def check_anchors(dataset: Dataset, config: Config, split: str, findings: Findings) -> None:
    """Objects that no anchor of the settings overlaps well, at the size that the network sees them.

    As if an anchor were centred on the object: the best that any position can do.
    """
    model = config.model
    cells = [cell_anchors(list(sizes), list(model.rpn.ratios), False).numpy() for sizes in model.rpn.sizes]
    shapes = np.concatenate([cell[:, 2:] - cell[:, :2] for cell in cells])  # (A, 2) width and height
    smallest = min(min(sizes) for sizes in model.rpn.sizes)
    for index in range(len(dataset)):
        image = dataset.image(index)
        objects = [a for a in image.annotations if not a.crowd]
        if not objects:
            continue
        view = resized_view(image.height, image.width, model.input.short_side, model.input.long_side)
        boxes = transform_boxes(np.array([a.box for a in objects], np.float64), view)
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
        both = np.minimum(sides[:, None], shapes).prod(2)
        iou = (both / (sides.prod(1)[:, None] + shapes.prod(1) - both)).max(1)
        for annotation, side, best in zip(objects, np.sqrt(sides.prod(1)), iou, strict=True):
            suspect = Suspect(split, index, f"annotation {annotation.id} of image {image.file_name!r}", annotation.box)
            if side < smallest / 2:
                remedy = f"of {smallest:g} pixels: train on larger images (model.input.short_side), or on tiles"
                findings.add("object less than half as large as the smallest anchor", "warning", remedy, suspect)
            elif best < model.rpn.negative_iou:
                remedy = f"IoU below {model.rpn.negative_iou}: change model.rpn.sizes or ratios"
                findings.add("object that no anchor matches", "warning", remedy, suspect)


def _anchor_sizes(small: float, large: float) -> list[list[int]]:
    """Anchors for objects of these sides: one a level and twice as large on each, or in larger steps to reach the large.

    A step beyond WIDEST_STEP would leave objects between two sizes that neither overlaps by half: then there are two of
    each level.
    """
    levels = len(STRIDES)
    power = math.log2(max(small, 4.0))
    below = 2 ** int(np.clip(math.floor(power), 3, 5))
    first = below if below << (levels - 1) >= large else 2 ** int(np.clip(round(power), 3, 5))
    step = max(2.0, (large / first) ** (1 / (levels - 1)))
    if step <= WIDEST_STEP:
        return [[_even(first * step**level)] for level in range(levels)]
    half = (large / first) ** (1 / (2 * levels - 1))
    return [[_even(first * half ** (2 * level)), _even(first * half ** (2 * level + 1))] for level in range(levels)]


def _even(side: float) -> int:
    return max(4, 4 * round(side / 4))


def _side(stats: Statistics) -> tuple[int, int, float]:
    """Short and long side of the network's input for whole images, and its pixels per pixel of a middling one."""
    short, small = stats.short_sides[2], stats.sides[1]
    scale = min(MOST_ENLARGED, WANTED_SIDE / max(small, 1e-6)) if small < WANTED_SIDE else 1.0
    side = int(np.clip(round(short * scale / 32) * 32, *SIDES))
    scale = side / short
    long = int(math.ceil(max(stats.long_sides[4] * scale, side) / 32) * 32)
    return side, min(long, TILED), scale


def _tiles(stats: Statistics) -> tuple[int, int] | None:
    """Side and overlap of tiles; None where whole images show their small objects large enough."""
    needed = min(MOST_ENLARGED, WANTED_SIDE / max(stats.sides[1], 1e-6))  # the network's pixels per pixel
    if stats.long_sides[4] * needed <= TILED:
        return None
    side = round(SIDES[1] / needed / 32) * 32
    return side, int(np.clip(math.ceil(stats.sides[4] / 32) * 32, 64, side // 2))


def _ignored_remnants(config: Config) -> list[str]:
    """What a recipe must have for tiles: the remnants of objects at their borders are ignored."""
    return [f"model.{n}.ignore_iou=0.5" for n in ("rpn", "roi") if getattr(config.model, n).ignore_iou is None]


def _listed(values: Sequence[float]) -> str:
    return "[" + ",".join(f"{value:g}" for value in values) + "]"


def _around(side: int) -> str:
    """Short sides to train on about the one to test at."""
    sides = sorted(
        {int(np.clip(round(side * factor / 32) * 32, 128, SIDES[1])) for factor in (0.7, 0.8, 0.9, 1.0, 1.1)}
    )
    return str(sides).replace(" ", "")

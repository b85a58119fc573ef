"""What to train with, from the labels and the machine: what `check` prints and `train` takes by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from maskrcnn.check.draft import Draft, compact
from maskrcnn.check.geometry import advise_anchors, advise_sides
from maskrcnn.check.length import Cost, advise_length
from maskrcnn.check.machine import Machine
from maskrcnn.check.start import choose_start, find_trunk
from maskrcnn.check.statistics import Statistics
from maskrcnn.config.load import Config, load_config
from maskrcnn.config.migrate import setting_of
from maskrcnn.labels.options import PLAIN, LabelOptions
from maskrcnn.shell import counted, shell_command

FEW_IMAGES = 200  # with an object: below, a fifth is kept to evaluate on, else a tenth
LEAST_IMAGES = 5  # the same: below, none is
MOST_DETECTIONS = 1000
ROIS_AN_OBJECT = 4  # positive and negative ones that an object should have in training
MOST_ROIS = {"cpu": 128, "mps": 128, "cuda": 256}
GB_PER_MEGAPIXEL = 1.7  # of a training step of MobileNetV2; measured
OF_CHANNELS = (
    *("model.input.channels", "model.input.mean", "model.input.std"),
    "model.backbone.freeze",
)
CROWDED = 4  # objects of an image, in the middle, from which on mosaics need not add some


@dataclass
class Advice:
    """Settings to train with, as overrides of a recipe, and what they cost on this machine."""

    recipe: str
    overrides: list[str]
    command: str
    reasons: list[str]
    seconds_per_image: float | None = None  # of a training step, measured; where there are tiles, for a tile
    hours: float | None = None
    memory_gb: float | None = None  # the most that this process held while a step ran

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))

    @property
    def config(self) -> Config:
        return load_config(self.recipe, self.overrides)

    def note_cost(self, cost: Cost) -> None:
        """What was measured, and what it makes of the training."""
        train = self.config.train
        self.seconds_per_image = round(cost.step, 3)
        self.hours = round(cost.of_epoch(train.batch) * train.epochs / 3600, 2)
        self.memory_gb = cost.memory_gb


def recipe_text(config: Config, reasons: Sequence[str]) -> str:
    """A recipe to be edited: why each choice was made, and what differs from the defaults."""
    settings = config.model_dump(mode="json", exclude_defaults=True)
    comments = "".join(f"# {' '.join(reason.split())}\n" for reason in reasons)
    return comments + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def advise(
    source: str,
    stats: Statistics,
    recipe: str | None = None,
    *,
    val_images: int = 0,
    machine: Machine | None = None,
    asked: Sequence[str] = (),
    seconds: float | None = None,
    cost: Cost | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    options: LabelOptions = PLAIN,
    val: str | None = None,
    channels_asked: bool = False,
) -> Advice:
    """A recipe, and overrides of it, that fit data and machine.

    Args:
        stats: of the train split, which has objects.
        recipe: None: all is chosen. Else only what depends on the data: sides, anchors, heads, length.
        val_images: of the val split; 0: there is none.
        machine: None: this one.
        asked: overrides that a person wants; what is chosen fits them.
        seconds: that the training may take, for which `cost` is needed.
        mean, std: of the images' channels, where these are not RGB's three.
        options, val: what was said of the labels, for the command.
        channels_asked: these are not the channels that `train` takes by itself.
    """
    machine = machine or Machine.here()
    if recipe is None:
        draft = choose_start(stats, machine, asked)
    else:
        draft = Draft(recipe, asked=list(asked))
        _advise_trunk(draft)
    if mean and (len(mean) != 3 or draft.config.model.input.channels != 3):
        _advise_channels(draft, mean, std)
    _advise_heads(draft, stats)
    scale = advise_sides(draft, stats, machine.device)
    advise_anchors(draft, stats, scale)
    if recipe is None:
        _advise_slots(draft, stats, machine)
        _advise_batch(draft, stats, machine)
        _advise_augmentation(draft, stats)
        if not val_images:
            _advise_split(draft, stats)
    config = draft.config
    kept = 0 if val_images else round((config.data.val_share or 0) * stats.images)
    advise_length(draft, stats, val_images, kept, seconds, cost, chosen=recipe is None)
    config = draft.config
    words = ["maskrcnn", "train", source, *options.words(None if recipe is None else config.data)]
    words += [] if val is None else ["--val", val]
    typed = draft.overrides
    if recipe is None and channels_asked:
        typed = [each for each in typed if setting_of(each) in OF_CHANNELS] or ["model.input.channels=3"]
    if recipe is not None or channels_asked:
        words += [] if recipe is None else ["--recipe", recipe]
        words += [word for each in typed for word in ("--set", each)]
    return Advice(draft.recipe, [*draft.overrides, *asked], shell_command(words), draft.reasons)


def _advise_trunk(draft: Draft) -> None:
    """Weights for a frozen backbone, which `train` refuses to leave at random ones."""
    config = draft.config
    if config.train.trunk or config.train.init or not config.model.backbone.freeze:
        return
    trunk = find_trunk(config)
    if trunk:
        draft.add("the recipe freezes a part of the backbone and names no weights", f"train.trunk={trunk}")
    else:
        draft.add(
            "there are no pretrained weights for this backbone, so all of it is trained",
            "model.backbone.freeze=0",
        )


def _advise_channels(draft: Draft, mean: Sequence[float], std: Sequence[float]) -> None:
    draft.add(
        f"images of {counted(len(mean), 'channel')}: the first convolution is adapted, and learns",
        f"model.input.channels={len(mean)}",
        f"model.input.mean={compact(mean)}",
        f"model.input.std={compact(std)}",
        "model.backbone.freeze=0",
    )


def _advise_heads(draft: Draft, stats: Statistics) -> None:
    """No head that the labels have nothing for."""
    model = draft.config.model
    if not stats.with_mask and model.mask_head is not None:
        draft.add("no mask head: the labels have no masks", "model.mask_head=null")
    if not stats.with_keypoints and model.keypoint_head is not None:
        draft.add("no keypoint head: the labels have no keypoints", "model.keypoint_head=null")
    if 2 * stats.loose > stats.with_mask:
        draft.add(
            "boxes as the box head gives them: the labels' boxes do not end where their masks do",
            "model.test.box_from_mask=0",
        )


def _advise_slots(draft: Draft, stats: Statistics, machine: Machine) -> None:
    """Room for as many detections and proposals as images have objects, and RoIs to learn from."""
    model = draft.config.model
    most = stats.most_in_image
    wanted = min(MOST_DETECTIONS, max(100, 100 * math.ceil(1.25 * most / 100)))
    detections = max(model.test.detections, wanted)
    proposals = max(model.rpn.post_nms_test, round(2.5 * detections))
    rois = int(
        np.clip(64 * math.ceil(ROIS_AN_OBJECT * stats.per_image[4] / 64), 64, MOST_ROIS[machine.device])
    )
    draft.add(
        f"slots: {detections} detections, {proposals} proposals, {rois} RoIs an image in training: it has up "
        f"to {counted(most, 'object')}",
        f"model.test.detections={detections}",
        f"model.test.candidates={max(model.test.candidates, proposals)}",
        f"model.rpn.post_nms_test={proposals}",
        f"model.rpn.pre_nms_test={max(model.rpn.pre_nms_test, proposals)}",
        f"model.roi.samples={rois}",
    )


def _advise_batch(draft: Draft, stats: Statistics, machine: Machine) -> None:
    """Images of a step, precision and workers."""
    augment = draft.config.data.augment
    height, width = augment.crop or (max(augment.short_sides), augment.long_side)
    megapixels = max(height * width, math.prod(augment.canvas) if augment.mosaic else 0) / 1e6
    batch = 16 if machine.device == "cuda" else 4 if stats.images < FEW_IMAGES else 8
    batch = min(batch, max(1, stats.images))
    while batch > 1 and batch * megapixels * GB_PER_MEGAPIXEL > machine.memory_gb / 2:
        batch //= 2
    parts = machine.processes * draft.config.train.accumulate  # which are equally large
    batch = max(parts, batch // parts * parts)
    workers = min(8, machine.cores - 1 if machine.device == "cuda" else machine.cores, stats.images)
    precision = "bf16" if machine.bf16 else "fp32"
    draft.add(
        f"batch {batch}, {precision}, {counted(workers, 'worker')}: {machine.line}",
        f"train.batch={batch}",
        f"train.precision={precision}",
        f"data.workers={workers}",
    )


def _advise_augmentation(draft: Draft, stats: Statistics) -> None:
    """What the start was trained with, in as far as the labels allow it."""
    augment = draft.config.data.augment
    changes = []
    if augment.mosaic:
        whole = draft.config.data.tiles is None
        mosaic = 0.5 if whole and stats.per_image[2] < CROWDED else 0.0
        changes += [f"data.augment.mosaic={mosaic}", "data.augment.mosaic_grids=[2]"]
    if stats.with_mask < stats.objects:
        changes += ["data.augment.copy_paste=0"]
    if augment.rotate and not stats.with_mask:  # the box around a tilted box is too large
        changes.append("data.augment.rotate=0")
    draft.overrides += changes
    augment = draft.config.data.augment
    shown = {"flip": augment.flip, "turn": augment.turn, "colour": augment.colour, "mosaic": augment.mosaic}
    shown |= {"copy-paste": augment.copy_paste, "rotate": augment.rotate}
    draft.reasons.append(
        "augmentation: "
        + ", ".join(f"{name} {value:g}" for name, value in shown.items() if value)
        + ("; pasted objects need masks" if stats.with_mask < stats.objects else "")
        + (
            ""
            if augment.turn
            else "; for objects with no right way up, such as cells, data.augment.turn=0.75"
        )
    )


def _advise_split(draft: Draft, stats: Statistics) -> None:
    """A split where there is none, as large as a person asks for or the images allow."""
    labelled = stats.images - stats.empty
    share, asked = 0.2 if labelled < FEW_IMAGES else 0.1, ""
    if draft.asks("data.val_share"):
        share, asked = draft.config.data.val_share or 0.0, ", as asked for"
    elif labelled < LEAST_IMAGES:
        draft.add(f"evaluation: none: {counted(labelled, 'image')} with an object, too few to set one aside")
        return
    kept = f"{round(share * stats.images)} of {counted(stats.images, 'image')} are" if share else "none is"
    draft.reasons.append(f"evaluation: there is no val split, so {kept} kept for it{asked}")
    draft.overrides += [] if asked else [f"data.val_share={share}"]

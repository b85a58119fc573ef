"""A network of a few hundred weights with the contract of MaskRCNN, and a training of it that finishes in a
second.

Run as a program, it trains or evaluates a small real network in as many processes as torchrun starts:
`tiny_network.py FOLDER accumulate`, `tiny_network.py FOLDER killed RANK STEPS`, `tiny_network.py FILE evaluate`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maskrcnn.config.load import Config
from maskrcnn.config.model import ModelConfig
from maskrcnn.images.batch import Targets
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Annotation, Dataset, LabelledImage
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import RawDetections

SIDE = (64, 64)


class TinyNetwork(nn.Module):
    """Learns the share of the image that its objects cover; finds one box per image."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 5, stride=4), nn.GroupNorm(2, 4), nn.ReLU())
        self.head = nn.Linear(4, 4)
        self.poison: str | None = None

    def forward(self, images: Tensor, sizes: Tensor, targets: Targets | None = None) -> Any:
        features = self.backbone(images.float() / 255).mean(dim=(2, 3))
        boxes = self.head(features)
        if targets is None:
            corner = sizes.flip(1).repeat(1, 2).float() * torch.tensor([0.1, 0.1, 0.9, 0.9])
            scores = boxes.sigmoid()[:, :1]
            empty = torch.zeros(len(images), 1, dtype=torch.int64)
            return RawDetections(corner[:, None], scores, empty, torch.ones_like(empty, dtype=torch.bool))
        wanted = (
            (targets.boxes * targets.valid[..., None]).sum(1)
            / targets.valid.sum(1, keepdim=True).clamp(min=1)
            / 64
        )
        # what a network draws at random derives from the images' seeds
        noise = (targets.seeds % 1000 / 1000)[:, None]
        losses = {"box": (boxes - wanted).square().mean(), "class": (boxes * noise).abs().mean()}
        if self.poison == "loss":
            losses["class"] = losses["class"] * float("nan")
        if self.poison == "gradient":
            losses["class"] = losses["class"] + (boxes * 0).square().sum().sqrt()
        return losses


def tiny_config(**train: Any) -> Config:
    """Eight iterations an epoch on `tiny_data()`."""
    model = {"classes": ["circle", "square", "triangle", "star"], "mask_head": None}
    model |= {"input": {"short_side": 64, "long_side": 64}}
    settings = {
        "batch": 4,
        "reference_batch": 4,
        "lr": 0.05,
        "warmup_iterations": 3,
        "epochs": 2.5,
        "clip": 1.0,
        **train,
    }
    augment = {"short_sides": [64], "long_side": 64, "colour": 0.2}
    return Config.model_validate(
        {"model": model, "train": settings, "data": {"workers": 0, "augment": augment}}
    )


def tiny_data(split: str = "train") -> Synthetic:
    return Synthetic(count=32 if split == "train" else 6, side=SIDE, split=split)  # type: ignore[arg-type]


def tiny_network(config: Config) -> TinyNetwork:
    torch.manual_seed(0)
    return TinyNetwork(config.model)


def small_config(accumulate: int) -> Config:
    """Five iterations of a real but narrow Mask R-CNN with masks and keypoints, at a rate that moves its
    weights.
    """
    model = {
        "backbone": {"kind": "mobilenetv2", "freeze": 0},
        "neck": {"channels": 16},
        "rpn": {
            "sizes": [[16], [32], [64], [128], [256]],
            "pre_nms_train": 100,
            "post_nms_train": 50,
            "samples": 32,
        },
        "roi": {"samples": 32},
        "box_head": {"fc_channels": 32},
        "mask_head": {"convs": 1, "channels": 16},
        "keypoint_head": {"convs": 1, "channels": 16},
    }
    train = {
        "epochs": 5 / 8,
        "batch": 4,
        "reference_batch": 4,
        "warmup_iterations": 0,
        "clip": 1.0,
        "accumulate": accumulate,
    }
    augment = {"short_sides": [64], "long_side": 96, "colour": 0.2}
    data = {"augment": augment, "mask_side": 28, "workers": 0}
    return Config.model_validate({"model": model, "train": train, "data": data})


def people() -> Synthetic:
    return Synthetic(count=32, side=(64, 96), people=True)


def train_small(run: Path, accumulate: int) -> None:
    """Five steps of `small_config` on images with shapes and people."""
    from maskrcnn.train.trainer import train

    train(small_config(accumulate), people(), None, run)


def train_until_killed(run: Path, rank: int, steps: int) -> None:
    """The same in two parts, saved after each step and resumed, until process `rank` is killed after so many
    of all.
    """
    from maskrcnn.train.trainer import Trainer, train

    config, step = small_config(2), Trainer._step
    config.train.save_every_seconds = 1e-9

    def killed_step(trainer: Trainer, share: Any) -> None:
        if trainer.progress.iteration == steps and trainer.accelerator.process_index == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        step(trainer, share)

    Trainer._step = killed_step  # type: ignore[method-assign]
    train(config, people(), None, run, resume=(run / "state.pt").exists())


class FoundAgain(Dataset):
    """Images whose labels are near to what a network finds, so that its AP is neither 0 nor 100."""

    def __init__(self, images: Synthetic, found: list[dict[str, Any]]) -> None:
        self.images, self.info, self.found = images, images.info, found

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, index: int) -> Any:
        return self.images.pixels(index)

    def image(self, index: int) -> LabelledImage:
        image = self.images.image(index)
        own = [result for result in self.found if result["image_id"] == image.image_id][index % 3 :: 4]
        image.annotations = [
            Annotation((x, y, x + w * 0.9, y + h), self.class_ids.index(one["category_id"]), id=number)
            for number, one in enumerate(own, 1)
            for x, y, w, h in [one["bbox"]]
        ]
        return image


def evaluate_small(out: Path) -> None:
    """Write what a network finds in seven images, and its scores, as each process is told them."""
    from maskrcnn.evaluate.coco import find_all
    from maskrcnn.train import evaluation
    from maskrcnn.train.setup import make_accelerator

    torch.manual_seed(0)
    images, config = Synthetic(count=7, side=(64, 96)), small_config(1)
    config.model.classes, config.model.keypoint_head, config.model.test.score = images.classes, None, 0.0
    config.model.input.short_side, config.model.input.long_side = 64, 96
    network = build(config.model).eval()
    data = FoundAgain(images, list(find_all(network, images)))
    accelerator, score, found = make_accelerator(config.train), evaluation.score_results, []
    evaluation.score_results = lambda data, results, kinds, most: score(
        data, found.extend(results) or found, kinds, most=most
    )
    scores = evaluation.evaluate_together(network, data, config, accelerator)
    told = {"processes": accelerator.num_processes, "scores": scores.to_dict(), "found": found}
    out.with_suffix(f".{accelerator.process_index}.json").write_text(json.dumps(told))


def choose_in_each(out: Path) -> None:
    """Write what each process takes for chosen where each would choose another, and for refused."""
    from maskrcnn.errors import UserError
    from maskrcnn.train.setup import make_accelerator, of_first

    rank, refused = os.environ["RANK"], ""

    def refuse() -> None:
        raise UserError(f"refused by {rank}")

    chosen = of_first(lambda: rank)
    try:
        of_first(refuse)
    except UserError as error:
        refused = str(error)
    accelerator = make_accelerator(tiny_config(precision="bf16").train)
    told = [chosen, refused, accelerator.num_processes, accelerator.mixed_precision]
    out.with_suffix(f".{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    if sys.argv[2] == "killed":
        train_until_killed(Path(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[2] == "choose":
        choose_in_each(Path(sys.argv[1]))
    elif sys.argv[2] == "evaluate":
        evaluate_small(Path(sys.argv[1]))
    else:
        train_small(Path(sys.argv[1]), int(sys.argv[2]))

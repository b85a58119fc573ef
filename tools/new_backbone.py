"""Carries a trained detector over to another backbone, so that its heads need not be learnt anew.

    python tools/new_backbone.py MODEL RECIPE LABELS OUT --images FOLDER [--steps 1500] [--set KEY=VALUE]...

RECIPE names the new backbone and its trunk; all else must be as in MODEL, but the box head may have fewer
units. First the pyramid's lateral convolutions are fitted by least squares, so that each gives nearly what
the old one gave. Then backbone and pyramid learn, for `--steps`, to give the old pyramid's levels: of any
images, no label is looked at (FitNets, Romero et al. 2015). RPN and heads are MODEL's throughout. OUT is a
start for `train.init`; OUT/fitted is what the fit alone gives.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

import maskrcnn
from maskrcnn.config.load import Config, load_config
from maskrcnn.images.batch import Batch
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.options import LabelOptions
from maskrcnn.model.backbone.fpn import FPN
from maskrcnn.model.box_head import BoxHead
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.train.optimizer import make_optimizer, rate_at, set_rate
from maskrcnn.train.setup import fit_to_data
from maskrcnn.training_data.loader import train_loader
from maskrcnn.weights.load import load_model
from maskrcnn.weights.store import save_model
from maskrcnn.weights.transfer import transfer
from maskrcnn.weights.trunk import load_trunk

FITTED = 48  # batches that the lateral convolutions and the smaller box head are fitted on
RIDGE = 1e-4  # of the mean variance of the inputs


def main() -> None:
    maskrcnn.tune()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("labels")
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    args = parser.parse_args()

    config = load_config(args.recipe, args.settings)
    data = open_dataset(args.labels, "train", options=LabelOptions(images=args.images))
    config, classes = fit_to_data(config, data, None)
    torch.manual_seed(config.train.seed)
    old = load_model(args.model)
    new = build(config.model)
    assert config.train.trunk is not None
    print(*transfer(new, old).lines(args.model), sep="\n")
    load_trunk(new, config.train.trunk)  # in place of what fits of the old backbone
    loader = train_loader(data, classes, config, endless=True)
    batches = (batch for batch, _, _ in loader)

    seen = list(islice(batches, FITTED))
    fit_laterals(new, old, seen)
    fit_box_head(new, old, seen)
    save_model(new, args.out / "fitted", half=True)
    imitate(new, old, batches, config, args.steps)
    save_model(new, args.out / "weights" / "last")


@torch.no_grad()
def fit_laterals(new: MaskRCNN, old: MaskRCNN, batches: list[Batch]) -> None:
    """Sets each lateral convolution to the one whose outputs are nearest to the old one's."""
    assert isinstance(new.neck, FPN) and isinstance(old.neck, FPN)
    sums = [Sums(x.conv.in_channels, x.conv.out_channels) for x in new.neck.lateral]
    for batch in batches:
        levels, wanted = backbone_levels(new, batch), backbone_levels(old, batch)
        for total, x, lateral, y in zip(sums, levels, old.neck.lateral, wanted, strict=True):
            total.add(x.permute(0, 2, 3, 1).flatten(0, 2), lateral(y).permute(0, 2, 3, 1).flatten(0, 2))
    for number, (total, lateral) in enumerate(zip(sums, new.neck.lateral, strict=True)):
        weight, bias, left = total.solve()
        lateral.conv.weight.copy_(weight[:, :, None, None])
        lateral.conv.bias.copy_(bias)
        print(f"level {number}: {left:.1%} of the old lateral's variance is not explained")


@torch.no_grad()
def fit_box_head(new: MaskRCNN, old: MaskRCNN, batches: list[Batch]) -> None:
    """Leaves the old box head's busiest units, and fits what takes them to what it was given before."""
    head, was = new.box_head, old.box_head
    assert isinstance(head, BoxHead) and isinstance(was, BoxHead)
    if head.fcs[0].out_features == was.fcs[0].out_features:
        return
    roi_features = torch.cat([some_rois(old, batch) for batch in batches])
    # what a layer takes, of all units and of those that are left
    x = reduced = roi_features.permute(0, 2, 3, 1).flatten(1)
    followers = [*list(was.fcs)[1:], None]
    for layer, small, after in zip(was.fcs, head.fcs, followers, strict=True):
        given = layer(x)
        takes = torch.cat([was.score.weight, was.deltas.weight]) if after is None else after.weight
        busy = given.relu().square().mean(0).sqrt() * takes.norm(dim=0)
        most = busy.topk(small.out_features).indices.sort().values
        weight, bias = (layer.weight, layer.bias) if reduced is x else fit(reduced, given)[:2]
        small.weight.copy_(weight[most])
        small.bias.copy_(bias[most])
        x, reduced = given.relu(), small(reduced).relu()
    for layer, small in ((was.score, head.score), (was.deltas, head.deltas)):
        weight, bias, left = fit(reduced, layer(x))
        small.weight.copy_(weight)
        small.bias.copy_(bias)
        print(f"box head, {small.out_features} outputs: {left:.1%} of the variance is not explained")


def imitate(
    new: MaskRCNN, old: MaskRCNN, batches: Iterator[Batch], config: Config, steps: int, every: int = 20
) -> None:
    """Trains backbone and pyramid on the squared distance of each level from the old one's, in its
    variances.
    """
    for name, parameter in new.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name.startswith(("backbone.", "neck.")))
    optimizer, learning = make_optimizer(new, config.train), [p for p in new.parameters() if p.requires_grad]
    new.train()
    began, shown = time.monotonic(), torch.zeros(4)
    for step, batch in enumerate(islice(batches, steps)):
        with torch.autocast("cpu", torch.bfloat16, enabled=config.train.precision == "bf16"):
            with torch.no_grad():
                wanted = old.features(batch.images, batch.sizes)[:-1]
            levels = new.features(batch.images, batch.sizes)[:-1]
        apart = torch.stack(
            [
                (x.float() - y.float()).square().mean() / y.float().var()
                for x, y in zip(levels, wanted, strict=True)
            ]
        )
        apart.mean().backward()
        nn.utils.clip_grad_norm_(learning, config.train.clip or float("inf"))
        set_rate(optimizer, rate_at(config.train, step, steps))
        optimizer.step()
        optimizer.zero_grad()
        shown += apart.detach()
        if (step + 1) % every == 0:
            parts = " ".join(f"{value:.3f}" for value in (shown / every).tolist())
            rate = (step + 1) * config.train.batch / (time.monotonic() - began)
            print(f"{step + 1}/{steps}  {parts}  {rate:.1f} images/s", flush=True)
            shown.zero_()
    new.eval()


def backbone_levels(model: MaskRCNN, batch: Batch) -> list[Tensor]:
    """The levels before the pyramid."""
    neck, model.neck = model.neck, nn.Identity()
    try:
        levels: list[Tensor] = model.features(batch.images, batch.sizes)  # type: ignore[assignment]
    finally:
        model.neck = neck
    return levels


def some_rois(model: MaskRCNN, batch: Batch, most: int = 40) -> Tensor:
    """(N, C, s, s): pooled features of the best proposals."""
    levels = model.features(batch.images, batch.sizes)
    proposals = model.rpn.propose(model.rpn(levels), batch.sizes, before=300, after=most)
    image = torch.arange(len(batch.images)).repeat_interleave(proposals.valid.shape[1])
    valid = proposals.valid.flatten()
    return model.roi_features.for_box(levels, proposals.boxes.flatten(0, 1)[valid], image[valid])


def fit(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
    """What `Sums.solve` gives of rows x and y alone."""
    sums = Sums(x.shape[1], y.shape[1])
    sums.add(x, y)
    return sums.solve()


class Sums:
    """What least squares needs of rows x and y, added up over batches."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.xx = torch.zeros(inputs + 1, inputs + 1, dtype=torch.float64)
        self.xy = torch.zeros(inputs + 1, outputs, dtype=torch.float64)
        self.y, self.yy = torch.zeros(2, outputs, dtype=torch.float64)
        self.count = 0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Rows (n, inputs) and what they should give (n, outputs)."""
        x, y = torch.cat([x, torch.ones(len(x), 1)], 1).double(), y.double()
        self.xx += x.T @ x
        self.xy += x.T @ y
        self.y += y.sum(0)
        self.yy += y.square().sum(0)
        self.count += len(x)

    def solve(self) -> tuple[Tensor, Tensor, float]:
        """Weight (outputs, inputs), bias (outputs,) and the share of the variance that they leave."""
        ridge = self.xx.diagonal()[:-1].mean() * RIDGE * torch.eye(len(self.xx), dtype=torch.float64)
        ridge[-1, -1] = 0
        found = torch.linalg.solve(self.xx + ridge, self.xy)
        left = self.yy - 2 * (found * self.xy).sum(0) + (found * (self.xx @ found)).sum(0)
        variance = self.yy - self.y.square() / self.count
        return found[:-1].T.float(), found[-1].float(), float(left.sum() / variance.sum())


if __name__ == "__main__":
    main()

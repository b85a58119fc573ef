"""Optimisers, their parameter groups, and the learning rate as a pure function of the iteration."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import nn

from maskrcnn.config.train import TrainConfig
from maskrcnn.errors import UserError
from maskrcnn.model.backbone.vit import ViT

BACKBONE = "backbone."  # what the names of its parameters begin with


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """The parameters that learn, grouped by learning rate and weight decay.

    Weights and biases decay by `weight_decay`, the scales and shifts of norms by `norm_weight_decay`.
    Parameters whose name starts with `backbone.` learn at `backbone_lr_factor` times the rate of the rest,
    those of a ViT's layers at less by `layer_lr_decay`.

    Returns:
        The groups in a fixed order, the backbone's last, each with `params`, `names`, `weight_decay` and
        `multiple` (of the rate).
    """
    below = layers_above(model) if config.layer_lr_decay < 1 else {}
    norms = {
        f"{module_name}.{name}" if module_name else name
        for module_name, module in model.named_modules()
        if "Norm" in type(module).__name__
        for name, _ in module.named_parameters(recurse=False)
    }
    groups: dict[tuple[bool, bool, int], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        backbone, norm, layers = name.startswith(BACKBONE), name in norms, below.get(name, 0)
        factor = config.backbone_lr_factor if backbone else 1.0
        group = groups.setdefault(
            (backbone, norm, layers),
            {
                "params": [],
                "names": [],
                "weight_decay": config.norm_weight_decay if norm else config.weight_decay,
                "multiple": factor * config.layer_lr_decay**layers,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return [groups[key] for key in sorted(groups)]


def layers_above(model: nn.Module) -> dict[str, int]:
    """How many layers lie above each parameter of a ViT, the heads counted as one: of the last block 1, of
    the embedding of patches one more than there are blocks (Li et al. 2022, ViTDet, appendix A.2; Clark et
    al. 2020).

    Raises:
        UserError: the backbone is no ViT.
    """
    if not isinstance(model.get_submodule("backbone"), ViT):
        raise UserError("train.layer_lr_decay is for a ViT (model.backbone.kind=vit_b, vit_l or vit_h)")
    names = [name for name, _ in model.named_parameters() if name.startswith(BACKBONE)]
    blocks = {name: found[0] for name in names if (found := re.match(r"backbone\.stages\.\d+\.\d+\.", name))}
    order = list(dict.fromkeys(blocks.values()))
    return {name: len(order) - (order.index(blocks[name]) if name in blocks else -1) for name in names}


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a model, at the rate of iteration 0 still to be set by `set_rate`."""
    groups = [
        {key: value for key, value in g.items() if key != "names"} for g in parameter_groups(model, config)
    ]
    rate = peak_rate(config)
    # on a GPU one kernel for all parameters, which also keeps fp16's scaler from asking it anything
    fused = True if next(model.parameters()).is_cuda else None
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=fused)
    return torch.optim.SGD(groups, lr=rate, momentum=config.momentum, fused=fused)


def peak_rate(config: TrainConfig) -> float:
    """The learning rate after warm-up: `lr`, scaled from `reference_batch` to our batch, of SGD in proportion
    (Goyal et al. 2017), of AdamW by the square root (Malladi et al. 2022).
    """
    ratio = config.batch / config.reference_batch if config.scale_lr else 1.0
    return config.lr * (math.sqrt(ratio) if config.optimizer == "adamw" else ratio)


def warmup_iterations(config: TrainConfig, total: int) -> float:
    """Length of the warm-up: at most half of the `total` iterations, so that a short training reaches its
    rate.
    """
    return min(config.warmup_iterations, total / 2)


def rate_at(config: TrainConfig, iteration: int, total: int) -> float:
    """The learning rate of one of `total` iterations, counted from 0: schedule times warm-up."""
    progress = iteration / total
    if config.schedule == "step":
        factor = 0.1 ** sum(progress >= step for step in config.step_shares)
    elif config.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * progress))
    else:
        factor = 1.0
    warmup = warmup_iterations(config, total)
    if iteration < warmup:
        factor *= config.warmup_factor + (1 - config.warmup_factor) * iteration / warmup
    return peak_rate(config) * factor


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its multiple of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["multiple"]

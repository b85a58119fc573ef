"""How a network is trained (`TrainConfig`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from maskrcnn.config.section import Fraction, Positive, Section


class TrainConfig(Section):
    seed: int = 0
    epochs: float = Field(12.0, gt=0)
    batch: Positive = 16  # images per optimiser step over all processes and accumulated steps
    accumulate: Positive = 1
    reference_batch: Positive = 16  # `lr` is meant for this batch and is scaled linearly to ours
    scale_lr: bool = True
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.02, gt=0)
    trunk_lr: float = Field(1.0, ge=0)  # the backbone's learning rate as a multiple of `lr`
    momentum: Fraction = 0.9
    weight_decay: float = Field(1e-4, ge=0)
    norm_weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["step", "cosine", "constant"] = "step"
    steps: list[Fraction] = [2 / 3, 8 / 9]  # share of the training at which a step schedule divides the rate by 10
    warmup: float = Field(500.0, ge=0)  # iterations
    warmup_factor: Fraction = 0.001
    clip: float | None = Field(None, gt=0)  # largest gradient norm
    ema: float | None = Field(None, ge=0, lt=1)  # decay of the weight average; None: no average
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    trunk: str | None = None  # ImageNet weights of the backbone: a shipped name or a file
    init: str | None = None  # weights of a whole model to start from: a name, folder or file
    evaluate_every: float = Field(1.0, ge=0)  # epochs; 0: only at the end
    patience: int | None = None  # stop after so many evaluations without a better one
    best: Literal["bbox", "segm", "keypoints", "mean"] = "mean"  # which AP decides what is best
    save_every: float = Field(300.0, gt=0)  # seconds between saved states
    deterministic: bool = True

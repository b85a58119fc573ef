"""How a network is trained (`TrainConfig`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from maskrcnn.config.section import Fraction, Positive, Section, Weight


class TrainConfig(Section):
    """Length, batch, optimiser, first weights and evaluation of a training."""

    seed: int = Field(0, ge=0, lt=2**32)
    """Of every random choice."""
    epochs: float = Field(12.0, gt=0, le=1e6)
    """Length: passes over the training images. A fraction is allowed."""
    batch: int = Field(16, gt=0, le=16_384)
    """Images in a step of the optimiser, over all processes and accumulated parts."""
    accumulate: int = Field(1, gt=0, le=16_384)
    """Parts in which each process takes its share of a step, to save memory."""
    reference_batch: int = Field(16, gt=0, le=16_384)
    """Images in the step that `lr` is meant for."""
    scale_lr: bool = True
    """Multiply `lr` by `batch` / `reference_batch` (Goyal et al. 2017), for AdamW by the square root of it
    (Malladi et al. 2022)."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, or AdamW."""
    lr: float = Field(0.02, gt=0, le=1e3)
    """Learning rate after the warm-up, for `reference_batch` images a step."""
    backbone_lr_factor: Weight = 1.0
    """The backbone's learning rate as a multiple of that of the rest; 0: the backbone does not learn."""
    layer_lr_decay: float = Field(1.0, gt=0, le=1)
    """Of a ViT: each block learns at this multiple of the rate of the block above it, the patches' embedding
    at that of the first; ViTDet has 0.7 for B, 0.8 for L and 0.9 for H."""
    momentum: Fraction = 0.9
    """Of SGD."""
    weight_decay: Weight = 1e-4
    """Of weights and biases."""
    norm_weight_decay: Weight = 0.0
    """Of the scales and shifts of norms."""
    schedule: Literal["step", "cosine", "constant"] = "step"
    """How the learning rate falls: by 10 at each of `step_shares`, along a cosine to 0, or not at all."""
    step_shares: list[Fraction] = [2 / 3, 8 / 9]
    """Shares of the training's length after which the `step` schedule divides the rate by 10, ascending."""
    warmup_iterations: float = Field(500.0, ge=0, le=1e9)
    """Iterations over which the rate rises linearly to `lr`; at most half of the training."""
    warmup_factor: Fraction = 0.001
    """The rate of the first iteration, as a share of `lr`."""
    clip: float | None = Field(None, gt=0)
    """Largest L2 norm of the gradient; null: any."""
    ema: float | None = Field(None, ge=0, lt=1)
    """Decay, per iteration, of the average of the weights that is evaluated and saved; null: no average."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the arithmetic; weights stay in 32 bits."""
    trunk: str | None = None
    """ImageNet weights of the backbone: a shipped or published name, or a file; null: random ones."""
    init: str | None = None
    """Model to start from: a name, a folder or a file. What fits of it is copied, over what `trunk` gave."""
    evaluate_every_epochs: Weight | None = 1.0
    """Epochs between evaluations; 0: only at the end; null: a tenth of the training."""
    patience: Positive | None = None
    """Evaluations without a better one after which the training stops, once it was better than its start and
    than an AP of 0; null: never."""
    only: Literal["box_head", "mask_head", "keypoint_head"] | None = None
    """The head that learns alone, on a detector that stays as `init` gave it; null: all learn together."""
    best: Literal["bbox", "segm", "keypoints", "mean"] = "mean"
    """Which AP decides what weights are the best; `mean` is over all kinds that the network finds. As many
    detections of an image count as `model.test.detections` says."""
    save_every_seconds: float = Field(300.0, gt=0)
    """Seconds between saved states; a kill loses no more than that."""
    compile: Literal["auto"] | bool = "auto"
    """Compile the losses and their gradients, for a few shapes that batches are padded to; auto: not yet, on
    no device, until a GPU has shown that it gains and is right."""
    log: list[Literal["jsonl", "tensorboard", "wandb", "mlflow"]] = ["jsonl", "tensorboard"]
    """Where figures go: `metrics.jsonl`, of which curves and report are made; TensorBoard, where it is
    installed; Weights & Biases, MLflow."""
    deterministic: bool = True
    """Take the repeatable one of two algorithms where the faster one is not."""

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if any(
            second <= first for first, second in zip(self.step_shares, self.step_shares[1:], strict=False)
        ):
            raise ValueError(f"step_shares is {self.step_shares}: write ascending shares, as in [0.67, 0.89]")
        if self.only is not None and self.init is None:
            raise ValueError(f"only={self.only} needs a detector to put it on: set train.init=MODEL")
        if self.patience is not None and self.evaluate_every_epochs == 0:
            raise ValueError(
                "patience needs evaluations during the training: set train.evaluate_every_epochs above 0"
            )
        return self

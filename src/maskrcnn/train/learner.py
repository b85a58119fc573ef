"""What learns: the network with its optimiser, and the average of its weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from maskrcnn.config.train import TrainConfig
from maskrcnn.images.batch import Batch, Targets
from maskrcnn.train.ema import Average
from maskrcnn.train.nonfinite import MicroBatch
from maskrcnn.train.optimizer import make_optimizer, set_rate
from maskrcnn.train.setup import freeze_idle

# one process's micro-batches of a step: images, labels, file names
Share = list[tuple[Batch, Targets, list[str]]]


class Step(NamedTuple):
    """A step whose figures may still be on their way from the device."""

    iteration: int  # counted from 1
    rate: float
    names: list[str]  # of the first figures: the losses
    # losses, their sum, gradient norm, whether a process was asked to stop; means over processes
    figures: Tensor
    micro_batches: list[MicroBatch]


class Learner:
    """A network in training, on the device and in the processes of `accelerator`.

    Attributes:
        network: the bare module, without what the processes' exchange wraps around it.
    """

    def __init__(self, network: nn.Module, config: TrainConfig, accelerator: Accelerator) -> None:
        self.config, self.accelerator = config, accelerator
        freeze_idle(network, config)
        self.model = accelerator.prepare(network)
        self.network: Any = accelerator.unwrap_model(self.model)
        self.optimizer = accelerator.prepare(make_optimizer(self.network, config))
        self.average = Average(self.network, config.ema) if config.ema is not None else None

    def step(self, share: Share, iteration: int, rate: float, asked: Callable[[], bool]) -> Step:
        """One move of the optimiser.

        Args:
            iteration: of the move, counted from 1.
            rate: the learning rate.
            asked: whether this process was asked to stop, which the figures tell the others.
        """
        set_rate(self.optimizer, rate)
        done = [self._backward(part, len(share), last=part is share[-1]) for part in share]
        clip = self.config.clip if self.config.clip is not None else float("inf")
        norm = self.accelerator.clip_grad_norm_(self.network.parameters(), clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update(self.network)
        names = list(done[0].losses)
        return Step(iteration, rate, names, self._figures(done, names, norm, asked()), done)

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the network has the averaged weights, if there is an average."""
        return self.average.applied(self.network) if self.average is not None else nullcontext()

    def parameters(self) -> tuple[int, int]:
        """How many there are, and how many of them learn."""
        parameters = list(self.network.parameters())
        return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)

    def state_dict(self) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "scaler": scaler.state_dict() if scaler is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def _backward(self, part: tuple[Batch, Targets, list[str]], parts: int, last: bool) -> MicroBatch:
        """Add the gradients of one of a step's micro-batches; processes exchange them with the last."""
        batch, targets, names = part
        device = self.accelerator.device
        context: AbstractContextManager[Any] = nullcontext() if last else self.accelerator.no_sync(self.model)
        with context:
            losses = self.model(batch.images.to(device), batch.sizes.to(device), targets.to(device))
            self.accelerator.backward(torch.stack(list(losses.values())).sum() / parts)
        return MicroBatch(names, targets, {name: loss.detach() for name, loss in losses.items()})

    def _figures(self, done: list[MicroBatch], names: list[str], norm: Tensor, asked: bool) -> Tensor:
        means = torch.stack(
            [torch.stack([part.losses[name] for name in names]).float() for part in done]
        ).mean(0)
        stop = torch.full((1,), float(asked), device=means.device)
        figures = torch.cat([means, means.sum()[None], norm.detach().float().reshape(1), stop])
        if self.accelerator.num_processes > 1:
            figures = self.accelerator.reduce(figures, "mean")
        return figures

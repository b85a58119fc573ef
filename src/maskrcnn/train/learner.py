"""What learns: the network with its optimiser, and the average of its weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from maskrcnn.config.train import TrainConfig
from maskrcnn.errors import UserError, one_line
from maskrcnn.images.batch import Batch, Targets
from maskrcnn.train.checkpoint import set_random_state
from maskrcnn.train.compiled import CompiledForward
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
    notes: list[str]  # for the person: what was compiled


class Learner:
    """A network in training, on the device and in the processes of `accelerator`.

    Attributes:
        network: the bare module, without what the processes' exchange wraps around it.
    """

    def __init__(
        self,
        network: nn.Module,
        config: TrainConfig,
        accelerator: Accelerator,
        most_graphs: int | None = None,
    ) -> None:
        """
        Args:
            most_graphs: compile the losses, for at most so many shapes of batches; None: do not.
        """
        self.config, self.accelerator = config, accelerator
        self.notes: list[str] = []
        freeze_idle(network, config)
        on_gpu = accelerator.device.type == "cuda"
        # NCCL's exchange is not part of a graph
        cuda_graphs = most_graphs is not None and on_gpu and accelerator.num_processes == 1
        self.compiled = None if most_graphs is None else CompiledForward(network, most_graphs, cuda_graphs)
        self.stream = torch.cuda.Stream(accelerator.device) if on_gpu else None  # of copies to the device
        self.model = accelerator.prepare(network)
        self.network: Any = accelerator.unwrap_model(self.model)
        self.optimizer = accelerator.prepare(make_optimizer(self.network, config))
        self.average = Average(self.network, config.ema) if config.ema is not None else None
        # a CUDA graph's gradients lie where its next run writes, so parts are added up elsewhere
        self.gathers = cuda_graphs and config.accumulate > 1
        for parameter in self.network.parameters() if self.gathers else ():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None

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
        self.optimizer.zero_grad(set_to_none=not self.gathers)
        if self.average is not None:
            self.average.update(self.network)
        names = list(done[0].losses)
        notes, self.notes = self.notes, []
        return Step(iteration, rate, names, self._figures(done, names, norm, asked()), done, notes)

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

    def restore(self, state: dict[str, Any], path: Path) -> None:
        """Take up the state of a run, and that of the random generators.

        Raises:
            UserError: that of another training; names the file, `path`.
        """
        try:
            self.load_state_dict(state)
            set_random_state(state["random"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            raise UserError(
                f"{path}: does not fit this training ({one_line(error):.120}); start a new run from "
                "weights/last"
            ) from None

    def _backward(self, part: tuple[Batch, Targets, list[str]], parts: int, last: bool) -> MicroBatch:
        """Add the gradients of one of a step's micro-batches; processes exchange them with the last."""
        batch, targets, names = part
        begin = time.monotonic()
        context: AbstractContextManager[Any] = nullcontext() if last else self.accelerator.no_sync(self.model)
        with context:
            losses = self.model(*self._moved(batch, targets))
            self.accelerator.backward(torch.stack(list(losses.values())).sum() / parts)
        if self.compiled is not None and self.compiled.is_new(batch.images, targets):
            self.notes.append(self.compiled.line(batch.images, targets, time.monotonic() - begin))
        return MicroBatch(names, targets, {name: loss.detach() for name, loss in losses.items()})

    def _moved(self, batch: Batch, targets: Targets) -> tuple[Tensor, Tensor, Targets]:
        """What the network takes, on its device. A GPU copies it while the step before is still computed."""
        device = self.accelerator.device
        if self.stream is None:
            return batch.images.to(device), batch.sizes.to(device), targets.to(device)
        with torch.cuda.stream(self.stream):
            moved, on_gpu = batch.to(device), targets.to(device)
        now = torch.cuda.current_stream(device)
        now.wait_stream(self.stream)
        for tensor in (moved.images, moved.sizes, *vars(on_gpu).values()):
            tensor.record_stream(now)  # its memory is not given away while this stream reads it
        return moved.images, moved.sizes, on_gpu

    def _figures(self, done: list[MicroBatch], names: list[str], norm: Tensor, asked: bool) -> Tensor:
        means = torch.stack(
            [torch.stack([part.losses[name] for name in names]).float() for part in done]
        ).mean(0)
        stop = torch.full((1,), float(asked), device=means.device)
        figures = torch.cat([means, means.sum()[None], norm.detach().float().reshape(1), stop])
        if self.accelerator.num_processes > 1:
            figures = self.accelerator.reduce(figures, "mean")
        return figures

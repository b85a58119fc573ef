"""What a program is told of a training while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class Callback:
    """Derive from it and override what is of interest; `train(..., callbacks=[...])` takes several.

    With several processes only the first one calls. What a method raises ends the training, as an error does
    that the training itself meets: it goes on with `resume=True` from the last saved state.
    """

    def on_step(self, iteration: int, figures: dict[str, float]) -> None:
        """After each move of the optimiser.

        Args:
            iteration: counted from 1.
            figures: "loss", each loss by its name, "gradient_norm" and "lr".
        """

    def on_evaluation(self, iteration: int, scores: dict[str, dict[str, float | None]]) -> None:
        """After each evaluation.

        Args:
            scores: of "bbox", "segm" and "keypoints" COCO's figures, in percent; None where the labels have
                nothing to measure one on.
        """

    def on_end(self, weights: Path, report: Path) -> None:
        """At the end of a complete training.

        Args:
            weights: the folder of the best weights or, without evaluation, of the last.
            report: report.html of the run.
        """


class Several(Callback):
    """Tells several."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        for callback in callbacks:  # before a training is lost to it
            if not isinstance(callback, Callback):
                remedy = "derive from it, and give an instance"
                raise TypeError(f"callbacks: {callback!r} is no Callback; {remedy}")
        self.callbacks = callbacks

    def on_step(self, iteration: int, figures: dict[str, float]) -> None:
        for callback in self.callbacks:
            callback.on_step(iteration, figures)

    def on_evaluation(self, iteration: int, scores: dict[str, dict[str, float | None]]) -> None:
        for callback in self.callbacks:
            callback.on_evaluation(iteration, scores)

    def on_end(self, weights: Path, report: Path) -> None:
        for callback in self.callbacks:
            callback.on_end(weights, report)

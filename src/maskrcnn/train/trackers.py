"""Where the figures of a training go besides metrics.jsonl: accelerate's trackers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate.tracking import GeneralTracker, MLflowTracker, TensorBoardTracker, WandBTracker

from maskrcnn.config.load import Config
from maskrcnn.config.section import dotted
from maskrcnn.errors import UserError

PROJECT = "maskrcnn"  # under which runs are listed


class Trackers:
    """Those of `train.log` that are installed, told everything; one that fails is left out from then on."""

    def __init__(self, config: Config, run: Path, start: int, note: Callable[[str], None]) -> None:
        """
        Args:
            start: iterations that a resumed run has done.
            note: told a line when a tracker fails.
        """
        self._note = note
        self._trackers: list[GeneralTracker] = []
        settings = {key: str(value) for key, value in dotted(config.model_dump(mode="json")).items()}
        for name in config.train.log:
            tracker = _tracker(name, run, start)
            if tracker is not None:
                self._trackers.append(tracker)
                if name != "tensorboard":  # which makes a folder of another run of them
                    self._tell(tracker, lambda one: one.store_init_configuration(settings))

    def log(self, values: dict[str, float], iteration: int) -> None:
        """Figures by name."""
        # MLflow knows no @ in names
        named = {name.replace("@", "_at_"): value for name, value in values.items()}
        for tracker in list(self._trackers):
            self._tell(tracker, lambda one: one.log(named, step=iteration))

    def close(self) -> None:
        for tracker in list(self._trackers):
            self._tell(tracker, lambda one: one.finish())

    def _tell(self, tracker: GeneralTracker, what: Callable[[GeneralTracker], None]) -> None:
        """A server that is gone is no reason to lose a training."""
        try:
            what(tracker)
        except Exception as error:  # noqa: BLE001  they raise what their servers and libraries do
            self._trackers.remove(tracker)
            self._note(f"{tracker.name} gets no more figures: {type(error).__name__}: {error}")


def refuse_missing(names: Sequence[str]) -> None:
    """Refuse a tracker that is not installed, but TensorBoard, which is used where it is.

    Raises:
        UserError: names the package.
    """
    for name in names:
        if name in ("wandb", "mlflow"):
            try:
                __import__(name)
            except ImportError:
                raise UserError(
                    f"train.log: {name} is not installed; pip install 'maskrcnn[{name}]'"
                ) from None


def _tracker(name: str, run: Path, start: int) -> GeneralTracker | None:
    """A started one; None for what is written without."""
    tracker: GeneralTracker
    if name == "tensorboard":
        tracker = TensorBoardTracker("tensorboard", run, purge_step=start + 1 if start else None)
    elif name == "wandb":
        tracker = WandBTracker(PROJECT, name=run.name, dir=str(run))
    elif name == "mlflow":
        tracker = MLflowTracker(PROJECT, run_name=run.name)
    else:
        return None
    try:
        tracker.start()
    except ImportError:  # TensorBoard's
        return None
    return tracker

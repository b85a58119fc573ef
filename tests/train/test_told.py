"""What a training tells: callbacks, trackers, evaluations at ten points; and a person's own augmentation."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from maskrcnn.config.train import TrainConfig
from maskrcnn.errors import UserError
from maskrcnn.labels.match_classes import labels_for
from maskrcnn.labels.types import LabelledImage
from maskrcnn.train.callbacks import Callback
from maskrcnn.train.checkpoint import TrainingState
from maskrcnn.train.evaluation import evaluation_due
from maskrcnn.train.log import Log, read_metrics
from maskrcnn.train.trainer import Trainer, train
from maskrcnn.training_data.samples import TrainSamples
from tiny_network import tiny_config, tiny_data, tiny_network


class Told(Callback):
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_step(self, iteration: int, figures: dict[str, float]) -> None:
        self.calls.append(("step", iteration, sorted(figures)))

    def on_evaluation(self, iteration: int, scores: dict[str, dict[str, float | None]]) -> None:
        self.calls.append(("evaluation", iteration, sorted(scores)))

    def on_end(self, weights: Path, report: Path) -> None:
        self.calls.append(("end", weights.name, report.is_file()))


@pytest.fixture(autouse=True)
def _nothing_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "_draw", lambda *_: None)


def run(folder: Path, *, epochs: float = 2.5, every: float | None = None, **options: Any) -> None:
    log = options.pop("log", ["jsonl"])
    config = tiny_config(epochs=epochs, evaluate_every_epochs=every, log=log)
    options = {"network": tiny_network(config), **options}
    train(config, tiny_data(), tiny_data("val"), folder, **options)


def test_callbacks_are_told_in_order_and_evaluations_come_at_ten_points(tmp_path: Path) -> None:
    told, other = Told(), Told()
    run(tmp_path / "run", callbacks=[told, other])
    names = ["box", "class", "gradient_norm", "loss", "lr"]
    expected: list[tuple[Any, ...]] = []
    for iteration in range(1, 21):
        expected.append(("step", iteration, names))
        expected += [("evaluation", iteration, ["bbox"])] * (iteration % 2 == 0)
    assert told.calls == other.calls == [*expected, ("end", "best", True)]


@pytest.mark.parametrize(
    ("total", "per_epoch", "every", "most"), [(103, 10, None, 10), (101, 101, 0.5, 2), (30, 30, 0.1, 10)]
)
def test_there_are_no_more_evaluations_than_planned(
    total: int, per_epoch: int, every: float | None, most: int
) -> None:
    progress, settings, count = TrainingState(), TrainConfig(evaluate_every_epochs=every), 0
    for progress.iteration in range(1, total + 1):
        if evaluation_due(settings, progress, total, per_epoch):
            progress.evaluated_at, count = progress.iteration, count + 1
    assert count == most and progress.evaluated_at == total


def test_what_a_callback_raises_ends_the_training_and_a_resume_goes_on(tmp_path: Path) -> None:
    class Enough(Exception):  # noqa: N818
        pass

    class Stops(Callback):
        def on_evaluation(self, iteration: int, scores: dict[str, Any]) -> None:
            raise Enough

    with pytest.raises(Enough):
        run(tmp_path / "run", every=1.0, callbacks=[Stops()])
    run(tmp_path / "run", every=1.0, resume=True)
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [r["iteration"] for r in records if r["kind"] == "evaluation"] == [8, 16, 20]


def fake_wandb(calls: list[Any], fails: bool = False) -> ModuleType:
    """Weights & Biases as accelerate uses it."""

    class Run:
        def log(self, values: dict[str, float], step: int) -> None:
            if fails:
                raise ConnectionError("no route")
            calls.append((step, values))

        def finish(self) -> None:
            calls.append("finished")

    module = ModuleType("wandb")
    module.init = lambda **more: calls.append(more) or Run()  # type: ignore[attr-defined]
    module.config = ModuleType("config")  # type: ignore[attr-defined]
    module.config.update = lambda values, **_: calls.append(values)
    return module


def test_a_tracker_gets_settings_losses_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb(calls))
    run(tmp_path / "run", log=["wandb"])
    assert calls[0]["project"] == "maskrcnn" and calls[0]["name"] == "run"
    assert calls[1]["train.epochs"] == "2.5"
    steps = [(step, values) for step, values in calls[2:-1] if "train/loss" in values]
    assert [step for step, _ in steps] == list(range(1, 21))
    figures = [step for step, values in calls[2:-1] if "bbox/AP50" in values]
    assert figures == list(range(2, 21, 2)) and calls[-1] == "finished"
    assert not (tmp_path / "run" / "metrics.jsonl").exists()  # it was not asked for
    assert (tmp_path / "run" / "report.html").exists()


def test_a_tracker_that_fails_is_said_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb([], fails=True))
    run(tmp_path / "run", epochs=0.5, log=["jsonl", "wandb"])
    said = capsys.readouterr().out
    assert said.count("wandb gets no more figures: ConnectionError: no route") == 1
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) >= 4


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"pip install 'maskrcnn\[{name}\]'"):
        run(tmp_path / "run", log=[name])
    assert not (tmp_path / "run").exists()


def test_a_bar_shows_the_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    log = Log(tmp_path, tiny_config(log=[]), 10, 10, TrainingState())
    log.pause()
    log.evaluating(3, 6)
    assert log._bar is not None and [(t.completed, t.total) for t in log._bar.tasks] == [(0, 10), (3, 6)]
    log.go_on()
    assert len(log._bar.tasks) == 1
    log.close()


def darker(
    image: LabelledImage, pixels: np.ndarray, rng: np.random.Generator
) -> tuple[LabelledImage, np.ndarray]:
    image.annotations = image.annotations[:1]
    return image, (pixels * rng.uniform(0.0, 0.1)).astype(np.uint8)


@pytest.mark.parametrize(
    "more", [{}, {"mosaic": 1.0}, {"copy_paste": 1.0}], ids=["plain", "mosaic", "pasted"]
)
def test_an_own_augmentation_changes_images_and_labels(more: dict[str, float]) -> None:
    config = tiny_config()
    config.data.augment = config.data.augment.model_copy(update={"colour": 0.0, **more})
    data = tiny_data()
    labels = labels_for(data, config.model.classes)
    plain = TrainSamples(data, labels, config)[3, 5, 7]
    own = TrainSamples(data, labels, config, darker)
    one, again = own[3, 5, 7], own[3, 5, 7]
    assert one.pixels.max() <= 26 < plain.pixels.max() and (one.pixels == again.pixels).all()
    shown = 4 if "mosaic" in more else 2 if more else 1
    assert len(one.targets.boxes) <= shown < len(plain.targets.boxes) + shown


def test_an_own_augmentation_that_changes_the_size_is_refused() -> None:
    config, data = tiny_config(), tiny_data()
    labels = labels_for(data, config.model.classes)
    own = TrainSamples(data, labels, config, lambda image, pixels, rng: (image, pixels[1:]))
    with pytest.raises(ValueError, match="must return uint8 of the size"):
        own[0, 0, 0]


@pytest.mark.parametrize("callbacks", [[Callback], [print], "abc"])
def test_what_is_no_callback_is_refused_before_the_folder_is_made(tmp_path: Path, callbacks: Any) -> None:
    with pytest.raises(TypeError, match="is no Callback; derive from it, and give an instance"):
        run(tmp_path / "run", callbacks=callbacks)
    assert not (tmp_path / "run").exists()

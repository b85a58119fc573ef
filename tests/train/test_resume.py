"""Resuming: complete runs, fewer epochs, damaged folders, and an evaluation that a kill cut off."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from maskrcnn.cli.main import main
from maskrcnn.config.load import Config
from maskrcnn.errors import UserError
from maskrcnn.evaluate.coco import Scores
from maskrcnn.stop import StopRequest
from maskrcnn.train import trainer
from maskrcnn.train.checkpoint import read_state
from maskrcnn.train.evaluation import scores_line
from maskrcnn.train.log import read_metrics
from maskrcnn.train.trainer import Trainer, train
from tiny_network import tiny_config, tiny_data, tiny_network


def run_tiny(run: Path, config: Config, val: bool = False, **options: Any) -> Path:
    return train(
        config, tiny_data(), tiny_data("val") if val else None, run, network=tiny_network(config), **options
    )


@pytest.fixture(autouse=True)
def _nothing_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "_draw", lambda *_: None)


def contents(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_complete_run_says_so_and_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run_tiny(run, tiny_config(epochs=1), val=True)
    capsys.readouterr()
    for epochs in (1, 0.5):  # fewer than were done, too
        before = contents(run)
        assert run_tiny(run, tiny_config(epochs=epochs), val=True, resume=True) == run / "weights" / "best"
        line = "complete: 8 of 8 iterations (1 epoch) are done; for more add --set train.epochs=2\n"
        assert capsys.readouterr().out == line
        after = contents(run)
        after[".lock"] = before[".lock"]
        assert after == before


def test_a_run_from_before_a_setting_that_says_how_to_predict_resumes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_tiny(run, tiny_config(epochs=1))
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["model"].pop("class_ids") == [1, 2, 3, 4]
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    config = tiny_config(epochs=2)
    config.model.input.tile_side = 64
    run_tiny(run, config, resume=True)
    settings = yaml.safe_load((run / "config.yaml").read_text())["model"]
    assert settings["input"]["tile_side"] == 64 and settings["class_ids"] == [1, 2, 3, 4]


def test_a_run_is_not_resumed_with_fewer_epochs_than_were_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(Trainer, "_finish", lambda self: self._save())
    run_tiny(run, tiny_config(epochs=1))
    before = (run / "config.yaml").read_bytes()
    with pytest.raises(UserError, match=r"8 iterations \(1 epochs\) are done, more than the 4 .*epochs=2"):
        run_tiny(run, tiny_config(epochs=0.5), resume=True)
    assert (run / "config.yaml").read_bytes() == before


def test_a_run_stopped_between_evaluations_is_not_resumed_with_fewer_epochs_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: self._interrupt())  # before it is evaluated
    monkeypatch.setattr(StopRequest, "leave", lambda self: sys.exit(0))
    with pytest.raises(SystemExit):
        run_tiny(run, tiny_config(epochs=1), val=True)
    with pytest.raises(UserError, match=r"8 iterations .* are done, more than the 4"):
        run_tiny(run, tiny_config(epochs=0.5), val=True, resume=True)


def test_a_complete_run_without_val_that_goes_on_with_one_is_finished_anew(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_tiny(run, tiny_config(epochs=1))
    assert "No val split" in (run / "report.md").read_text()
    run_tiny(run, tiny_config(epochs=2), val=True, resume=True)
    report = (run / "report.md").read_text()
    assert "No val split" not in report and "16 iterations" in report


def test_a_run_that_was_stopped_early_goes_on_with_more_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        trainer,
        "evaluate_together",
        lambda *_, **__: Scores({"bbox": {"AP": 7.0, "AP50": None}}, {}, 6, 6, 6),
    )
    run, settings = tmp_path / "run", {"epochs": 2.5, "evaluate_every_epochs": 0.5}
    run_tiny(run, tiny_config(patience=2, **settings), val=True)
    capsys.readouterr()
    run_tiny(run, tiny_config(patience=2, **settings), val=True, resume=True)
    assert "complete: stopped early after 12 of 20 iterations" in capsys.readouterr().out
    run_tiny(run, tiny_config(patience=4, **settings), val=True, resume=True)
    assert read_state(run / "state.pt")["progress"]["iteration"] == 20


def test_a_kill_behind_an_evaluations_line_does_not_leave_it_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(self: Trainer, weights: bool = True, best: bool = False) -> None:
        if self.progress.evaluated_at == 8:
            raise Killed
        save(self, weights, best)

    save, run, config = Trainer._save, tmp_path / "run", tiny_config(epochs=2)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", die)
        with pytest.raises(Killed):
            run_tiny(run, config, val=True)
    assert [r["iteration"] for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "evaluation"] == [8]
    run_tiny(run, config, val=True, resume=True)
    lines = [r["iteration"] for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "evaluation"]
    assert lines == [8, 16]


def _state_with(**changes: Any) -> Any:
    def spoil(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        torch.save(state | changes, path)

    return spoil


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["state.pt", "data.json", "metrics.jsonl", "config.yaml"])
@pytest.mark.parametrize(
    "spoil",
    [
        _half,
        _folder,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\0" * 100),
        lambda path: path.write_bytes(b"\xff\xfe{{\n\xff"),
        lambda path: path.write_text("[1, 2]\n3\n"),
        lambda path: path.write_text('{"train": 3}\n{"iteration": "x", "kind": 1}\n'),
    ],
)
def test_a_damaged_file_of_a_run_is_one_line(tmp_path: Path, name: str, spoil: Any) -> None:
    run, config = tmp_path / "run", tiny_config(epochs=0.5)
    run_tiny(run, config)
    spoil(run / name)
    try:
        run_tiny(run, tiny_config(epochs=1), resume=True)
    except UserError as error:
        assert name in str(error) or "began with" in str(error)  # half a YAML file may be YAML
        assert "\n" not in str(error)
    else:  # a kill leaves such a last line
        assert name == "metrics.jsonl"
        assert all(json.loads(line) for line in (run / name).read_text().splitlines())


@pytest.mark.parametrize(
    "changes",
    [
        {"progress": None},
        {"progress": {"iteration": 4, "unknown": 1}},
        {"progress": {"iteration": "four"}},
        {"progress": {"iteration": 4.5}},
        {"progress": {"iteration": -3}},
        {"progress": {"iteration": 4, "best": "high"}},
        {"progress": {"iteration": 4, "seconds": None}},
        {"model": {}},
        {"optimizer": {"state": {}, "param_groups": []}},
        {"optimizer": 3},
        {"random": {}},
        {"model": {"head.weight": torch.zeros(3)}},
    ],
)
def test_a_state_that_does_not_fit_is_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = tmp_path / "run"
    run_tiny(run, tiny_config(epochs=0.5))
    before = (run / "config.yaml").read_bytes()
    _state_with(**changes)(run / "state.pt")
    with pytest.raises(UserError, match=r"state.pt: (damaged|does not fit).*start a new run") as error:
        run_tiny(run, tiny_config(epochs=1), resume=True)
    assert "\n" not in str(error.value)
    assert (run / "config.yaml").read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        '{"iteration": 3, "kind": "train"}',
        '{"iteration": 3, "epoch": 0.1, "kind": "evaluation"}',
        '{"iteration": 3, "epoch": 0.1, "kind": "evaluation", "scores": [1]}',
        '{"iteration": 3, "epoch": 0.1, "kind": "evaluation", "scores": {"bbox": {"AP": 3, "AP50": "x"}}}',
    ],
)
def test_a_line_that_the_report_could_not_use_is_told_at_the_start(tmp_path: Path, line: str) -> None:
    run = tmp_path / "run"
    run_tiny(run, tiny_config(epochs=0.5))
    with (run / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    before = contents(run)
    with pytest.raises(UserError, match=r"metrics.jsonl: line \d+ is damaged"):
        run_tiny(run, tiny_config(epochs=1), resume=True)
    assert contents(run) == before


def test_other_labels_to_evaluate_on_are_refused_and_none_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, more = tmp_path / "run", tiny_config(epochs=1)
    run_tiny(run, tiny_config(epochs=0.5), val=True)
    others = tiny_data("train")
    with pytest.raises(UserError, match="the labels of .* have changed since it began"):
        train(more, tiny_data(), others, run, network=tiny_network(more), resume=True)
    run_tiny(run, more, resume=True)
    assert "is left out, on which it was evaluated before" in capsys.readouterr().out


def test_a_run_that_lost_its_state_is_not_begun_anew_over_its_weights(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_tiny(run, tiny_config(epochs=0.5))
    (run / "state.pt").unlink()
    before = contents(run)
    with pytest.raises(UserError, match=r"state.pt: is not there.*train.init=\S*/weights/last"):
        run_tiny(run, tiny_config(epochs=1), resume=True)
    assert contents(run) == before


def test_the_first_weights_come_after_a_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a kill between the two leaves what looks like a run that lost its state."""
    run, there = tmp_path / "run", []
    monkeypatch.setattr(Trainer, "_save_weights", lambda *_: there.append((run / "state.pt").exists()))
    run_tiny(run, tiny_config(epochs=0.5))
    assert there == [True]


@pytest.mark.parametrize("spoil", [_half, Path.unlink])
def test_a_best_that_is_lost_is_said_and_the_next_one_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spoil: Any
) -> None:
    figures = iter([7.0, 3.0, 3.0])
    monkeypatch.setattr(
        trainer,
        "evaluate_together",
        lambda *_, **__: Scores({"bbox": {"AP": next(figures), "AP50": None}}, {}, 6, 6, 6),
    )
    run, best = tmp_path / "run", tmp_path / "run" / "weights" / "best" / "model.safetensors"
    run_tiny(run, tiny_config(epochs=0.5, evaluate_every_epochs=0.5), val=True)
    spoil(best)
    run_tiny(run, tiny_config(epochs=1, evaluate_every_epochs=0.5), val=True, resume=True)
    out = capsys.readouterr().out
    assert "weights/best: is not there or damaged; the best AP, 7.0" in out and "best: mean AP 3.0 at" in out
    assert load_file(best)


def test_what_decides_on_the_best_weights_stays(tmp_path: Path) -> None:
    """The best figure so far would be of another kind."""
    run = tmp_path / "run"
    run_tiny(run, tiny_config(epochs=0.5), val=True)
    with pytest.raises(UserError, match="resumes with train.best=bbox, began with mean"):
        run_tiny(run, tiny_config(epochs=1, best="bbox"), val=True, resume=True)


def test_a_folder_that_holds_a_run_is_refused_before_the_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(*_: Any, **__: Any) -> None:
        raise AssertionError("the data are read")

    importlib.import_module("maskrcnn.labels.split")  # later it would take the patch for good
    monkeypatch.setattr("maskrcnn.labels.open.open_dataset", unread)
    (tmp_path / "config.yaml").touch()
    assert main(["train", "synthetic", "--recipe", "quick", "--run", str(tmp_path)]) == 2
    assert "already holds a run (config.yaml); add --resume" in capsys.readouterr().err


def test_an_ap_that_is_not_known_says_why() -> None:
    none: dict[str, float | None] = {"AP": None, "AP50": None}
    line = scores_line(Scores({"bbox": none, "segm": {"AP": 1.0, "AP50": 2.0}}, {}, 1, 0, 0))
    assert line == "box AP - (no labelled objects to score, crowds aside)  mask AP 1.0 (AP50 2.0)"


def test_a_kill_after_the_last_evaluation_loses_nothing_that_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither its figures, nor the score that it chose, nor the images of which the least was found."""

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    chosen = iter([0.7, 0.2] * 2)
    monkeypatch.setattr(trainer, "kept_from", lambda *_: next(chosen))
    monkeypatch.setattr(trainer, "judge", judged_best_first)
    config, whole, run = tiny_config(epochs=2), tmp_path / "whole", tmp_path / "run"
    run_tiny(whole, config, val=True)
    assert "prediction keeps objects from a score of 0.7 on" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "write_report", die)
        with pytest.raises(Killed):
            run_tiny(run, config, val=True)
    run_tiny(run, config, val=True, resume=True)
    assert "prediction keeps objects from a score of 0.7 on" in capsys.readouterr().out
    for name, score in (("last", 0.2), ("best", 0.7)):
        for file in ("config.json", "README.md"):
            place = Path("weights") / name / file
            assert (run / place).read_text() == (whole / place).read_text()
        assert (
            json.loads((run / "weights" / name / "config.json").read_text())["test"]["predict_score"] == score
        )
    states = [read_state(each / "state.pt")["progress"] for each in (run, whole)]
    assert states[0] | {"seconds": 0} == states[1] | {"seconds": 0} and states[0]["worst"]


def judged_best_first(progress: Any, figure: float | None, patience: int | None) -> bool:
    """The first evaluation is the best."""
    better = progress.best is None
    if better:
        progress.best, progress.best_iteration = 1.0, progress.iteration
    progress.evaluated_at = progress.iteration
    return better


def test_a_score_that_is_named_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is the one that is usual."""
    monkeypatch.setattr(trainer, "kept_from", lambda *_: 0.7)
    for named, kept in ((0.5, 0.5), (None, 0.7)):
        config = tiny_config(epochs=1)
        config.model.test.predict_score = named
        run_tiny(tmp_path / str(named), config, val=True)
        saved = json.loads((tmp_path / str(named) / "weights/last/config.json").read_text())
        assert saved["test"]["predict_score"] == kept

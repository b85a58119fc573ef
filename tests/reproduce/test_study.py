"""A whole table in miniature: pilot run, trainings that a kill interrupts, shares, and the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from maskrcnn.cli.main import main
from maskrcnn.config.load import Config
from maskrcnn.errors import UserError
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.reproduce import compare, data, runs
from maskrcnn.reproduce.report import write_report
from maskrcnn.reproduce.runs import Study
from maskrcnn.reproduce.summary import write_summary
from maskrcnn.reproduce.table import Table

SMALL = {
    "model.neck.channels": 16,
    "model.box_head.fc_channels": 32,
    "model.mask_head.convs": 1,
    "model.mask_head.channels": 16,
    "model.input.short_side": 64,
    "model.input.long_side": 96,
    "train.batch": 4,
    "train.reference_batch": 4,
    "data.workers": 0,
    "data.augment.short_sides": [64],
    "data.augment.long_side": 96,
    "train.save_every_seconds": 0.001,
}
TABLE = {
    "title": "Heads",
    "paper": "Table 2e",
    "claim": "One is better.",
    "data": "shapes",
    "set": SMALL,
    "variants": [
        {"name": "MLP", "set": {"model.mask_head.kind": "mlp"}, "paper": {"AP": 31.5}},
        {"name": "FCN", "set": {}, "paper": {"AP": 33.6, "AP75": 35.3}},
    ],
    "comparisons": [{"of": "FCN", "to": "MLP"}],
}


def quiet(line: str) -> None:
    pass


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setattr(runs, "PILOT", 3)
    monkeypatch.setattr(runs, "LEAST_STEPS", 1)
    monkeypatch.setattr(compare, "DRAWS", 5)
    sides = {"side": (64, 96)}
    return Study(
        Table.model_validate(TABLE),
        Synthetic(12, **sides),
        Synthetic(5, split="val", **sides),
        tmp_path / "out",
        "generated shapes",
    )


def planned(study: Study, steps: int = 3) -> runs.Plan:
    """A plan without a pilot run, in the study's folder."""
    return study.plan(None, steps, 2, quiet)


def files(folder: Path) -> dict[str, bytes]:
    return {p.parent.name: p.read_bytes() for p in sorted(folder.rglob(runs.FOUND))}


def test_a_study_goes_on_after_a_stop_and_ends_as_one_that_was_not_stopped(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(study)
    real, calls = runs.train, []

    def stopped(*arguments: Any, **options: Any) -> Path:
        calls.append(options)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(runs, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        study.run(plan, (1, 1), quiet)
    assert sorted(files(study.folder)) == ["fcn-0", "mlp-0"]
    assert study.run(study.plan(None, 3, 2, quiet), (1, 1), quiet) == []
    assert len(calls) == 5  # the two that were done are not trained again
    stopped_once = files(study.folder)

    other = Study(study.table, study.train_data, study.val_data, tmp_path / "other", study.source)
    second = planned(other)
    left = other.run(second, (2, 2), quiet)
    assert left == ["MLP, seed 0", "MLP, seed 1"]
    assert other.run(second, (1, 2), quiet) == []
    assert files(other.folder) == stopped_once  # two processes' shares, and the same seed: equal bits
    assert not list(study.folder.rglob("state.pt"))

    outcomes = write_report(study, plan)
    assert len(outcomes) == 1 and outcomes[0].verdict in ("agrees", "contradicts", "not resolved")
    report = json.loads((study.folder / "report.json").read_text())
    assert report["comparisons"][0]["paper"] == {"FCN": {"AP": 33.6, "AP75": 35.3}, "MLP": {"AP": 31.5}}
    page = (study.folder / "report.html").read_text()
    assert "data:image/jpeg;base64," in page and 'src="http' not in page
    markdown = (study.folder / "report.md").read_text()
    assert "| FCN | 33.6 | - | 35.3 |" in markdown and "examples-1.jpg" in markdown

    for name in ("2e", "resolution"):  # the summary is of whatever tables are there, from two on
        assert write_summary(tmp_path / "all") is None
        shutil.copytree(study.folder, tmp_path / "all" / name, ignore=shutil.ignore_patterns("runs"))
    summary = write_summary(tmp_path / "all")
    assert summary is not None and (tmp_path / "all" / "summary.png").is_file()
    difference = report["comparisons"][0]["difference"]["AP"]["mean"]
    rows = [line for line in summary.read_text().splitlines() if "FCN, beside MLP" in line]
    assert len(rows) == 2 and rows[0].startswith("| 2e |") and rows[1].startswith("| resolution |")
    assert f"| {difference:+.1f} (" in rows[0] and "| +2.1 |" in rows[0]


def test_the_pilot_run_scales_the_steps_to_the_budget(study: Study) -> None:
    plan = study.plan(30, None, 2, quiet)
    pilot = plan.pilot
    assert pilot is not None
    seconds = plan.steps * 2 * sum(pilot.seconds_per_step.values()) + 4 * pilot.seconds_per_evaluation
    assert 1 <= plan.steps and seconds <= 1800 and not (study.folder / "pilot").exists()
    assert all(0.01 < seconds < 60 for seconds in pilot.seconds_per_step.values())
    assert set(pilot.seconds_per_step) == {"MLP", "FCN"} and plan.environment["processor"]
    assert study.plan(30, None, 2, quiet) == plan  # not measured again
    for other in ((30, None, 3), (20, None, 2), (None, plan.steps, 2)):
        with pytest.raises(UserError, match="another plan.*(seeds|budget).*another --out"):
            study.plan(*other, quiet)


def test_the_last_step_which_is_told_with_the_one_before_is_not_timed(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = [0.1, *[4.0] * 10, 20_000.0]  # images/s

    def train_nothing(
        config: Config, train: object, val: object, folder: Path, *_: object, **__: object
    ) -> None:
        folder.mkdir(parents=True)
        other = {"kind": "train", "epoch": 1.0, "lr": 0.1, "loss": 1.0}
        lines = [json.dumps(other | {"iteration": i, "images_per_s": rate}) for i, rate in enumerate(rates)]
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")

    monkeypatch.setattr(runs, "_train", train_nothing)
    job = study.jobs(1)[0]
    assert study._time(job)[0] == pytest.approx(study.config(job, runs.PILOT).train.batch / 4.0)


def test_steps_that_are_given_need_no_pilot_run(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "train", None)
    plan = study.plan(None, 7, 2, quiet)
    assert (plan.steps, plan.pilot) == (7, None) and study.plan(None, 7, 2, quiet) == plan
    with pytest.raises(UserError, match="another plan.*steps.*another --out"):
        study.plan(None, 8, 2, quiet)


def test_a_budget_that_is_too_small_names_the_one_that_is_not(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "LEAST_STEPS", 10**6)
    with pytest.raises(UserError, match=r"--budget: 4 trainings of 1000000 steps take .* give --budget \d+m"):
        study.plan(1, None, 2, quiet)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "soon"], "--budget soon: write it as 30m, 2h, 1h30m or 90s"),
        (["--budget", "1h", "--steps", "9"], "--budget and --steps: give one of them"),
        (["--only", "3/2"], "--only 3/2: write it as 1/4"),
        (["--table", "9"], "--table 9: there are"),
        (["--data", "nowhere"], "nowhere"),
        (["--table", "timing", "--set", "train.batch=2"], "--set: timing trains nothing"),
        (["--set", "model.roi.op=pool"], "the table itself settles model.roi.op"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", *arguments, "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0]


def test_data_without_what_is_measured_is_refused(tmp_path: Path) -> None:
    from maskrcnn.errors import DataError
    from maskrcnn.labels.writers.coco import write_coco

    for split in ("train", "val"):
        write_coco(Synthetic(2, split=split), tmp_path / f"{split}.json", tmp_path / split)
    table = Table.model_validate(TABLE | {"comparisons": [{"of": "FCN", "to": "MLP", "kind": "keypoints"}]})
    with pytest.raises(DataError, match="has no keypoints, which the table measures"):
        data.open_data(table, str(tmp_path))

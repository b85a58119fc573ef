"""What a resumed training needs of its run: the same settings and labels, a whole state, and steps left."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from maskrcnn.config.load import Config
from maskrcnn.config.section import dotted
from maskrcnn.config.train import TrainConfig
from maskrcnn.errors import UserError
from maskrcnn.safe_files import parse_yaml_text
from maskrcnn.shell import shell_command
from maskrcnn.train.checkpoint import TrainingState, read_state
from maskrcnn.train.log import read_metrics
from maskrcnn.weights.store import is_whole

# settings that a resumed run may change; any other would make it neither the old run nor a new one. The ids
# and the side of tiles are of predictions: an earlier version did not fill them in
FREE_TO_CHANGE = {
    f"train.{key}"
    for key in (
        "epochs",
        "trunk",
        "init",
        "evaluate_every_epochs",
        "patience",
        "save_every_seconds",
        "deterministic",
        "compile",
        "accumulate",
        "log",
    )
} | {
    "data.workers",
    "data.tiles.cache_gb",
    "model.input.tile_side",
    "model.class_ids",
    "model.test.predict_score",
}


class Complete(Exception):  # noqa: N818  # a state, not a mistake
    """There is nothing left to do in a run; says so, and how to do more."""


def state_of(run: Path) -> dict[str, Any] | None:
    """The state of a run; None where it was killed before it saved one.

    Raises:
        UserError: as `read_state`; or the run has weights, which a beginning would replace.
    """
    path = run / "state.pt"
    if path.exists():
        return read_state(path)
    if (run / "weights").exists():
        init = shell_command([f"train.init={run / 'weights' / 'last'}"])
        raise UserError(
            f"{path}: is not there, and the run would begin anew over its weights; put it back, or start a "
            f"new run from these weights with --set {init}"
        )
    return None


def forget_lost_best(progress: TrainingState, run: Path) -> list[str]:
    """Let the next evaluation be the best one where the weights of the best so far are gone or cut off."""
    best = run / "weights" / "best"
    if progress.best is None or is_whole(best):
        return []
    line = f"{best}: is not there or damaged; the best AP, {progress.best:.1f}, was of these weights and is "
    progress.best, progress.best_iteration, progress.stale = None, 0, 0
    return [line + "forgotten"]


def progress_of(state: dict[str, Any], path: Path) -> TrainingState:
    """How far the training had come whose state was read from `path`.

    Raises:
        UserError: the state does not say.
    """
    try:
        progress = TrainingState(**state["progress"])
        return TypeAdapter(TrainingState).validate_json(json.dumps(vars(progress)), strict=True)
    except (KeyError, TypeError, ValidationError):
        raise UserError(f"{path}: damaged; start a new run from weights/last") from None


def continue_from(
    progress: TrainingState, config: TrainConfig, total: int, per_epoch: int, run: Path, *, evaluated: bool
) -> None:
    """Set `progress` to go on to iteration `total`.

    Args:
        evaluated: whether no evaluation of the present weights is due.

    Raises:
        Complete: it is done, or was stopped early.
        UserError: more is done than `train.epochs` asks for now.
    """
    done = progress.iteration
    if evaluated:
        progress.stopped_early = config.patience is not None and progress.stale >= config.patience
    complete = progress.finished and evaluated
    if complete and progress.stopped_early:
        raise Complete(
            f"complete: stopped early after {done} of {total} iterations, no better for {progress.stale} "
            f"evaluations; for more add --set train.patience={2 * progress.stale}"
        )
    epochs = done / per_epoch
    more = f"--set train.epochs={int(epochs) + 1}"
    if complete and done >= total:
        unit = "epoch" if epochs == 1 else "epochs"
        raise Complete(
            f"complete: {done} of {done} iterations ({epochs:.4g} {unit}) are done; for more add {more}"
        )
    if done > total:
        raise UserError(
            f"{run}: {done} iterations ({epochs:.4g} epochs) are done, more than the {total} that "
            f"train.epochs={config.epochs:g} asks for; leave it out, or ask for more: {more}"
        )
    progress.finished = False


def check_unchanged(run: Path, config: Config, data: dict[str, Any]) -> list[str]:
    """See that a resumed run trains the same network on the same data.

    Returns:
        One line for each setting that changed and may, and for what there was nothing to compare with.

    Raises:
        UserError: another setting, or the labels, changed; the first is named with both values. Or the record
            of the run is damaged.
    """
    read_metrics(run / "metrics.jsonl")  # what is damaged is refused before anything is written
    init = shell_command([f"train.init={run / 'weights' / 'last'}"])
    remedy = f"set it back, or start a new run from these weights with --set {init}"
    notes = []
    now = dotted(config.model_dump(mode="json"))
    before = _described(run / "config.yaml", partial(parse_yaml_text, where=str(run / "config.yaml")))
    if before is not None:
        before = dotted(_completed(before))
        for key in sorted(now.keys() | before.keys()):
            old, new = before.get(key), now.get(key)
            if old == new:
                continue
            if key not in FREE_TO_CHANGE:
                raise UserError(f"{run}: resumes with {key}={new}, began with {old}; {remedy}")
            notes.append(f"{key} was {old}, is now {new}")
    described = _described(run / "data.json", json.loads)
    if described is None:
        # killed before it was written, unless there is a state
        return notes + [f"{run / 'data.json'}: is not there, so the labels may be others than it began with"]
    train = described.get("train")
    if not isinstance(train, dict) or "digest" not in train:
        raise UserError(f"{run / 'data.json'}: is damaged; remove it to resume without a look at the labels")
    val, now_val = described.get("val"), data["val"]
    if isinstance(val, dict) and now_val is None:
        notes.append(f"{val.get('source')} is left out, on which it was evaluated before: now on nothing")
    for old, split in ((train, data["train"]), (val, now_val)):
        # figures on other labels do not compare with the best so far
        if isinstance(old, dict) and split is not None and old.get("digest") != split["digest"]:
            raise UserError(f"{run}: the labels of {split['source']} have changed since it began; {remedy}")
    return notes


def _described(path: Path, parse: Any) -> dict[str, Any] | None:
    """The mapping in a file of the run; None where it is not there."""
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is damaged; put it back, or remove it to resume without a look at it")
    return content


def _completed(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run with those that came later, at the defaults that it was trained with."""
    try:
        return Config.model_validate(settings).model_dump(mode="json")
    except ValidationError:  # one that is gone: compare what there is
        return settings

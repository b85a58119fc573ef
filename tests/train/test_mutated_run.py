"""A run folder in which any file was changed: a resume and a prediction go on, or end in one line."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from small import small_config

from maskrcnn.config.load import Config, load_config
from maskrcnn.errors import UserError
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.predict.predictor import predict
from maskrcnn.system_errors import refusal
from maskrcnn.train import trainer
from maskrcnn.weights.load import load_model

TRAIN, VAL = Synthetic(count=4, side=(64, 64)), Synthetic(count=2, side=(64, 64), split="val")


class ReachedError(Exception):
    """The training would begin."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    model = small_config().model_dump(mode="json") | {"classes": [], "class_ids": [], "keypoints": None}
    model["keypoint_head"], model["backbone"]["freeze"] = None, 0
    settings = {"epochs": 1, "batch": 2}
    augment = {"short_sides": [64], "long_side": 64}
    config = Config.model_validate(
        {"model": model, "train": settings, "data": {"workers": 0, "augment": augment}}
    )
    trainer.train(config, TRAIN, VAL, folder)
    return folder


@pytest.fixture(autouse=True)
def stop_at_the_first_step(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(self: object) -> None:
        raise ReachedError

    monkeypatch.setattr(trainer.Trainer, "train", reached)


def resume(folder: Path) -> None:
    """As `maskrcnn train --resume` does."""
    try:
        config = load_config(folder / "config.yaml", ["train.epochs=2"])
        trainer.train(config, TRAIN, VAL, folder, resume=True)
    except ReachedError:
        pass
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    except OSError as error:
        assert refusal(error)  # of which the command line makes a line


def find(folder: Path) -> None:
    try:
        found = predict(load_model(folder), np.zeros((40, 60, 3), np.uint8), score=0.0)
        assert not isinstance(found, list)
        found.to_coco(1)
        found.plot()
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000


def absent(path: Path) -> None:
    path.unlink()


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def writing(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


SPOILS: list[Callable[[Path], None]] = [
    absent, folder_instead, dangling, circle, pipe, half,
    *map(writing, (b"", b"\0" * 100, b"\xff\xfe\xfd", b"null", b"[]", b"{}", b'"x"', b"3", b"[" * 10_000,
                   b"a: &a [*a]", b'{"train": null}', b'{"train": [], "val": 3, "model_classes": {}}',
                   b"model: null\ntrain: []\n", b"train: {epochs: 2001-99-99}\n", b"{}\n{\n[]\n3\n")),
]  # fmt: skip
FILES = ("config.yaml", "state.pt", "data.json", "metrics.jsonl", "env.json", "command.txt")
WEIGHTS = ("config.json", "model.safetensors")


@pytest.mark.parametrize("name", FILES)
def test_a_resume_of_a_changed_run_is_one_line(run: Path, tmp_path: Path, name: str) -> None:
    for number, spoil in enumerate(SPOILS):
        folder = tmp_path / str(number)
        shutil.copytree(run, folder)
        spoil(folder / name)
        resume(folder)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_prediction_of_a_changed_run_is_one_line(run: Path, tmp_path: Path, name: str) -> None:
    for number, spoil in enumerate(SPOILS):
        folder = tmp_path / str(number)
        shutil.copytree(run, folder)
        for kind in ("best", "last"):
            spoil(folder / "weights" / kind / name)
        find(folder)


ODD = [None, [], {}, "words", -1, 0, 2.5, 10**30, True, [None], [[1]], torch.zeros(2), float("nan")]


def places(inside: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = inside.items() if isinstance(inside, dict) else enumerate(inside)
    for key, value in list(pairs)[:4]:
        yield (*above, key)
        if isinstance(value, dict | list):
            yield from places(value, (*above, key))


def changed(content: Any, place: tuple[Any, ...], value: object) -> Any:
    whole = copy.deepcopy(content)
    inner = whole
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return whole


def test_a_state_with_any_value_is_one_line(run: Path, tmp_path: Path) -> None:
    folder, draw = tmp_path / "run", random.Random(0)
    shutil.copytree(run, folder)
    state = torch.load(run / "state.pt", weights_only=True)
    # the deeper ones are many, and alike
    chosen = [place for place in places(state) if len(place) <= 2]
    for place in draw.sample(chosen, min(len(chosen), 15)):
        torch.save(changed(state, place, draw.choice(ODD)), folder / "state.pt")
        resume(folder)


@pytest.mark.parametrize("name", ["data.json", "weights/best/config.json"])
def test_json_with_any_value_is_one_line(run: Path, tmp_path: Path, name: str) -> None:
    folder, draw = tmp_path / "run", random.Random(0)
    shutil.copytree(run, folder)
    content = json.loads((run / name).read_text())
    found = sorted(places(content), key=str)
    for place in draw.sample(found, min(len(found), 15)):
        value = draw.choice([value for value in ODD if not isinstance(value, torch.Tensor)])
        (folder / name).write_text(json.dumps(changed(content, place, value)))
        (resume if name == "data.json" else find)(folder)


def test_a_run_whose_name_is_not_utf_8_is_one_line(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"run\xff")
    config = load_config(run / "config.yaml")
    with pytest.raises(UserError, match="its name is not UTF-8"):
        trainer.train(config, TRAIN, VAL, folder)
    assert not folder.exists()
    shutil.copytree(run, folder)
    find(folder)

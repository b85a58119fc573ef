"""A run is evaluated on the images that it kept, and says when it is on those that it learned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from maskrcnn.config.data import TilesConfig
from maskrcnn.files import write_json
from maskrcnn.labels.split import hold_out
from maskrcnn.labels.subset import Subset, without_empty
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Dataset
from maskrcnn.train.run_folder import describe_all, kept_images
from maskrcnn.training_data.backgrounds import WithBackgrounds
from maskrcnn.training_data.tiles import TiledDataset

DATA = Synthetic(12, seed=3, side=(64, 64))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a run on DATA leaves that kept a quarter of it."""
    train, val = hold_out(DATA, 0.25)
    write_json(tmp_path / "data.json", describe_all(train, val, DATA.classes))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {"val_share": 0.25}}))
    return tmp_path


def test_of_all_images_those_that_were_kept(run: Path) -> None:
    kept, line = kept_images(run, DATA)
    assert isinstance(kept, Subset) and kept.indices.tolist() == hold_out(DATA, 0.25)[1].indices.tolist()
    assert line.startswith("3 of 12 images: those that the run kept to evaluate on")


def test_the_images_that_were_learned_are_said(run: Path) -> None:
    learned = hold_out(DATA, 0.25)[0]
    kept, line = kept_images(run, learned)
    assert kept is learned and "images that the run was trained on" in line


def test_a_run_of_before_is_known_by_its_digests(run: Path) -> None:
    described = json.loads((run / "data.json").read_text())
    for split in ("train", "val"):
        del described[split]["labels"]
    write_json(run / "data.json", described)
    assert len(kept_images(run, DATA)[0]) == 3


def test_other_images_and_other_folders_change_nothing(
    run: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Synthetic(12, seed=4, side=(64, 64))
    assert kept_images(run, other) == (other, "")
    assert kept_images(tmp_path_factory.mktemp("none"), DATA) == (DATA, "")
    (run / "data.json").write_text("{")
    assert kept_images(run, DATA) == (DATA, "")


@pytest.mark.parametrize(
    "made",
    [
        lambda train: TiledDataset(train, TilesConfig(side=48, overlap=16)),
        lambda train: WithBackgrounds(train, 8),
        lambda train: TiledDataset(WithBackgrounds(train, 8), TilesConfig(side=48, overlap=16)),
        lambda train: without_empty(train)[0],
    ],
    ids=["tiles", "backgrounds", "both", "drop"],
)
def test_what_was_made_of_the_images_does_not_hide_them(
    run: Path, made: Callable[[Dataset], Dataset]
) -> None:
    train, val = hold_out(DATA, 0.25)
    tiled = TiledDataset(val, TilesConfig(side=48, overlap=16), keep_empty=True)
    write_json(run / "data.json", describe_all(made(train), tiled, DATA.classes))
    kept, line = kept_images(run, DATA)
    assert len(kept) == 3 and "those that the run kept" in line
    assert "images that the run was trained on" in kept_images(run, train)[1]

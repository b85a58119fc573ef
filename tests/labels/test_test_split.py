"""A test split is opened, converted, checked and evaluated, and never dropped without a word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from make_samples import SAMPLES
from PIL import Image

from maskrcnn.cli.main import main
from maskrcnn.errors import UserError
from maskrcnn.labels.convert import WRITERS, convert_data
from maskrcnn.labels.open import open_dataset, open_named, open_split
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.writers.coco import write_coco

COUNTS = {"train": 4, "val": 3, "test": 2}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """train.json, val.json and test.json, each beside its images."""
    for seed, (split, count) in enumerate(COUNTS.items()):
        write_coco(Synthetic(count, seed=seed), tmp_path / f"in/{split}.json", tmp_path / "in" / split)
    return tmp_path / "in"


@pytest.mark.parametrize("to", WRITERS)
def test_every_form_keeps_it(coco: Path, tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["convert", "data", str(coco), "--to", to, "--out", out]) == 0
    assert f"{sum(COUNTS.values())} images as {to}" in capsys.readouterr().out
    source = f"voc:{out}" if to == "voc" else out
    for split, count in COUNTS.items():
        dataset = open_split(source, split)
        assert dataset is not None and len(dataset) == count


def test_beside_a_file(coco: Path) -> None:
    """As val*.json beside a file that is named train*.json."""
    dataset = open_split(coco / "train.json", "test")
    assert dataset is not None and len(dataset) == COUNTS["test"]
    assert open_split(coco / "val.json", "test") is None


@pytest.mark.parametrize("name", ["test", "Test"])
def test_layouts(coco: Path, tmp_path: Path, name: str) -> None:
    for split, place in (("train", "train"), ("test", name)):
        (tmp_path / "coco" / place).mkdir(parents=True)
        for file in (coco / split).iterdir():
            file.rename(tmp_path / "coco" / place / file.name)
        (coco / f"{split}.json").rename(tmp_path / "coco" / place / "_annotations.coco.json")
    found = open_split(tmp_path / "coco", "test")
    assert found is not None and len(found) == COUNTS["test"]
    assert open_split(tmp_path / "coco", "val") is None
    with pytest.raises(UserError, match="has no 'val' split, only train and test"):
        open_dataset(tmp_path / "coco", "val")


def test_named_splits(coco: Path) -> None:
    assert [len(open_named(coco, split)) for split in (None, "test", "valid", "train")] == [3, 2, 3, 4]
    with pytest.raises(UserError, match="--split dev: there are train, val, test"):
        open_named(coco, "dev")
    (coco / "test.json").unlink()
    for source in (coco, coco / "train.json"):
        with pytest.raises(UserError, match="--split test: .* has no test split"):
            open_named(source, "test")
    with pytest.raises(UserError, match="synthetic has no test split"):
        open_named("synthetic", "test")


def test_a_folder_called_test_beside_labels_of_one_part(coco: Path) -> None:
    """The whole is meant where nothing is said, not the test split alone."""
    for name in ("train.json", "val.json"):
        (coco / name).unlink()
    (coco / "test.json").rename(coco / "all.json")
    (coco / "test").rename(coco / "images")
    write_coco(Synthetic(1, seed=9), coco / "test/labels.json", coco / "test")
    assert len(open_dataset(coco)) == len(open_dataset(coco, "val")) == COUNTS["test"]


@pytest.mark.parametrize(("form", "place"), [("labelme", "."), ("supervisely", "ds0")])
def test_labels_of_all_folders_beside_one_called_test(form: str, place: str, tmp_path: Path) -> None:
    """The images of test were trained on."""
    sample = SAMPLES / "labelme/train" if form == "labelme" else SAMPLES / form
    shutil.copytree(sample, tmp_path / "in")
    rest = tmp_path / "in" / place
    for path in sorted(rest.rglob("*00000000001[0-2].*")):
        moved = tmp_path / "in/test" / path.relative_to(rest)
        moved.parent.mkdir(parents=True, exist_ok=True)
        path.rename(moved)
    assert [len(open_dataset(tmp_path / "in", split)) for split in ("train", "test")] == [9, 3]
    written, _ = convert_data(str(tmp_path / "in"), "coco", tmp_path / "out")
    assert {split: len(dataset) for split, dataset in written.items()} == {"train": 9, "test": 3}


def test_one_that_cannot_be_read_is_told(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((coco / "test.json").read_text())
    (coco / "test.json").write_text(json.dumps(document | {"annotations": []}))
    assert main(["convert", "data", str(coco), "--to", "yolo", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert "lost: split test" in told.err and "label at least one object" in told.err
    assert f"{COUNTS['train'] + COUNTS['val']} images" in told.out
    assert main(["check", str(coco), "--no-steps"]) == 0
    assert "warning: test split that cannot be read: 1" in capsys.readouterr().out
    with pytest.raises(UserError, match="no object is usable"):
        open_named(coco, "test")


def test_check_counts_it_and_finds_leaks(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = sorted((coco / "train").iterdir())[0]
    with Image.open(image) as copied:
        copied.convert("RGB").save(sorted((coco / "test").iterdir())[0])
    assert main(["check", str(coco), "--no-steps", "--json", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert {split: found["images"] for split, found in report["statistics"].items()} == COUNTS
    leaks = [one for one in report["findings"] if one["kind"] == "image in both splits"]
    assert len(leaks) == 1 and "of test is" in leaks[0]["first"][0]
    assert "test" in capsys.readouterr().out


def test_split_refuses_a_source_that_has_one(coco: Path, tmp_path: Path) -> None:
    (coco / "val.json").unlink()
    assert main(["split", str(coco), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()

"""JSON files in every encoding that tools write, whole and at a glance."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from make_samples import SAMPLES

from maskrcnn.labels.detect import detect
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.readers.json_file import glance, load_json, only_json

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"]
FORMATS = sorted({path.relative_to(SAMPLES).parts[0] for path in SAMPLES.rglob("*.json")})


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_both_ends_of_a_file(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.json"
    document = {"начало": 1, "long": ["кот"] * 3001, "end": True}
    path.write_bytes(json.dumps(document, ensure_ascii=False).encode(encoding))
    assert load_json(path) == document
    for count in (64, 68, 1000, 1 << 20):
        text = glance(path, count)
        assert text.startswith('{"начало"') and text.endswith('"end": true}')
        assert len(text) <= 2 * count + 3


def test_a_glance_at_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_bytes(b"")
    (tmp_path / "noise.json").write_bytes(bytes(range(256)) * 9)
    assert glance(tmp_path / "empty.json") == glance(tmp_path / "none.json") == glance(tmp_path) == ""
    assert isinstance(glance(tmp_path / "noise.json"), str)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_mark_changes_nothing(tmp_path: Path, name: str, encoding: str) -> None:
    """Every reader of JSON reads what Windows' editors made of its files, and knows it for its own."""
    folder = tmp_path / name
    shutil.copytree(SAMPLES / name, folder)
    source = SAMPLES / name / ("annotations/lvis_v1_train.json" if name == "lvis" else "")
    ours = tmp_path / source.relative_to(SAMPLES)
    for path in folder.rglob("*.json"):
        path.write_bytes(path.read_text("utf-8").encode(encoding))
    found, wanted = detect(ours), detect(source)
    assert (found and found.name) == (wanted and wanted.name)
    assert len(open_dataset(ours, "train")) == len(open_dataset(source, "train"))


def test_the_only_file_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "LABELS.JSON").write_text("{}")
    assert only_json(tmp_path) == tmp_path / "LABELS.JSON"
    (tmp_path / "more.json").write_text("{}")
    assert only_json(tmp_path) is None

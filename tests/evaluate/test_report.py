"""Tables and files of an evaluation."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from maskrcnn.evaluate.coco import KEYPOINT_KEYS, OBJECT_KEYS, Scores
from maskrcnn.evaluate.report import print_scores
from maskrcnn.files import write_json


def some_scores() -> Scores:
    kinds = {"bbox": dict.fromkeys(OBJECT_KEYS, 12.34), "keypoints": dict.fromkeys(KEYPOINT_KEYS, 56.78)}
    kinds["bbox"]["APs"] = None
    per_class = {
        kind: {name: dict.fromkeys(("AP", "AP50", "AP75"), 9.87) for name in ("cat", "dog")} for kind in kinds
    }
    return Scores(kinds, per_class, images=3, objects=5, detections=7, notes=["masks are not scored [here]"])


def test_the_table_shows_every_figure() -> None:
    text = io.StringIO()
    print_scores(some_scores(), Console(file=text, width=120))
    for words in (
        "boxes",
        "keypoints",
        "AP75",
        "12.3",
        "56.8",
        "9.9",
        "cat",
        "dog",
        "3 images",
        "scored [here]",
    ):
        assert words in text.getvalue()
    assert "masks AP" not in text.getvalue()


def test_json_has_the_kinds_in_percent_and_null_for_what_was_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.json"
    write_json(path, some_scores().to_dict())
    content = json.loads(path.read_text())
    assert content["bbox"]["AP"] == 12.34
    assert content["bbox"]["APs"] is None
    assert list(content["keypoints"]) == list(KEYPOINT_KEYS)
    assert content["per_class"]["bbox"]["cat"]["AP"] == 9.87
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json(path, [{"image_id": 1}])
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"AP": float("nan")})
    assert json.loads(path.read_text()) == [{"image_id": 1}]
    assert list(tmp_path.iterdir()) == [path]

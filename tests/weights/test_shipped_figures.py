"""A shipped model's card and docs/models.md say what was measured: `figures.json`, by `maskrcnn evaluate`."""

import json
import re
from pathlib import Path

import pytest

from maskrcnn.weights.store import load_model_config

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "src" / "maskrcnn" / "weights" / "shipped"
KINDS = {"bbox": "box", "segm": "mask", "keypoints": "keypoint"}
NAMES = sorted(path.parent.name for path in SHIPPED.glob("*/figures.json"))


def measured(name: str) -> dict[str, dict[str, str]]:
    """By the documents' word for a kind, as they round."""
    figures = json.loads((SHIPPED / name / "figures.json").read_text())
    return {
        word: {key: f"{value:.1f}" for key, value in figures[kind].items() if value is not None}
        for kind, word in KINDS.items()
        if kind in figures
    }


def test_there_are_shipped_models() -> None:
    assert NAMES == ["nuclei-mobilenet", "person-efficientnet", "person-mobilenet"]


@pytest.mark.parametrize("name", NAMES)
def test_the_card(name: str) -> None:
    card = (SHIPPED / name / "README.md").read_text()
    said = {
        kind: row
        for kind, *row in re.findall(r"^\| (box|mask|keypoint) \| (.+) \| (.+) \| (.+) \|$", card, re.M)
    }
    assert said == {
        kind: [row[key] for key in ("AP", "AP50", "AP75")] for kind, row in measured(name).items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_models(name: str) -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
    alone, _, more = line.rsplit("|", 2)[1].partition("; with 400 detections")
    row = measured(name)
    assert dict(re.findall(r"(box|mask|keypoint) (\d+\.\d)", alone)) == {
        kind: row[kind]["AP"] for kind in row
    }
    assert all(value == row[kind]["AP@400"] for kind, value in re.findall(r"(box|mask) (\d+\.\d)", more))
    for text, end in ((alone, ""), (more, "@400")):
        assert all(value == row["mask"][f"AP50{end}"] for value in re.findall(r"\(AP50 (\d+\.\d)", text))


@pytest.mark.parametrize("name", NAMES)
def test_the_score_from_which_it_keeps_objects(name: str) -> None:
    figures = json.loads((SHIPPED / name / "figures.json").read_text())["at_score"]
    best, half = figures["best"], figures["given"]
    assert load_model_config(SHIPPED / name).test.predict_score == best["score"] and half["score"] == 0.5
    page = (ROOT / "docs" / "models.md").read_text()
    for row in (best, half):
        assert f"| `{name}` | {row['score']:g} | {row['precision']:.1f} | {row['recall']:.1f} |" in page

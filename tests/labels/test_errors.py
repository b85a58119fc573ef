"""What is wrong with labels is data: a file, a record, what is wrong and a remedy (`RecordError`)."""

from __future__ import annotations

import ast
import json
import pickle
from pathlib import Path

import pytest

import maskrcnn
from maskrcnn.check.page import write_page
from maskrcnn.check.run import check
from maskrcnn.errors import DataError, ImageError, RecordError

LABELS = Path(maskrcnn.__file__).parent / "labels"


def test_one_line_and_its_parts() -> None:
    error = RecordError(Path("a.json"), "has no label", "give it one", "shape 2")
    assert str(error) == "a.json: shape 2 has no label; give it one" and isinstance(error, DataError)
    assert (error.source, error.record, error.what, error.remedy) == (
        "a.json",
        "shape 2",
        "has no label",
        "give it one",
    )
    assert str(RecordError("a.json", "is empty", "label some")) == "a.json: is empty; label some"
    again = pickle.loads(pickle.dumps(ImageError("a.png", "not an image", "replace it")))
    assert str(again) == "a.png: not an image; replace it" and again.remedy == "replace it"


@pytest.mark.parametrize("path", sorted(LABELS.rglob("*.py")), ids=lambda path: path.stem)
def test_no_error_of_labels_is_without_a_remedy(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        place = f"{path.name}:{node.lineno}"
        assert node.func.id != "DataError", f"{place}: a finished sentence; raise a RecordError"
        if node.func.id in ("RecordError", "ImageError"):
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            assert len(given) >= 3, f"{place}: without a remedy"
            for part in node.args[1:3]:
                text = ast.literal_eval(part) if isinstance(part, ast.Constant) else "made when it happens"
                assert text and "; " not in text, f"{place}: {text!r} is no part of its own"


@pytest.mark.parametrize("split", ["train", "test"])
def test_check_tells_the_parts_of_labels_that_cannot_be_read(tmp_path: Path, split: str) -> None:
    good = {
        "images": [{"id": 1, "file_name": "a.png", "width": 90, "height": 80}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    from PIL import Image

    Image.effect_noise((90, 80), 50).convert("RGB").save(tmp_path / "a.png")
    (tmp_path / "train.json").write_text(json.dumps(good))
    (tmp_path / f"{split}.json").write_text(json.dumps(good | {"categories": []}))
    report = check(str(tmp_path), measured=False)
    [finding] = [found for found in report.as_json()["findings"] if "cannot be read" in found["kind"]]
    where = f"{split}: {tmp_path / f'{split}.json'}"
    assert finding["first"] == [f"{where}: empty data set, 'categories' has no entry"]
    assert finding["remedy"].endswith("add what was labelled")
    write_page(report, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "dd what was labelled." in page and "entry; " not in page

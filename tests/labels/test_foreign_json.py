"""JSON files of other tools are called what they are, not faulty COCO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from claims import one_line

from maskrcnn.cli.main import main
from maskrcnn.errors import UserError
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.readers.coco import read_coco
from maskrcnn.labels.readers.foreign_json import KINDS

BOX = {"label": "cat", "coordinates": {"x": 5, "y": 5, "width": 4, "height": 4}}
FILES: list[tuple[str, Any]] = [
    ("results", [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]),
    ("results", [{"image_id": 1, "keypoints": [1, 2, 2], "score": 0.5}]),
    ("results", [{"image_id": 1, "category_id": 1, "segmentation": {"size": [4, 4], "counts": "0"}}]),
    ("VoTT", {"name": "p", "tags": [], "assets": {"1f": {"asset": {}, "regions": []}}, "vottVersion": "2"}),
    ("VoTT", {"asset": {"name": "a.jpg", "size": {}}, "regions": [], "version": "2.1.0"}),
    ("VoTT", {"frames": {"a.jpg": []}, "inputTags": "cat,dog", "visitedFrames": []}),
    ("Labelbox", [{"ID": "c", "Labeled Data": "https://x/a.jpg", "Label": {"objects": []}}]),
    ("Labelbox", [{"data_row": {"id": "c"}, "media_attributes": {}, "projects": {}}]),
    ("Encord", [{"label_hash": "x", "data_hash": "y", "data_units": {}}]),
    ("Kili", [{"externalId": "a", "content": "https://x/a.jpg", "labels": [{"jsonResponse": {}}]}]),
    ("detectron2", [{"file_name": "a.png", "height": 4, "width": 4, "image_id": 0, "annotations": []}]),
    ("Label Studio", [{"id": 1, "data": {"image": "a.png"}, "predictions": []}]),
    ("Hugging Face", [{"file_name": "a.png", "objects": {"bbox": [], "categories": []}}]),
    ("nuImages", [{"token": "a", "sample_token": "b", "bbox": []}]),
    ("Hasty", {"project_name": "p", "export_format_version": "1.1", "label_classes": [], "images": []}),
    ("V7 Darwin", {"version": "2.0", "item": {"name": "a.png", "slots": []}, "annotations": []}),
    ("V7 Darwin", {"dataset": "d", "image": {"original_filename": "a.png"}, "annotations": []}),
    ("Segments.ai", {"name": "v1", "dataset": {"name": "d", "samples": []}}),
    ("SuperAnnotate", {"metadata": {"name": "a.png"}, "instances": [], "tags": []}),
    ("OpenPose", {"version": 1.3, "people": [{"pose_keypoints_2d": []}]}),
    ("EISeg", [{"name": "cat", "labelIdx": 1, "color": [1, 2, 3], "points": [[3, 4], [20, 4], [20, 30]]}]),
    ("backup of CVAT", [{"version": 0, "tags": [], "shapes": [], "tracks": []}]),
    ("ISAT", {"info": {"description": "ISAT"}, "objects": []}),
    ("DeepFashion2", {"item1": {"segmentation": []}, "source": "user", "pair_id": 1}),
    ("SA-1B", {"image": {"image_id": 1, "file_name": "sa_1.jpg"}, "annotations": []}),
    ("OCHuman", {"keypoint_names": [], "keypoint_visible": {}, "images": []}),
    ("YouTube-VIS", {"videos": [], "annotations": [], "categories": []}),
    ("captions", {"images": [{"id": 1}], "annotations": [{"id": 1, "image_id": 1, "caption": "A cat."}]}),
    ("no labels", {"info": {}, "images": [{"id": 1}], "categories": [], "licenses": []}),
    ("Supervisely", {"description": "", "size": {"height": 4, "width": 4}, "objects": [], "tags": []}),
    ("Supervisely", {"classes": [], "tags": []}),
    ("maskrcnn check", {"source": "x", "verdict": "y", "statistics": {}, "findings": []}),
    ("maskrcnn evaluate", {"bbox": {}, "per_class": {}, "counts": {}, "notes": []}),
]
REMEDIES = ("give", "export", "save")


@pytest.mark.parametrize(("name", "document"), FILES)
def test_called_what_it_is(name: str, document: Any, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(document))
    for source in (tmp_path, tmp_path / "labels.json"):
        with pytest.raises(UserError) as error:
            open_dataset(source)
        line = one_line(error.value)
        assert name in line and any(f"; {word}" in line for word in REMEDIES)
        assert "COCO file has the lists" not in line and len(line) < 400


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("CreateML", [{"image": "a.jpg", "annotations": [BOX]}]),
        ("CreateML", [{"imagefilename": "a.jpg", "annotation": [BOX]}]),
        ("MPII", [{"joints": [[1, 2]], "joints_vis": [1], "image": "a.jpg", "scale": 3, "center": [4, 5]}]),
        ("MPII", [{"joint_self": [[1, 2, 1]], "img_paths": "a.jpg"}]),
        ("BDD100K", [{"name": "a.jpg", "labels": [{"category": "car", "box2d": {}}]}]),
        ("Datumaro", {"info": {}, "categories": {"label": {}}, "items": []}),
        ("GeoJSON", {"type": "FeatureCollection", "features": []}),
        ("Cityscapes", {"imgHeight": 4, "imgWidth": 4, "objects": []}),
    ],
)
def test_called_what_it_is_by_the_reader_of_coco(name: str, document: Any, tmp_path: Path) -> None:
    """Other readers may take these; one who says coco: is told all the same."""
    (tmp_path / "labels.json").write_text(json.dumps(document))
    with pytest.raises(UserError) as error:
        read_coco(tmp_path / "labels.json")
    assert name in one_line(error.value)


def test_a_file_for_each_image(tmp_path: Path) -> None:
    for number in range(3):
        darwin = {"version": "2.0", "item": {"name": f"{number}.png"}, "annotations": []}
        (tmp_path / f"{number}.json").write_text(json.dumps(darwin))
    with pytest.raises(UserError, match=r"'0\.json' is a file of V7 Darwin, which is not read"):
        open_dataset(tmp_path)


def test_a_document_in_each_line(tmp_path: Path) -> None:
    path = tmp_path / "export.ndjson"
    for text, words in (
        ('{"data_row": {}, "projects": {}}\n' * 2, "export of Labelbox"),
        ("{", "lines of JSON, which is not read"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=words):
            open_dataset(path)


def test_of_no_kind_that_we_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.json").write_text('{"compilerOptions": {}, "files\\n": []}')
    assert main(["check", str(tmp_path), "--no-steps"]) == 3
    out = capsys.readouterr().out
    assert "no labels of a kind that we know: an object with 'compilerOptions', 'files\\n'" in out


def test_every_kind_has_a_remedy() -> None:
    assert all(kind.remedy and kind.keys for kind in KINDS)

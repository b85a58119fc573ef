"""Problems as data: counted by kind, kept as JSON, and made into a sentence in one place."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from maskrcnn.check.run import check
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problems


def tally() -> Problems:
    problems = Problems("labels.json")
    problems.note(ProblemKind.EMPTY_MASK, "annotation 7 of image 'a.png'", "a.png")
    problems.note(ProblemKind.EMPTY_MASK, "annotation 9 of image 'b.png'", "b.png")
    problems.note(ProblemKind.TAG, "image 'b.png'", "b.png", count=3)
    return problems


def test_each_kind_is_counted_and_its_first_record_kept() -> None:
    assert tally().lines() == [
        "labels.json: mask without a pixel dropped: 2, first annotation 7 of image 'a.png';"
        " label the mask again; the box is kept",
        "labels.json: tag left out: 3, first image 'b.png';"
        " nothing to do: they are not trained on; make what the model should tell apart a class",
    ]
    assert tally().texts() == {"mask without a pixel dropped": 2, "tag left out": 3}


def test_a_tally_survives_json_and_its_copy_is_its_own() -> None:
    assert Problems.from_json(json.loads(json.dumps(tally().as_json()))) == tally()
    copy = tally().copy()
    assert copy == tally()
    copy.note(ProblemKind.NO_BOX, "annotation 1")
    assert len(tally()) == 2


def test_kinds_are_told_apart_by_text_and_say_what_to_do() -> None:
    kinds = list(ProblemKind)
    assert len({kind.text for kind in kinds}) == len(kinds)
    assert all(kind.remedy and kind.text.isprintable() and kind.remedy.isprintable() for kind in kinds)


def test_an_empty_rle_is_found_with_its_image_and_its_whole_remedy(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    images, annotations = [], []
    for number, counts in enumerate(([30, 0], [10, 20], [5, 25]), start=1):
        Image.new("RGB", (6, 5), (number, 0, 0)).save(tmp_path / f"images/{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 5, "width": 6})
        box = {
            "bbox": [0, 0, 4, 3],
            "area": 6,
            "iscrowd": 0,
            "segmentation": {"size": [5, 6], "counts": counts},
        }
        annotations.append({"id": number, "image_id": number, "category_id": 1} | box)
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "labels.json").write_text(json.dumps(document))
    report = check(str(tmp_path / "labels.json"), measured=False)
    (finding,) = (one for one in report.findings if one.text == "mask without a pixel dropped")
    assert finding.remedy == "label the mask again; the box is kept"
    assert [(one.image, one.record) for one in finding.findings] == [(0, "annotation 1 of image '1.png'")]

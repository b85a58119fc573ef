"""`maskrcnn check` of any label file at all ends in a report, and its repaired copy has no errors left."""

from __future__ import annotations

import importlib
from pathlib import Path
from random import Random

import pytest
from spoil import spoil

from maskrcnn.check.fix import write_fixed
from maskrcnn.check.run import check, write_reports
from maskrcnn.errors import DataError, UserError

CASES = 24


@pytest.mark.parametrize("name", ["coco", "labelme", "voc", "yolo"])
def test_a_spoilt_file_is_reported_and_repaired(name: str, tmp_path: Path) -> None:
    subjects = importlib.import_module(f"test_{name}").subjects(tmp_path)
    reported = repaired = 0
    for number in range(CASES):
        rng = Random(f"{name} {number}")
        subject = rng.choice(subjects)
        path = rng.choice(subject.files)
        path.write_bytes(spoil(subject.good[path], rng))
        try:
            report = check(str(subject.source), measured=False)
        except UserError as error:  # no labels are found any more
            assert not isinstance(error, DataError)
        else:
            reported += 1
            write_reports(report, tmp_path / "report" / "r.json", tmp_path / "report" / "r.html")
            try:
                fixed = write_fixed(report, tmp_path / "report" / f"fixed{number}")
            except DataError:
                assert report.exit_code == 3
            else:
                assert fixed.changes or report.exit_code == 0
                assert check(str(fixed.written[0].parent), measured=False).exit_code == 0
                repaired += 1
        path.write_bytes(subject.good[path])
    assert reported > CASES / 2 and repaired > CASES / 10

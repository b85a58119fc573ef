"""Every problem that a reader can tell of comes out whole: in the text, in the JSON, on the page, with its
image.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from maskrcnn.check.findings import WRONG_ALL_OVER
from maskrcnn.check.kinds import CheckKind
from maskrcnn.check.run import check, write_reports
from maskrcnn.check.terminal import print_report
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problem
from maskrcnn.labels.readers.coco import read_coco
from maskrcnn.labels.refused import Refused, RefusedRecords
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.writers.coco import write_coco

NAME = "a; b, first c.png"  # what a sentence could not be split at


def as_shown(line: str) -> str:
    return line[:1].upper() + line[1:]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kinds")
    write_coco(Synthetic(3, seed=1), root / "train.json", root / "train")
    document = json.loads((root / "train.json").read_text())
    (root / "train" / document["images"][1]["file_name"]).rename(root / "train" / NAME)
    document["images"][1]["file_name"] = NAME
    (root / "train.json").write_text(json.dumps(document))
    return root


@pytest.mark.parametrize("refused", [False, True])
def test_every_kind_comes_out_whole(
    refused: bool, labels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = read_coco(labels / "train.json")
    problems = [Problem(kind, f"annotation 7 of image {NAME!r}", NAME) for kind in ProblemKind]
    for problem in problems if not refused else []:
        dataset.problems.note(problem.kind, problem.record, problem.image, count=3)

    def opened(*_: object, **__: object):
        if refused:
            raise RefusedRecords([Refused(problem, "train.json") for problem in problems], dataset)
        return dataset

    monkeypatch.setattr("maskrcnn.check.run.open_dataset", opened)
    report = check(str(labels), measured=False)
    groups = {group.kind: group for group in report.findings}
    print_report(report)
    text = capsys.readouterr().out.splitlines()
    write_reports(report, labels / "r.json", labels / "r.html")
    found = {one["kind"]: one for one in json.loads((labels / "r.json").read_text())["findings"]}
    sections = (labels / "r.html").read_text().split("<h3>")
    count = 1 if refused else 3
    for kind in ProblemKind:
        severity = "error" if refused or kind in WRONG_ALL_OVER else "warning"
        group = groups[kind]
        assert (group.count, group.severity, group.remedy) == (count, severity, kind.remedy)
        assert [finding.image for finding in group.findings] == [1]
        record = f"annotation 7 of image {NAME!r}"
        assert f"{severity}: {kind.text}: {count}, first {record}; {kind.remedy}" in text
        assert found[kind.text]["remedy"] == kind.remedy and found[kind.text]["first"] == [f"train: {record}"]
        (section,) = (part for part in sections if html.escape(kind.text, quote=True) in jinja(part))
        assert html.escape(as_shown(kind.remedy)) in jinja(section), kind
        assert len(re.findall("data:image/jpeg", section)) == 1, "its thumbnail"


def jinja(page: str) -> str:
    """Jinja and `html` escape quotes by other numbers."""
    return page.replace("&#39;", "&#x27;").replace("&#34;", "&quot;")


def test_kinds_of_check_are_told_apart() -> None:
    texts = [kind.text for kind in [*CheckKind, *ProblemKind]]
    assert len(set(texts)) == len(texts)
    assert [kind.name for kind in CheckKind if not kind.remedy] == [
        "UNREADABLE_LABELS",
        "UNREADABLE_TEST",
        "UNUSABLE_IMAGE",
        "BELOW_ANCHORS",
        "NO_ANCHOR",
    ]


def test_each_image_that_cannot_be_used_has_its_own_remedy(labels: Path, tmp_path: Path) -> None:
    write_coco(Synthetic(4, seed=2), tmp_path / "train.json", tmp_path / "train")
    files = sorted((tmp_path / "train").glob("*.png"))
    files[0].write_bytes(b"no image; at all")
    files[1].write_bytes(files[1].read_bytes()[:400])
    report = check(str(tmp_path), measured=False)
    write_reports(report, None, tmp_path / "r.html")
    (group,) = (group for group in report.findings if group.kind is CheckKind.UNUSABLE_IMAGE)
    assert [finding.remedy for finding in group.findings] == [
        "convert it to PNG",
        "replace or remove the file",
    ]
    page = (tmp_path / "r.html").read_text()
    assert "Convert it to PNG." in page and "; replace or remove the file<" in page

"""What systems put beside a person's files changes nothing: macOS's ._NAME and .DS_Store, Windows' Thumbs.db."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest
from fuzz import Subject
from fuzz_readers import READERS

from maskrcnn.errors import UserError
from maskrcnn.labels.detect import detect
from maskrcnn.labels.types import Dataset

# the head of an AppleDouble file, which a zip made on a Mac has beside each file
BESIDE = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(range(256))


def content(dataset: Dataset) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = [(dataset.classes, sorted(dataset.problems.lines()))]
    for index in range(len(dataset)):
        image = dataset.image(index)
        found.append((image.file_name, image.height, image.width))
        found += [(each.label, each.box, each.area) for each in image.annotations]
    return found


def detected(source: Path) -> object:
    try:
        return detect(source)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("name", READERS)
def test_system_files_change_nothing(name: str, tmp_path: Path) -> None:
    subjects: list[Subject] = importlib.import_module(f"test_{name}").subjects(tmp_path)
    before = [(detected(each.source), content(each.read(each.source))) for each in subjects]
    for folder, _, names in os.walk(tmp_path):
        for beside in names:
            Path(folder, f"._{beside}").write_bytes(BESIDE)
        Path(folder, ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        Path(folder, "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512))
        Path(folder, "desktop.ini").write_text("[.ShellClassInfo]\n")
    for each, (kind, labels) in zip(subjects, before, strict=True):
        assert detected(each.source) == kind
        assert each.looks_like(each.source)
        assert content(each.read(each.source)) == labels

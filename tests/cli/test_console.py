"""Consoles that lack the letters of class and file names: the letters are replaced and the work goes on."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

import maskrcnn
from maskrcnn.cli.console import threads_told_in_a_line

CLASSES = ["кот", "猫"]
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Two classes and an image whose names no ASCII console has."""
    Image.new("RGB", (64, 48), (90, 20, 160)).save(tmp_path / "ёж 猫.png")
    box = {"bbox": [5, 5, 20, 20], "image_id": 1, "iscrowd": 0, "area": 400}
    document = {
        "images": [{"id": 1, "file_name": "ёж 猫.png", "width": 64, "height": 48}],
        "annotations": [{**box, "id": place, "category_id": place} for place in (1, 2)],
        "categories": [{"id": place, "name": name} for place, name in enumerate(CLASSES, 1)],
    }
    (tmp_path / "train.json").write_text(json.dumps(document), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, r"\u043a\u043e\u0442"),
        ({"PYTHONIOENCODING": "cp1252"}, r"\u732b"),
        ({"PYTHONIOENCODING": "cp1251"}, "кот"),
        (C_LOCALE, r"\u043a\u043e\u0442"),
    ],
)
def test_letters_that_the_console_lacks_are_replaced(
    environment: dict[str, str], shown: str, labels: Path
) -> None:
    source = str(Path(maskrcnn.__file__).parents[1])
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-m", "maskrcnn", "check", str(labels), "--no-steps", "--html", str(labels / "page.html")],
        capture_output=True, env={**plain, **environment, "PYTHONPATH": source, "COLUMNS": "100"}, check=False,
    )  # fmt: skip
    output = done.stdout.decode(environment.get("PYTHONIOENCODING", "ascii"))
    assert done.returncode == 0, done.stderr
    assert shown in output and "no errors" in output
    page = (labels / "page.html").read_text(encoding="utf-8")
    assert all(name in page for name in CLASSES)  # a page has all letters, whatever the console


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "run/events"),
            "run/events: No space left on device",
        ),
        (KeyError("a defect of ours"), "Traceback"),
    ],
)
def test_what_the_system_refuses_to_a_thread_is_a_line(
    error: Exception, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)  # pytest has put its own there

    def fail() -> None:
        raise error

    with threads_told_in_a_line():
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    lines = capsys.readouterr().err.splitlines()
    assert told in "\n".join(lines) and (told == "Traceback" or len(lines) == 1)

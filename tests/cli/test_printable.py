"""Names from files and settings that hold what drives a terminal are shown, never sent to it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from maskrcnn.cli.main import main
from maskrcnn.shell import printable

NASTY = "cat\x1b]0;title\x07\x1b[2K\x9b31m\u202etac"


def test_what_is_no_letter_is_written_out() -> None:
    assert printable(NASTY) == r"cat\x1b]0;title\x07\x1b[2K\x9b31m\u202etac"
    assert printable("a\nb\rc\td\x7f\u2028e\udcff") == r"a\nb\rc\td\x7f\u2028e\udcff"
    for fine in ("кот", "猫", "قطة", "می\u200cخواهم", "👩\u200d🔬", "a\u00a0b", "[red]"):
        assert printable(fine) == fine


def clean(capsys: pytest.CaptureFixture[str]) -> str:
    told = "".join(capsys.readouterr())
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(told), told
    return told


def test_class_names_and_file_names_of_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = []
    for number in range(4):
        name = f"{number}\x1b[31m.png"
        Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / name)
        images.append({"id": number, "file_name": name, "width": 32, "height": 32})
    classes = [{"id": 1, "name": NASTY}, {"id": 2, "name": "[/red]"}]
    objects = [
        {"id": i, "image_id": i, "category_id": 1 + i % 2, "bbox": [2, 2, 9, 9], "area": 81, "iscrowd": 0}
        for i in range(4)
    ]
    objects.append(objects[0] | {"id": 9, "bbox": [2, 2, -5, 3]})  # told of by the image's name
    labels = tmp_path / "train.json"
    labels.write_text(json.dumps({"images": images, "categories": classes, "annotations": objects}))
    assert main(["check", str(labels)]) in (0, 3)
    assert r"cat\x1b]0;title\x07" in clean(capsys)
    main(["split", str(labels), "--out", str(tmp_path / "split"), "--val", "0.5"])
    assert r"cat\x1b]0;title\x07" in clean(capsys)
    main(["convert", "data", str(labels), "--to", "coco", "--out", str(tmp_path / "out\x1b[2K")])
    assert r"cat\x1b]0;title\x07" in clean(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "person-mobilenet", "x" + NASTY],
        ["predict", "m" + NASTY, "{image}"],
        ["evaluate", "person-mobilenet", "x" + NASTY],
        ["train", "synthetic", "--set", f"model.classes.{NASTY}=1"],
        ["train", "synthetic", "--set", f"train.lr={NASTY}"],
        ["train", "synthetic", "--recipe", NASTY],
        [NASTY],
        ["predict", os.fsdecode(b"m\xff\x1b[2K"), "{image}"],
    ],
)
def test_errors(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert main([word.format(image=tmp_path / "a.png") for word in arguments]) == 2
    assert clean(capsys).count("\n") == 1

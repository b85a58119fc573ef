"""Predict, correct in LabelMe, train on: without anything in between."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from maskrcnn.cli.main import main
from maskrcnn.labels.open import open_dataset


def slide(rng: np.random.Generator) -> Image.Image:
    """Dark discs on bright ground."""
    y, x = np.mgrid[:96, :96]
    pixels = np.full((96, 96, 3), 225.0)
    for column, row in ((20, 24), (60, 30), (40, 70)):
        pixels[np.hypot(x - column, y - row) < rng.uniform(7, 11)] = (110, 60, 140)
    return Image.fromarray(np.clip(pixels + rng.normal(0, 5, pixels.shape), 0, 255).astype(np.uint8))


def test_proposals_are_corrected_and_trained_on(tmp_path: Path) -> None:
    rng, new, out = np.random.default_rng(0), tmp_path / "new", tmp_path / "found"
    new.mkdir()
    for name in ("a", "b"):
        slide(rng).save(new / f"{name}.png")
    predict = [
        "predict",
        "nuclei-mobilenet",
        str(new),
        "--out",
        str(out),
        "--save",
        "labelme",
        "--tiles",
        "off",
    ]
    assert main(predict) == 0
    # what a person does: remove an object, move a corner, draw one more
    path = out / "labelme" / "a.json"
    document = json.loads(path.read_text())
    shapes = document["shapes"]
    drawn = [len(shapes), len(json.loads(path.with_name("b.json").read_text())["shapes"])]
    assert min(drawn) >= 3  # discs
    assert document["imagePath"] == "a.png" and (path.parent / "a.png").samefile(new / "a.png")
    shapes.pop()
    shapes[0]["points"][0][0] += 1.5
    corners = [[70.0, 70.0], [90.0, 70.0], [90.0, 90.0]]
    shapes.append(shapes[0] | {"points": corners, "group_id": None})
    path.write_text(json.dumps(document))
    assert main(predict) == 0  # it stays
    labels = open_dataset(out / "labelme")
    assert [len(labels.image(index).annotations) for index in range(2)] == drawn
    assert any(one.polygons and one.polygons[0].tolist() == corners for one in labels.image(0).annotations)
    small = ["train.epochs=0.5", "train.batch=2", "data.workers=0", "train.evaluate_every_epochs=0"]
    small += ["data.augment.short_sides=[64]", "data.augment.long_side=64"]
    command = ["train", str(out / "labelme"), "--recipe", "nuclei-mobilenet", "--run", str(tmp_path / "run")]
    command += [word for one in ("train.init=nuclei-mobilenet", *small) for word in ("--set", one)]
    assert main(command) == 0
    again = ["predict", str(tmp_path / "run"), str(new), "--out", str(tmp_path / "again"), "--no-overlay"]
    assert main(again) == 0
    assert {path.name for path in (tmp_path / "again").iterdir() if path.name[0] != "."} == {
        "journal.jsonl",
        "results.json",
    }

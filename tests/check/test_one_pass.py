"""`maskrcnn check` goes through the images one at a time, so its memory does not grow with the data set."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnn.check.run import check
from maskrcnn.labels.types import Annotation, Dataset, DatasetInfo, LabelledImage

IMAGES = 60


class Counted(Dataset):
    """Images of a file each, which knows how many of its labels are alive and how many were asked for."""

    def __init__(self, path: Path) -> None:
        self.info = DatasetInfo("counted", ["thing"], [1])
        self.path = path
        self.alive: weakref.WeakSet[Annotation] = weakref.WeakSet()
        self.most = self.asked = 0

    def __len__(self) -> int:
        return IMAGES

    def image(self, index: int) -> LabelledImage:
        annotation = Known((4.0, 4.0, 24.0, 20.0), 0, area=320.0, id=index)
        self.alive.add(annotation)
        self.most, self.asked = max(self.most, len(self.alive)), self.asked + 1
        return LabelledImage(index, f"{index}.png", self.path, 32, 48, [annotation])

    def pixels(self, index: int) -> np.ndarray:
        return np.asarray(Image.open(self.path))


class Known(Annotation):
    __hash__ = object.__hash__
    __eq__ = object.__eq__


def test_few_labels_are_alive_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)).save(tmp_path / "a.png")
    dataset = Counted(tmp_path / "a.png")
    monkeypatch.setattr("maskrcnn.check.run.open_dataset", lambda *a, **k: dataset)
    monkeypatch.setattr("maskrcnn.check.run.open_split", lambda *a, **k: None)
    asked: list[int] = []
    report = check("counted", measured=False, progress=lambda done, total: asked.append(dataset.asked))
    assert report.statistics["train"].objects == len(asked) == IMAGES
    ahead = 2 * (os.cpu_count() or 1) + 2
    assert dataset.most <= ahead < IMAGES / 2
    # to find how they are to be read, a few are looked at first
    first = asked[0] - len(range(0, IMAGES, max(1, IMAGES // 64)))
    assert first <= ahead
    assert asked[-1] - asked[0] <= IMAGES, "each image once"

"""AP of images drawn again equals COCO's AP of a data set in which they are there as often."""

from __future__ import annotations

import numpy as np
import pytest
from guesses import guesses
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.evaluate.coco import score_results
from maskrcnn.evaluate.resampled import match_images
from maskrcnn.evaluate.truth import Kind
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Dataset, LabelledImage


class Repeated(Dataset):
    """The images at `indices` of another set, each under an id of its own."""

    def __init__(self, dataset: Dataset, indices: list[int]) -> None:
        self.dataset, self.indices, self.info = dataset, indices, dataset.info

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> LabelledImage:
        image = self.dataset.image(self.indices[index])
        return LabelledImage(index + 1, image.file_name, None, image.height, image.width, image.annotations)


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_every_image_once_is_cocos_figure(kind: Kind) -> None:
    data = Synthetic(12, split="val", people=True, shapes=kind != "keypoints")
    results = guesses(data, 0)
    if kind == "keypoints":
        results = [result for result in results if "keypoints" in result]
    expected = score_results(data, results, [kind])[kind]
    found = match_images(data, results, kind).average_precision()
    for key, value in found.items():
        assert value == pytest.approx(expected[key], abs=1e-9), key


@settings(max_examples=20, deadline=None)
@given(weights=st.lists(st.integers(0, 3), min_size=6, max_size=6).filter(any), seed=st.integers(0, 99))
def test_images_several_times_are_a_set_that_holds_them(weights: list[int], seed: int) -> None:
    data = Synthetic(6, split="val")
    results = guesses(data, seed)
    for number, result in enumerate(results):  # equal scores have an order in COCO that repetition changes
        result["score"] = 1 - number / 1000
    repeated = Repeated(data, [index for index, times in enumerate(weights) for _ in range(times)])
    copies = [
        {**result, "image_id": place + 1}
        for place, index in enumerate(repeated.indices)
        for result in results
        if result["image_id"] == index + 1
    ]
    found = match_images(data, results, "segm").average_precision(np.array(weights))
    expected = match_images(repeated, copies, "segm").average_precision()
    assert found["AP50"] == pytest.approx(expected["AP50"], abs=1.0)  # ties between an image's copies
    assert expected["AP"] == pytest.approx(score_results(repeated, copies, ["segm"])["segm"]["AP"], abs=1e-9)


def test_recalled_is_the_share_found() -> None:
    data = Synthetic(4, split="val")
    labels = [
        {"image_id": 1, "category_id": a.label + 1, "score": 0.9, "segmentation": a.rle}
        for a in data.image(0).annotations
    ]
    shares = match_images(data, labels, "segm").recalled()
    assert shares.tolist() == [1, 0, 0, 0]

"""AP of images drawn again equals COCO's AP of a data set in which they are there as often."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.evaluate.coco import score_results
from maskrcnn.evaluate.found import Result
from maskrcnn.evaluate.resampled import match_images
from maskrcnn.evaluate.truth import Kind
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Dataset, LabelledImage


def guesses(dataset: Dataset, seed: int) -> list[Result]:
    """The labels' boxes, masks and keypoints of other images now and then, with random scores."""
    rng = np.random.default_rng(seed)
    results: list[Result] = []
    for index in range(len(dataset)):
        for source in (index, index, (index + 1) % len(dataset)):
            for annotation in dataset.image(source).annotations:
                if rng.random() < 0.3:
                    continue
                x0, y0, x1, y1 = np.asarray(annotation.box) + rng.normal(0, 3, 4)
                label = annotation.label if rng.random() < 0.8 else int(rng.integers(len(dataset.classes)))
                result = {
                    "image_id": dataset.image(index).image_id,
                    "category_id": dataset.class_ids[label],
                    "score": round(float(rng.random()), 2),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": annotation.rle,
                }
                if annotation.keypoints is not None:
                    result["keypoints"] = (annotation.keypoints + rng.normal(0, 2, (17, 3))).ravel().tolist()
                results.append(result)
    return results


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

"""The page of an evaluation: figures, errors and images, in one file that loads nothing."""

from __future__ import annotations

import re
from pathlib import Path

import hotcoco
import numpy as np
import pytest

from maskrcnn.errors import DataError
from maskrcnn.evaluate import page as module
from maskrcnn.evaluate.coco import score_results
from maskrcnn.evaluate.found import Result
from maskrcnn.evaluate.page import write_page
from maskrcnn.evaluate.stardist import match_objects
from maskrcnn.evaluate.truth import Kind
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.types import Annotation, Dataset, DatasetInfo, LabelledImage
from maskrcnn.masks.rle import bitmap_rle

SIDE, OBJECTS = 64, 3


class Squares(Dataset):
    """Three squares in each image, of two classes in turn; the last image cannot be read."""

    def __init__(self, count: int, classes: int = 2) -> None:
        names = ["<b>cell</b>", "speck"][:classes]
        self.info = DatasetInfo(name="squares", classes=names, class_ids=[7, 9][:classes])
        self.count = count

    def __len__(self) -> int:
        return self.count

    def image(self, index: int) -> LabelledImage:
        labels = [label(place, place % len(self.classes)) for place in range(OBJECTS)]
        return LabelledImage(index + 1, f"image-{index}.png", None, SIDE, SIDE, labels)

    def pixels(self, index: int) -> np.ndarray:
        if index == self.count - 1:
            raise DataError("broken")
        return np.full((SIDE, SIDE, 3), 90, np.uint8)


def label(place: int, kind: int) -> Annotation:
    x, side = 4 + 20 * place, 12
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10 : 10 + side, x : x + side] = 1
    return Annotation(box=(x, 10, x + side, 10 + side), label=kind, rle=bitmap_rle(mask), area=side * side)


def results_of(dataset: Squares) -> list[Result]:
    """Image i misses its first i objects (of three) and has i detections where nothing is."""
    found: list[Result] = []
    for index in range(len(dataset)):
        image, missed = dataset.image(index), min(index, OBJECTS)
        for place, one in enumerate(image.annotations[missed:]):
            found.append(result(image, one.box, one.rle, dataset.class_ids[one.label], 0.9 - 0.1 * place))
        for place in range(missed):
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[40:50, 15 * place : 15 * place + 10] = 1
            box = (15 * place, 40, 15 * place + 10, 50)
            found.append(result(image, box, bitmap_rle(mask), dataset.class_ids[0], 0.8))
    return found


def result(image: LabelledImage, box: tuple[float, ...], rle: object, category: int, score: float) -> Result:
    x0, y0, x1, y1 = box
    return {
        **{"image_id": image.image_id, "category_id": category, "score": score},
        **{"bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": rle},
    }


def written(
    tmp_path: Path, dataset: Dataset, found: list[Result], stardist: bool = False, most: int = 100
) -> str:
    matched: dict[Kind, hotcoco.COCOeval] = {}
    scores = score_results(dataset, found, ["bbox", "segm"], most=most, matched=matched)
    objects = match_objects(dataset, found) if stardist else None
    title = "model <i> on squares"
    write_page(tmp_path / "page.html", title, dataset, found, scores, matched, most=most, objects=objects)
    return (tmp_path / "page.html").read_text()


def test_the_page_says_what_goes_wrong_and_where(tmp_path: Path) -> None:
    html = written(tmp_path, Squares(4), results_of(Squares(4)), stardist=True)
    assert not re.search(r"https?://|<script|@import|url\(", html)
    assert "model &lt;i&gt;" in html and "&lt;b&gt;cell&lt;/b&gt;" in html and "<b>cell" not in html
    every = html[html.index("Every image") :]
    assert re.findall(r"image-\d", every) == ["image-3", "image-2", "image-1", "image-0"]
    rows = re.findall(
        r'<td>image-(\d).png</td>(?:<td class="n">[^<]*</td>){2}((?:<td class="n">\d+</td>)*)', every
    )
    counts = {int(name): [int(n) for n in re.findall(r"\d+", cells)] for name, cells in rows}
    assert counts == {0: [3, 0, 0], 1: [2, 1, 1], 2: [1, 2, 2], 3: [0, 3, 3]}  # found, missed, none there
    assert html.count("data:image/jpeg") == 2 * 3 and "This image cannot be read" in html
    assert "data:image/png" in html or "maskrcnn[plots]" in html
    # 6 of 12 found at the least IoU: 6 / (6 + 6 + 6)
    assert "Objects matched to objects" in html and "0.333" in html


def test_errors_and_confusions_are_counted(tmp_path: Path) -> None:
    """One object is found as the other class: it shows in the matrix and among TIDE's kinds."""
    dataset = Squares(1)
    found = results_of(dataset)
    found[0]["category_id"] = 9
    html = written(tmp_path, dataset, found)
    (row,) = re.findall(r"<th>&lt;b&gt;cell&lt;/b&gt;</th>\s*((?:<td[^>]*>\d*</td>\s*)*)</tr>", html)
    assert re.findall(r">(\d*)<", row)[:3] == ["1", "1", "0"]
    (cost,) = re.findall(r'right place, wrong class</td><td class="n">1</td><td class="n">([\d.]+)', html)
    assert float(cost) > 0


def test_what_lies_in_a_crowd_is_no_confusion(tmp_path: Path) -> None:
    class OneCrowd(Squares):
        def image(self, index: int) -> LabelledImage:
            image = super().image(index)
            image.annotations[0].crowd = True
            return image

    found = results_of(OneCrowd(1))
    image = OneCrowd(1).image(0)
    x0, y0, _, _ = image.annotations[0].box
    for shift in range(0, 12, 3):  # parts of the crowd
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[10:22, int(x0) + shift : int(x0) + shift + 3] = 1
        box = (x0 + shift, y0, x0 + shift + 3, y0 + 12)
        found.append(result(image, box, bitmap_rle(mask), 7, 0.9))
    html = written(tmp_path, OneCrowd(1), found)
    (row,) = re.findall(r"<th>nothing there</th>\s*((?:<td[^>]*>\d*</td>\s*)*)</tr>", html)
    assert re.findall(r">(\d*)<", row)[:2] == ["0", "0"]


def test_many_classes_have_a_list_of_confusions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLASSES", 1)
    found = results_of(Squares(1))
    found[0]["category_id"] = 9
    html = written(tmp_path, Squares(1), found)
    assert '<td>&lt;b&gt;cell&lt;/b&gt;</td><td>speck</td><td class="n">1</td>' in html


def test_best_images_are_not_the_worst_ones_again(tmp_path: Path) -> None:
    html = written(tmp_path, Squares(20), results_of(Squares(20)))
    worst, best = html.index("Worst images"), html.index("Best images")
    shown = [re.findall(r'class="name">image-(\d+)', part) for part in (html[worst:best], html[best:])]
    assert len(shown[0]) == 12 and shown[1][0] == "0" and not set(shown[0]) & set(shown[1])


def test_nothing_found_at_all(tmp_path: Path) -> None:
    html = written(tmp_path, Squares(2, classes=1), [])
    assert "0 found, 3 missed" in html


def matrix_of(html: str, name: str) -> list[str]:
    (row,) = re.findall(rf"<th>{name}</th>\s*((?:<td[^>]*>\d*</td>\s*)*)</tr>", html)
    return re.findall(r">(\d*)<", row)


def test_more_than_a_hundred_objects_count_where_the_model_gives_more(tmp_path: Path) -> None:
    class Full(Squares):
        def image(self, index: int) -> LabelledImage:
            boxes = [
                (6.0 * (n % 10), 4.0 * (n // 10), 6.0 * (n % 10) + 5, 4.0 * (n // 10) + 3) for n in range(150)
            ]
            labels = [
                Annotation(
                    box, 0, polygons=[np.array(box)[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)], area=15.0
                )
                for box in boxes
            ]
            return LabelledImage(1, "image-0.png", None, SIDE, SIDE, labels)

    image = Full(1).image(0)
    found = [
        result(image, one.box, annotation_rle(one, SIDE, SIDE), 7, 0.9 - number / 1000)
        for number, one in enumerate(image.annotations)
    ]
    html = written(tmp_path, Full(1), found, most=200)
    assert matrix_of(html, "&lt;b&gt;cell&lt;/b&gt;")[0] == "150"
    assert re.search(
        r'image-0.png</td>(?:<td class="n">[^<]*</td>){2}<td class="n">150</td><td class="n">0<', html
    )


@pytest.mark.parametrize("exhaustive", [True, False])
def test_classes_that_nobody_looked_for_shift_no_marks(tmp_path: Path, exhaustive: bool) -> None:
    class Searched(Squares):
        def image(self, index: int) -> LabelledImage:
            image = super().image(index)
            del image.annotations[1:]
            image.negative, image.not_exhaustive = [], [] if exhaustive else [0]
            return image

        def pixels(self, index: int) -> np.ndarray:
            return np.full((SIDE, SIDE, 3), 90, np.uint8)

    image = Searched(1).image(0)
    right = results_of(Squares(1))[0]
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[40:50, 40:50] = 1
    elsewhere = [result(image, (40, 40, 50, 50), bitmap_rle(mask), category, 0.95) for category in (9, 7)]
    html = written(tmp_path, Searched(1), [elsewhere[0], right, elsewhere[1]])
    assert matrix_of(html, "&lt;b&gt;cell&lt;/b&gt;")[0] == "1"
    assert matrix_of(html, "nothing there")[:2] == ["1" if exhaustive else "0", "0"]

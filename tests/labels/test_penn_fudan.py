"""Penn-Fudan: masks of persons, and the text beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from claims import refused, repaired
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.readers.penn_fudan import looks_like_penn_fudan, read_penn_fudan
from maskrcnn.masks.rle import rle_bitmap

HEIGHT, WIDTH = 20, 30
BOXES = [(3, 2, 9, 15), (12, 4, 18, 20)]  # xyxy
HEAD = """# Compatible with PASCAL Annotation Version 1.00
Image filename : "PennFudanPed/PNGImages/{stem}.png"
Image size (X x Y x C) : 30 x 20 x 3
Database : "The Penn-Fudan-Pedestrian Database"
Objects with ground truth : 2 {{ "PASpersonWalking" "PASpersonWalking" }}
# Note there may be some objects not included in the ground truth list for they are severe-occluded
# or have very small size.
# Top left pixel co-ordinates : (1, 1)
"""
PERSON = """# Details for pedestrian {n} ("PASpersonWalking")
Original label for object {n} "PASpersonWalking" : "PennFudanPed"
Bounding box for object {n} "PASpersonWalking" - (Xmin, Ymin) - (Xmax, Ymax) : ({0}, {1}) - ({2}, {3})
Pixel mask for object {n} "PASpersonWalking" : "PennFudanPed/PedMasks/{stem}_mask.png"

"""


def ids_of(boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for number, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        ids[y0:y1, x0:x1] = number
        ids[y0, x0] = 0  # no mere box
    return ids


class Folder:
    """A PennFudanPed, to be spoilt by a test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("PNGImages", "PedMasks", "Annotation"):
            (root / name).mkdir()
        for stem, boxes in (("FudanPed00001", BOXES), ("PennPed00001", BOXES[:1])):
            Image.new("RGB", (WIDTH, HEIGHT)).save(root / "PNGImages" / f"{stem}.png")
            Image.fromarray(ids_of(boxes)).save(root / "PedMasks" / f"{stem}_mask.png")
            (root / "Annotation" / f"{stem}.txt").write_text(self.text_of(stem, boxes))
        self.mask = root / "PedMasks/FudanPed00001_mask.png"
        self.text = root / "Annotation/FudanPed00001.txt"

    @staticmethod
    def text_of(stem: str, boxes: list[tuple[int, int, int, int]]) -> str:
        people = [
            PERSON.format(a + 1, b + 1, c, d, n=n, stem=stem) for n, (a, b, c, d) in enumerate(boxes, start=1)
        ]
        return HEAD.format(stem=stem) + "".join(people)

    def repaired(self, *kinds: str) -> FileDataset:
        return repaired(read_penn_fudan(self.root), *kinds)

    def refused(self, *words: str) -> None:
        refused(lambda: read_penn_fudan(self.root), *words)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_masks(folder: Folder) -> None:
    dataset = folder.repaired()
    assert dataset.classes == ["person"] and dataset.class_ids == [1] and looks_like_penn_fudan(folder.root)
    first, second = dataset
    assert (first.image_id, first.file_name, first.height, first.width) == (
        1,
        "FudanPed00001.png",
        HEIGHT,
        WIDTH,
    )
    assert [a.box for a in first.annotations] == BOXES and [a.box for a in second.annotations] == BOXES[:1]
    assert [a.id for image in dataset for a in image.annotations] == [1, 2, 3]
    for number, annotation in enumerate(first.annotations, start=1):
        np.testing.assert_array_equal(rle_bitmap(annotation.rle), ids_of(BOXES) == number)
        assert annotation.area == (ids_of(BOXES) == number).sum() and not annotation.crowd
    assert dataset.pixels(1).shape == (HEIGHT, WIDTH, 3)


def test_without_the_text(folder: Folder) -> None:
    for path in folder.root.glob("Annotation/*"):
        path.unlink()
    folder.repaired()
    (folder.root / "Annotation").rmdir()
    assert len(folder.repaired()) == 2


def test_text_that_disagrees(folder: Folder) -> None:
    moved = [(0, 0, 9, 15), BOXES[1], (20, 1, 25, 6)]
    folder.text.write_text(Folder.text_of("FudanPed00001", moved))
    kinds = (
        "box in the text that is not its mask's passed over",
        "object without pixels in its mask image keeps its box",
    )
    people = folder.repaired(*kinds).image(0).annotations
    assert [a.box for a in people] == [*BOXES, moved[2]] and people[2].rle is None
    folder.text.write_text(Folder.text_of("FudanPed00001", BOXES[:1]))
    assert len(folder.repaired("mask that the text does not list kept").image(0).annotations) == 2


def test_image_without_a_mask(folder: Folder) -> None:
    folder.mask.unlink()
    assert len(folder.repaired("image without a mask image left out")) == 1


def test_missing_image(folder: Folder) -> None:
    (folder.root / "PNGImages/PennPed00001.png").unlink()
    folder.refused("1 of 2 image files", "PennPed00001.png")


def test_size_that_disagrees(folder: Folder) -> None:
    Image.new("RGB", (5, 6)).save(folder.root / "PNGImages/FudanPed00001.png")
    with pytest.raises(DataError, match=r"5 x 6 .* 30 x 20"):
        read_penn_fudan(folder.root).pixels(0)


def test_damaged_masks(folder: Folder) -> None:
    folder.mask.write_bytes(folder.mask.read_bytes()[:50])
    folder.refused("FudanPed00001_mask.png", "not readable")
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder.mask)
    folder.refused("mode RGB")


def test_nothing_there(folder: Folder, tmp_path: Path) -> None:
    for path in folder.root.glob("PedMasks/*"):
        Image.new("L", (WIDTH, HEIGHT)).save(path)
        (folder.root / "Annotation" / path.name.replace("_mask.png", ".txt")).unlink()
    folder.refused("no object")
    for path in folder.root.glob("PedMasks/*"):
        path.unlink()
    folder.refused("_mask.png")
    assert not looks_like_penn_fudan(tmp_path / "none")
    with pytest.raises(UserError, match="PNGImages"):
        read_penn_fudan(tmp_path / "none")


@pytest.mark.parametrize("which", ["mask", "text"])
def test_link_that_leaves(folder: Folder, which: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = getattr(folder, which)
    outside = tmp_path_factory.mktemp("outside") / path.name
    path.rename(outside)
    path.symlink_to(outside)
    folder.refused("link")


def subjects(folder: Path) -> list[Subject]:
    files = Folder(folder)
    return [
        Subject(
            folder, folder, read_penn_fudan, looks_like_penn_fudan, [files.mask, files.text], by_folder=True
        )
    ]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))

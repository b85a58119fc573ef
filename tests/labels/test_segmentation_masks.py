"""CVAT's Segmentation mask 1.1: colours of objects and of classes, lists, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import claims
import numpy as np
import pytest
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.errors import UserError
from maskrcnn.labels.detect import detect
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.readers.segmentation_masks import (
    looks_like_segmentation_masks,
    read_segmentation_masks,
)

LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\ndog:61,245,61::\n"
CAT, DOG = (250, 50, 83), (61, 245, 61)
FIRST, SECOND, VOID = (128, 0, 0), (0, 128, 0), (224, 224, 192)  # as VOC colours objects 1 and 2
HEIGHT, WIDTH = 20, 30
Patch = tuple[tuple[int, int, int], tuple[int, int, int, int]]  # a colour and x0, y0, x1, y1


class Folder:
    """Two images: in a, a cat of 8 x 6 and a dog of 5 x 5 in two parts with a border; in b, nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("a.jpg", "b.png"):
            (path / "JPEGImages").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT)).save(path / "JPEGImages" / name)
        self.text("labelmap.txt", LABELMAP).text("ImageSets/Segmentation/default.txt", "a\nb\n")
        boxes = [(2, 3, 10, 9), (20, 5, 25, 10), (27, 5, 29, 10)]
        self.masks("a", list(zip((FIRST, SECOND, SECOND), boxes, strict=True)), (CAT, DOG, DOG))

    def text(self, name: str, text: str) -> Folder:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text)
        return self

    def masks(self, stem: str, objects: list[Patch], classes: tuple[tuple[int, int, int], ...]) -> None:
        self.mask(f"SegmentationObject/{stem}.png", [*objects, (VOID, (0, 0, WIDTH, 1))])
        patches = [(colour, box) for colour, (_, box) in zip(classes, objects, strict=True)]
        self.mask(f"SegmentationClass/{stem}.png", [*patches, (VOID, (0, 0, WIDTH, 1))])

    def mask(self, name: str, patches: list[Patch]) -> None:
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for colour, (x0, y0, x1, y1) in patches:
            pixels[y0:y1, x0:x1] = colour
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(self.path / name)

    def repaired(self, *kinds: str, split: str | None = None) -> FileDataset:
        return claims.repaired(read_segmentation_masks(self.path, split), *kinds)

    def refused(self, *words: str, split: str | None = None) -> None:
        claims.refused(lambda: read_segmentation_masks(self.path, split), self.path, *words, error=UserError)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def found(dataset: FileDataset) -> list[tuple[str, list[tuple[str, tuple[float, ...], float]]]]:
    return [
        (image.file_name, [(dataset.classes[one.label], one.box, one.area) for one in image.annotations])
        for image in dataset
    ]


GOOD = [("a.jpg", [("dog", (20, 5, 29, 10), 35), ("cat", (2, 3, 10, 9), 48)]), ("b.png", [])]


def test_a_good_export(folder: Folder) -> None:
    assert detect(folder.path).name == "segmentation-masks"
    dataset = folder.repaired()
    assert dataset.classes == ["cat", "dog"] and found(dataset) == GOOD
    assert len(open_dataset(folder.path, "train")) == 2


def test_a_background_of_another_colour(folder: Folder) -> None:
    """As in CVAT's documentation."""
    folder.text("labelmap.txt", LABELMAP.replace("0,0,0", "0,128,0"))
    pixels = np.array(Image.open(folder.path / "SegmentationClass/a.png"))
    pixels[(pixels == 0).all(axis=2)] = (0, 128, 0)
    Image.fromarray(pixels).save(folder.path / "SegmentationClass/a.png")
    assert found(folder.repaired()) == GOOD


def test_palettes_and_colours_of_voc(folder: Folder) -> None:
    """Without labelmap.txt; the palette of VOC has the colour of each class at its number, and labelme2voc
    writes class_names.txt."""
    (folder.path / "labelmap.txt").unlink()
    palette = np.zeros((256, 3), np.uint8)
    palette[[1, 2, 8, 12, 255]] = [FIRST, SECOND, (64, 0, 0), (64, 0, 128), VOID]
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for name, values in (("SegmentationObject", (1, 2)), ("SegmentationClass", (8, 12))):
        pixels[3:9, 2:10], pixels[5:10, 20:25] = values
        pixels[0] = 255
        image = Image.fromarray(pixels)
        image.putpalette(palette.tobytes())
        image.save(folder.path / name / "a.png")
    dataset = folder.repaired("no list of classes: colours have the names of Pascal VOC")
    assert len(dataset.classes) == 20
    assert found(dataset)[0][1] == [("dog", (20, 5, 25, 10), 25), ("cat", (2, 3, 10, 9), 48)]
    names = "".join(f"{name}\n" for name in "abcdefghijkl")
    folder.text("class_names.txt", f"__ignore__\n_background_\n{names}")
    dataset = folder.repaired()
    assert dataset.classes == list("abcdefghijkl")
    assert found(dataset)[0][1] == [("l", (20, 5, 25, 10), 25), ("h", (2, 3, 10, 9), 48)]
    folder.text("class_names.txt", "_background_\n")
    folder.refused("class_names.txt", "1 name", "_background_")


def test_colours_left_out_of_the_labelmap(folder: Folder) -> None:
    folder.text("labelmap.txt", "background:::\ncat:::\ndog:::\n")
    folder.masks("a", [(FIRST, (2, 3, 10, 9))], ((128, 0, 0),))
    assert found(folder.repaired())[0][1] == [("cat", (2, 3, 10, 9), 48)]


def test_objects_without_class_masks(folder: Folder) -> None:
    (folder.path / "SegmentationClass/a.png").rename(folder.path / "SegmentationClass/b.png")
    folder.refused("SegmentationClass/a.png", "missing")
    (folder.path / "SegmentationClass/b.png").unlink()
    (folder.path / "SegmentationClass").rmdir()
    folder.refused("no SegmentationClass")
    folder.text("labelmap.txt", "background:0,0,0::\ncell:1,2,3::\n")
    assert {name for name, _, _ in found(folder.repaired())[0][1]} == {"cell"}
    (folder.path / "labelmap.txt").unlink()
    assert {name for name, _, _ in found(folder.repaired())[0][1]} == {"object"}


def test_classes_of_objects(folder: Folder) -> None:
    folder.masks("a", [(FIRST, (2, 3, 10, 9)), (FIRST, (10, 3, 12, 9))], (CAT, DOG))
    dataset = folder.repaired("object of several classes takes that of most of its pixels")
    assert found(dataset)[0][1] == [("cat", (2, 3, 12, 9), 60)]
    folder.masks("a", [(FIRST, (2, 3, 10, 9)), (SECOND, (20, 3, 22, 9))], (CAT, (0, 0, 0)))
    dataset = folder.repaired("object without a class dropped")
    assert found(dataset)[0][1] == [("cat", (2, 3, 10, 9), 48)]
    folder.masks("a", [(FIRST, (2, 3, 10, 9))], ((1, 2, 3),))
    folder.refused("SegmentationClass/a.png", "1,2,3", "labelmap.txt", "NAME:1,2,3::")


# ---- lists


def test_lists_are_splits(folder: Folder) -> None:
    (folder.path / "ImageSets/Segmentation/default.txt").unlink()
    folder.text("ImageSets/Segmentation/Train.txt", "a\n").text("ImageSets/Segmentation/Test.txt", "b\na\n")
    assert found(open_dataset(folder.path, "train")) == GOOD[:1]
    assert found(open_dataset(folder.path, "test")) == GOOD[::-1]
    folder.text("ImageSets/Segmentation/trainval.txt", "a\nb\n")
    assert found(folder.repaired()) == GOOD[:1]
    folder.refused("'val'", "Train", split="val")
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder.path / "JPEGImages/c.png")
    folder.text("ImageSets/Segmentation/monday.txt", "c\n")
    folder.repaired("subset that is no split left out")


def test_no_lists(folder: Folder) -> None:
    (folder.path / "ImageSets/Segmentation/default.txt").unlink()
    assert found(folder.repaired("image without labels left out")) == GOOD[:1]


def test_listed_images_that_are_missing(folder: Folder) -> None:
    folder.text("ImageSets/Segmentation/default.txt", "a\nlost\nb\n")
    folder.refused("1 of 3 image files are missing", "lost")
    for path in (folder.path / "JPEGImages").iterdir():
        path.unlink()
    folder.refused("3 of 3 image files are missing")
    (folder.path / "JPEGImages").rmdir()
    folder.refused("no folder JPEGImages", "Save images")


# ---- bad input


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cat:1,2::\n", ["cat:1,2::", "three numbers"]),
        ("cat:1,2,256::\n", ["three numbers"]),
        ("cat:1,2,x::\n", ["three numbers"]),
        ("cat:1,2,3::\ndog:1,2,3::\n", ["'cat' and 'dog'"]),
        (":1,2,3::\n", ["no name"]),
    ],
)
def test_labelmaps_that_are_refused(folder: Folder, text: str, words: list[str]) -> None:
    folder.text("labelmap.txt", text)
    folder.refused(*words)


def test_masks_that_are_refused(folder: Folder) -> None:
    path = folder.path / "SegmentationObject/a.png"
    Image.new("RGB", (WIDTH, HEIGHT + 1)).save(path)
    folder.refused("SegmentationObject/a.png", "30 x 21")
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(path)
    folder.refused("no colours")
    path.write_bytes(b"no image")
    folder.refused("SegmentationObject/a.png", "not readable")


def test_photos_as_masks(folder: Folder) -> None:
    pixels = np.arange(1, 150 * 100 + 1, dtype=np.uint32).reshape(100, 150)
    shifted = np.stack([pixels >> 16, pixels >> 8 & 255, pixels & 255], axis=2).astype(np.uint8)
    for name in ("JPEGImages/a.jpg", "SegmentationObject/a.png", "SegmentationClass/a.png"):
        Image.fromarray(shifted).save(folder.path / name)
    folder.refused("15000 colours", "photo")


@pytest.mark.parametrize("name", ["SegmentationObject/a.png", "SegmentationClass/a.png", "labelmap.txt"])
def test_links_that_leave(folder: Folder, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    outside = tmp_path_factory.mktemp("outside") / "x"
    (folder.path / name).rename(outside)
    (folder.path / name).symlink_to(outside)
    folder.refused("symbolic link out of")


def test_linked_images(folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "x"
    (folder.path / "JPEGImages").rename(outside)
    (folder.path / "JPEGImages").symlink_to(outside)
    assert found(folder.repaired()) == GOOD


def test_voc_with_xml_is_voc(folder: Folder) -> None:
    folder.text("Annotations/a.xml", "<annotation><size/></annotation>")
    assert not looks_like_segmentation_masks(folder.path)


def subjects(folder: Path) -> list[Subject]:
    Folder(folder)
    names = ["labelmap.txt", "ImageSets/Segmentation/default.txt", "SegmentationObject/a.png"]
    files = [folder / name for name in [*names, "SegmentationClass/a.png"]]
    return [Subject(folder, folder, read_segmentation_masks, looks_like_segmentation_masks, files)]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_without_objects_it_is_refused(folder: Folder) -> None:
    shutil.rmtree(folder.path / "SegmentationObject")
    claims.refused(lambda: read_segmentation_masks(folder.path), "no folder SegmentationObject")


def test_the_colour_of_borders_is_an_object_where_it_has_a_class(folder: Folder) -> None:
    """It is the 255th of VOC's palette, by which tools number objects."""
    folder.masks("a", [(VOID, (2, 3, 10, 9)), (FIRST, (20, 5, 25, 10))], (CAT, DOG))
    assert found(folder.repaired())[0][1] == [("dog", (20, 5, 25, 10), 25), ("cat", (2, 3, 10, 9), 48)]
    folder.masks("a", [(VOID, (2, 3, 10, 9)), (FIRST, (20, 5, 25, 10))], (VOID, DOG))
    assert found(folder.repaired())[0][1] == [("dog", (20, 5, 25, 10), 25)]

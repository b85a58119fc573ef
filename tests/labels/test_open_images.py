"""Open Images' CSV of boxes, with masks and names of classes in other files."""

from __future__ import annotations

from pathlib import Path

import claims
import numpy as np
import pytest
from claims import bitmap
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.labels.detect import detect
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.readers.open_images import looks_like_open_images, read_open_images

HEIGHT, WIDTH = 20, 40
HEADER = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
ROWS = ["a,xclick,/m/01,1,0.25,0.5,0.1,0.6,0,0,0,0,0", "a,xclick,/m/02,1,0.5,1,0.5,1,0,1,1,0,0"]
MASKS = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"


def write(
    folder: Path, *rows: str, name: str = "train-annotations-bbox.csv", images: str = "images/train"
) -> Path:
    for each in ("annotations", images):
        (folder / each).mkdir(parents=True, exist_ok=True)
    for stem in ("a", "b"):
        if stem == "b" and not any(row.startswith("b,") for row in rows):
            continue
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / images / f"{stem}.jpg")
    (folder / "annotations/class-descriptions-boxable.csv").write_text('/m/01,Cat\n/m/02,"Dog, large"\n')
    path = folder / "annotations" / name
    path.write_text("\n".join([HEADER, *(rows or ROWS)]) + "\n")
    return path


def repaired(source: Path, *kinds: str) -> FileDataset:
    return claims.repaired(read_open_images(source), *kinds)


@pytest.mark.parametrize("images", ["images/train", "annotations", "train", "images"])
def test_boxes(tmp_path: Path, images: str) -> None:
    path = write(tmp_path, images=images)
    for source in (path, tmp_path):
        assert detect(source).name == "open-images"
        dataset = repaired(source)
        assert dataset.classes == ["Cat", "Dog, large"]
        (image,) = dataset
        cat, dog = image.annotations
        assert (cat.label, cat.box, cat.crowd) == (0, (10, 2, 20, 12), False)
        assert (dog.label, dog.box, dog.crowd) == (1, (20, 10, 40, 20), True)


def test_masks_of_another_size(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "masks").mkdir()
    mask = np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8)
    mask[1:6, 5:10] = 255
    Image.fromarray(mask).save(tmp_path / "masks/a_m01_1.png")
    rows = [MASKS, "a_m01_1.png,a,/m/01,1,0.2501,0.5,0.1,0.6,0,", "a_m02_2.png,a,/m/02,1,0.5,1,0.5,1,0,"]
    path.with_name("train-annotations-object-segmentation.csv").write_text("\n".join(rows))
    (image,) = repaired(path, "mask without its box or its file left out")
    cat, dog = image.annotations
    assert bitmap(cat, image).sum() == 100 and dog.rle is None


@pytest.mark.parametrize(
    ("boxes", "segmentations", "mask"),
    [
        ("oidv6-train-annotations-bbox.csv", "train-annotations-object-segmentation.csv", "masks/0a.png"),
        ("detections.csv", "segmentations.csv", "masks/0/0a.png"),
        ("train-annotations-bbox.csv", "train-annotations-object-segmentation.csv", "masks/A/aa.png"),
    ],
)
def test_masks_as_they_are_published(tmp_path: Path, boxes: str, segmentations: str, mask: str) -> None:
    """Those of version 6, of FiftyOne, and in a folder for the first letter were passed over."""
    path = write(tmp_path, ROWS[0], name=boxes, images="images")
    (path.parent / mask).parent.mkdir(parents=True)
    Image.new("L", (WIDTH, HEIGHT), 255).save(path.parent / mask)
    row = f"{Path(mask).name},a,/m/01,1,0.25,0.5,0.1,0.6,0,"
    path.with_name(segmentations).write_text(f"{MASKS}\n{row}\n")
    (image,) = repaired(path)
    assert bitmap(image.annotations[0], image).sum() == WIDTH * HEIGHT


def test_splits(tmp_path: Path) -> None:
    write(tmp_path, name="oidv6-train-annotations-bbox.csv")
    write(tmp_path, name="validation-annotations-bbox.csv", images="images/validation")
    assert len(open_dataset(tmp_path, "train")) == len(open_dataset(tmp_path, "val")) == 1
    claims.refused(lambda: read_open_images(tmp_path), "oidv6-train", "validation-", error=Exception)


def test_layouts_of_cvat_and_fiftyone(tmp_path: Path) -> None:
    write(tmp_path / "cvat", name="default-annotations-bbox.csv", images="images/default")
    assert len(open_dataset(tmp_path / "cvat")) == 1
    path = write(tmp_path / "one/train", images="data")
    (tmp_path / "one/train/labels").mkdir()
    path.rename(tmp_path / "one/train/labels/detections.csv")
    (tmp_path / "one/train/metadata").mkdir()
    (path.parent / "class-descriptions-boxable.csv").rename(tmp_path / "one/train/metadata/classes.csv")
    assert open_dataset(tmp_path / "one", "train").classes == ["Cat", "Dog, large"]


def test_images_of_another_suffix(tmp_path: Path) -> None:
    """Open Images has JPEGs; CVAT exports what was uploaded."""
    path = write(tmp_path, name="default-annotations-bbox.csv", images="images/default")
    (tmp_path / "images/default/a.jpg").unlink()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images/default/a.png")
    (image,) = repaired(path)
    assert image.file_name == "a.png" and len(image.annotations) == 2


def test_images_that_are_not_there(tmp_path: Path) -> None:
    """Who has downloaded some of the images has all of the rows."""
    row = "c,xclick,/m/01,1,0.25,0.5,0.1,0.6,0,0,0,0,0"
    path = write(tmp_path, row, *ROWS, row)
    assert len(repaired(path, *["annotation without an image dropped"] * 2)) == 1


def test_what_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a,1")
    claims.refused(lambda: read_open_images(path), path, "line 2 has 2 cells and not 13")
    write(tmp_path, ROWS[0].replace("a,", "../a,", 1))
    claims.refused(lambda: read_open_images(path), path, "line 2")
    write(tmp_path, ROWS[0].replace("a,", "c,", 1))
    claims.refused(lambda: read_open_images(path), path, "'c.jpg' not found")
    path.write_text(HEADER)
    claims.refused(lambda: read_open_images(path), path, "no row")
    claims.refused(lambda: read_open_images(tmp_path / "images"), "annotations-bbox.csv")


def subjects(folder: Path) -> list[Subject]:
    path = write(folder, *ROWS, "b,xclick,/m/01,1,0.25,0.5,0.1,0.6,0,0,0,0,0")
    masks = path.with_name("train-annotations-object-segmentation.csv")
    masks.write_text(f"{MASKS}\na.png,a,/m/01,1,0.25,0.5,0.1,0.6,0,\n")
    Image.fromarray(np.eye(HEIGHT, dtype=np.uint8)).save(folder / "annotations/a.png")
    files = [path, masks, folder / "annotations/a.png", folder / "annotations/class-descriptions-boxable.csv"]
    return [Subject(folder, path, read_open_images, looks_like_open_images, files)]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_an_image_without_a_row_is_counted(tmp_path: Path) -> None:
    source = write(tmp_path)
    folder = next(tmp_path.rglob("*.jpg")).parent
    Image.new("RGB", (8, 8)).save(folder / "zz.jpg")
    assert "image without a row" in str(read_open_images(source).problems.lines())

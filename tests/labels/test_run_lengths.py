"""Tables of run lengths, as on Kaggle."""

from __future__ import annotations

from pathlib import Path

import claims
import numpy as np
import pytest
from claims import bitmap
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.cli.main import main
from maskrcnn.errors import UserError
from maskrcnn.labels.detect import detect
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset, open_pair, open_split
from maskrcnn.labels.options import LabelOptions
from maskrcnn.labels.readers.run_lengths import looks_like_run_lengths, read_run_lengths

HEIGHT, WIDTH = 32, 48
LEFT_OUT = "image without a row in the table left out"
NO_IMAGE = "annotation without an image dropped"
ALONG = "run lengths read along the rows"


def ellipse(y: float, x: float, height: float = 6, width: float = 9) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.hypot((rows - y) / height, (columns - x) / width) < 1


def encoded(mask: np.ndarray, order: str = "F") -> str:
    """As kaggle.com/c/data-science-bowl-2018 describes it, pixel by pixel."""
    found: list[list[int]] = []
    for place in np.flatnonzero(mask.reshape(-1, order=order)).tolist():
        if found and sum(found[-1]) == place + 1:
            found[-1][1] += 1
        else:
            found.append([place + 1, 1])
    return " ".join(f"{start} {length}" for start, length in found)


A, B = ellipse(10, 12), ellipse(22, 34, 8, 4)
CELLS = (encoded(A), encoded(B))


def write(folder: Path, table: str, *lines: str, images: tuple[str, ...]) -> Path:
    for name in images:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)
    (folder / table).write_text("\n".join(lines) + "\n")
    return folder / table


def repaired(source: Path, *kinds: str, **options: object) -> FileDataset:
    return claims.repaired(read_run_lengths(source, **options), *kinds)


def same(dataset: FileDataset, *masks: np.ndarray, image: int = 0) -> None:
    found = dataset.image(image)
    assert [np.array_equal(bitmap(a, found), m) for a, m in zip(found.annotations, masks, strict=True)] == [
        True
    ] * len(masks)


def test_data_science_bowl(tmp_path: Path) -> None:
    lines = ["ImageId,EncodedPixels", f"00ae,{CELLS[0]}", f"00ae,{CELLS[1]}"]
    images = ("stage1_train/00ae/images/00ae.png", "stage1_train/ff/images/ff.png")
    path = write(tmp_path, "stage1_train_labels.csv", *lines, images=(*images, "stage1_test/x/images/x.png"))
    write(tmp_path, "stage1_train/00ae/masks/1.csv", images=("stage1_train/00ae/masks/00ae.png",))
    write(tmp_path, "stage1_sample_submission.csv", *lines[:2], images=())
    for source in (path, tmp_path):
        assert detect(source).name == "run-lengths"
        dataset = repaired(source, LEFT_OUT)
        assert dataset.classes == ["object"] and dataset.image(0).file_name == images[0]
        same(dataset, A, B)
    assert "'stage1_train/ff/images/ff.png'" in dataset.problems.lines()[0]
    train, val = open_pair(tmp_path)
    assert len(train) == 1 and val is None


@pytest.mark.parametrize("order", ["F", "C"])
def test_sartorius(order: str, tmp_path: Path) -> None:
    """Its runs go along the rows, which Kaggle's own description does not say."""
    lines = ["id,annotation,width,height,cell_type,sample_id"]
    lines += [
        f"0030,{encoded(A, order)},{WIDTH},{HEIGHT},shsy5y,x",
        f"0030,{encoded(B, order)},{WIDTH},{HEIGHT},cort,x",
    ]
    write(tmp_path, "train.csv", *lines, images=("train/0030.png", "test/7ae1.png"))
    dataset = repaired(tmp_path, *[ALONG] * (order == "C"))
    assert dataset.classes == ["cort", "shsy5y"] and [a.label for a in dataset.image(0).annotations] == [1, 0]
    same(dataset, A, B)


def test_a_mask_over_whole_rows(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[3:9] = True
    lines = ["id,rle", f"a,{encoded(B, 'C')}", f"a,{encoded(A, 'C')}", f"a,{encoded(mask, 'C')}"]
    same(repaired(write(tmp_path, "train.csv", *lines, images=("a.png",)), ALONG), B, A, mask)


def test_a_table_with_tabs_by_its_own_suffix(tmp_path: Path) -> None:
    path = write(tmp_path, "train.tsv", "ImageId\tEncodedPixels", f"a\t{encoded(A)}", images=("a.png",))
    same(repaired(path), A)
    assert len(open_dataset(tmp_path)) == 1


def test_a_column_says_the_split(tmp_path: Path) -> None:
    lines = ["ImageId,EncodedPixels,Split", f"a,{encoded(A)},train", f"b,{encoded(B)},val", "c,,rest"]
    write(tmp_path, "x.csv", *lines, images=("a.png", "b.png", "c.png"))
    for split, name in (("train", "a.png"), ("val", "b.png")):
        dataset = open_split(tmp_path, split)
        assert dataset is not None and [image.file_name for image in dataset] == [name]
        claims.repaired(dataset, "subset that is no split left out")
    assert open_split(tmp_path, "test") is None


def test_severstal(tmp_path: Path) -> None:
    both = encoded(A | B)
    lines = ["ImageId,ClassId,EncodedPixels", f"a.jpg,3,{both}", f"b.jpg,1,{CELLS[0]}"]
    images = tuple(f"train_images/{name}.jpg" for name in "abc") + ("test_images/d.jpg",)
    path = write(tmp_path, "train.csv", *lines, images=images)
    dataset = repaired(path, LEFT_OUT, *["separate parts that share a number"] * 2)
    assert dataset.classes == ["1", "3"]
    same(dataset, A | B)
    dataset = claims.repaired(open_dataset(tmp_path, options=LabelOptions(split_parts=True)), LEFT_OUT)
    assert [a.label for a in dataset.image(0).annotations] == [1, 1]
    same(dataset, A, B)
    same(dataset, A, image=1)


@pytest.mark.parametrize("column", ["ImageId_ClassId", "Image_Label"])
def test_image_and_class_in_one_cell(column: str, tmp_path: Path) -> None:
    lines = [
        f"{column},EncodedPixels",
        f"a_1.jpg_Fish,{CELLS[0]}",
        "a_1.jpg_Sugar,",
        f"b.jpg_Sugar,{CELLS[1]}",
    ]
    dataset = repaired(
        write(tmp_path, "train.csv", *lines, images=("train_images/a_1.jpg", "train_images/b.jpg"))
    )
    assert dataset.classes == ["Fish", "Sugar"]
    same(dataset, A)
    same(dataset, B, image=1)


def test_airbus(tmp_path: Path) -> None:
    lines = ["ImageId,EncodedPixels", "00003e153.jpg,", f"a.jpg,{CELLS[0]}"]
    images = ("train_v2/00003e153.jpg", "train_v2/a.jpg", "test_v2/b.jpg")
    write(tmp_path, "train_ship_segmentations_v2.csv", *lines, images=images)
    dataset = repaired(tmp_path)
    assert [len(image.annotations) for image in dataset] == [0, 1]


@pytest.mark.parametrize("column", ["rle", "encoding"])
def test_hubmap(column: str, tmp_path: Path) -> None:
    lines = [f"id,organ,{column}", f"10044,prostate,{CELLS[0]} {CELLS[1]}"]
    write(tmp_path, "train.csv", *lines, images=("train_images/10044.tiff",))
    parts = ["separate parts that share a number"] * 2
    same(repaired(tmp_path, *parts, "column of the table passed over"), A | B)  # the organ


def test_images_elsewhere(tmp_path: Path) -> None:
    lines = ["filename,label,rle", f"a.png,cell,{CELLS[0]}"]
    (tmp_path / "labels").mkdir()
    path = write(tmp_path, "labels/train.csv", *lines, images=("images/a.png", "far/b/a.png"))
    same(repaired(path), A)
    same(repaired(path, image_folder=tmp_path / "far"), A)
    claims.refused(lambda: repaired(path, image_folder=tmp_path), path, "'a.png' may be", "--images")


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    lines = [
        "ImageId,Class,EncodedPixels",
        f"a,cell,{CELLS[0]}",
        f"a,,{CELLS[0]}",
        f"x,cell,{CELLS[0]}",
        "x,cell,",
    ]
    path = write(tmp_path, "train.csv", *lines, images=("a.png", "b.png"))
    same(repaired(path, "object without a class dropped", NO_IMAGE, NO_IMAGE, LEFT_OUT), A)


def test_runs_that_touch_are_one(tmp_path: Path) -> None:
    path = write(tmp_path, "train.csv", "ImageId,EncodedPixels", "a,1 2 3 4 7 1 33 2", images=("a.png",))
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:7, 0] = mask[:2, 1] = True
    same(repaired(path), mask)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("1 2 x 4", "'x' among its runs"),
        ("-2", "'-2' among its runs"),
        ("1 2 3", "3 numbers"),
        ("0 2", "of 0"),
        ("5 0", "of 0"),
        (f"{HEIGHT * WIDTH} 2", f"beyond the {HEIGHT * WIDTH} pixels"),
        ("1 " + "9" * 400, "beyond"),
        ("10 5 12 3", "overlap or are out of order"),
        ("10 5 2 3", "overlap or are out of order"),
    ],
)
def test_runs_that_are_refused(cell: str, words: str, tmp_path: Path) -> None:
    lines = ["ImageId,EncodedPixels", f"a,{CELLS[0]}", f"a,{cell}", f"a,{cell}"]
    path = write(tmp_path, "train.csv", *lines, images=("a.png",))
    claims.refused(
        lambda: read_run_lengths(path), path, "line 3 has", words, "encode the mask again", "first of 2"
    )


def test_tables_that_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "train.csv", "id,EncodedPixels", images=("a.png",))
    claims.refused(lambda: read_run_lengths(path), path, "no row")
    write(tmp_path, "train.csv", "id,EncodedPixels", ",1 2", images=())
    claims.refused(lambda: read_run_lengths(path), path, "line 2 names no image")
    write(tmp_path, "train.csv", "id,EncodedPixels", "a,1 2,3", images=())
    claims.refused(lambda: read_run_lengths(path), path, "line 2 has 3 cells")
    write(tmp_path, "train.csv", "id,EncodedPixels", "../b,1 2", images=())
    claims.refused(lambda: read_run_lengths(path), path, "image '../b' not found", "--images")
    write(tmp_path, "train.csv", "id,EncodedPixels,width,height", "a,1 2,9,9", images=())
    claims.refused(lambda: open_dataset(path), "a.png", "9 x 9")
    claims.refused(lambda: read_run_lengths(tmp_path / "none"), "no table of run lengths")
    write(tmp_path, "extra.csv", "id,EncodedPixels", "a,1 2", images=())
    claims.refused(lambda: open_dataset(tmp_path), "'extra.csv' and 'train.csv'", error=UserError)


@pytest.mark.parametrize(
    "columns", ["img,rle_mask", "image,mask_rle", "path,mask", ",id,rle", "id,image,rle"]
)
@pytest.mark.parametrize("nothing", ["", "-1", "nan", "None"])
def test_other_columns_and_no_mask(columns: str, nothing: str, tmp_path: Path) -> None:
    """Of Carvana, TGS salt and SIIM; pandas writes a column without a name first."""
    rows = [["1", "2.png", CELLS[0]], ["2", "1.png", nothing]]
    lines = [",".join(row[-len(columns.split(",")) :]) for row in rows]
    dataset = repaired(write(tmp_path, "labels.csv", columns, *lines, images=("1.png", "2.png")))
    assert [image.file_name for image in dataset] == ["2.png", "1.png"] and not dataset.image(1).annotations
    same(dataset, A)


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_a_table_for_each_split(val: str, tmp_path: Path) -> None:
    """The images of the other are none without a row."""
    write(tmp_path, "train.csv", "id,rle", f"a,{CELLS[0]}", images=("images/a.png", "images/b.png"))
    write(tmp_path, f"{val}.csv", "id,rle", f"b,{CELLS[1]}", images=())
    for dataset, mask in zip(open_pair(tmp_path), (A, B), strict=True):
        assert dataset is not None and len(dataset) == 1 and not dataset.problems
        same(dataset, mask)


def test_other_tables_are_none(tmp_path: Path) -> None:
    for text in ("id,annotation\na,a cat\n", 'id,segmentation\na,"[[1,2]]"\n', "id,predicted\na,1 2\n", ""):
        (tmp_path / "a.csv").write_text(text)
        assert not looks_like_run_lengths(tmp_path)


def test_long_cells(tmp_path: Path) -> None:
    """Python's own limit is 131,072 characters, less than a large mask has."""
    Image.new("RGB", (1000, 400)).save(tmp_path / "a.png")
    (tmp_path / "train.csv").write_text("id,rle\na," + " ".join(f"{n} 1" for n in range(1, 80_000, 2)) + "\n")
    assert read_run_lengths(tmp_path).image(0).annotations[0].area == 40_000
    assert main(["check", str(tmp_path), "--no-steps"]) in (0, 3)


def subjects(folder: Path) -> list[Subject]:
    lines = [
        "id,annotation,width,height,cell_type",
        f"a,{CELLS[0]},{WIDTH},{HEIGHT},x",
        f"b,{encoded(B)},,,y",
    ]
    plain = ["ImageId,EncodedPixels", "a.png,", f"b.png,{encoded(A, 'C')}"]
    paths = [
        write(folder / name, "train.csv", *rows, images=("train/a.png", "train/b.png"))
        for name, rows in (("one", lines), ("two", plain))
    ]
    return [Subject(path.parent, path, read_run_lengths, looks_like_run_lengths, [path]) for path in paths]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_another_table_of_no_split(tmp_path: Path) -> None:
    """What it names is told as left out."""
    path = write(tmp_path, "new.csv", "id,rle", f"a,{CELLS[0]}", images=("images/a.png", "images/b.png"))
    write(tmp_path, "old.csv", "id,rle", f"b,{CELLS[1]}", images=())
    assert len(repaired(path, LEFT_OUT)) == 1

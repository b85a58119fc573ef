"""Tables of boxes, as TensorFlow, Roboflow, VoTT, Kaggle, keras-retinanet and makesense.ai write them."""

from __future__ import annotations

from pathlib import Path

import claims
import pytest
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.errors import UserError
from maskrcnn.labels.detect import detect
from maskrcnn.labels.open import open_dataset, open_pair, open_split
from maskrcnn.labels.options import LabelOptions
from maskrcnn.labels.readers.box_tables import looks_like_box_table, read_box_table
from maskrcnn.labels.types import Dataset

WIDTH, HEIGHT = 48, 32
BOXES = {"a": [("cat", 2, 3, 12, 9), ("dog", 20, 10, 40, 30)], "b": [("dog", 5, 5, 25, 20)]}  # xyxy
TENSORFLOW = "filename,width,height,class,xmin,ymin,xmax,ymax"
LEFT_OUT = "image without a row in the table left out"


def rows(form: str, stems: str = "ab") -> list[str]:
    """A row for each box; of the form {stem} {name} {x0} {y0} {x1} {y1} {w} {h}."""
    return [
        form.format(stem=stem, name=name, x0=x0, y0=y0, x1=x1, y1=y1, w=x1 - x0, h=y1 - y0)
        for stem in stems
        for name, x0, y0, x1, y1 in BOXES[stem]
    ]


def write(path: Path, *lines: str, images: str = "ab", encoding: str = "utf-8", suffix: str = ".jpg") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    for stem in images:
        Image.new("RGB", (WIDTH, HEIGHT)).save(path.parent / f"{stem}{suffix}")
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def tensorflow(path: Path, stems: str = "ab") -> Path:
    form = f"{{stem}}.jpg,{WIDTH},{HEIGHT},{{name}},{{x0}},{{y0}},{{x1}},{{y1}}"
    return write(path, TENSORFLOW, *rows(form, stems), images=stems)


def found(dataset: Dataset) -> dict[str, list[tuple[object, ...]]]:
    return {
        image.file_name[0]: [(dataset.classes[a.label], *a.box) for a in image.annotations]
        for image in dataset
    }


@pytest.mark.parametrize(
    ("header", "form"),
    [
        (TENSORFLOW, "{stem}.jpg,48,32,{name},{x0},{y0},{x1},{y1}"),
        ('"image","xmin","ymin","xmax","ymax","label"', '"{stem}.jpg",{x0}.0,{y0}.0,{x1}.0,{y1}.0,"{name}"'),
        ("image_id,width,height,bbox,source,class", '{stem},48,32,"[{x0}.0, {y0}.0, {w}.0, {h}.0]",x,{name}'),
        ("image,label,x,y,width,height", "{stem}.jpg,{name},{x0},{y0},{w},{h}"),
        ("Frame;Left;Top;Right;Bottom;Class", "{stem}.jpg;{x0};{y0};{x1};{y1};{name}"),
        ("image;width;height;x;y;w;h;class", "{stem}.jpg;48,0;32,0;{x0},00;{y0},00;{w},00;{h},00;{name}"),
        ("image;xmin;ymin;xmax;ymax;class", "{stem}.jpg;{x0},0;{y0}.0;+{x1};{y1},;{name}"),
        ("img_path\tx1\ty1\tx2\ty2\tcategory", "{stem}.jpg\t{x0}\t{y0}\t{x1}\t{y1}\t{name}"),
        ("sep=;\nfilename;xmin;ymin;xmax;ymax;class", "{stem}.jpg;{x0};{y0};{x1};{y1};{name}"),
        ("", "{stem}.jpg,{x0},{y0},{x1},{y1},{name}"),
        ("", "{name},{x0},{y0},{w},{h},{stem}.jpg,48,32"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_tools_write(tmp_path: Path, header: str, form: str, encoding: str) -> None:
    write(tmp_path / "boxes.csv", *filter(None, [header]), *rows(form), encoding=encoding)
    assert detect(tmp_path).name == "boxes" and detect(tmp_path / "boxes.csv").name == "boxes"
    assert found(claims.repaired(open_dataset(tmp_path))) == BOXES


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("train/_annotations.csv", "valid/_annotations.csv"),
        ("train.csv", "val.csv"),
        ("train_labels.csv", "val_labels.csv"),
        ("train.tsv", "val_labels.tsv"),
    ],
)
def test_splits(tmp_path: Path, train: str, val: str) -> None:
    tensorflow(tmp_path / train, "a")
    tensorflow(tmp_path / val, "b")
    pair = open_pair(tmp_path)
    assert [found(claims.repaired(part)) for part in pair if part] == [{"a": BOXES["a"]}, {"b": BOXES["b"]}]


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("", "{split},gs://pets/{stem}.jpg,{name},{u0},{v0},,,{u1},{v1},,"),
        ("", "{split},gs://pets/{stem}.jpg,{name},{u0},{v0},{u1},{v0},{u1},{v1},{u0},{v1}"),
        ("filename,class,xmin,ymin,xmax,ymax,split", "pets/{stem}.jpg,{name},{x0},{y0},{x1},{y1},{split}"),
    ],
)
def test_a_column_says_the_split(tmp_path: Path, header: str, form: str) -> None:
    lines = [
        form.replace("{split}", split).format(
            **dict(zip(("name", "x0", "y0", "x1", "y1"), box, strict=True)),
            **{"stem": stem, "u0": box[1] / WIDTH, "v0": box[2] / HEIGHT, "u1": box[3] / WIDTH},
            v1=box[4] / HEIGHT,
        )
        for split, stem in (("TRAIN", "a"), ("VALIDATION", "b"), ("UNASSIGNED", "c"))
        for box in BOXES.get(stem, BOXES["b"])
    ]
    write(tmp_path / "boxes.csv", *filter(None, [header]), *lines, images="abc")
    said = ["leading folders of file_name left off"] * 3 + ["subset that is no split left out"]
    train, val = open_pair(tmp_path)
    assert val is not None and open_split(tmp_path, "test") is None
    for part, stem in ((train, "a"), (val, "b")):
        boxes = found(claims.repaired(part, *said))
        assert [name for name, *_ in boxes[stem]] == [name for name, *_ in BOXES[stem]]
        assert [box for _, *box in boxes[stem]] == [pytest.approx(box) for _, *box in BOXES[stem]]


@pytest.mark.parametrize(("encoding", "names"), [("latin-1", ("Bär", "Bör")), ("gbk", ("猫咪", "狗狗"))])
def test_another_encoding_is_refused(tmp_path: Path, encoding: str, names: tuple[str, str]) -> None:
    """Letters became replacement characters, and so two classes one."""
    lines = [f"a.jpg,1,1,9,9,{name}" for name in names]
    path = write(tmp_path / "boxes.csv", *lines, images="a", encoding=encoding)
    claims.refused(lambda: open_dataset(path), path, "save it as UTF-8")


def test_the_size_of_the_image_in_the_table(tmp_path: Path) -> None:
    """Images made smaller after labelling: the boxes were clipped to them. Or it is the size of the box."""
    form = "{stem}.jpg,96,64,{name},{x0},{y0},{x1},{y1}"
    path = write(tmp_path / "boxes.csv", TENSORFLOW, *rows(form))
    claims.refused(lambda: open_dataset(path), "a.jpg", "48 x 32", "96 x 64")
    path = write(path, TENSORFLOW, *rows("{stem}.jpg,{w},{h},{name},{x0},{y0},{x1},{y1}"))
    assert found(claims.repaired(open_dataset(path))) == BOXES
    lines = rows("{stem}.jpg,48,32,{name},{x0},{y0},{x1},{y1}")
    path = write(path, TENSORFLOW, *lines, "b.jpg,,,dog,5,5,60,20")
    clipped = claims.repaired(open_dataset(path), "box clipped to the image")
    assert found(clipped) == BOXES | {"b": [*BOXES["b"], ("dog", 5, 5, 48, 20)]}


def test_percent_signs_in_names(tmp_path: Path) -> None:
    path = write(
        tmp_path / "boxes.csv",
        *rows("s3://x/{stem}%20%C3%BC.jpg,{x0},{y0},{x1},{y1},{name}"),
        suffix=" ü.jpg",
    )
    assert (
        found(claims.repaired(read_box_table(path), *["leading folders of file_name left off"] * 2)) == BOXES
    )


def test_shares_of_vertex_without_a_split(tmp_path: Path) -> None:
    lines = ["gs://x/a.jpg,cat,0.25,0.5,,,0.5,1,,", "gs://x/b.jpg,,,,,,,,,"]
    path = write(tmp_path / "boxes.csv", *lines)
    expected = {"a": [("cat", 12, 16, 24, 32)], "b": []}
    assert (
        found(claims.repaired(read_box_table(path), *["leading folders of file_name left off"] * 2))
        == expected
    )
    write(path, *lines, "gs://x/a.jpg,cat,10,20,,,30,32,,")
    claims.refused(lambda: read_box_table(path), path, "line 3", "above 1", "write shares of the image")


def test_rows_without_a_box_and_images_without_a_row(tmp_path: Path) -> None:
    lines = ["a.jpg,,,,,", *rows("{stem}.jpg,{x0},{y0},{x1},{y1},{name}", "b"), "gone.jpg,1,1,5,5,cat"]
    path = write(tmp_path / "boxes.csv", *lines, images="abc")
    dataset = claims.repaired(read_box_table(path), LEFT_OUT, "annotation without an image dropped")
    assert found(dataset) == {"a": [], "b": BOXES["b"]}


def test_boxes_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    lines = ["filename,xmin,ymin,xmax,ymax,class", "a.jpg,1,1,9,9,cat", "a.jpg,1,x,9,9,cat", "a.jpg,2,2,9,9,"]
    path = write(tmp_path / "boxes.csv", *lines, images="a")
    kinds = ("non-finite coordinates dropped", "object without a class dropped")
    assert found(claims.repaired(read_box_table(path), *kinds)) == {"a": [("cat", 1, 1, 9, 9)]}


def test_a_comma_is_no_decimal_point_between_commas(tmp_path: Path) -> None:
    rows = ['a.jpg,1,1,"9,5",9,cat', "a.jpg,1,1,9,9,cat"]
    path = write(tmp_path / "boxes.csv", "image,xmin,ymin,xmax,ymax,class", *rows, images="a")
    assert found(claims.repaired(read_box_table(path), "non-finite coordinates dropped")) == {
        "a": [("cat", 1, 1, 9, 9)]
    }


def test_folders_of_another_machine(tmp_path: Path) -> None:
    path = write(tmp_path / "boxes.csv", *rows("C:\\x\\{stem}.jpg,{x0},{y0},{x1},{y1},{name}"))
    kinds = ["leading folders of file_name left off"] * 2
    assert found(claims.repaired(read_box_table(path), *kinds)) == BOXES
    write(path, "/1/a.jpg,1,1,5,5,cat", "/2/a.jpg,2,2,6,6,cat")
    claims.refused(lambda: read_box_table(path), "'/1/a.jpg' and '/2/a.jpg' would both be 'a.jpg'")


def test_names_in_other_letters(tmp_path: Path) -> None:
    lines = rows("{stem}.jpg,{x0},{y0},{x1},{y1},{name}")
    path = write(tmp_path / "boxes.csv", *lines, suffix=".JPG")
    kind = "image file of that name in other letters, or with another suffix, taken"
    assert found(claims.repaired(read_box_table(path), kind, kind)) == BOXES


def test_an_id_beside_the_name_of_the_image_is_of_the_row(tmp_path: Path) -> None:
    """Images whose names are numbers were taken by it, and had each other's boxes."""
    lines = ["1,2.jpg,2,3,12,9,cat", "2,2.jpg,20,10,40,30,dog", "3,1.jpg,5,5,25,20,dog"]
    header = "id,image_filename,xmin,ymin,xmax,ymax,class"
    path = write(tmp_path / "boxes.csv", header, *lines, images="12")
    assert found(claims.repaired(open_dataset(path))) == {"2": BOXES["a"], "1": BOXES["b"]}


def test_corners_in_a_column_called_bbox_are_refused(tmp_path: Path) -> None:
    """They were read as x, y, width and height, and clipped to the image."""
    lines = [f'{stem}.jpg,"[{20 + n}, {10 + n}, 45, 30]",cat' for n, stem in enumerate("aabb")]
    path = write(tmp_path / "boxes.csv", "image,bbox,class", *lines)
    claims.refused(lambda: open_dataset(path), path, "4 of 4 boxes", "they are corners")


def test_shares_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "boxes.csv", "filename,xmin,ymin,xmax,ymax", "a.jpg,0.1,0.1,0.5,0.5", images="a")
    claims.refused(lambda: open_dataset(path), path, "shares of the image", "multiply x by the width")


def test_images_elsewhere(tmp_path: Path) -> None:
    path = tensorflow(tmp_path / "table/boxes.csv")
    (tmp_path / "photos").mkdir()
    for stem in "ab":
        (path.parent / f"{stem}.jpg").rename(tmp_path / f"photos/{stem}.jpg")
    claims.refused(lambda: open_dataset(path), "'a.jpg' not found in", "--images FOLDER")
    assert found(open_dataset(path, options=LabelOptions(images=tmp_path / "photos"))) == BOXES


def test_other_labels_come_first(tmp_path: Path) -> None:
    """Where masks lie beside a table of boxes, it says the same with less."""
    tensorflow(tmp_path / "boxes.csv")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for stem in "ab":
        (tmp_path / f"{stem}.jpg").rename(tmp_path / f"images/{stem}.jpg")
        drawn = Image.new("L", (WIDTH, HEIGHT))
        drawn.putpixel((3, 3), 1)
        drawn.save(tmp_path / f"masks/{stem}.png")
    assert detect(tmp_path).name == "instance-png"


def test_of_two_tables_none_is_taken(tmp_path: Path) -> None:
    tensorflow(tmp_path / "one.csv")
    tensorflow(tmp_path / "two.csv")
    assert not looks_like_box_table(tmp_path)
    claims.refused(lambda: open_dataset(tmp_path), "a table", "one.csv", error=UserError)


def subjects(folder: Path) -> list[Subject]:
    form = "{x0},{y0},{x1},{y1},{name}"
    paths = [
        write(folder / "one/boxes.csv", "filename,xmin,ymin,xmax,ymax,class", *rows("{stem}.jpg," + form)),
        write(folder / "two/boxes.csv", *rows("{stem}.jpg," + form)),
        write(folder / "four/boxes.csv", "TRAIN,gs://x/a.jpg,cat,0.1,0.2,,,0.5,0.6,,"),
        write(folder / "three/boxes.csv", "image_id;bbox", *rows("{stem};[{x0}, {y0}, {w}, {h}]")),
    ]
    return [Subject(path.parent, path, read_box_table, looks_like_box_table, [path]) for path in paths]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


@pytest.mark.parametrize("column", ["cell_type", "Species", "category_name", "Finding Label"])
def test_other_names_of_the_class_column(tmp_path: Path, column: str) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    (tmp_path / "a.csv").write_text(f"filename,{column},xmin,ymin,xmax,ymax\na.png,cat,2,3,10,9\n")
    assert read_box_table(tmp_path / "a.csv").classes == ["cat"]


@pytest.mark.parametrize("column", ["label", "class"])
def test_the_name_of_a_class_comes_before_its_number(tmp_path: Path, column: str) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    (tmp_path / "a.csv").write_text(
        f"filename,{column},class_name,xmin,ymin,xmax,ymax\na.png,7,cat,2,3,9,9\n"
    )
    assert read_box_table(tmp_path / "a.csv").classes == ["cat"]


def test_columns_that_nobody_reads_are_counted(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    table = "filename,kind,xmin,ymin,xmax,ymax,segmentation\na.png,cat,2,3,10,9,[[1]]\n"
    (tmp_path / "a.csv").write_text(table)
    found = read_box_table(tmp_path / "a.csv")
    assert found.classes == ["object"] and found.problems.texts() == {"column of the table passed over": 2}
    (tmp_path / "a.csv").write_text(table.replace("kind", "class"))
    assert "first 'segmentation'" in read_box_table(tmp_path / "a.csv").problems.lines()[0]

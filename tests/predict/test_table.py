"""The tables have scikit-image's figures, one row an object and an image."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.images.regions import ArrayRegions
from maskrcnn.instances import Instances, Masks
from maskrcnn.masks.measure import POWERS, SHAPE, check_scale, measure
from maskrcnn.predict.writers.tables import ObjectsWriter, SummaryWriter
from maskrcnn.predict.writers.writer import WrittenImage

measures = pytest.importorskip("skimage.measure")


def found(count: int = 3, masks: bool = True) -> Instances:
    """Overlapping discs with holes in an image of noise."""
    rng = np.random.default_rng(count)
    size = (60, 80)
    known, boxes = {}, []
    y, x = np.mgrid[:60, :80]
    for row in range(count):
        centre, radius = (20 + 7 * row, 30 + 9 * row), 6 + 3 * row
        distance = np.hypot(y - centre[0], (x - centre[1]) / 1.3)
        bitmap = (distance < radius) & (distance > row)
        rows, columns = np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))
        y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        known[row] = (int(x0), int(y0), bitmap[y0:y1, x0:x1])
        boxes.append((x0, y0, x1, y1))
    box = np.array(boxes, np.float32).reshape(-1, 4)
    return Instances(
        boxes=box,
        scores=np.linspace(0.9, 0.5, count, dtype=np.float32),
        labels=np.zeros(count, np.int64),
        names=["cell", "nucleus", "cell"][:count],
        size=size,
        masks=Masks(np.zeros((count, 2, 2), np.float32), box, size, 0.5, known) if masks else None,
        pixels=rng.integers(0, 256, (*size, 3), dtype=np.uint8),
    )


def write(folder: Path, images: dict[str, Instances], scale: float | None = None) -> None:
    """The tables of these images."""
    parquet = find_spec("pyarrow") is not None
    writers = ObjectsWriter(folder, scale, csv=True, parquet=parquet), SummaryWriter(folder, scale)
    for writer in writers:
        for number, (name, objects) in enumerate(images.items(), 1):
            assert objects.pixels is not None
            pixels = ArrayRegions(objects.pixels)
            writer.begin(WrittenImage(number, name, Path(name), str(number), objects.size, pixels))
            writer.add(objects)
            writer.end()
        writer.close()


def test_figures_are_those_of_regionprops_table() -> None:
    objects = found()
    assert objects.masks is not None and objects.pixels is not None
    for row, bitmap in zip(measure(objects), objects.masks.bitmaps(), strict=True):
        table = measures.regionprops_table(
            bitmap.astype(np.uint8),
            objects.pixels,
            properties=(*SHAPE, "centroid", "intensity_mean", "intensity_std"),
        )
        for theirs, ours in SHAPE.items():
            assert row[ours] == pytest.approx(table[theirs][0], rel=1e-6)
        # scikit-image counts from the middle of the first pixel
        assert row["centroid_x"] == pytest.approx(table["centroid-1"][0] + 0.5)
        assert row["centroid_y"] == pytest.approx(table["centroid-0"][0] + 0.5)
        for channel in range(3):
            assert row[f"mean_{channel + 1}"] == pytest.approx(
                table[f"intensity_mean-{channel}"][0], rel=1e-6
            )
            assert row[f"deviation_{channel + 1}"] == pytest.approx(
                table[f"intensity_std-{channel}"][0], rel=1e-6
            )


def test_micrometres() -> None:
    for row in measure(found(), 0.5):
        for name, power in POWERS.items():
            assert row[f"{name}_um{2 if power == 2 else ''}"] == row[name] * 0.5**power
    assert "area_um2" not in measure(found(masks=False), 0.5)[0]


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e300, "a"])
def test_a_scale_that_is_none_is_one_line(scale: float) -> None:
    with pytest.raises(UserError, match="micrometres per pixel are from"):
        check_scale(scale)


def test_an_empty_mask_has_no_figures() -> None:
    objects = found(1)
    assert objects.masks is not None
    objects.masks.known[0] = (3, 4, np.zeros((2, 2), bool))
    (row,) = measure(objects, 2.0)
    assert (
        row["area"] is None and row["mean_1"] is None and row["area_um2"] is None and row["class"] == "cell"
    )


def test_rows_of_objects_and_images(tmp_path: Path) -> None:
    write(tmp_path, {"none.png": found(0), "a, b.png": found(), "кот.png": found(1)})
    objects = list(csv.DictReader((tmp_path / "objects.csv").open(encoding="utf-8")))
    assert [(row["image"], row["object"], row["class"]) for row in objects] == [
        ("a, b.png", "1", "cell"),
        ("a, b.png", "2", "nucleus"),
        ("a, b.png", "3", "cell"),
        ("кот.png", "1", "cell"),
    ]
    images = list(csv.DictReader((tmp_path / "summary.csv").open(encoding="utf-8")))
    assert [(row["image"], row["class"], row["count"]) for row in images] == [
        ("a, b.png", "cell", "2"),
        ("a, b.png", "nucleus", "1"),
        ("кот.png", "cell", "1"),
        ("none.png", "", "0"),
    ]
    assert [row["least_score"] for row in images] == ["0.5", "0.7", "0.9", ""]
    assert float(images[0]["area"]) == sum(float(objects[n]["area"]) for n in (0, 2))
    assert "area_um2" not in images[0]


def test_the_summary_has_areas_to_scale_where_the_objects_have(tmp_path: Path) -> None:
    write(tmp_path, {"none.png": found(0), "b.png": found()}, scale=0.5)
    images = list(csv.DictReader((tmp_path / "summary.csv").open(encoding="utf-8")))
    assert float(images[2]["area_um2"]) == 0 and float(images[0]["area"]) > 0
    assert all(float(row["area_um2"]) == float(row["area"]) / 4 for row in images)


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_name_is_a_formula(tmp_path: Path, name: str) -> None:
    objects = found(1)
    objects.names = [name]
    write(tmp_path, {f"{name}.png": objects})
    for file in ("objects.csv", "summary.csv"):
        with (tmp_path / file).open(newline="", encoding="utf-8") as lines:
            _, row = csv.reader(lines)
        assert f"'{name}" in row and row[0] == f"'{name}.png"


def test_names_of_any_letters(tmp_path: Path) -> None:
    objects, names = found(1), ['a,"b"', "a\nb", "å🙂", "\udcff.png"]
    objects.names = names[:1]
    write(tmp_path, dict.fromkeys(names, objects))
    for file in ("objects.csv", "summary.csv"):
        with (tmp_path / file).open(newline="", encoding="utf-8") as lines:
            _, *rows = csv.reader(lines)
        assert sorted(row[0] for row in rows) == sorted([*names[:3], "\\udcff.png"])
        assert all(names[0] in row for row in rows)


def test_nothing_found_is_a_table_without_rows(tmp_path: Path) -> None:
    write(tmp_path, {"none.png": found(0)})
    assert (tmp_path / "objects.csv").read_text() == "image,object,class,score,x,y,width,height\n"
    assert (tmp_path / "summary.csv").read_text().splitlines()[1:] == ["none.png,,0,0,"]


def test_parquet_has_the_columns_and_values_of_csv(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write(tmp_path, {"none.png": found(0), "a.png": found(), "b\udcff.png": found(1)}, scale=0.5)
    rows = parquet.read_table(tmp_path / "objects.parquet").to_pylist()
    lines = list(csv.DictReader((tmp_path / "objects.csv").open(encoding="utf-8")))
    assert len(rows) == len(lines) == 4 and list(rows[0]) == list(lines[0])
    for row, line in zip(rows, lines, strict=True):
        assert {key: str(value) for key, value in row.items()} == line
    assert not list(tmp_path.glob(".*"))
    write(tmp_path, {"none.png": found(0)})
    assert parquet.read_table(tmp_path / "objects.parquet").num_rows == 0


def test_lines_of_an_image_that_broke_off_are_left_out(tmp_path: Path) -> None:
    objects = found()
    assert objects.pixels is not None
    pixels = ArrayRegions(objects.pixels)
    table = ObjectsWriter(tmp_path, None, csv=True)
    for number, name in enumerate(("a", "b", "c", "d"), 1):
        table.begin(WrittenImage(number, name, Path(name), name, objects.size, pixels))
        table.add(objects)
        if name in ("b", "c"):
            table.end()
    table.close()
    rows = list(csv.DictReader((tmp_path / "objects.csv").open()))
    assert [row["image"] for row in rows] == ["b"] * 3 + ["c"] * 3 and float(rows[0]["area"]) > 0

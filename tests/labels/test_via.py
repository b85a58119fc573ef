"""VGG Image Annotator's files: its three forms read back to what was written, and one test for each thing
gone wrong.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import claims
import numpy as np
import pytest
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.detect import detect
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.options import LabelOptions
from maskrcnn.labels.readers.via import looks_like_via, read_via
from maskrcnn.labels.readers.via_files import HEADER, attribute_values
from maskrcnn.masks.rle import rle_bitmap

HEIGHT, WIDTH = 20, 30
SQUARE = {"name": "polygon", "all_points_x": [4, 14, 14, 4], "all_points_y": [2, 2, 12, 12]}
RECT = {"name": "rect", "x": 10, "y": 5, "width": 11, "height": 9}


def region(shape: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": dict(shape), "region_attributes": attributes}


class Files:
    """A folder of two labelled images, to be spoilt by a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("a.jpg", "b.png"):
            Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)
        self.a = {
            "filename": "a.jpg",
            "size": 825,
            "regions": [region(SQUARE, animal="dog")],
            "file_attributes": {},
        }
        self.b = {
            "filename": "b.png",
            "size": 99,
            "regions": [region(RECT, animal="cat")],
            "file_attributes": {},
        }

    def regions(self, *regions: dict[str, Any]) -> None:
        self.a["regions"] = list(regions)

    def entries(self) -> dict[str, Any]:
        return {f"{entry['filename']}{entry['size']}": entry for entry in (self.a, self.b)}

    def write_export(self) -> Path:
        path = self.folder / "via_region_data.json"
        path.write_text(json.dumps(self.entries()))
        return path

    def write_project(self, folder: str = "", options: tuple[str, ...] = ()) -> Path:
        """As "Project > Save" of VIA 2 writes it."""
        attribute = {
            "type": "dropdown",
            "description": "",
            "options": {o: "" for o in options},
            "default_options": {},
        }
        document = {
            "_via_settings": {
                "ui": {},
                "core": {"buffer_size": 18, "default_filepath": folder},
                "project": {"name": "p"},
            },
            "_via_img_metadata": self.entries(),
            "_via_attributes": {"region": {"animal": attribute}, "file": {}},
            "_via_data_format_version": "2.0.10",
            "_via_image_id_list": list(self.entries()),
        }
        path = self.folder / "via_project.json"
        path.write_text(json.dumps(document))
        return path

    def write_csv(self, name: str = "via_export.csv", mark: str = ",") -> Path:
        path = self.folder / name
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter=mark)
            writer.writerow(HEADER)
            for entry in (self.a, self.b):
                start = [
                    entry["filename"],
                    entry["size"],
                    json.dumps(entry["file_attributes"]),
                    len(entry["regions"]),
                ]
                for number, one in enumerate(entry["regions"]):
                    cells = [json.dumps(one["shape_attributes"]), json.dumps(one["region_attributes"])]
                    writer.writerow([*start, number, *cells])
                if not entry["regions"]:
                    writer.writerow([*start, 0, "{}", "{}"])
        return path

    def repaired(self, *kinds: str, **arguments: Any) -> FileDataset:
        self.write_export()
        return claims.repaired(read_via(self.folder, **arguments), *kinds)

    def refused(self, *words: str, **arguments: Any) -> None:
        self.write_export()
        refused(self.folder, *words, **arguments)


def refused(source: Path, *words: str, **arguments: Any) -> None:
    claims.refused(lambda: read_via(source, **arguments), source, *words, error=UserError)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize("form", ["export", "project", "csv"])
def test_a_good_file(files: Files, form: str) -> None:
    path = getattr(files, f"write_{form}")()
    assert looks_like_via(files.folder) and looks_like_via(path)
    for source in (path, files.folder):
        dataset = read_via(source)
        assert not dataset.problems and dataset.classes == ["cat", "dog"] and dataset.class_ids == [1, 2]
        first, second = dataset
        assert (first.image_id, first.file_name, first.height, first.width) == (1, "a.jpg", HEIGHT, WIDTH)
        assert second.path == files.folder / "b.png"
        (polygon,), (box,) = first.annotations, second.annotations
        assert polygon.label == 1 and polygon.box == (4.0, 2.0, 14.0, 12.0) and polygon.area == 100.0
        np.testing.assert_array_equal(polygon.polygons[0][:, 0], SQUARE["all_points_x"])
        assert (
            box.label == 0 and box.box == (10.0, 5.0, 21.0, 14.0) and box.polygons is None and box.rle is None
        )
        assert dataset.pixels(1).shape == (HEIGHT, WIDTH, 3)


def test_via_1(files: Files) -> None:
    files.a |= {"regions": {"0": files.a["regions"][0]}, "fileref": "", "base64_img_data": ""}
    assert len(files.repaired().image(0).annotations) == 1


@pytest.mark.parametrize("form", ["export", "csv"])
def test_image_without_regions_is_kept(files: Files, form: str) -> None:
    files.b["regions"] = []
    dataset = read_via(getattr(files, f"write_{form}")())
    assert [len(image.annotations) for image in dataset] == [1, 0] and not dataset.problems


def test_image_without_its_list_of_regions(files: Files) -> None:
    del files.b["regions"]
    dataset = files.repaired("image without a list of regions taken as empty")
    assert [len(image.annotations) for image in dataset] == [1, 0]


def test_lines_that_are_lost(files: Files) -> None:
    files.regions(region(SQUARE, animal="dog"), region(SQUARE, animal="cat"))
    path = files.write_csv()
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:2] + lines[3:]))
    kind = "image with another number of regions than its region_count"
    assert len(claims.repaired(read_via(path), kind).image(0).annotations) == 1


def test_options_give_the_order(files: Files) -> None:
    assert read_via(files.write_project(options=("zebra", "dog"))).classes == ["zebra", "dog", "cat"]


@pytest.mark.parametrize("folder", ["images", "via_project", "shots"])
def test_where_images_are(files: Files, folder: str) -> None:
    (files.folder / folder).mkdir()
    for name in ("a.jpg", "b.png"):
        (files.folder / name).rename(files.folder / folder / name)
    path = files.write_project(folder="./shots/")
    assert read_via(path).image(0).path == files.folder / folder / "a.jpg"


def test_ellipse_and_circle(files: Files) -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    theta = math.radians(30)
    along = (x - 15) * math.cos(theta) + (y - 10) * math.sin(theta)
    across = (y - 10) * math.cos(theta) - (x - 15) * math.sin(theta)
    ellipse = {"name": "ellipse", "cx": 15, "cy": 10, "rx": 10, "ry": 5, "theta": theta}
    circle = {"name": "circle", "cx": 15, "cy": 10, "r": 8}
    files.regions(region(ellipse, animal="dog"), region(circle, animal="dog"))
    wanted = [(along / 10) ** 2 + (across / 5) ** 2 <= 1, np.hypot(x - 15, y - 10) <= 8]
    for annotation, bitmap in zip(files.repaired().image(0).annotations, wanted, strict=True):
        found = rle_bitmap(annotation_rle(annotation, HEIGHT, WIDTH)).astype(bool)
        assert (found & bitmap).sum() / (found | bitmap).sum() > 0.93


def test_long_polygon_in_csv(files: Files) -> None:
    angles = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    xs, ys = (15 + 8 * np.cos(angles)).tolist(), (10 + 8 * np.sin(angles)).tolist()
    files.regions(region(SQUARE | {"all_points_x": xs, "all_points_y": ys}, animal="dog"))
    before = csv.field_size_limit()
    assert len(read_via(files.write_csv()).image(0).annotations[0].polygons[0]) == 20_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(("name", "mark"), [("x.csv", ";"), ("x.csv", "\t"), ("x.tsv", "\t")])
def test_tables_that_excel_saved(files: Files, name: str, mark: str) -> None:
    plain, path = read_via(files.write_csv()), files.write_csv(name, mark)
    assert looks_like_via(path)
    assert [a.box for image in read_via(path) for a in image.annotations] == [
        a.box for image in plain for a in image.annotations
    ]


# ---- classes


def test_class_attribute(files: Files) -> None:
    files.regions(
        region(SQUARE, colour="red", Label="dog"),
        region(SQUARE, colour="red", Label={"cow": True, "ox": False}),
    )
    files.b["regions"] = [region(RECT, Label=7, colour="")]
    dataset = files.repaired("attribute left out", "attribute left out")
    assert dataset.classes == ["7", "cow", "dog"]
    dataset = files.repaired(
        *["attribute left out"] * 3, "shape without a label left out", class_attribute="colour"
    )
    assert dataset.classes == ["red"]
    files.refused("'size'", "'colour', 'Label'", class_attribute="size")


def test_attribute_that_cannot_be_told(files: Files) -> None:
    files.regions(region(SQUARE, colour="red", kind="dog"))
    files.refused("which attribute", "'colour', 'kind'", "'animal'", "--class-attribute")
    for source in (files.folder, files.write_csv()):
        (files.folder / "via_region_data.json").unlink(missing_ok=True)
        files.write_csv()
        assert open_dataset(source, options=LabelOptions(class_attribute="kind")).classes == ["dog"]


def test_an_attribute_for_labels_that_have_none(tmp_path: Path) -> None:
    image = tmp_path / "images/a.png"
    for path in (image, tmp_path / "labels/a.png"):
        path.parent.mkdir()
        Image.new("L", (4, 4), 1).save(path)
    options = LabelOptions(class_attribute="kind")
    claims.refused(lambda: open_dataset(tmp_path, options=options), "--class-attribute", error=UserError)


def test_no_attribute_at_all(files: Files) -> None:
    files.regions(region(SQUARE, animal=""))
    files.b["regions"] = [region(RECT), region(SQUARE)]
    assert read_via(files.write_csv()).classes == ["object"]
    (files.folder / "via_export.csv").unlink()
    del files.b["regions"][1]["region_attributes"]
    assert files.repaired().classes == ["object"]


def test_what_is_counted(files: Files) -> None:
    files.regions(
        region(SQUARE, animal="dog", comment="a good one"),
        region(SQUARE, animal=""),
        region(SQUARE, animal={"dog": True, "cat": True}),
        region({"name": "point", "cx": 1, "cy": 1}, animal="dog"),
        region({}, animal="dog"),
        region(SQUARE | {"name": "polyline"}, animal="dog"),
    )
    files.a["file_attributes"] = {"caption": "x", "url": ""}
    dataset = files.repaired(
        *["attribute left out"] * 2,
        "shape without a label left out",
        "region of several classes left out",
        *["shape of an unread kind left out"] * 2,
        "polyline closed to a polygon",
        class_attribute="animal",
    )
    assert len(dataset.image(0).annotations) == 2


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ({"name": "polygon"}, "annotation without a usable box dropped"),
        (
            {"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]},
            "annotation without a usable box dropped",
        ),
        (
            {"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]},
            "annotation without a usable box dropped",
        ),
        (SQUARE | {"all_points_x": [1, 2, "x", None]}, "non-finite coordinates dropped"),
        (SQUARE | {"all_points_x": [1, 2, 3, 10**400]}, "non-finite coordinates dropped"),
        (SQUARE | {"all_points_x": [1, 2, 3, 1e308]}, "outline too long to draw dropped"),
        ({"name": "circle", "cx": 1, "cy": 1, "r": 1e300}, "outline too long to draw dropped"),
        ({"name": "circle", "cx": 1, "cy": 1, "r": 0}, "outline without a pixel in the image dropped"),
        ({"name": "circle", "cx": 900, "cy": 1, "r": 9}, "outline without a pixel in the image dropped"),
        ({"name": "circle", "cx": 1, "cy": 1}, "non-finite coordinates dropped"),
        (
            {"name": "ellipse", "cx": 9, "cy": 9, "rx": 3, "ry": 3, "theta": math.inf},
            "non-finite coordinates dropped",
        ),
        (RECT | {"width": 0}, "zero-area box dropped"),
        (RECT | {"x": 1000}, "box outside the image dropped"),
        (RECT | {"x": [1]}, "non-finite coordinates dropped"),
    ],
)
def test_shapes_that_are_dropped(files: Files, shape: dict[str, Any], kind: str) -> None:
    files.regions(region(shape, animal="dog"), region(SQUARE, animal="dog"))
    files.write_export()
    dataset = read_via(files.folder)
    assert kind in dataset.problems.texts() and len(dataset.image(0).annotations) == 1


def test_boxes_that_are_repaired(files: Files) -> None:
    files.b["regions"] = [
        region(RECT | {"width": 1e308}, animal="cat"),
        region(RECT | {"width": -4}, animal="cat"),
    ]
    found = files.repaired("box clipped to the image", "reversed box swapped").image(1).annotations
    assert [annotation.box for annotation in found] == [(10.0, 5.0, 30.0, 14.0), (6.0, 5.0, 10.0, 14.0)]


# ---- refused


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.jpg", ["1 of 2", "gone.jpg"]),
        ("../a.jpg", ["leaves the folder"]),
        ("/etc/passwd", ["leaves the folder"]),
        ("http://host/a.jpg", ["on the web"]),
        ("b.png", ["twice"]),
        ("", ["no filename"]),
        (None, ["no filename"]),
        ("a\0", ["missing"]),
        ("\ud800", ["missing"]),
        ("x" * 5000, ["missing"]),
    ],
)
def test_images_that_are_refused(files: Files, name: Any, words: list[str]) -> None:
    files.a["filename"] = name
    files.refused(*words)


@pytest.mark.parametrize("regions", ["x", 7, [1], {"a": 1}])
def test_regions_that_are_refused(files: Files, regions: Any) -> None:
    files.a["regions"] = regions
    files.refused("regions of image 'a.jpg'")


def test_all_images_missing(files: Files) -> None:
    for name in ("a.jpg", "b.png"):
        (files.folder / name).unlink()
    files.refused("'a.jpg' not found in", "put the images")


def test_unreadable_image(files: Files) -> None:
    (files.folder / "b.png").write_bytes(b"x")
    files.refused("b.png", "not readable")


def test_several_files(files: Files) -> None:
    files.write_csv()
    files.refused("via_export.csv", "via_region_data.json", "name the one")
    assert looks_like_via(files.folder)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"images": [], "annotations": []}', '{"project": {}, "metadata": {}}']
)
def test_other_files(files: Files, text: str) -> None:
    (files.folder / "x.json").write_text(text)
    refused(files.folder, "no file of VGG Image Annotator")
    refused(files.folder / "x.json", "no file of VGG Image Annotator")
    assert not looks_like_via(files.folder) and not looks_like_via(files.folder / "nowhere")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.json", '{"_via_img_metadata": {}}', ["no image"]),
        ("x.json", '{"_via_img_metadata": 7}', ["no filename"]),
        ("x.json", '{"_via_img_metadata": [[]]}', ["no filename"]),
        ("x.json", '["_via_img_metadata"]', ["not an object"]),
        ("x.json", '{"_via_img_metadata": ', ["line 1"]),
        ("x.json", '{"_via_img_metadata": ' + "[" * 100_000, ["not readable"]),
        ("x.csv", "filename,region_count", ["first line"]),
        ("x.csv", ",".join(HEADER), ["no image"]),
        ("x.csv", ",".join(HEADER) + "\na.jpg,1", ["line 2 has 2 cells"]),
        ("x.csv", ",".join(HEADER) + "\n,1,{},0,0,{},{}", ["line 2 has no filename"]),
        ("x.csv", ",".join(HEADER) + "\na.jpg,1,{},1,0,{x,{}", ["line 2", "'{x'"]),
        ("x.csv", ",".join(HEADER) + "\na.jpg,1,{},1,0,[],{}", ["line 2", "object"]),
        ("x.csv", ",".join(HEADER) + "\na.jpg,1,{},1,0," + "[" * 100_000 + ",{}", ["line 2", "JSON"]),
        (
            "x.csv",
            ",".join(HEADER) + "\na.jpg,1,{},0,0,{},{}\na.jpg,2,{},0,0,{},{}",
            ["line 3", "two file sizes"],
        ),
        ("x.csv", ",".join(HEADER) + "\na.jpg,1,{},0,0,{},{}", ["label at least one object"]),
    ],
)
def test_files_that_are_refused(files: Files, name: str, text: str, words: list[str]) -> None:
    (files.folder / name).write_text(text)
    refused(files.folder / name, *words)


def test_csv_that_is_not_utf_8(files: Files) -> None:
    (files.folder / "x.csv").write_bytes(",".join(HEADER).encode() + b"\n\xff")
    refused(files.folder / "x.csv", "UTF-8")


def test_links_that_leave_the_folder(files: Files, tmp_path_factory: pytest.TempPathFactory) -> None:
    name = "via_region_data.json"
    files.write_export()
    outside = tmp_path_factory.mktemp("outside") / name
    (files.folder / name).rename(outside)
    (files.folder / name).symlink_to(outside)
    with pytest.raises(DataError, match="symbolic link out of"):
        read_via(files.folder)


# ---- VIA 3


def write_3(folder: Path, *regions: dict[str, Any], **more: Any) -> Path:
    """A project of two images, as "Save" of VIA 3 writes it."""
    for name in ("a.jpg", "b.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)
    options = {"0": "cat", "1": "dog"}
    attributes = {
        "1": {"aname": "animal", "anchor_id": "FILE1_Z0_XY1", "type": 4, "options": options},
        "2": {"aname": "tame", "anchor_id": "FILE1_Z0_XY1", "type": 2, "options": {"y": "yes", "n": "no"}},
    }
    document = {
        "project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1", "vid_list": ["1", "2"]},
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}},
        "attribute": attributes,
        "file": {
            "1": {"fid": "1", "fname": "a.jpg", "type": 2, "loc": 1, "src": "a.jpg"},
            "2": {"fid": "2", "fname": "b.png", "type": 2, "loc": 1, "src": "b.png"},
        },
        "metadata": {f"{one['vid']}_{i}": {"flg": 0, "z": []} | one for i, one in enumerate(regions)},
        "view": {"1": {"fid_list": ["1"]}, "2": {"fid_list": [2]}},
    }
    path = folder / "via_project_28Nov2026.json"
    path.write_text(json.dumps(document | more))
    return path


def one_3(*xy: float, animal: str = "1", view: str = "1", **more: str) -> dict[str, Any]:
    return {"vid": view, "xy": list(xy), "av": {"1": animal} | more}


SQUARE_3 = (7, 4, 2, 14, 2, 14, 12, 4, 12)


def test_a_project_of_via_3(tmp_path: Path) -> None:
    path = write_3(tmp_path, one_3(*SQUARE_3), one_3(2, 10, 5, 11, 9, animal="0", view="2"))
    for source in (path, tmp_path):
        assert detect(source).name == "via"
        dataset = read_via(source)
        assert not dataset.problems and dataset.classes == ["cat", "dog"]
        first, second = dataset
        assert (first.file_name, second.file_name) == ("a.jpg", "b.png")
        (polygon,), (box,) = first.annotations, second.annotations
        assert polygon.label == 1 and polygon.box == (4, 2, 14, 12) and polygon.area == 100
        assert box.label == 0 and box.box == (10, 5, 21, 14) and box.polygons is None


@pytest.mark.parametrize(
    ("xy", "box"),
    [
        ((3, 15, 10, 5), (10, 5, 20, 15)),
        ((4, 15, 10, 8, 4), (7, 6, 23, 14)),
        ((8, 5, 9, 10, 4, 15, 9, 10, 14), (5, 4, 15, 14)),
        ((9, 20, 10, 15, 15, 10, 10), (10, 5, 20, 15)),
    ],
)
def test_shapes_of_via_3(tmp_path: Path, xy: tuple[float, ...], box: tuple[float, ...]) -> None:
    (found,) = read_via(write_3(tmp_path, one_3(*xy))).image(0).annotations
    np.testing.assert_allclose(found.box, box, atol=1)


def test_what_via_3_says_and_we_do_not_read(tmp_path: Path) -> None:
    """Another attribute, points and lines, times; a polyline is closed."""
    path = write_3(
        tmp_path,
        one_3(*SQUARE_3, **{"2": "y,n"}),
        one_3(1, 5, 5),
        one_3(5, 1, 1, 9, 9),
        one_3(9, 1, 1, 2, 2, 3, 3),
        one_3(6, *SQUARE_3[1:]),
        one_3(*SQUARE_3, animal=""),
        {"vid": "2", "xy": [], "av": {"1": "0"}},
    )
    kinds = ["attribute left out"] * 2 + ["shape of an unread kind left out"] * 2
    kinds += ["non-finite coordinates dropped", "polyline closed to a polygon"]
    kinds += ["shape without a label left out"]
    dataset = claims.repaired(read_via(path, "animal"), *kinds)
    assert len(dataset.image(0).annotations) == 2


def test_a_csv_of_via_3(tmp_path: Path) -> None:
    """Its project says the same, and is read."""
    head = "# Exported using VGG Image Annotator\n# CSV_HEADER = metadata_id,file_list,spatial_coordinates,metadata\n"
    (tmp_path / "x.csv").write_text(head + '"1_a","[""a.jpg""]","[2,1,1,3,3]","{""1"":""0""}"\n')
    assert detect(tmp_path).name == "via"
    refused(tmp_path / "x.csv", "save the project of VIA 3")


def test_via_3_that_is_refused(tmp_path: Path) -> None:
    path = write_3(tmp_path, {"vid": "9", "xy": [2, 1, 1, 3, 3], "av": {}})
    refused(path, "'9_0' belongs to no view")
    refused(write_3(tmp_path, view={"1": {"fid_list": ["1", "2"]}}), "does not show one file")
    files = {"1": {"fid": "1", "fname": "a.mp4", "type": 4}, "2": {"fid": "2", "fname": "b.png", "type": 2}}
    refused(write_3(tmp_path, one_3(2, 1, 1, 3, 3), file=files), "1 regions are on videos", "frames")
    files = {"1": {"fid": "1", "fname": "b.png", "type": 2}, "2": {"fid": "2", "fname": "b.png", "type": 2}}
    refused(write_3(tmp_path, file=files), "'b.png' is there twice")


def subjects(folder: Path) -> list[Subject]:
    """One for each form of the file."""
    found = []
    for form in ("export", "project", "csv"):
        (folder / form).mkdir()
        files = Files(folder / form)
        ellipse = {"name": "ellipse", "cx": 15, "cy": 10, "rx": 10, "ry": 5, "theta": 0.5}
        files.regions(region(SQUARE, animal="dog"), region(ellipse, animal={"cow": True}))
        path = getattr(files, f"write_{form}")()
        found.append(Subject(files.folder, path, read_via, looks_like_via, [path]))
    (folder / "3").mkdir()
    path = write_3(folder / "3", one_3(*SQUARE_3), one_3(4, 15, 10, 8, 4, view="2"))
    return [*found, Subject(folder / "3", path, read_via, looks_like_via, [path])]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_attributes_that_are_numbers_with_a_point() -> None:
    assert [attribute_values(value) for value in (0.0, 1.0, 0.5, float("nan"))] == [["0"], ["1"], ["0.5"], []]

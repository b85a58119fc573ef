"""LabelMe files: each kind of shape read back to what was written, and one test for each thing gone wrong."""

from __future__ import annotations

import base64
import io
import json
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claims import refused, repaired
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.errors import DataError
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.options import LabelOptions
from maskrcnn.labels.readers.labelme import looks_like_labelme, read_labelme
from maskrcnn.masks.rle import rle_bitmap

HEIGHT, WIDTH = 20, 30
SQUARE = [[4.0, 2.0], [14.0, 2.0], [14.0, 12.0], [4.0, 12.0]]


def shape(label: str, points: list[Any], kind: str = "polygon", **more: Any) -> dict[str, Any]:
    """As LabelMe 5 writes one."""
    usual = {"group_id": None, "description": "", "shape_type": kind, "flags": {}, "mask": None}
    return {"label": label, "points": points} | usual | more


def png(bitmap: np.ndarray) -> str:
    """A mask as LabelMe writes it."""
    file = io.BytesIO()
    Image.fromarray(bitmap.astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


class Files:
    """A folder of two labelled images, to be spoilt by a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("a.jpg", "sub/b.png"):
            (folder / name).parent.mkdir(exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)
        self.first = self.document("a.jpg", shape("dog", SQUARE))
        self.second = self.document("b.png", shape("cat", [[20.5, 15.0], [10.0, 5.5]], "rectangle"))

    @staticmethod
    def document(image: str, *shapes: dict[str, Any]) -> dict[str, Any]:
        start = {
            "version": "5.5.0",
            "flags": {},
            "shapes": list(shapes),
            "imagePath": image,
            "imageData": None,
        }
        return start | {"imageHeight": HEIGHT, "imageWidth": WIDTH}

    def shapes(self, *shapes: dict[str, Any]) -> None:
        self.first["shapes"] = list(shapes)

    def read(self) -> FileDataset:
        (self.folder / "a.json").write_text(json.dumps(self.first, indent=2))
        (self.folder / "sub/b.json").write_text(json.dumps(self.second, indent=2))
        return read_labelme(self.folder)

    def repaired(self, *kinds: str) -> FileDataset:
        return repaired(self.read(), *kinds)

    def bitmap(self, *kinds: str) -> np.ndarray:
        """The mask of the only object of the first image."""
        (annotation,) = self.repaired(*kinds).image(0).annotations
        return rle_bitmap(annotation_rle(annotation, HEIGHT, WIDTH))

    def refused(self, *words: str) -> None:
        refused(self.read, self.folder, *words)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_good_folder(files: Files) -> None:
    dataset = files.repaired()
    assert looks_like_labelme(files.folder) and looks_like_labelme(files.folder / "a.json")
    assert dataset.classes == ["cat", "dog"] and dataset.class_ids == [1, 2]
    first, second = dataset
    assert (first.image_id, first.file_name, first.height, first.width) == (1, "a.jpg", HEIGHT, WIDTH)
    assert second.path == files.folder / "sub/b.png"
    (polygon,), (box,) = first.annotations, second.annotations
    assert polygon.label == 1 and polygon.box == (4.0, 2.0, 14.0, 12.0) and polygon.area == 100.0
    np.testing.assert_array_equal(polygon.polygons[0], SQUARE)
    assert box.label == 0 and box.box == (10.0, 5.5, 20.5, 15.0) and box.polygons is None and box.rle is None
    assert dataset.pixels(1).shape == (HEIGHT, WIDTH, 3)


def test_one_file(files: Files) -> None:
    files.read()
    (image,) = read_labelme(files.folder / "a.json")
    assert image.file_name == "a.jpg" and len(image.annotations) == 1


def test_labels_txt_gives_the_order(files: Files) -> None:
    (files.folder / "labels.txt").write_text("__ignore__\n_background_\nzebra\ndog\n")
    assert files.repaired().classes == ["zebra", "dog", "cat"]


def test_mask_with_a_hole(files: Files) -> None:
    bitmap = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    bitmap[2:12, 4:14] = 1
    bitmap[5:8, 7:9] = 0
    for value in (1, 255):
        files.shapes(shape("dog", [[4.0, 2.0], [13.0, 11.0]], "mask", mask=png(bitmap[2:12, 4:14] * value)))
        np.testing.assert_array_equal(files.bitmap(), bitmap)


def test_circle(files: Files) -> None:
    files.shapes(shape("dog", [[15.0, 10.0], [15.0, 2.0]], "circle"))
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    disc = np.hypot(x - 15, y - 10) <= 8
    bitmap = files.bitmap().astype(bool)
    assert (bitmap & disc).sum() / (bitmap | disc).sum() > 0.95


def test_turned_box(files: Files) -> None:
    files.shapes(shape("dog", SQUARE, "rotation", direction=0.5))
    assert files.bitmap("turned box read as a polygon").sum() == 100


def test_group_is_one_object(files: Files) -> None:
    other = [[20.0, 2.0], [24.0, 2.0], [24.0, 6.0], [20.0, 6.0]]
    files.shapes(
        shape("dog", SQUARE, group_id=0),
        shape("cat", SQUARE, group_id=0),
        shape("dog", other, group_id=0),
        shape("dog", [[25.0, 15.0], [30.0, 20.0]], "rectangle", group_id=0),
        shape("dog", other, group_id=1),
    )
    found = files.repaired().image(0).annotations
    assert [(annotation.label, annotation.area) for annotation in found] == [
        (1, 141.0),
        (0, 100.0),
        (1, 16.0),
    ]
    files.first["shapes"].append(
        shape("dog", [[0.0, 0.0], [1.0, 0.0]], "mask", mask=png(np.ones((1, 2))), group_id=0)
    )
    found = files.repaired().image(0).annotations
    assert found[0].area == 143.0 and found[0].rle is not None


def test_an_empty_group_is_none(files: Files) -> None:
    """All objects of a class were one."""
    other = [[20.0, 2.0], [24.0, 2.0], [24.0, 6.0], [20.0, 6.0]]
    files.shapes(shape("dog", SQUARE, group_id=""), shape("dog", other, group_id=""))
    assert [a.area for a in files.repaired().image(0).annotations] == [100.0, 16.0]


def test_old_file(files: Files) -> None:
    files.first = {
        "flags": {},
        "shapes": [{"label": "dog", "points": SQUARE, "line_color": None}],
        "imagePath": "a.jpg",
    }
    assert files.bitmap("missing image size read from the image").sum() == 100


@pytest.mark.parametrize("path", ["..\\a.jpg", "../a.jpg", "../sub/../a.jpg"])
def test_labels_in_a_folder_of_their_own(files: Files, path: str) -> None:
    files.read()
    (files.folder / "a.json").unlink()
    (files.folder / "json").mkdir()
    (files.folder / "json/a.json").write_text(json.dumps(files.first | {"imagePath": path}))
    assert {image.file_name for image in read_labelme(files.folder)} == {"a.jpg", "sub/b.png"}


@pytest.mark.parametrize("path", ["a.jpg", "..\\other\\a.jpg"])
def test_labels_moved_from_their_images(files: Files, path: str) -> None:
    """The only image of that name is it; of two nobody knows."""
    files.first["imagePath"] = path
    (files.folder / "images").mkdir()
    (files.folder / "a.jpg").rename(files.folder / "images/a.jpg")
    kind = "imagePath that is not there, image of the file's name taken"
    assert files.repaired(kind).image(0).file_name == "images/a.jpg"
    (files.folder / "more").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(files.folder / "more/a.jpg")
    files.refused("a.json", "--images FOLDER")


@pytest.mark.parametrize(
    "path", ["old.jpg", "/home/x/a.jpg", "..\\..\\a.jpg", "", None, 7, "a\0b", "x" * 5000, "\ud800"]
)
def test_renamed_image(files: Files, path: Any) -> None:
    files.first["imagePath"] = path
    files.repaired("imagePath that is not there, image of the file's name taken")


# ---- counted


def test_what_is_counted(files: Files) -> None:
    files.shapes(
        shape("dog", SQUARE, flags={"occluded": True, "other": False}),
        shape("dog", SQUARE, description="a good dog"),
        shape("dog", [[1.0, 1.0]], "point"),
        shape("dog", SQUARE, "linestrip"),
        shape("dog", SQUARE, "cuboid"),
        shape("__ignore__", SQUARE),
    )
    files.first["flags"] = {"blurred": True}
    Image.new("RGB", (WIDTH, HEIGHT)).save(files.folder / "c.png")
    (files.folder / "other.json").write_text("{}")
    dataset = files.repaired(
        *["attribute left out"] * 3,
        *["shape of an unread kind left out"] * 3,
        "shape that LabelMe ignores left out",
        "image without an annotation file left out",
        "JSON file that is not LabelMe's passed over",
    )
    assert len(dataset) == 2 and len(dataset.image(0).annotations) == 2 and dataset.classes == ["cat", "dog"]


@pytest.mark.parametrize(
    ("points", "kind"),
    [
        ([[1.0, 2.0], [3.0, 4.0]], "polygon that is no ring of three points dropped"),
        ([], "annotation without a usable box dropped"),
        (None, "annotation without a usable box dropped"),
        ([[1, 2], [3, 4], [5]], "non-finite coordinates dropped"),
        ([[1, 2], [3, 4], [5, float("nan")]], "non-finite coordinates dropped"),
        ([[1, 2], [30, 4], [5, 10**400]], "non-finite coordinates dropped"),
        ([[1, 2], [30, 4], [5, 1e308]], "outline too long to draw dropped"),
        ([[1, 2], [30, 4], [5, 1e10]], "outline too long to draw dropped"),
    ],
)
def test_polygons_that_are_dropped(files: Files, points: Any, kind: str) -> None:
    files.shapes(shape("dog", points), shape("dog", SQUARE))
    dataset = files.read()
    assert kind in dataset.problems.texts() and len(dataset.image(0).annotations) == 1
    grouped = [shape("dog", [[0, 0], [1, 0]], "mask", mask=png(np.ones((1, 2))), group_id=1)]
    files.shapes(shape("dog", points, group_id=1), *grouped)
    dataset = files.read()
    assert len(dataset.problems) == 1 and dataset.image(0).annotations[0].area == 2


def test_box_outside(files: Files) -> None:
    files.second["shapes"][0]["points"] = [[20.0, 10.0], [1e308, 1e308]]
    assert files.repaired("box clipped to the image").image(1).annotations[0].box == (20.0, 10.0, 30.0, 20.0)


# ---- refused


@pytest.mark.parametrize(
    ("points", "mask", "words"),
    [
        ([[4, 2], [13, 11]], png(np.ones((3, 3))), ["3 x 3", "10 x 10"]),
        ([[4, 2], [33, 11]], png(np.ones((10, 30))), ["leaves the image"]),
        ([[13, 11], [4, 2]], png(np.ones((10, 10))), ["leaves the image"]),
        ([[4, 2]], png(np.ones((10, 10))), ["two points"]),
        ([[4, 2], [1e308, 11]], png(np.ones((10, 10))), ["two points"]),
        ([[4, 2], [13, 11]], None, ["base64"]),
        ([[4, 2], [13, 11]], "!!", ["base64"]),
        ([[4, 2], [13, 11]], "AAAA", ["not a PNG"]),
        ([[4, 2], [13, 11]], png(np.ones((10, 10, 3))), ["RGB"]),
    ],
)
def test_masks_that_are_refused(files: Files, points: Any, mask: Any, words: list[str]) -> None:
    files.shapes(shape("dog", points, "mask", mask=mask))
    files.refused("shape 1 of 'a.json'", *words)


@pytest.mark.parametrize(("side", "word"), [(60_000, "not a PNG"), (10_000, "10000 x 10000")])
def test_mask_that_claims_gigabytes(files: Files, side: int, word: str) -> None:
    raw = bytearray(base64.b64decode(png(np.ones((10, 10)))))
    raw[16:24] = side.to_bytes(4, "big") * 2
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    files.shapes(shape("dog", [[4, 2], [13, 11]], "mask", mask=base64.b64encode(raw).decode()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files.refused("shape 1 of 'a.json'", word)


def test_image_that_is_only_embedded(files: Files) -> None:
    files.first |= {"imagePath": "gone.jpg", "imageData": "/9j/4AAQ"}
    (files.folder / "a.jpg").unlink()
    files.refused("a.json", "gone.jpg", "imageData", "write that out")
    files.first["imageData"] = None
    files.refused("a.json", "gone.jpg", "restore it")


def test_two_files_for_a_image(files: Files) -> None:
    files.second["imagePath"] = "../a.jpg"
    files.refused("'a.json' and 'sub/b.json'", "'a.jpg'")


@pytest.mark.parametrize("label", [None, "", " ", ["x"]])
def test_shape_without_a_label(files: Files, label: Any) -> None:
    files.first["shapes"][0]["label"] = label
    files.refused("a.json", "shape 1 has no label")


@pytest.mark.parametrize("height", [0, -1, 1e308, 10**400, "x", 20.5, [20]])
def test_bad_sizes(files: Files, height: Any) -> None:
    files.first["imageHeight"] = height
    files.refused("a.jpg", "real size")


def test_size_of_another_image(files: Files) -> None:
    files.first |= {"imageHeight": WIDTH, "imageWidth": HEIGHT}
    with pytest.raises(DataError, match="a.jpg.*EXIF"):
        files.read().pixels(0)


def test_empty(files: Files) -> None:
    files.shapes()
    files.second["shapes"] = []
    files.refused("label at least one object")
    with pytest.raises(DataError, match="no labelled image"):
        read_labelme(files.folder / "a.jpg")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"shapes": ' + "[" * 50_000, "\ufffe"])
def test_broken_json(files: Files, text: str) -> None:
    files.read()
    (files.folder / "c.json").write_text(text)
    with pytest.raises(DataError, match="c.json: not readable as JSON"):
        read_labelme(files.folder)
    looks_like_labelme(files.folder)


def test_links_that_leave_the_folder(files: Files, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "x.json"
    outside.write_text(json.dumps(files.first))
    (files.folder / "c.json").symlink_to(outside)
    files.refused("c.json", "symbolic link out of")


def subjects(folder: Path) -> list[Subject]:
    files = Files(folder)
    files.shapes(
        shape("cat", [[4.0, 2.0], [13.0, 11.0]], "mask", mask=png(np.ones((10, 10))), group_id=1),
        shape("cat", SQUARE, group_id=1),
        shape("dog", [[15.0, 10.0], [15.0, 2.0]], "circle"),
        shape("dog", SQUARE),
    )
    files.read()
    (folder / "labels.txt").write_text("__ignore__\ndog\ncat\n")
    spoilt = [folder / name for name in ("a.json", "sub/b.json", "labels.txt")]
    return [Subject(folder, folder, read_labelme, looks_like_labelme, spoilt, by_folder=True)]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_what_editors_of_windows_write(files: Files, encoding: str) -> None:
    files.first["shapes"][0]["label"] = "кот"
    files.read()
    for path in (files.folder / "a.json", files.folder / "sub/b.json"):
        path.write_bytes(json.dumps(json.loads(path.read_text()), ensure_ascii=False).encode(encoding))
    dataset = open_dataset(files.folder)
    assert dataset.classes == ["cat", "кот"] and not dataset.problems
    assert [len(dataset.image(index).annotations) for index in range(2)] == [1, 1]


def test_a_path_that_names_the_json_itself(files: Files) -> None:
    files.first["imagePath"] = "a.json"
    kind = "imagePath that is not there, image of the file's name taken"
    assert files.repaired(kind).image(0).file_name == "a.jpg"
    (files.folder / "a.jpg").unlink()
    files.refused("a.json", "restore it")


@pytest.mark.parametrize(
    "stated", ["../photos/x.jpg", "C:\\\\data\\\\x.jpg", "x.jpg", "deep/x.jpg", None, "gone.jpg"]
)
def test_images_in_another_folder(tmp_path: Path, stated: str | None) -> None:
    """By the path from there, by the name alone, or by the file's own name."""
    files = Files(tmp_path / "labels")
    far = tmp_path / "far"
    name = "a.jpg" if stated in (None, "gone.jpg") else "x.jpg"
    for place, image in ((name if stated != "deep/x.jpg" else stated, "a.jpg"), ("b.png", "sub/b.png")):
        (far / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "labels" / image).rename(far / place)
    files.first["imagePath"] = stated
    with pytest.raises(DataError):
        files.read()
    dataset = open_dataset(tmp_path / "labels", options=LabelOptions(images=far))
    assert [Path(image.file_name).name for image in dataset] == [name, "b.png"]
    assert dataset.classes == ["cat", "dog"] and dataset.pixels(0).shape == (HEIGHT, WIDTH, 3)
    kinds = ["imagePath that is not there, image of the file's name taken"] * (name == "a.jpg")
    repaired(dataset, *kinds)
    Image.new("RGB", (4, 4)).save(far / "more.png")
    extra = "image without an annotation file left out"
    repaired(read_labelme(tmp_path / "labels", image_folder=far), *kinds, extra)
    assert len(repaired(read_labelme(tmp_path / "labels/a.json", image_folder=far), *kinds)) == 1


def test_spaces_around_a_label(tmp_path: Path) -> None:
    """One class, and the spaces are told; names that differ in case stay apart, which is told too."""
    files = Files(tmp_path)
    files.shapes(shape("cat ", SQUARE), shape(" cat", SQUARE), shape("Cat", SQUARE))
    dataset = files.read()
    assert dataset.classes == ["cat", "Cat"] or dataset.classes == ["Cat", "cat"]
    assert sorted(dataset.classes[a.label] for image in dataset for a in image.annotations) == [
        *("Cat", "cat", "cat", "cat")
    ]
    assert dataset.problems.texts() == {
        "spaces around the name of a class left out": 2,
        "classes whose names differ only in case, spaces or dashes": 1,
    }


def test_folders_of_splits(tmp_path: Path) -> None:
    """Of which one is not trained on."""
    for split in ("train", "val"):
        for folder in ("images", "labels"):
            (tmp_path / folder / split).mkdir(parents=True)
        Image.new("RGB", (50, 40)).save(tmp_path / f"images/{split}/a.png")
        shape = {"label": "cat", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"}
        document = {"shapes": [shape], "imagePath": f"../../images/{split}/a.png", "imageData": None,
                    "imageHeight": 40, "imageWidth": 50}  # fmt: skip
        (tmp_path / f"labels/{split}/a.json").write_text(json.dumps(document))
    for split in ("train", "val"):
        assert [image.file_name for image in open_dataset(tmp_path, split)] == [f"images/{split}/a.png"]

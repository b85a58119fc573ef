"""ImageJ's ROIs: each kind as ImageJ encodes it, and one test for each thing gone wrong."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import claims
import numpy as np
import pytest
from claims import bitmap
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.labels.detect import detect
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.readers.imagej_rois import looks_like_imagej_rois, read_imagej_rois

HEIGHT, WIDTH = 20, 30
POLYGON, RECT, OVAL, LINE, FREEHAND, TRACED, POINT = 0, 1, 2, 3, 7, 8, 10
SQUARE = [(4, 2), (14, 2), (14, 12), (4, 12)]
SUBPIXEL = 128


def roi(
    kind: int,
    box: tuple[int, int, int, int],
    points: Any = (),
    *,
    exact: Any = None,
    composite: Any = (),
    group: int = 0,
    subtype: int = 0,
    page: int = 0,
) -> bytes:
    """The bytes of a .roi, by ImageJ's RoiEncoder. `box`: left, top, right, bottom. `exact`: numbers between pixels."""
    left, top, right, bottom = box
    options = SUBPIXEL * (exact is not None)
    floats = exact if exact is not None and kind in (RECT, OVAL) else (0.0,) * 4
    body = b"".join(
        struct.pack(f">{len(points)}h", *(p[axis] - box[axis] for p in points)) for axis in (0, 1)
    )
    if exact is not None and kind not in (RECT, OVAL):
        body += b"".join(struct.pack(f">{len(exact)}f", *(p[axis] for p in exact)) for axis in (0, 1))
    body += struct.pack(f">{len(composite)}f", *composite)
    head = struct.pack(">4sHBxhhhhH4f", b"Iout", 228, kind, top, left, bottom, right, len(points), *floats)
    head += struct.pack(">hiiihh", 0, len(composite), 0, 0, subtype, options)
    head += struct.pack(">BBhii", 0, 0, 0, page, 64 + len(body))
    second = struct.pack(">iiiiiiihBBifiii", 0, 0, 0, 0, 0, 0, 0, 0, group, 0, 0, 0.0, 0, 0, 0)
    return head + body + second


def write(folder: Path, *rois: bytes, name: str = "a_RoiSet.zip") -> Path:
    folder.mkdir(exist_ok=True)
    Image.new("L", (WIDTH, HEIGHT)).save(folder / "a.tif")
    with zipfile.ZipFile(folder / name, "w") as archive:
        for number, data in enumerate(rois):
            archive.writestr(f"{number:04}-0012.roi", data)
    return folder / name


def repaired(source: Path, *kinds: str) -> FileDataset:
    return claims.repaired(read_imagej_rois(source), *kinds)


def refused(source: Path, *words: str) -> None:
    claims.refused(lambda: read_imagej_rois(source), *words)


@pytest.mark.parametrize("name", ["a.zip", "a_RoiSet.zip", "a-rois.zip", "RoiSet.zip"])
def test_a_set_of_rois(tmp_path: Path, name: str) -> None:
    path = write(
        tmp_path, roi(POLYGON, (4, 2, 14, 12), SQUARE), roi(TRACED, (4, 2, 14, 12), SQUARE), name=name
    )
    assert looks_like_imagej_rois(path) and detect(tmp_path).name == detect(path).name == "imagej-rois"
    for source in (path, tmp_path):
        dataset = repaired(source)
        (image,) = dataset
        assert dataset.classes == ["object"] and image.file_name == "a.tif"
        assert [(a.box, a.area) for a in image.annotations] == [((4, 2, 14, 12), 100)] * 2


def test_a_folder_for_each_image(tmp_path: Path) -> None:
    """Each with its RoiSet.zip, as the ROI Manager calls it."""
    for name in ("x", "y"):
        write(tmp_path / name, roi(POLYGON, (4, 2, 14, 12), SQUARE), name="RoiSet.zip")
    assert [image.file_name for image in repaired(tmp_path)] == ["x/a.tif", "y/a.tif"]


def test_one_roi(tmp_path: Path) -> None:
    write(tmp_path, name="x.zip").unlink()
    (tmp_path / "a.roi").write_bytes(roi(FREEHAND, (4, 2, 14, 12), SQUARE))
    assert len(repaired(tmp_path).image(0).annotations) == 1


def test_rectangles_and_ovals(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        roi(RECT, (10, 5, 21, 14)),
        roi(RECT, (10, 5, 21, 14), exact=(10.5, 5.25, 10.0, 8.0)),
        roi(OVAL, (5, 5, 25, 15)),
    )
    (image,) = repaired(path)
    box, exact, oval = image.annotations
    assert box.box == (10, 5, 21, 14) and box.polygons is None and exact.box == (10.5, 5.25, 20.5, 13.25)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    assert claims.iou(bitmap(oval, image), ((x - 15) / 10) ** 2 + ((y - 10) / 5) ** 2 <= 1) > 0.95


def test_points_between_pixels(tmp_path: Path) -> None:
    exact = [(x + 0.25, y + 0.5) for x, y in SQUARE]
    (image,) = repaired(write(tmp_path, roi(POLYGON, (4, 2, 15, 13), SQUARE, exact=exact)))
    np.testing.assert_allclose(image.annotations[0].polygons[0], exact)


def test_a_composite_with_a_hole(tmp_path: Path) -> None:
    outer = [0, 4, 2, 1, 14, 2, 1, 14, 12, 1, 4, 12, 4]
    inner = [0, 6, 4, 1, 9, 4, 1, 9, 8, 1, 6, 8, 4]
    (image,) = repaired(write(tmp_path, roi(RECT, (4, 2, 14, 12), composite=outer + inner)))
    assert bitmap(image.annotations[0], image).sum() == 100 - 12
    path = write(
        tmp_path, roi(RECT, (4, 2, 14, 12), composite=[0, 4, 2, 9]), roi(POLYGON, (4, 2, 14, 12), SQUARE)
    )
    assert len(repaired(path, "non-finite coordinates dropped").image(0).annotations) == 1


@pytest.mark.parametrize(
    ("curves", "area"),
    [
        ([2, 15, -8, 25, 10, 2, 15, 28, 5, 10], 240),
        ([3, 5, -2, 25, -2, 25, 10, 3, 25, 22, 5, 22, 5, 10], 288),
    ],
)
def test_a_composite_of_curves(tmp_path: Path, curves: list[int], area: int) -> None:
    """Its points of control were joined by lines."""
    (image,) = repaired(write(tmp_path, roi(RECT, (5, 1, 25, 19), composite=[0, 5, 10, *curves, 4])))
    assert image.annotations[0].box == pytest.approx((5, 1, 25, 19), abs=0.1)
    assert bitmap(image.annotations[0], image).sum() == pytest.approx(area, rel=0.05)


def test_groups_are_classes(tmp_path: Path) -> None:
    square = (POLYGON, (4, 2, 14, 12), SQUARE)
    dataset = repaired(write(tmp_path, roi(*square, group=3), roi(*square), roi(*square, group=12)))
    assert dataset.classes == ["group 12", "group 3", "object"]


def test_what_is_no_object(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        roi(POINT, (4, 2, 5, 3), [(4, 2)]),
        roi(LINE, (4, 2, 9, 9)),
        roi(RECT, (4, 2, 9, 9), subtype=1),
        roi(POLYGON, (4, 2, 14, 12), SQUARE),
    )
    assert len(repaired(path, *["shape of an unread kind left out"] * 3).image(0).annotations) == 1


def test_rois_of_a_stack(tmp_path: Path) -> None:
    """All of one page are those of the image that was saved of it; of several nobody can tell."""
    square = (POLYGON, (4, 2, 14, 12), SQUARE)
    assert (
        len(repaired(write(tmp_path, roi(*square, page=5), roi(*square, page=5))).image(0).annotations) == 2
    )
    refused(write(tmp_path, roi(*square, page=5), roi(*square, page=6)), "2 pages of a stack")


def test_what_is_refused(tmp_path: Path) -> None:
    square = roi(POLYGON, (4, 2, 14, 12), SQUARE)
    path = write(tmp_path, square[:70])
    refused(path, "'0000-0012.roi'", "ends too early")
    refused(write(tmp_path, b"Iou"), "no ROI of ImageJ")
    write(tmp_path, square)
    good = path.read_bytes()
    path.write_bytes(good[:40] + bytes(20) + good[60:])
    refused(path, str(path), "ROIs")
    write(tmp_path, square, name="b.zip")
    write(tmp_path, square)
    refused(tmp_path, "b.zip", "no image of its name")


def test_a_zip_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    path = write(tmp_path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            with archive.open(f"{number}.roi", "w", force_zip64=True) as file:
                for _ in range(200):
                    file.write(bytes(1 << 20))
    refused(path, "unpacks to more than 512 MB")


def subjects(folder: Path) -> list[Subject]:
    outer = [0, 4, 2, 1, 14, 2, 1, 14, 12, 1, 4, 12, 4, 0, 6, 4, 1, 9, 4, 1, 9, 8, 4]
    path = write(folder / "zip", roi(POLYGON, (4, 2, 14, 12), SQUARE), roi(OVAL, (5, 5, 25, 15)))
    found = [Subject(folder / "zip", folder / "zip", read_imagej_rois, looks_like_imagej_rois, [path])]
    for number, data in enumerate(
        (roi(RECT, (4, 2, 14, 12), composite=outer), roi(FREEHAND, (4, 2, 15, 13), SQUARE, exact=SQUARE))
    ):
        one = write(folder / str(number)).with_name("a.roi")
        one.with_name("a_RoiSet.zip").unlink()
        one.write_bytes(data)
        found.append(Subject(one.parent, one.parent, read_imagej_rois, looks_like_imagej_rois, [one]))
    return found


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_a_spline_is_drawn_through_its_nodes(tmp_path: Path) -> None:
    angles = np.arange(12) * np.pi / 6
    nodes = [(round(15 + 8 * np.cos(a)), round(10 + 8 * np.sin(a))) for a in angles]
    plain = roi(POLYGON, (7, 2, 23, 18), nodes)
    spline = bytearray(plain)
    struct.pack_into(">h", spline, 50, 1)
    areas = []
    for data in (plain, bytes(spline)):
        image = repaired(write(tmp_path, data)).image(0)
        areas.append(image.annotations[0].area)
    assert areas[0] < areas[1] and abs(areas[1] - np.pi * 8**2) < 8


def test_groups_of_more_than_a_byte(tmp_path: Path) -> None:
    data = bytearray(roi(RECT, (1, 1, 9, 9)) + bytes(2))
    struct.pack_into(">h", data, 4, 229)
    struct.pack_into(">H", data, len(data) - 54 + 52, 300)
    struct.pack_into(">i", data, 60, len(data) - 54)
    assert repaired(write(tmp_path, bytes(data))).classes == ["group 300"]


def test_a_ring_that_encloses_nothing_fills_no_hole(tmp_path: Path) -> None:
    def ring(*points: tuple[int, int]) -> list[int]:
        first, *rest = points
        return [0, *first, *(value for point in rest for value in (1, *point)), 4]

    outer, hole = ring((5, 5), (25, 5), (25, 15), (5, 15)), ring((10, 7), (15, 7), (15, 12), (10, 12))
    for lone in ([], [0, 1, 1], ring((1, 1), (2, 2))):
        data = roi(RECT, (5, 5, 25, 15), composite=[*outer, *hole, *lone])
        kinds = ["polygon that is no ring of three points dropped"] if lone else []
        assert repaired(write(tmp_path, data), *kinds).image(0).annotations[0].area == 200 - 25

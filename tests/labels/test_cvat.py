"""CVAT for images: what is read of a good export, what is counted as lost, and what broken files come to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import claims
import numpy as np
import pytest
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset, open_split
from maskrcnn.labels.readers.cvat import has_cvat_split, looks_like_cvat, read_cvat
from maskrcnn.labels.types import Annotation
from maskrcnn.masks.rle import rle_bitmap

HEIGHT, WIDTH = 40, 60
EDGE = "&lt;line data-type=&quot;edge&quot; data-node-from=&quot;1&quot; data-node-to=&quot;2&quot;&gt;&lt;/line&gt;"
NODE = "&lt;circle data-node-id=&quot;{0}&quot; data-label-name=&quot;{1}&quot;&gt;&lt;/circle&gt;"
SVG = EDGE + NODE.format(1, "left_eye") + NODE.format(2, "right_eye")
LABELS = f"""<label><name>car</name><type>any</type></label><label><name>unused</name></label>
<label><name>face</name><type>skeleton</type><svg>{SVG}</svg></label>
<label><name>left_eye</name><type>points</type><parent>face</parent></label>
<label><name>right_eye</name><type>points</type><parent>face</parent></label>"""
GOOD = """<box label="car" occluded="0" xtl="4.00" ytl="2.50" xbr="14.00" ybr="12.00" z_order="0"></box>
<polygon label="car" occluded="0" points="20.00,5.00;30.00,5.00;30.00,15.00;20.00,15.00" z_order="0"></polygon>
<mask label="car" occluded="0" rle="1, 2, 3, 2, 4" left="40" top="10" width="4" height="3" z_order="0"></mask>
<ellipse label="car" occluded="0" cx="30.00" cy="25.00" rx="12.00" ry="6.00" z_order="0"></ellipse>"""
FACE = """<skeleton label="face" z_order="0" {0}>
<points label="right_eye" occluded="1" outside="0" points="30.00,12.00"></points>
<points label="left_eye" occluded="0" outside="0" points="20.50,10.00"></points></skeleton>"""


def write(folder: Path, shapes: str, labels: str = LABELS, name: str = "a.png") -> Path:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images/a.png")
    (folder / "annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task><labels>{labels}'
        f'</labels></task></meta>\n<image id="7" name="{name}" width="{WIDTH}" height="{HEIGHT}">\n{shapes}\n</image>'
        "</annotations>"
    )
    return folder / "annotations.xml"


def objects(dataset: FileDataset) -> list[Annotation]:
    return dataset.image(0).annotations


def mask(annotation: Annotation) -> np.ndarray:
    return rle_bitmap(annotation_rle(annotation, HEIGHT, WIDTH))


def repaired(path: Path, **counts: int) -> FileDataset:
    kinds = Counter({kind.replace("_", " "): count for kind, count in counts.items()})
    return claims.repaired(read_cvat(path), *kinds.elements())


def refused(path: Path, *words: str) -> None:
    claims.refused(lambda: read_cvat(path), *words)


def test_a_good_file(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert looks_like_cvat(tmp_path) and looks_like_cvat(tmp_path / "annotations.xml")
    dataset = read_cvat(tmp_path)
    assert dataset.classes == ["car", "unused", "face"] and dataset.class_ids == [1, 2, 3]
    assert set(dataset.problems.texts()) == {"sigmas of 0.05 assumed"}
    image = dataset.image(0)
    assert (image.image_id, image.height, image.width) == (7, HEIGHT, WIDTH)
    assert image.path == tmp_path / "images/a.png"
    box, polygon, runs, ellipse = image.annotations
    assert box.box == (4.0, 2.5, 14.0, 12.0) and box.polygons is None and box.rle is None and box.area == 95.0
    np.testing.assert_array_equal(polygon.polygons[0], [[20, 5], [30, 5], [30, 15], [20, 15]])
    assert polygon.box == (20.0, 5.0, 30.0, 15.0) and polygon.area == 100.0
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    expected[10:13, 40:44] = np.reshape([0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0], (3, 4))
    np.testing.assert_array_equal(mask(runs), expected)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = ((x - 30) / 12) ** 2 + ((y - 25) / 6) ** 2 <= 1
    assert (mask(ellipse) != inside).sum() <= 8 and ellipse.area == pytest.approx(np.pi * 72, rel=0.03)


def test_a_file_of_another_name(tmp_path: Path) -> None:
    write(tmp_path, GOOD).rename(tmp_path / "task_12.XML")
    assert looks_like_cvat(tmp_path) and len(objects(read_cvat(tmp_path))) == 4
    (tmp_path / "job_3.xml").write_text("<annotations><meta/></annotations>")
    assert not looks_like_cvat(tmp_path)


def test_a_skeleton_grouped_with_a_box(tmp_path: Path) -> None:
    box = '<box label="face" group_id="3" xtl="10" ytl="5" xbr="40" ybr="30"></box>'
    dataset = read_cvat(write(tmp_path, FACE.format('group_id="3"') + box))
    (face,) = objects(dataset)
    assert face.box == (10.0, 5.0, 40.0, 30.0)
    np.testing.assert_array_equal(face.keypoints, [[20.5, 10, 2], [30, 12, 1]])
    assert dataset.keypoints.names == ["left_eye", "right_eye"] and dataset.keypoints.flip == [1, 0]
    assert dataset.keypoints.skeleton == [(0, 1)]


def test_a_skeleton_alone(tmp_path: Path) -> None:
    dataset = read_cvat(write(tmp_path, FACE.format("")))
    assert dataset.problems.texts()["box taken from the keypoints"] == 1
    assert objects(dataset)[0].box == (20.5, 10.0, 30.0, 12.0)


def test_a_hidden_keypoint(tmp_path: Path) -> None:
    path = write(
        tmp_path, GOOD + FACE.format("").replace('occluded="1" outside="0"', 'occluded="0" outside="1"')
    )
    dataset = read_cvat(path)
    assert dataset.problems.texts()["zero-area box dropped"] == 1 and len(objects(dataset)) == 4


def test_groups_join_what_has_one_label(tmp_path: Path) -> None:
    labels = "<label><name>car</name></label><label><name>bus</name></label>"
    polygon = '<polygon label="{}" group_id="{}" points="{x},5;{y},5;{y},15;{x},15"></polygon>'
    parts = [("car", 1, 10), ("car", 1, 30), ("car", 2, 40), ("bus", 1, 20), ("car", 0, 1), ("car", 0, 5)]
    shapes = "".join(polygon.format(label, group, x=x, y=x + 5) for label, group, x in parts)
    found = objects(repaired(write(tmp_path, shapes, labels)))
    assert [(a.label, len(a.polygons), a.area) for a in found] == [
        *[(0, 2, 100.0), (0, 1, 50.0), (1, 1, 50.0), (0, 1, 50.0), (0, 1, 50.0)]
    ]
    runs = '<mask label="car" group_id="1" rle="0, 4" left="50" top="30" width="2" height="2"></mask>'
    joined = objects(repaired(write(tmp_path, shapes + runs, labels)))[0]
    assert joined.area == 104.0 and joined.box == (10.0, 5.0, 52.0, 32.0)


def test_a_group_of_a_box_and_a_polygon_far_from_it(tmp_path: Path) -> None:
    """The box was the first alone, and did not hold its own outline."""
    box = '<box label="car" group_id="1" xtl="10" ytl="10" xbr="20" ybr="20"></box>'
    polygon = '<polygon label="car" group_id="1" points="40,5;50,5;50,15;40,15"></polygon>'
    labels = "<label><name>car</name></label>"
    (car,) = objects(repaired(write(tmp_path, box + polygon, labels)))
    assert car.box == (10.0, 5.0, 50.0, 20.0)


def test_what_is_lost_is_counted(tmp_path: Path) -> None:
    labels = "<label><name>car</name></label>"
    shapes = """<box label="car" occluded="1" z_order="2" xtl="20" ytl="10" xbr="40" ybr="20" rotation="90.0">
    <attribute name="colour">red</attribute><attribute name="make">x</attribute></box><tag label="car"></tag>
    <polyline label="car" points="1,1;2,2"></polyline><points label="car" points="1,1"></points>
    <cuboid label="car"></cuboid>"""
    path = write(tmp_path, shapes, labels)
    dataset = read_cvat(path)
    assert dataset.problems.texts() == {
        "attribute left out": 2,
        "occlusion flag left out": 1,
        "z order left out": 1,
        "turned box replaced by the box around it": 1,
        "shape of an unread kind left out": 4,
    }
    assert objects(dataset)[0].box == pytest.approx((25.0, 5.0, 35.0, 25.0))
    assert len(dataset.problems.lines()) == 5 and all("a.png" in line for line in dataset.problems.lines())


def test_images_in_the_folder_of_their_subset(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    (tmp_path / "images/train").mkdir()
    (tmp_path / "images/a.png").rename(tmp_path / "images/train/a.png")
    path.write_text(path.read_text().replace('name="a.png"', 'name="a.png" subset="train"'))
    assert read_cvat(path).image(0).path == tmp_path / "images/train/a.png"


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('label="car" occluded="0" xtl', 'label="bus" occluded="0" xtl', "'bus'"),
        ("1, 2, 3, 2, 4", "1, 2, 3, 2", "4 x 3"),
        ("1, 2, 3, 2, 4", "1, -2, 3, 2, 8", "whole numbers"),
        ("1, 2, 3, 2, 4", "", "whole numbers"),
        ('left="40"', 'left="58"', "left 58"),
        ('width="4"', f'width="{10**400}"', "rectangle"),
        (f'width="{WIDTH}"', 'width="1e308"', "real size"),
        (f'width="{WIDTH}" height="{HEIGHT}"', 'width="2000000" height="2000000"', "real size"),
        ('name="a.png"', 'name="../../secret.png"', "leaves the folder"),
        ('name="a.png"', 'name="/etc/passwd"', "leaves the folder"),
        ('name="a.png"', 'name=""', "leaves the folder"),
        ('name="a.png"', 'name="b.png"', "missing"),
        ("<annotations>", '<!DOCTYPE x [<!ENTITY a "b">]><annotations>', "DOCTYPE"),
        ("annotations>", "other>", "<annotations>"),
        ("<image", "<track", "not valid XML"),
    ],
)
def test_refused(tmp_path: Path, old: str, new: str, word: str) -> None:
    path = write(tmp_path, GOOD)
    path.write_text(
        path.read_text().replace(old, new, 1 if "annotations" not in old or "DOCTYPE" in new else -1)
    )
    refused(path, word)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("20.00,5.00", "1e308,5.00", "outline too long to draw dropped"),
        ("20.00,5.00", "2000000000,5.00", "outline too long to draw dropped"),
        ("20.00,5.00", "nan,5.00", "non-finite coordinates dropped"),
        ("20.00,5.00", "20.00", "non-finite coordinates dropped"),
        ("20.00,5.00;30.00,5.00;", "", "annotation without a usable box dropped"),
        ('xtl="4.00"', 'xtl=""', "non-finite coordinates dropped"),
        ('xtl="4.00"', 'xtl="-4.00"', "box clipped to the image"),
        ('xtl="4.00"', 'xtl="-1e308"', "box clipped to the image"),
        ('rx="12.00"', 'rx="1e308"', "outline too long to draw dropped"),
        ("1, 2, 3, 2, 4", "12", "mask without a pixel dropped"),
    ],
)
def test_repaired(tmp_path: Path, old: str, new: str, kind: str) -> None:
    path = write(tmp_path, GOOD)
    path.write_text(path.read_text().replace(old, new, 1))
    assert read_cvat(path).problems.texts()[kind] == 1


def test_video_and_empty_exports(tmp_path: Path) -> None:
    path = tmp_path / "annotations.xml"
    path.write_text("<annotations></annotations>")
    refused(path, "no <image> and no <track>", "CVAT for images 1.1")
    refused(write(tmp_path, ""), "no object is usable")
    refused(
        write(tmp_path, '<polyline label="car" points="1,1;2,2"/>'), "1 x shape of an unread kind left out"
    )
    assert not looks_like_cvat(tmp_path / "none.xml") and not looks_like_cvat(tmp_path / "images")
    refused(tmp_path / "images", "annotations.xml")


TRACKS = f"""<annotations><version>1.1</version><meta><job><labels>{LABELS}</labels>
<original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size></job></meta>
<track id="0" label="car" source="manual">
<box frame="0" keyframe="1" outside="0" occluded="0" xtl="4.00" ytl="2.50" xbr="14.00" ybr="12.00" z_order="0"></box>
<box frame="1" keyframe="0" outside="0" occluded="0" xtl="5.00" ytl="2.50" xbr="15.00" ybr="12.00" z_order="0"></box>
<box frame="2" keyframe="1" outside="1" occluded="0" xtl="5.00" ytl="2.50" xbr="15.00" ybr="12.00" z_order="0"></box>
</track>
<track id="1" label="face" source="manual">{FACE.format('frame="1" keyframe="1"')}</track></annotations>"""


def write_tracks(folder: Path) -> Path:
    """A video of three frames, the last without an object."""
    (folder / "images").mkdir(parents=True)
    for frame in range(3):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"images/frame_{frame:06d}.PNG")
    (folder / "annotations.xml").write_text(TRACKS)
    return folder / "annotations.xml"


def test_tracks_of_a_video(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "video")
    assert looks_like_cvat(path.parent)
    dataset = repaired(path, box_taken_from_the_keypoints=1, **{"sigmas_of_0.05_assumed": 1})
    assert [len(image.annotations) for image in dataset] == [1, 2, 0]
    assert [image.file_name for image in dataset] == [f"images/frame_{frame:06d}.PNG" for frame in range(3)]
    assert dataset.image(1).annotations[0].box == (5.0, 2.5, 15.0, 12.0)
    np.testing.assert_array_equal(dataset.image(1).annotations[1].keypoints, [[20.5, 10, 2], [30, 12, 1]])
    (path.parent / "images/frame_000001.PNG").unlink()
    refused(path, "frame_000001.PNG", "missing")
    path.write_text(TRACKS.replace('frame="0"', 'frame="x"'))
    (path.parent / "images/frame_000001.PNG").write_bytes(
        (path.parent / "images/frame_000000.PNG").read_bytes()
    )
    assert read_cvat(path).problems.texts()["shape without a frame left out"] == 1


def test_tracks_of_a_group_are_one_object(tmp_path: Path) -> None:
    path = write_tracks(tmp_path)
    shape = '<polygon frame="0" outside="0" points="{0},5;{1},5;{1},9;{0},9"></polygon>'
    tracks = [f'<track label="car" group_id="1">{shape.format(x, x + 9)}</track>' for x in (20, 40)]
    path.write_text(TRACKS.replace("</annotations>", "".join(tracks) + "</annotations>"))
    first, grouped = objects(read_cvat(path))
    assert first.polygons is None and grouped.box == (20.0, 5.0, 49.0, 9.0) and len(grouped.polygons) == 2


# ---- projects

IMAGE = '<image id="{}" name="{}"{} width="60" height="40">{}</image>'
BOX = '<box label="car" {} occluded="0" xtl="{}.00" ytl="2.50" xbr="{}.00" ybr="12.00" z_order="0"></box>'


def save(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)


def write_project(folder: Path, *subsets: str) -> Path:
    """Two images for each subset, whose names are the same in all; in the first image of subset N a box at
    4 + N.
    """
    text = "<annotations><meta><project><labels><label><name>car</name></label></labels></project></meta>"
    for position, subset in enumerate(subsets):
        save(folder, f"images/{subset}/a.png", f"images/{subset}/b.png")
        for name in ("a.png", "b.png"):
            box = BOX.format("", 4 + position, 14) if name == "a.png" else ""
            text += IMAGE.format(0, name, f' subset="{subset}" task_id="{position}"', box)
    (folder / "annotations.xml").write_text(text + "</annotations>")
    return folder / "annotations.xml"


def lefts(dataset: FileDataset) -> dict[str, list[float]]:
    """The left side of each box, by the name of its image."""
    return {image.file_name: [one.box[0] for one in image.annotations] for image in dataset}


@pytest.mark.parametrize("source", ["", "annotations.xml"])
def test_subsets_are_splits(tmp_path: Path, source: str) -> None:
    write_project(tmp_path, "Train", "Validation", "Test")
    splits = {"train": "Train", "val": "Validation", "test": "Test"}
    for position, (split, subset) in enumerate(splits.items()):
        assert has_cvat_split(tmp_path, split)
        expected = {f"images/{subset}/a.png": [4.0 + position], f"images/{subset}/b.png": []}
        assert lefts(claims.repaired(open_dataset(tmp_path / source, split))) == expected
    assert lefts(read_cvat(tmp_path)).keys() == {"images/Train/a.png", "images/Train/b.png"}


def test_subsets_that_are_no_splits(tmp_path: Path) -> None:
    path = write_project(tmp_path, "monday", "tuesday")
    assert len(claims.repaired(open_dataset(tmp_path, "train"))) == 4 and open_split(tmp_path, "val") is None
    claims.refused(lambda: read_cvat(path, "val"), path, "'val'", "monday, tuesday", error=UserError)
    write_project(tmp_path, "train", "tuesday")
    dataset = claims.repaired(open_dataset(tmp_path, "train"), "subset that is no split left out")
    assert len(dataset) == 2 and "'tuesday'" in dataset.problems.lines()[0]


@pytest.mark.parametrize("source", ["", "annotations.xml"])
def test_a_split_that_is_not_there(tmp_path: Path, source: str) -> None:
    """No other is taken for it."""
    write_project(tmp_path, "Test")
    claims.refused(lambda: open_dataset(tmp_path / source, "train"), "'train'", "only test", error=UserError)
    claims.refused(lambda: open_dataset(tmp_path / source, "val"), "'val'", "only test", error=UserError)
    assert len(open_dataset(tmp_path / source, "test")) == 2


def test_one_image_of_two_subsets(tmp_path: Path) -> None:
    """As when somebody empties the folders into images/."""
    path = write_project(tmp_path, "monday", "tuesday")
    for subset in ("monday", "tuesday"):
        (tmp_path / "images" / subset).rename(tmp_path / subset[:1])
    save(tmp_path, "images/a.png", "images/b.png")
    refused(path, "'monday'", "'tuesday'", "images/a.png", "restore the folders")


@pytest.mark.parametrize("subset", ["..", "../..", "/etc", "..\\..", "a/../../..", "C:"])
def test_subsets_that_leave_the_folder(tmp_path: Path, subset: str) -> None:
    save(tmp_path, "a.png", "frame_000000.PNG")
    path = write(tmp_path / "in", GOOD)
    path.write_text(path.read_text().replace('name="a.png"', f'name="a.png" subset="{subset}"'))
    assert read_cvat(path).image(0).path == tmp_path / "in/images/a.png"
    video = write_video_project(tmp_path / "video", {"3": "Train"})
    video.write_text(video.read_text().replace('subset="Train"', f'subset="{subset}"'))
    try:
        dataset = read_cvat(video)
    except DataError as error:
        claims.one_line(error)
    else:
        assert all(image.path.resolve().is_relative_to(tmp_path / "video") for image in dataset)


def test_frames_without_a_suffix(tmp_path: Path) -> None:
    """The frames of a video in "CVAT for images", and of two videos of one subset."""
    path = write(tmp_path, GOOD, name="frame_000000")
    save(tmp_path, "images/frame_000000.PNG")
    assert read_cvat(path).image(0).path == tmp_path / "images/frame_000000.PNG"
    image = path.read_text()[path.read_text().index("<image") : path.read_text().index("</annotations>")]
    path.write_text(path.read_text().replace(image, image + image))
    refused(path, "two images would be", "images/frame_000000.PNG", "export each task by itself")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_split_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    path = write_project(tmp_path, "Train", "Test")
    text = f'<?xml version="1.0" encoding="{encoding}"?>' + path.read_text().replace('"Test"', "'T&#101;st'")
    path.write_bytes(text.encode(encoding))
    assert has_cvat_split(path, "test") and not has_cvat_split(path, "val")
    assert len(read_cvat(path, "test")) == 2


def write_video_project(
    folder: Path, tasks: dict[str, str], meta: str = "", frames: int = 3, places: bool = True
) -> Path:
    """A video for each task, given with its subset; in frame 0 of task N a box at 4 + N."""
    text = (
        f"<annotations><meta><project>{meta}<labels><label><name>car</name></label></labels></project></meta>"
    )
    for position, (task, subset) in enumerate(tasks.items()):
        place = f"images/{subset}" if places else "images"
        save(folder, *(f"{place}/frame_{frame:06d}.PNG" for frame in range(frames)))
        box = BOX.format('frame="0"', 4 + position, 14) + BOX.format('frame="1" outside="1"', 4, 14)
        text += f'<track id="{position}" label="car" task_id="{task}" subset="{subset}">{box}</track>'
    (folder / "annotations.xml").write_text(text + "</annotations>")
    return folder / "annotations.xml"


def test_videos_of_a_project(tmp_path: Path) -> None:
    path = write_video_project(tmp_path, {"3": "Train", "4": "Test"})
    save(tmp_path, "images/Validation/frame_000000.PNG")  # of a task without an object
    for position, (split, subset) in enumerate({"train": "Train", "test": "Test"}.items()):
        frames = [f"images/{subset}/frame_{frame:06d}.PNG" for frame in range(3)]
        expected = {frames[0]: [4.0 + position], frames[1]: [], frames[2]: []}
        assert lefts(open_dataset(tmp_path, split)) == expected
    refused_split = "no object is usable"
    claims.refused(lambda: read_cvat(path, "val"), path, refused_split)


def test_videos_of_subsets_that_are_no_splits(tmp_path: Path) -> None:
    path = write_video_project(tmp_path, {"3": "monday", "4": "tuesday"})
    found = lefts(read_cvat(path))
    assert len(found) == 6 and found["images/tuesday/frame_000000.PNG"] == [5.0]


TASK = "<task><id>{}</id><size>{}</size><start_frame>{}</start_frame><subset>{}</subset></task>"


def test_one_frame_of_two_tasks(tmp_path: Path) -> None:
    for number, (tasks, places) in enumerate(
        [({"3": "Train", "4": "Train"}, True), ({"3": "Train", "4": "Test"}, False)]
    ):
        path = write_video_project(tmp_path / str(number), tasks, places=places)
        refused(path, "tasks '3' and '4'", "frame 0", "export each by itself")


def test_one_frame_of_a_task_without_objects(tmp_path: Path) -> None:
    """Its video was written over the other's."""
    meta = "<tasks>" + TASK.format(3, 3, 0, "Train") + TASK.format(4, 3, "{}", "Train") + "</tasks>"
    refused(write_video_project(tmp_path, {"3": "Train"}, meta.format(0)), "tasks '3' and '4'", "frame 0")
    assert len(read_cvat(write_video_project(tmp_path, {"3": "Train"}, meta.format(3), frames=6))) == 6


def test_videos_in_a_folder_that_is_named(tmp_path: Path) -> None:
    path = write_video_project(tmp_path / "project", {"3": "Train"})
    (tmp_path / "project/images").rename(tmp_path / "frames")
    dataset = read_cvat(path, image_folder=tmp_path / "frames")
    assert [image.file_name for image in dataset] == [f"Train/frame_{frame:06d}.PNG" for frame in range(3)]


def test_tracks_over_images_that_are_no_frames(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "video")
    for frame in (path.parent / "images").iterdir():
        frame.rename(frame.with_name(f"street{frame.stem[-1]}.png"))
    refused(path, "none of 3 images", "CVAT for images 1.1")


def subjects(folder: Path) -> list[Subject]:
    path = write(folder, GOOD + FACE.format('group_id="3"'))
    video = write_tracks(folder / "video")
    project = write_video_project(folder / "project", {"3": "Train", "4": "Test"})
    return [Subject(one.parent, one, read_cvat, looks_like_cvat, [one]) for one in (path, video, project)]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_images_of_fiftyone_lie_in_data(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    (tmp_path / "images").rename(tmp_path / "data")
    labels = path.rename(tmp_path / "labels.xml")
    assert read_cvat(labels).image(0).path == tmp_path / "data" / "a.png"

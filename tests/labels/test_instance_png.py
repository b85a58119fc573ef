"""Label images of instance ids."""

from __future__ import annotations

import json
import shutil
import time
import warnings
import zlib
from pathlib import Path

import claims
import numpy as np
import pytest
from fuzz import Subject, bounded, check_spoilt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

from maskrcnn.cli.main import main
from maskrcnn.errors import UserError
from maskrcnn.images.header import upright_size
from maskrcnn.labels.image_files import check_sizes
from maskrcnn.labels.open import open_dataset, open_pair
from maskrcnn.labels.options import LabelOptions
from maskrcnn.labels.readers.instance_png import looks_like_instance_png, read_instance_labels
from maskrcnn.labels.readers.label_image import read_ids, rles_by_id
from maskrcnn.labels.readers.mask_folders import looks_like_mask_folders
from maskrcnn.masks.rle import rle_area, rle_bitmap, rle_box

SHARED = Path(__file__).parents[3] / "shared"


def save(folder: Path, stem: str, ids: np.ndarray, image: str = ".png") -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (ids.shape[1], ids.shape[0])).save(folder / "images" / f"{stem}{image}")
    Image.fromarray(ids).save(folder / "labels" / f"{stem}.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_a_tiff_on_its_side(dtype: type, tmp_path: Path) -> None:
    """Pillow 12.2 to 13.0 maps it into memory by the size that it has after it is turned."""
    ids = np.arange(6 * 9).reshape(6, 9).astype(dtype)
    Image.fromarray(np.ascontiguousarray(np.rot90(ids))).save(tmp_path / "a.tif", tiffinfo={0x0112: 6})
    assert np.array_equal(read_ids(tmp_path / "a.tif", (6, 9)), ids)


def one_object(height: int = 8, width: int = 10, value: int = 40_000) -> np.ndarray:
    ids = np.zeros((height, width), dtype=np.uint16)
    ids[2:5, 3:9] = value
    return ids


def refused(folder: Path, *words: str) -> None:
    claims.refused(lambda: check_sizes(read_instance_labels(folder)), *words)


def test_images_and_their_labels(tmp_path: Path) -> None:
    ids = one_object()
    ids[7, 9] = 2
    save(tmp_path, "b", ids, ".jpg")
    save(tmp_path, "a", np.zeros((4, 5), dtype=np.uint8))
    dataset = read_instance_labels(tmp_path)
    assert dataset.classes == ["object"] and dataset.class_ids == [1] and not dataset.problems
    empty, image = dataset
    assert (empty.image_id, empty.file_name, empty.annotations) == (1, "a.png", [])
    assert (image.image_id, image.file_name, image.height, image.width) == (2, "b.jpg", 8, 10)
    assert [a.box for a in image.annotations] == [(9, 7, 10, 8), (3, 2, 9, 5)]
    assert [a.area for a in image.annotations] == [1, 18] and [a.id for a in image.annotations] == [1, 2]
    assert dataset.pixels(1).shape == (8, 10, 3)


@pytest.mark.parametrize("suffix", [".jfif", ".avif", ".gif", ".JPG"])
def test_every_format_that_is_read_is_an_image(suffix: str, tmp_path: Path) -> None:
    save(tmp_path, "a", one_object(), suffix)
    assert [image.file_name for image in read_instance_labels(tmp_path)] == [f"a{suffix}"]


def test_the_class_is_a_setting_and_not_in_the_path(tmp_path: Path) -> None:
    save(tmp_path / "Nuclei/train", "a", one_object())
    assert open_dataset(tmp_path / "Nuclei", "train").classes == ["object"]
    assert open_dataset(tmp_path / "Nuclei", "train", options=LabelOptions("cell")).classes == ["cell"]


def test_a_split_keeps_the_class_that_is_named(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        save(tmp_path / "cells", stem, one_object())
    out = tmp_path / "split"
    assert main(["split", str(tmp_path / "cells"), "--class", "cell", "--val", "0.5", "--out", str(out)]) == 0
    names = [open_dataset(out / f"{part}.json").classes for part in ("train", "val")]
    assert names == [["cell"], ["cell"]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, bool])
def test_depths(tmp_path: Path, dtype: type) -> None:
    save(tmp_path, "a", one_object())
    (tmp_path / "labels/a.png").unlink()
    # Pillow writes 32 bits as TIFF only
    Image.fromarray(one_object(value=200).astype(dtype)).save(tmp_path / "labels/a.tiff")
    assert len(read_instance_labels(tmp_path).image(0).annotations) == 1


def test_palette_indices_are_ids(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    label = Image.fromarray(one_object(value=3).astype(np.uint8), mode="P")
    label.putpalette([0, 0, 0] * 4)
    label.save(tmp_path / "labels/a.png")
    assert len(read_instance_labels(tmp_path).image(0).annotations) == 1


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 5, 65535])
    )
)
def test_rles_are_the_pixels_of_each_id(ids: np.ndarray) -> None:
    rles = list(rles_by_id(ids).values())
    values = [value for value in np.unique(ids) if value]
    assert len(rles) == len(values)
    for value, rle in zip(values, rles, strict=True):
        np.testing.assert_array_equal(rle_bitmap(rle), ids == value)
        rows, columns = np.nonzero(ids == value)
        assert rle_box(rle) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert rle_area(rle) == len(rows)


def test_image_without_labels_is_left_out_and_counted(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    save(tmp_path, "b", one_object())
    (tmp_path / "labels/a.png").unlink()
    dataset = read_instance_labels(tmp_path)
    assert len(dataset) == 1 and dataset.problems.texts() == {"image without labels left out": 1}
    assert "'a.png'" in dataset.problems.lines()[0]


def test_labels_without_a_image(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    save(tmp_path, "b", one_object())
    (tmp_path / "images/b.png").unlink()
    refused(tmp_path, "1 label image without", "'b.png'")


@pytest.mark.parametrize("alpha", [False, True])
def test_colours_are_ids(tmp_path: Path, alpha: bool) -> None:
    """Each colour but black is an object, and what is transparent is none."""
    colours = np.zeros((20, 30, 3 + alpha), dtype=np.uint8)
    colours[..., 3:] = 255
    colours[2:8, 3:9, :3] = (255, 0, 0)
    colours[10:18, 3:9, :3] = (0, 255, 0)
    colours[10:18, 12:20, :3] = (255, 255, 1)
    colours[0:2, 20:, :3] = 9
    if alpha:
        colours[0:2, 20:, 3] = 0
    save(tmp_path, "a", colours)
    dataset = read_instance_labels(tmp_path)
    boxes = [(3, 2, 9, 8), (3, 10, 9, 18), (12, 10, 20, 18)] + [(20, 0, 30, 2)] * (not alpha)
    assert {a.box for a in dataset.image(0).annotations} == set(boxes) and not dataset.problems


def test_the_void_colour_is_no_object(tmp_path: Path) -> None:
    colours = np.full((20, 30, 3), (224, 224, 192), dtype=np.uint8)
    colours[2:8, 3:9] = (255, 0, 0)
    save(tmp_path, "a", colours)
    dataset = read_instance_labels(tmp_path)
    assert [a.box for a in dataset.image(0).annotations] == [(3, 2, 9, 8)]
    assert dataset.problems.texts() == {"region of VOC's void colour 224,224,192 left out": 1}


def test_the_border_in_the_palette_of_voc_is_no_object(tmp_path: Path) -> None:
    """As labelme2voc and VOC write SegmentationObject; in another palette 255 is a number as any."""
    save(tmp_path, "a", one_object())
    ids = one_object(value=1).astype(np.uint8)
    ids[0] = 255
    label = Image.fromarray(ids, mode="P")
    for border, count in (((224, 224, 192), 1), ((255, 255, 255), 2)):
        label.putpalette([0] * 765 + list(border))
        label.save(tmp_path / "labels/a.png")
        dataset = read_instance_labels(tmp_path)
        assert len(dataset.image(0).annotations) == count and len(dataset.problems) == 2 - count


def test_no_background(tmp_path: Path) -> None:
    """As of ilastik, whose background is 1: it is read as an object, and told."""
    save(tmp_path, "a", one_object(value=1) + np.uint16(1))
    save(tmp_path, "b", one_object())
    dataset = read_instance_labels(tmp_path)
    assert dataset.problems.texts() == {"label image without a pixel of background": 1}


def test_colours_that_run_into_each_other(tmp_path: Path) -> None:
    """A photo, or objects with smooth edges: each shade would be an object."""
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    save(tmp_path, "a", noise)
    refused(tmp_path, "a.png", "600 colours", "16-bit PNG")
    disc = Image.new("RGB", (400, 400))
    ImageDraw.Draw(disc).ellipse((60, 60, 340, 340), fill=(0, 200, 80))
    save(tmp_path, "a", np.asarray(disc.resize((40, 40), Image.Resampling.LANCZOS)))
    refused(tmp_path, "a.png", "colours", "16-bit PNG")


def test_a_mask_of_the_foreground(tmp_path: Path) -> None:
    """255 for all objects: they are one, which is said with the number of parts, or split."""
    ids = np.zeros((20, 30), dtype=np.uint8)
    ids[2:5, 2:5] = ids[10:14, 2:6] = ids[10:14, 20:29] = 255
    ids[5, 5] = 255  # touches a part at a corner
    for stem in ("a", "b"):
        save(tmp_path, stem, ids)
    dataset = read_instance_labels(tmp_path)
    assert dataset.problems.texts() == {"separate parts that share a number": 6}
    assert "255" in dataset.problems.lines()[0] and "--split-parts" in dataset.problems.lines()[0]
    assert [len(dataset.image(index).annotations) for index in range(2)] == [1, 1]
    for stem, mode in (("a", "1"), ("b", "L")):
        Image.fromarray(ids).convert(mode).save(tmp_path / f"labels/{stem}.png")
    dataset = open_dataset(tmp_path, options=LabelOptions(split_parts=True))
    assert not dataset.problems
    for index in range(2):
        boxes = [a.box for a in dataset.image(index).annotations]
        assert boxes == [(2, 2, 6, 6), (2, 10, 6, 14), (20, 10, 29, 14)]


def test_an_object_in_two_parts_among_whole_ones(tmp_path: Path) -> None:
    """As behind a pole; with other objects whole it is what was meant."""
    ids = one_object(20, 30, 1)
    ids[10:14, 2:6] = ids[10:14, 8:12] = 2
    save(tmp_path, "a", ids)
    dataset = read_instance_labels(tmp_path)
    assert not dataset.problems and len(dataset.image(0).annotations) == 2


def test_classes_in_place_of_numbers(tmp_path: Path) -> None:
    ids = np.zeros((20, 30), dtype=np.uint8)
    ids[1:4, 1:4] = ids[1:4, 11:14] = 1
    ids[10:14, 1:4] = ids[10:14, 11:14] = ids[10:14, 21:24] = 2
    save(tmp_path, "a", ids)
    assert read_instance_labels(tmp_path).problems.texts() == {"separate parts that share a number": 5}


def test_labels_that_are_a_stack(tmp_path: Path) -> None:
    """Of which Pillow would read the first page."""
    save(tmp_path, "a", one_object())
    (tmp_path / "labels/a.png").unlink()
    page = Image.fromarray(one_object())
    page.save(tmp_path / "labels/a.tif", save_all=True, append_images=[page, page])
    refused(tmp_path, "labels/a.tif", "stack of 3 pages")


@pytest.mark.parametrize("images", ["images", "imgs", "IMG", "Image"])
@pytest.mark.parametrize("labels", ["labels", "Masks", "mask", "gt", "annotations"])
def test_folders_of_other_names(images: str, labels: str, tmp_path: Path) -> None:
    for stem in ("a", "b"):
        save(tmp_path, stem, one_object())
    (tmp_path / "images").rename(tmp_path / images)
    (tmp_path / "labels").rename(tmp_path / labels)
    dataset = open_dataset(tmp_path)
    assert [len(image.annotations) for image in dataset] == [1, 1] and not dataset.problems
    assert dataset.pixels(0).shape == (8, 10, 3)


@pytest.mark.parametrize("suffix", [".gif", ".bmp"])
def test_palettes_without_an_order(suffix: str, tmp_path: Path) -> None:
    """Carvana's GIFs: colours count, not their places in the palette; black is background."""
    save(tmp_path, "a", one_object())
    (tmp_path / "labels/a.png").unlink()
    indices = np.ones(one_object().shape, np.uint8)
    indices[1:4, 1:5], indices[5:8, 1:5] = 0, 2
    image = Image.fromarray(indices, "P")
    image.putpalette([255, 0, 0, 0, 0, 0, 0, 255, 0])
    image.save(tmp_path / "labels" / f"a_mask{suffix}")
    assert [a.area for a in read_instance_labels(tmp_path).image(0).annotations] == [12, 12]


def test_what_is_transparent_in_a_gif(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    (tmp_path / "labels/a.png").unlink()
    image = Image.fromarray(np.where(one_object() > 0, 1, 3).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 9, 9, 9])
    image.save(tmp_path / "labels/a.gif", transparency=3)
    assert len(read_instance_labels(tmp_path).image(0).annotations) == 1
    image.save(tmp_path / "labels/a.gif", save_all=True, append_images=[Image.new("P", image.size)])
    refused(tmp_path, "a.gif", "a stack of 2 pages")


@pytest.mark.parametrize(
    ("images", "labels"), [("JPEGImages", "Masks"), ("raw", "mask_images"), ("inputs", "targets")]
)
def test_other_names_of_the_folders(images: str, labels: str, tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    (tmp_path / "labels/a.png").rename(tmp_path / "labels/a.jpg.png")
    (tmp_path / "images").rename(tmp_path / images)
    (tmp_path / "labels").rename(tmp_path / labels)
    assert len(open_dataset(tmp_path).image(0).annotations) == 1


def test_label_images_with_names_of_their_own(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    (tmp_path / "labels").rename(tmp_path / "masks")
    (tmp_path / "masks/a.png").rename(tmp_path / "masks/of_a.png")
    words = ("'masks/of_a.png' beside 'images/a.png'", "give each the name of its image")
    claims.refused(lambda: open_dataset(tmp_path), *words, error=UserError)


def test_a_second_folder_of_label_images(tmp_path: Path) -> None:
    """One is read, and the other is told."""
    save(tmp_path, "a", one_object())
    shutil.copytree(tmp_path / "labels", tmp_path / "mask")
    dataset = read_instance_labels(tmp_path)
    assert dataset.problems.texts() == {"second folder of label images left out": 1}
    assert "'mask'" in dataset.problems.lines()[0]


@pytest.mark.parametrize(
    ("suffix", "words"),
    [(".jpg", ["compression", "PNG or TIFF"]), (".webp", ["compression", "PNG"]), (".mat", ["numpy.save"])],
)
def test_label_images_in_formats_that_are_not_read(suffix: str, words: list[str], tmp_path: Path) -> None:
    """Also of one image only: it would be left out."""
    for stem in ("a", "b"):
        save(tmp_path, stem, one_object())
    for stem in ("b", "a"):
        (tmp_path / f"labels/{stem}.png").unlink()
        (tmp_path / f"labels/{stem}{suffix}").write_bytes(b"")
        assert looks_like_instance_png(tmp_path)
        refused(tmp_path, "labels", f"'{stem}{suffix}'", *words)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_arrays(dtype: type, tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    (tmp_path / "labels/a.png").unlink()
    path = tmp_path / "labels/a.npy"
    np.save(path, one_object(value=7).astype(dtype))
    assert [a.box for a in open_dataset(tmp_path).image(0).annotations] == [(3, 2, 9, 5)]
    for wrong, words in (
        (np.zeros((8, 9)), ("a.npy", "10 x 8", "9 x 8")),
        (np.zeros((8, 10, 2)), ("a.npy", "2 channels")),
        (one_object() / np.float32(7), ("a.npy", "float32")),
        (one_object().astype(np.int32) - 1, ("a.npy", "below 0")),
        (np.array([{}]), ("a.npy", "cannot be decoded")),
    ):
        np.save(path, wrong)
        refused(tmp_path, *words)


def test_a_mask_with_smooth_edges(tmp_path: Path) -> None:
    """As of a mask that was a JPEG: each grey would be an object."""
    disc = Image.new("L", (400, 400))
    ImageDraw.Draw(disc).ellipse((60, 60, 340, 340), fill=255)
    save(tmp_path, "a", np.asarray(disc.resize((40, 40), Image.Resampling.LANCZOS)))
    refused(tmp_path, "a.png", "smooth edges", "plain number")


def test_label_images_that_were_smoothed(tmp_path: Path) -> None:
    """Each number between two would be an object."""
    ids = np.zeros((24, 32), np.uint8)
    ids[3:12, 3:12], ids[3:12, 16:28], ids[14:22, 5:25] = 60, 120, 200
    save(tmp_path, "a", np.asarray(Image.fromarray(ids).resize((96, 72), Image.Resampling.BICUBIC)))
    refused(tmp_path, "the label image of 'a.png'", "several parts", "nearest neighbour")


@pytest.mark.parametrize("name", ["labels.json", "annotations/instances_default.json"])
def test_labels_of_coco_beside_label_images(name: str, tmp_path: Path) -> None:
    """Label images have no classes, and the .json was passed over without a word."""
    save(tmp_path, "a", one_object())
    (tmp_path / name).parent.mkdir(exist_ok=True)
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [3, 2, 6, 3], "area": 18, "iscrowd": 0}
    image = {"id": 1, "file_name": "a.png", "height": 8, "width": 10}
    categories = [{"id": 1, "name": "cat"}]
    document = {"images": [image], "annotations": [annotation], "categories": categories}
    (tmp_path / name).write_text(json.dumps(document))
    claims.refused(lambda: open_dataset(tmp_path), "instance-png and coco", "say which", error=UserError)
    assert open_dataset(f"instance-png:{tmp_path}").classes == ["object"]
    assert open_dataset(f"coco:{tmp_path}").classes == ["cat"]
    (tmp_path / name).write_text('{"camera": 1}')
    assert open_dataset(tmp_path).classes == ["object"]


def test_a_mask_for_each_object_in_one_folder(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    for number in "01":
        Image.fromarray(one_object()).save(tmp_path / f"labels/a_{number}.png")
    (tmp_path / "labels/a.png").unlink()
    refused(tmp_path, "'a_0.png'", "labels/a/")


@pytest.mark.parametrize("name", ["_classes.csv", "../class_dict.csv", "ADE_train_1_seg.png"])
def test_numbers_that_are_classes(name: str, tmp_path: Path) -> None:
    """Roboflow's semantic masks; all of a class would be one object."""
    save(tmp_path / "train", "a", one_object())
    (tmp_path / "train" / name).write_text("Pixel Value, Class\n0, background\n1, cat\n")
    refused(tmp_path / "train", "classes", "COCO JSON")


def test_class_maps_of_vistas(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    shutil.copytree(tmp_path / "labels", tmp_path / "instances")
    refused(tmp_path, "Mapillary Vistas", "panoptic_2018.json")


@pytest.mark.parametrize("name", ["labels", "masks"])
@pytest.mark.parametrize("mark", ["_mask", "_label", "_seg", "_cp_masks", "-MASK"])
def test_names_that_end_in_a_mark(name: str, mark: str, tmp_path: Path) -> None:
    for stem in ("a", "b_mask"):
        save(tmp_path, stem, one_object())
    (tmp_path / "labels/a.png").rename(tmp_path / f"labels/a{mark}.png")
    (tmp_path / "labels").rename(tmp_path / name)
    dataset = open_dataset(tmp_path)
    assert [image.file_name for image in dataset] == ["a.png", "b_mask.png"] and not dataset.problems
    Image.fromarray(one_object()).save(tmp_path / name / "a.png")
    refused(tmp_path, f"a{mark}.png", "'a.png'", "for the same image")


@pytest.mark.parametrize("name", ["masks", "train/masks"])
def test_folders_of_stardist(tmp_path: Path, name: str) -> None:
    """images/ and masks/, perhaps in train/ and test/; not a folder of masks for each image."""
    folder = (tmp_path / name).parent
    for stem in ("a", "b"):
        save(folder, stem, one_object())
    (folder / "labels").rename(folder / "masks")
    assert looks_like_instance_png(folder) and not looks_like_mask_folders(tmp_path)
    dataset = open_dataset(tmp_path, "train")
    assert [len(dataset.image(index).annotations) for index in range(2)] == [1, 1]


@pytest.mark.parametrize("name", ["labels", "masks"])
def test_a_folder_for_each_split(tmp_path: Path, name: str) -> None:
    """images/train/ and masks/train/, unless labels of another kind lie there."""
    for stem, split in (("a", "train"), ("b", "valid")):
        save(tmp_path / split, stem, one_object())
        for source, target in (("images", "images"), ("labels", name)):
            (tmp_path / target).mkdir(exist_ok=True)
            (tmp_path / split / source).rename(tmp_path / target / split)
        (tmp_path / split).rmdir()
    train, val = open_pair(tmp_path, options=LabelOptions(split_parts=True))
    assert val is not None and [image.file_name for image in (*train, *val)] == ["a.png", "b.png"]
    assert train.pixels(0).shape == (8, 10, 3) and len(val.image(0).annotations) == 1
    (tmp_path / "train.json").write_text("{}")
    assert not looks_like_instance_png(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels"), [("{}_images", "{}_masks"), ("{}", "{}_masks"), ("{}_Images", "{}_labels")]
)
def test_folders_named_after_split_and_kind(images: str, labels: str, tmp_path: Path) -> None:
    """train_images/ and train_masks/, and Carvana's train/ and train_masks/ with NAME_mask."""
    for stem, split in (("a", "train"), ("b", "val")):
        save(tmp_path / "made", stem, one_object())
        (tmp_path / "made/labels" / f"{stem}.png").rename(tmp_path / "made/labels" / f"{stem}_mask.png")
        (tmp_path / "made/images").rename(tmp_path / images.format(split))
        (tmp_path / "made/labels").rename(tmp_path / labels.format(split))
    (tmp_path / "made").rmdir()
    train, val = open_pair(tmp_path)
    assert val is not None and [image.file_name for image in (*train, *val)] == ["a.png", "b.png"]
    assert train.pixels(0).shape == (8, 10, 3) and len(val.image(0).annotations) == 1


def test_floats_of_imagej(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    (tmp_path / "labels/a.png").unlink()
    path = tmp_path / "labels/a.tif"
    Image.fromarray(one_object().astype(np.float32)).save(path)
    ids = read_ids(path, tmp_path / "images/a.png")
    assert ids.dtype == np.int32 and np.array_equal(ids, one_object())
    for wrong in (0.5, np.nan, np.inf, 2.0**25):
        Image.fromarray(np.where(one_object(), wrong, 0).astype(np.float32)).save(path)
        refused(tmp_path, "labels/a.tif", "whole numbers", "16-bit PNG")


def test_a_tiff_of_64_bits(tmp_path: Path) -> None:
    """As NumPy's whole numbers are saved; Pillow does not read it."""
    save(tmp_path, "a", one_object())
    (tmp_path / "labels/a.png").unlink()
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "labels/a.tif", one_object().astype(np.int64))
    refused(tmp_path, "labels/a.tif", "not readable", "save it as 16-bit TIFF or PNG")


def test_size_that_disagrees(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    Image.new("RGB", (11, 8)).save(tmp_path / "images/a.png")
    refused(tmp_path, "a.png", "11 x 8", "10 x 8")


def test_damaged_labels(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    label = tmp_path / "labels/a.png"
    label.write_bytes(label.read_bytes()[:50])
    refused(tmp_path, "labels/a.png", "not readable")


def test_labels_that_claim_to_be_huge(tmp_path: Path) -> None:
    """A header of 160 million pixels, and few bytes: not decoded, since its image is 10 x 8."""
    save(tmp_path, "a", one_object())
    path = tmp_path / "labels/a.png"
    data = bytearray(path.read_bytes())
    data[20:24] = (16_000_000).to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with bounded(megabytes=50):
        refused(tmp_path, "labels/a.png", "10 x 8", "10 x 16000000")


def test_large_labels_without_a_warning(tmp_path: Path) -> None:
    """Pillow warns of images that we allow, by two lines on the terminal for each."""
    save(tmp_path, "a", one_object())
    Image.new("1", (9_500, 9_500)).save(tmp_path / "labels/a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_ids(tmp_path / "labels/a.png", (9_500, 9_500)).shape == (9_500, 9_500)
        assert upright_size(tmp_path / "labels/a.png") == (9_500, 9_500)


def test_two_images_of_one_stem(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    save(tmp_path, "a", one_object(), ".jpg")
    refused(tmp_path, "'a.jpg'", "'a.png'", "stem")


def test_nothing_labelled(tmp_path: Path) -> None:
    refused(tmp_path, "images", "no such folder")
    save(tmp_path, "a", np.zeros((4, 5), dtype=np.uint8))
    refused(tmp_path, "0 everywhere")
    (tmp_path / "labels/a.png").unlink()
    refused(tmp_path, "empty data set")


def subjects(folder: Path) -> list[Subject]:
    ids = one_object()
    ids[6:8, 1:3] = 7
    save(folder, "a", ids)
    save(folder, "b", np.zeros((4, 5), dtype=np.uint8))
    spoilt = [folder / name for name in ("labels/a.png", "labels/b.png", "images/a.png")]
    return [Subject(folder, folder, read_instance_labels, looks_like_instance_png, spoilt, by_folder=True)]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
def test_real_nuclei() -> None:
    begin = time.process_time()
    dataset = read_instance_labels(SHARED / "data/nuclei/val")
    assert time.process_time() - begin < 5
    assert len(dataset) == 66 and dataset.classes == ["object"] and not dataset.problems
    image = dataset.image(0)
    assert dataset.pixels(0).shape == (image.height, image.width, 3)
    ids = np.asarray(Image.open(SHARED / "data/nuclei/val/labels" / image.file_name))
    assert len(image.annotations) == len(np.unique(ids[ids > 0]))


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_tiff_whose_0_is_white_has_the_numbers_that_others_read(
    tmp_path: Path, compression: str | None
) -> None:
    """As ImageJ writes masks."""
    tifffile = pytest.importorskip("tifffile")
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    ids = np.zeros((20, 30), np.uint8)
    ids[2:6, 3:9], ids[10:15, 1:4] = 255, 7
    Image.new("RGB", (30, 20)).save(tmp_path / "images" / "a.png")
    tifffile.imwrite(tmp_path / "labels" / "a.tif", ids, photometric="miniswhite", compression=compression)
    (image,) = read_instance_labels(tmp_path)
    assert [a.box for a in image.annotations] == [(1, 10, 4, 15), (3, 2, 9, 6)]


@pytest.mark.parametrize(
    ("dtype", "metadata", "words"),
    [
        (np.uint8, {}, "a stack of 3 slices"),
        (np.uint16, {}, "a stack of 3 slices"),
        (np.uint16, None, "16 bits in each channel"),  # whoever wrote it does not say what it is
    ],
)
def test_slices_are_no_colours(tmp_path: Path, dtype: type, metadata: dict | None, words: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "images" / "a.png")
    slices = np.ones((3, 20, 30), dtype)
    tifffile.imwrite(tmp_path / "labels" / "a.tif", slices, photometric="rgb", metadata=metadata)
    claims.refused(lambda: read_instance_labels(tmp_path), words)

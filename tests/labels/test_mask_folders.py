"""A folder for each image with a mask image for each object, as in the Data Science Bowl 2018."""

from __future__ import annotations

from pathlib import Path

import claims
import numpy as np
import pytest
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.labels.open import open_dataset, open_pair
from maskrcnn.labels.readers.mask_folders import looks_like_mask_folders, read_mask_folders
from maskrcnn.masks.rle import rle_bitmap

HEIGHT, WIDTH = 20, 30


def bitmap(x: int, y: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[y : y + 6, x : x + 8] = 255
    mask[y + 2, x + 3] = 0  # a hole
    return mask


def write(folder: Path) -> Path:
    """Two images, one of them without an object."""
    for name, masks in (("a1", {"m1": bitmap(1, 2), "m2": bitmap(15, 9)}), ("b2", {})):
        (folder / name / "images").mkdir(parents=True)
        (folder / name / "masks").mkdir()
        Image.new("RGBA", (WIDTH, HEIGHT)).save(folder / name / "images" / f"{name}.png")
        for mask, pixels in masks.items():
            Image.fromarray(pixels).save(folder / name / "masks" / f"{mask}.png")
    return folder


def refused(folder: Path, *words: str) -> None:
    claims.refused(lambda: read_mask_folders(folder), *words)


def test_a_good_folder(tmp_path: Path) -> None:
    write(tmp_path)
    assert looks_like_mask_folders(tmp_path) and not looks_like_mask_folders(tmp_path / "a1")
    dataset = read_mask_folders(tmp_path)
    assert dataset.classes == ["object"] and dataset.class_ids == [1] and not dataset.problems
    first, second = dataset
    assert (first.image_id, first.file_name) == (1, "a1/images/a1.png") and second.annotations == []
    assert [a.box for a in first.annotations] == [(1.0, 2.0, 9.0, 8.0), (15.0, 9.0, 23.0, 15.0)]
    np.testing.assert_array_equal(rle_bitmap(first.annotations[0].rle), bitmap(1, 2) != 0)
    assert first.annotations[1].area == 47.0


@pytest.mark.parametrize("place", ["{1}/{0}", "{0}_{1}"])
def test_splits_of_masks_in_folders_of_their_images(place: str, tmp_path: Path) -> None:
    """images/train/ID.png and masks/train/ID/*.png."""
    write(tmp_path / "dsb")
    for split, stem in (("train", "a1"), ("val", "b2")):
        images, masks = (tmp_path / place.format(split, kind) for kind in ("images", "masks"))
        masks.mkdir(parents=True)
        images.parent.mkdir(exist_ok=True)
        (tmp_path / "dsb" / stem / "images").rename(images)
        (tmp_path / "dsb" / stem / "masks").rename(masks / stem)
    Image.fromarray(bitmap(2, 3)).save(tmp_path / place.format("val", "masks") / "b2/m1.png")
    train, val = open_pair(tmp_path)
    assert val is not None and [len(image.annotations) for image in (*train, *val)] == [2, 1]
    assert train.pixels(0).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("names", [("images", "masks"), ("imgs", "Labels")])
def test_masks_in_folders_of_their_images(names: tuple[str, str], tmp_path: Path) -> None:
    """images/ID.png and masks/ID/*.png."""
    write(tmp_path / "dsb")
    for kind, name in zip(("images", "masks"), names, strict=True):
        for stem in ("a1", "b2"):
            place = tmp_path / "set" / name / stem
            place.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "dsb" / stem / kind).rename(place)
    for stem in ("a1", "b2"):
        (tmp_path / "set" / names[0] / stem / f"{stem}.png").rename(
            tmp_path / "set" / names[0] / f"{stem}.png"
        )
        (tmp_path / "set" / names[0] / stem).rmdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "set" / names[0] / "lone.png")
    dataset = open_dataset(tmp_path / "set")
    assert [len(image.annotations) for image in dataset] == [2, 0]
    assert dataset.problems.texts() == {"folder without masks left out": 1}
    (tmp_path / "set" / names[1] / "a1/m3.jpg").write_bytes(b"")
    refused(tmp_path / "set", "m3.jpg", "PNG or TIFF")
    (tmp_path / "set" / names[1] / "a1/m3.jpg").unlink()
    (tmp_path / "set" / names[0] / "b2.png").unlink()
    refused(tmp_path / "set", "1 folder of masks", "'b2'")


@pytest.mark.parametrize("name", ["dsb2018", "data-science-bowl-2018", "My_Nuclei", "windsbach"])
def test_the_class_does_not_depend_on_the_path(tmp_path: Path, name: str) -> None:
    assert read_mask_folders(write(tmp_path / name)).classes == ["object"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_masks_of_every_mode(tmp_path: Path, mode: str) -> None:
    write(tmp_path)
    mask = Image.fromarray(bitmap(1, 2))
    if mode == "I;16":
        mask = Image.fromarray(bitmap(1, 2).astype(np.uint16) * 256)
    mask.convert(mode).save(tmp_path / "a1/masks/m1.png")
    (image, _) = read_mask_folders(tmp_path)
    np.testing.assert_array_equal(rle_bitmap(image.annotations[0].rle), bitmap(1, 2) != 0)


def test_a_mask_without_a_pixel_and_a_folder_without_masks(tmp_path: Path) -> None:
    write(tmp_path)
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "a1/masks/m2.png")
    (tmp_path / "b2/masks").rmdir()
    dataset = read_mask_folders(tmp_path)
    assert len(dataset) == 1 and len(dataset.image(0).annotations) == 1
    assert (
        dataset.problems.texts()["mask without a pixel dropped"]
        == dataset.problems.texts()["folder without masks left out"]
        == 1
    )


def test_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none", "not readable as a folder")
    refused(tmp_path, "empty data set")
    write(tmp_path)
    Image.new("L", (WIDTH, HEIGHT + 1)).save(tmp_path / "a1/masks/m2.png")
    refused(tmp_path, "m2.png", "30 x 21", "30 x 20")
    (tmp_path / "a1/masks/m2.png").write_bytes(b"no image")
    refused(tmp_path, "m2.png", "not readable")
    (tmp_path / "a1/masks/m2.png").unlink()
    (tmp_path / "a1/masks/m2.png").symlink_to("/etc/hostname")
    refused(tmp_path, "symbolic link")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a1/images/other.png")
    refused(tmp_path, "2 images")


def test_a_mask_that_claims_to_be_huge(tmp_path: Path) -> None:
    path = write(tmp_path) / "a1/masks/m2.png"
    data = bytearray(path.read_bytes())
    data[16:24] = (2**31 - 1).to_bytes(4, "big") * 2
    path.write_bytes(data)
    refused(tmp_path, "m2.png")


def subjects(folder: Path) -> list[Subject]:
    write(folder)
    spoilt = [folder / name for name in ("a1/images/a1.png", "a1/masks/m1.png", "a1/masks/m2.png")]
    return [Subject(folder, folder, read_mask_folders, looks_like_mask_folders, spoilt, by_folder=True)]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_a_background_that_is_transparent(tmp_path: Path) -> None:
    """A GIF's background may have any colour."""
    write(tmp_path)
    path = tmp_path / "a1/masks/m1.png"
    image = Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8), "P")
    image.putpalette([9, 9, 9, 255, 0, 0])
    image.save(path.with_suffix(".gif"), transparency=0)
    path.unlink()
    assert read_mask_folders(tmp_path).image(0).annotations[0].area == 47.0


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_transparent_is_no_object(tmp_path: Path, mode: str) -> None:
    """White without opacity was read as an object as large as the image."""
    write(tmp_path)
    mask = Image.new(mode, (WIDTH, HEIGHT), "white")
    mask.putalpha(Image.fromarray(bitmap(1, 2)))
    mask.save(tmp_path / "a1/masks/m1.png")
    (image, _) = read_mask_folders(tmp_path)
    np.testing.assert_array_equal(rle_bitmap(image.annotations[0].rle), bitmap(1, 2) != 0)


@pytest.mark.parametrize("suffix", [".gif", ".bmp"])
def test_masks_in_other_lossless_formats(suffix: str, tmp_path: Path) -> None:
    write(tmp_path)
    for path in tmp_path.glob("*/masks/*.png"):
        Image.open(path).save(path.with_suffix(suffix))
        path.unlink()
    assert [a.area for a in read_mask_folders(tmp_path).image(0).annotations] == [47.0, 47.0]


def test_two_images_of_one_name_are_refused_and_hidden_files_passed_over(tmp_path: Path) -> None:
    for name in ("a.png", "._a.png", "b.png"):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / name)
    (tmp_path / "masks" / "a").mkdir(parents=True)
    Image.fromarray(bitmap(1, 2)).save(tmp_path / "masks" / "a" / "1.png")
    dataset = read_mask_folders(tmp_path)
    assert dataset.problems.texts() == {"folder without masks left out": 1}  # of b.png
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / "a.jpg")
    refused(tmp_path, "'a.jpg' and 'a.png' share a stem")


def test_two_folders_of_masks_of_one_image_are_refused(tmp_path: Path) -> None:
    """Those of the first were left out."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / "a.png")
    for name in ("a", "a_masks"):
        (tmp_path / "masks" / name).mkdir(parents=True)
        Image.fromarray(bitmap(1, 2)).save(tmp_path / "masks" / name / "1.png")
    refused(tmp_path, "'a' and 'a_masks' are of one image", "merge them")

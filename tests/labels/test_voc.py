"""Pascal VOC: the devkit's folders with masks, LabelImg's files beside the images, and what both get
wrong.
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from claims import refused, repaired
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.detect import detect
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset, open_pair
from maskrcnn.labels.options import LabelOptions
from maskrcnn.labels.readers.label_image import voc_colour
from maskrcnn.labels.readers.voc import looks_like_voc, read_voc
from maskrcnn.labels.writers.left_out import LeftOut
from maskrcnn.labels.writers.voc import write_voc
from maskrcnn.masks.rle import rle_bitmap, rle_box

HEIGHT, WIDTH = 20, 30
OBJECT = """\t<object>
\t\t<name>{name}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox>
\t\t\t<xmin>{0}</xmin>
\t\t\t<ymin>{1}</ymin>
\t\t\t<xmax>{2}</xmax>
\t\t\t<ymax>{3}</ymax>
\t\t</bndbox>
\t</object>
"""
# class, and box xyxy as we have it
DOG, CAT, BIRD = ("dog", (3, 2, 13, 12)), ("cat", (0, 0, 30, 20)), ("dog", (20, 5, 21, 6))
NEAR_NAME = "image file of that name in other letters, or with another suffix, taken"
Scene = list[tuple[str, tuple[int, int, int, int]]]
SCENES: dict[str, Scene] = {"2007_000001": [DOG, CAT], "2007_000002": [], "2007_000003": [BIRD]}


def xml(stem: str, scene: Scene) -> str:
    """As the devkit and LabelImg write it: pixels from 1, the last one inside."""
    objects = "".join(OBJECT.format(x0 + 1, y0 + 1, x1, y1, name=name) for name, (x0, y0, x1, y1) in scene)
    return (
        f"<annotation>\n\t<folder>VOC2012</folder>\n\t<filename>{stem}.jpg</filename>\n"
        "\t<source>\n\t\t<database>The VOC2007 Database</database>\n\t</source>\n"
        f"\t<size>\n\t\t<width>{WIDTH}</width>\n\t\t<height>{HEIGHT}</height>\n\t\t<depth>3</depth>\n\t</size>\n"
        f"\t<segmented>1</segmented>\n{objects}</annotation>\n"
    )


def ids_of(scene: Scene) -> np.ndarray:
    """SegmentationObject: the first objects lie over the later ones, each in a border of void."""
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for number, (_, (x0, y0, x1, y1)) in reversed(list(enumerate(scene, start=1))):
        ids[y0:y1, x0:x1] = 255 if x1 - x0 > 2 else number
        ids[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = number
    return ids


def save_ids(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    label = Image.fromarray(ids, mode="P")
    label.putpalette([part for index in range(256) for part in voc_colour(index)])
    label.save(path)


class Devkit:
    """A VOCdevkit/VOC2012, to be spoilt by a test."""

    def __init__(self, folder: Path) -> None:
        self.devkit = folder / "VOCdevkit"
        self.root = self.devkit / "VOC2012"
        for name in (
            "Annotations",
            "JPEGImages",
            "SegmentationObject",
            "ImageSets/Main",
            "ImageSets/Segmentation",
        ):
            (self.root / name).mkdir(parents=True)
        for stem, scene in SCENES.items():
            Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9)).save(self.root / "JPEGImages" / f"{stem}.jpg")
            self.xml(stem).write_text(xml(stem, scene))
        save_ids(self.mask, ids_of(SCENES["2007_000001"]))

    def xml(self, stem: str = "2007_000001") -> Path:
        return self.root / "Annotations" / f"{stem}.xml"

    @property
    def mask(self) -> Path:
        return self.root / "SegmentationObject/2007_000001.png"

    def list(self, name: str, text: str) -> None:
        (self.root / "ImageSets" / f"{name}.txt").write_text(text)

    def replace(self, old: str, new: str, count: int = 1) -> None:
        text = self.xml().read_text()
        assert old in text
        self.xml().write_text(text.replace(old, new, count))

    def repaired(self, *kinds: str) -> FileDataset:
        return repaired(read_voc(self.root), *kinds)

    def refused(self, *words: str) -> None:
        refused(lambda: read_voc(self.root), *words)


@pytest.fixture
def devkit(tmp_path: Path) -> Devkit:
    return Devkit(tmp_path)


def check_scenes(dataset: FileDataset, scenes: dict[str, Scene]) -> None:
    assert [Path(image.file_name).stem for image in dataset] == sorted(scenes)
    for image in dataset:
        scene = scenes[Path(image.file_name).stem]
        assert (image.height, image.width) == (HEIGHT, WIDTH)
        assert [(dataset.classes[a.label], a.box) for a in image.annotations] == scene
        assert not any(a.crowd for a in image.annotations)


def test_the_devkit(devkit: Devkit) -> None:
    dataset = devkit.repaired()
    check_scenes(dataset, SCENES)
    assert dataset.classes == ["cat", "dog"] and dataset.class_ids == [1, 2] and len(dataset) == 3
    assert [a.id for image in dataset for a in image.annotations] == [1, 2, 3]
    ids = ids_of(SCENES["2007_000001"])
    for number, annotation in enumerate(dataset.image(0).annotations, start=1):
        np.testing.assert_array_equal(rle_bitmap(annotation.rle), ids == number)
        assert annotation.area == (ids == number).sum()
    (box_only,) = dataset.image(2).annotations
    assert box_only.rle is None and box_only.polygons is None and box_only.area == 1
    assert dataset.pixels(0).shape == (HEIGHT, WIDTH, 3)
    assert looks_like_voc(devkit.root) and looks_like_voc(devkit.devkit) and len(read_voc(devkit.devkit)) == 3


def test_what_we_write(devkit: Devkit, tmp_path: Path) -> None:
    dataset = devkit.repaired()
    write_voc({"train": dataset}, tmp_path / "ours", LeftOut())
    again = read_voc(tmp_path / "ours", "train")
    check_scenes(again, SCENES)
    assert not again.problems
    for ours, theirs in zip(again.image(0).annotations, dataset.image(0).annotations, strict=True):
        assert ours.rle == theirs.rle and ours.area == theirs.area


def test_a_class_image_of_more_than_254_classes_is_not_written(devkit: Devkit, tmp_path: Path) -> None:
    """Its numbers went round: class 300 was class 44."""
    dataset = devkit.repaired()
    info = replace(dataset.info, classes=[f"c{n}" for n in range(300)], class_ids=list(range(1, 301)))
    image = dataset.image(0)
    image.annotations[0].label = 299
    lost = LeftOut()
    write_voc({"train": FileDataset([image], info)}, tmp_path / "ours", lost)
    assert dict(lost.counts) == {"class image of classes beyond number 254": 1}
    assert not (tmp_path / "ours/SegmentationClass").exists()
    again = read_voc(tmp_path / "ours", "train")
    assert sorted(again.classes[a.label] for a in again.image(0).annotations) == ["c0", "c299"]


def test_several_devkits(devkit: Devkit) -> None:
    (devkit.devkit / "VOC2007/Annotations").mkdir(parents=True)
    with pytest.raises(UserError, match="VOC2007, VOC2012"):
        read_voc(devkit.devkit)
    assert not looks_like_voc(devkit.devkit)


def test_a_suffix_in_capitals(devkit: Devkit) -> None:
    for stem in SCENES:
        devkit.xml(stem).rename(devkit.xml(stem).with_suffix(".XML"))
    assert looks_like_voc(devkit.root)
    check_scenes(devkit.repaired(), SCENES)


def test_beside_the_images(tmp_path: Path) -> None:
    for stem, scene in SCENES.items():
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"{stem}.jpg")
        (tmp_path / f"{stem}.xml").write_text(xml(stem, scene))
    (tmp_path / "val").mkdir()
    (tmp_path / "val/other.xml").write_text("another split")
    (tmp_path / "classes.txt").write_text("dog\n")
    dataset = read_voc(tmp_path)
    check_scenes(dataset, SCENES)
    assert looks_like_voc(tmp_path) and not dataset.problems


def test_an_xml_file_of_another_name_than_its_image(tmp_path: Path) -> None:
    (stem, scene), *_ = SCENES.items()
    for name in (f"{stem} 1.jpg", "unlabelled.jpg"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / name)
    text = xml(stem, scene).replace(f"{stem}.jpg", f"{stem}%201.jpg")
    (tmp_path / f"{stem}%201.xml").write_text(text)
    kinds = ("image without an XML file left out", NEAR_NAME)
    dataset = repaired(read_voc(tmp_path), *kinds)
    assert [image.file_name for image in dataset] == [f"{stem} 1.jpg"]


def test_splits(devkit: Devkit) -> None:
    devkit.list("Main/train", "2007_000001\n2007_000002\n\n2007_000001\n")
    devkit.list("Main/val", "2007_000003\r\n")
    devkit.list("Segmentation/train", "2007_000001\n")
    devkit.list("Segmentation/trainval", "2007_000001\n")
    assert [p.file_name for p in read_voc(devkit.root, "train")] == ["2007_000001.jpg", "2007_000002.jpg"]
    assert [p.file_name for p in read_voc(devkit.root, "val")] == ["2007_000003.jpg"]
    assert (
        len(read_voc(devkit.root, "Segmentation/train")) == 1 and len(read_voc(devkit.root, "trainval")) == 1
    )
    with pytest.raises(UserError, match="Main/train, Main/val, Segmentation/train"):
        read_voc(devkit.root, "test")
    for hostile in ("../../secret", "Main/../../x", "/etc/passwd"):
        with pytest.raises(UserError):
            read_voc(devkit.root, hostile)


@pytest.mark.parametrize("names", [("Train", "Validation"), ("train", "valid")])
def test_lists_as_other_tools_call_them(devkit: Devkit, names: tuple[str, str]) -> None:
    devkit.list(f"Main/{names[0]}", "2007_000001\n2007_000002\n")
    devkit.list(f"Main/{names[1]}", "2007_000003\n")
    train, val = open_pair(devkit.root)
    assert val is not None and (len(train), len(val)) == (2, 1)


def test_a_folder_for_each_split(devkit: Devkit) -> None:
    """annotations/train/ and images/train/, without lists."""
    shutil.rmtree(devkit.root / "ImageSets")
    for name in ("Annotations", "JPEGImages"):
        for number, split in ((1, "train"), (3, "val"), (2, "odd")):
            (devkit.root / name / split).mkdir()
            for path in (devkit.root / name).glob(f"*{number}.*"):
                path.rename(devkit.root / name / split / path.name)
    train, val = open_pair(devkit.root)
    assert val is not None
    assert [p.file_name for p in (*train, *val)] == ["train/2007_000001.jpg", "val/2007_000003.jpg"]
    assert train.problems.texts() == {"subset that is no split left out": 1}


def test_a_split_that_names_what_is_not_there(devkit: Devkit) -> None:
    devkit.list("Main/train", "2007_000001\n../../etc/passwd\n2007_9\n")
    dataset = read_voc(devkit.root, "train")
    lost = {"image without an XML file left out": 2, "XML file that no list of ImageSets names left out": 2}
    assert len(dataset) == 1 and dataset.problems.texts() == lost
    devkit.list("Main/val", "2007_9\n")
    with pytest.raises(DataError, match="none of its names"):
        read_voc(devkit.root, "val")


def test_lists_of_classes(devkit: Devkit) -> None:
    for name in ("dog", "zebra"):
        devkit.list(f"Main/{name}_train", "2007_000001  1\n2007_000002 -1\n2007_000003  0\n")
    dataset = read_voc(devkit.root, "dog_train")
    assert [p.image_id for p in dataset] == [1, 2] and len(dataset) == 2
    assert dataset.classes == ["dog", "zebra", "cat"]
    (devkit.root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nemu:1,2,3::\ndog:::\n"
    )
    assert read_voc(devkit.root).classes == ["emu", "dog", "cat"]


def test_folders_in_folders(devkit: Devkit) -> None:
    for name in ("Annotations", "JPEGImages", "SegmentationObject"):
        folder = devkit.root / name
        (folder / "a").mkdir()
        for path in folder.glob("2007_000001.*"):
            path.rename(folder / "a" / path.name)
    dataset = devkit.repaired()
    assert (
        dataset.image(2).file_name == "a/2007_000001.jpg" and dataset.image(2).annotations[0].rle is not None
    )


@pytest.mark.parametrize("place", ["annotations/xmls", "labels", "xmls"])
def test_xmls_in_other_folders(devkit: Devkit, tmp_path: Path, place: str) -> None:
    """As of Oxford's pets, and of what people put together."""
    (tmp_path / "set" / place).parent.mkdir(parents=True)
    (devkit.root / "Annotations").rename(tmp_path / "set" / place)
    (devkit.root / "JPEGImages").rename(tmp_path / "set/images")
    assert detect(tmp_path / "set").name == "voc"
    check_scenes(repaired(read_voc(tmp_path / "set")), SCENES)


# ---- what is counted


def test_flags(devkit: Devkit) -> None:
    devkit.replace("<difficult>0", "<difficult>1")
    devkit.replace("<truncated>0", "<truncated>1")
    devkit.replace("Unspecified", "Left")
    check_scenes(
        devkit.repaired(
            "difficult flag of VOC not kept",
            "truncated or occluded flag of VOC not kept",
            "pose, parts, actions or attributes of VOC not kept",
        ),
        SCENES,
    )


def test_flags_that_say_nothing(devkit: Devkit) -> None:
    devkit.replace("<difficult>0", "<difficult>Unspecified")
    devkit.replace("<truncated>0", "<truncated>Unspecified")
    check_scenes(devkit.repaired(), SCENES)


def test_parts_and_polygons(devkit: Devkit) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part><polygon><x1>1</x1></polygon>"
    devkit.replace("</object>", f"{part}</object>")
    kinds = ("pose, parts, actions or attributes of VOC not kept", "polygon in the XML of VOC not kept")
    check_scenes(devkit.repaired(*kinds), SCENES)


def test_rotated_box(devkit: Devkit) -> None:
    devkit.replace("<bndbox>", "<robndbox>")
    devkit.replace("</bndbox>", "</robndbox>")
    dataset = devkit.repaired("rotated VOC box dropped")
    (cat,) = dataset.image(0).annotations
    assert dataset.classes[cat.label] == "cat" and rle_bitmap(cat.rle).any()


def test_object_without_a_class(devkit: Devkit) -> None:
    devkit.replace("<name>dog</name>", "<name> </name>")
    assert len(devkit.repaired("object without a class dropped").image(0).annotations) == 1


def test_fractions(devkit: Devkit) -> None:
    devkit.mask.unlink()
    devkit.replace("<xmin>4<", "<xmin>4.5<")
    assert devkit.repaired().image(0).annotations[0].box == (3.5, 2, 13, 12)


def test_a_set_counts_from_where_most_boxes_at_the_edge_begin(devkit: Devkit) -> None:
    """One box at 0 and one at 1: a slip of the first. Both at 0: the whole set counts from 0."""
    devkit.mask.unlink()
    devkit.replace("<xmin>4<", "<xmin>0<")
    slip = devkit.repaired("box clipped to the image")
    assert slip.image(0).annotations[0].box == (0, 2, 13, 12) and slip.image(2).annotations[0].box == BIRD[1]
    devkit.replace("<xmin>1<", "<xmin>0<")
    devkit.replace("<ymin>1<", "<ymin>0<")
    # BIRD is of one pixel: none, where the end is not in it
    dataset = devkit.repaired(*["VOC box of a set that counts from 0"] * 3, "zero-area box dropped")
    assert [a.box for a in dataset.image(0).annotations] == [(0, 3, 13, 12), (0, 0, 30, 20)]


@pytest.mark.parametrize("split", ["train", "val"])
def test_all_splits_count_from_where_the_whole_set_does(devkit: Devkit, split: str) -> None:
    """Boxes of val moved by a pixel where only those of train lie at the edge."""
    devkit.mask.unlink()
    devkit.list("Main/train", "2007_000001\n")
    devkit.list("Main/val", "2007_000002\n2007_000003\n")
    devkit.xml().write_text(xml("2007_000001", [("dog", (-1, -1, 20, 10)), ("cat", (-1, 4, 9, 9))]))
    devkit.xml("2007_000003").write_text(xml("2007_000003", [("dog", (9, 9, 20, 15))]))
    boxes = [a.box for image in read_voc(devkit.root, split) for a in image.annotations]
    assert boxes == {"train": [(0, 0, 20, 10), (0, 5, 9, 9)], "val": [(10, 10, 20, 15)]}[split]


def test_reversed_box(devkit: Devkit) -> None:
    devkit.replace("<xmin>4<", "<xmin>99<")
    devkit.replace("<xmax>13<", "<xmax>4<")
    devkit.replace("<xmin>99<", "<xmin>13<")
    check_scenes(devkit.repaired("reversed box swapped"), SCENES)


@pytest.mark.parametrize("value", ["", "four", "4,5"])
def test_box_that_is_none(devkit: Devkit, value: str) -> None:
    devkit.replace("<xmin>4<", f"<xmin>{value}<")
    annotation = devkit.repaired("missing box taken from the mask").image(0).annotations[0]
    assert annotation.box == (4, 3, 12, 11)
    devkit.mask.unlink()
    assert len(devkit.repaired("annotation without a usable box dropped").image(0).annotations) == 1


@pytest.mark.parametrize("value", ["nan", "inf", "-1e999", "1" + "0" * 400])
def test_box_that_is_not_finite(devkit: Devkit, value: str) -> None:
    devkit.replace("<xmin>4<", f"<xmin>{value}<")
    kind = "box without an area, or not of four finite numbers, taken from the mask"
    found = devkit.repaired(kind).image(0).annotations
    assert len(found) == len(SCENES["2007_000001"])
    assert sum(a.box == tuple(rle_box(a.rle)) for a in found if a.rle) == 1
    devkit.mask.unlink()
    devkit.repaired("non-finite coordinates dropped")


def test_huge_box(devkit: Devkit) -> None:
    devkit.replace("<xmax>13<", "<xmax>1e308<")
    assert devkit.repaired("box clipped to the image").image(0).annotations[0].box == (3, 2, 30, 12)


@pytest.mark.parametrize("alpha", [False, True])
def test_masks_in_the_colours_of_the_palette(devkit: Devkit, alpha: bool) -> None:
    """CVAT's VOC 1.1 writes them so: object 1 in 128,0,0, object 2 in 0,128,0, nobody knows in 224,224,192."""
    expected = [a.rle for a in devkit.repaired().image(0).annotations]
    ids = np.asarray(Image.open(devkit.mask))
    palette = np.zeros((256, 3), np.uint8)
    palette[[1, 2, 3, 255]] = [(128, 0, 0), (0, 128, 0), (128, 128, 0), (224, 224, 192)]
    assert set(np.unique(ids)) <= {0, 1, 2, 3, 255} and 255 in ids
    Image.fromarray(palette[ids]).convert("RGBA" if alpha else "RGB").save(devkit.mask)
    dataset = devkit.repaired()
    assert [a.rle for a in dataset.image(0).annotations] == expected and all(expected)
    check_scenes(dataset, SCENES)
    strange = palette[ids]
    strange[0, 0] = (1, 2, 3)
    Image.fromarray(strange).save(devkit.mask)
    devkit.refused("2007_000001.png", "the colour 1,2,3 is none of VOC's palette", "save the number")


def test_images_in_another_folder(devkit: Devkit, tmp_path: Path) -> None:
    expected = [image.annotations for image in read_voc(devkit.root)]
    (devkit.root / "JPEGImages").rename(tmp_path / "far")
    devkit.list("Main/train", "2007_000001\n")
    options = LabelOptions(images=tmp_path / "far")
    dataset = open_dataset(devkit.root, options=options)
    assert len(dataset) == 1 and dataset.pixels(0).shape == (HEIGHT, WIDTH, 3)
    assert str(dataset.image(0).annotations) == str(expected[0])
    assert len(read_voc(devkit.root, image_folder=tmp_path / "far")) == len(SCENES)


def test_masks_that_do_not_fit(devkit: Devkit) -> None:
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    ids[15, 20] = 1
    ids[0, 0] = 7
    save_ids(devkit.mask, ids)
    kinds = (
        "mask outside its box dropped",
        "mask without an object in the XML dropped",
        "object without pixels in its mask image keeps its box",
    )
    dataset = read_voc(devkit.root)
    assert dataset.problems.texts() == Counter(kinds)
    check_scenes(dataset, SCENES)
    assert not any(a.rle for a in dataset.image(0).annotations)


def test_missing_size(devkit: Devkit) -> None:
    devkit.replace(f"<width>{WIDTH}<", "<width>0<")
    check_scenes(devkit.repaired("missing image size read from the image"), SCENES)


def test_image_without_xml(devkit: Devkit) -> None:
    devkit.xml("2007_000002").unlink()
    assert len(devkit.repaired("image without an XML file left out")) == 2


def test_filename(devkit: Devkit) -> None:
    devkit.replace("<filename>2007_000001.jpg<", "<filename>C:\\x\\old.jpg<")
    check_scenes(devkit.repaired("filename in the XML that is not its image's passed over"), SCENES)
    (devkit.root / "JPEGImages/2007_000001.jpg").rename(devkit.root / "JPEGImages/old.jpg")
    devkit.refused("leaves the folder")
    devkit.replace("C:\\x\\old.jpg", "old.jpg")
    assert read_voc(devkit.root).image(0).file_name == "old.jpg"


def test_two_images_of_one_stem(devkit: Devkit) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(devkit.root / "JPEGImages/2007_000001.png")
    check_scenes(devkit.repaired(), SCENES)
    devkit.replace("<filename>2007_000001.jpg<", "<filename>a.jpg<")
    devkit.refused("2007_000001.png", "<filename>")


# ---- what is refused


def test_nothing_there(devkit: Devkit, tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path / "empty"):
        assert not looks_like_voc(folder)
        with pytest.raises(UserError):
            read_voc(folder)
        (tmp_path / "empty").mkdir(exist_ok=True)
    for stem in SCENES:
        devkit.xml(stem).write_text(xml(stem, []))
    devkit.mask.unlink()
    devkit.refused("no object")
    for stem in SCENES:
        devkit.xml(stem).unlink()
    devkit.refused("no XML file")


def test_missing_image(devkit: Devkit) -> None:
    (devkit.root / "JPEGImages/2007_000001.jpg").unlink()
    devkit.refused("1 of 3 image files", "2007_000001.jpg")


def test_size_that_disagrees(devkit: Devkit) -> None:
    devkit.mask.unlink()
    devkit.replace(f"<width>{WIDTH}<", "<width>31<")
    with pytest.raises(DataError, match=r"30 x 20 .* 31 x 20"):
        read_voc(devkit.root).pixels(0)


def test_mask_of_another_size(devkit: Devkit) -> None:
    save_ids(devkit.mask, np.ones((HEIGHT, WIDTH + 1), dtype=np.uint8))
    devkit.refused("SegmentationObject/2007_000001.png", "31 x 20", "30 x 20")


@pytest.mark.parametrize("value", ["1e308", "nan", "2.5", "9999999999"])
def test_impossible_size(devkit: Devkit, value: str) -> None:
    devkit.replace(f"<width>{WIDTH}<", f"<width>{value}<")
    try:
        read_voc(devkit.root)
    except DataError as error:
        assert "size" in str(error)
    else:
        assert value == "nan"  # taken as missing


def test_damaged_files(devkit: Devkit) -> None:
    good = devkit.mask.read_bytes()
    devkit.mask.write_bytes(good[:60])
    devkit.refused("2007_000001.png", "not readable")
    devkit.xml().write_text("<annotation>")
    devkit.refused("2007_000001.xml", "not valid XML")
    devkit.xml().write_text("<annotations/>")
    devkit.refused("'annotations'")
    devkit.xml().write_text("<!DOCTYPE a [<!ENTITY x 'y'>]>" + xml("a", []))
    devkit.refused("DOCTYPE")


@pytest.mark.parametrize("name", ["Annotations/2007_000001.xml", "SegmentationObject/2007_000001.png"])
def test_links_that_leave(devkit: Devkit, tmp_path: Path, name: str) -> None:
    path = devkit.root / name
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    devkit.refused(name, "link")


def test_looks_like_other_xml(tmp_path: Path) -> None:
    for text in ("<annotations><image/></annotations>", "no XML", ""):
        (tmp_path / "a.xml").write_text(text)
        assert not looks_like_voc(tmp_path)


def subjects(folder: Path) -> list[Subject]:
    """One with all that a part may have."""
    devkit = Devkit(folder)
    devkit.replace("</object>", "<part><name>head</name></part></object>")
    devkit.list("Main/dog_train", "2007_000001  1\n2007_000002 -1\n")
    spoilt = [devkit.xml(), devkit.xml("2007_000003"), devkit.mask]
    return [Subject(folder, devkit.root, read_voc, looks_like_voc, spoilt, by_folder=True)]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_a_file_that_no_list_names(devkit: Devkit) -> None:
    stems = sorted(SCENES)
    devkit.list("Main/train", stems[0] + "\r\n")
    lines = read_voc(devkit.root, "train").problems.lines()
    named = [line for line in lines if "no list of ImageSets" in line]
    assert (len(named) == 1 and repr(stems[1]) in named[0]) == (len(stems) > 1)


def test_an_empty_file_among_others(tmp_path: Path) -> None:
    """It is named, whichever is looked into first."""
    for stem, scene in SCENES.items():
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"{stem}.jpg")
        (tmp_path / f"{stem}.xml").write_text(xml(stem, scene))
    (tmp_path / "empty.xml").write_text("")
    assert looks_like_voc(tmp_path)
    refused(lambda: open_dataset(tmp_path), "empty.xml", "not valid XML")


def test_images_of_fiftyone_lie_in_data(tmp_path: Path) -> None:
    devkit = Devkit(tmp_path)
    (devkit.root / "JPEGImages").rename(tmp_path / "data")
    (devkit.root / "Annotations").rename(tmp_path / "labels")
    shutil.rmtree(devkit.devkit)
    dataset = read_voc(tmp_path)
    assert len(dataset) == len(SCENES) and all(image.path.parent == tmp_path / "data" for image in dataset)


def test_files_beside_the_splits_are_told(tmp_path: Path) -> None:
    for (stem, scene), place in zip(SCENES.items(), ("train", ".", "val"), strict=True):
        (tmp_path / place).mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / place / f"{stem}.jpg")
        (tmp_path / place / f"{stem}.xml").write_text(xml(stem, scene))
    train, val = open_pair(tmp_path)
    assert val is not None and len(train) == len(val) == 1
    assert "2007_000002.xml" in repaired(train, "labels beside the splits left out").problems.lines()[0]


def test_a_box_that_cvat_turned(tmp_path: Path) -> None:
    for name in ("Annotations", "JPEGImages"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "JPEGImages/a.jpg")
    text = xml("a", [("cat", (10, 8, 18, 12))])
    for said, box in (("90.0", (12, 6, 16, 14)), ("left", (10, 8, 18, 12)), ("0.0", (10, 8, 18, 12))):
        attribute = f"<attribute><name>rotation</name><value>{said}</value></attribute>"
        turned = text.replace("</object>", f"<attributes>{attribute}</attributes></object>")
        (tmp_path / "Annotations/a.xml").write_text(turned)
        dataset = read_voc(tmp_path)
        assert tuple(np.round(dataset.image(0).annotations[0].box, 6)) == box
        assert ("turned box" in str(dataset.problems.lines())) == (said == "90.0")


@pytest.mark.parametrize("box", [(5, 3, 6, 12), (5, 3, 14, 4), (5, 3, 6, 4)])
def test_an_object_of_one_pixel_keeps_its_mask(box: tuple[int, int, int, int], tmp_path: Path) -> None:
    for name in ("Annotations", "JPEGImages", "SegmentationObject"):
        (tmp_path / name).mkdir()
    scene = [("cat", box), ("dog", (20, 10, 25, 15))]
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "JPEGImages/a.jpg")
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, (_, (x0, y0, x1, y1)) in enumerate(scene, start=1):
        ids[y0:y1, x0:x1] = number
    save_ids(tmp_path / "SegmentationObject/a.png", ids)
    (tmp_path / "Annotations/a.xml").write_text(xml("a", scene))
    first, second = read_voc(tmp_path).image(0).annotations
    assert first.rle is not None and rle_box(first.rle) == box and second.rle is not None


def test_datumaros_labelmap_says_that_pixels_count_from_0(tmp_path: Path) -> None:
    for name in ("Annotations", "JPEGImages"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "JPEGImages/a.jpg")
    (tmp_path / "Annotations/a.xml").write_text(xml("a", [("cat", (4, 4, 9, 9))]))
    assert read_voc(tmp_path).image(0).annotations[0].box == (4, 4, 9, 9)
    head = "# label:color_rgb:parts:actions"
    (tmp_path / "labelmap.txt").write_text(f"{head}\nbackground:0,0,0::\ncat:9,9,9::\n")
    dataset = read_voc(tmp_path)
    assert dataset.image(0).annotations[0].box == (5, 5, 9, 9) and dataset.classes == ["cat"]

"""YOLO's labels as other tools than Ultralytics write them, and data.yaml that says half of what it should."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from claims import refused, repaired
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.errors import UserError
from maskrcnn.labels.detect import detect
from maskrcnn.labels.open import open_dataset, open_split
from maskrcnn.labels.readers.yolo import has_split, looks_like_yolo, read_yolo

BOX, DOG = "0 0.5 0.5 0.25 0.25\n", "1 0.5 0.5 0.5 0.5\n"
OBJ_DATA = "classes = 2\nnames = data/obj.names\ntrain = data/train.txt\nbackup = backup/\n"


class Folder:
    """A folder to be filled by a test."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def text(self, name: str, text: str) -> Folder:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text)
        return self

    def images(self, *names: str) -> Folder:
        for name in names:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 20)).save(self.path / name)
        return self

    def pairs(self, images: str, labels: str, *stems: str) -> Folder:
        """Images with the label of a dog each, the first with a cat too."""
        for position, stem in enumerate(stems):
            self.images(f"{images}/{stem}.png")
            self.text(f"{labels}/{stem}.txt", (BOX if position == 0 else "") + DOG)
        return self

    def read(self, split: str | None = None, source: str = "") -> list[tuple[str, int]]:
        """The name of each image and how many objects it has; nothing was repaired."""
        assert detect(self.path / source).name == "yolo"
        dataset = repaired(read_yolo(self.path / source, split))
        assert dataset.classes == ["cat", "dog"]
        return [(image.file_name, len(image.annotations)) for image in dataset]

    def refused(self, *words: str, split: str | None = None) -> None:
        refused(lambda: read_yolo(self.path, split), self.path, *words, error=UserError)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def label_studio(folder: Folder) -> Folder:
    """Export, YOLO with Images."""
    folder.pairs("images", "labels", "1a2b-p0", "1a2b-p1").text("classes.txt", "cat\ndog\n")
    return folder.text("notes.json", '{"categories": [{"id": 0, "name": "cat"}], "info": {"year": 2024}}')


def labelimg(folder: Folder) -> Folder:
    return folder.pairs(".", ".", "p0", "p1").text("classes.txt", "cat\ndog")


def darknet(folder: Folder) -> Folder:
    """As CVAT writes YOLO 1.1."""
    folder.pairs("obj_train_data", "obj_train_data", "p0", "p1")
    folder.text("train.txt", "data/obj_train_data/p0.png\ndata/obj_train_data/p1.png\n")
    return folder.text("obj.names", "cat\ndog\n").text("obj.data", OBJ_DATA)


def cvat_ultralytics(folder: Folder) -> Folder:
    folder.pairs("images/train", "labels/train", "p0", "p1")
    folder.text("train.txt", "data/images/train/p0.png\ndata/images/train/p1.png\n")
    return folder.text("data.yaml", "path: .\ntrain: train.txt\nnames:\n  0: cat\n  1: dog\n")


@pytest.mark.parametrize(
    ("write", "place"),
    [
        (label_studio, "images/1a2b-"),
        (labelimg, ""),
        (darknet, "obj_train_data/"),
        (cvat_ultralytics, "images/train/"),
    ],
)
def test_dialects(folder: Folder, write: Callable[[Folder], Folder], place: str) -> None:
    assert write(folder).read() == [(f"{place}p0.png", 2), (f"{place}p1.png", 1)]
    assert len(open_dataset(folder.path, "train")) == 2 and open_split(folder.path, "val") is None


@pytest.mark.parametrize(
    ("write", "source"),
    [
        (label_studio, "classes.txt"),
        (label_studio, "notes.json"),
        (labelimg, "classes.txt"),
        (darknet, "obj.data"),
        (darknet, "obj.names"),
    ],
)
def test_a_file_of_them_is_named(folder: Folder, write: Callable[[Folder], Folder], source: str) -> None:
    assert [count for _, count in write(folder).read(source=source)] == [2, 1]
    assert len(open_dataset(folder.path / source)) == 2


def test_labelimg_with_classes_beside_the_labels(folder: Folder) -> None:
    folder.pairs("images", "labels", "a").text("labels/classes.txt", "cat\ndog\n")
    assert folder.read() == folder.read(source="labels/classes.txt") == [("images/a.png", 2)]


def test_labels_beside_images_in_images(folder: Folder) -> None:
    folder.pairs("images", "images", "a").text("images/classes.txt", "cat\ndog\n")
    assert folder.read() == [("images/a.png", 2)]


@pytest.mark.parametrize("name", ["cam_images", "images-2023"])
def test_a_folder_below_images_called_so_in_part(folder: Folder, name: str) -> None:
    """Its labels were looked for in labels of its own, so that its images were empty."""
    folder.pairs(f"images/train/{name}", f"labels/train/{name}", "a")
    folder.pairs("images/train/b", "labels/train/b", "c")
    folder.text("data.yaml", "path: .\ntrain: images/train\nnames: [cat, dog]\n")
    assert sorted(folder.read()) == [("images/train/b/c.png", 2), (f"images/train/{name}/a.png", 2)]


def test_classes_that_differ(folder: Folder) -> None:
    """LabelImg writes one for each folder, in the order in which that folder's labels were used."""
    for split, names in (("train", "cat\ndog\n"), ("val", "dog\ncat\n")):
        folder.pairs(split, split, f"{split}0").text(f"{split}/classes.txt", names)
    folder.refused("val/classes.txt", "not the names of", "data.yaml")
    folder.text("data.yaml", "train: train\nval: val\nnames: [cat, dog]\n")
    assert folder.read("val") == [("val/val0.png", 2)]


def test_darknet_of_roboflow(folder: Folder) -> None:
    for split in ("train", "valid"):
        folder.pairs(split, split, f"{split}0").text(f"{split}/_darknet.labels", "cat\ndog\n")
    assert folder.read() == [("train/train0.png", 2)] and folder.read("val") == [("valid/valid0.png", 2)]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("\n \n", ["no names"]),
        ("cat\n\ndog\n", ["line 2 is empty"]),
        ("cat\ncat\n", ["'cat'", "twice"]),
        ("cat\n", ["line 2", "class 1", "0 cat"]),
    ],
)
def test_classes_that_are_refused(folder: Folder, names: str, words: list[str]) -> None:
    label_studio(folder).text("classes.txt", names)
    folder.refused("classes.txt", *words)


def test_no_names_at_all(folder: Folder) -> None:
    folder.pairs("images/train", "labels/train", "a").pairs("images/val", "labels/val", "b")
    assert detect(folder.path).name == "yolo"
    folder.refused("no data.yaml", "train: images/train, val: images/val", "names: [cat, dog]", "classes.txt")
    folder.text("other.json", "{}")
    assert not looks_like_yolo(folder.path), "it may be another format's"


def test_a_split_without_its_yaml(folder: Folder) -> None:
    folder.pairs("test/images", "test/labels", "a").text(
        "data.yaml", "test: test/images\nnames: [cat, dog]\n"
    )
    refused(lambda: read_yolo(folder.path / "test"), f"give '{folder.path}'", error=UserError)


@pytest.mark.parametrize("places", ["images/{}", "{}/images", "{}", "obj_{}_data"])
def test_only_names(folder: Folder, places: str) -> None:
    for split, alias in (("train", "train"), ("val", "valid"), ("test", "test")):
        place = places.format(alias)
        folder.pairs(place, place.replace("images", "labels"), f"{split}0", f"{split}1")
    folder.text("data.yaml", "names: [cat, dog]\n")
    for split in ("train", "val", "test"):
        assert has_split(folder.path, split)
        assert [Path(name).stem for name, _ in folder.read(split)] == [f"{split}0", f"{split}1"]
    assert len(open_split(folder.path, "val")) == 2


@pytest.mark.parametrize("labels", ["Labels", "labels"])
@pytest.mark.parametrize("places", ["Images/{}", "{}/Images"])
@pytest.mark.parametrize("train", ["Train", "train"])
def test_folders_in_capitals(folder: Folder, places: str, train: str, labels: str) -> None:
    images = places.format(train)
    folder.pairs(images, images.replace("Images", labels), "a", "b").text("classes.txt", "cat\ndog\n")
    assert folder.read("train") == [(f"{images}/a.png", 2), (f"{images}/b.png", 1)]


@pytest.mark.parametrize("name", ["DATA.YAML", "Data.yaml", "DATA.YML", "my.YAML"])
def test_a_description_in_capitals(folder: Folder, name: str) -> None:
    folder.pairs("Images", "Labels", "a").text(name, "train: images\nnames: [cat, dog]\n")
    assert folder.read("train") == folder.read("train", name) == [("Images/a.png", 2)]
    folder.text(name, "names: [")
    folder.refused(name)
    assert folder.text(name, "names: [cat, dog]").read() == [("Images/a.png", 2)]


def test_a_part_that_is_no_split_in_capitals(folder: Folder) -> None:
    folder.pairs("Images/Train", "Labels/Train", "a").pairs("Images/Extra", "Labels/Extra", "b")
    folder.text("classes.txt", "cat\ndog\n").text("Labels/Train/lone.txt", DOG)
    kinds = ("subset that is no split left out", "label file without an image left out")
    repaired(read_yolo(folder.path, "train"), *kinds)


def test_only_names_and_a_part_that_is_no_split(folder: Folder) -> None:
    folder.pairs("images/train", "labels/train", "a").pairs("images/holdout", "labels/holdout", "b")
    folder.text("data.yaml", "names: {'0': cat, '1': dog}\n")
    dataset = repaired(read_yolo(folder.path, "train"), "subset that is no split left out")
    assert len(dataset) == 1 and "'holdout'" in dataset.problems.lines()[0]


def test_only_names_and_a_split_without_objects(folder: Folder) -> None:
    folder.pairs("images/train", "labels/train", "a").images("images/val/b.png").text("labels/val/b.txt", "")
    folder.text("data.yaml", "names: [cat, dog]\n")
    assert has_split(folder.path, "val")


def test_only_names_and_no_splits(folder: Folder) -> None:
    folder.pairs("images", "labels", "a", "b").text("data.yaml", "nc: 2\nnames: [cat, dog]\n")
    assert folder.read() == [("images/a.png", 2), ("images/b.png", 1)]
    folder.refused("has no 'val' split", "val: FOLDER", split="val")


def test_only_train(folder: Folder) -> None:
    folder.pairs("images", "labels", "a", "b").text("data.yaml", "train: images\n")
    folder.refused("names must list")
    folder.text("classes.txt", "cat\ndog\n")
    assert folder.read("train") == [("images/a.png", 2), ("images/b.png", 1)]
    assert open_split(folder.path, "val") is None


def test_a_file_with_only_train(folder: Folder) -> None:
    """Nobody evaluates on what they trained on without knowing it."""
    cvat_ultralytics(folder)
    source = folder.path / "data.yaml"
    assert len(open_dataset(source)) == len(open_dataset(source, "train")) == 2
    refused(lambda: open_dataset(source, "val"), source, "no 'val' split, only train", error=UserError)


def test_label_studio_with_the_images_as_they_were_called(folder: Folder) -> None:
    for path in (label_studio(folder).path / "images").iterdir():
        path.rename(path.with_name(path.name.partition("-")[2]))
    folder.refused("none of 2 images", "there is '1a2b-p0.txt'", "give the images the names")


# ---- subsets


def test_subsets_of_a_cvat_project(folder: Folder) -> None:
    lines = "names: {0: cat, 1: dog}\npath: .\n"
    for subset in ("Train", "Validation", "Test"):
        folder.pairs(f"images/{subset}", f"labels/{subset}", subset)
        folder.text(f"{subset}.txt", f"data/images/{subset}/{subset}.png\n")
        lines += f"{subset}: {subset}.txt\n"
    folder.text("data.yaml", lines)
    for split, subset in (("train", "Train"), ("val", "Validation"), ("test", "Test")):
        assert folder.read(split) == [(f"images/{subset}/{subset}.png", 2)]


def test_subsets_that_are_no_splits(folder: Folder) -> None:
    for subset in ("one", "two"):
        folder.pairs(f"images/{subset}", f"labels/{subset}", subset)
        folder.text(f"{subset}.txt", f"data/images/{subset}/{subset}.png\n")
    folder.text("data.yaml", "names: [cat, dog]\none: one.txt\ntwo: two.txt\n")
    assert folder.read() == [("images/one/one.png", 2), ("images/two/two.png", 2)]
    folder.text("data.yaml", "names: [cat, dog]\ntrain: one.txt\ntwo: two.txt\n")
    repaired(read_yolo(folder.path, "train"), "subset that is no split left out")


def test_two_names_of_one_split(folder: Folder) -> None:
    folder.pairs("val", "val", "a").pairs("valid", "valid", "b")
    folder.text("data.yaml", "names: [cat, dog]\nval: val\nvalid: valid\n")
    assert folder.read("val") == [("val/a.png", 2), ("valid/b.png", 2)]


def test_darknet_with_valid(folder: Folder) -> None:
    darknet(folder).pairs("obj_valid_data", "obj_valid_data", "v")
    folder.text("valid.txt", "C:\\darknet\\data\\obj_valid_data\\v.png\n")
    folder.text("obj.data", OBJ_DATA + "valid = data/valid.txt\n")
    assert folder.read("val") == [("obj_valid_data/v.png", 2)]
    assert len(folder.read("train")) == 2


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("classes = 2", "classes = 3", ["classes is 3", "2 names"]),
        ("data/obj.names", "data/lost.names", ["lost.names", "beside obj.data"]),
        ("data/train.txt", "data/lost.txt", ["lost.txt", "not there"]),
    ],
)
def test_darknet_that_is_refused(folder: Folder, old: str, new: str, words: list[str]) -> None:
    darknet(folder).text("obj.data", OBJ_DATA.replace(old, new))
    folder.refused("obj.data", *words)


def test_an_export_without_images(folder: Folder) -> None:
    darknet(folder)
    for path in folder.path.rglob("*.png"):
        path.unlink()
    folder.refused("2 of 2 image files are missing", "obj_train_data/p0.png")


def test_label_studio_without_images(folder: Folder) -> None:
    label_studio(folder)
    for path in folder.path.glob("images/*"):
        path.unlink()
    folder.refused("no image", "images")


# ---- paths of elsewhere


@pytest.mark.parametrize(
    "line",
    [
        *("data/images/train/p0.png", "./images/train/p0.png", "../images/train/p0.png", "p0.png"),
        *("/home/me/set/images/train/p0.png", "images\\train\\p0.png", "D:\\set\\images\\train\\p0.png"),
    ],
)
def test_lines_of_elsewhere(folder: Folder, line: str) -> None:
    cvat_ultralytics(folder).text("train.txt", f"{line}\n")
    if line == "p0.png":
        folder.pairs(".", ".", "p0")
        assert folder.read() == [("p0.png", 2)]
    else:
        assert folder.read() == [("images/train/p0.png", 2)]


def test_lines_that_become_one_image(folder: Folder) -> None:
    cvat_ultralytics(folder).text("train.txt", "a/images/train/p0.png\nb/images/train/p0.png\n")
    folder.refused("line 2", "a/images/train/p0.png", "restore")


@pytest.mark.parametrize(
    "entry",
    ["SET/images", "/home/me/x/set/images", "C:\\me\\set\\images", ".\\images", "/old/b/../set/images"],
)
def test_folders_of_elsewhere(tmp_path: Path, entry: str) -> None:
    folder = Folder(tmp_path / "set").pairs("images", "labels", "a")
    entry = entry.replace("SET", str(folder.path))
    folder.text("data.yaml", f"path: C:\\old\\set\ntrain: {entry}\nnames: [cat, dog]\n")
    assert folder.read() == [("images/a.png", 2)]


@pytest.mark.parametrize("entry", ["/home/me/other/images", "../other/images", "C:\\other\\images"])
def test_another_data_set_is_not_taken(tmp_path: Path, entry: str) -> None:
    folder = Folder(tmp_path / "set").pairs("images", "labels", "a")
    folder.text("data.yaml", f"train: {entry}\nnames: [cat, dog]\n")
    folder.refused("not there")


def test_jpegimages_of_darknet(folder: Folder) -> None:
    folder.pairs("JPEGImages", "labels", "a").text("train.txt", "/darknet/VOC/JPEGImages/a.png\n")
    folder.text("voc.names", "cat\ndog\n").text("voc.data", "train = train.txt\nnames = data/voc.names\n")
    assert folder.read() == [("JPEGImages/a.png", 2)]


def test_long_and_unprintable_names(folder: Folder) -> None:
    cvat_ultralytics(folder).text("train.txt", f"images/{'x' * 300}/p0.png\n")
    folder.refused("none of 1 images")
    folder.text("data.yaml", 'names: [cat, dog]\n"tr\\ain": train.txt\ntrain: lost.txt\n')
    folder.refused("lost.txt")
    (folder.path / "data.yaml").unlink()
    darknet(folder).text("obj.data", "names = obj.names\n\x07 = lost.txt\n")
    assert len(folder.read("train")) == 2
    folder.text("obj.data", "names = obj.names\nclasses = \x00\x00\n")
    folder.refused("obj.data", "2 names")
    folder.text("obj.data", "names = obj.names\ntrain = train.txt\n").text("train.txt", "a\0b/p0.png\n")
    folder.refused("none of 1 images")


def test_texts_that_are_no_files(folder: Folder) -> None:
    """A pipe, a link that leads nowhere, a folder; and what macOS leaves in archives."""
    folder.pairs("images", "labels", "a").text("classes.txt", "cat\ndog\n").text("labels/._a.txt", BOX)
    os.mkfifo(folder.path / "labels/0.txt")
    (folder.path / "labels/1.txt").symlink_to("nowhere")
    (folder.path / "labels/2.txt").mkdir()
    dataset = read_yolo(folder.path)
    assert dataset.problems.texts() == {"label file without an image left out": 3} and len(dataset) == 1


def test_label_without_its_image(folder: Folder) -> None:
    labelimg(folder).text("lost.txt", BOX).text("readme.txt", "Drawn by me.\n")
    dataset = repaired(read_yolo(folder.path), "label file without an image left out")
    assert "lost.txt" in dataset.problems.lines()[0]


# ---- lists and notes alone


def test_lists_without_obj_data(folder: Folder) -> None:
    folder.pairs("data/obj", "data/obj", "a", "b", "c").text("obj.names", "cat\ndog\n")
    folder.text("train.txt", "data/obj/a.png\ndata/obj/b.png\n").text("test.txt", "x/data/obj/c.png\n")
    assert folder.read("train") == [("data/obj/a.png", 2), ("data/obj/b.png", 1)]
    assert folder.read("test") == folder.read(source="test.txt") == [("data/obj/c.png", 1)]
    (folder.path / "obj.names").rename(folder.path / "mine.names")
    assert len(folder.read("train")) == 2
    (folder.path / "mine.names").unlink()
    source = folder.path / "test.txt"
    refused(lambda: read_yolo(source), source, "list of images", "write classes.txt", error=UserError)


def test_notes_without_classes(folder: Folder) -> None:
    categories = '[{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]'
    label_studio(folder).text("notes.json", f'{{"categories": {categories}, "info": {{}}}}')
    (folder.path / "classes.txt").unlink()
    assert [count for _, count in folder.read()] == [2, 1]
    folder.text("notes.json", "[1]")
    folder.refused("notes.json", "no list 'categories'", "classes.txt")


def test_a_folder_of_images_that_is_not_there(folder: Folder) -> None:
    label_studio(folder)
    (folder.path / "images").rename(folder.path / "elsewhere")
    folder.refused("no folder 'images'", "put the images there")


def test_names_and_a_path(folder: Folder) -> None:
    folder.pairs("set/images/train", "set/labels/train", "a").text(
        "data.yaml", "path: set\nnames: [cat, dog]\n"
    )
    assert folder.read("train") == [("set/images/train/a.png", 2)]


def subjects(folder: Path) -> list[Subject]:
    """A folder of each tool; what is spoilt is what describes it, and a text of labels."""
    found = []
    for write, names in (
        (label_studio, ["classes.txt", "notes.json", "labels/1a2b-p0.txt"]),
        (labelimg, ["classes.txt", "p0.txt"]),
        (darknet, ["obj.data", "obj.names", "train.txt", "obj_train_data/p0.txt"]),
        (cvat_ultralytics, ["data.yaml", "train.txt", "labels/train/p0.txt"]),
    ):
        path = folder / write.__name__
        path.mkdir()
        write(Folder(path))
        found.append(Subject(path, path, read_yolo, looks_like_yolo, [path / name for name in names]))
    return found


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_only_names_and_two_places_of_one_split(folder: Folder) -> None:
    folder.pairs("images/train", "labels/train", "a").pairs("train", "train", "a", "b")
    folder.text("data.yaml", "names: [cat, dog]\n")
    dataset = repaired(read_yolo(folder.path, "train"), "subset that is no split left out")
    assert [image.file_name for image in dataset] == ["images/train/a.png"]
    assert "'./train'" in dataset.problems.lines()[0]


@pytest.mark.parametrize("other", ["images/a.jpg", "images/a.PNG"])
def test_two_images_do_not_share_the_labels_of_one(folder: Folder, other: str) -> None:
    folder.pairs("images", "labels", "a", "b").images(other).text("classes.txt", "cat\ndog\n")
    refused(lambda: read_yolo(folder.path), "share a name", "a.png", other, "labels/a.txt")


@pytest.mark.parametrize("images", [".", "images"])
def test_names_of_makesense(images: str, tmp_path: Path) -> None:
    """Texts and labels.txt; the images are put beside them or into images/."""
    labels = tmp_path / ("labels" if images == "images" else ".")
    for folder in (tmp_path / images, labels):
        folder.mkdir(exist_ok=True)
    Image.new("RGB", (20, 10)).save(tmp_path / images / "a.jpg")
    (labels / "a.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    dataset = open_dataset(tmp_path)
    assert dataset.classes == ["cat", "dog"] and [a.label for a in dataset.image(0).annotations] == [1]
    assert not dataset.problems

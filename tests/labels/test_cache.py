"""Packed labels are the labels, a cache gives them again, and nothing that is wrong with a cache breaks
reading.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import DataError
from maskrcnn.labels import cache as label_cache
from maskrcnn.labels.cache import Unusable, load_labels, save_labels
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.problems import Problems
from maskrcnn.labels.readers.coco import read_coco
from maskrcnn.labels.readers.lvis import read_lvis
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.masks.rle import bitmap_rle

NUMBERS = st.floats(-1e6, 1e6)
RINGS = st.lists(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=6).map(np.array), max_size=3)
IDS = st.one_of(st.integers(), st.text(max_size=5))


@st.composite
def annotations(draw: st.DrawFn) -> Annotation:
    kind = draw(st.sampled_from(["box", "polygons", "rle"]))
    bitmap = np.array(draw(st.lists(st.booleans(), min_size=6, max_size=6))).reshape(2, 3)
    points = draw(
        st.none() | st.lists(st.tuples(NUMBERS, NUMBERS, st.sampled_from([0, 1, 2])), min_size=2, max_size=2)
    )
    return Annotation(
        draw(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS)),
        draw(st.integers(0, 2000)),
        draw(RINGS) if kind == "polygons" else None,
        bitmap_rle(bitmap) if kind == "rle" else None,
        None if points is None else np.array(points, float),
        draw(st.booleans()),
        draw(st.floats(0, 1e9)),
        draw(st.integers()),
    )


@st.composite
def images(draw: st.DrawFn) -> LabelledImage:
    path = draw(st.none() | st.text("ab/.é\udc80", min_size=1).map(Path))
    labels = st.lists(st.integers(0, 9), max_size=2)
    found = draw(st.lists(annotations(), max_size=4))
    return LabelledImage(
        draw(IDS), draw(st.text()), path, 2, 3, found, draw(labels), draw(st.none() | labels)
    )


def same_value(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return (
            isinstance(a, np.ndarray)
            and isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and np.array_equal(a, b)
        )
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_value, a, b))
    return type(a) is type(b) and a == b


def same(a: LabelledImage, b: LabelledImage) -> bool:
    """Whether two images agree in every field of theirs and of their annotations, types included."""
    heads = ({k: v for k, v in vars(p).items() if k != "annotations"} for p in (a, b))
    return (
        same_value(*(list(head.values()) for head in heads))
        and len(a.annotations) == len(b.annotations)
        and all(
            same_value(list(vars(x).values()), list(vars(y).values()))
            for x, y in zip(a.annotations, b.annotations, strict=True)
        )
    )


def labelled(found: list[LabelledImage]) -> FileDataset:
    return FileDataset(found, DatasetInfo(name="made up", classes=["a"], class_ids=[7]))


@given(st.lists(images(), max_size=5))
def test_packed_images_are_the_same(found):
    packed = labelled(found)
    assert len(packed) == len(found)
    assert all(same(packed.image(index), image) for index, image in enumerate(found))
    assert [packed.size(index) for index in range(len(packed))] == [image.size for image in found]


def test_a_copy_may_be_changed():
    ring = np.zeros((3, 2))
    keypoints = np.ones((2, 3))
    packed = labelled(
        [LabelledImage(1, "a", None, 2, 3, [Annotation((0, 0, 1, 1), 0, [ring], None, keypoints)])]
    )
    first = packed.image(0)
    first.annotations[0].polygons[0][0] = 9
    first.annotations[0].keypoints[0] = 9
    again = packed.image(0).annotations[0]
    assert again.polygons[0].max() == 0 and again.keypoints.max() == 1
    with pytest.raises(IndexError):
        packed.image(1)


def test_an_encoding_of_another_size_is_not_packed():
    wrong = Annotation((0, 0, 1, 1), 0, rle=bitmap_rle(np.ones((3, 2))))
    with pytest.raises(ValueError, match="of size"):
        labelled([LabelledImage(1, "a", None, 2, 3, [wrong])])


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    """A COCO file that counts as large and slow, with a cache folder of its own."""
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(label_cache, "SMALL", 0)
    monkeypatch.setattr(label_cache, "SLOW", -1.0)
    monkeypatch.setattr(label_cache, "ENDS", 64)
    path = tmp_path / "data" / "labels.json"
    (path.parent / "images").mkdir(parents=True)
    write(path, 12)
    return path


def write(path: Path, count: int) -> None:
    images, objects = [], []
    points = {"keypoints": ["left", "right"], "sigmas": [0.1, 0.1], "flip_pairs": [["left", "right"]]}
    for number in range(1, count + 1):
        Image.new("RGB", (6, 5)).save(path.parent / f"images/{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 5, "width": 6})
        shape = [[0, 0, 4, 0, 4, 3]] if number % 2 else {"size": [5, 6], "counts": [number, 30 - number]}
        box = {"bbox": [0, 0, 4, 3], "area": 6, "segmentation": shape, "keypoints": [1, 1, 2, 0, 0, 0]}
        objects.append(
            {"id": number, "image_id": number, "category_id": 3} | box
        )  # iscrowd is missing: a repair
    document = {"images": images, "annotations": objects, "categories": [{"id": 3, "name": "cat"} | points]}
    path.write_text(json.dumps(document))


def cache_files(source: Path) -> list[Path]:
    return sorted((source.parents[1] / "cache/labels").glob("*"))


def put(file: Path, content: bytes) -> None:
    """Other content in the place of a file that may be mapped."""
    file.unlink()
    file.write_bytes(content)
    file.chmod(0o600)


def same_set(a: FileDataset, b: FileDataset) -> bool:
    fields = [[d.name, d.classes, d.class_ids, d.keypoints, d.problems] for d in (a, b)]
    return fields[0] == fields[1] and len(a) == len(b) and all(same(*each) for each in zip(a, b, strict=True))


@pytest.fixture
def read_again(monkeypatch) -> list[int]:
    """Grows with every JSON file that is parsed."""
    from maskrcnn.labels.readers import coco

    calls: list[int] = []
    load = coco._load

    def counted(path):
        calls.append(1)
        return load(path)

    monkeypatch.setattr(coco, "_load", counted)
    return calls


def test_the_second_time_is_the_first(source, read_again):
    first, second = read_coco(source), read_coco(source)
    assert len(read_again) == 1 and same_set(first, second) and isinstance(second.problems, Problems)
    assert (
        isinstance(second.keypoints, KeypointSchema)
        and second.problems.texts()["missing iscrowd taken as 0"] == 12
    )
    assert not second.packed.points.flags.writeable and second.pixels(0).shape == (5, 6, 3)
    (file,) = cache_files(source)
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    write(source, 11)
    assert len(read_coco(source)) == 11 and len(read_again) == 2


def test_a_file_that_is_mapped_is_never_overwritten_and_old_ones_go(source):
    first = read_coco(source)
    (file,) = cache_files(source)
    number = file.stat().st_ino
    key = json.loads(label_cache._parse(label_cache._map(file))[0])["key"]
    save_labels(first, file, key)  # as a process that read the labels at the same time
    assert file.stat().st_ino == number and cache_files(source) == [file]
    os.utime(file, (1.0, 1.0))
    read_coco(source)  # used again
    write(source, 11)
    read_coco(source)
    assert len(cache_files(source)) == 2
    os.utime(file, (1.0, 1.0))
    write(source, 10)
    assert len(read_coco(source)) == 10 and file not in cache_files(source) and len(cache_files(source)) == 2


def test_any_change_of_the_file_or_the_readers_is_noticed(source, read_again, monkeypatch):
    read_coco(source)
    state = source.stat()
    text = source.read_text()
    source.write_text(text.replace('"cat"', '"dog"'))
    os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a copy that keeps its times
    assert source.stat().st_size == state.st_size and read_coco(source).classes == ["dog"]
    monkeypatch.setattr(label_cache, "_readers", lambda: "other code")
    read_coco(source)
    assert len(read_again) == 3


def test_paths_as_typed_and_readers_are_told_apart(source, read_again, monkeypatch):
    read_coco(source)
    monkeypatch.chdir(source.parent)
    relative = read_coco(Path("labels.json"))
    assert relative.name == "labels.json" and relative.image(0).path == Path("images/1.png")
    assert len(read_again) == 2 and len(cache_files(source)) == 2
    assert read_lvis(source).image(0).negative == [] and read_coco(source).image(0).negative is None
    assert read_coco(source, source.parent / "images").image(0).path == source.parent / "images/1.png"
    assert len(cache_files(source)) == 4


def test_small_and_quick_files_leave_nothing_behind(source, monkeypatch):
    monkeypatch.setattr(label_cache, "SLOW", 60.0)
    read_coco(source)
    assert not cache_files(source)
    monkeypatch.setattr(label_cache, "SLOW", -1.0)
    monkeypatch.setattr(label_cache, "SMALL", 2**20)
    read_coco(source)
    assert not cache_files(source)


def test_labels_that_depend_on_the_images_are_read_each_time(source, read_again):
    document = json.loads(source.read_text())
    del document["images"][3]["height"]
    source.write_text(json.dumps(document))
    assert same_set(read_coco(source), read_coco(source)) and len(read_again) == 2 and not cache_files(source)


def test_the_garbage_collector_goes_on(source, monkeypatch):
    from maskrcnn.labels.readers import coco

    during = []
    monkeypatch.setattr(coco, "_load", lambda _: during.append(gc.isenabled()) or {}["nothing"])
    with pytest.raises(KeyError):
        read_coco(source)
    assert during == [False] and gc.isenabled()


def test_missing_images_are_still_refused(source):
    read_coco(source)
    (source.parent / "images/5.png").unlink()
    with pytest.raises(DataError, match="1 of 12 image files are missing"):
        read_coco(source)
    (source.parent / "images").rename(source.parent / "labels")
    Image.new("RGB", (6, 5)).save(source.parent / "labels/5.png")
    assert read_coco(source).image(4).path == source.parent / "labels/5.png"


@pytest.mark.parametrize("place", [0, 9, 0.3, 0.6, 0.9, -1])
def test_a_damaged_file_is_made_again(source, read_again, capsys, place):
    first = read_coco(source)
    (file,) = cache_files(source)
    content = bytearray(file.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 0xFF
    put(file, content)
    assert same_set(read_coco(source), first) and len(read_again) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "damaged" in line and str(file) in line
    assert same_set(read_coco(source), first) and len(read_again) == 2


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 8, b"\xff" * 100, b"\2\0\0\0\0\0\0\0{}", b"\2\0\0\0\0\0\0\0[]"]
)
def test_no_cache_file_at_all(source, read_again, capsys, content):
    first = read_coco(source)
    (file,) = cache_files(source)
    put(file, content)
    assert same_set(read_coco(source), first) and len(read_again) == 2
    assert "damaged" in capsys.readouterr().err


def test_a_truncated_file_is_damaged_wherever_it_ends(source):
    labels = read_coco(source)
    (file,) = cache_files(source)
    file.unlink()
    save_labels(labels, file, "key")
    content = file.read_bytes()
    assert same_set(load_labels(file, "key"), labels) and load_labels(file, "another key") is None
    for end in range(0, len(content) - 1, 97):
        put(file, content[:end])
        with pytest.raises(Unusable, match="damaged"):
            load_labels(file, "key")


def test_what_others_may_have_written_is_not_used(source, read_again, capsys, monkeypatch):
    read_coco(source)
    (file,) = cache_files(source)
    file.chmod(0o666)
    read_coco(source)
    assert "others may write to it" in capsys.readouterr().err and file.stat().st_mode & 0o777 == 0o600
    planted = file.with_name("planted")
    file.rename(planted)
    file.symlink_to(planted)
    read_coco(source)
    assert "not readable" in capsys.readouterr().err and not file.is_symlink() and planted.exists()
    assert len(read_again) == 3
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    read_coco(source)
    assert "others may write to it" in capsys.readouterr().err and len(read_again) == 4


def test_a_cache_that_cannot_be_written_costs_a_line(source, tmp_path, read_again, capsys, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("MASKRCNN_CACHE", str(blocked))
    assert same_set(read_coco(source), read_coco(source)) and len(read_again) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(line.startswith("warning: ") for line in lines)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(label_cache, "save_file", full)
    assert (
        len(read_coco(source)) == 12
        and "No space left" in capsys.readouterr().err
        and not cache_files(source)
    )


def count_objects(dataset: FileDataset, answer: object) -> None:
    mapped = dataset.packed.points.base is not None and not dataset.packed.points.flags.writeable
    answer.put((sum(len(image.annotations) for image in dataset), mapped))


def test_whoever_unpickles_maps_the_file(source):
    read_coco(source)
    dataset = read_coco(source)
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert same_set(copy, dataset) and len(pickle.dumps(dataset)) < 3000
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=count_objects, args=(dataset, answer))
    process.start()
    deadline = time.monotonic() + 60
    while answer.empty() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not answer.empty() and answer.get() == (12, True)
    process.join()


def test_processes_of_one_machine_read_once(source, read_again, monkeypatch):
    """As threads here: a lock is of an open file."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: read_coco(source), range(3)))
    assert len(read_again) == 1 and same_set(found[0], found[1]) and same_set(found[0], found[2])

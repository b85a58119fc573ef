"""Tiles hold every pixel of every object once or more, exactly, and cost the memory of tiles."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from maskrcnn.check.advice import advise
from maskrcnn.check.anchors import check_anchors
from maskrcnn.check.findings import Findings
from maskrcnn.check.statistics import describe
from maskrcnn.cli.main import main
from maskrcnn.config.data import TilesConfig
from maskrcnn.config.load import load_config
from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import DataError, UserError
from maskrcnn.images.tiles import Window, tile_windows
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.masks.rle import bitmap_rle, crop_rle, rle_bitmap
from maskrcnn.predict.large import tile_side
from maskrcnn.training_data import decoded as decoded_module
from maskrcnn.training_data.crop import crop_annotation
from maskrcnn.training_data.decoded import DecodedImages, decode_apart
from maskrcnn.training_data.prepare import prepare_data
from maskrcnn.training_data.tiles import TiledDataset, crop_tiles

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Height and width of an image, side and overlap of tiles."""
    side = draw(st.integers(2, 40))
    return draw(st.integers(1, 130)), draw(st.integers(1, 130)), side, draw(st.integers(0, side - 1))


@given(layouts())
@settings(max_examples=300, deadline=None)
def test_tiles_cover_the_image_and_overlap_as_asked(layout: tuple[int, int, int, int]) -> None:
    height, width, side, overlap = layout
    windows = tile_windows(height, width, side, overlap)
    seen = np.zeros((height, width), int)
    for window in windows:
        assert window.left >= 0 and window.top >= 0
        assert window.left + window.width <= width and window.top + window.height <= height
        assert (window.width, window.height) == (min(side, width), min(side, height))
        seen[window.top : window.top + window.height, window.left : window.left + window.width] += 1
    assert seen.all() and len(windows) == len(set(windows))
    for starts, length in (
        (sorted({w.left for w in windows}), width),
        (sorted({w.top for w in windows}), height),
    ):
        steps = np.diff(starts)
        assert (side - steps >= overlap).all()
        # no more than needed: with one tile less they would share too little
        assert len(starts) == 1 or (len(starts) - 1) * side - (len(starts) - 2) * overlap < length


@st.composite
def labelled(draw: st.DrawFn) -> LabelledImage:
    """An image with objects of all kinds of mask."""
    height, width = draw(st.integers(10, 90)), draw(st.integers(10, 90))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    annotations = []
    for number in range(draw(st.integers(0, 4))):
        x, y = rng.uniform(0, (width - 4, height - 4))
        w, h = rng.uniform(3, (width - x, height - y))
        box = (x, y, x + w, y + h)
        kind = draw(st.sampled_from(["box", "polygon", "rle"]))
        annotation = Annotation(box, 0, id=number, area=w * h)
        if kind == "polygon":
            annotation.polygons = [np.stack([rng.uniform(x, x + w, 7), rng.uniform(y, y + h, 7)], axis=1)]
        elif kind == "rle":
            bitmap = np.zeros((height, width), np.uint8)
            part = bitmap[int(y) : int(y + h) + 1, int(x) : int(x + w) + 1]
            part[...] = rng.random(part.shape) < rng.choice([0.02, 0.5, 1.0])
            if not bitmap.any():
                continue
            ys, xs = np.nonzero(bitmap)
            annotation.box = (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
            annotation.rle, annotation.area = bitmap_rle(bitmap), float(bitmap.sum())
        annotations.append(annotation)
    return LabelledImage("a", "a.png", None, height, width, annotations)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(1, 12), st.integers(1, 12))
@quick
def test_an_rle_is_cut_exactly(seed: int, density: float, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    full = (rng.random((height, width)) < density).astype(np.uint8)
    left, top = int(rng.integers(width)), int(rng.integers(height))
    w, h = int(rng.integers(1, width - left + 1)), int(rng.integers(1, height - top + 1))
    part = crop_rle(bitmap_rle(full), left, top, w, h)
    expected = np.asfortranarray(full[top : top + h, left : left + w])
    assert part == bitmap_rle(expected) and np.array_equal(rle_bitmap(part), expected)


@given(labelled(), st.integers(4, 40), st.data())
@quick
def test_every_pixel_of_every_object_is_in_some_tile(
    image: LabelledImage, side: int, data: st.DataObject
) -> None:
    tiles = TilesConfig(side=side, overlap=data.draw(st.integers(0, side - 1)))
    views: Counter[int] = Counter()
    for annotation in image.annotations:
        whole = annotation_rle(annotation, image.height, image.width)
        again = np.zeros((image.height, image.width), np.uint8)
        for window, parts in crop_tiles(image, tiles):
            for part in parts:
                if part.annotation.id != annotation.id:
                    continue
                found = part.annotation
                views[found.id] += not found.crowd
                x0, y0, x1, y1 = found.box
                assert -1e-9 <= x0 <= x1 <= window.width + 1e-9 and -1e-9 <= y0 <= y1 <= window.height + 1e-9
                assert part.remnant == found.crowd and 0 <= part.share <= 1 + 1e-9
                drawn = annotation_rle(found, window.height, window.width)
                if drawn is not None:
                    target = again[
                        window.top : window.top + window.height, window.left : window.left + window.width
                    ]
                    np.maximum(target, rle_bitmap(drawn), out=target)
                    if found.rle is not None:
                        ys, xs = np.nonzero(rle_bitmap(drawn))
                        if part.share < 1:
                            assert found.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
                        assert found.area == len(xs)
        assert views[annotation.id] >= 1, "each object is one of some tile"
        if whole is not None and annotation.rle is not None:
            assert np.array_equal(again, rle_bitmap(whole))
        elif whole is not None:
            # pycocotools rounds a ring's corners, and clipping adds corners: it draws the same but for the
            # outline
            outline = np.zeros_like(again)
            cv2.polylines(
                outline, [np.rint(ring).astype(np.int32) for ring in annotation.polygons], True, 1, 3
            )
            assert np.array_equal(again[outline == 0], rle_bitmap(whole)[outline == 0])


def ring_of(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, np.float64)


def box_of(ring: np.ndarray) -> tuple[float, float, float, float]:
    (x0, y0), (x1, y1) = ring.min(axis=0).tolist(), ring.max(axis=0).tolist()
    return (x0, y0, x1, y1)


@pytest.mark.parametrize(
    ("ring", "window", "box", "share"),
    [
        # wholly inside
        (ring_of((12, 13), (20, 13), (20, 19)), Window(10, 10, 20, 20), (2, 3, 10, 9), 1.0),
        # a square whose quarter is seen, up to the window's lower right corner
        (ring_of((0, 0), (20, 0), (20, 20), (0, 20)), Window(0, 0, 10, 10), (0, 0, 10, 10), 0.25),
        (ring_of((5, 5), (25, 5), (25, 25), (5, 25)), Window(0, 0, 15, 15), (5, 5, 15, 15), 0.25),
        # an L of which only the foot is seen: the box is the foot's
        (
            ring_of((0, 0), (5, 0), (5, 30), (40, 30), (40, 35), (0, 35)),
            Window(10, 20, 20, 20),
            (0, 10, 20, 15),
            100 / 350,
        ),
        # a comb whose back lies above the window: between its teeth clipping leaves edges that enclose
        # nothing
        (
            ring_of((0, 0), (50, 0), (50, 20), (45, 20), (45, 5), (5, 5), (5, 20), (0, 20)),
            Window(20, 10, 30, 30),
            (25, 0, 30, 10),
            50 / 400,
        ),
        # larger than the window on all sides
        (
            ring_of((-50, -50), (90, -50), (90, 90), (-50, 90)),
            Window(10, 10, 20, 20),
            (0, 0, 20, 20),
            400 / 19600,
        ),
    ],
)
def test_the_box_of_a_cut_polygon_is_that_of_what_is_seen(ring, window, box, share) -> None:
    for turned in (ring, ring[::-1]):
        found = crop_annotation(Annotation(box_of(ring), 0, polygons=[turned], area=100.0), window)
        assert found is not None
        assert found[0].box == pytest.approx(box) and found[1] == pytest.approx(share)
        assert found[0].area == pytest.approx(100 * share)


def test_nothing_is_seen_of_an_object_that_only_surrounds_the_window() -> None:
    ring = ring_of((0, 0), (50, 0), (50, 50), (40, 50), (40, 10), (10, 10), (10, 50), (0, 50))
    assert crop_annotation(Annotation(box_of(ring), 0, polygons=[ring]), Window(15, 15, 20, 20)) is None
    assert crop_annotation(Annotation((0, 0, 10, 10), 0), Window(10, 0, 20, 20)) is None


def test_keypoints_outside_become_unlabelled() -> None:
    points = np.array([[12.0, 14.0, 2.0], [40.0, 14.0, 2.0], [15.0, 15.0, 0.0]])
    found = crop_annotation(Annotation((10, 10, 45, 20), 0, keypoints=points), Window(10, 10, 20, 20))
    assert found is not None and found[0].keypoints is not None
    assert found[0].keypoints.tolist() == [[2, 4, 2], [0, 0, 0], [0, 0, 0]] and points[1, 0] == 40


def squares(*boxes: tuple[int, int, int, int], side: int = 100) -> FileDataset:
    annotations = [Annotation(b, 0, id=i, area=1.0) for i, b in enumerate(boxes)]
    return FileDataset(
        [LabelledImage(7, "a.png", None, side, side, annotations)],
        DatasetInfo(name="d", classes=["a"], class_ids=[1]),
    )


def test_a_remnant_is_ignored_and_counted() -> None:
    # tiles begin at 0 and 50, with nothing shared
    data = squares((10, 10, 20, 20), (45, 10, 70, 20), (30, 60, 70, 70))
    tiled = TiledDataset(data, TilesConfig(side=50, overlap=0, visible=0.3, empty=0))
    by_place = {tiled.image(i).image_id: tiled.image(i).annotations for i in range(len(tiled))}
    assert [(a.id, a.crowd) for a in by_place["7@0,0"]] == [(0, False), (1, True)]
    assert [(a.id, a.crowd) for a in by_place["7@50,0"]] == [(1, False)]
    assert [(a.id, a.crowd) for a in by_place["7@0,50"]] == [(2, False)]  # half of it in each
    assert [(a.id, a.crowd) for a in by_place["7@50,50"]] == [(2, False)]
    assert tiled.problems.counts[ProblemKind.REMNANT] == 1 and not data.problems
    assert "4 views of 3 objects, 3 of them of a part, and 1 remnants" in tiled.line


def test_an_object_larger_than_a_tile_is_an_object_in_those_that_it_fills() -> None:
    tiled = TiledDataset(squares((10, 10, 95, 95)), TilesConfig(side=25, overlap=0, visible=0.5))
    objects = {
        tiled.image(i).image_id: [a.crowd for a in tiled.image(i).annotations] for i in range(len(tiled))
    }
    assert objects["7@25,25"] == objects["7@50,50"] == [False]  # 9% of the object, as much as any tile shows
    assert objects["7@0,25"] == [False]  # 60% of that
    assert "7@0,0" not in objects or objects["7@0,0"] == [True]  # 36%


def test_the_asked_share_of_empty_tiles_is_kept() -> None:
    data = squares((0, 0, 5, 5), side=1000)
    counts = {
        share: len(TiledDataset(data, TilesConfig(side=50, overlap=0, empty=share)))
        for share in (0, 0.2, 0.5, 1)
    }
    assert counts[0] == 1 and counts[1] == 400
    assert abs(counts[0.2] - 1 - 0.2 * 399) <= 2 and abs(counts[0.5] - 1 - 0.5 * 399) <= 2
    tiles = TilesConfig(side=50, overlap=0)
    assert len(TiledDataset(data, tiles, keep_empty=True)) == 400
    first, again = (TiledDataset(data, tiles) for _ in range(2))
    assert [first.image(i) for i in range(len(first))] == [again.image(i) for i in range(len(again))]


def test_a_image_that_fits_into_a_tile_stays_whole() -> None:
    data = squares((0, 0, 5, 5))
    for side in (100, 2000):
        tiled = TiledDataset(data, TilesConfig(side=side, overlap=0))
        assert len(tiled) == 1 and tiled.image(0) == data.image(0)


def test_lvis_lists_hold_for_a_tile() -> None:
    annotations = [Annotation((0, 0, 5, 5), 0), Annotation((60, 0, 70, 9), 1), Annotation((60, 0, 70, 9), 2)]
    image = LabelledImage(7, "a.png", None, 100, 100, annotations, not_exhaustive=[2], negative=[4])
    data = FileDataset([image], DatasetInfo(name="d", classes=list("abcde"), class_ids=[1, 2, 3, 4, 5]))
    left = TiledDataset(data, TilesConfig(side=50, overlap=0)).image(0)
    assert (
        [a.label for a in left.annotations] == [0] and left.not_exhaustive == [2] and left.negative == [1, 4]
    )


# ---- pixels


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


def scan(
    folder: Path, name: str = "scan.png", side: tuple[int, int] = (90, 130), channels: int = 3
) -> FileDataset:
    pixels = np.random.default_rng(0).integers(0, 256, (*side, channels), np.uint8)
    path = folder / name
    if path.suffix == ".npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    image = LabelledImage(1, name, path, *side, [Annotation((30, 30, 50, 50), 0, area=400.0, id=1)])
    schema = KeypointSchema(names=["a"], flip=[0], sigmas=[0.1])
    return FileDataset([image], DatasetInfo(name=name, classes=["a"], class_ids=[1], keypoints=schema))


TILES = TilesConfig(side=40, overlap=10, empty=1)


def test_pixels_are_those_of_the_image(tmp_path: Path, cache: Path) -> None:
    data = scan(tmp_path)
    whole = data.pixels(0)
    kept = DecodedImages(10**6)
    for store in (None, kept):
        tiled = TiledDataset(data, TILES, decoded=store)
        for index, window in enumerate(tile_windows(90, 130, 40, 10)):
            found = tiled.pixels(index)
            expected = whole[window.top : window.top + 40, window.left : window.left + 40]
            assert found.shape == (tiled.image(index).height, tiled.image(index).width, 3)
            assert np.array_equal(found, expected) and type(found) is np.ndarray and found.flags.writeable
    assert tiled.keypoints == data.keypoints
    (file,) = cache.glob("*.npy")
    assert file.stat().st_size < whole.nbytes + 200 and not list(cache.glob("*.partial"))
    assert kept.bytes == whole.nbytes


def test_an_array_is_read_where_it_is(tmp_path: Path, cache: Path) -> None:
    data = scan(tmp_path, "scan.npy", channels=5)
    tiled = TiledDataset(data, TILES, channels=5, decoded=DecodedImages(10**6))
    assert np.array_equal(tiled.pixels(1), np.load(tmp_path / "scan.npy")[:40, 30:70])
    assert not cache.exists()


def test_another_image_under_the_same_name_is_decoded_again(tmp_path: Path, cache: Path) -> None:
    data = scan(tmp_path)
    before = TiledDataset(data, TILES, decoded=DecodedImages(10**6)).pixels(0)
    Image.fromarray(255 - data.pixels(0)).save(tmp_path / "scan.png", compress_level=1)
    after = TiledDataset(data, TILES, decoded=DecodedImages(10**6)).pixels(0)
    assert np.array_equal(after, 255 - before)


def test_a_file_that_another_training_removes_is_decoded_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it goes between the look for it and the note that it is used, which once left an empty one."""
    store, there = DecodedImages(10**6), Path.exists
    tiled = TiledDataset(scan(tmp_path), TILES, decoded=store)
    store.fill()

    def looked(self: Path, **_: Any) -> bool:
        found = there(self)
        if found and self.suffix == ".npy":
            self.unlink()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", looked)
        store.fill()
    for file in cache.glob("*.npy"):
        assert file.stat().st_size
        file.unlink()
    store.fill()
    assert tiled.pixels(0).any()


def test_the_cache_is_bounded(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 90 * 130 * 3
    for name in ("a.png", "b.png"):
        store = DecodedImages(size * 3 // 2)
        TiledDataset(scan(tmp_path, name), TILES, decoded=store)
        told: list[tuple[int, int]] = []
        store.fill(lambda done, of, told=told: told.append((done, of)))
        assert told == [(0, size), (size, size)]
        assert len(list(cache.glob("*.npy"))) == 1  # the other training's made room
    config = load_config({}, ["model.mask_head=null"])
    config.data.tiles = TilesConfig(side=40, overlap=10, cache_gb=0)
    _, dataset, _, lines = prepare_data(config, scan(tmp_path))
    assert dataset.pixels(0).shape == (40, 40, 3)
    assert "1 images are decoded anew" in lines[-1] and "raise data.tiles.cache_gb" in lines[-1]
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(decoded_module.shutil, "disk_usage", lambda folder: usage)
    store = DecodedImages(10**6)
    TiledDataset(scan(tmp_path, "c.png"), TILES, decoded=store)
    with pytest.raises(UserError, match="MASKRCNN_CACHE"):
        store.fill()


def test_another_process_keeps_its_unfinished_file_and_its_lock(tmp_path: Path) -> None:
    names = [".a.npy.0000.tmp", "a.lock", "a.npy"]
    for name in names:
        (tmp_path / name).write_bytes(b"x" * 100)
    DecodedImages(0, tmp_path)._make_room(0)
    assert sorted(path.name for path in tmp_path.iterdir()) == names[:2]


def test_what_cannot_be_decoded_is_one_line(tmp_path: Path, cache: Path) -> None:
    data = scan(tmp_path)
    tiled = TiledDataset(data, TILES, decoded=DecodedImages(10**6))
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "scan.png")
    with pytest.raises(DataError, match="30 x 20.*labels are for 130 x 90"):
        tiled.pixels(0)
    (tmp_path / "scan.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"scan\.png: not an image of a known format") as caught:
        tiled.pixels(0)
    assert "\n" not in str(caught.value)


def test_many_processes_decode_once(tmp_path: Path, cache: Path) -> None:
    data = scan(tmp_path)
    store = DecodedImages(10**6)
    file = store.reserve(tmp_path / "scan.png", 3, 90 * 130)
    assert file is not None
    code = (
        "import sys; from pathlib import Path; from maskrcnn.training_data.decoded import decode_apart;"
        "decode_apart(Path(sys.argv[1]), 3, Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "scan.png"), str(file)]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    inode = file.stat().st_ino
    decode_apart(tmp_path / "scan.png", 3, file)
    assert file.stat().st_ino == inode and np.array_equal(np.load(file), data.pixels(0))


def test_settings(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match="overlap must be below side"):
        load_config({}, ["data.tiles.side=64", "data.tiles.overlap=64"])
    config = load_config(
        {}, ["data.tiles.side=40", "data.tiles.overlap=10", "data.tiles.empty=0", "model.mask_head=null"]
    )
    data = scan(tmp_path)
    _, train, val, lines = prepare_data(config, data, data)
    assert isinstance(train, TiledDataset) and isinstance(val, TiledDataset)
    assert len(val) == 12 > len(train) and "decoded images: 0.00 GB" in lines[-1]
    config.data.tiles.val = False
    assert prepare_data(config, data, data)[2] is data
    assert prepare_data(config, data)[0].model.input.tile_side == 40
    config.model.rpn.ignore_iou = None
    with pytest.raises(UserError, match=r"add --set model\.rpn\.ignore_iou=0\.5$"):
        prepare_data(config, data)
    config.model.roi.ignore_iou = None
    both = r"add --set model\.rpn\.ignore_iou=0\.5 --set model\.roi\.ignore_iou=0\.5$"
    with pytest.raises(UserError, match=both):
        prepare_data(config, data)
    config.data.tiles = None
    filled, *_, lines = prepare_data(config, data)
    assert filled.model.input.tile_side == 130 and "in tiles of 130" in lines[0]
    config.model.input.tile_side = 0
    assert prepare_data(config, data)[1:] == (data, None, [])


def test_the_command_line_cuts(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for split in ("train", "val"):
        write_coco(Synthetic(2, split=split), tmp_path / f"data/{split}.json", tmp_path / f"data/{split}")
    sets = [
        "--set",
        "data.tiles.side=96",
        "--set",
        "data.tiles.overlap=32",
        "--set",
        "data.augment.short_sides=[96]",
    ]
    trained = {}
    monkeypatch.setattr(
        "maskrcnn.train.trainer.train", lambda config, train, val, run, **_: trained.update(a=train, b=val)
    )
    command = [str(tmp_path / "data"), "--recipe", "quick", *sets]
    assert main(["train", *command, "--run", str(tmp_path / "run")]) == 0
    assert all(isinstance(data, TiledDataset) and len(data.dataset) == 2 for data in trained.values())
    assert len(trained["b"]) == 2 * 2 * 2  # 128 x 160 in tiles of 96
    said = capsys.readouterr().err
    assert "2 of 2 images cut" in said and "decoded images: 0.00 GB" in said
    assert len(list(cache.glob("*.npy"))) == 4
    assert main(["samples", *command, "--out", str(tmp_path / "sheet.jpg"), "--count", "2"]) == 0
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.width > 400


def test_check_advises_tiles_that_can_be_trained_on(tmp_path: Path, cache: Path) -> None:
    dataset = Synthetic(5)
    stats = describe(dataset)
    stats.sides, stats.short_sides, stats.long_sides = [20.0, 30, 50, 60, 90], [10_000.0] * 5, [10_000.0] * 5
    advice = advise("scans", stats)
    config = load_config(advice.recipe, advice.overrides)
    tiles = config.data.tiles
    assert (
        tiles is not None and tiles.side == 1280 and tiles.overlap == 96
    )  # 1024 of the network's show 30 pixels as 24
    assert config.model.input.short_side == 1024 == max(config.data.augment.short_sides)
    assert config.data.augment.crop is None and config.data.augment.mosaic == 0
    assert "--set data.tiles.side=1280" in advise("scans", stats, "nuclei-mobilenet").command
    # remnants are ignored, though the recipe has no use for that
    form = prepare_data(config, dataset)[0].model.input
    assert tile_side(form, (10_000, 10_000), "auto") == tiles.side  # what predict takes
    assert tile_side(form, (2 * tiles.side, 2 * tiles.side), "auto") is None
    # and the anchors are measured against what the tiles show
    stats.box_sizes = np.full((stats.objects, 2), 28.0)
    stats.image_sizes = np.full((5, 2), 10_000)
    findings = Findings()
    check_anchors(dataset, stats, config, "train", findings)
    assert not list(findings)
    stats.sides = [300.0, 400, 500, 600, 900]  # large enough in whole images
    assert load_config(advice.recipe, advise("scans", stats).overrides).data.tiles is None


MEMORY = """
import json, resource, sys
import numpy as np
from pathlib import Path
from maskrcnn.config.load import load_config
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.training_data.prepare import prepare_data
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.training_data.samples import TrainSamples
from maskrcnn.masks.rle import bitmap_rle

path, side = Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
boxes = [(x, y, x + 60, y + 60) for x, y in rng.integers(0, side - 60, (400, 2)).tolist()]
ring = lambda b: np.array([[b[0], b[1]], [b[2], b[1]], [b[2], b[3]], [b[0], b[3]]], float)
annotations = [Annotation(b, 0, polygons=[ring(b)], area=3600.0, id=i) for i, b in enumerate(boxes)]
data = FileDataset(
    [LabelledImage(1, path.name, path, side, side, annotations)], DatasetInfo(name="scan", classes=["a"], class_ids=[1]))
config = load_config({}, ["data.tiles.side=512", "data.augment.short_sides=[512]", "data.augment.flip=0"])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)
before = peak()
_, tiled, _, lines = prepare_data(config, data)
samples = TrainSamples(tiled, [0], config)
shapes = {tuple(samples[index, 0, 0].pixels.shape) for index in range(0, len(tiled), 7)}
assert shapes == {(512, 512, 3)}, shapes
print(json.dumps({"grew": peak() - before, "tiles": len(tiled), "decoded": side * side * 3 / 2**20}))
"""


def test_a_large_scan_trains_in_the_memory_of_its_tiles(tmp_path: Path, cache: Path) -> None:
    side = 6000
    strip = np.random.default_rng(0).integers(0, 256, (60, side, 3), np.uint8)
    Image.fromarray(np.tile(strip, (side // 60, 1, 1))).save(tmp_path / "scan.bmp")
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "scan.bmp"), str(side)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["tiles"] > 100 and found["decoded"] > 100
    assert found["grew"] < found["decoded"] / 2, found

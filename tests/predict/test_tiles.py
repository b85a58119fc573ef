"""Objects of an image in tiles come out once and whole, wherever the seams are."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import slow_join
from fixed_model import config
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.config.model import InputConfig
from maskrcnn.errors import UserError
from maskrcnn.images.regions import ArrayRegions
from maskrcnn.images.tiles import Window, tile_grid
from maskrcnn.instances import Instances, Masks
from maskrcnn.masks.rle import bitmap_rle, rle_bitmap
from maskrcnn.predict.large import TiledImage, grid_of, read_tiles, tile_overlap, tile_side
from maskrcnn.predict.tiles import TileJoiner, best_first, merge, view_tile


def instances_of(numbers: np.ndarray, masks: bool = True) -> Instances:
    """What a faultless network finds in a label image (H, W): each number that is there, 0 is background."""
    y, x = np.nonzero(numbers)
    present, rows = np.unique(numbers[y, x], return_inverse=True)
    count = len(present)
    first, last = np.full((2, count), 1 << 30), np.zeros((2, count), np.int64)
    np.minimum.at(first, (slice(None), rows), (x, y))
    np.maximum.at(last, (slice(None), rows), (x, y))
    boxes = np.concatenate([first, last + 1]).T
    known = {
        row: (x0, y0, numbers[y0:y1, x0:x1] == present[row])
        for row, (x0, y0, x1, y1) in enumerate(boxes.tolist())
    }
    array = boxes.astype(np.float32)
    size = (numbers.shape[0], numbers.shape[1])
    return Instances(
        boxes=array,
        scores=np.full(count, 0.9, np.float32),
        labels=np.zeros(count, np.int64),
        names=[str(number) for number in present],
        size=size,
        masks=Masks(np.zeros((count, 4, 4), np.float32), array, size, 0.5, known) if masks else None,
    )


Find = Callable[[np.ndarray], Instances]  # what is in a tile's part of a label image


def parts_of(numbers: np.ndarray, side: int, overlap: int, find: Find = instances_of) -> list[Instances]:
    """The part that each tile gives out."""
    grid = tile_grid(*numbers.shape, side, overlap)
    joiner, parts = TileJoiner(grid), []
    for number in range(len(grid)):
        x0, y0, x1, y1 = grid.tile(number)[0].box
        parts.append(joiner.add([view_tile(grid, number, find(numbers[y0:y1, x0:x1]))]))
    return parts


def joined(numbers: np.ndarray, side: int, overlap: int, find: Find = instances_of) -> Instances:
    return best_first(merge(parts_of(numbers, side, overlap, find)))


def joined_at_once(numbers: np.ndarray, side: int, overlap: int, find: Find = instances_of) -> Instances:
    size = (numbers.shape[0], numbers.shape[1])
    grid, views = tile_grid(*size, side, overlap), []
    for number in range(len(grid)):
        window, core = grid.tile(number)
        x0, y0, x1, y1 = window.box
        views.append(slow_join.TileView(window, core, find(numbers[y0:y1, x0:x1])))
    return slow_join.join_tiles(views, size)


def comparable(found: Instances) -> list[object]:
    """All that is known of each object, in an order that does not depend on the way there."""
    masks = [None] * len(found) if found.masks is None else found.masks.rle()
    rows = zip(found.names, found.boxes.tolist(), found.scores.tolist(), masks, strict=True)
    return sorted(map(repr, rows))


def without_masks(numbers: np.ndarray) -> Instances:
    return instances_of(numbers, masks=False)


def check(found: Instances, numbers: np.ndarray) -> None:
    """Each object of the label image once, with its pixels and its box."""
    expected = instances_of(numbers)
    assert sorted(found.names) == sorted(expected.names)
    assert found.masks is not None
    order = {name: place for place, name in enumerate(expected.names)}
    for row, (x0, y0, bitmap) in enumerate(found.masks.windows()):
        number = int(found.names[row])
        assert (numbers[y0 : y0 + bitmap.shape[0], x0 : x0 + bitmap.shape[1]][bitmap] == number).all()
        assert bitmap.sum() == (numbers == number).sum()
        assert np.array_equal(found.boxes[row], expected.boxes[order[found.names[row]]])


@given(
    height=st.integers(1, 300), width=st.integers(1, 300), side=st.integers(8, 90), overlap=st.integers(0, 7)
)
def test_cores_cover_an_image_once_and_lie_in_their_tiles(
    height: int, width: int, side: int, overlap: int
) -> None:
    covered = np.zeros((height, width), int)
    grid = tile_grid(height, width, side, overlap)
    for window, core in map(grid.tile, range(len(grid))):
        x0, y0, x1, y1 = core.box
        covered[y0:y1, x0:x1] += 1
        assert window.left <= x0 and window.top <= y0 and x1 <= window.box[2] and y1 <= window.box[3]
    assert (covered == 1).all()


@pytest.mark.parametrize("overlap", [25, 50])
@pytest.mark.parametrize("radius", [1, 3, 7])
def test_discs_at_every_offset_to_a_seam(radius: int, overlap: int) -> None:
    pitch = 2 * radius + 2  # and one more in every row, so that every offset comes
    numbers = np.zeros((400, 400), np.int32)
    count = 0
    for row, y in enumerate(range(radius, 400 - radius, pitch)):
        for x in range(radius + row % pitch, 400 - radius, pitch):
            count += 1
            cv2.circle(numbers, (x, y), radius, count, -1)
    found = joined(numbers, 100, overlap)
    assert len(found) == count
    check(found, numbers)


def strokes(seed: int) -> np.ndarray:
    """Lines, or discs and rings, of any length: uint8 (H, W) of 0 and 1."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(40, 330, 2).tolist()
    pixels = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 8)):
        (a, b), (c, d) = rng.integers(0, [width, height], (2, 2)).tolist()
        if seed % 2:
            cv2.line(pixels, (a, b), (c, d), 1, int(rng.integers(2, 6)))
        else:
            cv2.circle(pixels, (a, b), int(rng.integers(3, 45)), 1, int(rng.choice([-1, 3])))
    return pixels


# in 269 and 1305 a tile shows an object in two pieces, of which one is alike to what the other tile shows
@pytest.mark.parametrize("seed", [*range(40), 269, 1305])
def test_objects_that_tiles_show_in_pieces_come_out_whole(seed: int) -> None:
    pixels = strokes(seed)
    count = cv2.connectedComponents(pixels)[0] - 1
    found = joined(pixels, 64, 32, lambda tile: instances_of(cv2.connectedComponents(tile)[1]))
    assert len(found) == count and found.masks is not None
    assert np.array_equal(found.masks.bitmaps().sum(axis=0), pixels)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), side=st.integers(24, 60))
def test_objects_larger_than_a_tile_come_out_whole(seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = np.zeros((130, 170), np.int32)
    for number in range(1, 9):  # later ones lie over earlier ones, as label images have it
        centre = tuple(int(v) for v in rng.integers(0, (170, 130)))
        axes = tuple(int(v) for v in rng.integers(2, 70, 2))
        cv2.ellipse(numbers, centre, axes, int(rng.integers(0, 180)), 0, 360, number, -1)
    # an object in several parts cannot be known for one from parts in tiles that share nothing of it
    for number in np.unique(numbers[numbers > 0]):
        parts, labelled = cv2.connectedComponents((numbers == number).astype(np.uint8), connectivity=4)
        for part in range(2, parts):
            numbers[labelled == part] = 0
    found = joined(numbers, side, side // 4)
    assert set(found.names) == {str(number) for number in np.unique(numbers[numbers > 0])}


def test_a_long_object_over_many_tiles_is_one() -> None:
    numbers = np.zeros((300, 300), np.int32)
    cv2.line(numbers, (5, 10), (290, 280), 1, 9)
    cv2.rectangle(numbers, (200, 20), (290, 60), 2, -1)
    check(joined(numbers, 60, 15), numbers)


def test_boxes_without_masks_are_joined() -> None:
    numbers = np.zeros((200, 200), np.int32)
    cv2.rectangle(numbers, (20, 20), (180, 50), 1, -1)
    cv2.rectangle(numbers, (90, 90), (110, 110), 2, -1)
    found = joined(numbers, 80, 20, without_masks)
    expected = instances_of(numbers, masks=False)
    assert sorted(map(tuple, found.boxes.tolist())) == sorted(map(tuple, expected.boxes.tolist()))
    assert found.masks is None


def test_classes_are_not_joined_and_nothing_is_fine() -> None:
    numbers = np.zeros((50, 100), np.int32)
    numbers[10:20, 40:60] = 1
    labels = itertools.count()

    def find(shown: np.ndarray) -> Instances:
        found = instances_of(shown)
        found.labels = np.full(len(found), next(labels))
        return found

    assert len(joined(numbers, 60, 20, find)) == 1  # of two classes at one place, that of the centre's tile
    assert len(joined(np.zeros((50, 100), np.int32), 60, 20)) == 0


@given(bitmap=st.integers(0, 2**35 - 1), x0=st.integers(0, 3), y0=st.integers(0, 2))
def test_a_mask_known_by_its_pixels(bitmap: int, x0: int, y0: int) -> None:
    pixels = np.array([bitmap >> place & 1 for place in range(35)], bool).reshape(5, 7)
    masks = Masks(
        np.ones((2, 4, 4), np.float32), np.array([[0, 0, 3, 3]] * 2, np.float32), (7, 10), 0.5,
        {1: (x0, y0, pixels)},
    )  # fmt: skip
    whole = np.zeros((7, 10), bool)
    whole[y0 : y0 + 5, x0 : x0 + 7] = pixels
    assert np.array_equal(masks.bitmaps()[1], whole) and masks.areas()[1] == pixels.sum()
    assert masks.rle()[1] == bitmap_rle(whole)
    assert np.array_equal(masks[[1]].bitmaps()[0], whole) and masks[:1].known == {}
    assert np.array_equal(masks[::-1].bitmaps(), masks.bitmaps()[::-1])
    assert np.array_equal(masks.enlarged(2).bitmaps()[1], whole.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(rle_bitmap(masks.rle()[0]), masks.bitmaps()[0])


def test_which_images_are_taken_in_tiles() -> None:
    form = config().input.model_copy(update={"tile_side": 256})
    assert tile_side(form, (512, 512), "auto") is None
    assert tile_side(form, (100, 513), "auto") == 256
    assert tile_side(form, (5000, 5000), "off") is None
    assert tile_side(form, (5000, 5000), 600) == 600 and tile_side(form, (600, 600), 600) is None
    for never in (0, None):
        assert tile_side(form.model_copy(update={"tile_side": never}), (9000, 9000), "auto") is None
    assert tile_side(form, (5000, 5000), np.int64(600)) == 600  # type: ignore[arg-type]
    for wrong in (0, 31, -5, "no", "600", None, True, 600.0, np.array([64, 64]), [64]):
        with pytest.raises(UserError, match="tiles="):
            tile_side(form, (5000, 5000), wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["9" * 5000, "31", "-64", "1e3", "\N{SUPERSCRIPT TWO}", ""])
def test_tiles_on_the_command_line(text: str) -> None:
    assert read_tiles("auto") == "auto" and read_tiles("64") == 64
    with pytest.raises(UserError, match="--tiles"):
        read_tiles(text)


def test_windows_know_their_sides() -> None:
    assert Window(3, 4, 10, 20).box == (3, 4, 13, 24)


def cells(axes: tuple[int, int], seed: int, size: int = 400) -> np.ndarray:
    """A label image of ellipses that do not touch."""
    rng = np.random.default_rng(seed)
    numbers = np.zeros((size, size), np.int32)
    pitch = 2 * max(axes) + 6
    for y in range(pitch // 2, size - pitch // 2, pitch):
        for x in range(pitch // 2, size - pitch // 2, pitch):
            cv2.ellipse(numbers, (x, y), axes, int(rng.integers(0, 180)), 0, 360, int(numbers.max()) + 1, -1)
    return numbers


def inexact(found: Instances, rng: np.random.Generator, share: float) -> Instances:
    """Each mask with its sides moved at random by a share of its size, as networks find them."""
    assert found.masks is not None
    for row, (x0, y0, bitmap) in found.masks.known.items():
        height, width = bitmap.shape
        moves = np.rint(rng.normal(0, share, 4) * [width, height, width, height]).astype(int)
        box = np.array([x0, y0, x0 + width, y0 + height]) + moves
        left, top = np.maximum(box[:2], 0).tolist()
        right, bottom = np.minimum(box[2:], found.size[::-1]).tolist()
        if right > left and bottom > top:
            turned = cv2.resize(bitmap.astype(np.uint8), (right - left, bottom - top)) > 0
            found.masks.known[row] = (left, top, turned)
    return found


def roughly(seed: int) -> Find:
    """A network that is not exact and finds no slivers."""
    rng = np.random.default_rng(seed)

    def find(shown: np.ndarray) -> Instances:
        shown = np.where(np.bincount(shown.ravel())[shown] < 20, 0, shown)
        return inexact(instances_of(shown), rng, 0.04)

    return find


@pytest.mark.parametrize("overlap", [32, 64])
@pytest.mark.parametrize("axes", [(30, 20), (80, 60)])
def test_inexact_views_give_whole_objects(axes: tuple[int, int], overlap: int) -> None:
    for seed in range(3):
        numbers = cells(axes, seed)
        found = joined(numbers, 128, overlap, roughly(seed))
        assert len(found) == numbers.max() and found.masks is not None
        for name, mask in zip(found.names, found.masks.bitmaps(), strict=True):
            true = numbers == int(name)
            assert (true & mask).sum() > 0.7 * (true | mask).sum()


@pytest.mark.parametrize("overlap", [32, 64])
@pytest.mark.parametrize("axes", [(10, 10), (10, 3), (30, 5), (30, 20)])
def test_slanted_objects_without_masks_are_counted_once(axes: tuple[int, int], overlap: int) -> None:
    for seed in range(3):
        numbers = cells(axes, seed)
        assert len(joined(numbers, 128, overlap, without_masks)) == numbers.max()


def test_a_ring_is_not_the_object_in_it() -> None:
    numbers = np.zeros((300, 300), np.int32)
    cv2.circle(numbers, (150, 150), 100, 1, 12)
    cv2.circle(numbers, (150, 150), 60, 2, -1)
    cv2.circle(numbers, (150, 150), 20, 3, -1)
    for side in (60, 100, 160):
        for part in (4, 2):
            check(joined(numbers, side, side // part), numbers)


@pytest.mark.parametrize("y", [126, 110])
def test_a_sliver_at_the_end_of_two_tiles_is_no_object(y: int) -> None:
    """Found where both tiles of the upper row end, and not by those below, which see what it is."""
    places = np.arange(224)[:, None] * 1000 + np.arange(224)  # so that a tile knows where it is

    def find(shown: np.ndarray) -> Instances:
        numbers = np.zeros(shown.shape, np.int32)
        if shown[0, 0] < 1000:
            numbers[(shown // 1000 >= y) & (shown % 1000 > 105) & (shown % 1000 < 115)] = 1
        return instances_of(numbers)

    # what reaches into the middle of one of the tiles is kept
    assert len(joined(places, 128, 32, find)) == (1 if y < 112 else 0)


def random_objects(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A label image of ellipses and lines of any size, which may lie over each other and in several parts."""
    numbers = np.zeros((height, width), np.int32)
    for number in range(1, int(rng.integers(1, 30))):
        centre = tuple(int(v) for v in rng.integers(0, (width, height)))
        if rng.random() < 0.3:
            other = tuple(int(v) for v in rng.integers(0, (width, height)))
            cv2.line(numbers, centre, other, number, int(rng.integers(1, 9)))
        else:
            axes = tuple(int(v) for v in rng.integers(1, 4 ** rng.integers(1, 4), 2))
            cv2.ellipse(numbers, centre, axes, int(rng.integers(0, 180)), 0, 360, number, -1)
    return numbers


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(20, 220),
    width=st.integers(20, 160),
    side=st.integers(24, 90),
    part=st.integers(2, 4),
    masks=st.booleans(),
    exact=st.booleans(),
)
def test_tile_by_tile_is_all_at_once(
    seed: int, height: int, width: int, side: int, part: int, masks: bool, exact: bool
) -> None:
    numbers = random_objects(np.random.default_rng(seed), height, width)

    def find() -> Find:
        if not masks:
            return without_masks
        return instances_of if exact else roughly(seed)

    expected = comparable(joined_at_once(numbers, side, side // part, find()))
    assert comparable(joined(numbers, side, side // part, find())) == expected


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(60, 400), side=st.integers(32, 90))
def test_a_prediction_goes_on_at_any_row(seed: int, height: int, side: int) -> None:
    numbers = random_objects(np.random.default_rng(seed), height, 100)
    image = ArrayRegions(numbers.view(np.uint8).reshape(height, 100, 4))

    def find(tile: np.ndarray) -> Instances:
        return instances_of(tile.view(np.int32)[..., 0])

    def prediction() -> TiledImage:
        return TiledImage(image, side, find, most=100)

    parts = [comparable(part) for part in prediction().parts()]
    assert len(parts) == len(prediction())
    for start in range(len(parts)):
        assert [comparable(part) for part in prediction().parts(start)] == parts[start:]


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(30, 200),
    width=st.integers(30, 500),
    short_side=st.sampled_from([64, 100, 160]),
    divisor=st.sampled_from([4, 8, 32]),
)
def test_tiles_begin_where_cells_of_the_features_do_and_may_reach_beyond_the_image(
    height: int, width: int, short_side: int, divisor: int
) -> None:
    numbers = np.zeros((height, width), np.int32)
    places = itertools.product(range(3, height - 3, 8), range(3, width - 3, 8))
    for number, (y, x) in enumerate(places, 1):
        cv2.circle(numbers, (x, y), 3, number, -1)
    colours = {"channels": 4, "mean": [0] * 4, "std": [1] * 4}
    config = InputConfig(short_side=short_side, long_side=3 * short_side, divisor=divisor, **colours)
    grid = grid_of((height, width), 48, config)
    shorter, shapes = min(48, height, width), set()
    longest = 48 - tile_overlap((height, width), 48)
    assert longest == (36 if width > 8 * 48 else 24)
    for starts, length, side in ((grid.tops, height, grid.height), (grid.lefts, width, grid.width)):
        steps = [after - before for before, after in itertools.pairwise(starts)]
        assert (
            starts[0] == 0 and starts[-1] < length <= starts[-1] + side and all(s <= longest for s in steps)
        )
        cell = shorter * divisor / short_side
        far = [abs(start / cell - round(start / cell)) * cell for start in starts]
        assert max(far) <= 0.5 + 1e-9 or (
            longest // cell * cell < 0.8 * longest and starts[-1] + side == length
        )

    def find(tile: np.ndarray) -> Instances:
        shapes.add(tile.shape[:2])
        return instances_of(np.ascontiguousarray(tile).view(np.int32)[..., 0])

    image = ArrayRegions(numbers.view(np.uint8).reshape(height, width, 4))
    found = TiledImage(image, 48, find, most=1000, config=config).whole()
    assert shapes == {(grid.height, grid.width)} and found.size == (height, width)
    check(found, numbers)


@pytest.mark.parametrize(("order", "colour"), [("rgb", [0, 116, 255]), ("bgr", [255, 116, 0])])
def test_what_is_found_beyond_the_image_is_left_out_and_cut(order: str, colour: list[int]) -> None:
    image = ArrayRegions(np.full((80, 60, 3), 9, np.uint8))
    # so tiles of 64 begin at multiples of 28
    config = InputConfig(short_side=64, long_side=64, divisor=28, order=order, mean=[-3, 116.28, 300])
    seen = []

    def find(tile: np.ndarray) -> Instances:
        seen.append(tile)
        numbers = np.zeros(tile.shape[:2], np.int32)
        if len(seen) == 2:  # from row 28 on, of which 52 are in the image
            numbers[46:60, 10:20], numbers[53:60, 30:50] = 1, 2
        return instances_of(numbers)

    prediction = TiledImage(image, 64, find, most=2, config=config)
    found = prediction.whole()
    assert [len(tile) for tile in seen] == [64, 64] and prediction.full == 1  # by what the model gave
    assert (seen[1][:52] == 9).all() and (seen[1][52:] == colour).all()
    assert found.names == ["1"] and found.boxes.tolist() == [[10, 74, 20, 80]]
    assert found.masks is not None and found.masks.areas().tolist() == [60]


def test_of_small_objects_a_restart_predicts_one_row_again() -> None:
    numbers = cells((4, 4), 0, 900)
    image, seen = ArrayRegions(numbers.view(np.uint8).reshape(900, 900, 4)), []

    def find(tile: np.ndarray) -> Instances:
        seen.append(tile)
        return instances_of(tile.view(np.int32)[..., 0])

    prediction = TiledImage(image, 100, find, most=100)
    list(prediction.parts())
    whole = len(seen)
    done: list[tuple[int, int]] = []
    list(prediction.parts(62, progress=lambda now, all: done.append((now, all))))
    assert whole == 144 and len(seen) - whole == 96  # rows 4 and 5 to there once more, then all that is left
    assert done[0] == (63, 144) and done[-1] == (144, 144)


def test_an_object_is_given_out_with_the_last_tile_that_may_change_it() -> None:
    numbers = np.zeros((400, 175), np.int32)
    numbers[10:30, 10:30] = 1
    numbers[60:90, 40:60] = 2  # in the strip that tile 0 shares with that below, 2
    numbers[20:380, 165:170] = 3
    numbers[5:9, 80:90] = 4  # in the strip that tiles 0 and 1 share
    numbers[80:85, 78:95] = 5  # where four meet
    assert [sorted(part.names) for part in parts_of(numbers, 100, 25)] == [
        ["1"], ["4"], ["2"], ["5"], [], [], [], [], [], ["3"],
    ]  # fmt: skip


def test_tiles_that_are_full_are_counted() -> None:
    numbers = cells((4, 4), 0, 200)

    def find(tile: np.ndarray) -> Instances:
        return instances_of(tile.view(np.int32)[..., 0])[:30]

    prediction = TiledImage(ArrayRegions(numbers.view(np.uint8).reshape(200, 200, 4)), 100, find, most=30)
    prediction.whole()
    assert prediction.full == 9


def with_keypoints(numbers: np.ndarray) -> Instances:
    """The middle of each object's box is its keypoint, which a tile that cuts the object has elsewhere."""
    found = instances_of(numbers)
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    found.keypoints = np.concatenate([middles, np.ones((len(found), 1), np.float32)], axis=1)[:, None]
    found.keypoint_scores = found.scores * 0.5
    return found


def test_keypoints_at_seams_are_those_of_the_whole_object() -> None:
    numbers = np.zeros((400, 400), np.int32)
    for number in range(400):
        y, x = divmod(number, 20)
        cv2.circle(numbers, (x * 20 + 10, y * 20 + 10), 8, number + 1, -1)
    found = joined(numbers, 100, 25, with_keypoints)
    assert len(found) == 400 and found.keypoints is not None and found.keypoint_scores is not None
    middles = np.array([divmod(int(name) - 1, 20) for name in found.names])[:, ::-1] * 20 + 10.5
    assert np.array_equal(found.keypoints[:, 0, :2], middles)
    assert np.allclose(found.keypoint_scores, found.scores * 0.5)


def test_of_an_object_that_no_tile_shows_whole_the_best_view_has_the_keypoints() -> None:
    numbers = np.zeros((90, 300), np.int32)
    cv2.rectangle(numbers, (10, 40), (289, 50), 1, -1)

    def find(shown: np.ndarray) -> Instances:
        found = with_keypoints(shown)
        found.scores = found.scores * np.float32(0.5 if shown[:, 0].any() else 1)  # the first tile is surest
        return found

    found = joined(numbers, 90, 22, find)
    assert len(found) == 1 and found.boxes.tolist() == [[10, 40, 290, 51]]
    assert found.keypoints is not None and found.keypoints[0, 0].tolist() == [50, 45.5, 1]

"""Large images in tiles: whether each object comes out once, and time and memory against the image's size.

Sections (all by default): discs, whole, model, scan, borders, slides, peers. model and scan put images of
`--data` together; without it they are left out. SAHI and supervision are measured in model and peers
where the interpreter has them; neither needs torchvision:

    pip install --no-deps --target site sahi supervision pybboxes shapely fire termcolor requests tqdm
    pip install --no-deps --target site defusedxml pyDeprecate
    PYTHONPATH=site python benchmarks/tiles.py model peers --data data/nuclei
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
from measure import arguments, in_child, in_words, machine, peak_memory
from tile_peers import PEERS, Find, Window, pairs

from maskrcnn.config.model import InputConfig, ModelConfig, TestConfig
from maskrcnn.files import write_json
from maskrcnn.images.regions import ArrayRegions
from maskrcnn.images.tiles import Grid
from maskrcnn.instances import Instances, Masks
from maskrcnn.labels.open import open_dataset
from maskrcnn.masks.rle import rle_bitmap
from maskrcnn.model.mask_rcnn import MaskRCNN, RawDetections
from maskrcnn.predict.files import predict_files
from maskrcnn.predict.large import TiledImage
from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.predict.tiles import TileJoiner, view_tile
from maskrcnn.runtime.torch_engine import torch_runner
from maskrcnn.weights.load import load_model

SECTIONS = ("discs", "whole", "model", "scan", "borders", "slides", "peers")
MODEL = "nuclei-mobilenet"
PATTERN = 256  # pixels after which the slides repeat
TILE = 256  # side of the tiles in peers, model and scan
# Tiles beside ours: times the side, at the same scale, and which part of it neighbours share
OTHER_TILES = ((1, 4), (1, 3), (1, 2), (2, 4))
MOST_LABELS = 10_000  # in one of the images that are put together
NEAR = 2  # pixels from a border of the images that a scan is put together from


class BlobEngine:
    """Finds the bright blobs of a tile, fast: what is measured is everything around a network."""

    name = "blobs"

    def __init__(self, side: int, most: int = 400, map_side: int = 28) -> None:
        form = InputConfig(short_side=side, long_side=side, tile_side=side)
        self.config = ModelConfig(classes=["blob"], input=form, test=TestConfig(detections=most))
        self._most, self._map = most, map_side

    def __call__(
        self, images: torch.Tensor, sizes: torch.Tensor, score: float | None = None
    ) -> RawDetections:
        count, most = len(images), self._most
        boxes, masks = np.zeros((count, most, 4), np.float32), np.zeros((count, most, self._map, self._map))
        valid = np.zeros((count, most), bool)
        for number, image in enumerate(images):
            bright = (image[0].numpy() > 127).astype(np.uint8)
            found, labelled, stats, _ = cv2.connectedComponentsWithStats(bright)
            for row, (x, y, width, height, _) in enumerate(stats[1 : most + 1]):
                part = (labelled[y : y + height, x : x + width] == row + 1).astype(np.float32)
                masks[number, row] = cv2.resize(part, (self._map, self._map), interpolation=cv2.INTER_AREA)
                boxes[number, row] = x, y, x + width, y + height
            valid[number, : found - 1] = True
        tensors = (torch.from_numpy(each) for each in (boxes, valid, masks.astype(np.float32)))
        where, which, maps = tensors
        labels = torch.zeros(count, most, dtype=torch.int64)
        return RawDetections(where, torch.full((count, most), 0.9), labels, which, maps)


def numbered(numbers: np.ndarray) -> Instances:
    """What a faultless network finds in a label image (H, W): each number that is there, 0 is background."""
    y, x = np.nonzero(numbers)
    present, rows = np.unique(numbers[y, x], return_inverse=True)
    first, last = np.full((2, len(present)), 1 << 30), np.zeros((2, len(present)), np.int64)
    np.minimum.at(first, (slice(None), rows), (x, y))
    np.maximum.at(last, (slice(None), rows), (x, y))
    boxes = np.concatenate([first, last + 1]).T
    known = {
        row: (x0, y0, numbers[y0:y1, x0:x1] == present[row])
        for row, (x0, y0, x1, y1) in enumerate(boxes.tolist())
    }
    count, size = len(present), (numbers.shape[0], numbers.shape[1])
    boxes = boxes.astype(np.float32)
    return Instances(
        boxes=boxes,
        scores=np.full(count, 0.9, np.float32),
        labels=np.zeros(count, np.int64),
        names=[str(number) for number in present],
        size=size,
        masks=Masks(np.zeros((count, 1, 1), np.float32), boxes, size, 0.5, known),
    )


def in_tiles(numbers: np.ndarray, side: int) -> TiledImage:
    """A label image (H, W) int32 in tiles, each number of which is found."""
    image = ArrayRegions(numbers[..., None])
    return TiledImage(image, side, lambda tile: numbered(tile[..., 0]), most=1 << 30)


def grid_of_discs(count: int, radius: int) -> np.ndarray:
    """A label image of discs whose distance is prime to the tiles', so that every offset to a seam comes."""
    pitch, across = 2 * radius + 3, round(count**0.5)
    numbers = np.zeros((across * pitch, across * pitch), np.int32)
    for number in range(across**2):
        y, x = divmod(number, across)
        cv2.circle(numbers, (x * pitch + radius + 1, y * pitch + radius + 1), radius, number + 1, -1)
    return numbers


def discs(count: int) -> Iterator[tuple[str, Any]]:
    """Discs at every offset to the seams of tiles of 100 pixels: how many come out not once and whole."""
    for radius in (2, 7, 11):
        numbers = grid_of_discs(count, radius)
        found = in_tiles(numbers, 100).whole()
        areas = np.bincount(numbers.ravel())[1:]
        seen = np.bincount([int(name) for name in found.names], minlength=len(areas) + 1)[1:]
        assert found.masks is not None
        places = [int(name) - 1 for name in found.names]
        split = int((found.masks.areas() != areas[places]).sum())
        yield f"discs of radius {radius}", len(areas)
        yield "missed, twice, not whole", [int((seen == 0).sum()), int((seen > 1).sum()), split]


def nuclei(side: int, seed: int = 0) -> np.ndarray:
    """A label image of ellipses of nuclei's sizes that do not touch."""
    rng, numbers = np.random.default_rng(seed), np.zeros((side, side), np.int32)
    taken = np.zeros((side, side), np.uint8)
    for number in range(1, side * side // 1500):
        axes = tuple(int(v) for v in rng.integers(4, 22, 2))
        x, y = (int(v) for v in rng.integers(22, side - 22, 2))
        around = slice(y - 22, y + 23), slice(x - 22, x + 23)
        drawn = np.zeros((45, 45), np.uint8)
        cv2.ellipse(drawn, (22, 22), axes, int(rng.integers(0, 180)), 0, 360, 1, -1)
        grown = cv2.dilate(drawn, np.ones((3, 3), np.uint8))
        if not (taken[around] & grown).any():
            taken[around] |= drawn
            numbers[around][drawn > 0] = number
    return numbers


def windows(found: Instances) -> list[Window]:
    assert found.masks is not None
    return list(found.masks.windows())


def whole(side: int) -> Iterator[tuple[str, Any]]:
    """Nuclei-like objects that a faultless network finds: in tiles of 256 against at once."""
    numbers = nuclei(side)
    expected, found = numbered(numbers), in_tiles(numbers, 256).whole()
    yield f"nuclei-like objects in {side} x {side}, found in tiles", [len(expected), len(found)]
    share = len(pairs(windows(expected), windows(found), 0.9)) / len(expected)
    yield "matched at IoU 0.9", f"{share:.2%}"


def pieces(data: Path, piece: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The images (piece, piece, 3) of a folder, val first, with their objects' numbers (piece, piece)."""
    found = []
    for split in ("val", "train"):
        dataset = open_dataset(data, split)
        for index in range(len(dataset)):
            if dataset.size(index) == (piece, piece):
                numbers = np.zeros((piece, piece), np.int32)
                for number, annotation in enumerate(dataset.image(index).annotations, 1):
                    assert annotation.rle is not None
                    numbers[rle_bitmap(annotation.rle) > 0] = number
                found.append((dataset.pixels(index), numbers))
    return found


def joined(images: list[np.ndarray], across: int) -> np.ndarray:
    """Images (h, w, ...) side by side, `across` x `across` of them, beginning anew where there are fewer."""
    chosen = [images[number % len(images)] for number in range(across**2)]
    rows = [np.concatenate(chosen[start : start + across], 1) for start in range(0, across**2, across)]
    return np.concatenate(rows)


def model(data: Path, side: int, piece: int) -> Iterator[tuple[str, Any]]:
    """The shipped model on images put together, in its tiles against all at once at the tiles' scale."""
    chosen, across = pieces(data, piece), side // piece
    pixels = joined([pixels for pixels, _ in chosen], across)
    every = [chosen[place % len(chosen)][1] for place in range(across**2)]
    apart = [np.where(numbers, numbers + MOST_LABELS * place, 0) for place, numbers in enumerate(every)]
    labelled = joined(apart, across)
    yield f"{MODEL}, images of {piece} put together", f"{pixels.shape[1]} x {pixels.shape[0]}"
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/pixels.npy", pixels)
        np.save(f"{folder}/labelled.npy", labelled)
        got = in_child(__file__, "--at-once", folder)
        yield "at once: found, mask AP against the labels", [got["found"], f"{got['ap']:.2%}"]
        yield "at once: seconds, MB above before", [round(got["seconds"], 1), round(got["memory"] / 1e6)]
        for times, part in OTHER_TILES:
            got = in_child(__file__, "--other-tiles", str(times), str(part), "--case", folder)
            name = f"tiles of {times} x {TILE} that share 1/{part}"
            shares = [f"{got[each] / got['expected']:.2%}" for each in ("right", "half")]
            yield f"{name}: found, matched at IoU 0.9 and 0.5", [got["found"], *shares]
            yield f"{name}: mask AP against the labels", f"{got['ap']:.2%}"
            yield f"{name}: seconds, MB above before", [round(got["seconds"], 1), round(got["memory"] / 1e6)]
        yield from beside_peers("--case", folder)


def at_once(folder: Path) -> dict[str, Any]:
    """What the model finds in a case's image as one, at the scale of its tiles; saved for the others."""
    pixels, network = np.load(folder / "pixels.npy"), shipped()
    runner = torch_runner(for_larger(network, len(pixels) / TILE))
    before, begin = peak_memory(), time.perf_counter()
    (found,) = predict_pixels(runner, [pixels])
    spent = {"seconds": time.perf_counter() - begin, "memory": peak_memory() - before}
    found.pixels = None
    found.save(folder / "whole.npz")
    return spent | {"found": len(found), "ap": mask_ap(found, np.load(folder / "labelled.npy"))}


def mask_ap(found: Instances, labelled: np.ndarray) -> float:
    """COCO's mask AP of all that is found, best first, against a label image (H, W)."""
    some, expected, values = windows(found[np.argsort(-found.scores)]), windows(numbered(labelled)), []
    for iou in np.arange(0.5, 1, 0.05):
        right = np.zeros(len(some))
        right[[place for place, _ in pairs(some, expected, float(iou))]] = 1
        hits = right.cumsum()
        precision = np.maximum.accumulate((hits / np.arange(1, len(some) + 1))[::-1])[::-1]
        at = np.searchsorted(hits / len(expected), np.linspace(0, 1, 101))
        values.append(np.append(precision, 0)[at].mean())
    return float(np.mean(values))


def shipped() -> MaskRCNN:
    """The shipped model, its tiles as long as the images that are put together."""
    network = load_model(MODEL)
    network.config.input = network.config.input.model_copy(update={"tile_side": TILE})
    return network


def for_larger(network: MaskRCNN, times: float) -> MaskRCNN:
    """The network for images so many times as long as its tiles, at their scale and with as much room."""
    form, more = network.config.input, math.ceil(times) ** 2
    side = round(times * form.short_side)
    network.config.input = form.model_copy(update={"short_side": side, "long_side": side})
    network.config.test.detections *= more
    network.config.test.candidates *= more
    network.rpn.config.pre_nms_test *= more
    network.rpn.config.post_nms_test *= more
    return network


def other_tiles(folder: Path, times: int, part: int) -> dict[str, Any]:
    """A case in tiles of another side and overlap, in this process."""
    pixels, network = np.load(folder / "pixels.npy"), shipped()
    side = times * TILE
    runner = torch_runner(for_larger(network, times))
    expected = windows(Instances.load(folder / "whole.npz"))
    with mock.patch("maskrcnn.predict.large.tile_overlap", lambda size, side: side // part):
        predict_pixels(runner, [pixels[:side, :side]])  # first calls
        before, begin = peak_memory(), time.perf_counter()
        (found,) = predict_pixels(runner, [pixels], tiles=side)
        spent = {"seconds": time.perf_counter() - begin, "memory": peak_memory() - before}
    right, half = (len(pairs(expected, windows(found), iou)) for iou in (0.9, 0.5))
    counts = {"expected": len(expected), "found": len(found), "right": right, "half": half}
    return spent | counts | {"ap": mask_ap(found, np.load(folder / "labelled.npy"))}


def scan(data: Path, side: int, piece: int) -> Iterator[tuple[str, Any]]:
    """A scan put together from images: what the model counts in it, and in each of the images.

    An object that an image's border cuts is one there, and in the scan one with what lies beyond. So those at
    borders are counted apart, in both alike.
    """
    chosen, across = pieces(data, piece), round(side / piece)
    runner = torch_runner(shipped())
    singly = [predict_pixels(runner, [pixels])[0] for pixels, _ in chosen[: across**2]]
    numbers = [number % len(chosen) for number in range(across**2)]
    pixels = joined([pixels for pixels, _ in chosen], across)
    labelled = sum(int(chosen[number][1].max()) for number in numbers)
    (found,) = predict_pixels(runner, [pixels], tiles="auto")
    alone = sum(len(singly[n]) for n in numbers)
    inside, within = sum(away(singly[n], piece) for n in numbers), away(found, piece)
    yield f"{len(pixels)} x {len(pixels)} of {len(singly)} images of {piece}: objects in the labels", labelled
    yield f"counted by {MODEL} in each alone, in the scan", [alone, len(found)]
    yield "those at borders of the images", [alone - inside, len(found) - within]
    yield "the others", [inside, within]
    yield "the scan's count of the others, less (aim: within 2%)", f"{within / inside - 1:+.2%}"


def away(found: Instances, piece: int) -> int:
    """How many objects lie inside one of the images of `piece` pixels that an image is put together from."""
    first, last = (found.boxes[:, :2] - NEAR) // piece, (found.boxes[:, 2:] + NEAR) // piece
    return int((first == last).all(axis=1).sum())


def borders(count: int) -> Iterator[tuple[str, Any]]:
    """Seconds to join objects that each lie on a border of two tiles."""
    side, overlap, across = 4000, 1000, 200  # 20 rows of as many discs where a tile lies over the next row's
    columns = -(-count // (20 * across))
    grid = Grid([0, side - overlap], list(range(0, columns * side, side)), side, side, (7000, columns * side))
    joiner, found, seconds, cpu = TileJoiner(grid), 0, 0.0, 0.0
    disc = cv2.circle(np.zeros((13, 13), np.uint8), (6, 6), 6, 1, -1) > 0
    for row, top in enumerate(grid.tops):
        xs, ys = np.meshgrid(np.arange(across) * 20, np.arange(20) * 20 + side - overlap + 100 - top)
        places = np.stack([xs.ravel(), ys.ravel()], axis=1)
        known = {place: (x, y, disc) for place, (x, y) in enumerate(places.tolist())}
        boxes = np.concatenate([places, places + 13], axis=1).astype(np.float32)
        n, size = len(places), (side, side)
        masks = Masks(np.zeros((n, 28, 28), np.float32), boxes, size, 0.5, known)
        scores, labels = np.full(n, 0.9, np.float32), np.zeros(n, np.int64)
        one = Instances(boxes, scores, labels, ["blob"] * n, size, masks)
        views = [view_tile(grid, number, one) for number in range(row * columns, (row + 1) * columns)]
        begin, began = time.perf_counter(), time.process_time()
        found += len(joiner.add(views))
        seconds, cpu = seconds + time.perf_counter() - begin, cpu + time.process_time() - began
    yield "objects on a border, joined", found
    yield "seconds for that (aim 2), of the processor alone", [round(seconds, 2), round(cpu, 2)]


def write_slide(path: Path, side: int) -> int:
    """A tiled TIFF that repeats one pattern of blobs; returns how many blobs it shows."""
    import tifffile

    rng = np.random.default_rng(0)
    pattern = np.zeros((3 * PATTERN, 3 * PATTERN), np.uint8)
    for _ in range(6):  # in all of 3 x 3, so that what leaves on one side comes back on the other
        x, y = (int(v) for v in rng.integers(0, PATTERN, 2))
        axes = tuple(int(v) for v in rng.integers(5, 16, 2))
        angle = int(rng.integers(0, 180))
        for dx in range(-1, 4):
            for dy in range(-1, 4):
                cv2.ellipse(pattern, (x + dx * PATTERN, y + dy * PATTERN), axes, angle, 0, 360, 200, -1)
    tile = np.ascontiguousarray(pattern[:PATTERN, :PATTERN])
    times = side // PATTERN
    form = {"photometric": "minisblack", "tile": (PATTERN, PATTERN), "compression": "zlib", "bigtiff": True}
    with tempfile.TemporaryDirectory() as folder:
        tifffile.imwrite(Path(folder) / "one.tif", tile, **form)
        with tifffile.TiffFile(Path(folder) / "one.tif") as one:
            page = one.pages[0]
            one.filehandle.seek(page.dataoffsets[0])
            encoded = one.filehandle.read(page.databytecounts[0])
    tifffile.imwrite(path, (encoded for _ in range(times**2)), shape=(side, side), dtype=np.uint8, **form)
    # of n x n patterns there are a n^2 + b n + c blobs
    counts = [cv2.connectedComponents(np.tile(tile, (n, n)))[0] - 1 for n in (1, 2, 3)]
    a, b, c = np.linalg.solve([[1, 1, 1], [4, 2, 1], [9, 3, 1]], counts)
    return round(a * times**2 + b * times + c)


def slide(path: Path) -> dict[str, Any]:
    """Time and memory of a prediction of one slide, in this process."""
    engine = BlobEngine(1024)
    with tempfile.TemporaryDirectory() as folder:
        small = np.zeros((1024, 1024), np.uint8)
        cv2.imwrite(f"{folder}/small.png", small)
        predict_files(engine, [f"{folder}/small.png"], Path(folder) / "warm", save=())
        before, begin, began = peak_memory(), time.perf_counter(), time.process_time()
        summary = predict_files(engine, [path], Path(folder) / "out", save=())
        spent = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - began}
    return spent | {"found": summary.objects["blob"], "peak": peak_memory(), "before": before}


def slides(sides: list[int]) -> Iterator[tuple[str, Any]]:
    """Generated slides, each predicted by a fast engine in a process of its own."""
    done: list[tuple[int, dict[str, Any]]] = []
    for side in sides:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "slide.tif"
            expected = write_slide(path, side // PATTERN * PATTERN)
            got = in_child(__file__, "--slide", str(path))
        yield f"{side:,} x {side:,}: blobs, found", [expected, got["found"]]
        spent = [round(got["seconds"], 1), round(got["cpu"], 1)]
        yield "seconds, of the processor alone", spent
        megabytes = [round(got["peak"] / 1e6), round((got["peak"] - got["before"]) / 1e6)]
        yield "peak MB, above the model's", megabytes
        done.append((side, got))
    for (a, one), (b, other) in zip(done, done[1:], strict=False):
        factor = (b / a) ** 2
        slower = [round(other[way] / one[way], 2) for way in ("seconds", "cpu")]
        yield (
            f"{factor:.2f} times the area: times the time (aim {1.05 * factor:.2f}), of the processor",
            slower,
        )
    peaks = [got["peak"] for _, got in done]
    yield "peaks, largest / smallest (aim 1.10)", f"{max(peaks) / min(peaks):.3f}"


def peers(side: int) -> Iterator[tuple[str, Any]]:
    """A drawn image whose objects a faultless network finds, three of them larger than a tile."""
    yield "objects drawn", len(np.unique(scene(side))) - 1
    yield from beside_peers("--side", str(side))


def beside_peers(*case: str) -> Iterator[tuple[str, Any]]:
    """Each of `PEERS` on a case in a process of its own, and ratios to ours."""
    ours: dict[str, Any] = {}
    for name in PEERS:
        try:
            got = in_child(__file__, "--peer", name, *case)
        except ChildProcessError as error:
            yield name, f"not measured: {str(error).splitlines()[-1]:.90}"
            continue
        ours = ours or got
        shares = [f"{got[part] / got['expected']:.2%}" for part in ("right", "half")]
        yield f"{name}: found, matched at IoU 0.9 and 0.5", [got["found"], *shares]
        yield f"{name}: seconds, MB above before", [round(got["seconds"], 1), round(got["memory"] / 1e6)]
        ratios = [round(got[part] / max(ours[part], 1e-9), 2) for part in ("seconds", "memory")]
        yield f"{name}: times ours", ratios


def scene(side: int) -> np.ndarray:
    """Nuclei-like objects and three that are larger than a tile of 256."""
    numbers = nuclei(side)
    for number, place in enumerate((side // 5, side // 2, side - side // 5)):
        cv2.ellipse(numbers, (place, place), (400, 14), 35, 0, 360, 10**6 + number, -1)
    keep = np.bincount(numbers.ravel())[numbers] >= 30  # slivers beside the large ones
    return np.where(keep, numbers, 0).astype(np.int32)


def coded(numbers: np.ndarray) -> np.ndarray:
    """A label image as RGB."""
    return np.stack([numbers & 255, numbers >> 8 & 255, numbers >> 16], axis=2).astype(np.uint8)


def decoded(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    return red | green << 8 | blue << 16


def case(folder: Path | None, side: int) -> tuple[np.ndarray, Find, list[Window]]:
    """An image, what finds the objects of a tile, and what is to be found: the drawn scene, or a folder's."""
    if folder is None:
        numbers = scene(side)
        return coded(numbers), lambda tile: numbered(decoded(tile)), windows(numbered(numbers))
    runner = torch_runner(shipped())

    def find(tile: np.ndarray) -> Instances:
        return predict_pixels(runner, [tile])[0]

    return np.load(folder / "pixels.npy"), find, windows(Instances.load(folder / "whole.npz"))


def peer(name: str, folder: Path | None, side: int) -> dict[str, Any]:
    """Time, memory and faults of one way, in this process."""
    pixels, find, expected = case(folder, side)
    PEERS[name](pixels[:320, :320], TILE, find)  # imports, first calls
    before, begin = peak_memory(), time.perf_counter()
    found = PEERS[name](pixels, TILE, find)
    spent = {"seconds": time.perf_counter() - begin, "memory": peak_memory() - before}
    right, half = (len(pairs(expected, found, iou)) for iou in (0.9, 0.5))
    return spent | {"expected": len(expected), "found": len(found), "right": right, "half": half}


def main() -> None:
    parser = arguments(__doc__, rounds=False)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="which to run")
    parser.add_argument("--discs", type=int, default=10_000, help="how many")
    parser.add_argument("--side", type=int, default=2048, help="of the images for whole, model and peers")
    parser.add_argument("--borders", type=int, default=100_000, help="objects on a border, by 4,000")
    parser.add_argument(
        "--sides", type=int, nargs="+", default=[10_000, 25_000, 50_000], help="of the slides"
    )
    parser.add_argument("--data", type=Path, help="labelled images, for model and scan")
    parser.add_argument("--piece", type=int, default=256, help="side of those that are put together")
    parser.add_argument("--scan", type=int, default=6144, help="side of the scan")
    parser.add_argument("--slide", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--at-once", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--case", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--other-tiles", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.slide:
        return print(json.dumps(slide(given.slide)))
    if given.at_once:
        return print(json.dumps(at_once(given.at_once)))
    if given.other_tiles:
        return print(json.dumps(other_tiles(given.case, *given.other_tiles)))
    if given.peer:
        return print(json.dumps(peer(given.peer, given.case, given.side)))
    ways: dict[str, Callable[[], Iterator[tuple[str, Any]]]] = {
        "discs": lambda: discs(given.discs),
        "whole": lambda: whole(given.side),
        "model": lambda: model(given.data, given.side, given.piece),
        "scan": lambda: scan(given.data, given.scan, given.piece),
        "borders": lambda: borders(given.borders),
        "slides": lambda: slides(given.sides),
        "peers": lambda: peers(given.side),
    }
    lines = []
    for name in given.sections or SECTIONS:
        if name in ("model", "scan") and given.data is None:
            continue
        for about, value in ways[name]():
            lines.append({"section": name, "name": about, "value": value})
            print(f"{name:8} {about}: {value}", flush=True)
    where = machine()
    print(in_words(where))
    if given.json:
        write_json(given.json, {"machine": where, "lines": lines})


if __name__ == "__main__":
    main()

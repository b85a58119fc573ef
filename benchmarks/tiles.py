"""Large images in tiles: whether each object comes out once, and time and memory against the image's size.

Sections (all by default): discs, whole, model, borders, slides, peers. SAHI and supervision are measured
where the interpreter has them; neither needs torchvision:

    pip install --no-deps --target site sahi supervision pybboxes shapely fire termcolor requests tqdm
    pip install --no-deps --target site defusedxml pyDeprecate
    PYTHONPATH=site python benchmarks/tiles.py peers
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from measure import arguments, machine, peak_memory

from maskrcnn.config.model import InputConfig, ModelConfig, TestConfig
from maskrcnn.images.regions import ArrayRegions
from maskrcnn.images.tiles import Window
from maskrcnn.instances import Instances, Masks
from maskrcnn.model.mask_rcnn import RawDetections
from maskrcnn.predict.files import predict_files
from maskrcnn.predict.large import TiledImage
from maskrcnn.predict.tiles import TileJoiner, view_tile

SECTIONS = ("discs", "whole", "model", "borders", "slides", "peers")
PATTERN = 256  # pixels after which the slides repeat


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
    return TiledImage(image, side, lambda tiles: [numbered(tile[..., 0]) for tile in tiles], most=1 << 30)


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


def matched(some: Instances, others: Instances, iou: float = 0.9) -> int:
    """How many objects of `some` have one of `others` of their own with at least this IoU of masks."""
    assert some.masks is not None and others.masks is not None
    theirs = list(others.masks.windows())
    boxes, taken, count = others.boxes, set[int](), 0
    for (x0, y0, mask), box in zip(some.masks.windows(), some.boxes, strict=True):
        near = (np.minimum(box[2:], boxes[:, 2:]) > np.maximum(box[:2], boxes[:, :2])).all(axis=1)
        best, at = 0.0, -1
        for other in np.flatnonzero(near).tolist():
            u0, v0, one = theirs[other]
            left, top = max(x0, u0), max(y0, v0)
            right = min(x0 + mask.shape[1], u0 + one.shape[1])
            bottom = min(y0 + mask.shape[0], v0 + one.shape[0])
            if other in taken or right <= left or bottom <= top:
                continue
            shared = mask[top - y0 : bottom - y0, left - x0 : right - x0]
            shared = int((shared & one[top - v0 : bottom - v0, left - u0 : right - u0]).sum())
            best, at = max((best, at), (shared / (mask.sum() + one.sum() - shared), other))
        if best >= iou:
            taken.add(at)
            count += 1
    return count


def whole(side: int) -> Iterator[tuple[str, Any]]:
    """Nuclei-like objects that a faultless network finds: in tiles of 256 against at once."""
    numbers = nuclei(side)
    expected, found = numbered(numbers), in_tiles(numbers, 256).whole()
    yield f"nuclei-like objects in {side} x {side}, found in tiles", [len(expected), len(found)]
    yield "matched at IoU 0.9", f"{matched(expected, found) / len(expected):.2%}"


def model(side: int) -> Iterator[tuple[str, Any]]:
    """The shipped model of nuclei in tiles of 512 against the whole image, at one scale."""
    from maskrcnn.predict.predictor import predict_pixels
    from maskrcnn.weights.load import load_model

    numbers = nuclei(side)
    rng = np.random.default_rng(0)
    pixels = np.where(numbers > 0, 150 - numbers % 60, 20) + rng.normal(0, 6, numbers.shape)
    pixels = np.repeat(
        cv2.GaussianBlur(pixels.clip(0, 255).astype(np.uint8), (5, 5), 1)[..., None], 3, axis=2
    )
    network = load_model("nuclei-mobilenet")
    at_scale = {"short_side": 512, "long_side": 512}
    network.config.input = network.config.input.model_copy(update=at_scale)
    tiled = predict_pixels(network, [pixels], tiles=512)[0]
    at_scale = {"short_side": side, "long_side": side}
    network.config.input = network.config.input.model_copy(update=at_scale)
    network.config.test.detections = network.config.test.candidates = 20_000
    network.rpn.config.pre_nms_test, network.rpn.config.post_nms_test = 100_000, 20_000
    once = predict_pixels(network, [pixels])[0]
    yield (
        f"nuclei-mobilenet: {side} x {side} at once, in tiles, drawn",
        [len(once), len(tiled), int((np.bincount(numbers.ravel())[1:] > 0).sum())],
    )
    for iou in (0.5, 0.9):
        yield f"matched at IoU {iou}", f"{matched(once, tiled, iou) / max(len(once), 1):.2%}"


def borders(count: int) -> Iterator[tuple[str, Any]]:
    """Seconds to join objects that each lie on a border of two tiles."""
    rows, radius, side, overlap = 20, 6, 4000, 1000
    width = count // rows * 20
    joiner, found, seconds, cpu, size = TileJoiner(), 0, 0.0, 0.0, (2 * side - overlap, width)
    disc = cv2.circle(np.zeros((13, 13), np.uint8), (6, 6), radius, 1, -1) > 0
    for number, top in enumerate((0, side - overlap)):
        views = []
        for left in range(0, width, side):
            window = Window(left, top, min(side, width - left), side)
            xs, ys = np.meshgrid(
                np.arange(0, window.width - 13, 20), np.arange(rows) * 20 + side - overlap - top + 100
            )
            places = np.stack([xs.ravel(), ys.ravel()], axis=1)
            known = {row: (int(x), int(y), disc) for row, (x, y) in enumerate(places.tolist())}
            boxes = np.concatenate([places, places + 13], axis=1).astype(np.float32)
            n = len(boxes)
            masks = Masks(np.zeros((n, 28, 28), np.float32), boxes, (side, window.width), 0.5, known)
            one = Instances(
                boxes, np.full(n, 0.9, np.float32), np.zeros(n, np.int64), ["blob"] * n, masks.size, masks
            )
            middle = side - overlap // 2
            core = Window(left, 0 if number == 0 else middle, window.width, middle)
            views.append(view_tile(window, core, one, size))
        begin, began = time.perf_counter(), time.process_time()
        found += len(joiner.add(views, side - overlap if number == 0 else None))
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
            got = in_child("--slide", str(path))
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
    """Ours, SAHI and supervision's slicer with one faultless network, each in a process of its own."""
    numbers = scene(side)
    yield "objects drawn", len(np.unique(numbers)) - 1
    for name in PEERS:
        try:
            got = in_child("--peer", name, "--side", str(side))
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or [f"ended with {error.returncode}"])[-1]
            yield name, f"not measured: {last:.90}"
            continue
        yield f"{name}: found, objects at IoU 0.9", [got["found"], got["right"]]
        yield f"{name}: seconds, MB above before", [round(got["seconds"], 2), round(got["memory"] / 1e6)]


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


Windows = list[tuple[int, int, np.ndarray]]


def by_ours(pixels: np.ndarray) -> Windows:
    found = TiledImage(
        ArrayRegions(pixels), 256, lambda tiles: [numbered(decoded(tile)) for tile in tiles], most=1 << 30
    ).whole()
    assert found.masks is not None
    return list(found.masks.windows())


def by_supervision(pixels: np.ndarray) -> Windows:
    import supervision

    def find(tile: np.ndarray) -> supervision.Detections:
        found = numbered(decoded(tile))
        found.names = ["blob"] * len(found)
        return found.to_supervision()

    slicer = supervision.InferenceSlicer(
        callback=find, slice_wh=(256, 256), overlap_wh=(64, 64), thread_workers=1
    )
    masks = slicer(pixels).mask
    return [] if masks is None else [(0, 0, np.asarray(mask)) for mask in masks]


def by_sahi(pixels: np.ndarray) -> Windows:
    from sahi.models.base import DetectionModel
    from sahi.predict import get_sliced_prediction
    from sahi.prediction import ObjectPrediction

    class Finder(DetectionModel):
        def check_dependencies(self, *_: object) -> None: ...

        def load_model(self) -> None:
            self.model, self.category_mapping = self, {"0": "blob"}

        def perform_inference(self, image: np.ndarray) -> None:
            self._original_predictions = numbered(decoded(image))

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: Any = None, full_shape_list: Any = None
        ) -> None:
            shift, full = shift_amount_list or [[0, 0]], full_shape_list
            shift = shift[0] if isinstance(shift[0], list) else shift
            full = full[0] if full and isinstance(full[0], list) else full
            found = self._original_predictions
            one = [
                ObjectPrediction(
                    bbox=box.tolist(), category_id=0, score=0.9, category_name="blob", shift_amount=shift,
                    full_shape=full, segmentation=[ring.ravel().tolist() for ring in rings if len(ring) > 2],
                )
                for box, rings in zip(found.boxes, found.masks.polygons(), strict=True)
            ]  # fmt: skip
            self._object_prediction_list_per_image = [one]

    result = get_sliced_prediction(
        pixels, Finder(model_path="none", device="cpu"), slice_height=256, slice_width=256,
        overlap_height_ratio=0.25, overlap_width_ratio=0.25, verbose=0, perform_standard_pred=False,
    )  # fmt: skip
    return [(0, 0, one.mask.bool_mask) for one in result.object_prediction_list]


PEERS: dict[str, Callable[[np.ndarray], Windows]] = {
    "ours": by_ours, "sahi": by_sahi, "supervision": by_supervision
}  # fmt: skip


def peer(name: str, side: int) -> dict[str, Any]:
    """Time, memory and faults of one way, in this process."""
    numbers = scene(side)
    pixels = coded(numbers)
    PEERS[name](coded(scene(512)))  # imports, first calls
    before, begin = peak_memory(), time.perf_counter()
    found = PEERS[name](pixels)
    seconds, memory = time.perf_counter() - begin, peak_memory() - before
    areas, right = np.bincount(numbers.ravel()), set[int]()
    for x, y, mask in found:
        shown = np.bincount(numbers[y : y + mask.shape[0], x : x + mask.shape[1]][mask])
        if len(shown) > 1:
            number = int(shown[1:].argmax()) + 1
            if shown[number] >= 0.9 * (mask.sum() + areas[number] - shown[number]):
                right.add(number)
    return {"found": len(found), "right": len(right), "seconds": seconds, "memory": memory}


def in_child(*options: str) -> dict[str, Any]:
    """What this script prints with these options in a process of its own."""
    command = [sys.executable, __file__, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="which to run")
    parser.add_argument("--discs", type=int, default=10_000, help="how many")
    parser.add_argument("--side", type=int, default=2048, help="of the images for whole, model and peers")
    parser.add_argument("--borders", type=int, default=100_000, help="objects on a border")
    parser.add_argument(
        "--sides", type=int, nargs="+", default=[10_000, 25_000, 50_000], help="of the slides"
    )
    parser.add_argument("--slide", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.slide or given.peer:
        print(json.dumps(slide(given.slide) if given.slide else peer(given.peer, given.side)))
        return
    ways: dict[str, Callable[[], Iterator[tuple[str, Any]]]] = {
        "discs": lambda: discs(given.discs),
        "whole": lambda: whole(given.side),
        "model": lambda: model(given.side),
        "borders": lambda: borders(given.borders),
        "slides": lambda: slides(given.sides),
        "peers": lambda: peers(given.side),
    }
    lines = []
    for name in given.sections or SECTIONS:
        for about, value in ways[name]():
            lines.append({"section": name, "name": about, "value": value})
            print(f"{name:8} {about}: {value}", flush=True)
    print(machine())
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({"machine": machine(), "lines": lines}, indent=1))


if __name__ == "__main__":
    main()

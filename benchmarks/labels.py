"""Time to open the labels of a large set, the first and the second time, and the memory that they take in
every process; or how outlines for a person to edit compare with the masks of labelled objects.

    python benchmarks/labels.py [--images 120000] [--json figures.json]
    python benchmarks/labels.py --outlines data/nuclei data/people [--tolerance 0.5]

Generates a COCO file of polygons, RLEs and keypoints and, since labels without images are refused, as many
links to three tiny images. Every measurement is a process of its own. Memory is Linux's: RSS counts a shared
page in every process, PSS shares it out among them (their sum is what the machine spends), private is what no
other process has. The last row holds the same labels as Python objects, which is what the arrays are there to
avoid.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measure import arguments, in_child, machine, peak_memory
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from maskrcnn.files import write_json
from maskrcnn.labels.annotation_masks import annotation_window
from maskrcnn.labels.open import open_dataset
from maskrcnn.masks.polygons import window_rings
from maskrcnn.masks.rle import polygons_rle, rle_bitmap

HEIGHT, WIDTH = 480, 640
OBJECTS, POINTS, CLASSES, KEYPOINTS = 4, 16, 80, 17
MARGIN = 2  # pixels around a mask that an outline may reach into
LINKS = 40_000  # to one file; ext4 allows 65,000
MASK_EVERY, KEYPOINTS_EVERY = 8, 4  # every so many objects an RLE in place of a polygon, and keypoints


def generate(folder: Path, count: int) -> Path:
    """A COCO file of `count` images in `folder`, written as it is made up."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    names = [f"{number:06d}.png" for number in range(count)]
    for first in range(0, count, LINKS):
        original = folder / "images" / names[first]
        Image.new("L", (WIDTH, HEIGHT)).save(original)
        for name in names[first + 1 : first + LINKS]:
            os.link(original, folder / "images" / name)
    images = [
        {"id": n + 1, "file_name": name, "height": HEIGHT, "width": WIDTH} for n, name in enumerate(names)
    ]
    points = [f"k{number}" for number in range(KEYPOINTS)]
    categories = [
        {"id": 1, "name": "person", "keypoints": points, "sigmas": [0.05] * KEYPOINTS, "flip_pairs": []}
    ]
    categories += [{"id": number, "name": f"class {number}"} for number in range(2, CLASSES + 1)]
    path = folder / "labels.json"
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    with path.open("w", encoding="utf-8") as file:
        file.write(
            f'{{"images": {json.dumps(images)}, "categories": {json.dumps(categories)}, "annotations": ['
        )
        for number in range(count * OBJECTS):
            radius = rng.uniform(10, 100)
            centre = rng.uniform(radius, [WIDTH - radius, HEIGHT - radius])
            ring = (
                centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.5, 1)
            ).round(2)
            (x0, y0), (x1, y1) = ring.min(0).tolist(), ring.max(0).tolist()
            record: dict[str, Any] = {"id": number + 1, "image_id": number // OBJECTS + 1, "iscrowd": 0}
            record |= {
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": radius**2,
                "category_id": 1 + number % CLASSES,
            }
            record["segmentation"] = [ring.reshape(-1).tolist()]
            if number % MASK_EVERY == 0:
                rle = polygons_rle([ring], HEIGHT, WIDTH)
                assert rle is not None
                record["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}
            if number % KEYPOINTS_EVERY == 0:
                record["category_id"] = 1
                keypoints = np.concatenate(
                    [rng.uniform(0, HEIGHT, (KEYPOINTS, 2)).round(), [[2]] * KEYPOINTS], 1
                )
                record["keypoints"] = keypoints.astype(int).reshape(-1).tolist()
            file.write(("," if number else "") + json.dumps(record))
        file.write("]}")
    return path


class Counted:
    """The number of objects of each image: reads all labels and hardly anything else."""

    def __init__(self, images: Any) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> int:
        image = self.images[index] if isinstance(self.images, list) else self.images.image(index)
        return len(image.annotations)


def measure(path: Path, workers: int | None, as_objects: bool) -> dict[str, Any]:
    """Open the labels and, unless `workers` is None, go through them once with so many processes."""
    before = memory(os.getpid())
    started, processor = time.perf_counter(), time.process_time()
    dataset = open_dataset(path)
    figures: dict[str, Any] = {"seconds": round(time.perf_counter() - started, 2), "before": before}
    figures["processor"] = round(
        time.process_time() - processor, 2
    )  # tells more on a machine that others use
    figures["opened"] = memory(os.getpid())
    if workers is not None:
        warnings.simplefilter("ignore")  # that 4 workers are more than there are cores
        content = Counted(list(dataset) if as_objects else dataset)  # type: ignore[call-overload]
        loader = DataLoader(content, batch_size=256, num_workers=workers, persistent_workers=workers > 0)
        started = time.perf_counter()
        figures["objects"] = sum(int(batch.sum()) for batch in loader)
        figures["epoch_seconds"] = round(time.perf_counter() - started, 2)
        figures["main"] = memory(os.getpid())
        figures["workers"] = [memory(child.pid or 0) for child in multiprocessing.active_children()]
    figures["peak_mb"] = peak_memory() >> 20
    return figures


def memory(process: int) -> dict[str, int]:
    """RSS, PSS and private memory of a process in MB."""
    lines = (line.split() for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:])
    kb = {words[0].rstrip(":"): int(words[1]) for words in lines}
    private = kb["Private_Clean"] + kb["Private_Dirty"]
    return {"rss": kb["Rss"] >> 10, "pss": kb["Pss"] >> 10, "private": private >> 10}


def print_figures(figures: dict[str, Any]) -> None:
    """The table."""
    console = Console(soft_wrap=True)
    first, second = figures["first"], figures["second"]
    console.print(
        f"{figures['images']} images, JSON of {figures['json_mb']} MB, cache of {figures['cache_mb']} MB; "
        f"opened in {first['seconds']} s ({first['processor']} s of a core, peak {first['peak_mb']} MB), the "
        "second time "
        f"in {second['seconds']} s ({second['processor']} s of a core, peak {second['peak_mb']} MB)",
        highlight=False,
    )
    columns = (
        "labels",
        "workers",
        "main RSS",
        "PSS",
        "private",
        "each worker RSS",
        "PSS",
        "private",
        "sum of PSS",
    )
    table = Table(*columns, title="memory after an epoch, MB", title_justify="left")
    for name, found in figures["epochs"].items():
        each = found["workers"]
        means = [
            str(sum(w[key] for w in each) // len(each)) if each else "-" for key in ("rss", "pss", "private")
        ]
        main = [str(found["main"][key]) for key in ("rss", "pss", "private")]
        table.add_row(*name.split(), *main, *means, str(found["main"]["pss"] + sum(w["pss"] for w in each)))
    console.print(table)
    console.print(f"main process before opening: RSS {second['before']['rss']} MB", highlight=False)


def outlines(data: Path, tolerance: float) -> dict[str, Any]:
    """Points and IoU of the simplified outlines of all masks of the val split."""
    dataset, rows = open_dataset(data, "val"), []
    for index in range(len(dataset)):
        image = dataset.image(index)
        for annotation in image.annotations:
            window = annotation_window(annotation, image)
            if window is None or not window[2].any():
                continue
            mask = np.pad(window[2], MARGIN)
            exact, simple = window_rings(0, 0, mask), window_rings(0, 0, mask, tolerance)
            drawn = filled(simple, *mask.shape)
            iou = np.count_nonzero(drawn & mask) / np.count_nonzero(drawn | mask)
            rows.append((2 * (mask.sum() / np.pi) ** 0.5, points(exact), points(simple), iou))
    size, before, after, iou = np.array(rows).T
    figures: dict[str, Any] = {"data": data.name}
    for name, chosen in {"all": size > 0, "of 12 to 18 pixels": (size >= 12) & (size <= 18)}.items():
        figures[name] = {
            "objects": int(chosen.sum()),
            "pixels across, median": round(float(np.median(size[chosen])), 1),
            "points, mean": [round(float(each[chosen].mean()), 1) for each in (before, after)],
            "share of the points": round(float(after[chosen].sum() / before[chosen].sum()), 3),
            "above a third of them": f"{(after > before / 3)[chosen].mean():.1%}",
            "IoU, mean": round(float(iou[chosen].mean()), 4),
            "worst": round(float(iou[chosen].min()), 4),
            "at most 0.98": f"{(iou <= 0.98)[chosen].mean():.1%}",
        }
    return figures


def points(parts: Sequence[tuple[np.ndarray, list[np.ndarray]]]) -> int:
    return sum(len(ring) for outer, holes in parts for ring in (outer, *holes))


def filled(parts: Sequence[tuple[np.ndarray, list[np.ndarray]]], height: int, width: int) -> np.ndarray:
    """The pixels inside rings, bool (height, width), as every reader of them gets them."""
    inside = np.zeros((height, width), bool)
    for outer, holes in parts:
        rles = [polygons_rle([ring], height, width) for ring in (outer, *holes)]
        part, *empty = (rle_bitmap(rle) > 0 for rle in rles if rle is not None)
        inside |= part & ~np.any([np.zeros_like(part), *empty], axis=0)
    return inside


def main() -> None:
    parser = arguments(__doc__, rounds=False)
    parser.add_argument("--images", type=int, default=120_000)
    parser.add_argument(
        "--outlines", type=Path, nargs="+", help="labelled images whose outlines are measured"
    )
    parser.add_argument("--tolerance", type=float, default=0.5, help="of those outlines, pixels")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--objects", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.outlines:
        found = [outlines(data, options.tolerance) for data in options.outlines]
        print(json.dumps(found, indent=1))
        return
    if options.measure:
        print(json.dumps(measure(options.measure, options.workers, options.objects)))
        return
    with tempfile.TemporaryDirectory(prefix="maskrcnn-labels-") as scratch:
        os.environ["MASKRCNN_CACHE"] = str(Path(scratch) / "cache")
        path = generate(Path(scratch) / "data", options.images)
        figures: dict[str, Any] = {"images": options.images, "json_mb": path.stat().st_size >> 20}
        again = partial(in_child, __file__, "--measure", str(path))
        figures["first"], figures["second"] = again(), again()
        figures["cache_mb"] = (
            sum(f.stat().st_size for f in Path(scratch, "cache").rglob("*.safetensors")) >> 20
        )
        epochs = {f"arrays {count}": again("--workers", str(count)) for count in (0, 2, 4)}
        figures["epochs"] = epochs | {"objects 2": again("--workers", "2", "--objects")}
    print_figures(figures)
    if options.json:
        write_json(options.json, {"machine": machine(), **figures})


if __name__ == "__main__":
    main()

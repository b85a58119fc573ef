"""COCO evaluation of 500 images with 100 detections each, boxes and masks, beside pycocotools and
faster-coco-eval.

python benchmarks/evaluation.py [--json FILE] [--rounds N] [--images N]
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from measure import OURS, Line, arguments, in_turns, report
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn.evaluate.coco import score_results
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.writers.coco import write_coco

DETECTIONS = 100
KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def guesses(dataset: FileDataset, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Detections: every object moved a little, and others that are nothing, 100 for each image."""
    found = []
    for index in range(len(dataset)):
        image = dataset.image(index)
        annotations = image.annotations
        bitmaps = [coco_mask.decode(annotation.rle) for annotation in annotations]
        for number in range(DETECTIONS):
            annotation, bitmap = annotations[number % len(annotations)], bitmaps[number % len(annotations)]
            shift = rng.integers(-1 - number // 4, 2 + number // 4, 2)
            rle = coco_mask.encode(np.asfortranarray(np.roll(bitmap, shift, axis=(0, 1))))
            found.append(
                {
                    "image_id": image.image_id,
                    "category_id": dataset.class_ids[int(rng.integers(len(dataset.classes)))]
                    if number > 20
                    else dataset.class_ids[annotation.label],
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                    "score": float(rng.random()),
                }
            )
    return found


def document_of(dataset: FileDataset) -> dict[str, Any]:
    """The labels as the peers take them."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "labels.json"
        write_coco(dataset, path)
        return dict(json.loads(path.read_text(encoding="utf-8")))


def by_pycocotools(
    document: dict[str, Any], found: list[dict[str, Any]], loader: Any, scorer: Any
) -> dict[str, Any]:
    """The twelve figures of boxes and of masks; also by libraries that take pycocotools' place."""
    with contextlib.redirect_stdout(io.StringIO()):
        labels = loader()
        labels.dataset = document
        labels.createIndex()
        figures = {}
        for kind, field in (("bbox", "bbox"), ("segm", "segmentation")):
            # by the field that is scored alone: pycocotools else takes a mask's area from its box
            keys = ("image_id", "category_id", "score", field)
            results = labels.loadRes([{key: each[key] for key in keys} for each in found])
            evaluation = scorer(labels, results, kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            figures[kind] = dict(zip(KEYS, (100 * np.array(evaluation.stats[:12])).tolist(), strict=True))
    return figures


def largest_difference(mine: Any, theirs: dict[str, Any]) -> float:
    """Between two evaluators' figures; where nothing could be measured ours says None, the peers -1."""
    pairs = [(mine[kind][key], theirs[kind][key]) for kind in theirs for key in KEYS]
    return max(abs((-100.0 if our is None else our) - their) for our, their in pairs)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=500)
    options = parser.parse_args()
    generated = Synthetic(options.images, side=(480, 640))
    dataset = FileDataset(generated, generated.info)
    document, found = document_of(dataset), guesses(dataset, np.random.default_rng(0))
    ways: dict[str, Any] = {
        OURS: lambda: score_results(dataset, found, ["bbox", "segm"]),
        "pycocotools": lambda: by_pycocotools(document, found, COCO, COCOeval),
    }
    try:
        from faster_coco_eval import COCO as FasterCoco
        from faster_coco_eval import COCOeval_faster

        ways["faster-coco-eval"] = lambda: by_pycocotools(document, found, FasterCoco, COCOeval_faster)
    except ImportError:
        pass
    mine, *others = (way() for way in ways.values())
    apart = [f"{largest_difference(mine, theirs):.1e}" for theirs in others]
    line = Line(
        f"{options.images} images x {DETECTIONS}, boxes and masks",
        in_turns(ways, options.rounds, warm=0),
        least=10,
    )
    report(
        "Evaluation, median ms (spread)",
        [line],
        options.json,
        percent_points_apart=", ".join(apart),
    )


if __name__ == "__main__":
    main()

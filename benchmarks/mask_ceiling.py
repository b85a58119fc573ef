"""What better masks could bring: AP of what a model finds, with each mask replaced by its object's true one.

    python benchmarks/mask_ceiling.py MODEL DATA [--json FILE]

Boxes, classes and scores stay. A detection gets the true mask of the object of its class whose mask its own
overlaps most, by an IoU of `--least` at least, inside its box:

- 14, 28, 56, 112: averaged to so many cells a side and pasted as the network's masks are, which is what a
  perfect mask head of that resolution has;
- whole: pixel for pixel, which is what perfect masks have in these boxes. From 28 to here is all that
  refinement to the pixel (PointRend, Kirillov et al. 2020) can bring to a perfect head.

`ranked by ...` are the masks as they were found, in another order: by the score alone, and by the score times
the true IoU, which is all that any estimate of the IoU (mask scoring, Huang et al. 2019) can bring.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from measure import arguments, machine
from pycocotools import mask as coco_mask

from maskrcnn.evaluate.coco import find_all, score_results
from maskrcnn.evaluate.found import RANKS, Result
from maskrcnn.files import write_json
from maskrcnn.images.view import make_view
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.match_classes import take_class
from maskrcnn.labels.open import open_pair
from maskrcnn.labels.types import Annotation, Dataset, LabelledImage
from maskrcnn.masks.masks import Masks
from maskrcnn.masks.rle import rle_bitmap
from maskrcnn.training_data.targets import mask_bitmap
from maskrcnn.tuning import tune
from maskrcnn.weights.load import load_model

SIDES = (14, 28, 56, 112)
FINER = 4  # points along each side of a cell, whose mean is the cell's probability
RANK = RANKS["segm"]


@dataclass
class Pair:
    """A detection and the object that its mask overlaps most."""

    found: Result
    image: LabelledImage
    object: Annotation | None
    iou: float


def pair(dataset: Dataset, results: list[Result]) -> list[Pair]:
    """Each detection with its object; several may have the same one."""
    images = {image.image_id: image for image in dataset}
    label_of = {category: label for label, category in enumerate(dataset.class_ids)}
    pairs = []
    for found in results:
        image = images[found["image_id"]]
        label = label_of[found["category_id"]]
        near = [one for one in image.annotations if one.label == label and one.has_mask and not one.crowd]
        true = [annotation_rle(one, *image.size) for one in near]
        ious = coco_mask.iou([found["segmentation"]], true, [0] * len(true))[0] if true else np.zeros(1)
        pairs.append(Pair(found, image, near[ious.argmax()] if near else None, float(ious.max())))
    return pairs


def with_true_mask(one: Pair, side: int | None) -> Result:
    """The detection with its object's mask in its box, of so many cells a side or (None) of whole pixels."""
    if one.object is None:
        return one.found
    x0, y0, width, height = one.found["bbox"]
    box = np.array([x0, y0, x0 + width, y0 + height])
    if side is None:
        bitmap = rle_bitmap(annotation_rle(one.object, *one.image.size))
        left, top, right, bottom = np.clip(np.round(box), 0, None).astype(int).tolist()
        window = left, top, bitmap[top:bottom, left:right].astype(bool)
        masks = Masks(np.zeros((1, 1, 1), np.float32), box[None], one.image.size, known={0: window})
    else:
        view = make_view(one.image.size, *one.image.size)
        fine = mask_bitmap(one.object, view, box, (side * FINER, side * FINER))
        cells = fine.reshape(side, FINER, side, FINER).mean(axis=(1, 3), dtype=np.float32)
        masks = Masks(cells[None], box[None], one.image.size)
    return {**one.found, "segmentation": masks.rle()[0]}


def ways(pairs: list[Pair], least: float) -> dict[str, list[Result]]:
    """The results to be scored, by what they are called."""
    taken = [replace(one, object=one.object if one.iou >= least else None) for one in pairs]
    found = {"as found": [one.found for one in pairs]}
    found["ranked by score"] = [{**one.found, RANK: one.found["score"]} for one in pairs]
    found["ranked by score x true IoU"] = [{**one.found, RANK: one.found["score"] * one.iou} for one in pairs]
    for side in (*SIDES, None):
        found[f"true masks, {side or 'whole'}"] = [with_true_mask(one, side) for one in taken]
    return found


def main() -> None:
    parser = arguments(__doc__, rounds=False)
    parser.add_argument("model")
    parser.add_argument("data", help="labelled images; of several splits, the val split")
    parser.add_argument("--least", type=float, default=0.1, help="IoU from which a detection is of an object")
    options = parser.parse_args()
    tune()
    model = load_model(options.model)
    train, val = open_pair(options.data)
    dataset, _ = take_class(val or train, model.config.classes)
    results = list(find_all(model, dataset, batch=4))
    figures: dict[str, Any] = {}
    for name, each in ways(pair(dataset, results), options.least).items():
        scores = score_results(dataset, each, ["segm"], most=model.config.test.detections)["segm"]
        figures[name] = scores
        print(f"{name:28}" + "".join(f"  {key} {scores[key]:5.1f}" for key in ("AP", "AP50", "AP75")))
    if options.json:
        write_json(options.json, {"machine": machine(), "model": options.model, "figures": figures})


if __name__ == "__main__":
    main()

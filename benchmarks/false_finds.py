"""What models find where nothing is: in the parts of labelled images without an object, or in other images.

    python benchmarks/false_finds.py MODEL... --data DATA [--least 150] [--json FILE]
    python benchmarks/false_finds.py MODEL... --images FOLDER

A part is the largest window of an image that no labelled object reaches into (`data.backgrounds`), where both
of its sides have `--least` pixels; of several splits the val split's. Each is predicted as an image of its
own. In the images of `--images` nothing that the models know may be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import arguments, machine

from maskrcnn.api import MaskRCNN
from maskrcnn.files import write_json
from maskrcnn.images.read import read_image
from maskrcnn.labels.open import open_pair
from maskrcnn.predict.sources import find_images
from maskrcnn.training_data.backgrounds import WithBackgrounds
from maskrcnn.tuning import tune

SCORES = (0.5, 0.7, 0.9)


def windows(data: str, least: int) -> Iterator[np.ndarray]:
    """Parts without an object."""
    train, val = open_pair(data)
    dataset = val or train
    with_windows = WithBackgrounds(dataset, least)
    return (with_windows.pixels(index) for index in range(len(dataset), len(with_windows)))


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__, rounds=False)
    parser.add_argument("models", nargs="+")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", help="labelled images; of several splits, the val split")
    where.add_argument("--images", type=Path, help="a folder of images in which nothing is")
    parser.add_argument("--least", type=int, default=150, help="pixels of a part's sides")
    options = parser.parse_args(words)
    tune()
    models = {name: MaskRCNN.from_pretrained(name) for name in options.models}
    for model in models.values():  # what is counted are boxes
        model.mask_head = model.keypoint_head = None
        model.config.mask_head = model.config.keypoint_head = None
    found: dict[str, list[np.ndarray]] = {name: [] for name in models}
    images = (
        windows(options.data, options.least)
        if options.data
        else map(read_image, find_images([options.images]))
    )
    for image in images:
        for name, model in models.items():
            found[name].append(np.asarray(model.predict(image, score=SCORES[0]).scores))
    figures = {}
    print(f"{len(next(iter(found.values())))} images; with any, and found in each, by score")
    for name, scores in found.items():
        asked = sorted({*SCORES, models[name].config.test.predict_score})  # and its own
        counts = np.array([[int((each >= score).sum()) for score in asked] for each in scores])
        figures[name] = {
            f"{score}": {"images with any": float(any_), "each": float(each)}
            for score, any_, each in zip(asked, (counts > 0).mean(0), counts.mean(0), strict=True)
        }
        rows = figures[name].items()
        cells = (f"{score}: {row['images with any']:.0%}, {row['each']:.2f}" for score, row in rows)
        print(f"{name:24}  " + "   ".join(cells))
    if options.json:
        write_json(options.json, {"machine": machine(), "images": len(scores), "figures": figures})


if __name__ == "__main__":
    main()

"""One command that shows what the package does: a real photograph, the shipped model, a table and an overlay."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from maskrcnn.errors import UserError

if TYPE_CHECKING:
    from maskrcnn.instances import Instances

SURE_KEYPOINT = 0.5


def run_demo(out: Path, model_name: str = "person-mobilenet") -> None:
    """Find the people in a photograph that comes with scikit-image, print them and write the overlay to `out`.

    Raises:
        UserError: scikit-image is missing.
    """
    console = Console()
    photograph = demo_photograph()

    from maskrcnn.predict.predictor import predict
    from maskrcnn.weights.store import load_model

    model = load_model(model_name)
    start = time.perf_counter()
    found = predict(model, photograph, score=0.5)
    if isinstance(found, list):
        (found,) = found
    seconds = time.perf_counter() - start
    found.pixels = photograph
    out.parent.mkdir(parents=True, exist_ok=True)
    found.plot().save(out)

    height, width = photograph.shape[:2]
    console.print(f"{model_name} on NASA's portrait of Eileen Collins, {width} x {height}: {seconds:.1f} s")
    console.print(describe(found))
    console.print(f"drawn: {out}", soft_wrap=True)
    console.print(f"your own images:   maskrcnn predict {model_name} IMAGE_OR_FOLDER --out predictions", soft_wrap=True)
    console.print("your own model:      maskrcnn train DATA.json --recipe person-mobilenet --run RUN", soft_wrap=True)


def demo_photograph() -> np.ndarray:
    """The astronaut Eileen Collins, uint8 RGB (512, 512, 3): a photograph by NASA in the public domain."""
    try:
        from skimage import data
    except ImportError:
        raise UserError("the demo's photograph comes with scikit-image: pip install scikit-image") from None
    return np.ascontiguousarray(data.astronaut()[..., :3])


def describe(found: Instances) -> Table:
    """One row per object: name, score, box, pixels of the mask, keypoints the model is sure of."""
    table = Table("found", "score", "box: left, top, right, bottom")
    if found.masks is not None:
        table.add_column("mask, pixels", justify="right")
    if found.keypoints is not None:
        table.add_column("keypoints", justify="right")
    areas = found.masks.areas() if found.masks is not None else None
    for i, name in enumerate(found.names):
        cells = [name, f"{found.scores[i]:.2f}", ", ".join(f"{side:.0f}" for side in found.boxes[i])]
        if areas is not None:
            cells.append(f"{int(areas[i])}")
        if found.keypoints is not None:
            points = found.keypoints[i]
            cells.append(f"{int((points[:, 2] > SURE_KEYPOINT).sum())} of {len(points)}")
        table.add_row(*cells)
    if not len(found):
        table.caption = "nothing above a score of 0.5"
    return table

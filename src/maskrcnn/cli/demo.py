"""`maskrcnn demo`: a real photograph, the shipped model, a table and an overlay."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskrcnn.cli.common import MODEL_HELP, load_runner
from maskrcnn.cli.outputs import check_outputs
from maskrcnn.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from maskrcnn.instances import Instances

SURE = 0.5  # keypoints of at least this probability are counted


def demo(
    out: Annotated[Path, typer.Option(help="The image to write.")] = Path("maskrcnn-demo.png"),
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "person-efficientnet",
) -> None:
    """Find the people in a real photograph and draw them."""
    check_outputs(out, kind="image")
    photograph = demo_photograph()
    from rich.console import Console

    from maskrcnn.predict.predictor import predict_pixels

    runner = load_runner(model, "cpu")
    start = time.perf_counter()
    (found,) = predict_pixels(runner, [photograph])
    seconds = time.perf_counter() - start
    from maskrcnn.images.write import save_image

    save_image(found.plot(), out)

    console = Console()
    height, width = photograph.shape[:2]
    console.print(f"{model} on NASA's portrait of Eileen Collins, {width} x {height}: {seconds:.1f} s")
    console.print(_table(found, runner.config.test.kept_score))
    console.print(f"drawn: {out}", soft_wrap=True)
    console.print(
        f"your own images:   maskrcnn predict {model} IMAGE_OR_FOLDER --out predictions", soft_wrap=True
    )
    console.print("your own model:    maskrcnn train DATA   (first: maskrcnn check DATA)", soft_wrap=True)


def demo_photograph() -> np.ndarray:
    """The astronaut Eileen Collins, uint8 RGB (512, 512, 3): a photograph by NASA in the public domain."""
    try:
        from skimage import data
    except ImportError:
        raise UserError("the demo's photograph comes with scikit-image: pip install scikit-image") from None
    return data.astronaut()[..., :3].copy()


def _table(found: Instances, score: float) -> Table:
    """A row for each object: name, score, box, area of the mask, number of keypoints found.

    Args:
        score: what each has at least.
    """
    from rich.table import Table

    columns: dict[str, list[str]] = {
        "found": found.names,
        "score": [f"{score:.2f}" for score in found.scores],
        "box: left, top, right, bottom": [", ".join(f"{side:.0f}" for side in box) for box in found.boxes],
    }
    if found.masks is not None:
        columns["mask, pixels"] = [f"{int(area)}" for area in found.masks.areas()]
    if found.keypoints is not None:
        columns["keypoints"] = [
            f"{int((points[:, 2] > SURE).sum())} of {len(points)}" for points in found.keypoints
        ]
    table = Table(*columns, caption=f"objects of a score of {score:g} or more")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table

"""A loss that is not finite, explained: which images it came from and what their labels were."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from accelerate.utils import gather_object
from torch import Tensor

from maskrcnn.errors import UserError
from maskrcnn.files import write_json
from maskrcnn.images.batch import Targets
from maskrcnn.shell import first_of


@dataclass
class MicroBatch:
    """What went into one forward pass of a step, and the losses that came out."""

    names: list[str]  # of its images
    targets: Targets  # on the CPU
    losses: dict[str, Tensor]  # detached

    def finite(self) -> bool:
        return all(bool(loss.isfinite()) for loss in self.losses.values())

    def describe(self) -> dict[str, Any]:
        """For JSON: the losses and, for each image, its objects. A number that is not finite becomes text."""
        return {
            "losses": {name: _plain(loss) for name, loss in self.losses.items()},
            "images": [{"name": name, **_objects(self.targets, row)} for row, name in enumerate(self.names)],
        }


def _objects(targets: Targets, row: int) -> dict[str, Any]:
    used = targets.valid[row] | targets.ignore[row]
    return {
        "seed": int(targets.seeds[row]),
        "boxes": _plain(targets.boxes[row][used]),
        "labels": _plain(targets.labels[row][used]),
        "crowd": _plain(targets.ignore[row][used]),
        "mask_pixels": _plain(targets.masks[row][used].flatten(1).sum(1)),
        "keypoints": _plain(targets.keypoints[row][used]),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return str(value)
    return value


def refuse_step(
    iteration: int, micro_batches: list[MicroBatch], bad: list[str], run: Path, *, main: bool
) -> NoReturn:
    """Say which images gave a loss that is not finite. Nothing is saved: the weights may be spoilt.

    Args:
        micro_batches: this process's part of the step.
        bad: the losses, or the gradient, that are not finite.
        main: whether this process writes what the step was made of into the run's nonfinite.json.

    Raises:
        UserError: always.
    """
    blamed = [part for part in micro_batches if bad == ["gradient"] or not part.finite()]
    records = gather_object([part.describe() for part in blamed])
    names = [image["name"] for record in records for image in record["images"]]
    path = run / "nonfinite.json"
    if main:
        write_json(path, {"iteration": iteration, "parts": records})
    raise UserError(
        f"iteration {iteration}: {', '.join(bad)} not finite on {first_of(names, 6)}; lower train.lr or set "
        f"train.clip=1, and see {path}"
    )

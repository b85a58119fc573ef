"""The state that a killed training resumes from: one file, `state.pt`, replaced as a whole or not at all."""

from __future__ import annotations

import random
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, FiniteFloat, NonNegativeInt

from maskrcnn.errors import UserError, one_line
from maskrcnn.files import new_file

VERSION = 1


@dataclass
class TrainingState:
    """How far a training has come."""

    iteration: NonNegativeInt = 0  # optimiser steps done
    # iteration of the last evaluation; -1: what it starts from is to be evaluated too
    evaluated_at: Annotated[int, Field(ge=-1)] = 0
    best: FiniteFloat | None = None  # AP of the best evaluation, percent
    best_iteration: NonNegativeInt = 0
    stale: NonNegativeInt = 0  # evaluations since the best
    seconds: FiniteFloat = 0.0  # of training and evaluating, over all resumes
    stopped_early: bool = False
    finished: bool = False
    predict_score: FiniteFloat | None = None  # that the last evaluation chose; None: that of the settings
    best_score: FiniteFloat | None = None  # of the best weights
    # of the last evaluation: its figures by kind, and the worst images with the share that was found of each
    figures: dict[str, dict[str, FiniteFloat | None]] = field(default_factory=dict)
    worst: list[tuple[int, FiniteFloat]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values atomically: a kill at any moment leaves the old file or the new one.

    Raises:
        OSError: a full disk or a folder that cannot be written.
    """
    # a file object, not a path: only then is there an OSError behind what torch raises on a full disk
    with new_file(path) as unfinished, unfinished.open("wb") as file:
        torch.save({"version": VERSION, **state}, file)


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote, on the CPU. No pickled code is run.

    Raises:
        UserError: not such a file, or of another version of this program.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch packs nothing, and what is packed may grow to any size
            if any(entry.compress_type for entry in archive.infolist()):
                raise ValueError("it is packed")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  # pickle, zip and system errors of a dozen kinds
        raise UserError(
            f"{path}: not a readable training state ({one_line(error):.120}); start a new run from "
            "weights/last"
        ) from None
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise UserError(f"{path}: a state of another version of maskrcnn; start a new run from weights/last")
    return state


def random_state() -> dict[str, Any]:
    """The state of every random number generator of this process, as tensors and plain values."""
    numpy_state: Any = np.random.get_state(legacy=True)
    name, keys, position, has_gauss, cached = numpy_state
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Undo every draw since `random_state`."""
    torch.set_rng_state(state["torch"])
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])

"""PyTorch's own form of the graph, a .pt2 file: written, and read without running what it may hold of pickled code."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from maskrcnn.errors import UserError

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def write_program(program: ExportedProgram, path: Path) -> None:
    """Write `program`; whoever loads it imports `maskrcnn.ops.nms` and `maskrcnn.ops.roi_align` first, for our two nodes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensors that share their memory
        torch.export.save(program, path)


def read_program(path: Path) -> ExportedProgram:
    """The program of a .pt2 file.

    Raises:
        UserError: damaged, or with pickled parts: torch.export.load would run them.
    """
    import maskrcnn.ops.nms
    import maskrcnn.ops.roi_align  # noqa: F401  # registers the nodes

    try:
        _refuse_pickles(path)
        return torch.export.load(path)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever its parsers stumble over on damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: not readable as a PyTorch program ({reason:.120}); export it anew") from None


def _refuse_pickles(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("_config.json"):
                entries = json.loads(archive.read(name)).get("config", {}).values()
                if any(entry.get("use_pickle") for entry in entries):
                    raise UserError(f"{path}: holds pickled tensors, which could run code; export it anew")
            elif name.endswith(".pt"):
                torch.load(io.BytesIO(archive.read(name)), weights_only=True)

"""A network by the engine that a user names: exported into the cache folder at the first use."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from maskrcnn.errors import UserError
from maskrcnn.export.run import PACKAGES, Say, digest, export, installed_version
from maskrcnn.files import cache_folder, code_digest, locked
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.runtime.engine import Runner, choose, open_export
from maskrcnn.runtime.exported_folder import Target, read_export
from maskrcnn.runtime.torch_engine import torch_runner

CODE = ("config", "model", "ops", "export", "runtime")  # a change there is another export


def engine_of(model: MaskRCNN, name: str, say: Say = lambda line: None) -> Runner:
    """`model` run by an engine; for any but torch it is exported into the cache folder first, where it is not
    there yet.

    Args:
        say: told in a line what takes long.

    Raises:
        UserError: no such engine, not installed, or the model cannot be exported.
    """
    chosen = choose(name, next(model.parameters()).device, model.config.backbone.kind)
    if chosen == "torch":
        return torch_runner(model)
    return open_export(export_cached(model, "openvino" if chosen == "openvino" else "onnx", say), chosen)


def export_cached(model: MaskRCNN, to: Target, say: Say) -> Path:
    """The exported folder of `model` in the cache folder; made at the first use, by one process while others
    wait.
    """
    made_by = "".join(f"{name}{installed_version(name)}" for name in PACKAGES) + code_digest(*CODE)
    key = hashlib.sha256((digest(model) + made_by).encode()).hexdigest()[:20]
    folder = cache_folder() / "engines" / f"{to}-{key}"
    if _is_sound(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / f".{folder.name}.lock"):
        if _is_sound(folder):  # another process was quicker
            return folder
        shutil.rmtree(folder, ignore_errors=True)  # damaged; it is a cache
        say(f"exporting to {to} once, which takes about a minute: {folder}")
        return export(model, to, folder, say=lambda line: None, show=lambda table: None)


def _is_sound(folder: Path) -> bool:
    try:
        read_export(folder)
    except UserError:
        return False
    return True

"""A network by the engine that a user names: exported into the cache folder at the first use.

What lies in the cache is run, so it is used only where nobody else may write.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from maskrcnn.errors import UserError
from maskrcnn.export.run import PACKAGES, Say, digest, export, installed_version
from maskrcnn.files import cache_folder, code_digest, locked, only_ours
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

    Raises:
        UserError: others may write to the cache, or the model cannot be exported.
    """
    made_by = "".join(f"{name}{installed_version(name)}" for name in PACKAGES) + code_digest(*CODE)
    key = hashlib.sha256((digest(model) + made_by).encode()).hexdigest()[:20]
    folder = cache_folder() / "engines" / f"{to}-{key}"
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not only_ours(folder.parent.stat()):
        raise UserError(
            f"{folder.parent}: others may write to it, so nothing in it is run; remove it, or set "
            "MASKRCNN_CACHE to a folder of your own"
        )
    if _is_sound(folder):
        return folder
    with locked(folder.parent / f".{folder.name}.lock"):
        if _is_sound(folder):  # another process was quicker
            return folder
        shutil.rmtree(folder, ignore_errors=True)  # damaged, or not ours alone; it is a cache
        say(f"exporting to {to} once, which takes about a minute: {folder}")
        export(model, to, folder, say=lambda line: None, show=lambda table: None)
        for place in (folder, *folder.iterdir()):  # whatever the umask is
            place.chmod(place.stat().st_mode & ~0o022)
        return folder


def _is_sound(folder: Path) -> bool:
    """Whether there is a whole export that nobody else may have written."""
    try:
        read_export(folder)
        return all(only_ours(place.stat()) for place in (folder, *folder.iterdir()))
    except (UserError, OSError):
        return False

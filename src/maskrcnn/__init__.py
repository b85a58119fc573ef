"""Mask R-CNN: find, outline and pose the objects in images. What a user imports, and nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from maskrcnn.version import __version__

if TYPE_CHECKING:
    from maskrcnn.api import MaskRCNN
    from maskrcnn.instances import Instances
    from maskrcnn.tuning import tune

__all__ = ["Instances", "MaskRCNN", "__version__", "tune"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; `maskrcnn --help` and reading a recipe do not need it
    homes = {"MaskRCNN": "maskrcnn.api", "Instances": "maskrcnn.instances", "tune": "maskrcnn.tuning"}
    if name in homes:
        return getattr(import_module(homes[name]), name)
    raise AttributeError(f"module 'maskrcnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""What the program runs on: versions, devices and threads."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from maskrcnn.version import __version__

PACKAGES = """torch numpy pillow opencv-python-headless pycocotools hotcoco accelerate safetensors pydantic
typer rich scikit-image""".split()  # noqa: SIM905


def describe_environment() -> dict[str, str]:
    """Name and value of everything that changes results or speed, as text; a missing package says so."""
    import torch

    facts = {
        "maskrcnn": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": f"{usable_cores()} usable of {os.cpu_count()}",
        "threads": str(torch.get_num_threads()),
        "devices": ", ".join(_devices()),
    }
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def child_environment() -> dict[str, str]:
    """The environment of a process that is to import this package, wherever it was found."""
    folders = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))}


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def best_device() -> str:
    """The fastest kind there is, as PyTorch calls it: "cuda", "mps" or "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _devices() -> list[str]:
    import torch

    cuda = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]

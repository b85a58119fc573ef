"""What Triton needs of the machine to build a kernel."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path


def demand_compiler() -> None:
    """Raises an ImportError where Triton could not build a kernel: it builds a launcher in C for each, and
    slim images have PyTorch and Triton, but nothing to build with.
    """
    if os.environ.get("TRITON_INTERPRET") == "1" or sys.platform != "linux":
        return
    if not os.environ.get("CC") and not any(shutil.which(name) for name in ("clang", "gcc", "cc")):
        raise ImportError("Triton needs a C compiler, and none is found: install gcc or set CC")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        raise ImportError("Triton needs Python.h, and it is not there: install Python's development files")

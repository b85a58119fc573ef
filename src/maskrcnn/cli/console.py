"""What the terminal or pipe can show, whatever its encoding: the one place that sees to it."""

from __future__ import annotations

import os
import sys


def print_any_letter() -> None:
    """Letters that the console's encoding lacks are printed as \\uXXXX instead of ending the work."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a program around us may have put its own there
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def open_any_name() -> None:
    """Start this process anew in Python's UTF-8 mode where its locale knows some file names only.

    So it is under LC_ALL=C with PYTHONUTF8=0, or in a locale of Latin-1: an image called кот.png could not be
    opened at all, and Python cannot change the encoding of file names once it runs. The console keeps its
    encoding.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    os.environ["PYTHONUTF8"] = "1"
    os.environ.setdefault("PYTHONIOENCODING", f"{encoding}:backslashreplace")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

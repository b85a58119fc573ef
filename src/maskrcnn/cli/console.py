"""What reaches the console: letters that its encoding has, and one line for what fails a thread."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from maskrcnn.shell import printable
from maskrcnn.system_errors import refusal


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


@contextlib.contextmanager
def threads_told_in_a_line() -> Iterator[None]:
    """What the system refuses to a library's own thread, as TensorBoard's on a full disk, is one line."""
    before = threading.excepthook

    def tell(args: threading.ExceptHookArgs) -> None:
        refused = refusal(args.exc_value)
        if refused is None:
            before(args)
        else:
            print(printable(f"maskrcnn: {' '.join(refused[1].split())}"), file=sys.stderr)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = before

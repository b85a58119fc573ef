"""Warnings of packages about files, which are no concern of whoever reads them: what matters raises."""

from __future__ import annotations

import re
import warnings


def ignore_warnings_of(package: str) -> None:
    """Ignore, in this process, what a package warns of: Pillow does so of large images that we allow.

    Not by `warnings.catch_warnings`: images are read in threads, and what one of them puts back on leaving
    is what another had set. The filter is for that package's warnings alone, and is put in front once.
    """
    wanted = ("ignore", None, Warning, re.compile(rf"{package}\b"), 0)
    if not warnings.filters or warnings.filters[0] != wanted:
        warnings.filterwarnings("ignore", module=rf"{package}\b")

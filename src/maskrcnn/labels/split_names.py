"""The splits, and what tools call them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
# in lower case: tools write them as they like
SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def split_of(name: str) -> Split | None:
    """The split that a tool calls so, in upper or lower case; None for another name."""
    return next((split for split, names in SPLIT_NAMES.items() if name.strip().lower() in names), None)


def splits_named(path: Path) -> set[Split]:
    """The splits that words of a file's or folder's name are."""
    words = (word.rstrip("0123456789") for word in re.split(r"[-_. ]", path.stem))
    return {split for word in words if (split := split_of(word)) is not None}


def subsets_of(split: str | None, subsets: Iterable[str]) -> list[str]:
    """The subsets that are a split; of None the first of train, val and test that there is, all where there
    is none.
    """
    names = list(dict.fromkeys(subsets))
    if split is None:
        split = next((one for one in SPLITS if one in map(split_of, names)), None)
    return [name for name in names if split is None or split_of(name) == split]


def other_subsets(subsets: Iterable[str]) -> list[str]:
    """The subsets that no split takes, where there are splits: what is read leaves them out."""
    names = list(dict.fromkeys(subsets))
    return [name for name in names if split_of(name) is None] if any(map(split_of, names)) else []

"""What tools call the parts of a data set, as the splits that they are."""

from __future__ import annotations

from collections.abc import Iterable

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def split_of(subset: str) -> str | None:
    """ "train", "val" or "test" for a subset's name in any case; None for another name."""
    return next((split for split, names in SPLITS.items() if subset.strip().lower() in names), None)


def other_subsets(subsets: Iterable[str]) -> list[str]:
    """The subsets that no split takes, where there are splits: what is read leaves them out."""
    names = list(dict.fromkeys(subsets))
    return [name for name in names if split_of(name) is None] if any(map(split_of, names)) else []

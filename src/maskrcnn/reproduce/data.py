"""The images that a table is measured on: a person's own, or generated ones that show the question."""

from __future__ import annotations

from typing import Literal

from maskrcnn.errors import DataError, UserError
from maskrcnn.evaluate.truth import labelled_kinds
from maskrcnn.labels.open import open_pair
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Dataset
from maskrcnn.reproduce.table import Table

NEEDS = {"segm": "masks", "keypoints": "keypoints"}


def open_data(table: Table, source: str | None) -> tuple[Dataset, Dataset, str]:
    """Train and val split, and what they are called.

    Args:
        source: labelled images; None: generated ones.

    Raises:
        UserError: no val split.
        DataError: labels that cannot be used, or without what the table measures.
    """
    if source is None:
        return _generated(table, "train"), _generated(table, "val"), f"generated {table.data}"
    train_data, val_data = open_pair(source)
    if val_data is None:
        raise UserError(
            f"{source}: has no val split to measure on; make one with maskrcnn split {source} --out FOLDER"
        )
    there = labelled_kinds(train_data)
    for kind in table.kinds():
        if kind not in there:
            raise DataError(
                f"{source}: has no {NEEDS[kind]}, which the table measures; leave out --data, or give others"
            )
    return train_data, val_data, source


def _generated(table: Table, split: Literal["train", "val"]) -> Dataset:
    kind = table.data
    return Synthetic(split=split, shapes=kind == "shapes", fine=kind == "fine", people=kind == "people")

"""The images that a table is measured on: a person's own, or generated ones that show the question."""

from __future__ import annotations

from typing import Literal

from maskrcnn.errors import DataError, UserError
from maskrcnn.evaluate.truth import has_masks
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
    for kind in table.kinds():
        if kind != "bbox" and not _has(train_data, kind):
            raise DataError(
                f"{source}: has no {NEEDS[kind]}, which the table measures; leave out --data, or give others"
            )
    return train_data, val_data, source


def _generated(table: Table, split: Literal["train", "val"]) -> Dataset:
    kind = table.data
    return Synthetic(split=split, shapes=kind == "shapes", fine=kind == "fine", people=kind == "people")


def _has(dataset: Dataset, kind: str) -> bool:
    return dataset.keypoints is not None if kind == "keypoints" else has_masks(dataset)

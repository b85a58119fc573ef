"""The labels' classes in the model's order. Classes meet by name; their numbers are each file's own business."""

from __future__ import annotations

import difflib

from maskrcnn.errors import DataError
from maskrcnn.labels.types import Dataset


def labels_for(dataset: Dataset, classes: list[str]) -> list[int]:
    """For each of the data set's classes, its index in the model's `classes`.

    Raises:
        DataError: a class that the model does not know; it is named, with what the model knows.
    """
    index = {name: i for i, name in enumerate(classes)}
    unknown = [name for name in dataset.classes if name not in index]
    if unknown:
        known = ", ".join(classes[:10]) + (f" and {len(classes) - 10} more" if len(classes) > 10 else "")
        near = difflib.get_close_matches(unknown[0], classes, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise DataError(
            f"{dataset.name}: class {unknown[0]!r}{more} is not one the model knows ({known}){hint}; rename or remove"
            " it in the labels, or train a model on them"
        )
    return [index[name] for name in dataset.classes]

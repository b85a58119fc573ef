"""The labels' classes in the model's order. Classes meet by name; their numbers are each file's own
business.
"""

from __future__ import annotations

import copy
from dataclasses import replace

from maskrcnn.errors import RecordError, UserError
from maskrcnn.labels.choose import label_counts
from maskrcnn.labels.types import DEFAULT_CLASS, Dataset
from maskrcnn.shell import counted, did_you_mean, first_of, shell_command


def with_class(dataset: Dataset, name: str) -> Dataset:
    """A data set of one class under another name of that class.

    Raises:
        UserError: no name, or the data set has several classes.
    """
    if not name.strip() or not name.isprintable():
        raise UserError(f"--class {name!r}: is not a name; give one, such as --class nucleus")
    if len(dataset.classes) != 1:
        own = f"{counted(len(dataset.classes), 'class')} of its own ({first_of(dataset.classes, 10)})"
        raise UserError(f"--class {name}: {dataset.name} has {own}; omit it")
    renamed = copy.copy(dataset)
    renamed.info = replace(dataset.info, classes=[name])
    return renamed


def takes_nameless(names: list[str], classes: list[str]) -> bool:
    """Whether labels of the classes `names`, that is without class names, are taken for the only one of a
    model's `classes`.
    """
    return names == [DEFAULT_CLASS] and len(classes) == 1


def take_class(dataset: Dataset, classes: list[str]) -> tuple[Dataset, list[str]]:
    """A data set whose labels have no class names under the name of a model's only class, and a line that
    says so.

    A data set with names of its own, also one given by --class, stays as it is.
    """
    if not takes_nameless(dataset.classes, classes) or dataset.classes == classes:
        return dataset, []
    line = f"{dataset.name}: its class {DEFAULT_CLASS!r} is taken for the model's only class {classes[0]!r}"
    return with_class(dataset, classes[0]), [line]


def labels_for(dataset: Dataset, classes: list[str]) -> list[int]:
    """For each of the data set's classes, its index in the model's `classes`; -1 for one that the model does
    not know and no object has.

    Raises:
        DataError: a class that the model does not know; it is named, with what the model knows.
    """
    index = {name: i for i, name in enumerate(classes)}
    unknown = _used(dataset, [name for name in dataset.classes if name not in index])
    if unknown:
        known = f"({first_of(classes, 10)}){did_you_mean(unknown[0], classes)}"
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        remedy = "rename or remove it in the labels, or train a model on them"
        shared = [name for name in dataset.classes if name in index]
        if shared:
            setting = shell_command(
                [f"data.classes=[{','.join(shared)}]" if len(shared) < 10 else "data.classes=[...]"]
            )
            remedy = f"leave it out with --set {setting}, rename it in the labels, or train a model on them"
        if len(dataset.classes) == len(classes) == 1:
            remedy = f"say --class {classes[0]} if the objects are that, or train a model on them"
        raise RecordError(
            dataset.name, f"class {unknown[0]!r}{more} is not one the model knows {known}", remedy
        )
    return [index.get(name, -1) for name in dataset.classes]


def passed_over(dataset: Dataset, classes: list[str]) -> list[str]:
    """A line on the classes of the data set that are not in `classes` and that no object has."""
    unknown = [name for name in dataset.classes if name not in classes]
    used = _used(dataset, unknown)  # which goes through all labels
    unused = [name for name in unknown if name not in used]
    if not classes or not unused:
        return []
    names = first_of([repr(name) for name in unused], 10)
    return [f"{dataset.name}: no object has the class {names}, which the model does not know: passed over"]


def only_in_val(train: Dataset, val: Dataset) -> list[str]:
    """A line on the classes that objects of `val` have and none of `train`."""
    learned, _ = label_counts(train)
    known = {name for name, count in zip(train.classes, learned, strict=True) if count}
    wanted, _ = label_counts(val)
    lacking = [name for name, count in zip(val.classes, wanted, strict=True) if count and name not in known]
    if not lacking:
        return []
    names = first_of([repr(name) for name in lacking], 10)
    return [
        f"warning: {train.name}: no object to train on has the class {names}, but some to evaluate on do: it"
        " will not be learned; label some"
    ]


def _used(dataset: Dataset, names: list[str]) -> list[str]:
    """Those of the classes that an object or a crowd region has."""
    if not names:
        return []
    objects, crowds = label_counts(dataset)
    counts = objects + crowds
    return [name for name in names if counts[dataset.classes.index(name)]]

"""From what a person types (a file, a folder, "synthetic") to a data set, whatever tool wrote the labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from maskrcnn.errors import UserError
from maskrcnn.labels.detect import Format, detect, find_format
from maskrcnn.labels.image_files import check_sizes
from maskrcnn.labels.match_classes import with_class
from maskrcnn.labels.types import Dataset

Split = Literal["train", "val"]
Opener = Callable[[], Dataset]

SPLIT_NAMES: dict[str, tuple[str, ...]] = {"train": ("train",), "val": ("val", "valid", "validation")}
LAYOUTS = (
    "a label file or the folder that a labelling tool wrote (docs/data.md lists the formats), a folder with "
    "train and val"
    " of those, or synthetic"
)


def open_dataset(
    source: str | Path, split: Split | None = None, *, headers: bool = True, class_name: str | None = None
) -> Dataset:
    """Open labelled images.

    Args:
        source: a label file; a folder that one of the tools wrote; a folder with train and val of those
            (files or folders); COCO's own layout; or "synthetic". FORMAT:PATH, as in voc:data, where several
            could be meant.
        split: which part of a source that has parts; None: the first that there is. A source without parts,
            as a .json is, is itself whatever the split: a person who names a file means that file.
        headers: compare the size of the first images with their labels'.
        class_name: what the objects are, where the format has no names of classes (label images, a PNG for
            each mask); None: "object". It renames the class of any set that has one.

    Raises:
        UserError: there is no such thing, it has another split only, several formats could be meant, or a
            `class_name` for several classes.
        DataError: the labels cannot be used.
    """
    if str(source) == "synthetic":
        from maskrcnn.labels.synthetic import Synthetic

        return _checked(lambda: Synthetic(split=split or "train"), headers, class_name)
    named, path = _named(source)
    if not path.is_dir():
        return _checked(_file(path, named, split), headers, class_name)
    parts = {name: opener for name in SPLIT_NAMES if (opener := _find_split(path, name, named))}
    if split in parts:
        return _checked(parts[split], headers, class_name)
    if split is not None and parts:
        raise UserError(f"{path}: has no {split!r} split; add {split}.json or a folder {split}")
    opener = next(iter(parts.values()), None) or _whole(path, named)
    if opener is None:
        raise UserError(f"{path}: no labels found; give {LAYOUTS}")
    return _checked(opener, headers, class_name)


def open_pair(source: str | Path, *, class_name: str | None = None) -> tuple[Dataset, Dataset | None]:
    """What to train on and what to evaluate on, as `open_dataset` and `open_val` find them."""
    return open_dataset(source, "train", class_name=class_name), open_val(source, class_name=class_name)


def open_val(source: str | Path, *, headers: bool = True, class_name: str | None = None) -> Dataset | None:
    """What to evaluate on: the val split of a folder, or the val*.json beside a file named train*.json.

    None where there is no such part.
    """
    if str(source) == "synthetic":
        return open_dataset(source, "val", class_name=class_name)
    named, path = _named(source)
    if path.is_dir() or (named or _known(path)).read_split:
        opener = _find_split(path, "val", named)
    else:
        sibling = _sibling(path)
        opener = _file(sibling, named, None) if sibling else None
    return None if opener is None else _checked(opener, headers, class_name)


def _named(source: str | Path) -> tuple[Format | None, Path]:
    """The format that a FORMAT:PATH names, and the path."""
    name, colon, rest = str(source).partition(":")
    named = find_format(name) if colon else None
    return (named, Path(rest)) if named else (None, Path(source))


def _checked(opener: Opener, headers: bool, class_name: str | None) -> Dataset:
    dataset = opener()
    if class_name is not None:
        dataset = with_class(dataset, class_name)
    if headers:
        check_sizes(dataset)
    return dataset


def _file(path: Path, named: Format | None, split: str | None) -> Opener:
    """The labels in a file that must be there."""
    found = named or _known(path)
    if found.read_split is not None and found.has_split is not None:
        return _opener(found, path, split if split and found.has_split(path, split) else None)
    return _opener(found, path)


def _known(path: Path) -> Format:
    """The format of a label file."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give {LAYOUTS}")
    found = detect(path)
    if found is None:
        raise UserError(f"{path}: not a label file; give {LAYOUTS}")
    return found


def _opener(found: Format, path: Path, split: str | None = None) -> Opener:
    if split is not None and found.read_split is not None:
        read_split = found.read_split
        return lambda: read_split(path, split)
    if found.name == "coco" and path.is_dir():
        path = next(file for file in path.glob("*.json") if not file.name.startswith("."))
    return lambda: found.read(path)


def _sibling(path: Path) -> Path | None:
    """val*.json beside train*.json."""
    if not path.stem.startswith("train"):
        return None
    siblings = [path.with_name(name + path.name.removeprefix("train")) for name in SPLIT_NAMES["val"]]
    return next((sibling for sibling in siblings if sibling.is_file()), None)


def _find_split(folder: Path, split: str, named: Format | None) -> Opener | None:
    """The labels of a split: by the format's own lists, in a file or folder of its name, or in COCO's
    layout.
    """
    whole = named or detect(folder)
    if whole is not None and whole.has_split is not None and whole.has_split(folder, split):
        return _opener(whole, folder, split)
    for name in SPLIT_NAMES[split]:
        for path in (folder / f"{name}.json", folder / name):
            if path.exists() and (opener := _whole(path, named)):
                return opener
        stems = (f"instances_{name}", f"person_keypoints_{name}", name, f"lvis_v*_{name}")
        for pattern in (f"{stem}*.json" for stem in stems):
            # of instances_val2017.json and instances_val2017_fixed.json the shortest is the plain one
            if files := sorted(
                (folder / "annotations").glob(pattern), key=lambda file: (len(file.name), file.name)
            ):
                return _whole(files[0], named)
    return None


def _whole(path: Path, named: Format | None) -> Opener | None:
    """The labels at `path` as one data set; None where there are none."""
    found = named if named is not None and named.looks_like(path) else None if named else detect(path)
    return None if found is None else _opener(found, path)

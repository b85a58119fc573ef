"""From what a person types (a file, a folder, "synthetic") to a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from maskrcnn.data.dataset import Dataset
from maskrcnn.data.picture_files import check_sizes
from maskrcnn.errors import UserError

Split = Literal["train", "val"]

SPLIT_NAMES: dict[str, tuple[str, ...]] = {"train": ("train",), "val": ("val", "valid", "validation")}
LAYOUTS = (
    "a COCO .json, or a folder with train.json and val.json, with images/ and labels/, with train/ and val/ of those,"
    " or with annotations/instances_*.json; or synthetic"
)


def open_dataset(source: str | Path, split: Split | None = None, *, headers: bool = True) -> Dataset:
    """Open labelled pictures.

    Args:
        source: a COCO .json; a folder with train.json and val.json; a folder with images/ and labels/; a folder with
            train/ and val/ of those; COCO's own layout; or "synthetic".
        split: which part of a source that has parts; None: the first that there is. A source without parts, as a .json
            is, is itself whatever the split: a person who names a file means that file.
        headers: compare the size of the first pictures with their labels'.

    Raises:
        UserError: there is no such thing, or it has another split only.
        DataError: the labels cannot be used.
    """
    if str(source) == "synthetic":
        from maskrcnn.data.synthetic import Synthetic

        return Synthetic(split=split or "train")
    path = Path(source)
    if not path.is_dir():
        return _read(_label_file(path), headers)
    parts = {name: labels for name in SPLIT_NAMES if (labels := _find_split(path, name))}
    if split in parts:
        return _read(parts[split], headers)
    if split is not None and parts:
        raise UserError(f"{path}: has no {split!r} split; add {split}.json or a folder {split}")
    labels = next(iter(parts.values()), None) or _find_whole(path)
    if labels is None:
        raise UserError(f"{path}: no labels found; give {LAYOUTS}")
    return _read(labels, headers)


def open_pair(source: str | Path, *, headers: bool = True) -> tuple[Dataset, Dataset | None]:
    """What to train on and what to evaluate on, None where there is no such part.

    The latter is the val split of a folder, or the val*.json beside a file named train*.json.
    """
    train = open_dataset(source, "train", headers=headers)
    if str(source) == "synthetic":
        return train, open_dataset(source, "val")
    path = Path(source)
    labels = _find_split(path, "val") if path.is_dir() else _sibling(path)
    return train, None if labels is None else _read(labels, headers)


def _read(labels: Path, headers: bool) -> Dataset:
    dataset: Dataset
    if labels.is_dir():
        from maskrcnn.data.formats.instance_png import read_instance_labels

        dataset = read_instance_labels(labels)
    else:
        from maskrcnn.data.formats.coco import read_coco

        dataset = read_coco(labels)
    if headers:
        check_sizes(dataset)
    return dataset


def _label_file(path: Path) -> Path:
    """`path`, which must be a .json that is there."""
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder; give {LAYOUTS}")
    if path.suffix.lower() != ".json":
        raise UserError(f"{path}: not a label file; give {LAYOUTS}")
    return path


def _sibling(path: Path) -> Path | None:
    """val*.json beside train*.json."""
    if not path.stem.startswith("train"):
        return None
    siblings = [path.with_name(name + path.name.removeprefix("train")) for name in SPLIT_NAMES["val"]]
    return next((sibling for sibling in siblings if sibling.is_file()), None)


def _find_split(folder: Path, split: str) -> Path | None:
    """The labels of a split: a label file, or a folder with images/ and labels/; None when there is none."""
    for name in SPLIT_NAMES[split]:
        if (folder / f"{name}.json").is_file():
            return folder / f"{name}.json"
        if labels := _find_whole(folder / name):
            return labels
        for pattern in (f"instances_{name}*.json", f"person_keypoints_{name}*.json", f"{name}*.json"):
            # of instances_val2017.json and instances_val2017_fixed.json the shortest is the plain one
            if files := sorted((folder / "annotations").glob(pattern), key=lambda file: (len(file.name), file.name)):
                return files[0]
    return None


def _find_whole(folder: Path) -> Path | None:
    """The labels of a folder that is one data set: images/ beside labels/, or its only .json."""
    if (folder / "images").is_dir() and (folder / "labels").is_dir():
        return folder
    files = [path for path in folder.glob("*.json") if not path.name.startswith(".")]
    return files[0] if len(files) == 1 else None

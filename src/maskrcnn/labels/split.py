"""`maskrcnn split`: one set of labelled images into train, val and test, as COCO JSON."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Hashable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from maskrcnn.errors import RecordError, UserError
from maskrcnn.files import new_folder, refuse_filled
from maskrcnn.labels.assign_parts import assign_groups, assign_random, assign_stratified
from maskrcnn.labels.choose import refuse_only_crowds
from maskrcnn.labels.image_files import relative_name
from maskrcnn.labels.image_places import find_images
from maskrcnn.labels.open import open_dataset, open_split
from maskrcnn.labels.options import PLAIN, LabelOptions
from maskrcnn.labels.readers.tables import csv_rows
from maskrcnn.labels.split_names import SPLITS
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.types import Dataset, LabelledImage
from maskrcnn.labels.writers.coco import write_coco, write_coco_copies
from maskrcnn.progress import Progress
from maskrcnn.shell import counted, printable

WAYS = ("random", "stratified", "group")


@dataclass(frozen=True)
class Grouping:
    """What makes images belong together: one of the two."""

    pattern: str | None = None  # regular expression; its first group in file_name
    source: str | None = None  # "folder", "duplicates", or a CSV file of file_name, group


def split_data(
    source: str,
    out: Path,
    *,
    val: float,
    test: float,
    by: str,
    grouping: Grouping,
    seed: int,
    copy: bool,
    options: LabelOptions = PLAIN,
    progress: Progress | None = None,
) -> dict[str, Subset]:
    """Writes train.json, val.json and test.json into `out`, those that have a share.

    The images stay where they are and `out`/images becomes a link to their folder, unless `out` is that
    folder or the one that has it as images/; with `copy` each part's images are copied into a folder of its
    name.

    Args:
        val, test: shares of the images; the rest is for training.
        by: "random", "stratified" or "group"; the second keeps the share of each class and of images without
            an object.
        grouping: for `by="group"`: images of one group never lie in two parts.

    Returns:
        The parts by name, images in their order in `source`.

    Raises:
        UserError: shares, grouping or folder that cannot be used.
        DataError: labels that cannot be used, images without a group, a part without an object.
    """
    shares = _shares(val, test)
    if by not in WAYS:
        raise UserError(f"--by {by}: there are {', '.join(WAYS)}")
    if (by == "group") != (grouping.pattern is not None or grouping.source is not None):
        raise UserError(
            "--by group goes with --group-pattern or --groups, and neither goes with another --by"
        )
    if grouping.pattern is not None and grouping.source is not None:
        raise UserError("--group-pattern and --groups: give one of them")
    dataset = _open(source, options)
    refuse_only_crowds(dataset)
    rng = np.random.default_rng(seed % 2**32)
    if by == "group":
        assigned = assign_groups(group_keys(dataset, grouping, progress), list(shares.values()), rng)
    elif by == "stratified":
        assigned = assign_stratified(image_strata(dataset), list(shares.values()), rng)
    else:
        assigned = assign_random(len(dataset), list(shares.values()), rng)
    parts = _parts(dataset, assigned, shares)
    if copy:
        _copy_parts(parts, out)
    else:
        _write_parts(parts, dataset, out)
    return parts


def hold_out(dataset: Dataset, share: float) -> tuple[Subset, Subset]:
    """What to train and to evaluate on: the parts that `maskrcnn split --by stratified --val SHARE` writes.

    Raises:
        DataError: a part without an object.
    """
    shares = _shares(share, 0.0)
    rng = np.random.default_rng(0)
    parts = _parts(dataset, assign_stratified(image_strata(dataset), list(shares.values()), rng), shares)
    return parts["train"], parts["val"]


def _parts(dataset: Dataset, assigned: np.ndarray, shares: dict[str, float]) -> dict[str, Subset]:
    """The part of each name, of whose number in `shares` its images are."""
    assigned = _files_together(assigned, dataset)
    parts = {
        name: Subset(dataset, np.flatnonzero(assigned == number).tolist(), f"{name} of {dataset.name}")
        for number, name in enumerate(shares)
    }
    _refuse_useless(parts)
    return parts


def _files_together(assigned: np.ndarray, dataset: Dataset) -> np.ndarray:
    """The part of each image, where one file under several ids is in the part of the first."""
    first: dict[Path | int, int] = {}
    for index, image in enumerate(dataset):
        assigned[index] = assigned[first.setdefault(index if image.path is None else image.path, index)]
    return assigned


def _shares(val: float, test: float) -> dict[str, float]:
    shares = dict(zip(SPLITS, (1.0 - val - test, val, test), strict=True))
    if val < 0 or test < 0 or shares["train"] <= 1e-9:
        raise UserError(
            f"--val {val:g} --test {test:g}: nothing is left to train on; they are shares that stay below 1"
        )
    if val == test == 0:
        raise UserError("--val 0 --test 0: nothing to split off; give one of them a share, as in --val 0.2")
    return {name: share for name, share in shares.items() if share > 0}


def _open(source: str, options: LabelOptions) -> Dataset:
    if Path(source).suffix.lower() != ".json":
        for part in ("val", "test"):
            if open_split(source, part, headers=False, options=options) is not None:
                raise UserError(
                    f"{source}: has a {part} split already; name one part of it, or write the parts as .json "
                    "with: maskrcnn convert data"
                )
    return open_dataset(source, "train", options=options)


def image_strata(dataset: Dataset) -> list[list[int]]:
    """For each image the strata that it is in.

    These are, for each class, the images with at least 1, 2, 4, 8, ... objects of it, so that not only images
    but objects too are shared out evenly; and the images without an object.
    """
    numbers: dict[tuple[int, int], int] = {}
    found = []
    for image in dataset:
        labels = [annotation.label for annotation in image.annotations if not annotation.crowd]
        keys = [
            (label, level)
            for label in sorted(set(labels))
            for level in range(labels.count(label).bit_length())
        ]
        found.append([numbers.setdefault(key, len(numbers)) for key in keys or [(-1, 0)]])
    return found


def group_keys(dataset: Dataset, grouping: Grouping, progress: Progress | None = None) -> Sequence[Hashable]:
    """The group of each image.

    Raises:
        UserError: a pattern or CSV file that cannot be used.
        DataError: an image without a group.
    """
    if grouping.source == "duplicates":
        from maskrcnn.labels.duplicates import duplicate_groups

        return duplicate_groups(dataset, progress)
    names = [image.file_name for image in dataset]
    if grouping.source == "folder":
        return [posixpath.dirname(name.replace("\\", "/")) for name in names]
    if grouping.source is not None:
        return _listed_groups(names, Path(grouping.source))
    assert grouping.pattern is not None
    try:
        pattern = re.compile(grouping.pattern)
    except re.error as error:
        raise UserError(f"--group-pattern {grouping.pattern!r}: not a regular expression: {error}") from None
    if not pattern.groups:
        raise UserError(
            f"--group-pattern {grouping.pattern!r}: has no group; put what names a group into ( )"
        )
    found = [match[1] if (match := pattern.search(name)) else None for name in names]
    if None in found:
        wrong = names[found.index(None)]
        what = (
            f"{found.count(None)} of {len(names)} images have no group by --group-pattern "
            f"{grouping.pattern!r}, the first is {wrong!r}"
        )
        raise RecordError(dataset.name, what, "correct the pattern")
    return found


def _listed_groups(names: list[str], path: Path) -> list[str]:
    """Groups from a CSV file of file_name, group; a first line with these words is skipped."""
    if not path.is_file():
        raise UserError(
            f"--groups {path}: no such file; give folder, duplicates, or a CSV file of file_name,group"
        )
    group_of: dict[str, str] = {}
    for number, (_, row) in enumerate(csv_rows(path, (), ("file_name", "group"))):
        name, group = row["file_name"], row["group"]
        if number == 0 and name.strip().lower() == "file_name":
            continue
        if group_of.setdefault(name, group) != group:
            what = f"{name!r} is in the groups {group_of[name]!r} and {group!r}"
            raise RecordError(path, what, "keep one of them")
    missing = [name for name in names if name not in group_of]
    if missing:
        raise RecordError(
            path,
            f"{len(missing)} of {counted(len(names), 'image')} not listed, the first is {missing[0]!r}",
            "add them",
        )
    return [group_of[name] for name in names]


def _refuse_useless(parts: dict[str, Subset]) -> None:
    for part in parts.values():
        if all(a.crowd for image in part for a in image.annotations):
            what = "images, but none with an object" if len(part) else "images"
            raise RecordError(
                part.name,
                f"would get {len(part)} {what}",
                "give it a larger share, take other groups or another --seed",
            )


def _write_parts(parts: dict[str, Subset], dataset: Dataset, out: Path) -> None:
    """The parts' labels, with file names relative to the folder of the images."""
    root, names = _common_root(list(dataset))
    beside = _same(out, root) or _same(out / "images", root)
    taken = [out / f"{name}.json" for name in parts if (out / f"{name}.json").exists()]
    if beside and taken:
        raise UserError(f"{taken[0]}: is there already; name another folder with --out")
    if not beside:
        refuse_filled(out)
    with nullcontext(out) if beside else new_folder(out) as folder:
        if not beside:
            try:
                os.symlink(root, folder / "images", target_is_directory=True)
            except OSError as error:
                raise UserError(
                    f"--out {out}: no link to {root} can be made there ({error.strerror}); add --copy"
                ) from None
        try:
            for name, part in parts.items():
                file_names = [names[index] for index in part.indices]
                path = folder / f"{name}.json"
                found = find_images(path, [{"file_name": each} for each in file_names]).folder
                if not _same(found, root):
                    raise UserError(f"--out {out}: {found} has images of the same names; name another folder")
                write_coco(part, path, file_names=file_names)
        except BaseException:  # one part without the others is no split
            for name in parts:
                (folder / f"{name}.json").unlink(missing_ok=True)
            raise


def _copy_parts(parts: dict[str, Subset], out: Path) -> None:
    """The parts' labels and images."""
    refuse_filled(out)
    with new_folder(out) as folder:
        write_coco_copies(parts, folder)


def _common_root(images: list[LabelledImage]) -> tuple[Path, list[str]]:
    """The folder that all image files are in, absolute, and their names relative to it.

    It is the one that their `file_name` is relative to already, where there is one.
    """
    paths = [Path(os.path.abspath(image.path)) for image in images if image.path is not None]
    assert len(paths) == len(images), "generated images have a val split, and are not split"
    names = [Path(relative_name(image.file_name) or image.file_name) for image in images]
    roots = {Path(*path.parts[: -len(name.parts)]) for path, name in zip(paths, names, strict=True)}
    root = next(iter(roots))
    if len(roots) > 1 or any(root / name != path for path, name in zip(paths, names, strict=True)):
        root = Path(os.path.commonpath([path.parent for path in paths]))
    return root, [path.relative_to(root).as_posix() for path in paths]


def _same(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and os.path.samefile(a, b)


def print_split(parts: dict[str, Subset]) -> None:
    """Images and objects of each class in each part; crowds are not counted."""
    table = Table("class", title="images / objects", title_justify="left")
    rows: dict[str, dict[str, tuple[int, int]]] = {}
    for name, part in parts.items():
        table.add_column(name, justify="right")
        rows[name] = _class_counts(part)
    classes = next(iter(parts.values())).classes
    ordered = sorted(classes, key=lambda each: -sum(counts[each][1] for counts in rows.values()))
    for kind in ["", *ordered]:
        cells = [f"{counts[kind][0]} / {counts[kind][1]}" for counts in rows.values()]
        table.add_row(Text(printable(kind) or "all"), *cells, end_section=not kind)
    empty = [str(sum(not image.annotations for image in part)) for part in parts.values()]
    table.add_section()
    table.add_row("images without an object", *empty)
    Console(soft_wrap=True).print(table)


def _class_counts(part: Dataset) -> dict[str, tuple[int, int]]:
    """Images and objects by class; of all classes under ""."""
    images, objects = dict.fromkeys(part.classes, 0), dict.fromkeys(part.classes, 0)
    for image in part:
        labels = [part.classes[a.label] for a in image.annotations if not a.crowd]
        for name in set(labels):
            images[name] += 1
        for name in labels:
            objects[name] += 1
    found = {name: (images[name], objects[name]) for name in part.classes}
    return found | {"": (len(part), sum(objects.values()))}

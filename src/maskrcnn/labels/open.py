"""From what a person types (a file, a folder, "synthetic") to a data set, whatever tool wrote the labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from maskrcnn.config.data import DataConfig
from maskrcnn.errors import UserError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.choose import choose_labels
from maskrcnn.labels.detect import Format, detect, find_format
from maskrcnn.labels.folder_lines import (
    LAYOUTS,
    TRIED_FOLDERS,
    beside_splits,
    files_like,
    no_labels,
    refuse_several,
)
from maskrcnn.labels.image_files import check_sizes
from maskrcnn.labels.match_classes import with_class
from maskrcnn.labels.options import PLAIN, LabelOptions
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.folder_files import visible
from maskrcnn.labels.readers.foreign_json import foreign_lines
from maskrcnn.labels.readers.json_file import only_json
from maskrcnn.labels.readers.label_image_names import named_folders
from maskrcnn.labels.readers.not_read import not_read
from maskrcnn.labels.split_names import SPLIT_NAMES, SPLITS, Split, split_of, splits_named
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.types import Dataset

ANNOTATIONS = ("annotations", "annotation", "annos", "ann", "labels", "json", "jsons")  # with COCO's .json
Opener = Callable[[], Dataset]


@dataclass(frozen=True)
class _Asked:
    """What a person said of a source."""

    named: Format | None  # by FORMAT:PATH
    options: LabelOptions
    _found: dict[Path, Format | None] = field(default_factory=dict)

    def kind(self, path: Path) -> Format | None:
        """The format of the labels at `path`, for which each is looked at once: a large folder takes seconds.

        Raises:
            UserError: as `detect`.
        """
        if self.named is None and path not in self._found:
            self._found[path] = detect(path)
        return self.named or self._found[path]


def open_dataset(
    source: str | Path, split: Split | None = None, *, headers: bool = True, options: LabelOptions = PLAIN
) -> Dataset:
    """Open labelled images.

    Args:
        source: a label file; a folder that one of the tools wrote; a folder with train and val of those
            (files or folders); COCO's own layout; or "synthetic". FORMAT:PATH, as in voc:data, where several
            could be meant.
        split: which part of a source that has parts; None: the first that there is. A source without parts,
            as a .json is, is itself whatever the split: a person who names a file means that file.
        headers: compare the size of the first images with their labels'.
        options: what a person says of the labels.

    Raises:
        UserError: there is no such thing, it has another split only, several formats could be meant, or an
            option that does not fit.
        DataError: the labels cannot be used.
    """
    if str(source) == "synthetic":
        return _synthetic(split or "train", options)
    path, asked = _asked(source, options)
    if not path.is_dir():
        return _checked(_file(path, split, asked), headers, options)
    parts = {name: opener for name in SPLITS if (opener := _find_split(path, name, asked))}
    if split in parts:
        return _checked(parts[split], headers, options)
    whole = None
    if not parts.keys() - {"test"} and not _lists(path, "test", asked):
        # a folder called test may also lie beside labels of one part
        whole = _whole(path, asked) or _annotations(path, asked)
    if whole is not None and parts:
        whole = _without_test(whole, path, split, parts["test"])
    if split is not None and parts and whole is None:
        raise _lacks(path, split, parts)
    opener = whole or next(iter(parts.values()), None)
    if opener is None:
        refuse_several(path)
        below = list(islice(_folders_below(path, asked), 3))
        if below:
            names = " and ".join([repr(each.name) for each in below[:2]] + ["others"] * (len(below) > 2))
            remedy = f"give {str(below[0])!r}" + ", or another of them" * (len(below) > 1)
            raise UserError(f"{path}: no labels found, but in {names} there are; {remedy}")
        raise UserError(no_labels(path))
    return _checked(opener, headers, options)


def open_split(
    source: str | Path, split: Split, *, headers: bool = True, options: LabelOptions = PLAIN
) -> Dataset | None:
    """A part of a source: of a folder, or the val*.json or test*.json beside a file named train*.json.

    None where there is no such part.

    Raises:
        as `open_dataset`.
    """
    if str(source) == "synthetic":
        return None if split == "test" else _synthetic(split, options)
    path, asked = _asked(source, options)
    if path.is_dir() or _known(path, asked).has_split:
        opener = _find_split(path, split, asked)
    else:
        sibling = _sibling(path, split)
        opener = _file(sibling, None, asked) if sibling else None
    return None if opener is None else _checked(opener, headers, options, strict=False)


def open_named(source: str | Path, split: str | None, *, options: LabelOptions = PLAIN) -> Dataset:
    """The split that a person named; None: val, or the whole of a source that has no splits.

    Raises:
        UserError: there is no split of that name; and as `open_dataset`.
    """
    if split is None:
        return open_dataset(source, "val", options=options)
    wanted = split_of(split)
    if wanted is None:
        raise UserError(f"--split {split}: there are {', '.join(SPLITS)}")
    dataset = open_split(source, wanted, options=options)
    if dataset is None:
        raise UserError(f"--split {split}: {source} has no {wanted} split; give what is to be taken as DATA")
    return dataset


def open_pair(source: str | Path, *, options: LabelOptions = PLAIN) -> tuple[Dataset, Dataset | None]:
    """What to train on and what to evaluate on, as `open_dataset` and `open_split` find them."""
    return open_dataset(source, "train", options=options), open_split(source, "val", options=options)


def _synthetic(split: Split, options: LabelOptions) -> Dataset:
    from maskrcnn.labels.synthetic import Synthetic

    if split == "test":
        raise UserError("synthetic: has no 'test' split, only train and val")
    options.reader_arguments("synthetic", ())
    return _checked(lambda: Synthetic(split=split), False, options)  # no files, whose sizes could be others


def _asked(source: str | Path, options: LabelOptions) -> tuple[Path, _Asked]:
    """The path of a source, which may be a FORMAT:PATH, and what was said of it."""
    name, colon, rest = str(source).partition(":")
    named = find_format(name) if colon else None
    return Path(rest) if named else Path(source), _Asked(named, options)


def _checked(opener: Opener, headers: bool, options: LabelOptions, *, strict: bool = True) -> Dataset:
    dataset = choose_labels(opener(), options.data or DataConfig(), strict=strict)
    if options.class_name is not None:
        dataset = with_class(dataset, options.class_name)
    if headers:
        check_sizes(dataset)
    return dataset


def _file(path: Path, split: Split | None, asked: _Asked) -> Opener:
    """The labels in a file that must be there."""
    found = _known(path, asked)
    has_split = found.has_split
    parts = [] if has_split is None else [each for each in SPLITS if has_split(path, each)]
    if parts and split is not None and split not in parts:
        raise UserError(f"{path}: has no {split!r} split, only {' and '.join(parts)}; add it")
    return _opener(found, path, asked.options, split if parts else None)


def _known(path: Path, asked: _Asked) -> Format:
    """The format of a label file."""
    if asked.named is not None:
        return asked.named
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give {LAYOUTS}")
    found = asked.kind(path)
    if found is None:
        foreign = foreign_lines(path)
        if foreign is not None:
            raise UserError(f"{path}: {foreign.name}, which is not read; {foreign.remedy}")
        unread = not_read(path)
        if unread is not None:
            raise UserError(f"{path}: {unread[0].name}, which is not read; {unread[0].remedy}")
        raise UserError(f"{path}: not a label file; give {LAYOUTS}")
    return found


def _opener(found: Format, path: Path, options: LabelOptions, split: Split | None = None) -> Opener:
    arguments = options.reader_arguments(found.name, found.takes)
    if split is not None and found.has_split is not None:
        return lambda: found.read(path, split, **arguments)
    if found.name in ("coco", "lvis"):
        path = only_json(path) or path
    return lambda: found.read(path, **arguments)


def _sibling(path: Path, split: Split) -> Path | None:
    """val*.json beside train*.json."""
    if not path.stem.startswith("train"):
        return None
    siblings = [path.with_name(name + path.name.removeprefix("train")) for name in SPLIT_NAMES[split]]
    return next((sibling for sibling in siblings if sibling.is_file() and sibling != path), None)


def _lists(path: Path, split: Split, asked: _Asked) -> bool:
    """Whether the labels themselves say what belongs to a split."""
    found = asked.kind(path)
    return found is not None and found.has_split is not None and found.has_split(path, split)


def _find_split(folder: Path, split: Split, asked: _Asked) -> Opener | None:
    """The labels of a split: by the format's own lists, in a file or folder of its name, or in COCO's
    layout.
    """
    whole = asked.kind(folder)
    if whole is not None and _lists(folder, split, asked):
        return _opener(whole, folder, asked.options, split)
    names = SPLIT_NAMES[split]
    found: dict[Path, Opener] = {}
    for suffix in (".json", ""):
        paths = [path for name in names for path in files_like(folder, f"{name}{suffix}")]
        if found:  # a folder beside a label file has its images, as a rule: looking for labels takes seconds
            paths = [path for path in paths if not _holds_images_alone(path)]
        for find in (_whole, _annotations):
            openers = {path: opener for path in paths if (opener := find(path, asked))}
            if openers:
                path = _only(list(openers))
                found[path] = openers[path]
                break
    if not found:  # else a table may have the runs of the masks that were found, as of TGS salt
        found |= _split_table(folder, split, asked)
    for stem in ("instances_", "instances_mini", "person_keypoints_", "", "lvis_v*_"):
        patterns = (f"{stem}{name}*.json" for name in names)
        files = [path for pattern in patterns for path in files_like(folder / "annotations", pattern)]
        opener = _whole(_only(list(dict.fromkeys(files))), asked) if files else None
        if opener is not None:
            found[_only(files)] = opener
            break
    if not found and whole is None:  # of files of one kind, one an image, the names say nothing
        found = _told_by_name(folder, split, asked)
    if len(found) > 1:
        first, second = (str(path.relative_to(folder)) for path in list(found)[:2])
        raise UserError(
            f"{folder}: {first!r} and {second!r} both hold labels of the {split} split; give the one that is "
            "meant, or move the other out of there"
        )
    for path, opener in found.items():
        return _noting(opener, path) if split == "train" else opener
    return None


def _noting(opener: Opener, path: Path) -> Opener:
    """The same, with labels beside those at `path` counted that no split has."""

    def read() -> Dataset:
        dataset = opener()
        for name in beside_splits(path):
            dataset.problems.note(ProblemKind.BESIDE_SPLITS, repr(name))
        return dataset

    return read


def _lacks(folder: Path, split: Split, parts: Iterable[Split]) -> UserError:
    there = " and ".join(parts)
    return UserError(f"{folder}: has no {split!r} split, only {there}; add {split}.json or a folder {split}")


def _without_test(opener: Opener, folder: Path, split: Split | None, test: Opener) -> Opener:
    """The same without the images of the test split, where the labels of all folders are read; those where
    there are no others and no split is asked for.
    """
    tests = [path for path in visible(folder, "*/") if split_of(path.name) == "test"]

    def read() -> Dataset:
        dataset = opener()
        kept = [
            index
            for index, image in enumerate(dataset)
            if image.path is None or not any(image.path.is_relative_to(test) for test in tests)
        ]
        if not kept and split is not None:
            raise _lacks(folder, split, ["test"])
        if not kept:
            return test()
        return dataset if len(kept) == len(dataset) else Subset(dataset, kept)

    return read


def _told_by_name(folder: Path, split: Split, asked: _Asked) -> dict[Path, Opener]:
    """The .json or table of a split by a word of its name, as train_annotations.json or train_labels.csv."""
    for place in (folder, *named_folders(folder, ANNOTATIONS)):
        paths = (*files_like(place, "*.json"), *files_like(place, "*.[ct]sv"))
        files = [path for path in paths if splits_named(path) == {split}]
        opener = _whole(_only(files), asked) if files else None
        if opener is not None:
            return {_only(files): opener}
    return {}


def _split_table(folder: Path, split: Split, asked: _Asked) -> dict[Path, Opener]:
    """The table of a split; none beside a table of which a person has to say what it is."""
    tables = list(files_like(folder, "*.[ct]sv"))
    own = [path for path in tables if path.stem.lower() in SPLIT_NAMES[split]]
    others = [path for path in tables if split_of(path.stem) is None] if own else []
    if any(_whole(path, asked) for path in others):
        return {}
    openers = {path: opener for path in own if (opener := _whole(path, asked))}
    return {path: openers[path] for path in [_only(list(openers))]} if openers else {}


def _holds_images_alone(folder: Path) -> bool:
    """Whether all that a folder holds are images, none of them Cellpose's masks."""
    try:
        return all(
            entry.name.lower().endswith(SUFFIXES) and "_masks." not in entry.name
            for entry in os.scandir(folder)
        )
    except OSError:
        return False


def _only(paths: list[Path]) -> Path:
    """The labels of a split among those called so: of instances_val2017.json and
    instances_val2017_fixed.json the plain one.

    Raises:
        UserError: several could be meant; to take one would leave out what the others hold.
    """
    plain = [path for path in paths if split_of(path.stem.rstrip("0123456789").rpartition("_")[2])]
    first, *others = sorted(plain or paths, key=lambda path: len(path.name))
    for other in others:
        if not (os.path.samefile(first, other) or (not plain and other.stem.startswith(first.stem))):
            raise UserError(
                f"{first.parent}: holds {first.name!r} and {other.name!r}; name the one that is meant"
            )
    return first


def _annotations(folder: Path, asked: _Asked) -> Opener | None:
    """The labels of a COCO export without train and val: annotations/instances_default.json, as CVAT's."""
    for place in named_folders(folder, ANNOTATIONS):
        for pattern in ("instances_*.json", "person_keypoints_*.json", "*.json"):
            openers = [_whole(file, asked) for file in files_like(place, pattern)]
            found = [opener for opener in openers if opener is not None]
            if len(found) == 1:
                return found[0]
            if found:
                refuse_several(place, pattern)
    return None


def _folders_below(folder: Path, asked: _Asked) -> Iterator[Path]:
    """The folders in it with labels, as where an archive was unpacked into one, or several tasks of CVAT."""
    for below in visible(folder, "*/")[:TRIED_FOLDERS]:
        try:
            splits = (_find_split(below, split, asked) for split in SPLITS)
            if _whole(below, asked) or any(splits) or _annotations(below, asked):
                yield below
            else:
                refuse_several(below)
        except UserError:  # of which giving that folder says what is wrong
            yield below
        except OSError:
            continue


def _whole(path: Path, asked: _Asked) -> Opener | None:
    """The labels at `path` as one data set; None where there are none."""
    found = asked.kind(path)
    if found is None or (asked.named is not None and not found.looks_like(path)):
        return None
    return _opener(found, path, asked.options)

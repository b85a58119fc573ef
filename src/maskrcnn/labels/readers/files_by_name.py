"""Label files that each belong to the image of their name, and images that a label file names."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from maskrcnn.errors import RecordError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.image_files import NearNames, present_name, refuse_leaving, relative_name
from maskrcnn.labels.image_places import image_folders
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.folder_files import by_stem, files_under, visible
from maskrcnn.labels.readers.json_file import JSONS, load_json
from maskrcnn.labels.split_names import Split, split_of
from maskrcnn.shell import counted

MOST_FOLDERS = 1000  # that are looked into for a label file
TRIED = 3  # files that are looked into before a folder is taken for something else
MOST_FILES = 20  # in a folder, of which one is looked for
TRIED_IMAGES = 20  # that are looked for before a folder is given up


def split_below(name: str) -> Split | None:
    """The split that a folder of a name below the first one is called by, as in labels/train/a.txt."""
    folders = posixpath.dirname(name).split("/")[1:]
    return next((split for folder in folders if (split := split_of(folder))), None)


def of_split(names: Iterable[str], split: str | None) -> list[str]:
    """The names that are of a split, where those of none are of train; all where no split is wanted."""
    return [name for name in names if split is None or (split_below(name) or "train") == split]


def perhaps_of_split(names: Iterable[str], split: str | None) -> list[str]:
    """The same with all that are of none: images of several splits may lie in one folder."""
    return [name for name in names if split is None or split_below(name) in (split, None)]


def has_split_below(
    source: Path, split: str, suffixes: str | tuple[str, ...], is_label: Callable[[Path], bool]
) -> bool:
    """Whether a folder below the first one holds label files of that split."""
    names = files_under(source) if source.is_dir() else []
    return any(
        split_below(name) == split and name.lower().endswith(suffixes) and is_label(source / name)
        for name in names
    )


def image_of_each(
    labels: Sequence[str], names: Iterable[str], root: Path, stem_of: Callable[[str], str]
) -> tuple[dict[str, str], list[str]]:
    """The image of each label file, and the images without one.

    It is the image whose name, with its suffix or without, is what `stem_of` says of the file's; one in the
    same folder rather than in another. Where a folder, or all of it, has a single file of any name and a
    single image, they belong together.

    Args:
        labels, names: label files and all files, relative to `root`.
        stem_of: from the name of a label file, without folders, to its image's.

    Raises:
        DataError: a label file has no image or several, or an image several label files.
    """
    images = [name for name in names if name.lower().endswith(SUFFIXES)]
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for image in images:
        base = posixpath.basename(image)
        for stem in (base, posixpath.splitext(base)[0]):
            by_stem[stem].append(image)
    by_folder: defaultdict[str, list[str]] = defaultdict(list)
    for name in (*images, *labels):
        by_folder[posixpath.dirname(name)].append(name)
    found: dict[str, str] = {}
    owners: dict[str, str] = {}
    for label in labels:
        candidates = by_stem.get(stem_of(posixpath.basename(label)), [])
        near = [image for image in candidates if posixpath.dirname(image) == posixpath.dirname(label)]
        candidates = near or candidates
        beside = by_folder[posixpath.dirname(label)]
        if not candidates and len(labels) == len(images) == 1:
            candidates = images
        elif not candidates and len(beside) == 2:
            candidates = [name for name in beside if name not in labels]
        if len(candidates) != 1:
            remedy = "restore it, or give the folder that holds both images and labels"
            if candidates:
                remedy = f"there are {candidates[0]!r} and {candidates[1]!r}; keep one of them"
            raise RecordError(root / label, "no image of its name", remedy)
        image = candidates[0]
        if image in owners:
            raise RecordError(root / label, f"{owners[image]!r} is for image {image!r} too", "delete one")
        found[label], owners[image] = image, label
    return found, [image for image in images if image not in owners]


def images_of_labels(labels: Path, builder: LabelBuilder) -> Iterator[tuple[str, str]]:
    """Label images (PNG) in a folder, each with its image: the one of its name, but for the suffix, in the
    builder's folder. Images without one are counted.

    Raises:
        DataError: a label image has no image, two images share a name, or a label image is a link that leads
            out of the folder.
    """
    images, masks = by_stem(builder.folder, SUFFIXES), by_stem(labels, (".png",))
    if lost := sorted(masks.keys() - images.keys()):
        what = (
            f"{counted(len(lost), 'label image')} without an image in {str(builder.folder)!r}, the first is"
        )
        raise RecordError(builder.source, f"{what} {masks[lost[0]]!r}", "restore the images")
    for key, name in images.items():
        if key in masks:
            refuse_leaving(labels, labels / masks[key])
            yield masks[key], name
        else:
            builder.problems.note(ProblemKind.IMAGE_WITHOUT_LABELS, f"{name!r}")


def folder_of_images(
    path: Path, names: Iterable[str], given: Path | None = None, more: Sequence[str] = ()
) -> Path:
    """The folder that holds the images that a label file names.

    Args:
        given: the folder to look in, or one above it; None: folders beside the file.
        more: folders to try first then, relative to the file's.

    Raises:
        DataError: there is none that holds one of the first, or it lacks others.
    """
    wanted = list(dict.fromkeys(names))
    sample = wanted[:TRIED_IMAGES]
    folders = [path.parent / name for name in more if given is None] + image_folders(path, given)
    folder = first_folder(folders, sample) or _near_folder(folders, sample)
    if folder is None:
        looked = ", ".join(str(folder) for folder in folders[:8])
        remedy = "put the images into one of these folders, or say where they are: --images FOLDER"
        raise RecordError(path, f"not found in {looked}", remedy, f"image {(sample or [''])[0]!r:.200}")
    near = NearNames(folder)
    if missing := [name for name in wanted if not (_is_there(folder, name) or _is_near(near, name))]:
        what = f"{len(missing)} of {len(wanted)} image files are missing, the first is"
        first = f"{str(folder / missing[0])!r:.300}"
        raise RecordError(path, f"{what} {first}", "restore them or delete their entries")
    return folder


def first_folder(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The first folder that holds the first of the names that any holds."""
    return next((folder for name in names for folder in folders if _is_there(folder, name)), None)


def _is_there(folder: Path, name: str) -> bool:
    here = present_name(folder, name)
    return here is not None and os.path.isfile(folder / here)


def _near_folder(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The first folder that has one of the names in other letters."""
    listed = [NearNames(folder) for folder in folders]
    return next((each.folder for each in listed if any(_is_near(each, name) for name in names)), None)


def _is_near(near: NearNames, name: str) -> bool:
    inside = relative_name(name)
    return inside is not None and near.find(inside, any_suffix=False) is not None


def first_files(source: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """`source` itself, or the first files of these suffixes in it, else in the first of its subfolders with
    some.
    """
    if not source.is_dir():
        return [source] if source.name.lower().endswith(suffixes) and source.is_file() else []
    for searched, (folder, names, files) in enumerate(os.walk(source)):
        names[:] = sorted(name for name in names if not name.startswith("."))
        found = [
            Path(folder, name)
            for name in sorted(files)
            if name.lower().endswith(suffixes) and not name.startswith(".")
        ]
        if found:
            return found[:TRIED]
        if searched >= MOST_FOLDERS:
            break
    return []


def only_file(source: Path, looks_like: Callable[[Path], bool]) -> Path | None:
    """`source` itself, or the only file of JSON in the folder `source` that looks like it.

    None in a folder with many, which are then one for each image.
    """
    if not source.is_dir():
        is_json = source.suffix.lower() == ".json" and source.is_file()
        return source if is_json and looks_like(source) else None
    files = visible(source, JSONS)
    found = (
        [path for path in files if path.is_file() and looks_like(path)] if len(files) <= MOST_FILES else []
    )
    return found[0] if len(found) == 1 else None


def load_only(source: Path, kind: str, looks_like: Callable[[Path], bool]) -> tuple[Path, Any]:
    """The `only_file` of JSON of a kind of labels, and what it holds.

    Raises:
        DataError: there is none, or it is not readable.
    """
    path = only_file(source, looks_like)
    if path is None:
        raise RecordError(source, f"not one .json of {kind}", "give the label file itself")
    return path, load_json(path)


def holds_one(source: Path, looks_like: Callable[[Path], bool]) -> bool:
    """Whether there is an `only_file`; false where the folder cannot be looked into."""
    try:
        return only_file(source, looks_like) is not None
    except OSError:
        return False

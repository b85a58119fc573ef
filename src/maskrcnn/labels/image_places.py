"""Where the images lie that a COCO file names: tools put them into many folders, and write names in several
ways.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from maskrcnn.errors import RecordError
from maskrcnn.labels.image_files import NearNames, relative_name
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.split_names import SPLIT_NAMES, split_of

TRIED_IMAGES = 20  # so many, spread over the file, are looked for
PREFIXES = ("instances_", "person_keypoints_")
SPLIT_WORDS = {"train", "val", "valid", "validation", "test", "default"}
IMAGE_NAMES = ("images", "Images", "imgs", "img", "data")
MOST_BELOW = 1000  # folders of one of these that are looked into
MOST_FOLDERS = 16  # before a name; deeper ones are not tried without their first


@dataclass(frozen=True)
class Spelling:
    """How a record of `images` is read as a name below the folder of the images."""

    field: str = "file_name"  # or COCO Annotator's "path"
    slashes: bool = False  # backslashes stand between folders
    dropped: int = 0  # leading folders that the folder of the images stands for

    def name(self, record: dict[str, Any]) -> str | None:
        """The normalised name; None where there is none, or one that leads out of the folder."""
        text = record.get(self.field)
        if not isinstance(text, str) or not text:
            return None
        if self == Spelling():
            return relative_name(text)
        parts = _parts(text) if self.slashes else [part for part in PurePosixPath(text).parts if part != "/"]
        rest = parts[self.dropped :]
        return relative_name("/".join(rest)) if rest and ".." not in rest else None

    @property
    def kind(self) -> ProblemKind | None:
        """What is wrong with names that are to be read so; None: nothing."""
        if self.field != "file_name":
            return ProblemKind.IMAGE_BY_PATH
        if self.dropped:
            return ProblemKind.LEADING_FOLDERS
        return ProblemKind.BACKSLASHES if self.slashes else None


@dataclass(frozen=True)
class Place:
    """Where the images are, and how their names are to be read."""

    folder: Path
    spelling: Spelling = Spelling()


def find_images(json_path: Path, records: Sequence[dict[str, Any]], given: Path | None = None) -> Place:
    """The place that holds all of some images of a COCO file or, where none does, most of them.

    Of places that do equally well it is the first in this order: names as they are, then with backslashes as
    slashes, then without their first folder, the first two, ..., last COCO Annotator's `path`; and for each
    of these the folders as `image_folders` lists them.

    Args:
        json_path: the COCO file.
        records: of its images, each with a `file_name`.
        given: the folder of the images that a person named; only it and folders in it are looked at.

    Raises:
        DataError: no folder holds any of the images.
    """
    sample = list(records[:: max(1, len(records) // TRIED_IMAGES)][:TRIED_IMAGES])
    folders = [folder for folder in image_folders(json_path, given) if folder.is_dir()]
    upper = None if given is not None else _above(json_path.parent)
    best, most = None, 0
    for spelling in _spellings(sample):
        if spelling.dropped and not _tells_apart(spelling, records):
            continue
        names = [name for record in sample if (name := spelling.name(record)) is not None]
        for folder in folders:
            # of the folder above only what lies in a folder that the name tells
            here = names if folder != upper else [name for name in names if "/" in name]
            held = sum(os.path.isfile(folder / name) for name in here)
            if held > most:
                best, most = Place(folder, spelling), held
            if best is not None and most == len(sample):
                return best
    best = best or _near_place(folders, upper, sample, records) or _deeper_place(json_path, sample, given)
    if best is None:
        raise _not_found(json_path, sample, given)
    return best


def _near_place(
    folders: Sequence[Path],
    upper: Path | None,
    sample: Sequence[dict[str, Any]],
    records: Sequence[dict[str, Any]],
) -> Place | None:
    """The first place that holds an image with other letters or another suffix."""
    near = [(folder, NearNames(folder)) for folder in folders]
    for spelling in _spellings(sample):
        if spelling.dropped and not _tells_apart(spelling, records):
            continue
        names = [name for record in sample if (name := spelling.name(record)) is not None]
        for folder, like in near:
            if any(like.find(name) for name in names if "/" in name or folder != upper):
                return Place(folder, spelling)
    return None


def _deeper_place(json_path: Path, sample: Sequence[dict[str, Any]], given: Path | None) -> Place | None:
    """The only folder in one called images, in any depth, that holds all the images, as LIVECell's."""
    above = [json_path.parent, _above(json_path.parent), _above(_above(json_path.parent))]
    beside = [each / name for each in above for name in IMAGE_NAMES]
    tops = [each for each in beside if each.is_dir()] if given is None else [given]
    names = [name for record in sample if (name := Spelling().name(record)) is not None]
    found = {
        os.path.realpath(folder): Path(folder)
        for top in tops
        for folder, *_ in islice(os.walk(top), MOST_BELOW)
        if len(names) == len(sample) and all(os.path.isfile(os.path.join(folder, name)) for name in names)
    }
    return Place(next(iter(found.values()))) if len(found) == 1 else None


def image_folders(json_path: Path, given: Path | None = None) -> list[Path]:
    """The folders that may hold the images of a COCO file, X.json or instances_X.json.

    Those that are called X come before those that hold the images of all splits.
    """
    splits = _split_names(json_path.stem)
    if given is not None:
        places = ["", *splits, "images", *(f"images/{split}" for split in splits), "data", "JPEGImages"]
        return [given / place for place in places]
    here = json_path.parent
    parent = _above(here)
    beside = [json_path.stem, *(f"images/{split}" for split in splits), "images", ""]
    in_each = [form.format(split) for form in ("{}/images", "{}_images", "images_{}") for split in splits]
    above = [*(f"images/{split}" for split in splits), "images", *in_each, *splits]
    rest = [*in_each, *splits, *(f"data/{split}" for split in splits), "data", "JPEGImages"]
    folders = [here / place for place in beside] + [parent / place for place in above]
    folders += [here / place for place in rest] + [parent / place for place in rest[4 * len(splits) :]]
    return list(dict.fromkeys([*folders, parent]))


def _above(folder: Path) -> Path:
    return folder / ".." if folder.name in ("", "..") else folder.parent


def _split_names(stem: str) -> list[str]:
    """What a file's name says its images are called: of instances_Train, that, Train, train and training."""
    names = [stem]
    names += [stem.removeprefix(prefix) for prefix in PREFIXES if stem.startswith(prefix)]
    names += [word for word in re.split(r"[_.\- ]", stem) if word.lower() in SPLIT_WORDS]
    names += [re.sub(r"(19|20)\d\d$", "", name) for name in names]
    names += [name.lower() for name in names]
    names += [alias for name in names if (split := split_of(name)) for alias in SPLIT_NAMES[split]]
    return list(dict.fromkeys(filter(None, names)))


def _spellings(sample: Sequence[dict[str, Any]]) -> Iterator[Spelling]:
    yield Spelling()
    for field in ("file_name", "path"):
        texts = [text for record in sample if isinstance(text := record.get(field), str)]
        slashes = any("\\" in text for text in texts)
        if slashes and field == "file_name":
            yield Spelling(field, slashes)
        deepest = max((len(_parts(text)) for text in texts), default=0)
        for dropped in range(field == "file_name", min(deepest, MOST_FOLDERS)):
            yield Spelling(field, slashes, dropped)


def _parts(text: str) -> list[str]:
    """Folders and name, whatever stands between them, without a drive."""
    windows = PureWindowsPath(text)
    return [part for part in windows.parts if part != windows.anchor]


def _tells_apart(spelling: Spelling, records: Sequence[dict[str, Any]]) -> bool:
    """Whether what is left of two different names is different: else one file would stand for both."""
    found: dict[str | None, str] = {}
    return all(
        found.setdefault(spelling.name(record), record["file_name"]) == record["file_name"]
        for record in records
        if spelling.name(record) is not None
    )


def _not_found(json_path: Path, sample: Sequence[dict[str, Any]], given: Path | None) -> RecordError:
    names = [record["file_name"] for record in sample]
    name = next((name for name in names if relative_name(name) is not None), names[0])
    if given is not None:
        what = f"not found in {given} nor in its folders images, data and JPEGImages"
        return RecordError(json_path, what, "name the folder that holds it", f"image {name!r}")
    root = _above(json_path.parent)
    folders = image_folders(json_path)
    looked = ", ".join(os.path.relpath(folder, root) for folder in folders if folder != root)
    remedy = "put the images into one of these folders, or say where they are: --images FOLDER"
    return RecordError(
        json_path, f"not found in {looked} of {os.path.abspath(root)}", remedy, f"image {name!r}"
    )

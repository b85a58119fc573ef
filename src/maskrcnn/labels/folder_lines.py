"""What a folder holds that is not plainly labels, in the lines that say so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from maskrcnn.errors import UserError
from maskrcnn.labels.detect import detect
from maskrcnn.labels.readers.folder_files import visible
from maskrcnn.labels.readers.foreign_json import foreign_json
from maskrcnn.labels.readers.instance_png import unpaired
from maskrcnn.labels.readers.json_file import MOST_FILES, has_labels, load_json
from maskrcnn.labels.readers.not_read import contents, not_read
from maskrcnn.labels.readers.voc import begins_voc
from maskrcnn.labels.split_names import splits_named

TRIED_FOLDERS = 10  # in a folder, that are looked into for labels

LAYOUTS = (
    "a label file or the folder that a labelling tool wrote (docs/data.md lists the formats), a folder with "
    "train and val of those, or synthetic"
)


def files_like(folder: Path, pattern: str) -> Iterator[Path]:
    """What a folder holds under a name in upper or lower case.

    The shortest comes first: of instances_val2017.json and instances_val2017_fixed.json that is the plain
    one.
    """
    try:
        names = [name for name in os.listdir(folder) if fnmatchcase(name.lower(), pattern)]
    except OSError:
        return iter(())
    ordered = sorted(names, key=lambda name: (not fnmatchcase(name, pattern), len(name), name))
    return (folder / name for name in ordered if not name.startswith("."))


def refuse_several(folder: Path, pattern: str = "*.json") -> None:
    """Refuse a folder of several label files, of which a person has to choose."""
    files = sorted(file.name for file in files_like(folder, pattern))
    if len(files) < 2:
        return
    for name in files[:2]:
        found = detect(folder / name)
        foreign = foreign_json(load_json(folder / name))  # of which there may be one for each image
        if foreign is not None and (found is None or found.name == "coco"):
            raise UserError(f"{folder}: {name!r} is {foreign.name}, which is not read; {foreign.remedy}")
    if len(files) <= MOST_FILES:
        files = [name for name in files if may_be_labels(folder / name)]
    if len(files) > 1:
        raise UserError(f"{folder}: holds {files[0]!r} and {files[1]!r}; name the one that is meant")


def may_be_labels(path: Path) -> bool:
    """Whether a .json is more than settings, of which some lie beside labels."""
    found = detect(path)
    return found is not None and (found.name != "coco" or has_labels(path))


def no_labels(folder: Path) -> str:
    """A line about a folder without labels: what there is, and what was looked for."""
    unread = not_read(folder)
    if unread is not None:
        kind, file = unread
        where = f"{file.relative_to(folder).as_posix()!r:.200}"
        return f"{folder}: no labels found but {kind.name} ({where}), which is not read; {kind.remedy}"
    loose = unpaired(folder)
    if loose is not None:
        return f"{folder}: {loose}"
    what = f"{folder}: no labels found in it ({contents(folder)}), nor images/ beside masks/ of label images"
    return f"{what}; give {LAYOUTS}"


def beside_splits(found: Path) -> list[str]:
    """The names of labels beside those of a split, files or folders as these, that no split has."""
    folders = visible(found.parent, "*/")
    folders = folders[:TRIED_FOLDERS] if found.is_dir() else []
    patterns = ("*.json", "*.geojson", "*.xml")
    files = [path for pattern in patterns for path in files_like(found.parent, pattern)][:MOST_FILES]
    return [
        path.name
        for path in (*folders, *files)
        if not splits_named(path) and path != found and _has_labels(path)
    ]


def _has_labels(path: Path) -> bool:
    try:
        if path.suffix.lower() == ".xml":
            return begins_voc(path) or detect(path) is not None
        if not path.is_dir():
            return may_be_labels(path)
        return detect(path) is not None or next(path.glob("annotations/*.json"), None) is not None
    except UserError:  # it looks like several kinds
        return True
    except OSError:
        return False

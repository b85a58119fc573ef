"""Label files that hold all images in one, which a person may have corrected since a run wrote them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from maskrcnn.files import write_json
from maskrcnn.labels.writers.format_writer import FormatWriter
from maskrcnn.predict.kinds import LABELS
from maskrcnn.safe_files import parse_json

RECORD = ".labels.json"  # the digest of each such file as a run left it, by its name below `--out`


class SharedLabels:
    """Of the formats in `labels` those that have one file for all images.

    What a killed run left is in no record, and is made anew.
    """

    def __init__(self, out: Path, labels: Collection[str]) -> None:
        """
        Raises:
            UserError: the record is damaged.
        """
        self._out, self._path = out, out / RECORD
        self._known: dict[str, str] = {}
        if self._path.is_file():
            self._known = dict(
                parse_json(self._path, "remove it, and the label files beside it are made anew")
            )
        names = [name for name in labels if LABELS[name].own_file is FormatWriter.own_file]
        self.corrected = [name for name in names if self._changed(name)]
        self._written = [name for name in names if name not in self.corrected]
        for file in [file for file in self._known if file.partition("/")[0] in self._written]:
            del self._known[file]
        if self._path.is_file():
            write_json(self._path, self._known)

    @property
    def lines(self) -> list[str]:
        """What is to be told of them."""
        return [
            f"{self._out / name}: changed since it was written, so it stays; remove it to have it anew"
            for name in self.corrected
        ]

    def remember(self) -> None:
        """Keep how the files are now."""
        for name in self._written:
            folder = self._out / name
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.is_file():
                    self._known[f"{name}/{path.name}"] = _digest(path)
        if self._known:
            write_json(self._path, self._known)

    def _changed(self, name: str) -> bool:
        return any(
            (self._out / file).is_file() and _digest(self._out / file) != digest
            for file, digest in self._known.items()
            if file.partition("/")[0] == name
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""results.json: COCO results of all images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from maskrcnn.instances import Instances
from maskrcnn.labels.writers.growing_file import GrowingFile
from maskrcnn.predict.writers.writer import WrittenImage


class ResultsWriter:
    """Each object as `Instances.to_coco` has it, with `category_name`, `file_name` and its overlay's name."""

    def __init__(self, path: Path, overlays: bool) -> None:
        """
        Args:
            overlays: are written too, so that each is named.
        """
        self._file = GrowingFile(path, "[\n", "\n]\n")
        self._overlays = overlays
        self._image: WrittenImage | None = None

    def begin(self, image: WrittenImage) -> None:
        self._leave_out()
        self._image, self._begun = image, self._file.mark()

    def add(self, found: Instances) -> None:
        assert self._image is not None
        more: dict[str, Any] = {"file_name": self._image.name}
        if self._overlays:
            more["overlay"] = overlay_name(self._image.path, self._image.stem)
        records = []
        for result, name in zip(found.to_coco(self._image.number), found.names, strict=True):
            records.append(json.dumps(result | {"category_name": name} | more))
        self._file.add(records)

    def end(self) -> None:
        self._image = None

    def close(self) -> None:
        self._leave_out()
        self._file.close()

    def _leave_out(self) -> None:
        """Take away what there is of an image that has not ended."""
        if self._image is not None:
            self._file.back(self._begun)
            self._image = None


def overlay_name(path: Path, stem: str) -> str:
    """What the overlay of the image at `path` is called: JPEG for JPEG, else PNG."""
    return stem + (path.suffix if path.suffix.lower() in (".jpg", ".jpeg") else ".png")

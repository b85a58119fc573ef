"""Each image with its objects drawn on it."""

from __future__ import annotations

from pathlib import Path

from maskrcnn.images.regions import whole_pixels
from maskrcnn.images.write import save_image
from maskrcnn.instances import Instances
from maskrcnn.predict.tiles import best_first, merge
from maskrcnn.predict.writers.results import has_overlay, overlay_name
from maskrcnn.predict.writers.writer import WrittenImage

QUALITY = 92  # of JPEG


class OverlayWriter:
    """Overlays in a folder."""

    def __init__(self, folder: Path) -> None:
        self.written: list[Path] = []
        self._folder = folder
        self._image: WrittenImage | None = None
        self._found: list[Instances] = []

    def begin(self, image: WrittenImage) -> None:
        self._image, self._found = image, []

    def add(self, found: Instances) -> None:
        assert self._image is not None
        if has_overlay(self._image.size):
            self._found.append(found)

    def end(self) -> None:
        assert self._image is not None
        if not has_overlay(self._image.size):
            return
        path = self._folder / overlay_name(self._image.path, self._image.stem)
        if not (self._image.done and path.exists()):
            found = self._found[0] if len(self._found) == 1 else best_first(merge(self._found))
            found.pixels = whole_pixels(self._image.pixels, self._image.size)
            save_image(found.plot(enlarge=True), path, quality=QUALITY)
        self.written.append(path)

    def close(self) -> None:
        pass

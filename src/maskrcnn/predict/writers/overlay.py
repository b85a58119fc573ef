"""Each image with its objects drawn on it."""

from __future__ import annotations

from pathlib import Path

from maskrcnn.images.write import save_image
from maskrcnn.instances import Instances
from maskrcnn.predict.writers.results import overlay_name
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
        self._found.append(found)

    def end(self) -> None:
        assert self._image is not None
        path = self._folder / overlay_name(self._image.path, self._image.stem)
        if not (self._image.done and path.exists()):
            (found,) = self._found
            save_image(found.plot(enlarge=True), path, quality=QUALITY)
        self.written.append(path)

    def close(self) -> None:
        pass

"""What is not to be found, where every image has an object: the parts of images that show none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from maskrcnn.errors import RecordError
from maskrcnn.images.tiles import Window
from maskrcnn.labels.types import Dataset, LabelledImage
from maskrcnn.training_data.crop import extent
from maskrcnn.training_data.tiles import tile_image

CELLS = 32  # along each side of an image, whose borders are those of windows


class WithBackgrounds(Dataset):
    """A data set and, behind its images, the largest window without an object of each that has one.

    Such a window is an image of its own, and so a negative: a network that has seen no image without an
    object finds one in most. Regions to ignore are not in windows either.
    """

    def __init__(self, dataset: Dataset, least: int) -> None:
        """
        Args:
            least: pixels that either side of a window has at least.

        Raises:
            DataError: there is no such window.
        """
        self.dataset, self.least = dataset, least
        self.info = replace(dataset.info, problems=dataset.problems.copy())
        found = [
            (index, window.left, window.top, window.width, window.height)
            for index, image in enumerate(dataset)
            if image.annotations and (window := free_window(image, least))
        ]
        if not found:
            what = f"no image has a part of {least} x {least} pixels without an object"
            raise RecordError(dataset.name, what, "set a smaller data.backgrounds, or null")
        self._places = np.array(found, np.int64)

    def __len__(self) -> int:
        return len(self.dataset) + len(self._places)

    def image(self, index: int) -> LabelledImage:
        """Labels of the image or the window at `index`; those of a window are none."""
        if index < len(self.dataset):
            return self.dataset.image(index)
        source, window = self._window(index)
        return tile_image(self.dataset.image(source), window, [])

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the image or the window at `index`."""
        if index < len(self.dataset):
            return self.dataset.size(index)
        _, window = self._window(index)
        return window.height, window.width

    def pixels(self, index: int) -> np.ndarray:
        """The image or the window at `index`: uint8 (H, W, C).

        Raises:
            DataError: its image cannot be read.
        """
        if index < len(self.dataset):
            return self.dataset.pixels(index)
        source, window = self._window(index)
        left, top, right, bottom = window.box
        return self.dataset.pixels(source)[top:bottom, left:right].copy()

    @property
    def line(self) -> str:
        """How many windows there are, for the terminal."""
        return (
            f"{self.name}: {len(self._places)} of {len(self.dataset)} images have a part of {self.least} x "
            f"{self.least} pixels or more without an object, each an image more (data.backgrounds)"
        )

    def _window(self, index: int) -> tuple[int, Window]:
        """The image and the window in it."""
        source, left, top, width, height = self._places[index - len(self.dataset)].tolist()
        return source, Window(left, top, width, height)


def free_window(image: LabelledImage, least: int) -> Window | None:
    """The window of the largest area that no object reaches into, None where no side has `least` pixels.

    Its borders are those of cells, of which an image has 32 x 32.
    """
    rows, columns = (np.linspace(0, side, CELLS + 1).round().astype(int) for side in image.size)
    taken = np.zeros((CELLS, CELLS), bool)
    for annotation in image.annotations:
        x0, y0, x1, y1 = extent(annotation)
        first_row = max(0, int(np.searchsorted(rows, y0, "right")) - 1)
        first_column = max(0, int(np.searchsorted(columns, x0, "right")) - 1)
        taken[first_row : np.searchsorted(rows, y1), first_column : np.searchsorted(columns, x1)] = True
    best, most = None, 0
    above = np.zeros(CELLS, int)  # of each column, the free cells that end in this row
    for row, of_row in enumerate(taken):
        above = np.where(of_row, 0, above + 1)
        for left, right, count in _rectangles(above.tolist()):
            top = rows[row + 1 - count]
            height, width = int(rows[row + 1] - top), int(columns[right] - columns[left])
            if min(height, width) >= least and height * width > most:
                best, most = Window(int(columns[left]), int(top), width, height), height * width
    return best


def _rectangles(above: list[int]) -> Iterator[tuple[int, int, int]]:
    """Left, right and height of the rectangles under a skyline that no wider or higher one contains."""
    standing: list[tuple[int, int]] = []  # left border and height, ever higher
    for place, height in enumerate([*above, 0]):
        left = place
        while standing and standing[-1][1] >= height:
            left, high = standing.pop()
            yield left, place, high
        if height:
            standing.append((left, height))

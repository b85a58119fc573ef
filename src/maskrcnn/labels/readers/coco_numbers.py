"""What the numbers of a COCO file are, told from all of them: pixels, or shares of the image; boxes as x, y,
width, height, or as corners.

One box says little, all of a file say it plainly; and a training on the wrong ones ends in nonsense without a
word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskrcnn.errors import RecordError
from maskrcnn.labels.types import LabelledImage
from maskrcnn.masks.rle import Rle, mask_box

Box = Sequence[float]

SHARE = 1.01  # what a share may be by rounding
SAME = 2.0  # pixels by which a box may differ from its mask and be taken from it
FAR = 0.02  # share of an image's side by which a box leaves it for more than sloppiness
MANY = 8  # boxes without masks of which a quarter outside says enough; of fewer it takes half


@dataclass
class _Shares:
    """Coordinates of one kind, while all of them lie between 0 and 1."""

    count: int = 0
    possible: bool = True
    fractions: bool = False  # some are not whole: a pixel in the corner is no share

    def add(self, low: float, high: float, whole: bool, image: LabelledImage) -> None:
        self.count += 1
        self.possible = low >= 1 - SHARE and high <= SHARE and min(image.height, image.width) > 2
        self.fractions |= not whole

    @property
    def certain(self) -> bool:
        return self.possible and self.fractions


class CocoNumbers:
    """Looks at every annotation of a file, for as long as its numbers may be other than COCO's."""

    def __init__(self) -> None:
        self._shares = {"boxes": _Shares(), "outlines": _Shares(), "keypoints": _Shares()}
        self._corners = True  # every box so far may be x1, y1, x2, y2
        self._masked = self._plain = self._leaving = 0

    def add(
        self,
        image: LabelledImage,
        box: Box | None,
        polygons: Sequence[np.ndarray] | None,
        rle: Rle | None,
        keypoints: np.ndarray | None,
    ) -> None:
        """Look at one annotation.

        Args:
            box: xyxy, as of x, y, width, height; `keypoints`: (K, 3), half a pixel added.
        """
        if box is not None and len(box) == 4 and (self._corners or self._shares["boxes"].possible):
            if np.isfinite(box).all():
                self._add("boxes", box, image)
                if self._corners:
                    self._compare(image, box, polygons, rle)
        # what lies in the first pixel and in its own box may be there
        corner = box is not None and len(box) == 4 and bool(box[0] <= 1 and box[1] <= 1 < max(box))
        if polygons and self._shares["outlines"].possible and not corner:
            for ring in polygons:
                self._add("outlines", ring, image)
        if keypoints is not None and self._shares["keypoints"].possible and not corner:
            labelled = keypoints[keypoints[:, 2] > 0, :2] - 0.5
            if len(labelled):
                self._add("keypoints", labelled, image)

    def refuse(self, source: Path) -> None:
        """Refuse a file whose numbers are not what COCO says.

        Raises:
            DataError: all of one kind are shares of the image, or all boxes are corners.
        """
        for kind, shares in self._shares.items():
            if shares.certain:
                sizes = "x and width" if kind == "boxes" else "x"
                heights = "y and height" if kind == "boxes" else "y"
                what = f"all {shares.count} {kind} lie within one pixel, from 0 to 1"
                remedy = f"multiply {sizes} by the image's width, {heights} by its height"
                raise RecordError(source, f"{what}: coordinates are shares of the image", remedy)
        if not self._corners:
            return
        remedy = "write x, y, width and height: x2 - x1 and y2 - y1"
        if self._masked:
            raise RecordError(
                source, f"all {self._masked} boxes beside a mask are its corners x1, y1, x2, y2", remedy
            )
        if self._leaving > 1 and self._leaving * (4 if self._plain >= MANY else 2) >= self._plain:
            what = (
                f"{self._leaving} of {self._plain} boxes leave their image, and none does as x1, y1, x2, "
                "y2: they are corners"
            )
            raise RecordError(source, what, remedy)

    def _add(self, kind: str, values: Box | np.ndarray, image: LabelledImage) -> None:
        shares = self._shares[kind]
        if shares.possible and len(values):
            array = np.asarray(values, np.float64)
            shares.add(float(array.min()), float(array.max()), bool((array == array.round()).all()), image)

    def _compare(
        self, image: LabelledImage, box: Box, polygons: Sequence[np.ndarray] | None, rle: Rle | None
    ) -> None:
        """Whether a box may be corners: against its mask, or else against its image."""
        x, y, x2, y2 = box
        corners = (x, y, x2 - x, y2 - y)
        mask = mask_box(polygons, rle)
        if mask is not None:
            if _same(mask, corners) and not _same(mask, box):
                self._masked += 1
            elif not _same(mask, corners):
                self._corners = False
            return
        self._plain += 1
        inside = x >= 0 and y >= 0 and corners[2] <= image.width + 1 and corners[3] <= image.height + 1
        self._corners = inside and corners[2] > x and corners[3] > y
        # at x = 0 both are the same
        across, down = x2 > (1 + FAR) * image.width, y2 > (1 + FAR) * image.height
        self._leaving += (across and x > SAME) or (down and y > SAME)


def _same(a: Box, b: Box) -> bool:
    return all(abs(one - other) <= SAME for one, other in zip(a, b, strict=True))

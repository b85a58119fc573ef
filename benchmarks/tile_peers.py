"""Three ways through the same tiles of an image: ours, SAHI and supervision's slicer, each as its manual
has it, with the same part of a tile shared.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from maskrcnn.images.regions import ArrayRegions
from maskrcnn.instances import Instances
from maskrcnn.predict.large import TiledImage, tile_overlap

Window = tuple[int, int, np.ndarray]  # x0, y0, bool (h, w): a mask in pixels of the image
Find = Callable[[np.ndarray], Instances]  # what is in a tile (h, w, 3), in its pixels


def by_ours(pixels: np.ndarray, side: int, find: Find) -> list[Window]:
    found = TiledImage(ArrayRegions(pixels), side, find, most=1 << 30).whole()
    assert found.masks is not None
    return list(found.masks.windows())


def by_supervision(pixels: np.ndarray, side: int, find: Find, *, compact: bool) -> list[Window]:
    import supervision

    def tile(pixels: np.ndarray) -> supervision.Detections:
        found = find(pixels)
        found.names = ["object"] * len(found)
        return found.to_supervision()

    overlap = tile_overlap(pixels.shape[:2], side)
    slicer = supervision.InferenceSlicer(
        tile, slice_wh=side, overlap_wh=overlap, thread_workers=1, compact_masks=compact
    )
    masks = slicer(pixels).mask
    return [] if masks is None else [cropped(np.asarray(mask)) for mask in masks]


def by_sahi(pixels: np.ndarray, side: int, find: Find) -> list[Window]:
    from sahi.models.base import DetectionModel
    from sahi.predict import get_sliced_prediction
    from sahi.prediction import ObjectPrediction

    class Finder(DetectionModel):
        def check_dependencies(self, *_: object) -> None: ...

        def load_model(self) -> None:
            self.model, self.category_mapping = self, {"0": "object"}

        def perform_inference(self, image: np.ndarray) -> None:
            self._original_predictions = find(image)

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: Any = None, full_shape_list: Any = None
        ) -> None:
            shift, full = shift_amount_list or [[0, 0]], full_shape_list
            shift = shift[0] if isinstance(shift[0], list) else shift
            full = full[0] if full and isinstance(full[0], list) else full
            found = self._original_predictions
            one = [
                ObjectPrediction(
                    bbox=box.tolist(), category_id=0, score=float(score), category_name="object",
                    shift_amount=shift, full_shape=full,
                    segmentation=[ring.ravel().tolist() for ring in rings if len(ring) > 2],
                )
                for box, score, rings in zip(found.boxes, found.scores, found.masks.polygons(), strict=True)
                if rings
            ]  # fmt: skip
            self._object_prediction_list_per_image = [one]

    part = tile_overlap(pixels.shape[:2], side) / side
    shared = {"overlap_height_ratio": part, "overlap_width_ratio": part}
    finder = Finder(model_path="none", device="cpu", confidence_threshold=0)
    result = get_sliced_prediction(
        pixels, finder, slice_height=side, slice_width=side, verbose=0, perform_standard_pred=False, **shared
    )
    return [cropped(one.mask.bool_mask) for one in result.object_prediction_list]


PEERS: dict[str, Callable[[np.ndarray, int, Find], list[Window]]] = {
    "ours": by_ours,
    "sahi": by_sahi,
    "supervision": partial(by_supervision, compact=False),
    "supervision, compact": partial(by_supervision, compact=True),
}


def cropped(mask: np.ndarray) -> Window:
    """A mask (H, W) of an image without what is empty around it."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, mask[:0, :0].copy()
    top, left = int(rows[0]), int(columns[0])
    return left, top, mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1].copy()


def pairs(some: list[Window], others: list[Window], iou: float) -> list[tuple[int, int]]:
    """Places in both of masks with at least this IoU, above a half; each is in one pair at most."""
    extents = [(x, y, x + mask.shape[1], y + mask.shape[0]) for x, y, mask in others]
    boxes, taken, found = np.array(extents).reshape(-1, 4), set[int](), []
    areas = [int(np.count_nonzero(mask)) for _, _, mask in others]
    for place, (x0, y0, mask) in enumerate(some):
        x1, y1 = x0 + mask.shape[1], y0 + mask.shape[0]
        near = (np.minimum((x1, y1), boxes[:, 2:]) > np.maximum((x0, y0), boxes[:, :2])).all(axis=1)
        for other in np.flatnonzero(near).tolist():
            u0, v0, one = others[other]
            left, top, right, bottom = (
                *np.maximum((x0, y0), boxes[other, :2]),
                *np.minimum((x1, y1), boxes[other, 2:]),
            )
            part = mask[top - y0 : bottom - y0, left - x0 : right - x0]
            shared = np.count_nonzero(part & one[top - v0 : bottom - v0, left - u0 : right - u0])
            if other not in taken and shared >= iou * (np.count_nonzero(mask) + areas[other] - shared) > 0:
                taken.add(other)
                found.append((place, other))
                break
    return found

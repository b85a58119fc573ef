"""What was found as JSON: the objects as `predict` writes them to results.json."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.images.write import encoded
from maskrcnn.instances import Instances
from maskrcnn.masks.rle import rle_area
from maskrcnn.pages import as_base64

LONGEST_JPEG = 65_500  # pixels of a side


class MaskForm(StrEnum):
    """How masks are written."""

    rle = "rle"
    polygon = "polygon"
    png = "png"
    none = "none"


class Found(BaseModel):
    """One object."""

    model_config = ConfigDict(extra="allow")

    category_id: int = Field(description="The class in the model's own files.")
    category_name: str
    score: float
    bbox: list[float] = Field(description="Left, top, width, height; pixels of the image.")
    area: int | None = Field(None, description="Pixels of the mask.")
    segmentation: Any = Field(
        None,
        description="masks=rle: COCO's compressed run lengths {size: [height, width], counts}; polygon: outer"
        " rings [[x, y, x, y, ...], ...]; png: {left, top, png}, a bitmap in base64 and where its corner is.",
    )
    keypoints: list[float] | None = Field(None, description="x, y, score of each, flat, as in COCO's files.")
    keypoints_score: float | None = Field(None, description="What ranks the object by its keypoints.")


PERSON: dict[str, Any] = {"category_id": 1, "category_name": "person", "score": 0.98, "area": 4}
PERSON |= {"bbox": [1.0, 0.5, 2.0, 2.25], "segmentation": {"size": [3, 4], "counts": "32103"}}
EXAMPLE: dict[str, Any] = {"model": "person-efficientnet", "width": 4, "height": 3, "objects": [PERSON]}
EXAMPLE["capped"] = False


class Answer(BaseModel):
    """What was found in one image."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})

    model: str
    width: int = Field(description="Of the image as a person sees it (EXIF orientation applied).")
    height: int
    objects: list[Found] = Field(description="Best first.")
    capped: bool = Field(description="As many objects as the model gives: there may be more.")


class BatchAnswer(BaseModel):
    """What was found in several images."""

    answers: list[Answer] = Field(description="In the order of the images.")


class ModelInfo(BaseModel):
    """What a client needs to know of a model."""

    name: str
    classes: list[str]
    has_masks: bool
    keypoint_names: list[str]
    skeleton: list[tuple[int, int]] = Field(description="Pairs of places in keypoint_names.")
    score: float = Field(description="Objects with at least this are kept where a request names no score.")


def to_answer(found: Instances, model: str, form: MaskForm) -> dict[str, Any]:
    """An `Answer` as plain dicts; numbers are those of `Instances.to_coco`, bit for bit."""
    height, width = map(int, found.size)
    objects = (found if form is MaskForm.rle else replace(found, masks=None)).to_coco(0)
    for place, one in enumerate(objects):
        del one["image_id"]
        one["category_name"] = found.names[place]
        if found.masks is None or form is MaskForm.none:
            continue
        if form is MaskForm.rle:
            one["area"] = rle_area(one["segmentation"])
            continue
        one["area"] = int(found.masks[place].areas()[0])
        if form is MaskForm.polygon:
            (rings,) = found.masks[place].polygons()
            one["segmentation"] = [ring.ravel().tolist() for ring in rings]
        else:
            ((left, top, bitmap),) = found.masks[place].windows()
            one["segmentation"] = {"left": int(left), "top": int(top), "png": _png(bitmap)}
    return {"model": model, "width": width, "height": height, "objects": objects, "capped": found.capped}


def _png(bitmap: np.ndarray) -> str:
    """A one-bit PNG in base64; of a mask with no pixel one that is black."""
    solid = bitmap if bitmap.size else np.zeros((1, 1), bool)
    return as_base64(encoded(Image.fromarray(solid.astype(np.uint8) * 255).convert("1"), "PNG"))


def to_overlay(found: Instances) -> bytes:
    """The image with the objects drawn on it, JPEG.

    Raises:
        UserError: a side is longer than JPEG's may be.
    """
    height, width = found.size
    if max(height, width) > LONGEST_JPEG:
        raise UserError(
            f"{width} x {height} pixels are more than a JPEG holds, {LONGEST_JPEG} a side; leave overlay out"
        )
    return encoded(found.plot(), "JPEG")


def model_info(name: str, config: ModelConfig) -> ModelInfo:
    """What a client needs to know of a model."""
    points = config.keypoints if config.keypoint_head is not None else None
    return ModelInfo(
        name=name,
        classes=list(config.classes),
        has_masks=config.mask_head is not None,
        keypoint_names=list(points.names) if points else [],
        skeleton=list(points.skeleton) if points else [],
        score=config.test.kept_score,
    )

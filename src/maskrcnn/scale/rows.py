"""A row an image: how what was found in millions of images is kept in tables of Arrow and Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from maskrcnn.instances import Instances

if TYPE_CHECKING:
    import pyarrow

Row = dict[str, Any]  # plain values, by the columns of `schema`


def schema(id_type: pyarrow.DataType | None = None) -> pyarrow.Schema:
    """The columns; all lists but `keypoints` are an entry an object, best first.

    Args:
        id_type: of the ids; None: int64.
    """
    import pyarrow as pa

    numbers = pa.list_(pa.float32())
    return pa.schema(
        [
            ("id", id_type or pa.int64()),  # in a run of ours the place in the list of images, from 1
            ("address", pa.string()),
            ("sha256", pa.string()),  # of the file's bytes; null where it is a folder or cannot be read
            ("height", pa.int32()),  # pixels
            ("width", pa.int32()),
            ("boxes", pa.list_(numbers)),  # x0, y0, x1, y1, continuous, in pixels
            ("scores", numbers),
            ("names", pa.list_(pa.string())),  # of the classes
            ("rle", pa.list_(pa.binary())),  # COCO's compressed counts; null without masks
            ("keypoints", pa.list_(numbers)),  # x, y, score of one after another; null without
            ("mask_scores", numbers),  # what ranks the masks and keypoints, where that is not `scores`
            ("keypoint_scores", numbers),
            ("capped", pa.bool_()),  # as many objects as the model gives: there may be more
            ("error", pa.string()),  # why the image could not be read; null where it could
        ]
    )


def found_row(found: Instances) -> Row:
    """What was found in an image."""
    keypoints = found.keypoints
    return {
        "height": found.size[0],
        "width": found.size[1],
        "boxes": found.boxes.tolist(),
        "scores": found.scores.tolist(),
        "names": found.names,
        "rle": None if found.masks is None else [mask["counts"] for mask in found.masks.rle()],
        "keypoints": None if keypoints is None else [each.ravel().tolist() for each in keypoints],
        "mask_scores": None if found.mask_scores is None else found.mask_scores.tolist(),
        "keypoint_scores": None if found.keypoint_scores is None else found.keypoint_scores.tolist(),
        "capped": found.capped,
    }


def coco_results(row: Mapping[str, Any], category_ids: Mapping[str, int]) -> list[dict[str, Any]]:
    """`Instances.to_coco` of a row's image, under the row's id; an image that could not be read has none.

    Args:
        category_ids: of the class names.
    """
    size, results = [row["height"], row["width"]], []
    for place, (x0, y0, x1, y1) in enumerate(row["boxes"] or ()):
        result: dict[str, Any] = {
            "image_id": row["id"],
            "category_id": category_ids[row["names"][place]],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": row["scores"][place],
        }
        if row["rle"] is not None:
            result["segmentation"] = {"size": size, "counts": row["rle"][place].decode("ascii")}
            if row["mask_scores"] is not None:
                result["segmentation_score"] = row["mask_scores"][place]
        if row["keypoints"] is not None:
            flat = row["keypoints"][place]
            # COCO's are indices of pixels
            result["keypoints"] = [value if axis % 3 == 2 else value - 0.5 for axis, value in enumerate(flat)]
            if row["keypoint_scores"] is not None:
                result["keypoints_score"] = row["keypoint_scores"][place]
        results.append(result)
    return results

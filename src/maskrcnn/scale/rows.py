"""A row an image: how what was found in millions of images is kept in tables of Arrow and Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from maskrcnn.instances import Instances
from maskrcnn.masks.coco_result import coco_result

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
    lists = {"counts": "rle", "mask_score": "mask_scores", "keypoint_score": "keypoint_scores"}
    size, results = (row["height"], row["width"]), []
    for place, box in enumerate(row["boxes"] or ()):
        more = {name: row[column] and row[column][place] for name, column in lists.items()}
        if row["keypoints"] is not None:
            flat = row["keypoints"][place]
            more["keypoints"] = [flat[start : start + 3] for start in range(0, len(flat), 3)]
        category = category_ids[row["names"][place]]
        results.append(coco_result(row["id"], category, box, row["scores"][place], size, **more))
    return results

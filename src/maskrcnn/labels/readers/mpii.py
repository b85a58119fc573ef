"""MPII Human Pose as JSON: a list of persons, each with its image and sixteen joints.

The form in which human-pose-estimation.pytorch and HRNet distribute annotations of human-pose.mpi-inf.mpg.de
(train.json, valid.json). It has no boxes: a person's box is the one around its joints. Joints are pixels,
counted from 1 as in MATLAB, so half a pixel is taken off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import RecordError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.files_by_name import folder_of_images, holds_one, load_only
from maskrcnn.labels.readers.json_file import glance
from maskrcnn.labels.shapes import box_around
from maskrcnn.labels.values import number, points

JOINTS = [f"right_{name}" for name in ("ankle", "knee", "hip")]
JOINTS += [f"left_{name}" for name in ("hip", "knee", "ankle")]
JOINTS += ["pelvis", "thorax", "upper_neck", "head_top"]
JOINTS += [f"right_{name}" for name in ("wrist", "elbow", "shoulder")]
JOINTS += [f"left_{name}" for name in ("shoulder", "elbow", "wrist")]
# pairs of joints, counted from 1
BONES = [[1, 2], [2, 3], [3, 7], [7, 4], [4, 5], [5, 6], [7, 8], [8, 9], [9, 10]]
BONES += [[11, 12], [12, 13], [13, 8], [8, 14], [14, 15], [15, 16]]


def read_mpii(source: Path, image_folder: Path | None = None) -> FileDataset:
    """Read the file, or the only one of a folder. Images are numbered from 1 in its order.

    Args:
        image_folder: the folder of the images; None: looked for beside the file.

    Raises:
        DataError: the file or a record cannot be used; one line with the record and the remedy.
    """
    path, document = load_only(Path(source), "MPII, a list of persons", _glance)
    persons: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for position, person in enumerate(document):
        name = person.get("image") if isinstance(person, dict) else None
        if not isinstance(name, str) or not name:
            raise RecordError(path, "has no image", "correct it", f"person {position}")
        persons.setdefault(name, []).append((position, person))
    builder = LabelBuilder(path, folder_of_images(path, persons, image_folder))
    builder.add_keypoints(builder.add_class("person", 1), {"keypoints": JOINTS, "skeleton": BONES})
    for name, found in persons.items():
        image = builder.add_image(name)
        for position, person in found:
            record = f"person {position}"
            joints = _joints(person)
            if joints is None:
                raise RecordError(
                    path, f"has not {len(JOINTS)} joints", "correct it", f"{record} of image {name!r}"
                )
            there = joints[joints[:, 2] > 0, :2]
            if not len(there):
                builder.note(ProblemKind.NO_BOX, record, image)
                continue
            builder.note(ProblemKind.BOX_FROM_KEYPOINTS, record, image)
            builder.add_object(image, 0, record, box=box_around(there), keypoints=joints)
    return builder.build()


def looks_like_mpii(source: Path) -> bool:
    """Whether `source` is such a .json, or a folder with one."""
    return holds_one(Path(source), _glance)


def _glance(path: Path) -> bool:
    text = glance(path)
    return text.startswith("[") and '"joints"' in text and '"image"' in text


def _joints(person: dict[str, Any]) -> np.ndarray | None:
    """(16, 3): x, y, visibility; a joint at or below 0 is not labelled, one not visible was guessed."""
    places, visible = points(person.get("joints")), person.get("joints_vis", [1] * len(JOINTS))
    if len(places) != len(JOINTS) or not isinstance(visible, list) or len(visible) != len(JOINTS):
        return None
    flags = np.array([number(one) for one in visible])
    labelled = np.isfinite(places).all(axis=1) & (places > 0).any(axis=1)
    return np.column_stack(
        [np.where(labelled[:, None], places - 0.5, 0), np.where(labelled, 1 + (flags > 0), 0)]
    )

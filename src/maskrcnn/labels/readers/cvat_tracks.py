"""CVAT for video 1.1: tracks, as the images that they go through.

The format: docs.cvat.ai/docs/dataset_management/formats/format-cvat. A track has one shape for each frame,
interpolated ones too; "outside" ones are not in the image. With its images the export has
images/frame_000000.PNG and so on; frames without an object are empty images.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.etree.ElementTree import Element

from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.problems import ProblemKind, Problems
from maskrcnn.labels.values import whole

FRAME = re.compile(r"frame_(\d{1,9})\.\w+")


def frames_of_tracks(root: Element, folder: Path, problems: Problems) -> list[Element]:
    """An <image> for each frame, as an export for images has it.

    Args:
        folder: that of the export, which holds images/.
    """
    tracks = root.findall("track")
    if not tracks:
        return []
    size = {side: root.findtext(f".//original_size/{side}") for side in ("width", "height")}
    images: dict[int, Element] = {}
    names = _frame_files(folder)
    for frame, name in names.items():
        images[frame] = _image(frame, name, size)
    for position, track in enumerate(tracks):
        for shape in track:
            frame = whole(shape.get("frame"))
            if frame < 0:
                problems.note(ProblemKind.SHAPE_WITHOUT_FRAME, f"{shape.tag} of track {position}")
                continue
            if shape.get("outside", "0") != "0":
                continue
            shape.set("label", track.get("label") or shape.get("label") or "")
            if frame not in images:
                images[frame] = _image(frame, f"frame_{frame:06d}.PNG", size)
            images[frame].append(shape)
    return [images[frame] for frame in sorted(images)]


def _image(frame: int, name: str, size: dict[str, str | None]) -> Element:
    stated = {side: value for side, value in size.items() if value is not None}
    return Element("image", {"id": str(frame), "name": name} | stated)


def _frame_files(folder: Path) -> dict[int, str]:
    """The names of the frames in images/ by their number; of two of one number the first."""
    try:
        names = sorted(os.listdir(folder / "images"))
    except OSError:
        return {}
    found: dict[int, str] = {}
    for name in names:
        match = FRAME.fullmatch(name)
        if match and name.lower().endswith(SUFFIXES):
            found.setdefault(int(match[1]), name)
    return found

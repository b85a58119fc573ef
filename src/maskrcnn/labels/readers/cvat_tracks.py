"""CVAT for video 1.1: tracks, as the images that they go through.

The format: docs.cvat.ai/docs/dataset_management/formats/format-cvat. A track has one shape for each frame,
interpolated ones too; "outside" ones are not in the image. With its images the export has
images/frame_000000.PNG and so on; frames without an object are empty images. The export of a project has a
folder for each subset, images/Train/frame_000000.PNG. Tasks of one subset write their frames over one
another's there, and that cannot be undone.
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import Element

from maskrcnn.errors import RecordError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problems
from maskrcnn.labels.values import whole

FRAME = re.compile(r"frame_(\d{1,9})\.\w+")
STEP = re.compile(r"step=(\d{1,9})")


@dataclass
class Task:
    """A task, as <meta> and its tracks tell."""

    name: str  # its id
    subset: str
    size: dict[str, str] = field(default_factory=dict)
    frames: list[int] = field(default_factory=list)  # some of them, the first and the last among them


def frames_of_tracks(root: Element, folder: Path, problems: Problems) -> list[Element]:
    """An <image> for each frame, as an export for images has it.

    Args:
        folder: that of the export, which holds images/, or that of the images.

    Raises:
        DataError: two tasks have one frame, or the images are not the frames of a video.
    """
    tracks = root.findall("track")
    if not tracks:
        return []
    tasks = {task.name: task for task in map(_task, [*root.iter("task"), *root.iter("job")])}
    alone = next(iter(tasks)) if len(tasks) == 1 else ""
    shapes: list[tuple[Task, int, Element]] = []
    for position, track in enumerate(tracks):
        name = track.get("task_id") or alone
        task = tasks.setdefault(name, Task(name, track.get("subset") or ""))
        task.subset = track.get("subset") or task.subset
        for shape in track:
            frame = whole(shape.get("frame"))
            if frame < 0:
                problems.note(ProblemKind.SHAPE_WITHOUT_FRAME, f"{shape.tag} of track {position}")
                continue
            task.frames.append(frame)
            if shape.get("outside", "0") == "0":
                shape.set("label", track.get("label") or shape.get("label") or "")
                if group := track.get("group_id"):
                    shape.set("group_id", group)
                shapes.append((task, frame, shape))
    places = {name: _place(folder, task.subset) for name, task in tasks.items()}
    _refuse_shared(list(tasks.values()), places, problems.source)
    images = _frame_images(folder, tasks, places, problems.source)
    for task, frame, shape in shapes:
        place = places[task.name]
        if (place, frame) not in images:
            images[place, frame] = _image(frame, f"frame_{frame:06d}.PNG", task.subset, task.size)
        images[place, frame].append(shape)
    return [images[key] for key in sorted(images)]


def _task(element: Element) -> Task:
    size = {side: element.findtext(f".//original_size/{side}") for side in ("width", "height")}
    task = Task(element.findtext("id") or "", (element.findtext("subset") or "").strip())
    task.size = {side: value for side, value in size.items() if value is not None}
    count, first = whole(element.findtext("size")), max(whole(element.findtext("start_frame")), 0)
    step = STEP.search(element.findtext("frame_filter") or "")
    if 0 < count < 2**31:
        task.frames = [first, first + (count - 1) * (int(step[1]) if step else 1)]
    return task


def _place(folder: Path, subset: str) -> str:
    """The folder of a subset's frames, relative to the export's."""
    inside = posixpath.join(_images(folder), subset)
    plain = subset not in ("", ".", "..") and not any(sign in subset for sign in "/\\\0")
    return inside if plain and os.path.isdir(folder / inside) else _images(folder)


def _images(folder: Path) -> str:
    """images/, or the folder itself where a person named the images'."""
    return "images" if os.path.isdir(folder / "images") else ""


def _refuse_shared(tasks: list[Task], places: dict[str, str], source: str) -> None:
    """Refuse tasks whose frames would be the same files."""
    spans = sorted(
        (places[task.name], min(task.frames), max(task.frames), task.name) for task in tasks if task.frames
    )
    for (place, _, last, one), (other_place, first, _, other) in pairwise(spans):
        if place == other_place and first <= last:
            raise RecordError(
                source,
                (
                    f"tasks {one!r:.40} and {other!r:.40} both have a frame {first}, but "
                    f"{place or 'the folder'} has one image of that number"
                ),
                (
                    "keep the folder of each subset, give each task a subset of its own, or export each by "
                    "itself"
                ),
            )


def _frame_images(
    folder: Path, tasks: dict[str, Task], places: dict[str, str], source: str
) -> dict[tuple[str, int], Element]:
    """An <image> for each file of a frame, by its folder and number."""
    subsets = {places[name]: task for name, task in tasks.items()}
    for name in _listed(folder / _images(folder)):
        place = posixpath.join(_images(folder), name)
        if os.path.isdir(folder / place):
            subsets.setdefault(place, Task("", name))
    images: dict[tuple[str, int], Element] = {}
    others = 0
    for place, task in subsets.items():
        for name in _listed(folder / place):
            match = FRAME.fullmatch(name)
            if match and name.lower().endswith(SUFFIXES):  # of two of one number the first
                image = _image(int(match[1]), name, task.subset, task.size)
                images.setdefault((place, int(match[1])), image)
            others += name.lower().endswith(SUFFIXES)
    if others and not images:
        raise RecordError(
            source,
            f"has tracks, but none of {others} images is called as a frame, frame_000000.PNG",
            "export as 'CVAT for images 1.1'",
        )
    return images


def _image(frame: int, name: str, subset: str, size: dict[str, str]) -> Element:
    return Element("image", {"id": str(frame), "name": name, "subset": subset} | size)


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []

"""What a format has no place for: counted while writing, and told."""

from __future__ import annotations

from collections import Counter

from maskrcnn.labels.types import Annotation

# kind: why
REASONS = {
    "crowd region": "the format has no crowds; a training will take it for background",
    "object without a mask": "the format has masks only",
    "keypoints of an object": "the format has none, or none beside masks",
    "box drawn as an outline": "the format has outlines only, so a training will take it for a mask",
    "image too large to be written beside its labels": "only its labels are there",
    "image without a georeference": "there are no coordinates of a map",
    "class name": "the format tells objects apart, not classes",
    "pixels that two objects share": "a pixel of a label image has one owner",
    "object hidden by others": "a pixel of a label image has one owner",
    "object beyond number 254 of its image": "its label images count to 254; the box is kept",
    "class image of classes beyond number 254": "it counts to 254; the classes are in the XML",
    "object beyond number 65535 of its image": "its label images count to 65,535",
}


class LeftOut:
    """A tally of losses."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def note(self, kind: str, count: int = 1) -> None:
        """`count` more of a kind that REASONS knows."""
        assert kind in REASONS, kind
        if count:
            self.counts[kind] += count

    def is_crowd(self, annotation: Annotation) -> bool:
        """Whether it is a crowd, which is noted."""
        if annotation.crowd:
            self.note("crowd region")
        return annotation.crowd

    def note_keypoints(self, annotation: Annotation) -> None:
        """Note visible keypoints."""
        if annotation.keypoints is not None and (annotation.keypoints[:, 2] > 0).any():
            self.note("keypoints of an object")

    def lines(self) -> list[str]:
        return [f"lost: {kind}: {count}; {REASONS[kind]}" for kind, count in self.counts.items()]

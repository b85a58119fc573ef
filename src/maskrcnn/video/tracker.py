"""Which objects of a frame are those of the one before: ByteTrack (Zhang et al. 2022, algorithm 1) on masks.

A frame's objects are matched with the tracks in two stages: first those of a high score, then, with the
tracks that are left, those of a low score, which are mostly objects that another hides in part. How well a
pair fits is the IoU of the object's box with that which a Kalman filter expects, as in the paper, and the IoU
of its mask with the track's last one, moved to there. Networks without masks are tracked by their boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from importlib.util import find_spec

import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.instances import Instances
from maskrcnn.video.kalman import Motion
from maskrcnn.video.overlap import Shapes, box_iou, shapes, visible_iou

LEAST_SCORE = 0.1  # section 3: what is below it is never looked at
LEAST_IOU = 0.1  # a pair that overlaps less is no pair; the paper (section 4) has 0.2
KEPT_FRAMES = 3  # a track that is not seen is remembered for so many at least, however far apart they are
NONE = -1  # the id of what has no track


@dataclass
class Tracks:
    """T objects that were seen before."""

    ids: np.ndarray  # (T,) int64; NONE until a track is seen a second time
    labels: np.ndarray  # (T,) int64
    motion: Motion
    outlines: Shapes  # when last seen
    boxes: np.ndarray  # (T, 4) float64 xyxy: where the filter had them then
    seen: np.ndarray  # (T,) float64 seconds: when
    missed: np.ndarray  # (T,) int64: frames since then

    def __getitem__(self, rows: np.ndarray) -> Tracks:
        return Tracks(*(getattr(self, field.name)[rows] for field in fields(self)))

    def followed_by(self, other: Tracks) -> Tracks:
        """Both."""
        return Tracks(
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.labels, other.labels]),
            self.motion.followed_by(other.motion),
            self.outlines.followed_by(other.outlines),
            np.concatenate([self.boxes, other.boxes]),
            np.concatenate([self.seen, other.seen]),
            np.concatenate([self.missed, other.missed]),
        )


class Tracker:
    """Gives the objects of one video their ids, frame by frame."""

    def __init__(self, *, score: float = 0.5, keep: float = 1.0, masks: bool = True) -> None:
        """
        Args:
            score: objects from it on are matched first and begin tracks; those down to `LEAST_SCORE` only go
                on with one. (The paper has 0.6, and asks 0.1 more of an object that begins a track.)
            keep: seconds for which a track that is not seen is remembered and its motion extrapolated; it is
                remembered for `KEPT_FRAMES` frames at least. (The paper: 30 frames.)
            masks: match by masks too; false: by boxes alone, as in the paper.

        Raises:
            UserError: scipy is not installed, or an argument is out of its range.
        """
        if find_spec("scipy") is None:
            raise UserError("tracking: needs scipy; pip install 'maskrcnn[video]'")
        if not 0 <= score <= 1:
            raise UserError(f"tracking: score={score:g}; give a number from 0 to 1")
        if not 0 < keep < np.inf:
            raise UserError(f"tracking: keep={keep:g}; give a number of seconds above 0")
        self._score, self._keep, self._masks = score, keep, masks
        self._tracks: Tracks | None = None
        self._known = 0  # ids that were given
        self._begun = np.zeros(0, np.int64)  # objects of the last frame that began the first of the tracks
        # int64 (N,): of the last frame's objects that have their id from it on, the row in the frame before
        # in which they began their track, which was not certain then; else -1
        self.first_seen = self._begun
        self._now = 0.0

    def update(self, found: Instances, seconds: float) -> np.ndarray:
        """The ids of a frame's objects.

        Ids are whole numbers from 1 on. An object of the first frame has one at once, any other that begins
        a track once it is seen in the next frame too. It goes on only with a track of its own class.

        Args:
            found: in the frame, down to a score of `LEAST_SCORE`: what is hidden in part keeps its id.
            seconds: when the frame was, by any clock; one that goes back counts as standing still.

        Returns:
            int64 (N,): the id of each object, -1 for those that have none (yet).
        """
        seconds = max(seconds, self._now) if self._tracks else seconds
        outlines = shapes(found, self._masks)
        ids = np.full(len(found), NONE, np.int64)
        self.first_seen = ids.copy()
        fresh = found.scores >= self._score
        going_on: list[Tracks] = []
        if self._tracks is not None:
            old = self._expected(self._tracks, seconds)
            rows, objects = self._match(old, found, outlines)
            ids[objects], fresh[objects] = old.ids[rows], False
            certain = old.ids[rows] == NONE
            self.first_seen[objects[certain]] = self._begun[rows[certain]]
            ids[objects[certain]] = self._new_ids(int(certain.sum()))
            motion = old.motion[rows].corrected(found.boxes[objects])
            seen = _tracks(found, outlines, ids, seconds, objects, motion)
            going_on = [old[self._kept(old, rows, seconds)], seen]
        else:
            ids[fresh] = self._new_ids(int(fresh.sum()))
        begun = self._begun = np.flatnonzero(fresh)
        self._tracks = _tracks(found, outlines, ids, seconds, begun, Motion.of(found.boxes[begun]))
        for tracks in going_on:
            self._tracks = self._tracks.followed_by(tracks)
        self._now = seconds
        return ids

    @property
    def remembered(self) -> np.ndarray:
        """int64: the ids, beside new ones, that objects of the next frame may have."""
        ids = np.zeros(0, np.int64) if self._tracks is None else self._tracks.ids
        return ids[ids != NONE]

    def _expected(self, tracks: Tracks, seconds: float) -> Tracks:
        """The tracks as they are expected at that time."""
        ahead = np.minimum(seconds, tracks.seen + self._keep) - np.minimum(
            self._now, tracks.seen + self._keep
        )
        return replace(tracks, motion=tracks.motion.after(ahead), missed=tracks.missed + 1)

    def _match(self, tracks: Tracks, found: Instances, outlines: Shapes) -> tuple[np.ndarray, np.ndarray]:
        """The rows of tracks and the objects that belong together; objects in ascending order."""
        fit = _fit(tracks, found, outlines)
        high = found.scores >= self._score
        rows, objects = _assign(fit, np.arange(len(tracks.ids)), np.flatnonzero(high))
        left = tracks.ids != NONE  # what may be nothing makes no track certain
        left[rows] = False
        low = np.flatnonzero(~high & (found.scores >= LEAST_SCORE))
        more_rows, more_objects = _assign(fit, np.flatnonzero(left), low)
        rows, objects = np.append(rows, more_rows), np.append(objects, more_objects)
        order = np.argsort(objects)
        return rows[order], objects[order]

    def _kept(self, tracks: Tracks, matched: np.ndarray, seconds: float) -> np.ndarray:
        """bool (T,): those that are not seen in this frame and are remembered."""
        late = (seconds - tracks.seen > self._keep) & (tracks.missed >= KEPT_FRAMES)
        kept = ~late & (tracks.ids != NONE)
        kept[matched] = False
        return kept

    def _new_ids(self, count: int) -> np.ndarray:
        self._known += count
        return np.arange(self._known - count + 1, self._known + 1)


def _tracks(
    found: Instances,
    outlines: Shapes,
    ids: np.ndarray,
    seconds: float,
    objects: np.ndarray,
    motion: Motion,
) -> Tracks:
    """Tracks of some of a frame's objects, as it shows them."""
    return Tracks(
        ids[objects],
        found.labels[objects],
        motion,
        outlines[objects],
        motion.boxes(),
        np.full(len(objects), seconds),
        np.zeros(len(objects), np.int64),
    )


def _fit(tracks: Tracks, found: Instances, outlines: Shapes) -> np.ndarray:
    """float64 (T, N): how well objects go on with tracks; 0 where they do not.

    Boxes, which find again what was hidden, and masks, which tell apart what shares a box, count alike; one
    of them must overlap by `LEAST_IOU`.
    """
    boxes = tracks.motion.boxes()
    fit = box_iou(boxes, found.boxes.astype(np.float64))
    possible = fit >= LEAST_IOU
    if tracks.outlines.cells is not None and outlines.cells is not None:
        steps = (boxes - tracks.boxes).reshape(-1, 2, 2).mean(axis=1)  # of their centres
        masks = visible_iou(tracks.outlines.moved(steps), outlines)
        fit, possible = fit + masks, possible | (masks >= LEAST_IOU)
    return np.where(possible & (tracks.labels[:, None] == found.labels), fit, 0)


def _assign(fit: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of some rows and columns of `fit` the pairs with the largest sum; none with a fit of 0."""
    from scipy.optimize import linear_sum_assignment

    part = fit[np.ix_(rows, columns)]
    row, column = linear_sum_assignment(part, maximize=True)
    pairs = part[row, column] > 0
    return rows[row[pairs]], columns[column[pairs]]

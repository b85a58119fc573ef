"""Which objects of a frame are those of the one before: ByteTrack (Zhang et al. 2022, algorithm 1) on masks.

A frame's objects are matched with the tracks, those of a high score before those of a low score, which are
mostly objects that another hides in part. How well a pair fits is the IoU of the object's box with that which
a Kalman filter expects, as in the paper, and the IoU of its mask with the track's last one, moved to there.

Masks show what hides what. Of a track that others hide in part its last whole mask is kept beside what is
seen of it, and its box is measured with the hidden part added, so that its motion goes on as if it were seen.

Networks without masks are tracked by their boxes, in the paper's two stages.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from importlib.util import find_spec

import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.instances import Instances
from maskrcnn.video.kalman import Motion
from maskrcnn.video.overlap import Shapes, box_iou, cell_boxes, hidden_cells, shapes, visible_iou

LEAST_SCORE = 0.1  # section 3: what is below it is never looked at
LEAST_IOU = 0.1  # a pair that overlaps less is no pair; the paper (section 4) has 0.2
HIDDEN = 0.05  # share of an object that others must cover for it to count as hidden in part
FIRST = 1.0  # what a pair fits better for its object's high score, where masks and boxes give 2 at most
KEPT_FRAMES = 3  # a track that is not seen is remembered for so many at least, however far apart they are
NONE = -1  # the id of what has no track


@dataclass
class Tracks:
    """T objects that were seen before."""

    ids: np.ndarray  # (T,) int64; NONE until a track is seen a second time
    labels: np.ndarray  # (T,) int64
    motion: Motion
    outlines: Shapes  # what was seen of them last
    whole: Shapes  # the same with what others hid then
    hidden: np.ndarray  # (T,) bool: whether they did
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
            self.whole.followed_by(other.whole),
            np.concatenate([self.hidden, other.hidden]),
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
        fresh = found.scores >= self._score
        going_on: list[Tracks] = []
        if self._tracks is not None:
            old = self._expected(self._tracks, seconds)
            rows, objects = self._match(old, found, outlines)
            ids[objects], fresh[objects] = old.ids[rows], False
            certain = objects[ids[objects] == NONE]
            ids[certain] = self._new_ids(len(certain))
            seen = _going_on(old[rows], _tracks(found, outlines, ids, seconds, objects), outlines, objects)
            going_on = [old[self._kept(old, rows, seconds)], seen]
        else:
            ids[fresh] = self._new_ids(int(fresh.sum()))
        begun = np.flatnonzero(fresh)
        self._tracks = _tracks(found, outlines, ids, seconds, begun)
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
        low = ~high & (found.scores >= LEAST_SCORE)
        left = tracks.ids != NONE  # what may be nothing makes no track certain
        every = np.arange(len(tracks.ids))
        if outlines.cells is not None:
            # both at once: else one of a high score takes the track of one that is hidden in part, though
            # each could go on with its own
            fit = np.where(high | (left[:, None] & low), fit, 0)
            rows, objects = _assign(fit + FIRST * (high & (fit > 0)), every, np.arange(len(found)))
        else:
            rows, objects = _assign(fit, every, np.flatnonzero(high))
            left[rows] = False
            more_rows, more_objects = _assign(fit, np.flatnonzero(left), np.flatnonzero(low))
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
) -> Tracks:
    """Tracks of some of a frame's objects, as it shows them."""
    motion = Motion.of(found.boxes[objects])
    return Tracks(
        ids[objects],
        found.labels[objects],
        motion,
        outlines[objects],
        outlines[objects],
        np.zeros(len(objects), bool),
        motion.boxes(),
        np.full(len(objects), seconds),
        np.zeros(len(objects), np.int64),
    )


def _going_on(old: Tracks, seen: Tracks, outlines: Shapes, objects: np.ndarray) -> Tracks:
    """Tracks as they are once they were seen.

    Args:
        old: as they were expected.
        seen: as if they were new.
        outlines: of all of the frame's objects.
        objects: int64 (T,): which of these the tracks are.
    """
    boxes = seen.motion.boxes()
    if old.whole.cells is not None and outlines.cells is not None:
        cells = old.whole.cells[:, ::2, ::2]  # a quarter of them is fine enough here
        expected = Shapes(old.whole.boxes, cells).moved(_steps(old.boxes, old.motion.boxes()))
        covered = hidden_cells(expected, outlines, objects)
        seen.hidden = covered.sum(axis=(1, 2)) > HIDDEN * cells.sum(axis=(1, 2))
        visible = Shapes(expected.boxes, cells & ~covered)
        whole_boxes, boxes_left = np.split(cell_boxes(expected.followed_by(visible)), 2)
        missing = np.nan_to_num(whole_boxes - boxes_left)
        boxes = boxes + seen.hidden[:, None] * missing
    seen.motion = old.motion.corrected(boxes)
    seen.boxes = seen.motion.boxes()
    whole = old.whole.moved(_steps(old.boxes, seen.boxes))
    seen.whole = seen.whole.replaced(seen.hidden, whole)
    return seen


def _steps(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """float64 (T, 2): from the centres of boxes (T, 4) to those of others."""
    steps: np.ndarray = (end - start).reshape(-1, 2, 2).mean(axis=1)
    return steps


def _fit(tracks: Tracks, found: Instances, outlines: Shapes) -> np.ndarray:
    """float64 (T, N): how well objects go on with tracks; 0 where they do not.

    Boxes, which find again what was hidden, and masks, which tell apart what shares a box, count alike; one
    of them must overlap by `LEAST_IOU`. Of a track that is hidden in part the object may be what was seen of
    it last, or all of it: the better counts.
    """
    boxes, detected = tracks.motion.boxes(), found.boxes.astype(np.float64)
    fit: np.ndarray
    if tracks.outlines.cells is not None and outlines.cells is not None:
        steps, rows = _steps(tracks.boxes, boxes), np.flatnonzero(tracks.hidden)
        seen = tracks.outlines.moved(steps)
        fit = np.maximum(*np.split(box_iou(np.concatenate([boxes, seen.boxes]), detected), 2))
        whole = tracks.whole[rows].moved(steps[rows])
        masks, whole_masks = np.split(visible_iou(seen.followed_by(whole), outlines), [len(steps)])
        masks[rows] = np.maximum(masks[rows], whole_masks)
        possible = (fit >= LEAST_IOU) | (masks >= LEAST_IOU)
        fit = fit + masks
    else:
        fit = box_iou(boxes, detected)
        possible = fit >= LEAST_IOU
    return np.where(possible & (tracks.labels[:, None] == found.labels), fit, 0)


def _assign(fit: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of some rows and columns of `fit` the pairs with the largest sum; none with a fit of 0."""
    from scipy.optimize import linear_sum_assignment

    part = fit[np.ix_(rows, columns)]
    row, column = linear_sum_assignment(part, maximize=True)
    pairs = part[row, column] > 0
    return rows[row[pairs]], columns[column[pairs]]

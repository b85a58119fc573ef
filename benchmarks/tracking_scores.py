"""HOTA (Luiten et al. 2021) and IDF1 (Ristani et al. 2016) of tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

ALPHAS = np.arange(0.05, 0.99, 0.05)


@dataclass
class Matched:
    """One frame: which objects there are, which tracks were given, and how much each pair overlaps."""

    truth: np.ndarray  # (G,) int64 ids
    tracks: np.ndarray  # (N,) int64 ids
    iou: np.ndarray  # (G, N)


def hota(frames: list[Matched]) -> dict[str, float]:
    """HOTA with its parts DetA and AssA, each the mean over `ALPHAS`, 0 to 1 (equations 4 to 9)."""
    truth, tracks, frames = _numbered(frames)
    together = np.zeros((len(truth), len(tracks)))
    for frame in frames:
        total = frame.iou.sum(1, keepdims=True) + frame.iou.sum(0, keepdims=True) - frame.iou
        share = np.divide(frame.iou, total, out=np.zeros_like(frame.iou), where=total > 0)
        together[np.ix_(frame.truth, frame.tracks)] += share
    counts_truth, counts_tracks = _counts(frames, len(truth), len(tracks))
    alignment = together / np.maximum(1e-12, counts_truth[:, None] + counts_tracks[None] - together)
    found, hits = np.zeros(len(ALPHAS)), np.zeros((len(ALPHAS), len(truth), len(tracks)))
    for frame in frames:
        rows, columns = linear_sum_assignment(
            alignment[np.ix_(frame.truth, frame.tracks)] * frame.iou, maximize=True
        )
        for place, alpha in enumerate(ALPHAS):
            good = frame.iou[rows, columns] >= alpha - 1e-12
            found[place] += good.sum()
            np.add.at(hits[place], (frame.truth[rows[good]], frame.tracks[columns[good]]), 1)
    detection = found / np.maximum(1, counts_truth.sum() + counts_tracks.sum() - found)
    union = counts_truth[:, None] + counts_tracks[None] - hits
    association = (hits**2 / np.maximum(1, union)).sum((1, 2)) / np.maximum(1, found)
    return {
        "HOTA": float(np.sqrt(detection * association).mean()),
        "DetA": float(detection.mean()),
        "AssA": float(association.mean()),
    }


def idf1(frames: list[Matched], least: float = 0.5) -> float:
    """The share of objects with the right id, when each track is given to one person for good, 0 to 1."""
    truth, tracks, frames = _numbered(frames)
    hits = np.zeros((len(truth), len(tracks)))
    for frame in frames:
        hits[np.ix_(frame.truth, frame.tracks)] += frame.iou >= least
    rows, columns = linear_sum_assignment(hits, maximize=True)
    right = hits[rows, columns].sum()
    objects = sum(len(frame.truth) + len(frame.tracks) for frame in frames)
    return float(2 * right / max(1, objects))


def _numbered(frames: list[Matched]) -> tuple[np.ndarray, np.ndarray, list[Matched]]:
    """All ids of both kinds, and the frames with the places in these for ids."""
    truth = np.unique(np.concatenate([frame.truth for frame in frames]))
    tracks = np.unique(np.concatenate([frame.tracks for frame in frames]))
    numbered = [
        Matched(np.searchsorted(truth, frame.truth), np.searchsorted(tracks, frame.tracks), frame.iou)
        for frame in frames
    ]
    return truth, tracks, numbered


def _counts(frames: list[Matched], truth: int, tracks: int) -> tuple[np.ndarray, np.ndarray]:
    """In how many frames each of the people and each of the tracks is."""
    return (
        np.bincount(np.concatenate([frame.truth for frame in frames]), minlength=truth),
        np.bincount(np.concatenate([frame.tracks for frame in frames]), minlength=tracks),
    )

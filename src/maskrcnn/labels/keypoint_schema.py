"""What a COCO category says about its keypoints: names, mirror images, skeleton and tolerances."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

from maskrcnn.config.keypoints import COCO_NAMES, COCO_SIGMAS
from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import RecordError
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problems

UNKNOWN_SIGMA = 0.05
SIGMAS = (1e-6, 1e6)  # the least and the greatest that `KeypointSchema` takes


def read_schema(
    category: dict[str, Any], source: object, record: str, problems: Problems
) -> KeypointSchema | None:
    """The keypoints of a COCO category, or None when it has none.

    Besides COCO's `keypoints` (names) and `skeleton` (pairs counted from 1) a category may have `flip_pairs`
    (pairs of names that change places in a mirror), `keypoints_flip` (for each keypoint the one it becomes)
    and `sigmas`.

    Args:
        source, record: file and category, for messages.

    Raises:
        DataError: one of these fields cannot be understood.
    """
    names = category.get("keypoints")
    if not names:
        return None
    try:
        if (
            not isinstance(names, list)
            or not all(isinstance(name, str) for name in names)
            or len(set(names)) < len(names)
        ):
            raise _Unclear("keypoints", "a list of different names")
        return KeypointSchema(
            names=names,
            flip=_flip(category, names, record, problems),
            skeleton=_skeleton(category.get("skeleton") or [], len(names), record, problems),
            sigmas=_sigmas(category.get("sigmas"), names, record, problems),
        )
    except _Unclear as why:
        field, form = why.args
        raise RecordError(
            source, f"has {field!r}, which cannot be understood", f"write {field} as {form}", record
        ) from None


class _Unclear(Exception):
    """A field of a category that cannot be understood, and what it should be."""


def write_schema(schema: KeypointSchema) -> dict[str, Any]:
    """The fields of a COCO category from which `read_schema` makes `schema` again."""
    return {
        "keypoints": schema.names,
        "skeleton": [[a + 1, b + 1] for a, b in schema.skeleton],
        "keypoints_flip": [schema.names[i] for i in schema.flip],
        "sigmas": schema.sigmas,
    }


def _is_index(value: Any) -> bool:
    return type(value) is int


def _skeleton(pairs: Any, count: int, record: str, problems: Problems) -> list[tuple[int, int]]:
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(_is_index(end) for end in pair) for pair in pairs
    ):
        raise _Unclear("skeleton", "a list of pairs of keypoint numbers counted from 1")
    base = 1
    if any(0 in pair for pair in pairs):
        base = 0
        problems.note(ProblemKind.SKELETON_FROM_0, record)
    skeleton = []
    for a, b in pairs:
        if base <= min(a, b) and max(a, b) < count + base:
            skeleton.append((a - base, b - base))
        else:
            problems.note(ProblemKind.SKELETON_PAIR, f"{record}, pair {[a, b]}")
    return skeleton


def _sigmas(given: Any, names: list[str], record: str, problems: Problems) -> list[float]:
    if given is not None:
        if (
            not isinstance(given, list)
            or len(given) != len(names)
            or not all(isinstance(s, (int, float)) and SIGMAS[0] <= s <= SIGMAS[1] for s in given)
        ):
            raise _Unclear("sigmas", f"{len(names)} numbers above 0, one for each keypoint")
        return [float(sigma) for sigma in given]
    if sorted(names) == sorted(COCO_NAMES):  # tools have their own order
        return [COCO_SIGMAS[COCO_NAMES.index(name)] for name in names]
    problems.note(ProblemKind.SIGMAS_ASSUMED, record)
    return [UNKNOWN_SIGMA] * len(names)


def _flip(category: dict[str, Any], names: list[str], record: str, problems: Problems) -> list[int]:
    """The index each keypoint takes in a mirror."""
    count = len(names)
    given, pairs = category.get("keypoints_flip"), category.get("flip_pairs")
    if given is not None:
        flip = _indices(given, names)
        if flip is None or sorted(flip) != list(range(count)):
            raise _Unclear("keypoints_flip", "each keypoint's name once, in the order of their mirror images")
    elif pairs is not None:
        flip = list(range(count))
        flat = [end for pair in pairs for end in pair] if _is_pairs(pairs) else None
        ends = None if flat is None else _indices(flat, names)
        if ends is None or len(set(ends)) < len(ends):
            raise _Unclear("flip_pairs", "pairs of keypoint names, each name at most once")
        for a, b in zip(ends[::2], ends[1::2], strict=True):
            flip[a], flip[b] = b, a
    else:
        return _flip_by_name(names, record, problems)
    if any(flip[flip[i]] != i for i in range(count)):
        raise _Unclear("keypoints_flip", "names of which each, mirrored twice, is itself again")
    return flip


def _is_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value)


def _indices(entries: Any, names: list[str]) -> list[int] | None:
    """Indices of keypoints given by name or by number, or None when they cannot be told.

    Numbers count from 0 when a 0 is among them and from 1 when the number of keypoints is; otherwise both are
    possible.
    """
    if not isinstance(entries, list):
        return None
    if all(isinstance(entry, str) for entry in entries):
        return [names.index(entry) for entry in entries] if set(entries) <= set(names) else None
    if not all(_is_index(entry) and 0 <= entry <= len(names) for entry in entries):
        return None
    if (0 in entries) == (len(names) in entries):
        return None
    base = 0 if 0 in entries else 1
    return [entry - base for entry in entries]


def _flip_by_name(names: list[str], record: str, problems: Problems) -> list[int]:
    index = {name: i for i, name in enumerate(names)}
    flip = []
    for i, name in enumerate(names):
        mirrored = mirrored_name(name)
        if mirrored not in index:
            other = _mirrored_by_letter(name, index.keys())
            mutual = other is not None and _mirrored_by_letter(other, index.keys()) == name
            mirrored = other if mutual and mirrored_name(other or "") not in index else mirrored
        if (
            mirrored is not None
            and mirrored not in index
            and re.match(r"(left|right|l|r)[_ .-]", name, re.IGNORECASE)
        ):
            problems.note(ProblemKind.KEYPOINT_WITHOUT_MIRROR, f"{record}, {name!r}")
        flip.append(i if mirrored is None else index.get(mirrored, i))
    return flip


def _mirrored_by_letter(name: str, names: Container[str]) -> str | None:
    """The only other name that differs in one L and R: a capital, or a small one at either end."""
    swap = {"L": "R", "R": "L", "l": "r", "r": "l"}
    ends = (0, len(name) - 1)
    places = [i for i, letter in enumerate(name) if letter in swap and (letter.isupper() or i in ends)]
    tries = [f"{name[:i]}{swap[name[i]]}{name[i + 1 :]}" for i in places]
    found = [each for each in tries if each in names]
    return found[0] if len(found) == 1 else None


def mirrored_name(name: str) -> str | None:
    """The name of a keypoint's mirror image: "left" and "right" or a separate "l" and "r" exchanged; else
    None.
    """
    swap = {"left": "right", "right": "left", "l": "r", "r": "l"}

    def other(match: re.Match[str]) -> str:
        word = match.group(0)
        found = swap[word.lower()]
        return found.upper() if word.isupper() else found.capitalize() if word[0].isupper() else found

    for pattern in (r"left|right", r"(?<![a-z0-9])[lr](?![a-z0-9])"):
        mirrored, changes = re.subn(pattern, other, name, count=1, flags=re.IGNORECASE)
        if changes:
            return mirrored
    return None

"""What the tests of all readers ask of an error, of a repair and of a mask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.types import Annotation, Dataset, LabelledImage
from maskrcnn.masks.rle import rle_bitmap


def one_line(message: object) -> str:
    """The message, which a terminal shows on one line as it is: nothing in it moves the cursor."""
    line = str(message)
    assert line.isprintable(), repr(line)
    return line


def refused(read: Callable[[], object], *words: object, error: type[UserError] = DataError) -> None:
    """`read` ends with one line that has all of `words` in it."""
    with pytest.raises(error) as caught:
        read()
    line = one_line(caught.value)
    for word in words:
        assert str(word) in line, f"no {str(word)!r} in {line!r}"


def repaired(dataset: Dataset, *kinds: str) -> Any:
    """The repairs are `kinds`, as often as each is named, and there is one line for each kind, with its
    remedy.
    """
    assert dataset.problems.texts() == Counter(kinds)
    assert len(dataset.problems.lines()) == len(dataset.problems)
    check_lines(dataset.problems.texts(), dataset.problems.lines())
    return dataset


def check_lines(kinds: Iterable[str], lines: list[str]) -> None:
    """Each kind of repair is told in a line that says what to do about it."""
    remedies = {kind.text: kind.remedy for kind in ProblemKind}
    for kind in kinds:
        assert any(kind in one_line(line) and remedies[kind] in line for line in lines), kind


def bitmap(annotation: Annotation, image: LabelledImage) -> np.ndarray:
    """The object's mask as bool (H, W)."""
    rle = annotation_rle(annotation, image.height, image.width)
    assert rle is not None
    return rle_bitmap(rle) > 0


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two masks; 0 where both are empty."""
    return float((a & b).sum() / max((a | b).sum(), 1))

"""Records that cannot be used: what a reader raises for one, and what a data set with some of them raises."""

from __future__ import annotations

from maskrcnn.errors import DataError
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.problems import Problem, sentence


class Refused(DataError):
    """A record that cannot be used."""

    def __init__(self, problem: Problem, source: str, line: str | None = None) -> None:
        """
        Args:
            line: the message, where it is not the problem's own `sentence`.
        """
        super().__init__(sentence(problem, source) if line is None else line)
        self.problem = problem


class RefusedRecords(DataError):
    """Labels with records that cannot be used: one line about the first of them, for who wants to train.

    Attributes:
        refused: all of them, in the order in which they were met.
        labels: what the other records hold, for who wants to look; None where nothing is left.
    """

    def __init__(self, refused: list[Refused], labels: FileDataset | None) -> None:
        line = str(refused[0])
        if len({str(one) for one in refused}) > 1:  # not where the line itself counts them
            line += f" (the first of {len(refused)} records that cannot be used; maskrcnn check tells of all)"
        super().__init__(line)
        self.refused = refused
        self.labels = labels

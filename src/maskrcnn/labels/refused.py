"""Records that cannot be used: what a reader raises for one, and what a data set with some of them raises."""

from __future__ import annotations

from maskrcnn.errors import RecordError
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.problems import Problem


class Refused(RecordError):
    """A record that cannot be used."""

    def __init__(self, problem: Problem, source: str, said: RecordError | None = None) -> None:
        """
        Args:
            said: what to say, where it is not what the problem says.
        """
        if said is None:
            said = RecordError(source, problem.what or problem.record, problem.remedy)
        super().__init__(said.source, said.what, said.remedy, said.record)
        self.problem = problem


class RefusedRecords(RecordError):
    """Labels with records that cannot be used: one line about the first of them, for who wants to train.

    Attributes:
        refused: all of them, in the order in which they were met.
        labels: what the other records hold, for who wants to look; None where nothing is left.
    """

    def __init__(self, refused: list[Refused], labels: FileDataset | None) -> None:
        first, remedy = refused[0], refused[0].remedy
        if len({str(one) for one in refused}) > 1:  # not where the line itself counts them
            remedy += (
                f" (the first of {len(refused)} records that cannot be used; maskrcnn check tells of all)"
            )
        super().__init__(first.source, first.what, remedy, first.record)
        self.refused = refused
        self.labels = labels

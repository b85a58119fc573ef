"""Which images an epoch has, in which order and batches, and the seeds of what happens to them.

Images of rare classes come several times in an epoch (repeat-factor sampling; Gupta et al. 2019, LVIS,
appendix): a class in a share f of the images has the factor max(1, sqrt(threshold / f)), an image the largest
of its classes'.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from maskrcnn.errors import UserError
from maskrcnn.labels.types import Dataset


class EpochSampler(Sampler[list[tuple[int, int, int]]]):
    """The batches of one epoch that one process takes, as lists of (image index, seed, step seed).

    The global batches are the same for any `world`; process `rank` takes images rank::world of each, in
    `accumulate` parts. Every image occurs in every epoch, with `factors` some of them several times; the last
    global batch is filled up from the epoch's first images (with other seeds), so that all batches are
    equally large and all epochs equally long.
    """

    def __init__(
        self,
        n: int,
        seed: int,
        epoch: int = 0,
        rank: int = 0,
        world: int = 1,
        batch: int = 1,
        *,
        accumulate: int = 1,
        start: int = 0,
        tall: np.ndarray | None = None,
        factors: np.ndarray | None = None,
        endless: bool = False,
    ) -> None:
        """
        Args:
            n: images in the data set.
            batch: images of a global batch, over all processes and accumulated parts.
            accumulate: parts in which each process takes its share.
            start: global batches of the epoch to skip, for resuming.
            tall: (n,) bool; where given, upright images meet upright ones as far as the epoch's random order
                allows, since a batch of both is padded to a square.
            factors: (n,) from 1 up; how often each image comes in an epoch on average (`repeat_factors`).
            endless: go on with the next epoch when one is through, so that a loader's workers never run dry
                between them.

        Raises:
            UserError: the batch cannot be shared out equally.
        """
        if batch % (world * accumulate):
            raise UserError(
                f"train.batch={batch} cannot be shared equally by {world} processes x {accumulate} "
                f"accumulated steps: make it a multiple of {world * accumulate}"
            )
        self.n, self.batch, self.rank, self.world, self.accumulate = n, batch, rank, world, accumulate
        self.tall, self.factors, self.endless = tall, factors, endless
        self.entries = n if factors is None else epoch_length(factors)
        self.seed = seed % 2**32  # a seed may be negative, NumPy's may not
        self.set_epoch(epoch, start)

    @property
    def global_batches(self) -> int:
        """Global batches, which are optimiser steps, in a whole epoch."""
        return -(-self.entries // self.batch)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Which epoch the next iteration goes through, and from which of its global batches on."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        """Batches that this process takes in the rest of the epoch."""
        return max(0, self.global_batches - self.start) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        epoch, start = self.epoch, self.start
        yield from self._batches(epoch, start)
        while self.endless:
            epoch += 1
            yield from self._batches(epoch, 0)

    def _batches(self, epoch: int, start: int) -> Iterator[list[tuple[int, int, int]]]:
        """The batches of one epoch, from global batch `start` on."""
        # NumPy pads short seeds with zeros, so the order takes the third word that no position has
        rng = np.random.default_rng([self.seed, epoch, 0])
        order = rng.permutation(self.n) if self.factors is None else draw_entries(self.factors, rng)
        if self.tall is not None:
            order = group_by_aspect(order, self.tall, self.batch, rng)
        size = self.batch // (self.world * self.accumulate)
        for step in range(start, self.global_batches):
            mine = range(step * self.batch + self.rank, (step + 1) * self.batch, self.world)
            step_seed = self._drawn_seed(epoch, step, 1)
            share = [(int(order[p % len(order)]), self._drawn_seed(epoch, p + 1), step_seed) for p in mine]
            for part in range(self.accumulate):
                yield share[part * size : (part + 1) * size]

    def _drawn_seed(self, epoch: int, *words: int) -> int:
        """A seed of 63 bits. Of a step it has a word more than of an image: with an image's own, what is
        drawn for the step would go with what is drawn for that image.
        """
        seed = np.random.SeedSequence([self.seed, epoch, *words]).generate_state(1, np.uint64)
        return int(seed[0]) >> 1


def group_by_aspect(order: np.ndarray, tall: np.ndarray, batch: int, rng: np.random.Generator) -> np.ndarray:
    """`order` with upright images beside upright ones, in batches that are shuffled again.

    At most two batches of an epoch hold both kinds: one between them, and the last, which others fill up.
    """
    grouped = np.concatenate([order[~tall[order]], order[tall[order]]])
    whole = len(grouped) // batch
    batches = rng.permutation(whole)
    return np.concatenate(
        [grouped[b * batch : (b + 1) * batch] for b in batches] + [grouped[whole * batch :]]
    )


def repeat_factors(dataset: Dataset, threshold: float) -> np.ndarray:
    """How often each image comes in an epoch on average, float64 (n,), at least 1.

    Args:
        threshold: share of images, 0 to 1, below which a class is rare. Crowds are no objects.
    """
    classes = [sorted({a.label for a in image.annotations if not a.crowd}) for image in dataset]
    images = np.bincount([label for labels in classes for label in labels], minlength=len(dataset.classes))
    of_class = np.sqrt(threshold * len(dataset) / np.maximum(images, 1)).clip(min=1.0)
    return np.array([of_class[labels].max(initial=1.0) for labels in classes], np.float64)


def epoch_length(factors: np.ndarray) -> int:
    """Entries of an epoch, the same for all epochs: the schedule of a training depends on it."""
    return int(np.ceil(np.floor(factors).sum() + (factors % 1).sum()))


def draw_entries(factors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image indices of one epoch in random order, int64.

    Each factor is rounded up or down at random, so that it is right on average. The fractions are not drawn
    one by one but laid end to end in random order and cut where a whole number plus one random offset is
    reached: with that the sum is right too, and there are `epoch_length(factors)` entries or one less.
    """
    order = rng.permutation(len(factors))
    edges = np.floor(np.cumsum(factors[order] % 1) + rng.random())
    counts = np.floor(factors[order]) + np.diff(edges, prepend=0.0)
    return rng.permutation(np.repeat(order, counts.astype(np.int64)))


def describe_repeats(factors: np.ndarray) -> str:
    """A line for people."""
    repeated = int((factors > 1).sum())
    return (
        f"images of rare classes are repeated: {repeated} of {len(factors)} come up to {factors.max():.2f} "
        f"times, an epoch has {epoch_length(factors)}"
    )

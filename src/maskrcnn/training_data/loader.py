"""Labelled images as batches, for training and for testing.

What happens to an image in training derives only from the training's seed, the epoch and the image's position in the
epoch's order: not from the number of workers or processes, nor from where a training was interrupted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from maskrcnn.config.load import Config
from maskrcnn.config.model import InputConfig
from maskrcnn.errors import DataError, UserError
from maskrcnn.images.batch import Batch, ScaledImage, Targets, as_tensor, pad_batch, scale_image
from maskrcnn.images.view import View, warp_image
from maskrcnn.labels.types import Dataset, LabelledImage
from maskrcnn.training_data.augment import check_augment, draw_paste_view, draw_tile_view, draw_view, jitter_colour
from maskrcnn.training_data.copy_paste import draw_objects, draw_stencil, paste_targets
from maskrcnn.training_data.corruption import degrade
from maskrcnn.training_data.mosaic import Tile, draw_tiles, join_pixels, join_targets
from maskrcnn.training_data.repeat_factor import draw_entries, epoch_length, repeat_factors
from maskrcnn.training_data.targets import ObjectTargets, collate_targets, make_targets


@dataclass
class Sample:
    """One image on its way into a training batch."""

    pixels: np.ndarray  # uint8 (H, W, C)
    targets: ObjectTargets
    name: str
    scale: tuple[float, float]  # new pixels per original pixel, x then y
    original: tuple[int, int]  # height, width

    @property
    def image(self) -> ScaledImage:
        return ScaledImage(as_tensor(self.pixels), self.scale, self.original)


class UnreadableImage(DataError):
    """An image that cannot be read or used.

    Its message stays one line when it crosses from a worker: torch raises it again there as type(message) with
    the worker's whole traceback as the message, of which this keeps the end.
    """

    def __init__(self, message: str) -> None:
        if message.startswith("Caught "):
            message = message.rsplit(f"{type(self).__name__}: ", 1)[-1]
        super().__init__(" ".join(message.split()))


class TrainSamples(TorchDataset[Sample]):
    """The images of `dataset` as training samples, indexed by (image index, seed, step seed)."""

    def __init__(self, dataset: Dataset, labels: list[int], config: Config) -> None:
        """
        Args:
            labels: the model's class index for each class of the data set.

        Raises:
            UserError: augmentation settings that contradict each other.
            DataError: keypoints in the labels that are not the model's.
        """
        check_augment(config.data.augment)
        self.dataset = dataset
        self.labels = labels
        self.channels = config.model.input.channels
        self.augment = config.data.augment
        self.mask_side = config.data.mask_side if config.model.mask_head else 0
        wanted = (config.model.keypoints or dataset.keypoints) if config.model.keypoint_head else None
        if wanted and dataset.keypoints and wanted.names != dataset.keypoints.names:
            raise DataError(
                f"{dataset.name}: its keypoints ({', '.join(dataset.keypoints.names)}) are not the model's "
                f"({', '.join(wanted.names)}); remove model.keypoints to take those of the data"
            )
        self.keypoints = wanted

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int, int]) -> Sample:
        """
        Raises:
            DataError: the image cannot be read; names it.
        """
        index, seed, step_seed = key
        rng, step_rng = np.random.default_rng(seed), np.random.default_rng(step_seed)
        if self.augment.mosaic and step_rng.random() < self.augment.mosaic:
            sample = self._mosaic(index, seed, rng, step_rng)
        else:
            image = self.dataset.image(index)
            # one short side for the whole step: drawn per image, the largest would set the padding of all
            view = draw_view(self.augment, image.height, image.width, rng, step_rng)
            pixels, targets = self._seen(index, image, view, seed, rng)
            sample = Sample(pixels, targets, image.file_name, _scale(view), (image.height, image.width))
        if self.augment.copy_paste and rng.random() < self.augment.copy_paste:
            sample = self._pasted(sample, seed, rng)
        return sample

    def _pasted(self, sample: Sample, seed: int, rng: np.random.Generator) -> Sample:
        """The sample with objects of another image pasted in."""
        index = int(rng.integers(len(self.dataset)))
        image = self.dataset.image(index)
        view = draw_paste_view(self.augment, image.height, image.width, sample.pixels.shape[:2], rng)
        image.annotations = draw_objects(image.annotations, rng)
        if not image.annotations:
            return sample
        pixels, targets = self._seen(index, image, view, seed, rng)
        stencil = draw_stencil(image.annotations, view)
        return dataclasses.replace(
            sample,
            pixels=np.where(stencil[..., None], pixels, sample.pixels),
            targets=paste_targets(sample.targets, targets, stencil),
            name=f"{sample.name} + {image.file_name}",
        )

    def _mosaic(self, index: int, seed: int, rng: np.random.Generator, step_rng: np.random.Generator) -> Sample:
        """The image among others drawn at random; canvas and grid are the step's."""
        canvas, grids = self.augment.mosaic_canvas, self.augment.mosaic_grids
        tiles = draw_tiles(canvas, grids[int(step_rng.integers(len(grids)))], rng)
        indices = rng.permutation([index, *rng.integers(len(self.dataset), size=len(tiles) - 1)])
        parts = [self._tile(int(i), tile, seed, rng) for i, tile in zip(indices, tiles, strict=True)]
        pixels = join_pixels(canvas, tiles, [pixels for pixels, _ in parts])
        targets = join_targets(tiles, [targets for _, targets in parts], seed)
        names = " + ".join(self.dataset.image(int(i)).file_name for i in indices)
        return Sample(pixels, targets, names, (1.0, 1.0), canvas)

    def _tile(self, index: int, tile: Tile, seed: int, rng: np.random.Generator) -> tuple[np.ndarray, ObjectTargets]:
        image = self.dataset.image(index)
        view = draw_tile_view(self.augment, image.height, image.width, (tile.height, tile.width), rng)
        return self._seen(index, image, view, seed, rng)

    def _seen(
        self, index: int, image: LabelledImage, view: View, seed: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, ObjectTargets]:
        """The image's pixels and objects in a view."""
        pixels = jitter_colour(warp_image(_pixels(self.dataset, index, self.channels), view), self.augment.colour, rng)
        pixels = degrade(pixels, self.augment, rng)
        return pixels, make_targets(image, self.labels, view, self.mask_side, self.keypoints, seed)


class TestSamples(TorchDataset[tuple[int, ScaledImage]]):
    """The images of `dataset` as the network sees them at test time, indexed by image."""

    __test__ = False

    def __init__(self, dataset: Dataset, config: InputConfig) -> None:
        self.dataset = dataset
        self.config = config

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, ScaledImage]:
        """
        Raises:
            DataError: the image cannot be read; names it.
        """
        return index, scale_image(_pixels(self.dataset, index, self.config.channels), self.config)


class EpochSampler(Sampler[list[tuple[int, int, int]]]):
    """The batches of one epoch that one process takes, as lists of (image index, seed, step seed).

    The global batches are the same for any `world`; process `rank` takes images rank::world of each, in `accumulate`
    parts. Every image occurs in every epoch, with `factors` some of them several times; the last global batch is
    filled up from the epoch's first images (with other seeds), so that all batches are equally large and all epochs
    equally long.
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
            tall: (n,) bool; where given, upright images meet upright ones as far as the epoch's random order allows,
                since a batch of both is padded to a square.
            factors: (n,) from 1 up; how often each image comes in an epoch on average (`repeat_factors`).
            endless: go on with the next epoch when one is through, so that a loader's workers never run dry between them.

        Raises:
            UserError: the batch cannot be shared out equally.
        """
        if batch % (world * accumulate):
            raise UserError(
                f"train.batch={batch} cannot be shared equally by {world} processes x {accumulate} accumulated steps: "
                f"make it a multiple of {world * accumulate}"
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
            step_seed = self._sample_seed(epoch, step * self.batch)
            share = [(int(order[p % len(order)]), self._sample_seed(epoch, p), step_seed) for p in mine]
            for part in range(self.accumulate):
                yield share[part * size : (part + 1) * size]

    def _sample_seed(self, epoch: int, position: int) -> int:
        """A seed of 63 bits for the image at `position` of an epoch's global order."""
        words = np.random.SeedSequence([self.seed, epoch, position + 1]).generate_state(1, np.uint64)
        return int(words[0]) >> 1


def group_by_aspect(order: np.ndarray, tall: np.ndarray, batch: int, rng: np.random.Generator) -> np.ndarray:
    """`order` with upright images beside upright ones, in batches that are shuffled again.

    At most one batch of an epoch holds both kinds.
    """
    grouped = np.concatenate([order[~tall[order]], order[tall[order]]])
    whole = len(grouped) // batch
    batches = rng.permutation(whole)
    return np.concatenate([grouped[b * batch : (b + 1) * batch] for b in batches] + [grouped[whole * batch :]])


def _collate(samples: list[Sample], divisor: int) -> tuple[Batch, Targets, list[str]]:
    """Training samples as one batch, padded to the largest image rounded up to `divisor`."""
    batch = pad_batch([sample.image for sample in samples], divisor)
    return batch, collate_targets([sample.targets for sample in samples]), [sample.name for sample in samples]


def _collate_test(samples: list[tuple[int, ScaledImage]], divisor: int) -> tuple[Batch, list[int]]:
    """Test images as one batch and their indices."""
    return pad_batch([image for _, image in samples], divisor), [index for index, _ in samples]


def train_loader(
    dataset: Dataset,
    labels: list[int],
    config: Config,
    *,
    epoch: int = 0,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    endless: bool = False,
) -> DataLoader[Sample]:
    """Batches (Batch, Targets, names) for one process from global batch `start` of an epoch on: of that epoch, or `endless`
    of those that follow too.

    Its `batch_sampler` is an `EpochSampler`: call `loader.batch_sampler.set_epoch(epoch, start)` before each further
    epoch; the workers stay. With `train.accumulate` above 1 each global batch comes in that many parts.
    """
    threshold = config.data.repeat_threshold
    sampler = EpochSampler(
        len(dataset),
        config.train.seed,
        epoch,
        rank,
        world,
        config.train.batch,
        accumulate=config.train.accumulate,
        start=start,
        tall=None if config.data.augment.crop else _tall(dataset),
        factors=None if threshold is None else repeat_factors(dataset, threshold),
        endless=endless,
    )
    workers = config.data.workers
    return DataLoader(
        TrainSamples(dataset, labels, config),
        batch_sampler=sampler,
        collate_fn=partial(_collate, divisor=config.model.input.divisor),
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_one_thread,
        pin_memory=torch.cuda.is_available(),
    )


def test_loader(dataset: Dataset, config: InputConfig, batch: int, workers: int) -> DataLoader[tuple[int, ScaledImage]]:
    """Batches (Batch, list of image indices) of the whole data set, in its order."""
    return DataLoader(
        TestSamples(dataset, config),
        batch_size=batch,
        collate_fn=partial(_collate_test, divisor=config.divisor),
        num_workers=workers,
        worker_init_fn=_one_thread,
        pin_memory=torch.cuda.is_available(),
    )


test_loader.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever pytest thinks of the name


def _tall(dataset: Dataset) -> np.ndarray | None:
    """(n,) bool: which images are upright; None for generated images, which all have one shape."""
    if dataset.image(0).path is None:
        return None
    shapes = ((p.height, p.width) for p in (dataset.image(i) for i in range(len(dataset))))
    return np.array([height > width for height, width in shapes])


def _one_thread(worker: int) -> None:
    """Workers are parallel among each other already."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _pixels(dataset: Dataset, index: int, channels: int) -> np.ndarray:
    """The image's pixels (H, W, channels), or a DataError of one line that names it."""
    try:
        pixels = dataset.pixels(index)
    except DataError as error:
        raise UnreadableImage(str(error)) from None
    except OSError as error:
        image = dataset.image(index)
        raise UnreadableImage(f"{image.path or image.file_name}: not readable: {error}") from None
    if pixels.shape[2] != channels:
        name = dataset.image(index).file_name
        raise UnreadableImage(
            f"{name}: has {pixels.shape[2]} channels, the model takes {channels}; open the data set with_channels({channels})"
        )
    return pixels


def _scale(view: View) -> tuple[float, float]:
    return float(view.factor[0]), float(view.factor[1])

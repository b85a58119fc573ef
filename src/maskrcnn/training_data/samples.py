"""Labelled images one by one, as the network trains on them (augmented) and as it sees them at test time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset as TorchDataset

from maskrcnn.config.load import Config
from maskrcnn.config.model import InputConfig
from maskrcnn.errors import DataError, UserError, one_line
from maskrcnn.images.batch import ScaledImage, as_tensor, scale_image
from maskrcnn.images.tiles import Window
from maskrcnn.images.view import View, warp_image
from maskrcnn.labels.types import Dataset, LabelledImage
from maskrcnn.training_data.augment import draw_paste_view, draw_tile_view, draw_view, jitter_colour
from maskrcnn.training_data.copy_paste import draw_objects, draw_stencil, paste_targets
from maskrcnn.training_data.corruption import corrupt
from maskrcnn.training_data.mosaic import draw_tiles, join_pixels, join_targets
from maskrcnn.training_data.targets import ObjectTargets, make_targets

# of an image and its pixels, uint8 (H, W, C), to others of the same size; all chance from the generator
Augment = Callable[[LabelledImage, np.ndarray, np.random.Generator], tuple[LabelledImage, np.ndarray]]


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
    """An image that cannot be read or used, on one line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class TrainSamples(TorchDataset[Sample]):
    """The images of `dataset` as training samples, indexed by (image index, seed, step seed)."""

    def __init__(
        self, dataset: Dataset, labels: list[int], config: Config, augment: Augment | None = None
    ) -> None:
        """
        Args:
            labels: the model's class index for each class of the data set.
            augment: changes an image and its labels before anything else does.

        Raises:
            DataError: keypoints in the labels that are not the model's.
        """
        _check_value_range(dataset, config.model.input)
        self.dataset = dataset
        self.labels = labels
        self.channels = config.model.input.channels
        self.augment = config.data.augment
        self.own = augment
        # copy-paste finds by their masks which objects it hides
        masked = config.model.mask_head is not None or config.data.augment.copy_paste > 0
        self.mask_side = config.data.mask_side if masked else 0
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
            image, source = self._read(index, rng)
            # one short side for the whole step: drawn per image, the largest would set the padding of all
            view = draw_view(self.augment, image.height, image.width, rng, step_rng)
            pixels, targets = self._augmented(image, source, view, seed, rng)
            sample = Sample(pixels, targets, image.file_name, _scale(view), (image.height, image.width))
        if self.augment.copy_paste and rng.random() < self.augment.copy_paste:
            sample = self._pasted(sample, seed, rng)
        return sample

    def _pasted(self, sample: Sample, seed: int, rng: np.random.Generator) -> Sample:
        """The sample with objects of another image pasted in."""
        image, source = self._read(int(rng.integers(len(self.dataset))), rng)
        view = draw_paste_view(self.augment, image.height, image.width, sample.pixels.shape[:2], rng)
        image = dataclasses.replace(image, annotations=draw_objects(image.annotations, rng))
        if not image.annotations:
            return sample
        pixels, targets = self._augmented(image, source, view, seed, rng)
        stencil = draw_stencil(image.annotations, view)
        return dataclasses.replace(
            sample,
            pixels=np.where(stencil[..., None], pixels, sample.pixels),
            targets=paste_targets(sample.targets, targets, stencil),
            name=f"{sample.name} + {image.file_name}",
        )

    def _mosaic(
        self, index: int, seed: int, rng: np.random.Generator, step_rng: np.random.Generator
    ) -> Sample:
        """The image among others drawn at random; canvas and grid are the step's."""
        canvas, grids = self.augment.canvas, self.augment.mosaic_grids
        tiles = draw_tiles(canvas, grids[int(step_rng.integers(len(grids)))], rng)
        indices = rng.permutation([index, *rng.integers(len(self.dataset), size=len(tiles) - 1)])
        parts = [self._tile(int(i), tile, seed, rng) for i, tile in zip(indices, tiles, strict=True)]
        pixels = join_pixels(canvas, tiles, [pixels for pixels, _, _ in parts])
        targets = join_targets(tiles, [targets for _, targets, _ in parts], seed)
        return Sample(pixels, targets, " + ".join(name for _, _, name in parts), (1.0, 1.0), canvas)

    def _tile(
        self, index: int, tile: Window, seed: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, ObjectTargets, str]:
        """Pixels, objects and the image's name."""
        image, source = self._read(index, rng)
        view = draw_tile_view(self.augment, image.height, image.width, (tile.height, tile.width), rng)
        return *self._augmented(image, source, view, seed, rng), image.file_name

    def _read(self, index: int, rng: np.random.Generator) -> tuple[LabelledImage, np.ndarray]:
        """An image with its labels, as the person's own augmentation leaves them."""
        image, pixels = self.dataset.image(index), _pixels(self.dataset, index, self.channels)
        if self.own is None:
            return image, pixels
        shape = pixels.shape
        image, pixels = self.own(image, pixels, rng)
        if pixels.shape != shape or pixels.dtype != np.uint8 or image.size != shape[:2]:
            raise ValueError(
                f"augment: made {pixels.dtype} {pixels.shape} of {image.file_name!r}; it must return uint8 "
                f"of the size that it got, {shape}"
            )
        return image, pixels

    def _augmented(
        self, image: LabelledImage, source: np.ndarray, view: View, seed: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, ObjectTargets]:
        """The image's pixels, of all of which `source` are, and objects in a view."""
        pixels = jitter_colour(warp_image(source, view), self.augment.colour, rng)
        pixels = corrupt(pixels, self.augment, rng)
        return pixels, make_targets(image, self.labels, view, self.mask_side, self.keypoints, seed)


class TestSamples(TorchDataset[tuple[int, ScaledImage]]):
    """The images of `dataset` as the network sees them at test time, indexed by image."""

    __test__ = False

    def __init__(self, dataset: Dataset, config: InputConfig) -> None:
        """
        Raises:
            UserError: images with another range of values than the model's.
        """
        _check_value_range(dataset, config)
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


def _check_value_range(dataset: Dataset, config: InputConfig) -> None:
    """Refuse images whose samples would not become the 8 bits that the model knows."""
    if dataset.info.value_range != config.value_range:
        raise UserError(
            f"{dataset.name}: its images are read with value_range {dataset.info.value_range}, the model's is"
            f" {config.value_range}; open the data set with_channels({config.channels}, {config.value_range})"
        )


def _pixels(dataset: Dataset, index: int, channels: int) -> np.ndarray:
    """The image's pixels (H, W, channels), or a DataError of one line that names it."""
    try:
        pixels = dataset.pixels(index)
    except DataError as error:
        raise UnreadableImage(str(error)) from None
    except OSError as error:
        image = dataset.image(index)
        raise UnreadableImage(f"{image.path or image.file_name}: not readable: {error}") from None
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3:
        kind, shape = getattr(pixels, "dtype", type(pixels).__name__), tuple(getattr(pixels, "shape", ()))
        raise _unfit(dataset, index, f"its pixels are {kind} {shape}; give uint8 (height, width, channels)")
    if pixels.shape[2] != channels:
        remedy = f"open the data set with_channels({channels})"
        raise _unfit(dataset, index, f"has {pixels.shape[2]} channels, the model takes {channels}; {remedy}")
    if pixels.shape[:2] != tuple(dataset.size(index)):
        (height, width), stated = pixels.shape[:2], dataset.size(index)
        line = f"is {width} x {height} pixels, its labels are for {stated[1]} x {stated[0]}; make them agree"
        raise _unfit(dataset, index, line)
    return pixels


def _unfit(dataset: Dataset, index: int, line: str) -> UnreadableImage:
    return UnreadableImage(f"{dataset.image(index).file_name}: {line}")


def _scale(view: View) -> tuple[float, float]:
    return float(view.factor[0]), float(view.factor[1])

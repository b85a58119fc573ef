"""Every image file opened and decoded: what is broken, what is unusual, and which are in both splits."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from maskrcnn.check.findings import Finding, Findings
from maskrcnn.check.kinds import CheckKind
from maskrcnn.environment import usable_cores
from maskrcnn.errors import ImageError, UserError
from maskrcnn.images.fingerprint import fingerprint, near_duplicates, similar_hashes
from maskrcnn.images.header import open_image, orientation, stored_channels
from maskrcnn.images.read import ValueRange, read_image
from maskrcnn.labels.image_files import size_disagreement
from maskrcnn.labels.types import Dataset, LabelledImage

UNUSUAL = {
    "I;16": CheckKind.BITS_16,
    "I;16B": CheckKind.BITS_16,
    "I": CheckKind.BITS_32,
    "F": CheckKind.FLOATING_POINT,
    "P": CheckKind.PALETTE,
    "RGBA": CheckKind.TRANSPARENCY,
    "LA": CheckKind.TRANSPARENCY,
    "CMYK": CheckKind.CMYK,
}
GENERATED = 200  # images without a file that are looked at
KEPT = ("RGBA", "LA", "CMYK")  # as they are, where they have the wanted number of channels
GREY = ("1", "L", "I;16", "I;16B", "I", "F")


@dataclass
class ImageFacts:
    """One image as its file has it."""

    error: ImageError | None = None  # why it cannot be used
    mode: str = ""  # Pillow's; empty where it cannot be told
    turned: bool = False  # by EXIF
    fingerprint: int | None = None  # 64 bits that hardly change when an image is resized; None: of one colour
    moments: np.ndarray | None = None  # (2, C): of each channel the mean, and that of its square


@dataclass
class SplitFacts:
    """What is kept of the image files of a split: 8 bytes of each."""

    unusable: set[int] = field(default_factory=set)
    fingerprints: array[int] = field(default_factory=lambda: array("Q"))
    fingerprinted: bytearray = field(default_factory=bytearray)  # 1 where the image has a fingerprint
    grey: bool = True  # every image
    moments: np.ndarray | None = None  # (2, C), the sum of those of `measured` images
    measured: int = 0

    def add(self, facts: ImageFacts) -> None:
        """Keep what is needed of the next image."""
        if facts.error is not None:
            self.unusable.add(len(self.fingerprints))
        self.fingerprints.append(facts.fingerprint or 0)
        self.fingerprinted.append(facts.fingerprint is not None)
        self.grey &= facts.mode in GREY
        if facts.moments is not None:
            self.moments = facts.moments if self.moments is None else self.moments + facts.moments
            self.measured += 1


def inspect_images(
    dataset: Dataset, channels: int, value_range: ValueRange | None
) -> Iterator[tuple[LabelledImage, ImageFacts]]:
    """Decodes as many images at a time as there are cores; only those, and as many ready ones, are in
    memory.
    """
    workers = usable_cores()
    ahead: deque[tuple[LabelledImage, Future[ImageFacts]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for image in dataset:
            ahead.append((image, pool.submit(inspect_image, image, channels, value_range)))
            if len(ahead) >= 2 * workers:
                image, future = ahead.popleft()
                yield image, future.result()
        while ahead:
            image, future = ahead.popleft()
            yield image, future.result()


def inspect_image(
    image: LabelledImage, channels: int = 3, value_range: ValueRange | None = None
) -> ImageFacts:
    """Decode one image; whatever is wrong with it is in the result, not raised. Of a generated one nothing is
    known.
    """
    if image.path is None:
        return ImageFacts()
    try:
        with open_image(image.path) as file:
            mode, turned = file.mode, orientation(file, image.path) != 1
    except Exception:  # noqa: BLE001  what is wrong is said by read_image, in its words
        mode, turned = "", False
    try:
        pixels = read_image(image.path, channels, value_range)
    except ImageError as error:
        return ImageFacts(error, mode, turned)
    wrong = size_disagreement(image, pixels.shape[0], pixels.shape[1])
    found = fingerprint(pixels)
    return ImageFacts(wrong, mode, turned, None if found.flat else found.bits, _moments(pixels))


def check_image(
    facts: ImageFacts, image: LabelledImage, index: int, split: str, findings: Findings, channels: int = 3
) -> None:
    """Adds what is broken or unusual of the file of the image at `index`."""
    name = repr(image.file_name)
    if facts.mode in UNUSUAL and (channels in (1, 3) or facts.mode not in KEPT):
        findings.add(Finding(UNUSUAL[facts.mode], split, name, index))
    if facts.error is not None:
        record, remedy = f"{name}: {facts.error.what}", facts.error.remedy
        findings.add(Finding(CheckKind.UNUSABLE_IMAGE, split, record, index, remedy=remedy))
        return
    if facts.turned:
        findings.add(Finding(CheckKind.TURNED, split, name, index))
    if facts.moments is not None and facts.fingerprint is None:
        findings.add(Finding(CheckKind.ONE_COLOUR, split, name, index))


def check_leaks(datasets: dict[str, Dataset], facts: dict[str, SplitFacts], findings: Findings) -> None:
    """Images of the val and test splits that are in the train split too, perhaps resized or compressed
    again.
    """
    train = facts["train"]
    hashes = np.array(train.fingerprints, np.uint64)
    usable = np.array(train.fingerprinted, bool)
    usable[list(train.unusable)] = False
    for split in [split for split in facts if split != "train"]:
        for index, bits in enumerate(facts[split].fingerprints):
            if facts[split].fingerprinted[index] and index not in facts[split].unusable:
                candidates = np.flatnonzero(usable & similar_hashes(hashes, bits)).tolist()
                _note_leak(datasets, split, index, candidates, findings)


def _note_leak(
    datasets: dict[str, Dataset], split: str, index: int, candidates: list[int], findings: Findings
) -> None:
    """A finding where the image at `index` is one of those of the train split."""
    for other in candidates:
        if near_duplicates(datasets["train"].pixels(other), datasets[split].pixels(index)):
            names = [datasets[s].image(i).file_name for s, i in ((split, index), ("train", other))]
            record = f"{names[0]!r} of {split} is {names[1]!r} of train"
            kind = CheckKind.IN_BOTH_SPLITS
            findings.add(Finding(kind, split, record, index, duplicate_of=("train", other)))
            break


def channels_of(dataset: Dataset, wanted: int = 3) -> int:
    """How many channels images are to be read with: those that are wanted or, where files cannot be read as
    RGB, their own.
    """
    path = dataset.image(0).path if len(dataset) else None
    if wanted != 3 or path is None:
        return wanted
    try:
        stored = stored_channels(path)
    except UserError:  # inspect_image says what is wrong
        return wanted
    return wanted if stored == 1 else stored


def mean_and_deviation(
    dataset: Dataset, facts: SplitFacts, channels: int = 3
) -> tuple[list[float], list[float]]:
    """Mean and deviation per channel on 0 to 255, every image as much: `model.input.mean` and `std`.

    Args:
        facts: of the image files; images without a file are looked at here, 200 of them at most.
    """
    if facts.moments is None:
        facts = SplitFacts()
        for index in range(0, len(dataset), max(1, len(dataset) // GENERATED)):
            if dataset.image(index).path is None:
                facts.add(ImageFacts(moments=_moments(dataset.pixels(index))))
    if facts.moments is None:
        return [0.0] * channels, [1.0] * channels
    mean, square = facts.moments / facts.measured
    deviation = np.sqrt(np.maximum(square - mean**2, 1.0))
    return mean.round(2).tolist(), deviation.round(2).tolist()


def _moments(pixels: np.ndarray) -> np.ndarray:
    """Means (2, C) of the values and of their squares, over a grid of at most 64 x 64 pixels."""
    down, across = (max(1, -(-side // 64)) for side in pixels.shape[:2])
    values = pixels[::down, ::across].reshape(-1, pixels.shape[2]).astype(np.float64)
    return np.stack([values.mean(0), (values**2).mean(0)])

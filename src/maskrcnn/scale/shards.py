"""Many images in blocks: a process takes every N-th block and writes a part for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn.errors import DataError, UserError
from maskrcnn.predict.files import make_folder
from maskrcnn.predict.journal import describe_model
from maskrcnn.progress import Progress
from maskrcnn.scale.addresses import Addresses
from maskrcnn.scale.batch_predictor import BatchPredictor
from maskrcnn.scale.parts import Run, missing_blocks, open_run
from maskrcnn.shell import counted
from maskrcnn.stop import telling


@dataclass
class ShardSummary:
    """What was done of a share of the blocks."""

    images: int = 0  # of the share, that are done
    resumed: int = 0  # of them by earlier runs
    failures: int = 0  # of them that could not be read


@dataclass(frozen=True)
class Limit:
    """How many images may fail before the work stops."""

    text: str  # as given: "1%", "100"
    share: bool  # of all, else a number of images
    value: float

    def check(self, failures: int, images: int) -> None:
        """
        Args:
            failures: images that could not be read so far.
            images: of the share in all.

        Raises:
            DataError: too many failed.
        """
        if failures > (self.value * images if self.share else self.value):
            raise DataError(
                f"stopped: {counted(failures, 'image')} of {images:,} could not be read, more than "
                f"--max-failures {self.text}; the parts say why in their column error"
            )


def read_limit(text: str) -> Limit:
    """
    Raises:
        UserError: neither a number of images nor a percentage.
    """
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        value = float(number) if percent else float(int(number))
    except ValueError:
        value = -1.0
    if not 0 <= value <= (100 if percent else float("inf")):
        raise UserError(f"--max-failures {text:.40}: give a number of images, or a share such as 1%")
    return Limit(text, percent, value / 100 if percent else value)


def describe(predictor: BatchPredictor, found: Addresses, block: int) -> dict[str, Any]:
    """What run.json says of a prediction: all that its parts depend on."""
    config = predictor.model.config
    ids = config.class_ids or range(1, len(config.classes) + 1)
    return {
        "images": len(found.images),
        "list of images": found.digest(),
        "block": block,
        **describe_predictor(predictor),
        "category_ids": dict(zip(config.classes, ids, strict=True)),
    }


def describe_predictor(predictor: BatchPredictor) -> dict[str, Any]:
    """Those of it that are the predictor's."""
    settings = {"score": predictor.score, "tiles": predictor.tiles, "batch": predictor.batch}
    return dict(describe_model(predictor.model, **settings))


def predict_block(predictor: BatchPredictor, run: Run, block: int, addresses: Sequence[str]) -> int:
    """Write the part of a block; returns how many of its images could not be read.

    Args:
        addresses: of the block's images.
    """
    first = run.places(block).start + 1
    rows = predictor.rows([{"id": id_, "address": one} for id_, one in enumerate(addresses, first)])
    run.write(block, rows)
    return sum(row.get("error") is not None for row in rows)


def predict_shard(
    predictor: BatchPredictor,
    found: Addresses,
    out: Path,
    *,
    shard: tuple[int, int] = (1, 1),
    block: int = 256,
    limit: Limit | None = None,
    progress: Progress | None = None,
) -> ShardSummary:
    """Predict the blocks k, k + n, k + 2 n ... of the list, those without a part.

    Args:
        shard: k and n; k from 1.
        block: images of a part: as many at most are done again after a kill.
        limit: of images that cannot be read; None: none.

    Raises:
        UserError: `out` has parts of another run, or another machine cannot be reached.
        DataError: more images than `limit` could not be read, or a part is damaged.
        OSError: a part cannot be written, or the disk of an image fails.
    """
    make_folder(out)
    run = open_run(out, describe(predictor, found, block))
    own = run.blocks[shard[0] - 1 :: shard[1]]
    missing = set(missing_blocks(run, own))
    images = sum(len(run.places(number)) for number in own)
    summary = ShardSummary()

    def line() -> str:
        return f"{summary.images} of {images} images are done: {out}; the same command goes on"

    with telling(line):
        for number in sorted(own, key=lambda number: number in missing):
            places = run.places(number)
            done = run.done(number)  # another process may have done it meanwhile
            if done is None:
                failures = predict_block(predictor, run, number, found.images[places.start : places.stop])
            else:
                failures = done[1]
                summary.resumed += len(places) if number not in missing else 0
            summary.images += len(places)
            summary.failures += failures
            if progress:
                progress(summary.images, images)
            if limit:
                limit.check(summary.failures, images)
    return summary

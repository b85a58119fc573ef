"""Many images in blocks: a process takes every N-th block and writes a part for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskrcnn.files import make_folder
from maskrcnn.predict.journal import describe_model
from maskrcnn.progress import Progress
from maskrcnn.scale.addresses import Addresses
from maskrcnn.scale.batch_predictor import BatchPredictor
from maskrcnn.scale.limit import Limit
from maskrcnn.scale.parts import Run, ShardSummary, missing_blocks, open_run
from maskrcnn.stop import telling


def describe(predictor: BatchPredictor) -> dict[str, Any]:
    """What run.json says of a predictor."""
    config = predictor.model.config
    ids = config.class_ids or range(1, len(config.classes) + 1)
    settings = {"score": predictor.score, "tiles": predictor.tiles, "batch": predictor.batch}
    return {
        **describe_model(predictor.model, **settings),
        "category_ids": dict(zip(config.classes, ids, strict=True)),
    }


def predict_block(predictor: BatchPredictor, run: Run, block: int, addresses: Sequence[str]) -> int:
    """Write the part of a block; returns how many of its images could not be read.

    Args:
        addresses: of the block's images.
    """
    first = run.places(block).start + 1
    rows = predictor.rows([{"id": id_, "address": one} for id_, one in enumerate(addresses, first)])
    return run.write(block, rows)


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
    run = open_run(out, found, block, describe(predictor))
    own = run.blocks[shard[0] - 1 :: shard[1]]
    missing = set(missing_blocks(run, own))
    images = sum(len(run.places(number)) for number in own)
    summary = ShardSummary()

    def line() -> str:
        return f"{summary.images} of {images} images are done: {out}; the same command goes on"

    with telling(line):
        for number in sorted(own, key=lambda number: number in missing):
            places = run.places(number)
            failures = run.failures(number)
            if failures is None:
                failures = predict_block(predictor, run, number, found.between(places))
            elif number not in missing:  # else another process has done it meanwhile
                summary.resumed += len(places)
            summary.images += len(places)
            summary.failures += failures
            summary.capped += run.capped(number)
            if progress:
                progress(summary.images, images)
            if limit:
                limit.check(summary.failures, images)
    return summary

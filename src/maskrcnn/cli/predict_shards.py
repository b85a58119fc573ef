"""What `maskrcnn predict` does with more images than one process is for: `--shard` and `--ray`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskrcnn.cli.common import load_runner, progress_bar, say, share_of, tell_score
from maskrcnn.cli.predict_videos import paths_on_stdin
from maskrcnn.errors import DataError, UserError
from maskrcnn.shell import counted, printable

if TYPE_CHECKING:
    from maskrcnn.cli.value_range import Wanted
    from maskrcnn.scale.addresses import Addresses
    from maskrcnn.scale.parts import ShardSummary

Shard = Annotated[
    str | None,
    typer.Option(
        metavar="K/N",
        help="Of N processes that share the work, do the K-th share: a row per image, in Parquet files that"
        " maskrcnn collect joins (docs/scale.md).",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="local|auto|ADDRESS",
        help="Share the same work among the machines of a Ray cluster: one of this machine's, the running"
        " one, or that at ADDRESS.",
    ),
]
Block = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="With --shard or --ray: images in a file, which after a kill are done again at most."
        " [default: 256]",
    ),
]
MaxFailures = Annotated[
    str | None,
    typer.Option(
        metavar="N|P%",
        help="With --shard or --ray: stop when more images cannot be read; fewer are no error."
        " [default: never stop, but end with code 3]",
    ),
]
DEFAULT_BLOCK = 256
WHERE = "is for --shard and --ray"


def predict_in_parts(
    weights: str,
    sources: list[str],
    out: Path,
    *,
    shard: str | None,
    ray: str | None,
    block: int | None,
    max_failures: str | None,
    tiles: str,
    value_range: Wanted | None,
    **options: Any,
) -> None:
    """
    Args:
        shard, ray, block, max_failures, tiles: as they were typed.
        options: as `BatchPredictor` takes them.

    Raises:
        UserError: as `predict_shard`, and options that do not go together.
        DataError: images could not be read.
    """
    from maskrcnn.predict.large import read_tiles
    from maskrcnn.scale.limit import read_limit

    if ray is not None and shard is not None:
        raise UserError("--shard: --ray shares out the work itself; leave one of them out")
    share = share_of("--shard", shard or "1/1")
    limit = None if max_failures is None else read_limit(max_failures)
    if value_range is not None and value_range.values is None:
        raise UserError("--value-range: with --shard and --ray give the two numbers, or bits as in 12bit")
    options |= {"tiles": read_tiles(tiles), "value_range": value_range and value_range.values}
    found = _find_addresses(sources, allow_network=options["allow_network"])
    common: dict[str, Any] = {"block": block or DEFAULT_BLOCK, "limit": limit}
    if ray is not None:
        from maskrcnn.scale.ray_data import predict_on_ray

        with progress_bar("predicting") as progress:
            summary = predict_on_ray(weights, options, found, out, address=ray, progress=progress, **common)
    else:
        from maskrcnn.scale.batch_predictor import BatchPredictor
        from maskrcnn.scale.shards import predict_shard

        engine, device, trust = (options.pop(name) for name in ("engine", "device", "trust_code"))
        predictor = BatchPredictor(load_runner(weights, device, engine, trust_code=trust), **options)
        tell_score(options["score"], predictor.model.config)
        with progress_bar("predicting") as progress:
            summary = predict_shard(predictor, found, out, shard=share, progress=progress, **common)
    _tell(summary, found, out, told_limit=limit is not None)


def _find_addresses(sources: list[str], *, allow_network: bool) -> Addresses:
    """The images of `sources`, sorted; in place of `-` the lines on standard input as they are."""
    from maskrcnn.scale.addresses import find_addresses

    listed = paths_on_stdin() if "-" in sources else []
    found = find_addresses(
        [source for source in sources if source != "-"],
        [os.path.expanduser(path) for path in listed],
        allow_network=allow_network,
    )
    if found.doubled:
        say(f"{counted(found.doubled, 'image')} named twice; each is predicted once")
    return found


def _tell(summary: ShardSummary, found: Addresses, out: Path, *, told_limit: bool) -> None:
    """Print what was done and, on stderr, what was not."""
    from maskrcnn.predict.predictor import capped_line
    from maskrcnn.predict.sources import passed_over_line

    done = summary.images - summary.failures
    print(printable(f"predicted {counted(done, 'image')} of {len(found):,}: {out}"))
    if summary.resumed:
        say(f"{summary.resumed} of them were done before")
    if summary.capped:
        say(f"warning: {capped_line(summary.capped, 'image')}; add --tiles, half an image's side")
    if found.passed_over:
        say(f"warning: {passed_over_line([Path(name) for name in found.passed_over])}")
    if summary.failures:
        say(f"warning: {counted(summary.failures, 'image')} could not be read: their rows say why")
    skipped = summary.failures + len(found.passed_over)
    if skipped and not told_limit:
        raise DataError(f"skipped {counted(skipped, 'image')} that could not be read")

"""Opened data sets as the settings want their images: with the model's channels, and large ones in tiles."""

from __future__ import annotations

from maskrcnn.config.load import Config
from maskrcnn.errors import UserError
from maskrcnn.images.tiles import WELL_ABOVE
from maskrcnn.labels.channels import with_channels
from maskrcnn.labels.match_classes import only_in_val
from maskrcnn.labels.split import hold_out
from maskrcnn.labels.subset import without_empty
from maskrcnn.labels.types import Dataset
from maskrcnn.progress import Progress
from maskrcnn.shell import counted
from maskrcnn.training_data.backgrounds import WithBackgrounds
from maskrcnn.training_data.decoded import GIGABYTE, DecodedImages
from maskrcnn.training_data.fill_config import fill_config, fill_tile_side, fill_value_range
from maskrcnn.training_data.tiles import TiledDataset


def prepare_data(
    config: Config,
    train: Dataset,
    val: Dataset | None = None,
    progress: Progress | None = None,
    *,
    decode: bool = True,
) -> tuple[Config, Dataset, Dataset | None, list[str]]:
    """What to train and evaluate on, large images decoded.

    Where there is no `val`, `data.val_share` of the images of `train` are kept for it.

    Args:
        decode: False: each large image is decoded when a tile of it is first read.

    Returns:
        the settings, with what the data fill in; the data sets; and lines about it for the terminal.

    Raises:
        UserError: settings that take what is to be ignored for background, or no room for the decoded images.
        DataError: an image cannot be read.
    """
    config = fill_tile_side(fill_value_range(fill_config(config, train), train), train)
    tiles, channels, value_range = (
        config.data.tiles,
        config.model.input.channels,
        config.model.input.value_range,
    )
    lines: list[str] = []
    share = config.data.val_share
    if val is None and share is not None:
        whole = len(train)
        train, val = hold_out(train, share)
        lines.append(
            f"no val split: {len(val)} of {counted(whole, 'image')} are kept to evaluate on "
            f"(data.val_share), those of: maskrcnn split --by stratified --val {share:g}"
        )
    lines += [] if val is None else only_in_val(train, val)
    if config.data.empty == "drop":
        train, dropped = without_empty(train)
        lines += dropped
    train = with_channels(train, channels, value_range)
    val = None if val is None else with_channels(val, channels, value_range)
    if value_range is not None:
        low, high = value_range
        lines.append(f"{train.name}: samples of more than 8 bits: {low:g} to {high:g} become 0 to 255")
    side = config.model.input.tile_side
    if side:
        longest = f"images longer than {WELL_ABOVE * side} pixels"
        lines.append(f"{longest} will be predicted in tiles of {side} (model.input.tile_side; 0: whole)")
    if config.data.classes and config.data.other_classes == "ignore":
        _refuse_without_ignoring(config, "data.other_classes: objects of other classes")
    if config.data.backgrounds is not None:
        train = more = WithBackgrounds(train, config.data.backgrounds)
        lines.append(more.line)
    if tiles is None:
        return config, train, val, lines
    _refuse_without_ignoring(config, "data.tiles: remnants of objects at the borders of tiles")
    decoded = DecodedImages(int(tiles.cache_gb * GIGABYTE), value_range=value_range)
    tiled = [TiledDataset(train, tiles, channels=channels, decoded=decoded)]
    if val is not None and tiles.val:
        tiled.append(TiledDataset(val, tiles, channels=channels, decoded=decoded, keep_empty=True))
    lines += [dataset.line for dataset in tiled]
    if decode:
        decoded.fill(progress)
    if decoded.bytes:
        lines.append(f"decoded images: {decoded.bytes / GIGABYTE:.2f} GB in {decoded.folder}")
    slow = sum(dataset.counts["not kept"] for dataset in tiled)
    if slow:
        lines.append(
            f"{slow} images are decoded anew for each of their tiles, which is slow and takes the memory of "
            f"them all: {tiles.cache_gb:g} GB hold no more; raise data.tiles.cache_gb"
        )
    return config, tiled[0], tiled[1] if len(tiled) > 1 else val, lines


def _refuse_without_ignoring(config: Config, what: str) -> None:
    """Refuse a model that takes regions to ignore for background."""
    values = {"rpn": config.model.rpn.ignore_iou, "roi": config.model.roi.ignore_iou}
    names = [f"model.{name}.ignore_iou" for name, value in values.items() if value is None]
    if names:
        verb = "is" if len(names) == 1 else "are"
        remedy = " ".join(f"--set {name}=0.5" for name in names)
        raise UserError(f"{what} are to be ignored, but {' and '.join(names)} {verb} null; add {remedy}")

"""The checkpoints that other libraries have published: where they are, what they reach, and our settings for
each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.download import fetch, file_name
from maskrcnn.errors import UserError
from maskrcnn.files import cache_folder
from maskrcnn.progress import Progress
from maskrcnn.shell import did_you_mean
from maskrcnn.weights import detectron2, mmdet, torchvision, vitdet
from maskrcnn.weights.detectron2_yaml import published_file, resolve


@dataclass(frozen=True)
class Published:
    """A row of `published.yaml`."""

    name: str  # LIBRARY/ITS-NAME; the libraries are those of `maskrcnn.weights.foreign`
    url: str
    kind: str = "detector"  # or "trunk"
    sha256: str | None = None  # the digits that the publisher states, often the first eight only
    md5: str | None = None
    licence: str = ""
    data: str = "COCO"
    published: dict[str, float] = field(default_factory=dict)  # AP in percent: box, mask, keypoint
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def library(self) -> str:
        return self.name.partition("/")[0]


def published_checkpoints() -> list[Published]:
    """All of them, in the order of the file."""
    return [Published(**row) for row in published_file()["checkpoints"]]


def find_published(name: str) -> Published:
    """The checkpoint of that name; a folder between the library and the name may be left out.

    Raises:
        UserError: there is none; names the nearest.
    """
    rows = {row.name: row for row in published_checkpoints()}
    library, _, rest = name.partition("/")
    for candidate in (name, f"{library}/{rest.rpartition('/')[2]}"):
        if candidate in rows:
            return rows[candidate]
    hint = did_you_mean(name, rows)
    raise UserError(f"{name}: no published checkpoint of that name{hint} (maskrcnn models lists them)")


def config_for(entry: Published, state: Mapping[str, Tensor]) -> ModelConfig:
    """Our settings of a published detector, whose state dict is `state`, under present names.

    Raises:
        UserError: the state dict is another network's.
    """
    config = entry.config
    if entry.library == "detectron2" and vitdet.MARK in state:
        return vitdet.config_of(state, data=entry.data)
    if entry.library == "detectron2":
        return detectron2.config_of(resolve(config), data=entry.data)
    if entry.library == "torchvision":
        return torchvision.config_of(state, data=entry.data, eps=config.get("bn_eps", 1e-5))
    return mmdet.config_of(
        state,
        style=config.get("style", "pytorch"),
        rgb=config.get("to_rgb"),
        mean=config.get("mean"),
        std=config.get("std"),
        data=entry.data,
    )


def is_published(source: str) -> bool:
    """Whether `source` is written like the name of a published checkpoint: LIBRARY/NAME."""
    return "/" in source and source.partition("/")[0] in {row.library for row in published_checkpoints()}


def is_downloaded(entry: Published) -> bool:
    """Whether the publisher's file is in the cache."""
    return (_folder(entry) / file_name(entry.url)).is_file()


def fetch_published(entry: Published, progress: Progress | None = None) -> Path:
    """The publisher's own file, from the cache or the network.

    Raises:
        UserError: no network, or a file that is not what was published.
    """
    return fetch(entry.url, _folder(entry), sha256=entry.sha256, md5=entry.md5, progress=progress)


def _folder(entry: Published) -> Path:
    return cache_folder() / "downloads" / entry.name

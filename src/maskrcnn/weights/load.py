"""From what a person calls a model (a name, a folder, an address on the hub) to the network."""

from __future__ import annotations

from pathlib import Path

from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.progress import Progress
from maskrcnn.weights import hub
from maskrcnn.weights.convert import fetch_converted
from maskrcnn.weights.published import is_published
from maskrcnn.weights.store import find_model, load_folder


def load_model(
    source: str | Path, progress: Progress | None = None, network: type[MaskRCNN] = MaskRCNN
) -> MaskRCNN:
    """The network of a shipped name, a model folder, a run folder (its best weights), a published
    checkpoint's name or hf://OWNER/NAME of the Hugging Face hub, in eval mode and float32.

    Args:
        progress: told of a download, which only the last two can need.
        network: the class to make.

    Raises:
        UserError: no such model, a folder that is not one, or weights that do not fit their config, tensors
            named.
    """
    return load_folder(find_folder(source, progress), network)


def find_folder(source: str | Path, progress: Progress | None = None) -> Path:
    """The model folder that `load_model` reads, fetched where it is elsewhere.

    Raises:
        UserError: no such model.
    """
    if not Path(source).exists():
        if is_published(str(source)):
            source = fetch_converted(str(source), progress)
        elif hub.is_hub_address(str(source)):
            source = hub.fetch(str(source))
    return find_model(source)

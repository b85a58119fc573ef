"""The Hugging Face hub, by huggingface_hub's own conventions: config.json, model.safetensors and the card in
one place.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from maskrcnn.errors import UserError, one_line
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.weights.store import CARD, CONFIG, WEIGHTS, save_model

FILES = (CONFIG, WEIGHTS, CARD)
PREFIX = "hf://"
TAGS = "---\nlibrary_name: maskrcnn\ntags: [mask-rcnn, instance-segmentation, object-detection]\n---\n"


def is_hub_address(source: str) -> bool:
    """Whether `source` begins with hf://, so that no path is taken for a name on the hub."""
    return source.startswith(PREFIX)


def fetch(source: str, files: Sequence[str] = FILES) -> Path:
    """The folder of a model on the hub, hf://OWNER/NAME, downloaded into the hub's own cache.

    Args:
        files: nothing else is fetched.

    Raises:
        UserError: no such address or model, no network, or huggingface_hub is missing.
    """
    name = _name(source, "model")
    hub = _library()
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(files)))
    except Exception as error:  # the library raises its own, requests' and httpx's kinds
        raise UserError(f"{source}: not to be had from the hub: {one_line(error):.200}") from None


def push(model: MaskRCNN, name: str, *, private: bool = False, card: str = "") -> str:
    """Uploads a model to OWNER/NAME (or hf://OWNER/NAME), which is made where it does not exist; returns the
    address.

    Raises:
        UserError: not a hub name, not allowed to, no network, or huggingface_hub is missing.
    """
    name = _name(name, "push_to_hub")
    hub = _library()
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, folder, card=TAGS + (card or f"# {name.rpartition('/')[2]}\n"))
        api = hub.HfApi()
        try:
            api.create_repo(name, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message="maskrcnn model"))
        except Exception as error:
            raise UserError(
                f"push_to_hub: {name}: {one_line(error):.200}; is `hf auth login` done?"
            ) from None


def _name(source: str, what: str) -> str:
    name = source.removeprefix(PREFIX)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name):
        raise UserError(f"{what}: {source!r} is not {PREFIX}OWNER/NAME")
    return name


def _library():  # type: ignore[no-untyped-def]  # a module
    try:
        import huggingface_hub
    except ImportError:
        raise UserError("the Hugging Face hub needs huggingface_hub: pip install huggingface_hub") from None
    return huggingface_hub

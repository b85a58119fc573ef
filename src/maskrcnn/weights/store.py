"""A model folder: `config.json` (the ModelConfig), `model.safetensors` (the weights), `README.md` (the card).

The same three files that huggingface_hub's mixin uses. Nothing in them can run code.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode

from maskrcnn.config.model import ModelConfig
from maskrcnn.config.section import validate
from maskrcnn.errors import UserError
from maskrcnn.files import make_folder, new_file, refuse_empty, write_json, write_text
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.safe_files import parse_json
from maskrcnn.shell import first_of
from maskrcnn.weights.checkpoint_file import refuse_not_finite
from maskrcnn.weights.shipped_models import shipped_models

COUNT = ".num_batches_tracked"  # of batches that a batch norm saw, which is no weight
DIGEST = "sha256"  # in the file's metadata; files of others have none
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def save_model(model: MaskRCNN, folder: str | Path, card: str = "", *, half: bool = False) -> None:
    """Writes the three files; `half` stores floats in 16 bits, as the shipped models do.

    A full disk or a kill leaves the old files. The weights, without which a folder is no model, get into
    place last.

    Raises:
        UserError: a file is in the way of `folder`, or its name is empty.
    """
    refuse_empty(folder)
    folder = Path(folder)
    make_folder(folder)
    tensors = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu()
        tensors[name] = (tensor.half() if half and tensor.is_floating_point() else tensor).contiguous()
    with new_file(folder / WEIGHTS) as unfinished:
        save_file(tensors, unfinished, metadata={"format": "pt", DIGEST: _digest(tensors)})
        _sort_metadata(unfinished)
        write_json(folder / CONFIG, model.config.model_dump(mode="json"))
        if card:
            write_text(folder / CARD, card)


def load_folder(folder: Path, network: type[MaskRCNN] = MaskRCNN) -> MaskRCNN:
    """The network of a model folder, in eval mode and float32.

    Args:
        network: the class to make.

    Raises:
        UserError: unreadable files, or weights that do not fit their config, tensors named.
    """
    config, path = load_model_config(folder), folder / WEIGHTS
    # a few bytes of settings can ask for any amount of memory
    with torch.device("meta"), _Undrawn():
        _refuse_others(build(config).state_dict(), path)
    model = build(config, network)
    load_weights(model, path)
    return model.eval()


class _Undrawn(TorchFunctionMode):
    """Draws no initial weights: on "meta" that takes all of torch.compile, 140 MB and seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return None if func.__name__ == "normal_" else func(*args, **(kwargs or {}))


def load_model_config(folder: Path) -> ModelConfig:
    """The settings of a model folder."""
    path = folder / CONFIG
    return validate(ModelConfig, parse_json(path, "save the model anew"), str(path))


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Fills `model` from a safetensors file that must fit it exactly.

    Raises:
        UserError: unreadable or damaged file, tensors that are missing, unexpected or of another shape, or
            numbers that are not finite.
    """
    expected = model.state_dict()
    _refuse_others(expected, path)
    with _readable(path):
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            known = (file.metadata() or {}).get(DIGEST)
    if known is not None and known != _digest(tensors):
        raise UserError(f"{path}: is damaged: its tensors are not those that were saved (another SHA-256)")
    tensors = {name: tensor for name, tensor in tensors.items() if name in expected}
    for name, tensor in tensors.items():
        refuse_not_finite(path, name, tensor)
    model.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()})


def _sort_metadata(path: Path) -> None:
    """Puts the metadata of a safetensors file in order, which safetensors writes in a random one: equal
    weights are equal files.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:  # spaces fill it up, as safetensors does
            file.seek(8)
            file.write(text.ljust(size))


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of names, types, shapes and values, whatever their order in a file."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _refuse_others(expected: dict[str, torch.Tensor], path: Path) -> None:
    """Raises a UserError for a file whose tensors are not those `expected`, by its header alone."""
    with _readable(path), safe_open(path, "pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    # a frozen norm has no count, and a batch norm begins its own at 0
    shapes = {k: s for k, s in shapes.items() if k in expected or not k.endswith(COUNT)}
    wrong = [f"{k} is missing" for k in expected if k not in shapes and not k.endswith(COUNT)]
    wrong += [f"{k} is not in the network" for k in shapes if k not in expected]
    wrong += [
        f"{k} is {shapes[k]}, the config makes it {tuple(v.shape)}"
        for k, v in expected.items()
        if k in shapes and shapes[k] != v.shape
    ]
    if wrong:
        raise UserError(f"{path}: does not fit its config: {first_of(wrong, 3, '; ')}")


def is_whole(folder: Path) -> bool:
    """Whether a model folder has its files, and none of them ends too early."""
    try:
        load_model_config(folder)
        with safe_open(folder / WEIGHTS, "pt"):  # compares the header with the file's length
            return True
    except (UserError, OSError, SafetensorError):
        return False


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not readable as safetensors: {error}") from None


def find_model(source: str | Path) -> Path:
    """The folder of a shipped name, a model folder, a run folder or a `.safetensors` file.

    Raises:
        UserError: none of these.
    """
    refuse_empty(source)
    shipped = Path(__file__).parent / "shipped"
    path = Path(source)
    if Path(str(source)).name == str(source) and (shipped / str(source) / WEIGHTS).is_file():
        if path.is_dir():
            raise UserError(
                f"{source}: a shipped model, and a folder here; give ./{source} for the folder, or rename it"
            )
        return shipped / str(source)
    if path.name == WEIGHTS and path.is_file():
        return path.parent
    for folder in (path, path / "weights" / "best", path / "weights" / "last"):
        if (folder / WEIGHTS).is_file():
            return folder
    names = ", ".join(model.name for model in shipped_models())
    if path.exists():
        raise UserError(f"{path}: holds no {WEIGHTS}; give a model folder or a run folder")
    raise UserError(
        f"model {str(source)!r}: neither a shipped model nor a folder; {_near(path)}shipped: {names}"
    )


def _near(path: Path) -> str:
    """What to try in place of a path that is not there."""
    here = path.parent
    if not here.is_dir():
        return f"{here} is not there either; "
    near = difflib.get_close_matches(path.name, [each.name for each in here.iterdir() if each.is_dir()], 3)
    hint = f"near it: {', '.join(str(here / name) for name in near)}; " if near else ""
    return hint + (f"on the Hugging Face hub: hf://{path}; " if len(path.parts) == 2 else "")

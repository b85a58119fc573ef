"""Weights for a backbone of transformers or timm: a folder as the Hugging Face hub has it, or one there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError, one_line
from maskrcnn.model.backbone import hf_transformers, timm_models
from maskrcnn.model.backbone.adapter import Adapter
from maskrcnn.safe_files import parse_json
from maskrcnn.shell import set_options
from maskrcnn.weights import hub
from maskrcnn.weights.checkpoint_file import read_checkpoint

if TYPE_CHECKING:
    from maskrcnn.model.mask_rcnn import MaskRCNN

CONFIG, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
NEW = "hidden_states_norms."  # norms that transformers puts behind the stages of a backbone alone


def load_adapter_trunk(model: MaskRCNN, source: str | Path) -> int:
    """Fills the backbone of `model` from the library's own weights; returns how many tensors it has.

    Args:
        source: hf://OWNER/NAME, which is downloaded, or a folder with `config.json` and `model.safetensors`.

    Raises:
        UserError: no such folder, another network, settings of the input that are not its own, or tensors
            that do not fit.
    """
    if hub.is_hub_address(str(source)):
        folder = hub.fetch(str(source), (CONFIG, WEIGHTS, PREPROCESSOR))
    else:
        folder = Path(source)
    if not (folder / WEIGHTS).is_file():
        raise UserError(
            f"train.trunk={source}: a {model.config.backbone.kind} takes hf://OWNER/NAME or a folder with "
            f"{CONFIG} and {WEIGHTS}; train.trunk=null leaves it random"
        )
    assert isinstance(model.backbone, Adapter)
    library: Any = model.backbone.network.library
    settings = parse_json(folder / CONFIG, "download it again")
    if model.config.backbone.kind.startswith(timm_models.PREFIX):
        _check_input(model.config, settings.get("pretrained_cfg"), "", source)
        state = _of_timm(model.config, folder, settings, source)
    else:
        told = folder / PREPROCESSOR
        image = parse_json(told, "download it again") if told.is_file() else None
        _check_input(model.config, image, "image_", source)
        state = _of_transformers(model.config.backbone.kind, library, folder, settings, source)
    library.load_state_dict(state)
    return len(state)


def _of_timm(
    config: ModelConfig, folder: Path, settings: dict[str, Any], source: str | Path
) -> dict[str, Tensor]:
    name = config.backbone.kind.removeprefix(timm_models.PREFIX)
    theirs = settings.get("architecture")
    if theirs != name.partition(".")[0]:
        raise UserError(f"train.trunk={source}: is a {theirs}: set model.backbone.kind=timm:{theirs}")
    try:
        network = timm_models.make(name, config.input.channels, folder / WEIGHTS)
    except RuntimeError as error:
        raise UserError(f"train.trunk={source}: does not fit: {one_line(error):.200}") from None
    return network.state_dict()


def _of_transformers(
    kind: str, library: Any, folder: Path, settings: dict[str, Any], source: str | Path
) -> dict[str, Tensor]:
    theirs = f"{hf_transformers.PREFIX}{settings.get('model_type')}"
    if theirs != kind:
        raise UserError(f"train.trunk={source}: is another network: set model.backbone.kind={theirs}")
    own = [name for name in hf_transformers.own_settings(library.config) if name in settings]
    if any(_plain(settings[name]) != _plain(getattr(library.config, name)) for name in own):
        default = type(library.config)()
        wanted = {n: settings[n] for n in own if _plain(settings[n]) != _plain(getattr(default, n))}
        raise UserError(f"train.trunk={source}: set model.backbone.settings={json.dumps(wanted)}")
    tensors = read_checkpoint(folder / WEIGHTS).tensors
    try:
        loaded, told = type(library).from_pretrained(
            None, config=library.config, state_dict=tensors, output_loading_info=True
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"train.trunk={source}: does not fit: {one_line(error):.200}") from None
    missing = sorted(name for name in told["missing_keys"] if not name.startswith(NEW))
    if missing:
        raise UserError(f"train.trunk={source}: {folder / WEIGHTS} has no {missing[0]}")
    return loaded.state_dict()  # type: ignore[no-any-return]


def _check_input(config: ModelConfig, told: object, prefix: str, source: str | Path) -> None:
    """Raises where the network was trained on images of another mean or deviation."""
    if not isinstance(told, dict) or config.input.channels != 3:
        return
    lacking = []
    for name in ("mean", "std"):
        wanted = told.get(prefix + name)
        if isinstance(wanted, list) and len(wanted) == 3:
            wanted = [round(255 * float(value), 3) for value in wanted]
            if max(abs(a - b) for a, b in zip(wanted, getattr(config.input, name), strict=True)) > 0.01:
                lacking.append(f"model.input.{name}={wanted}")
    refuse_other_settings(source, lacking)


def refuse_other_settings(source: str | Path, lacking: list[str]) -> None:
    """Raises where settings that a trunk was trained with are lacking; names them all."""
    if lacking:
        add = set_options(lacking)
        raise UserError(f"train.trunk={source}: was trained with other settings; add {add}")


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value

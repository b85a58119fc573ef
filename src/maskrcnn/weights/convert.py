"""Other libraries' detectors as networks of ours, from a published name or a file, and ours as files of
theirs.
"""

from __future__ import annotations

import pickle
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import torch
import yaml
from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.config.section import dotted
from maskrcnn.errors import UserError
from maskrcnn.files import cache_folder, code_digest, new_file, new_folder, write_text
from maskrcnn.model.backbone.resnet import RESNETS
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.progress import Progress
from maskrcnn.weights import detectron2, mmdet, mmdet_settings, mmdet_text, torchvision, vitdet
from maskrcnn.weights.checkpoint_file import Checkpoint, read_checkpoint
from maskrcnn.weights.detectron2_write import yaml_of
from maskrcnn.weights.detectron2_yaml import read_yaml, resolve
from maskrcnn.weights.foreign import LIBRARIES, foreign_state, guess_library, load_foreign
from maskrcnn.weights.published import (
    Published,
    config_for,
    fetch_published,
    find_published,
    is_published,
    published_checkpoints,
)
from maskrcnn.weights.store import WEIGHTS, save_model

Style = Literal["pytorch", "caffe"]
CODE = ("config", "model", "weights")  # a change there may make another model of the same file
DAY = 24 * 3600  # seconds
STYLES: tuple[str, ...] = get_args(Style)
SUFFIXES = {"torchvision": "pth", "detectron2": "pkl"}


def fetch_converted(name: str, progress: Progress | None = None) -> Path:
    """The model folder of a published detector, downloaded and converted into the cache at the first use.

    Raises:
        UserError: no such checkpoint, one that is no detector, no network, or a file that is not what was
            published.
    """
    entry = find_published(name)
    if entry.kind != "detector":
        raise UserError(f"{entry.name} is an ImageNet trunk; give it as train.trunk={entry.name}")
    converted = cache_folder() / "converted" / entry.name / code_digest(*CODE)[:12]
    if not (converted / WEIGHTS).is_file():
        path = fetch_published(entry, progress)
        model = _convert(read_checkpoint(path), entry, str(path))
        with new_folder(converted, shared=True) as unfinished:  # of several processes the first one's is kept
            save_model(model, unfinished, card=_card(entry))
        _remove_older(converted)
    return converted


def _remove_older(converted: Path) -> None:
    """Remove what other versions of this package made of the same download, but of the last day: another
    process may be about to read it.
    """
    for other in converted.parent.iterdir():
        if other != converted and other.is_dir() and time.time() - other.stat().st_mtime > DAY:
            shutil.rmtree(other, ignore_errors=True)


def convert_file(
    path: str | Path,
    config: str | Path | None = None,
    *,
    style: Style | None = None,
    classes: list[str] | None = None,
) -> MaskRCNN:
    """A detector from another library's checkpoint file.

    Args:
        config: where the file does not tell: detectron2's yaml, the .py that mmdetection wrote into its
            work_dir, or the name of a published checkpoint of the same settings. A file that has the name of
            a published one needs none.
        style: of mmdetection's, where neither the file nor `config` has its settings.
        classes: names, where the data set is not one that we know.

    Raises:
        UserError: an unreadable file, one of no library that we know, or settings that are missing or do not
            fit.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path)
    entry = _entry_of(path, config)
    if entry is not None:
        if style is not None:
            raise UserError(f"--style {style}: the settings of {entry.name} have one already; leave it out")
        return _convert(checkpoint, entry, str(path), classes)
    library = guess_library(checkpoint.tensors)
    if config is not None and library.name == "torchvision":
        raise UserError(
            f"--config {config}: {path} is torchvision's, which has no file of settings; leave it out, or "
            "give the name of a published checkpoint with the same settings"
        )
    if style is not None and library.name != "mmdet":
        raise UserError(
            f"--style {style}: only mmdetection's checkpoints need one, {path} is {library.name}'s; leave it "
            "out"
        )
    state = {library.modern_name(name): tensor for name, tensor in checkpoint.tensors.items()}
    if library.name == "detectron2" and vitdet.MARK in state:
        if config is not None:
            raise UserError(f"--config {config}: a ViTDet's settings are those of its tensors; leave it out")
        with _telling_settings(path):
            settings = vitdet.config_of(state)
    elif library.name == "detectron2":
        if config is None:
            raise UserError(
                f"{path}: detectron2's tensors do not tell their settings; give --config with its yaml or "
                "the name of a "
                "published checkpoint, as detectron2/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"
            )
        settings = detectron2.config_of(read_yaml(config))
    elif library.name == "mmdet":
        settings = _mmdet_settings(path, checkpoint, state, config, style)
    else:
        with _telling_settings(path):
            settings = torchvision.config_of(state)
    return _fill(settings, checkpoint, library.name, str(path), classes)


def _mmdet_settings(
    path: Path,
    checkpoint: Checkpoint,
    state: dict[str, Tensor],
    config: str | Path | None,
    style: Style | None,
) -> ModelConfig:
    """As its own settings say, in a file or beside the tensors; without them as the tensors and `style`."""
    theirs = (
        mmdet_text.settings_inside(checkpoint.extra, str(path))
        if config is None
        else mmdet_text.read_settings(Path(config))
    )
    if theirs is None:
        if style is None and mmdet.needs_style(state):
            raise UserError(
                f"{path}: mmdetection's tensors do not tell their style; give --style pytorch (RGB, as most) "
                "or caffe (BGR, a deviation of 1), or --config with the .py that mmdetection wrote into "
                "work_dir, or with the name of a published checkpoint"
            )
        with _telling_settings(path):
            return mmdet.config_of(state, style=style or "pytorch")
    said = mmdet_settings.as_ours(theirs, str(config or path))
    own = mmdet_settings.style_of(theirs)
    if style not in (None, own):
        raise UserError(f"--style {style}: the settings of {config or path} say {own}; leave it out")
    with _telling_settings(path):
        return mmdet.config_of(state, style=own, said=said, where=str(config or path))


def export_file(model: MaskRCNN, library: str, path: Path) -> list[str]:
    """Writes `model` as a checkpoint that `library` (torchvision or detectron2) loads.

    detectron2 gets its yaml beside the weights. Returns lines on every setting that the library has no place
    for, so that its numbers will differ from ours.

    Raises:
        UserError: a network that the library does not have.
    """
    if library not in SUFFIXES:
        raise UserError(f"--to {library}: there are {' and '.join(SUFFIXES)}")
    kind = model.config.backbone.kind
    if kind not in RESNETS:
        raise UserError(f"--to {library}: takes ResNets and ResNeXts, this model has a {kind}; use `export`")
    _refuse_alternatives(model.config, library)
    state = foreign_state(model, LIBRARIES[library])
    if library == "torchvision":
        theirs = torchvision.config_of(state, eps=model.config.backbone.norm_eps)
        _refuse_other_shapes(state, theirs)
        # a file object, not a path: only then is there an OSError behind what torch raises on a full disk
        with new_file(path) as unfinished, unfinished.open("wb") as file:
            torch.save(state, file)
    else:
        settings = yaml_of(model.config)
        theirs = detectron2.config_of(resolve(settings))
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        with new_file(path) as unfinished, unfinished.open("wb") as file:
            pickle.dump({"model": arrays, "__author__": "maskrcnn"}, file)
        write_text(path.with_suffix(".yaml"), yaml.safe_dump(settings, sort_keys=False))
    return differences(model.config, theirs)


def _refuse_alternatives(config: ModelConfig, library: str) -> None:
    """Raises a UserError for what stands here to be compared with, and in no other library."""
    masks = config.mask_head
    for there, setting in (
        (config.roi.op == "warp", "model.roi.op=warp"),
        (config.neck.kind == "c5", "model.neck.kind=c5"),
        (masks is not None and masks.kind == "mlp", "model.mask_head.kind=mlp"),
        (masks is not None and masks.loss == "softmax", "model.mask_head.loss=softmax"),
    ):
        if there:
            raise UserError(f"--to {library}: it has no {setting}; use `export`")


def _refuse_other_shapes(state: dict[str, Tensor], theirs: ModelConfig) -> None:
    """Refuse tensors of other shapes than those of the network that torchvision would build for them.

    Raises:
        UserError: one is; names it.
    """
    wanted = {
        name: tensor.shape for name, tensor in foreign_state(build(theirs), LIBRARIES["torchvision"]).items()
    }
    given = {name: tensor.shape for name, tensor in state.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            ours, needed = (tuple(shapes.get(name, ())) or "none" for shapes in (given, wanted))
            raise UserError(f"--to torchvision: its {name} is {needed}, this model's {ours}; use `export`")


def differences(ours: ModelConfig, theirs: ModelConfig) -> list[str]:
    """Settings that change numbers and are not the same: lines of "key: ours here, theirs there"."""
    unimportant = {"classes", "class_ids", "keypoints", "test.candidates", "backbone.freeze"}
    a, b = dotted(ours.model_dump()), dotted(theirs.model_dump())
    return [
        f"{key}: {a.get(key)} here, {b.get(key)} there"
        for key in sorted({*a, *b})
        if a.get(key) != b.get(key) and key not in unimportant and key.partition(".")[0] not in unimportant
    ]


def _convert(
    checkpoint: Checkpoint, entry: Published, where: str, classes: list[str] | None = None
) -> MaskRCNN:
    library = LIBRARIES[entry.library]
    state = {library.modern_name(name): tensor for name, tensor in checkpoint.tensors.items()}
    with _telling_settings(where):
        settings = config_for(entry, state)
    return _fill(settings, checkpoint, entry.library, where, classes)


@contextmanager
def _telling_settings(where: str | Path) -> Iterator[None]:
    """Make one line of a tensor that settings are read from and that has too few axes, or none along one."""
    try:
        yield
    except (IndexError, ZeroDivisionError):
        raise UserError(
            f"{where}: a tensor that tells the settings has no such shape; is it damaged?"
        ) from None


def _fill(
    settings: ModelConfig, checkpoint: Checkpoint, library: str, where: str, classes: list[str] | None
) -> MaskRCNN:
    names = classes or _classes_inside(checkpoint, len(settings.classes))
    if names is not None:
        if len(names) != len(settings.classes):
            raise UserError(f"{where}: has {len(settings.classes)} classes, {len(names)} names were given")
        if names != settings.classes:
            settings = settings.model_copy(update={"classes": names, "class_ids": []})
    model = build(settings)
    load_foreign(model, checkpoint.tensors, LIBRARIES[library], where)
    return model.eval()


def _classes_inside(checkpoint: Checkpoint, count: int) -> list[str] | None:
    """Class names that mmdetection keeps in a checkpoint."""
    places = ("meta.CLASSES", "meta.dataset_meta.classes", "meta.dataset_meta.CLASSES")
    for names in (mmdet_text.at(checkpoint.extra, place) for place in places):
        right = isinstance(names, list | tuple) and len(names) == count
        if right and all(isinstance(name, str) and name.isprintable() for name in names):
            return list(names)
    return None


def _entry_of(path: Path, config: str | Path | None) -> Published | None:
    """The published checkpoint whose settings a file has: the one named by `config`, or by the file's own
    name.
    """
    if config is not None:
        if is_published(str(config)) and not Path(config).exists():
            return find_published(str(config))
        return None
    named = [entry for entry in published_checkpoints() if entry.url.endswith("/" + path.name)]
    return named[0] if len(named) == 1 else None


def _card(entry: Published) -> str:
    figures = ", ".join(f"{kind} AP {value}" for kind, value in entry.published.items())
    return (
        f"# {entry.name}\n\nConverted from {entry.url}\n\nLicence of the weights: {entry.licence}\n\n"
        f"Trained on {entry.data}; published figures: {figures or 'none'}\n"
    )

"""What a training starts with: the resolved settings, the accelerator, the network and its first weights."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list, set_seed
from torch import nn

from maskrcnn.config.load import Config
from maskrcnn.config.train import TrainConfig
from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.choose import refuse_only_crowds
from maskrcnn.labels.match_classes import labels_for, passed_over, take_class
from maskrcnn.labels.types import Dataset
from maskrcnn.train.optimizer import BACKBONE
from maskrcnn.train.processes import leave_gloo, refuse_sharded_weights
from maskrcnn.training_data.fill_config import fill_config

if TYPE_CHECKING:
    from maskrcnn.model.mask_rcnn import MaskRCNN
    from maskrcnn.weights.transfer import Transfer

EVALUATION_LIMIT = timedelta(hours=6)  # that the other processes wait for one which scores or saves
T = TypeVar("T")
KIND_HEADS = {"segm": "mask_head", "keypoints": "keypoint_head"}


def fit_to_data(config: Config, train_data: Dataset, val_data: Dataset | None) -> tuple[Config, list[int]]:
    """Settings with the classes and keypoints of the data filled in where they leave them open.

    Returns:
        The settings, and the network's class index for each class of `train_data`.

    Raises:
        DataError: no image, a class that the settings do not name, or a head that the labels have nothing
            for.
        UserError: `train.best` asks for a kind that the network does not find or `val_data` has no labels of.
    """
    for data in (train_data, val_data):
        if data is not None and len(data) == 0:
            raise DataError(f"{data.name}: no images; give a data set that has some")
    refuse_only_crowds(train_data)
    config = fill_config(config, train_data)
    model = config.model
    head = KIND_HEADS.get(config.train.best)
    if head is not None and getattr(model, head) is None:
        raise UserError(
            f"train.best={config.train.best} but model.{head} is null; set train.best=bbox or mean"
        )
    if val_data is not None:
        labels_for(val_data, model.classes)
        best = config.train.best
        if (best == "segm" and not val_data.has_masks) or (best == "keypoints" and not val_data.keypoints):
            raise UserError(
                f"train.best={best} but {val_data.name} has no such labels to evaluate on; "
                "set train.best=bbox or mean"
            )
    return config, labels_for(train_data, model.classes)


def take_only_class(
    config: Config, train_data: Dataset, val_data: Dataset | None
) -> tuple[Dataset, Dataset | None, list[str]]:
    """The data sets under the name of the only class that the settings or, where these name none,
    `train.init` have.

    Returns:
        The data sets, those of several classes as they are, and a line for each whose class has another name
        now.

    Raises:
        UserError: there is no such model as `train.init`.
    """
    from maskrcnn.weights.load import find_folder
    from maskrcnn.weights.store import load_model_config

    classes = config.model.classes
    if not classes and config.train.init and len(train_data.classes) == 1:
        classes = load_model_config(find_folder(config.train.init)).classes
    train_data, lines = take_class(train_data, classes)
    if val_data is not None:
        val_data, more = take_class(val_data, classes or train_data.classes)
        lines += more + passed_over(val_data, config.model.classes or train_data.classes)
    return train_data, val_data, lines + passed_over(train_data, config.model.classes)


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Device, precision and processes, as torchrun and the machine have them.

    Raises:
        UserError: a precision that this machine cannot train in, or sharded weights.
    """
    refuse_sharded_weights()
    # an earlier training of this process may have had another precision, which accelerate would refuse
    AcceleratorState._reset_state()
    precision = "no" if config.precision == "fp32" else config.precision
    patience = InitProcessGroupKwargs(timeout=EVALUATION_LIMIT)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    # unless told so, accelerate takes each process of a torchrun without GPUs for the only one
    cpu = world > 1 and not torch.cuda.is_available() and not torch.xpu.is_available()
    try:
        accelerator = Accelerator(mixed_precision=precision, cpu=cpu, kwargs_handlers=[patience])
    except ValueError as error:
        if "mixed precision" not in str(error):
            raise
        raise UserError(
            f"train.precision={config.precision}: {error}; set train.precision=bf16 or fp32"
        ) from None
    if accelerator.num_processes != world:
        raise UserError(
            f"{world} processes were started but {accelerator.num_processes} found each other; start them "
            "with torchrun, as many as there are GPUs, and create no Accelerator before training"
        )
    if world > 1:
        atexit.register(leave_gloo)
    return accelerator


def of_first(choose: Callable[[], T]) -> T:
    """What the first process of the training chooses, in each of them: free memory and timings differ.

    Raises:
        UserError: the first one's, in each.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return choose()
    chosen: list[Any] = [None]
    if make_accelerator(TrainConfig()).is_main_process:
        try:
            chosen = [choose()]
        except UserError as error:  # told to the others, who would wait
            chosen = [error]
    broadcast_object_list(chosen)
    if isinstance(chosen[0], UserError):
        raise chosen[0]
    return chosen[0]  # type: ignore[no-any-return]


def make_network(config: Config, resume: bool) -> tuple[nn.Module, list[str], bool]:
    """The network with its first weights: random, then the trunk's, then those of `train.init`.

    Returns:
        The network, lines about what did not fit it, and whether it is `train.init` as a whole.

    Raises:
        UserError: weights of the backbone would stay random, or weights that cannot be loaded.
    """
    from maskrcnn.model.build import build
    from maskrcnn.weights.trunk import load_trunk

    set_seed(config.train.seed)
    network = build(config.model)
    if resume:
        return network, [], False
    lines: list[str] = []
    whole = False
    given: set[str] = set()
    if config.train.trunk:
        load_trunk(network, config.train.trunk)
        given |= {name for name, _ in network.named_parameters() if name.startswith(BACKBONE)}
    if config.train.init:
        done = _start_from(network, config.train.init)
        lines, whole = done.lines(config.train.init), done.whole
        given |= set(done.copied)
    _refuse_random(network, given, config.train)
    return network, lines, whole


def freeze_idle(network: nn.Module, config: TrainConfig) -> None:
    """What does not learn needs no gradients, and computes as in a test: batch norms of any library keep
    their statistics, and nothing is left out at random.
    """
    if config.only is not None:
        if getattr(network, config.only, None) is None:
            raise UserError(f"train.only={config.only} but model.{config.only} is null; set one of the two")
    for name, part in network.named_children():
        if not _learns(f"{name}.", config):
            part.eval()
    for name, parameter in network.named_parameters():
        if not _learns(name, config):
            parameter.requires_grad_(False)


def _learns(name: str, config: TrainConfig) -> bool:
    if config.only is not None:
        return name.startswith(f"{config.only}.")
    return config.backbone_lr_factor > 0 or not name.startswith(BACKBONE)


def _refuse_random(network: nn.Module, given: set[str], config: TrainConfig) -> None:
    """Weights that neither learn nor come from anywhere make noise of every image.

    Args:
        given: names of the parameters that were loaded.
    """
    random = [
        name
        for name, parameter in network.named_parameters()
        if name not in given and not (parameter.requires_grad and _learns(name, config))
    ]
    if random and config.only is not None:
        raise UserError(
            f"train.only={config.only}: {len(random)} parameters beside it would stay random, {random[0]} "
            f"first, since {config.init} has none that fit; train.init must be the same detector"
        )
    if random:
        raise UserError(
            f"{len(random)} parameters of the backbone would stay random, {random[0]} first: give it weights "
            "with train.trunk=NAME (maskrcnn models lists them) or train.init=MODEL, or let it learn with "
            "model.backbone.freeze=0 and train.backbone_lr_factor above 0"
        )


@contextlib.contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Inside, torch takes the repeatable one of two algorithms, and warns where there is none."""
    before = torch.get_deterministic_debug_mode()
    switches: Any = torch.utils.deterministic
    fill = switches.fill_uninitialized_memory
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not repeatable
        # not use_deterministic_algorithms, which spends 1.5 s on importing the compiler
        torch.set_deterministic_debug_mode("warn")
        switches.fill_uninitialized_memory = False  # costs time only
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
        switches.fill_uninitialized_memory = fill


def _start_from(network: MaskRCNN, source: str) -> Transfer:
    """Copy what fits of another model."""
    from maskrcnn.weights.load import load_model
    from maskrcnn.weights.transfer import transfer

    done = transfer(network, load_model(source))
    if not done.copied:
        raise UserError(
            f"train.init={source}: none of its weights fit this network; use the recipe that it came from"
        )
    return done

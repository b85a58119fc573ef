"""What a training starts from: a model that knows such objects already, else one that has learned others."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from maskrcnn.check.draft import Draft
from maskrcnn.check.machine import Machine
from maskrcnn.check.statistics import Statistics
from maskrcnn.config.backbone import KINDS
from maskrcnn.config.keypoints import COCO_NAMES
from maskrcnn.config.load import Config
from maskrcnn.config.model import ModelConfig
from maskrcnn.config.section import dotted
from maskrcnn.labels.match_classes import takes_nameless
from maskrcnn.labels.types import DEFAULT_CLASS
from maskrcnn.weights.convert import fetch_converted
from maskrcnn.weights.load import find_folder
from maskrcnn.weights.published import Published, is_downloaded, is_published, published_checkpoints
from maskrcnn.weights.shipped_models import shipped_recipes
from maskrcnn.weights.store import load_model_config
from maskrcnn.weights.trunk import shipped_trunks

PERSON, NUCLEI = "person-efficientnet", "nuclei-mobilenet"
PERSON_NAMES = re.compile(r"\b(person|people|pedestrian|human|man|woman|child|player)s?\b", re.IGNORECASE)
CELL_NAMES = re.compile(r"nucle(us|i)|\bcells?\b", re.IGNORECASE)
CROWDED = 10  # objects of an image, in the middle, from which on nameless ones are taken for cells
ROUND = 1.6  # sides of a cell's box, at most, in the middle half of them: those at a border are cut
# of the network, and not of the data that a published one was trained on
OF_THE_DATA = ("classes", "class_ids", "keypoints", "input.tile_side", "test.predict_score")
OTHER_NETWORK = ("train.trunk", "model.backbone.kind", "model.neck.kind")  # of which no start has the weights
FINE_TUNING = ("train.lr=0.0002", "train.reference_batch=16", "train.trunk=null")


def choose_start(stats: Statistics, machine: Machine, asked: Sequence[str] = ()) -> Draft:
    """The recipe and the first weights for labels of these classes.

    Args:
        asked: overrides that a person wants. Of a `train.init` among them the network is taken too.

    Raises:
        UserError: there is no such model as that.
    """
    draft = _by_labels(stats, machine)
    chosen = draft.config.train.init
    draft.asked = list(asked)
    train = draft.config.train
    if draft.asks("train.init") and train.init is not None:
        own = Draft(train.init if train.init in shipped_recipes() else draft.recipe, asked=list(asked))
        model = load_model_config(find_folder(train.init))
        own.overrides = [*_settings_of(model, own.config), "train.trunk=null"]
        own.reasons = [f"start: {train.init}, as asked for, and its network"]
        known = {*model.classes}.issuperset(_used(stats))
        own.familiar = known or takes_nameless(list(stats.classes), model.classes)
        if train.init == chosen:
            own.familiar = draft.familiar
        return own
    if chosen is not None and is_published(chosen):
        theirs = load_model_config(fetch_converted(chosen))
        draft.overrides = [*_settings_of(theirs, draft.config), *draft.overrides]
    if not draft.familiar and any(map(draft.asks, OTHER_NETWORK)):
        draft.overrides = ["train.init=null"]
    train = draft.config.train
    kind = _backbone_of(train.trunk)
    if train.init is None and kind is not None and draft.asks("train.trunk"):
        draft.overrides = [f"model.backbone.kind={kind}", *draft.overrides]
    if draft.asks("train.init") or draft.asks("train.trunk"):
        draft.reasons = [f"start: {train.init or train.trunk or 'random weights'}, as asked for"]
    elif train.init is None:
        draft.reasons = [f"start: {train.trunk}: no shipped model has the network that is asked for"]
    return draft


def _by_labels(stats: Statistics, machine: Machine) -> Draft:
    """The same, whatever a person wants, and without the settings of a published network."""
    names = _used(stats)
    if len(names) == 1 and (PERSON_NAMES.search(names[0]) or list(stats.visible) == COCO_NAMES):
        reason = f"start: {PERSON}, a shipped model that knows the class {names[0]!r}"
        return Draft(PERSON, [reason], [f"train.init={PERSON}"])
    if len(names) == 1 and _cells(names[0], stats) and not stats.with_keypoints:
        reason = f"start: {NUCLEI}, a shipped model of what {names[0]!r} seems to be"
        return Draft(NUCLEI, [reason], [f"train.init={NUCLEI}"])
    best = _downloaded() if machine.device == "cuda" else None
    if best is not None:
        reason = f"start: {best.name}, published for COCO, and in the cache already"
        return Draft(PERSON, [reason], [f"train.init={best.name}", *FINE_TUNING])
    reason = f"start: {PERSON}: no shipped model knows these classes, but it has learned to outline objects"
    draft = Draft(PERSON, [reason], [f"train.init={PERSON}"], familiar=False)
    if list(stats.classes) == [DEFAULT_CLASS]:  # which would be taken for the only class of the start
        draft.overrides.append(f"model.classes=[{DEFAULT_CLASS}]")
    return draft


def _used(stats: Statistics) -> list[str]:
    """The classes that objects have."""
    return [name for name, count in stats.classes.items() if count]


def find_trunk(config: Config) -> str | None:
    """A trunk for the recipe's backbone; None where there is none."""
    trunks = [*shipped_trunks(), *(entry.name for entry in published_checkpoints() if entry.kind == "trunk")]
    return next((name for name in trunks if _backbone_of(name) == config.model.backbone.kind), None)


def _backbone_of(trunk: str | None) -> str | None:
    """The kind of backbone that a trunk's name begins with."""
    name = (trunk or "").rpartition("/")[2]
    return max((kind for kind in KINDS if name.startswith(kind)), key=len, default=None)


def _cells(name: str, stats: Statistics) -> bool:
    """Whether objects of this class look like cells: by the name or, without one, by number and shape."""
    _, low, _, high, _ = stats.ratios
    alike = stats.per_image[2] >= CROWDED and 1 / ROUND <= low and high <= ROUND
    return bool(CELL_NAMES.search(name)) or (name == DEFAULT_CLASS and alike)


def _downloaded() -> Published | None:
    """The best published detector with masks whose file is in the cache; nothing asks the network."""
    found = [
        entry
        for entry in published_checkpoints()
        if entry.kind == "detector" and "mask" in entry.published and is_downloaded(entry)
    ]
    return max(found, key=lambda entry: entry.published["mask"], default=None)


def _settings_of(model: ModelConfig, base: Config) -> list[str]:
    """A published network as overrides of a recipe."""
    ours, theirs = dotted(base.model.model_dump(mode="json")), dotted(model.model_dump(mode="json"))
    return [
        f"model.{key}={json.dumps(value)}"
        for key, value in theirs.items()
        if ours.get(key) != value and not key.startswith(OF_THE_DATA)
    ]

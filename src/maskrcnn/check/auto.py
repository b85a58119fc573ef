"""The recipe of a training that names none: what `check` advises, chosen from the opened labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from maskrcnn.check.advice import Advice, advise
from maskrcnn.check.images import SplitFacts, channels_of, inspect_images, mean_and_deviation
from maskrcnn.check.machine import Machine
from maskrcnn.check.measure import measure
from maskrcnn.check.statistics import describe
from maskrcnn.config.load import load_config
from maskrcnn.config.migrate import setting_of
from maskrcnn.labels.channels import with_channels
from maskrcnn.labels.options import PLAIN, LabelOptions
from maskrcnn.labels.types import Dataset
from maskrcnn.training_data.fill_config import value_range_of

VALUES = ("data.value_percentiles", "model.input.value_range")  # what pixels are, so mean and deviation too


def choose(
    source: str,
    train: Dataset,
    val: Dataset | None,
    *,
    asked: Sequence[str] = (),
    seconds: float | None = None,
    options: LabelOptions = PLAIN,
) -> Advice:
    """A recipe for these labels on this machine.

    Args:
        asked: overrides that a person wants.
        seconds: that the training may take, for which a few steps are measured; None: as long as the objects
            ask for.

    Raises:
        UserError: overrides that do not fit, or too little time.
        DataError: labels without an object, or an image that cannot be read.
    """
    channels = channels_of(train)
    mean: list[float] = []
    std: list[float] = []
    # a person who says how many says mean and deviation with it
    if channels != 3 and not any(setting_of(each) == "model.input.channels" for each in asked):
        settings = load_config({}, [each for each in asked if setting_of(each) in VALUES])
        value_range = settings.model.input.value_range or value_range_of(
            train, channels, settings.data.value_percentiles
        )
        train = with_channels(train, channels, value_range)
        val = None if val is None else with_channels(val, channels, value_range)
        facts = SplitFacts()
        for _, found in inspect_images(train, channels, value_range):
            facts.add(found)
        mean, std = mean_and_deviation(train, facts, channels)
    machine, stats = Machine.here(), describe(train)

    images = 0 if val is None else len(val)
    advised = partial(advise, source, stats, val_images=images, machine=machine, asked=asked)
    advised = partial(advised, seconds=seconds, mean=mean, std=std, options=options)
    advice = advised()
    if seconds is None:
        return advice
    cost = measure(advice.config, train, val, machine.device)
    advice = advised(cost=cost)
    advice.note_cost(cost)
    return advice

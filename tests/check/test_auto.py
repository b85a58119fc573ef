"""`auto`: what a training takes when no recipe is named, and that `check` advises the same."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from torch import Tensor, nn

from maskrcnn.check import auto, length, machine, measure, start
from maskrcnn.check.advice import advise
from maskrcnn.check.length import Cost
from maskrcnn.check.machine import Machine
from maskrcnn.check.run import check
from maskrcnn.check.statistics import Statistics, describe
from maskrcnn.cli.common import seconds_of
from maskrcnn.cli.main import main
from maskrcnn.config.data import TilesConfig
from maskrcnn.config.keypoints import COCO_NAMES, coco_keypoints
from maskrcnn.config.load import load_config
from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.files import write_json
from maskrcnn.images.view import resized_sides
from maskrcnn.labels.match_classes import labels_for
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.split import Grouping, hold_out, split_data
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import DEFAULT_CLASS, Dataset, LabelledImage
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.model.build import build
from maskrcnn.training_data.loader import train_loader
from maskrcnn.training_data.prepare import prepare_data
from maskrcnn.training_data.tiles import TiledDataset
from maskrcnn.weights.published import find_published
from maskrcnn.weights.shipped_models import shipped_recipes
from maskrcnn.weights.store import load_model_config

SHIPPED = Path(start.__file__).parents[1] / "weights" / "shipped"
CPU = Machine(cores=4, memory_gb=16.0, device="cpu", bf16=False)
GPU = Machine(cores=16, memory_gb=80.0, device="cuda", bf16=True)


def labels(classes: dict[str, int], sides: list[float], per_image: int = 3, **more: Any) -> Statistics:
    """What `describe` would say of images of 640 x 480."""
    objects = sum(classes.values())
    values = {
        "images": objects // per_image,
        "objects": objects,
        "with_mask": objects,
        "classes": classes,
        "sides": sides,
        "ratios": [0.6, 0.8, 1.0, 1.3, 1.6],
        "short_sides": [480.0] * 5,
        "long_sides": [640.0] * 5,
        "per_image": [float(per_image)] * 5,
        "most_in_image": per_image,
    }
    return Statistics("d", **{**values, **more})


NUCLEI = labels({"nucleus": 900}, [7.0, 11, 15, 24, 55], 30, short_sides=[256.0] * 5, long_sides=[256.0] * 5)
PEOPLE = labels(
    {"person": 300}, [40.0, 90, 150, 200, 300], with_keypoints=300, visible=dict.fromkeys(COCO_NAMES, 1.0)
)
ANIMALS = labels({"cat": 200, "dog": 100}, [30.0, 60, 120, 200, 300])


def shapes_of(model: ModelConfig) -> dict[str, torch.Size]:
    """Of a network's tensors."""
    with torch.device("meta"):
        return {key: value.shape for key, value in build(model).state_dict().items()}


@pytest.mark.parametrize(
    ("stats", "name"),
    [(NUCLEI, "nuclei-mobilenet"), (PEOPLE, "person-efficientnet")],
    ids=["nuclei", "people"],
)
def test_nothing_of_a_start_begins_anew(stats: Statistics, name: str) -> None:
    config = advise("d", stats, machine=CPU).config
    assert config.train.init == name
    known = {"classes": list(stats.classes), "keypoints": coco_keypoints() if stats.with_keypoints else None}
    theirs = load_model_config(SHIPPED / name)
    assert shapes_of(config.model.model_copy(update=known)) == shapes_of(theirs)
    assert config.model.rpn.sizes == theirs.rpn.sizes and config.model.rpn.ratios == theirs.rpn.ratios
    assert config.model.roi.canonical_size == theirs.roi.canonical_size


def test_a_start_whose_anchors_do_not_fit_gets_others() -> None:
    long = labels({"person": 300}, [40.0, 90, 150, 200, 300], ratios=[0.05, 0.1, 0.2, 0.3, 0.4])
    assert advise("d", long, machine=CPU).config.model.rpn.ratios == [0.25, 0.5, 1.0, 2.0, 4.0]
    spread = labels({"person": 300}, [2.0, 9, 150, 500, 900])
    assert advise("d", spread, machine=CPU).config.model.rpn.sizes[0] != [20.0]


def test_a_start_sees_objects_at_the_side_that_it_was_made_for() -> None:
    """Small images are enlarged to it, as far as the anchors fit; without a start they are left as they are."""
    small = {"short_sides": [320.0] * 5, "long_sides": [480.0] * 5}
    people, shapes = (labels({name: 300}, [62.0, 121, 180, 240, 319], **small) for name in ("person", "cube"))
    advice = advise("d", people, machine=CPU)
    assert (advice.config.model.input.short_side, advice.config.model.input.long_side) == (480, 736)
    assert "short side 480, the start's own" in "".join(advice.reasons)
    assert advise("d", shapes, machine=CPU).config.model.input.short_side == 480
    alone = advise("d", shapes, machine=CPU, asked=["train.init=null"])
    assert alone.config.model.input.short_side == 320
    assert advise("d", NUCLEI, machine=CPU).config.model.input.short_side == 640
    large = labels({"person": 300}, [150.0, 250, 280, 300, 319], **small)
    assert advise("d", large, machine=CPU).config.model.input.short_side == 480
    tiny = {"short_sides": [64.0] * 5, "long_sides": [64.0] * 5}
    cells = labels({"nucleus": 900}, [7.0, 11, 15, 24, 55], 30, **tiny)
    assert advise("d", cells, machine=CPU).config.model.input.short_side == 256


def test_bf16_is_for_processors_on_which_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for seconds in (0.5, 2.0):

        def product(kind: torch.dtype, seconds: float = seconds) -> float:
            return seconds if kind == torch.bfloat16 else 1.0

        monkeypatch.setattr(machine, "product_seconds", product)
        assert Machine.here().bf16 == (seconds < 1)


def test_animals_are_no_nuclei() -> None:
    config = advise("d", ANIMALS, machine=CPU).config
    assert config.train.init == "person-efficientnet" and not config.model.classes
    assert config.model.rpn.ratios == [0.5, 1.0, 2.0]
    assert config.model.keypoint_head is None and config.model.neck.channels == 128


def test_a_start_that_does_not_know_the_classes() -> None:
    """It trains as long as without one, and lends its name to no object."""
    things = labels({DEFAULT_CLASS: 300}, [30.0, 60, 120, 200, 300])
    advice = advise("d", things, machine=CPU, val_images=9)
    assert advice.reasons[0].startswith("start: person-efficientnet: no shipped model knows these classes")
    assert advice.config.model.classes == [DEFAULT_CLASS]
    alone = advise("d", things, machine=CPU, val_images=9, asked=["train.init=null"])
    assert advice.config.train.epochs == alone.config.train.epochs
    asked = advise("d", things, machine=CPU, val_images=9, asked=["train.init=nuclei-mobilenet"]).config
    assert not asked.model.classes and 2.9 < advice.config.train.epochs / asked.train.epochs <= 3
    for words in (["train.trunk=mobilenetv2-imagenet"], ["model.backbone.kind=resnet50", "train.trunk=null"]):
        other = advise("d", ANIMALS, machine=CPU, asked=words)
        assert other.config.train.init is None and "as asked for" in other.reasons[0]
    for trunk, kind in (
        ("mobilenetv2-imagenet", "mobilenetv2"),
        ("efficientnet_lite0-imagenet", "efficientnet_lite0"),
        ("torchvision/resnext101_32x8d_v1", "resnext101_32x8d"),
        ("own.pth", "efficientnet_lite0"),  # a file may be of any backbone: the recipe's
    ):
        other = advise("d", ANIMALS, machine=CPU, asked=[f"train.trunk={trunk}"])
        assert other.config.model.backbone.kind == kind
    both = advise("d", ANIMALS, machine=CPU, asked=["train.trunk=own", "model.backbone.kind=resnet50"])
    assert both.config.model.backbone.kind == "resnet50"
    other = advise("d", ANIMALS, machine=CPU, asked=["model.backbone.kind=resnet50"])
    assert other.config.train.init is None and "the network that is asked for" in other.reasons[0]


def test_the_settings_fit_the_machine() -> None:
    small, large = advise("d", PEOPLE, machine=CPU).config, advise("d", PEOPLE, machine=GPU).config
    assert small.train.batch < large.train.batch and large.train.precision == "bf16"
    assert small.train.precision == "fp32" and small.data.workers == 4
    poor = advise("d", PEOPLE, machine=Machine(2, 1.0, "cpu", False)).config
    assert poor.train.batch == 1
    for processes, parts in ((3, []), (2, ["train.accumulate=3"])):
        shared = replace(GPU, processes=processes)
        assert advise("d", PEOPLE, machine=shared, asked=parts).config.train.batch % (6 if parts else 3) == 0
        assert advise("d", PEOPLE, machine=replace(shared, memory_gb=0.1)).config.train.batch == processes
    crowded = labels({"nucleus": 900}, NUCLEI.sides, 300)
    assert advise("d", crowded, machine=CPU).config.model.test.detections == 400


def test_a_smaller_side_makes_smaller_mosaics() -> None:
    for name in shipped_recipes():
        augment = load_config(name, ["data.augment.short_sides=[128]", "data.augment.mosaic=1"]).data.augment
        assert augment.crop is not None or augment.canvas == (128, 128), name
    config = advise("d", PEOPLE, machine=CPU, asked=["model.input.short_side=224"]).config
    assert config.model.input.short_side == 224 and config.data.augment.mosaic > 0
    assert max(config.data.augment.canvas) <= 256 and max(config.data.augment.short_sides) <= 256


@pytest.mark.parametrize(
    ("images", "objects", "epochs"), [(500, 20_000, 16), (50, 2_000, 160), (9, 9, 200), (100_000, 700_000, 5)]
)
def test_length_counts_views_of_images(images: int, objects: int, epochs: int) -> None:
    """8,000, and 5 to 200 epochs, however many objects there are."""
    stats = labels({"cat": objects}, ANIMALS.sides, images=images)
    assert advise("d", stats, machine=CPU, val_images=9).config.train.epochs == epochs


@pytest.mark.parametrize(
    ("images", "val_images", "asked", "trained_on", "said"),
    [
        (400, 350, ["data.val_share=0.1"], 400, None),  # not needed: there is a val split
        (100, 0, ["data.val_share=0.5"], 50, "50 of 100 images are kept for it, as asked for"),
        (100, 0, ["data.val_share=null"], 100, "none is kept for it, as asked for"),
        (100, 0, [], 80, "20 of 100 images are kept for it"),
    ],
)
def test_a_share_to_evaluate_on_is_the_one_that_is_asked_for(
    images: int, val_images: int, asked: list[str], trained_on: int, said: str | None
) -> None:
    stats = labels({"cat": 300}, ANIMALS.sides, images=images)
    advice = advise("d", stats, machine=CPU, val_images=val_images, asked=asked)
    epochs, told = advice.config.train.epochs, [each for each in advice.reasons if "no val split" in each]
    assert epochs == math.ceil(8000 / trained_on)
    assert any("evaluation at" in each for each in advice.reasons) == (asked != ["data.val_share=null"])
    assert told == ([] if said is None else [f"evaluation: there is no val split, so {said}"])


def test_tiles_that_are_not_wanted_are_not_advised() -> None:
    """And the sides are those of whole images."""
    large = {"short_sides": [2000.0] * 5, "long_sides": [3000.0] * 5}
    stats = labels({"cat": 300}, [7.0, 11, 15, 24, 55], **large)
    assert advise("d", stats, machine=CPU).config.data.tiles is not None
    advice = advise("d", stats, machine=CPU, asked=["data.tiles=null"])
    assert advice.config.data.tiles is None and not any("tiles of" in reason for reason in advice.reasons)


def test_the_training_follows_the_sides_that_are_asked_for() -> None:
    """And does not take them for the recipe's own."""
    asked = ["model.input.short_side=320", "model.input.long_side=320"]
    advice, usual = (advise("d", NUCLEI, machine=CPU, asked=each) for each in (asked, []))
    crop, own = advice.config.data.augment.crop, usual.config.data.augment.crop
    assert crop and own and own[0] / crop[0] == usual.config.model.input.short_side / 320 == 2
    assert "the start's own" in "".join(usual.reasons) and "the start's own" not in "".join(advice.reasons)
    large = {"short_sides": [3000.0] * 5, "long_sides": [3000.0] * 5}
    for sides in ([180.0, 190, 200, 210, 240], [16.0, 18, 20, 22, 24]):  # of which tiles are advised for one
        stats = labels({"cat": 300}, sides, **large)
        tiled = advise("d", stats, machine=CPU, asked=["data.tiles.side=512"])
        assert tiled.config.data.tiles and tiled.config.data.tiles.side == 512
        assert any(f"under {sides[1]:.0f} pixels in images" in each for each in tiled.reasons)
        assert any(f"{2 * sides[1]:.0f} in a tile" in each for each in tiled.reasons)
        asked = ["data.tiles.side=512", "model.input.short_side=512", "model.input.long_side=512"]
        advice = advise("d", stats, machine=CPU, asked=asked)
        assert any(f"{sides[1]:.0f} in a tile" in each for each in advice.reasons)


def test_what_is_asked_for_wins_and_the_rest_fits_it() -> None:
    asked = ["train.init=null", "train.trunk=mobilenetv2-imagenet", "train.epochs=2", "train.lr=0.5"]
    advice = advise("d", NUCLEI, machine=CPU, asked=asked)
    assert (advice.config.train.init, advice.config.train.epochs, advice.config.train.lr) == (None, 2, 0.5)
    assert not any("kept from the start" in reason for reason in advice.reasons)
    assert advice.reasons[0] == "start: mobilenetv2-imagenet, as asked for"
    for name in ("train.evaluate_every_epochs", "train.evaluate_every"):  # now and in earlier versions
        never = advise("d", NUCLEI, machine=CPU, val_images=9, asked=[f"{name}=0"]).config
        assert never.train.evaluate_every_epochs == 0 and never.train.patience is None
    told = advise("d", NUCLEI, machine=CPU, asked=["train.batch=1"])
    assert sum("; but train.batch=1, as asked for" in reason for reason in told.reasons) == 1
    small = told.config
    assert small.train.batch == 1 and small.train.ema is not None
    assert small.train.ema > (advise("d", NUCLEI, machine=CPU).config.train.ema or 1)


def test_a_published_model_is_taken_from_the_cache_and_never_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = find_published("torchvision/maskrcnn_resnet50_fpn")
    monkeypatch.setattr(start, "fetch_converted", lambda name: pytest.fail(f"{name} was asked for"))
    monkeypatch.setattr(start, "is_downloaded", lambda other: False)
    assert advise("d", ANIMALS, machine=GPU).config.train.init == "person-efficientnet"
    monkeypatch.setattr(start, "is_downloaded", lambda other: other.name == entry.name)
    assert (
        advise("d", ANIMALS, machine=CPU).config.train.init == "person-efficientnet"
    )  # the other is too slow
    own = advise("d", ANIMALS, machine=GPU, asked=["train.init=person-mobilenet"]).config
    assert own.train.init == "person-mobilenet"  # and nothing is converted for it
    monkeypatch.setattr(start, "fetch_converted", lambda name: SHIPPED / "nuclei-mobilenet")
    config = advise("d", ANIMALS, machine=GPU).config
    assert config.train.init == entry.name and config.train.trunk is None
    theirs = load_model_config(SHIPPED / "nuclei-mobilenet")
    assert config.model.neck == theirs.neck and config.model.mask_head == theirs.mask_head
    assert config.model.classes == [] and config.model.keypoint_head is None


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("90s", 90)])
def test_times_are_read(text: str, seconds: float) -> None:
    assert seconds_of("--time", text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "-5m", "0s", "1e9h", "30 m x", "999999999999h"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--budget .*30m, 2h"):
        seconds_of("--budget", text)


@pytest.mark.parametrize("seconds", [120.0, 1800.0, 36_000.0])
@pytest.mark.parametrize("step", [0.05, 0.5])
def test_a_training_fits_into_its_time(seconds: float, step: float) -> None:
    cost = Cost(step=step, evaluation=step / 2, memory_gb=None, samples=100)
    config = advise("d", ANIMALS, machine=CPU, val_images=20, seconds=seconds, cost=cost).config.train
    every = config.evaluate_every_epochs
    evaluations = 10 if every is None else config.epochs / every
    assert 1 <= evaluations <= 10.01
    of_epoch = math.ceil(100 / config.batch) * config.batch * step
    planned = config.epochs * of_epoch + evaluations * 20 * step / 2
    assert planned < 0.85 * seconds
    longest = 3 * advise("d", ANIMALS, machine=CPU, val_images=20).config.train.epochs
    assert planned > 0.5 * seconds or config.epochs == longest or seconds < 200


class Costly(nn.Module):
    """Of which a step takes as long as the measure is told."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def losses(self, images: Tensor, sizes: Tensor, targets: Any) -> dict[str, Tensor]:
        return {"loss": self.weight}


@pytest.mark.parametrize("mosaic", [0.0, 0.5])
def test_a_step_is_measured_as_an_epoch_has_them(mosaic: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sides and mosaics are drawn, so the cheapest step of a few is not what steps cost; images that come
    several times, and parts of them, are counted as the training does."""

    def timed(work: Any, times: list[float]) -> Any:
        batch = (work.__defaults__ or [None])[0]
        times.append(0.0 if batch is None else float(batch.sizes.prod(1).sum()))
        return work()

    monkeypatch.setattr(measure, "_timed", timed)
    monkeypatch.setattr(measure, "build", Costly)
    asked = [f"data.augment.mosaic={mosaic}", "data.backgrounds=32", "data.repeat_threshold=1"]
    config = load_config("quick", [*asked, "data.augment.short_sides=[64,128]", "data.augment.long_side=192"])
    dataset = Synthetic(12, side=(128, 192))
    cost = measure.measure(config, dataset, None, "cpu")
    _, train, _, _ = prepare_data(config, dataset)
    sides = [resized_sides(*image.size, short, 192) for image in train for short in (64, 128)]
    whole = np.prod(sides, axis=1).mean()
    assert cost.step == pytest.approx(mosaic * 128 * 128 + (1 - mosaic) * whole)
    trained_on = train_loader(train, labels_for(train, train.classes), config).batch_sampler
    assert cost.samples == trained_on.entries > len(train) > 12  # type: ignore[union-attr]
    assert cost.of_epoch(5) == cost.step * 5 * -(-cost.samples // 5)


class Nameless(Subset):
    """Labels of no class names."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset, range(len(dataset)))
        self.info = replace(dataset.info, classes=[DEFAULT_CLASS], class_ids=[1])

    def image(self, index: int) -> LabelledImage:
        image = super().image(index)
        return replace(image, annotations=[replace(each, label=0) for each in image.annotations])


def test_labels_without_class_names_are_measured_as_they_are_trained_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find(network: nn.Module, dataset: Dataset) -> float:
        assert dataset.classes == ["cell"]
        return 2.0

    monkeypatch.setattr(measure, "build", Costly)
    monkeypatch.setattr(measure, "_seconds_to_find", find)
    config = load_config("quick", ["model.classes=[cell]"])
    nameless = Nameless(Synthetic(4, side=(64, 64)))
    assert measure.measure(config, nameless, nameless, "cpu").evaluation == 2.0


def test_too_little_time_is_refused() -> None:
    cost = Cost(step=30.0, evaluation=10.0, memory_gb=None, samples=100)
    with pytest.raises(UserError, match="too few: a step takes 30"):
        advise("d", ANIMALS, machine=CPU, val_images=20, seconds=60.0, cost=cost)


def test_a_split_is_the_one_that_split_makes(tmp_path: Path) -> None:
    write_coco(Synthetic(20, seed=1, side=(64, 64)), tmp_path / "all.json", tmp_path / "images")
    written = split_data(
        str(tmp_path / "all.json"),
        tmp_path / "out",
        val=0.2,
        test=0.0,
        by="stratified",
        grouping=Grouping(),
        seed=0,
        copy=False,
    )
    train, val = hold_out(written["train"].dataset, 0.2)
    assert len(val) == 4 and len(train) == 16
    assert (val.indices == written["val"].indices).all() and (train.indices == written["train"].indices).all()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the trainer would have been given."""
    given: dict[str, Any] = {}

    def train(config: Any, train: Any, val: Any, run: Path, **more: Any) -> None:
        given.update(config=config, train=train, val=val, **more)

    monkeypatch.setattr("maskrcnn.train.trainer.train", train)
    return given


def test_train_takes_what_check_advises_and_says_why(
    tmp_path: Path,
    trained: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Machine, "here", classmethod(lambda _: CPU))  # its free memory differs between calls
    write_coco(Synthetic(10, seed=1, side=(64, 96)), tmp_path / "train.json", tmp_path / "train")
    assert main(["train", str(tmp_path), "--run", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    advice = check(str(tmp_path), measured=False).advice
    assert advice is not None and f"maskrcnn train {tmp_path}" == advice.command
    recipe = yaml.safe_load(trained["recipe"])
    assert load_config(recipe) == advice.config
    for reason in advice.reasons:
        assert f"auto: {reason}" in said and f"# {reason}" in trained["recipe"]
    assert (len(trained["train"]), len(trained["val"])) == (8, 2)
    assert "2 of 10 images are kept to evaluate on" in said


def test_none_is_kept_where_few_images_have_an_object(
    tmp_path: Path, trained: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Synthetic(10, seed=1, side=(64, 96))
    write_coco(dataset, tmp_path / "train.json", tmp_path / "train")
    labels = json.loads((tmp_path / "train.json").read_text())
    with_object = {image["id"] for image in labels["images"][:2]}
    labels["annotations"] = [each for each in labels["annotations"] if each["image_id"] in with_object]
    write_json(tmp_path / "train.json", labels)
    assert main(["train", str(tmp_path), "--run", str(tmp_path / "run")]) == 0
    assert (len(trained["train"]), trained["val"]) == (10, None)
    assert "none: 2 images with an object, too few to set one aside" in capsys.readouterr().err


@pytest.mark.parametrize("side", [128, 500])
def test_steps_are_counted_in_tiles(side: int) -> None:
    dataset = Synthetic(12, seed=1, side=(400, 900))
    tiles = TilesConfig(side=side, overlap=32)
    stats = describe(dataset)
    tiled = len(TiledDataset(dataset, tiles))
    assert length._samples_of_an_image(stats, tiles) == pytest.approx(tiled / 12, rel=0.35)
    assert length._samples_of_an_image(stats, None) == 1
    small = labels(
        {"cat": 100}, [8.0] * 5, long_sides=[3000.0] * 5,
        image_sizes=np.full((33, 2), 3000), counts=np.full(33, 3),
    )  # fmt: skip
    reasons = advise("d", small, machine=CPU).reasons
    steps = next(re.search(r"schedule: about ([\d,]+) steps", each) for each in reasons if "schedule" in each)
    config = advise("d", small, machine=CPU).config
    assert steps and config.data.tiles
    assert int(steps[1].replace(",", "")) * config.train.batch > 2 * config.train.epochs * 26


def test_the_length_is_fitted_by_what_steps_cost(
    tmp_path: Path, trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "measure", lambda *_: Cost(2.0, 0.1, None, 8))
    write_coco(Synthetic(10, seed=1, side=(64, 96)), tmp_path / "train.json", tmp_path / "train")
    assert main(["train", str(tmp_path), "--time", "4m", "--run", str(tmp_path / "run")]) == 0
    epochs = trained["config"].train.epochs
    assert epochs * 8 * 2.0 < 0.85 * 240 and epochs > 10


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--time", "4m", "--recipe", "quick"], "only auto"),
        (["--time", "4m", "--set", "train.epochs=3"], "leave one out"),
        (["--time", "soon"], "write it as 30m"),
        (["--time", "4m", "--resume", "--run", "{run}"], "has its length already"),
        (["--recipe", "auto", "--resume", "--run", "{run}"], "has a recipe already"),
        (["--set", "train.epoch=3"], "epochs"),
    ],
)
def test_contradictions_are_one_line(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_coco(Synthetic(4, seed=1, side=(64, 64)), tmp_path / "train.json", tmp_path / "train")
    words = [word.format(run=tmp_path / "run") for word in words]
    assert main(["train", str(tmp_path), *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert told in lines[-1] and lines[-1].startswith("maskrcnn: error")


@pytest.mark.parametrize("name", ["nuclei-mobilenet", "person-efficientnet", "person-mobilenet"])
@pytest.mark.parametrize("known", [True, False], ids=["its name", "a folder"])
@pytest.mark.parametrize("labels_", [ANIMALS, NUCLEI], ids=["animals", "nuclei"])
def test_a_start_that_is_asked_for_brings_its_network(labels_: Statistics, name: str, known: bool) -> None:
    """Whatever recipe the labels would have had, all fits but what depends on the classes."""
    source = name if known else str(SHIPPED / name)
    advice = advise("d", labels_, machine=CPU, asked=[f"train.init={source}"])
    config, theirs = advice.config, load_model_config(SHIPPED / name)
    assert config.train.init == source and config.train.trunk is None
    assert advice.reasons[0] == f"start: {source}, as asked for, and its network"
    # found on the start's own images
    assert config.model.test.predict_score is None and theirs.test.predict_score != 0.5
    ours, given = shapes_of(config.model.model_copy(update={"classes": ["one"]})), shapes_of(theirs)
    lacking = {key.partition(".")[0] for key in given if ours.get(key) != given[key]}
    fits = name == "nuclei-mobilenet" and labels_ is NUCLEI  # its anchors
    assert lacking <= ({"keypoint_head"} if fits else {"keypoint_head", "rpn"})


@pytest.mark.parametrize("asked", ["data.value_percentiles=[1,99]", "model.input.value_range=[0,4095]"])
def test_mean_and_deviation_are_those_of_the_values_that_are_trained_on(asked: str, tmp_path: Path) -> None:
    write_coco(Synthetic(2, seed=1, side=(64, 64)), tmp_path / "train.json", tmp_path / "train")
    rng = np.random.default_rng(0)
    for path in (tmp_path / "train").iterdir():
        pixels = rng.normal(1500, 300, (64, 64, 4)).clip(0, 4000).astype(np.uint16)
        pixels[0, 0] = 65535
        tifffile.imwrite(path.with_suffix(".tif"), pixels, photometric="minisblack", planarconfig="contig")
        path.unlink()
    labels = (tmp_path / "train.json").read_text()
    (tmp_path / "train.json").write_text(re.sub(r"\.(png|jpg)", ".tif", labels))
    dataset = open_dataset(str(tmp_path), "train")
    config, train, _, _ = prepare_data(
        auto.choose(str(tmp_path), dataset, None, asked=[asked]).config, dataset
    )
    pixels = np.stack([train.pixels(index) for index in range(2)])
    assert config.model.input.mean == pytest.approx(pixels.mean((0, 1, 2)), abs=0.5)
    assert config.model.input.std == pytest.approx(pixels.std((0, 1, 2)), abs=0.5)

"""Trainings of a tiny network: resuming, several processes, bad losses, folders, and what a run leaves."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from maskrcnn.config.load import Config
from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Annotation, Dataset, DatasetInfo, LabelledImage
from maskrcnn.model.build import build
from maskrcnn.shell import shell_command
from maskrcnn.train import evaluation, trainer
from maskrcnn.train.checkpoint import read_state
from maskrcnn.train.evaluation import Scores, evaluate_together
from maskrcnn.train.log import read_metrics
from maskrcnn.train.trainer import Trainer, train
from maskrcnn.training_data.fill_config import fill_config
from maskrcnn.weights.load import load_model
from maskrcnn.weights.store import save_model
from tiny_network import TinyNetwork, people, small_config, tiny_config, tiny_data, tiny_network, train_small


def run_tiny(run: Path, config: Config | None = None, val: bool = False, **options: Any) -> Path:
    config = config or tiny_config()
    options.setdefault("network", tiny_network(config))
    return train(config, tiny_data(), tiny_data("val") if val else None, run, **options)


@pytest.fixture(autouse=True)
def _nothing_drawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of so small a training."""
    if "explains" not in request.node.name:
        monkeypatch.setattr(Trainer, "_draw", lambda *_: None)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def stop_after(monkeypatch: pytest.MonkeyPatch, iteration: int, action: Any) -> None:
    """Do `action` at the end of the step that makes `iteration` steps."""
    step = Trainer._step

    def stepped(self: Trainer, share: Any) -> None:
        step(self, share)
        if self.progress.iteration == iteration:
            action()

    monkeypatch.setattr(Trainer, "_step", stepped)


@pytest.mark.parametrize(("optimizer", "number"), [("sgd", signal.SIGINT), ("adamw", signal.SIGTERM)])
def test_twenty_steps_equal_ten_a_kill_and_ten_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, number: signal.Signals
) -> None:
    config = tiny_config(optimizer=optimizer, ema=0.9, accumulate=2)
    run_tiny(tmp_path / "whole", config, val=True)
    with monkeypatch.context() as patch:
        stop_after(patch, 10, lambda: os.kill(os.getpid(), number))
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
            run_tiny(tmp_path / "parts", config, val=True)
    assert read_state(tmp_path / "parts" / "state.pt")["progress"]["iteration"] == 10
    # another start: everything must come from the state
    torch.manual_seed(99)
    run_tiny(tmp_path / "parts", config, val=True, resume=True, network=TinyNetwork(config.model))

    whole, parts = (read_state(tmp_path / name / "state.pt") for name in ("whole", "parts"))
    assert whole["progress"]["iteration"] == 20
    for key in ("model", "optimizer", "average", "random"):
        assert same(whole[key], parts[key]), key
    for state in (whole, parts):
        del state["progress"]["seconds"]
    assert whole["progress"] == parts["progress"]
    for name in ("best", "last"):
        files = [tmp_path / run / "weights" / name / "model.safetensors" for run in ("whole", "parts")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_kill_without_warning_goes_back_to_the_last_saved_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    config = tiny_config(save_every_seconds=1e-9, ema=0.9)
    run_tiny(tmp_path / "whole", config)
    with monkeypatch.context() as patch:
        stop_after(patch, 13, die)
        with pytest.raises(Killed):
            run_tiny(tmp_path / "parts", config)
    assert read_state(tmp_path / "parts" / "state.pt")["progress"]["iteration"] == 12
    run_tiny(tmp_path / "parts", config, resume=True)
    whole, parts = (read_state(tmp_path / name / "state.pt") for name in ("whole", "parts"))
    assert same(whole["model"], parts["model"])
    iterations = [r["iteration"] for r in read_metrics(tmp_path / "parts" / "metrics.jsonl")]
    assert iterations == sorted(iterations)
    assert iterations[-1] == 20


def in_processes(count: int, out: Path, what: str) -> None:
    """Run tiny_network.py in so many processes."""
    script = Path(__file__).parent / "tiny_network.py"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launch, str(script), str(out), what],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_reach_the_weights_of_one(tmp_path: Path) -> None:
    in_processes(2, tmp_path / "two", "2")
    train_small(tmp_path / "one", accumulate=1)
    one, two = (read_state(tmp_path / name / "state.pt") for name in ("one", "two"))
    # that they were two, and did not each train alone
    assert json.loads((tmp_path / "two" / "env.json").read_text())["processes"] == 2
    assert one["progress"]["iteration"] == two["progress"]["iteration"] == 5
    torch.manual_seed(0)
    start = build(
        Config.model_validate(yaml.safe_load((tmp_path / "one" / "config.yaml").read_text())).model
    ).state_dict()
    # agreement says something only about weights that have moved; without the exchange they differ by 1e-2
    assert max((one["model"][name] - tensor).abs().max() for name, tensor in start.items()) > 0.05
    for name, tensor in one["model"].items():
        torch.testing.assert_close(two["model"][name], tensor, atol=1e-5, rtol=0)


def test_the_first_process_chooses_for_all(tmp_path: Path) -> None:
    in_processes(2, tmp_path / "told", "choose")
    for rank in range(2):
        told = json.loads((tmp_path / f"told.{rank}.json").read_text())
        assert told == ["0", "refused by 0", 2, "bf16"]


@pytest.mark.slow
def test_two_processes_find_and_score_what_one_does(tmp_path: Path) -> None:
    """To the last bit, in batches of two images and of four."""
    for count in (1, 2):
        in_processes(count, tmp_path / str(count), "evaluate")
    one, two, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1.0", "2.0", "2.1"))
    assert (one["processes"], two["processes"], other["processes"]) == (1, 2, 2)
    assert one["scores"] == two["scores"] == other["scores"] and 5 < one["scores"]["bbox"]["AP"] < 95
    by_image = sorted(one["found"], key=lambda result: result["image_id"])
    assert by_image == sorted(two["found"], key=lambda result: result["image_id"]) and len(by_image) > 100
    assert not other["found"]  # one process scores


def test_processes_share_out_the_images_to_evaluate(monkeypatch: pytest.MonkeyPatch) -> None:
    data, config, ids = tiny_data("val"), tiny_config(), list[str]()

    def find(network: Any, share: Dataset, **_: Any) -> list[Any]:
        ids.extend(str(image.image_id) for image in share)
        return []

    monkeypatch.setattr(evaluation, "find_all", find)
    network: Any = tiny_network(config)
    for rank in range(2):
        process: Any = SimpleNamespace(process_index=rank, num_processes=2, is_main_process=True)
        evaluate_together(network, data, config, process)
        assert len(ids) == (rank + 1) * len(data) / 2
    assert sorted(ids) == sorted(str(image.image_id) for image in data)


def test_as_many_detections_count_as_the_model_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an image of 300 objects would be a third found at best, and the worst one."""
    data, config = tiny_data("val"), tiny_config()
    config.model.test.detections = 300
    monkeypatch.setattr(evaluation, "find_all", lambda *_, **__: [])
    process: Any = SimpleNamespace(process_index=0, num_processes=1, is_main_process=True)
    scores = evaluate_together(tiny_network(config), data, config, process)
    assert scores["bbox"]["AP@300"] == 0.0 == evaluation.figure_of_merit(scores, "mean")
    cells = [
        Annotation((20.0 * (k % 20), 20.0 * (k // 20), 20.0 * (k % 20) + 15, 20.0 * (k // 20) + 15), 0)
        for k in range(300)
    ]
    full = LabelledImage(1, "1.png", None, 400, 400, cells)
    dataset = FileDataset([full], DatasetInfo(name="made up", classes=["cell"], class_ids=[1]))
    found = [
        {"image_id": 1, "category_id": 1, "score": 1 - k / 1000, "bbox": [*cell.box[:2], 15.0, 15.0]}
        for k, cell in enumerate(cells)
    ]
    assert evaluation.worst_images(dataset, found, scores, 300) == [(0, 1.0)]


def test_accumulated_steps_equal_one_large_step(tmp_path: Path) -> None:
    for accumulate in (1, 4):
        run_tiny(tmp_path / str(accumulate), tiny_config(accumulate=accumulate))
    one, four = (read_state(tmp_path / name / "state.pt")["model"] for name in ("1", "4"))
    for name in one:
        torch.testing.assert_close(one[name], four[name], atol=1e-4, rtol=0)


def test_a_batch_that_cannot_be_shared_out_names_the_settings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train.batch=4.*3 accumulated"):
        run_tiny(tmp_path / "run", tiny_config(accumulate=3))


@pytest.mark.parametrize(
    ("poison", "blamed"), [("loss", "class not finite"), ("gradient", "gradient not finite")]
)
def test_a_loss_that_is_not_finite_names_its_images(tmp_path: Path, poison: str, blamed: str) -> None:
    config = tiny_config()
    network = tiny_network(config)
    network.poison = poison
    with pytest.raises(UserError, match=f"iteration 1: {blamed}") as error:
        run_tiny(tmp_path / "run", config, network=network)
    assert "\n" not in str(error.value)
    record = json.loads((tmp_path / "run" / "nonfinite.json").read_text())
    images = [image for part in record["parts"] for image in part["images"]]
    assert len(images) == 4
    assert all(image["name"] in str(error.value) and image["boxes"] for image in images)
    assert not (tmp_path / "run" / "state.pt").exists()


def test_a_folder_that_holds_a_run_is_refused(tmp_path: Path) -> None:
    config = tiny_config(epochs=0.1)
    run_tiny(tmp_path / "run", config)
    with pytest.raises(UserError, match="already holds a run.*--resume"):
        run_tiny(tmp_path / "run", config)
    with pytest.raises(UserError, match="no run to resume"):
        run_tiny(tmp_path / "elsewhere", config, resume=True)
    with pytest.raises(UserError, match=r"train.lr=0.5, began with 0.05; set it back"):
        run_tiny(tmp_path / "run", tiny_config(epochs=0.1, lr=0.5), resume=True)


def test_a_backbone_that_would_stay_random_is_refused(tmp_path: Path) -> None:
    """Frozen, or at rate 0, and neither a trunk nor a model to start from; the folder can be used again."""
    frozen, idle = small_config(1), small_config(1)
    frozen.model.backbone.freeze = 2
    idle.train.backbone_lr_factor = 0
    for config in (frozen, idle):
        with pytest.raises(UserError, match=r"^\d+ parameters of the backbone would stay random") as error:
            train(config, people(), None, tmp_path / "run")
        for way_out in ("train.trunk=", "train.init=", "model.backbone.freeze=0"):
            assert way_out in str(error.value)
        assert "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]  # which nobody holds
    frozen.train.epochs = 1 / 8
    frozen.train.trunk = "mobilenetv2-imagenet"
    weights = train(frozen, people(), None, tmp_path / "run")
    frozen.train.trunk = None
    train(frozen, people(), None, tmp_path / "run", resume=True)
    frozen.train.init = str(weights)
    train(frozen, people(), None, tmp_path / "second")


@pytest.mark.parametrize("head", ["box_head", "mask_head"])
def test_one_head_alone_learns_on_a_detector_that_stays(tmp_path: Path, head: str) -> None:
    config = small_config(1)
    config.model.backbone.norm = "batch"
    config.train.epochs = 2 / 8
    detector = train(config, people(), None, tmp_path / "detector")
    config.train.init = str(detector)
    config.train.only = head  # type: ignore[assignment]
    found = train(config, people(), None, tmp_path / "head")
    before, after = (load_file(folder / "model.safetensors") for folder in (detector, found))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed and all(name.startswith(f"{head}.") for name in changed)
    assert len(load_model(found).state_dict()) == len(
        before
    )  # though its frozen norms were saved without counts

    config.model.neck.channels = 24  # another detector: its heads do not fit
    with pytest.raises(UserError, match=f"train.only={head}: .* would stay random"):
        train(config, people(), None, tmp_path / "other")
    config.model.neck.channels, config.model.mask_head = 16, None
    config.train.only = "mask_head"
    with pytest.raises(UserError, match="train.only=mask_head but model.mask_head is null"):
        train(config, people(), None, tmp_path / "none")
    with pytest.raises(ValueError, match="set train.init=MODEL"):
        type(config.train)(only="mask_head")


def test_a_model_that_gives_no_backbone_leaves_it_random(tmp_path: Path) -> None:
    """The box head of another backbone fits, which is not enough."""
    config = small_config(1)
    save_model(build(fill_config(config, people()).model), tmp_path / "model")
    config.model.backbone.kind, config.model.backbone.freeze = "resnet50", 2
    config.train.init = str(tmp_path / "model")
    with pytest.raises(UserError, match="parameters of the backbone would stay random"):
        train(config, people(), None, tmp_path / "run")


def test_the_report_of_a_resumed_run_names_the_first_command(tmp_path: Path) -> None:
    first = shell_command(["maskrcnn", "train", "a b", "--set", "model.rpn.sizes=[[8],[16]]"])
    assert first == "maskrcnn train 'a b' --set 'model.rpn.sizes=[[8],[16]]'"
    run_tiny(tmp_path / "run", tiny_config(epochs=0.1), command=first)
    run_tiny(tmp_path / "run", tiny_config(epochs=0.2), resume=True, command="maskrcnn train --resume")
    assert (tmp_path / "run" / "command.txt").read_text() == f"{first}\nmaskrcnn train --resume\n"
    assert f"Again: `{first}`" in (tmp_path / "run" / "report.md").read_text()


def test_what_is_printed_to_continue_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "my [first] run"
    stop_after(monkeypatch, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run_tiny(run, tiny_config(epochs=0.5))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "goes on with" in line]
    assert shlex.split(line.partition("goes on with ")[2]) == ["--resume", "--run", str(run)]


def test_a_finished_run_can_be_given_more_epochs(tmp_path: Path) -> None:
    run_tiny(tmp_path / "run", tiny_config(epochs=1))
    run_tiny(tmp_path / "run", tiny_config(epochs=1), resume=True)
    run_tiny(tmp_path / "run", tiny_config(epochs=1.5), resume=True)
    assert read_state(tmp_path / "run" / "state.pt")["progress"]["iteration"] == 12


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The file fails under torch.save, which then raises a RuntimeError of its own while it cleans up."""

    class Failing(io.FileIO):
        def write(self, _: object) -> int:
            raise OSError(number, os.strerror(number))

    usual = Path.open

    def failing(path, mode="r", **more):
        return Failing(path, mode) if mode == "wb" else usual(path, mode, **more)

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(UserError, match=f"run/state.pt: {os.strerror(number)}; ") as error:
        run_tiny(tmp_path / "run", tiny_config(epochs=0.1))
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "run").glob("state.pt*"))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write")
def test_a_folder_that_cannot_be_made_is_one_line() -> None:
    with pytest.raises(UserError, match=r"cannot be made: .*another folder|another folder"):
        run_tiny(Path("/proc/maskrcnn-run"))


def test_no_images_and_unknown_classes_are_refused_before_training(tmp_path: Path) -> None:
    config = tiny_config()
    config.model.classes = ["circle"]
    with pytest.raises(DataError, match="'square'"):
        run_tiny(tmp_path / "run", config)
    with pytest.raises(UserError, match=r"train.best=segm but model.mask_head is null"):
        run_tiny(tmp_path / "run", tiny_config(best="segm"))
    config = small_config(1)
    config.train.best = "keypoints"
    with pytest.raises(UserError, match=r"train.best=keypoints but .* has no such labels"):
        train(config, people(), Subset(tiny_data("val"), [0]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_best_weights_are_kept_and_patience_ends_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing found, an AP of 0, is no start to be better than."""
    figures = iter([0.0, 0.0, 0.0, 10.0, 30.0, 20.0, 25.0, 40.0])
    monkeypatch.setattr(
        trainer,
        "evaluate_together",
        lambda *_, **__: Scores({"bbox": {"AP": next(figures), "AP50": None}}, {}, 6, 6, 6),
    )
    weights = run_tiny(
        tmp_path / "run", tiny_config(epochs=5, evaluate_every_epochs=0.5, patience=2), val=True
    )
    progress = read_state(tmp_path / "run" / "state.pt")["progress"]
    assert (progress["best"], progress["best_iteration"], progress["iteration"]) == (30.0, 20, 28)
    assert progress["stopped_early"]
    assert weights == tmp_path / "run" / "weights" / "best"
    last = load_file(tmp_path / "run" / "weights" / "last" / "model.safetensors")
    assert not same(load_file(weights / "model.safetensors"), last)


def test_all_detections_of_the_model_decide_and_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """COCO counts 100 of an image; and the card of weights has figures of no others."""
    left = iter([(30.0, 10.0), (20.0, 40.0)])

    def evaluate(*_: Any, **__: Any) -> Scores:
        usual, most = next(left)
        numbers = {"AP": usual, "AP50": None, "AP@300": most, "AP50@300": most}
        return Scores({"bbox": numbers}, {}, 6, 6, 6, notes=["masks are not scored: the labels have none"])

    monkeypatch.setattr(trainer, "evaluate_together", evaluate)
    config = tiny_config(epochs=1, evaluate_every_epochs=0.5, save_every_seconds=1e-9)
    stop_after(monkeypatch, 6, lambda: cards.append(last.read_text()))
    last, cards = tmp_path / "run" / "weights" / "last" / "README.md", list[str]()
    run_tiny(tmp_path / "run", config, val=True)
    said = capsys.readouterr().out
    assert "box AP@300 40.0 (AP50@300 40.0)  best so far" in said
    assert "best: mean AP 40.0 at iteration 8" in said and said.count("masks are not scored") == 1
    report = (tmp_path / "run" / "report.md").read_text()
    assert "| box AP@300 | box AP50@300 |" in report and "Best: mean AP 40.0 at iteration 8" in report
    assert "AP@300 40.0" in last.read_text() and not any("AP" in card for card in cards) and cards


def test_a_start_that_finds_objects_is_evaluated_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stays the best while nothing is better, and does not end the training early; one that lacks a part
    is not looked at."""
    figures = [30.0, 10.0, 20.0, 25.0]
    left = iter(figures)
    monkeypatch.setattr(
        trainer,
        "evaluate_together",
        lambda *_, **__: Scores({"bbox": {"AP": next(left), "AP50": None}}, {}, 6, 6, 6),
    )
    config = small_config(1)
    start = build(fill_config(config, people()).model)
    save_model(start, tmp_path / "start")
    config.train = config.train.model_copy(
        update={
            "epochs": 3 / 8,
            "evaluate_every_epochs": 1 / 8,
            "patience": 1,
            "init": str(tmp_path / "start"),
        }
    )
    weights = train(config, people(), people(), tmp_path / "run")
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [r["iteration"] for r in records if r["kind"] == "evaluation"] == [0, 1, 2, 3]
    progress = read_state(tmp_path / "run" / "state.pt")["progress"]
    assert (progress["best"], progress["best_iteration"], progress["stopped_early"]) == (30.0, 0, False)
    assert weights.name == "best" and same(load_file(weights / "model.safetensors"), start.state_dict())
    said = capsys.readouterr().out
    told = f"est: mean AP 30.0 of the start, {config.train.init}, in weights/best: nothing was better"
    assert "before the first step" in said and told in said
    assert told in (tmp_path / "run/report.md").read_text()

    left = iter(figures)
    config.model.box_head.fc_channels = 24
    train(config, people(), people(), tmp_path / "other")
    records = read_metrics(tmp_path / "other" / "metrics.jsonl")
    assert [r["iteration"] for r in records if r["kind"] == "evaluation"] == [1, 2]


def test_a_run_explains_itself(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_tiny(run, tiny_config(ema=0.9), val=True, command="maskrcnn train synthetic")
    assert (run / "command.txt").read_text() == "maskrcnn train synthetic\n"
    settings = Config.model_validate(yaml.safe_load((run / "config.yaml").read_text()))
    assert settings == fill_config(tiny_config(ema=0.9), tiny_data())
    data = json.loads((run / "data.json").read_text())
    assert data["train"]["classes"] == {"circle": 1, "square": 2, "triangle": 3, "star": 4}
    assert len(data["train"]["digest"]) == 64
    assert json.loads((run / "env.json").read_text())["torch"]
    records = read_metrics(run / "metrics.jsonl")
    assert [r["iteration"] for r in records if r["kind"] == "evaluation"] == [8, 16, 20]
    assert {"lr", "loss", "box", "class", "images_per_s", "memory_gb"} <= records[-1].keys() | records[
        -2
    ].keys()
    report = (run / "report.md").read_text()
    assert "maskrcnn train synthetic" in report
    assert "| 2.50 | 20 |" in report
    for name in ("samples/train_0.jpg", "samples/val_0.jpg", "plots/loss.png", "plots/ap.png"):
        assert (run / name).stat().st_size > 0
    page = (run / "report.html").read_text()
    assert page.count("data:image/png") == 2 and "Worst images" in page and "<td>2.50</td><td>20</td>" in page
    with Image.open(run / "samples" / "worst_0.jpg") as pair:
        assert pair.width > 1.9 * pair.height  # labels, and what is found, of a square image
    steps = [r["iteration"] for r in records if r["kind"] == "train"]
    assert steps == list(range(1, 21))  # each percent of a training as short as this
    # the average is what is saved
    state, saved = read_state(run / "state.pt"), load_file(run / "weights" / "last" / "model.safetensors")
    assert torch.equal(saved["head.weight"], state["average"]["tensors"]["head.weight"])
    assert not torch.equal(saved["head.weight"], state["model"]["head.weight"])


HOLD = """
import sys, time
from contextlib import ExitStack
from pathlib import Path
from maskrcnn.train.run_folder import open_run
with ExitStack() as held:
    open_run(Path(sys.argv[1]), False, held)
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_second_training_in_the_folder_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        (run / ".state.pt.00000000.tmp").touch()
        with pytest.raises(
            UserError, match=f"run: process {first.pid} on .* writes into it; wait, or name another folder"
        ):
            run_tiny(run)
        assert sorted(path.name for path in run.iterdir()) == [".lock", ".state.pt.00000000.tmp"]
    finally:
        first.kill()
        first.communicate()
    run_tiny(run)
    assert (run / "state.pt").exists() and not list(run.rglob("*.tmp"))


@pytest.mark.parametrize("ids", [[1, 2, 3], [3, 2, 1], ["2@0,0", "10@0,0", "1@0,0"]])
def test_the_worst_images_are_those_of_the_data_set_in_any_order_of_ids(ids: list[int | str]) -> None:
    class Few(Synthetic):
        def image(self, index: int) -> LabelledImage:
            one = Annotation((10, 10, 40, 40), 0, area=900.0)
            return LabelledImage(ids[index], f"{index}.png", None, 64, 64, [one])

    data = Few(3, side=(64, 64))
    heights = [0, 30, 24]  # of what is found: nothing, all, and a part
    found = [
        {"image_id": id_, "category_id": data.class_ids[0], "score": 0.9, "bbox": [10, 10, 30, height]}
        for id_, height in zip(ids, heights, strict=True)
        if height
    ]
    scores = evaluation.score_results(data, found, ["bbox"])
    worst = evaluation.worst_images(data, found, scores, 100)
    assert [index for index, _ in worst] == [0, 2, 1] and worst[2][1] == 1


def test_prediction_keeps_objects_from_where_f1_is_highest_on_the_val_split() -> None:
    data = tiny_data()
    right, wrong = list[dict[str, Any]](), list[dict[str, Any]]()
    for image in data:
        for one in image.annotations:
            x0, y0, x1, y1 = one.box
            record = {"image_id": image.image_id, "category_id": data.class_ids[one.label]}
            right.append(record | {"score": 0.9, "bbox": [x0, y0, x1 - x0, y1 - y0]})
            wrong.append(record | {"score": 0.6, "bbox": [0.0, 0.0, 1.0, 1.0]})
    config = tiny_config().model
    few = Scores({}, {}, images=1, objects=evaluation.TOLD_BY - 1, detections=0)
    assert evaluation.kept_from(config, data, right + wrong, few) is None
    all_of_them = Scores({}, {}, images=32, objects=len(right), detections=0)
    chosen = evaluation.kept_from(config, data, right + wrong, all_of_them)
    assert chosen is not None and 0.6 < chosen <= 0.9

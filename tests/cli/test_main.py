"""What the command line says and returns; the verbs' work is tested where it is done."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import maskrcnn
from maskrcnn.cli import train
from maskrcnn.cli.main import main
from maskrcnn.config.load import Config
from maskrcnn.errors import DataError
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.training_data.fill_config import fill_config

SOURCE = Path(maskrcnn.__file__).parents[1]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )


def test_help_names_the_verbs_and_imports_nothing_heavy() -> None:
    done = run_python(
        "import sys; from maskrcnn.cli.main import main; code = main(['--help'])\n"
        "heavy = {'torch', 'cv2', 'numpy', 'pycocotools', 'PIL', 'accelerate'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy)); sys.exit(code)"
    )
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
    for verb in ("demo", "train", "evaluate", "predict", "models", "env"):
        assert verb in done.stdout


def test_the_package_imports_without_torch_and_then_exports_the_model() -> None:
    done = run_python(
        "import sys, maskrcnn; assert 'torch' not in sys.modules; print(maskrcnn.__version__)\n"
        "from maskrcnn import Instances, MaskRCNN; print(MaskRCNN.__name__, Instances.__name__)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0.1.0", "MaskRCNN", "Instances"]
    with pytest.raises(AttributeError, match="nonsense"):
        maskrcnn.nonsense  # noqa: B018


@pytest.mark.parametrize("verb", ["demo", "train", "evaluate", "predict", "models", "env"])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert "Usage: maskrcnn " + verb in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["'trian'", "train"]),
        (["train"], ["DATA", "maskrcnn train --help"]),
        (["evaluate", "a", "b", "--batch", "0"], ["--batch", "maskrcnn evaluate --help"]),
        (
            ["train", "synthetic", "--set", "train.epoch=3", "--recipe", "{recipe}"],
            ["train.epoch", "'epochs'"],
        ),
        (["train", "synthetic", "--set", "trian.epochs=3", "--recipe", "{recipe}"], ["trian", "'train'"]),
        (
            ["train", "synthetic", "--set", "train.epochs=0", "--recipe", "{recipe}"],
            ["train.epochs", "greater than 0"],
        ),
        (
            ["train", "synthetic", "--set", "nonsense", "--recipe", "{recipe}"],
            ["nonsense", "section.name=value"],
        ),
        (
            ["train", "synthetic", "--recipe", "no-such-recipe"],
            ["no-such-recipe", "neither a shipped recipe"],
        ),
        (["train", "nowhere.json", "--recipe", "{recipe}"], ["nowhere.json", "no such file"]),
        (["train", "nowhere.json"], ["nowhere.json", "no such file"]),
        (["train", "synthetic", "--resume"], ["--resume", "--run"]),
        (["train", "synthetic", "--resume", "--recipe", "{recipe}"], ["--resume", "--run"]),
        (["train", "synthetic", "--resume", "--run", "{folder}"], ["config.yaml"]),
        (["evaluate", "no-such-model", "synthetic", "--metrics", "startist"], ["did you mean 'stardist'"]),
        (["evaluate", "no-such-model", "nowhere.json"], ["nowhere.json", "no such file"]),
        (["evaluate", "no-such-model", "synthetic"], ["no-such-model", "neither a shipped model"]),
        (["evaluate", "no-such-model", "synthetic", "--json", "{folder}"], ["is a folder"]),
        (["predict", "no-such-model", "nowhere.jpg"], ["nowhere.jpg"]),
        (["predict", "{recipe}", "nuclei-mobilenet"], ["mine.yaml: no model, but nuclei-mobilenet is one"]),
        (["evaluate", "{folder}", "nuclei-mobilenet"], ["no model, but nuclei-mobilenet is one"]),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str], words: list[str], tmp_path: Path, error_line: Callable[[], str]
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("train: {epochs: 1}\n")
    assert main([a.format(recipe=recipe, folder=tmp_path) for a in arguments]) == 2
    line = error_line()
    for word in words:
        assert word in line


@pytest.mark.parametrize("verb", [[], ["check"], ["convert", "data"]])
def test_h_is_help(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb, "-h"]) == 0
    short = capsys.readouterr().out
    assert main([*verb, "--help"]) == 0
    assert capsys.readouterr().out == short and "Usage" in short


def test_an_option_without_its_value_names_the_verb(error_line: Callable[[], str]) -> None:
    assert main(["check", "synthetic", "--html"]) == 2
    assert error_line().endswith("'--html' requires an argument; see maskrcnn check --help")


def test_the_nearest_recipe_is_named(error_line: Callable[[], str]) -> None:
    if not (SOURCE / "maskrcnn" / "recipes" / "quick.yaml").is_file():
        pytest.skip("the recipe quick is not there")
    assert main(["train", "synthetic", "--recipe", "quik"]) == 2
    assert "'quick'" in error_line()


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DataError("a.json: annotation 3:\n no"), 3, "a.json: annotation 3: no"),
        (KeyboardInterrupt(), 130, None),
        (
            OSError(errno.ENOSPC, "No space left on device", "run/x"),
            2,
            "run/x: No space left on device; free some",
        ),
        (OSError(errno.EROFS, "Read-only file system", "run/x"), 2, "run/x: Read-only file system; write to"),
        (PermissionError(errno.EACCES, "Permission denied", "run/x"), 2, "run/x: Permission denied; check"),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    words: str | None,
    monkeypatch: pytest.MonkeyPatch,
    error_line: Callable[[], str],
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("maskrcnn.weights.shipped_models.shipped_models", fail)
    assert main(["models"]) == code
    if words is not None:
        assert words in error_line()


def test_a_kill_lets_a_verb_clean_up() -> None:
    done = run_python(
        "import os, signal, sys, time\n"
        "import maskrcnn.environment\n"
        "from maskrcnn.cli.main import main\n"
        "def work():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)\n"
        "    finally:\n"
        "        print('written')\n"
        "maskrcnn.environment.describe_environment = work\n"
        "sys.exit(main(['env']))"
    )
    assert done.returncode == 143 and done.stdout == "written\n"
    assert done.stderr == "maskrcnn: error: terminated\n"


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("maskrcnn.weights.shipped_models.shipped_models", fail)
    with pytest.raises(ZeroDivisionError):
        main(["models"])


def test_models_lists_every_shipped_model_and_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    for path in (SOURCE / "maskrcnn" / "recipes").glob("*.yaml"):
        assert path.stem in text
    for path in (SOURCE / "maskrcnn" / "weights" / "shipped").glob("*/config.json"):
        assert path.parent.name in text


def test_env_names_versions_device_and_threads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env"]) == 0
    text = capsys.readouterr().out
    for word in ("maskrcnn", "0.1.0", "torch", "pycocotools", "threads", "cpu"):
        assert word in text


def test_a_new_run_never_takes_a_folder_that_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert train._new_run_folder("quick") == Path("runs/quick-1")
    Path("runs/quick-1").mkdir(parents=True)
    assert train._new_run_folder(tmp_path / "quick.yaml") == Path("runs/quick-2")


def test_classes_and_keypoints_come_from_the_labels() -> None:
    labels = Synthetic(count=4, seed=0, people=True)
    config = Config.model_validate({"model": {"keypoint_head": {}}})
    filled = fill_config(config, labels)
    assert filled.model.classes == labels.classes
    assert filled.model.keypoints == labels.keypoints
    assert config.model.classes == []
    chosen = Config.model_validate({"model": {"classes": ["thing"]}})
    assert fill_config(chosen, labels).model.classes == ["thing"]


def test_a_head_without_labels_is_refused_with_the_remedy() -> None:
    with pytest.raises(DataError, match="--set model.keypoint_head=null"):
        fill_config(Config.model_validate({"model": {"keypoint_head": {}}}), Synthetic(count=2, seed=0))


def test_evaluate_writes_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way with a small untrained network: weights from a folder, label images, table, two JSON
    files.
    """
    from maskrcnn.config.model import ModelConfig
    from maskrcnn.labels.writers.coco import write_coco
    from maskrcnn.model.build import build
    from maskrcnn.weights.store import save_model

    labels = Synthetic(count=2, seed=0)
    write_coco(labels, tmp_path / "labels.json", tmp_path / "labels")
    settings = {
        "classes": labels.classes,
        "input": {"short_side": 64, "long_side": 96},
        "backbone": {"kind": "mobilenetv2"},
        "neck": {"channels": 8},
        "box_head": {"fc_channels": 8},
        "mask_head": {"convs": 1, "channels": 8},
        "test": {"score": 0.0, "detections": 5},
    }
    save_model(build(ModelConfig.model_validate(settings)), tmp_path / "model")
    figures, found = tmp_path / "out.json", tmp_path / "found.json"
    arguments = ["evaluate", str(tmp_path / "model"), str(tmp_path / "labels.json")]
    arguments += [
        "--device",
        "cpu",
        "--metrics",
        "stardist",
        "--score",
        "0",
        "--html",
        str(tmp_path / "p.html"),
    ]
    assert main([*arguments, "--json", str(figures), "--results", str(found)]) == 0
    assert "masks" in capsys.readouterr().out
    assert "Worst images" in (tmp_path / "p.html").read_text()
    content = json.loads(figures.read_text())
    assert 0 <= content["bbox"]["AP"] <= 100
    assert len(content["segm"]) == 12
    assert [row["IoU"] for row in content["stardist"]["at"]][::4] == [0.5, 0.7, 0.9]
    assert set(content["per_class"]["bbox"]) == set(labels.classes)
    for result in json.loads(found.read_text()):
        assert isinstance(result["segmentation"]["counts"], str)
        assert result["category_id"] in labels.class_ids


def test_a_start_that_is_not_there_is_told_before_the_data_are_prepared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error_line: Callable[[], str]
) -> None:
    """Large images are decoded then, which takes long."""
    monkeypatch.setattr("maskrcnn.training_data.prepare.prepare_data", lambda *_: pytest.fail("prepared"))
    arguments = ["train", "synthetic", "--set", "train.init=nix", "--run", str(tmp_path / "run")]
    assert main(arguments) == 2 and "model 'nix': neither a shipped model" in error_line()

"""The advice of `maskrcnn check`: commands that a shell takes, any recipe, any system."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from maskrcnn.check.run import check, write_reports
from maskrcnn.check.terminal import print_report
from maskrcnn.cli.main import main
from maskrcnn.config.load import find_recipe, load_config
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.writers.coco import write_coco


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set in a folder whose name a shell would take apart."""
    root = tmp_path / "it's [new] data"
    write_coco(Synthetic(6, seed=1), root / "train.json", root / "train")
    return root


def test_commands_are_quoted_in_text_page_and_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next((folder / "train").glob("*.png")).write_bytes(
        b""
    )  # an error, so that the page offers a repaired copy
    val = str(folder / "train.json")
    report = check(str(folder), recipe="nuclei-mobilenet", val=val, measured=False)
    print_report(report)
    write_reports(report, folder / "r.json", folder / "r.html")
    page = (folder / "r.html").read_text()
    commands = [line for line in capsys.readouterr().out.splitlines() if line.startswith("maskrcnn train")]
    commands += [json.loads((folder / "r.json").read_text())["advice"]["command"]]
    commands += [html.unescape(line) for line in re.findall(r">(maskrcnn [^<]+)<", page)]
    assert [command.split()[1] for command in commands] == ["train", "train", "check", "train"]
    for command in commands:
        words = shlex.split(command)
        assert words[2] == str(folder) and words[words.index("--val") + 1] == val
        for shell in filter(shutil.which, ("bash", "zsh")):
            said = subprocess.run(
                [shell, "-c", f"printf '%s\\n' {command}"],
                capture_output=True,
                text=True,
                cwd=folder,
                check=True,
            )
            assert said.stdout.splitlines() == words
    assert report.advice is not None
    assert [word for word in shlex.split(commands[0]) if "=" in word] == report.advice.overrides


def test_a_command_says_all_that_was_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The channels that are advised on are the ones that it trains with."""
    for path in (folder / "train").iterdir():
        Image.open(path).convert("L").save(path)
    said = ["--val", str(folder / "train.json"), "--images", str(folder / "train")]
    assert main(["check", str(folder / "train.json"), *said, "--no-steps"]) == 0
    out = capsys.readouterr().out
    (again,) = re.findall(r"all images are grey: (maskrcnn check .* --channels 1) advises", out)
    assert sorted(said) == sorted(shlex.split(again)[3:7])
    assert main([*shlex.split(again)[1:], "--no-steps"]) == 0
    words = shlex.split(capsys.readouterr().out.splitlines()[-2])
    given: dict[str, Any] = {}
    monkeypatch.setattr(
        "maskrcnn.train.trainer.train", lambda config, *_, **__: given.update(config.model.input)
    )
    assert main([*words[1:], "--run", str(tmp_path / "run")]) == 0
    assert given["channels"] == len(given["mean"]) == 1


def test_a_recipe_that_accumulates_is_measured(folder: Path) -> None:
    path = folder / "recipe.yaml"
    path.write_text(find_recipe("quick").read_text().replace("train:\n", "train:\n  accumulate: 4\n"))
    assert load_config(path).train.accumulate == 4
    advice = check(str(folder), recipe=str(path)).advice
    assert advice is not None and advice.seconds_per_image
    assert load_config(path, advice.overrides).train.batch % 4 == 0


@pytest.mark.parametrize(
    ("kind", "trunk"),
    [("mobilenetv2", "mobilenetv2-imagenet"), ("resnext50_32x4d", "torchvision/resnext50_32x4d_v1")],
)
def test_a_frozen_backbone_without_weights_is_given_some(kind: str, trunk: str, folder: Path) -> None:
    path = folder / "recipe.yaml"
    path.write_text(f"model:\n  backbone: {{kind: {kind}, freeze: 2}}\n")
    advice = check(str(folder), recipe=str(path), measured=False).advice
    assert advice is not None and f"train.trunk={trunk}" in advice.overrides


def test_a_recipe_of_one_level_is_measured(folder: Path) -> None:
    path = folder / "c4.yaml"
    path.write_text(
        "model:\n  backbone: {kind: resnet50}\n  neck: {kind: c4}\n  box_head: {kind: res5}\n"
        "  rpn: {sizes: [[32, 64, 128, 256, 512]]}\n"
    )
    advice = check(str(folder), recipe=str(path), measured=False).advice
    assert advice is not None
    sizes = load_config(path, advice.overrides).model.rpn.sizes
    assert len(sizes) == 1 and len(sizes[0]) >= 5 and sizes[0] == sorted(sizes[0])


@pytest.mark.parametrize("batch", ["batch: 6\n  accumulate: 4", "batch: 8\n  acumulate: 4"])
def test_a_wrong_recipe_is_refused_before_the_work(
    batch: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "recipe.yaml"
    path.write_text(f"train:\n  {batch}\n")
    monkeypatch.setattr(
        "maskrcnn.check.run.open_dataset", lambda *a, **k: pytest.fail("the data were opened")
    )
    assert main(["check", str(folder), "--recipe", str(path)]) == 2
    assert "recipe.yaml" in capsys.readouterr().err


def test_windows_has_no_resource_module(folder: Path) -> None:
    """Everything imports and measures without it; only the memory is not told."""
    code = (
        "import psutil, sys; sys.modules['resource'] = None\n"
        "from maskrcnn.check import run, terminal\n"
        "report = run.check(sys.argv[1])\n"
        "assert report.advice.hours is not None and report.advice.memory_gb is None\n"
        "terminal.print_report(report); run.write_reports(report, None, run.Path(sys.argv[1]) / 'r.html')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "None GB" not in done.stdout + (folder / "r.html").read_text()


@pytest.mark.parametrize("side", [(100, 100), (256, 256), (256, 260), (900, 900), (64, 400)])
@pytest.mark.parametrize("recipe", ["nuclei-mobilenet", "person-efficientnet", "person-mobilenet", "quick"])
def test_the_advice_is_a_recipe_that_loads(side: tuple[int, int], recipe: str, tmp_path: Path) -> None:
    write_coco(Synthetic(3, seed=1, side=side), tmp_path / "train.json", tmp_path / "train")
    advice = check(str(tmp_path), recipe=recipe, measured=False).advice
    assert advice is not None
    augment = load_config(recipe, advice.overrides).data.augment
    assert max(augment.short_sides) <= augment.long_side

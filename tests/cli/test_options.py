"""An option that would be ignored is refused, in one line that says why."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from maskrcnn.cli import predict as cli_predict
from maskrcnn.cli.main import app, main
from maskrcnn.cli.predict_videos import named_on_stdin
from maskrcnn.errors import UserError
from maskrcnn.predict.kinds import KINDS

PUBLISHED = "torchvision/maskrcnn_resnet50_fpn"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["convert", "weights", PUBLISHED, "--config", "x.yaml"], ["--config", PUBLISHED, "leave it out"]),
        (["convert", "weights", PUBLISHED, "--style", "caffe"], ["--style", PUBLISHED, "leave it out"]),
        (["convert", "weights", PUBLISHED, "--classes", "{file}"], ["--classes", PUBLISHED, "leave it out"]),
        (
            ["convert", "weights", "m", "--to", "torchvision", "--style", "caffe"],
            ["--style", "--to", "leave it out"],
        ),
        (
            ["convert", "weights", "m", "--to", "detectron2", "--config", "x"],
            ["--config", "--to", "leave it out"],
        ),
        (["convert", "weights", "m", "--to", "detectron2", "--classes", "{file}"], ["--classes", "--to"]),
        (
            ["convert", "weights", "m", "--to", "tensorflow"],
            ["--to tensorflow", "torchvision and detectron2"],
        ),
        (["convert", "weights", "{file}", "--style", "tf"], ["--style tf", "pytorch and caffe"]),
        (["export", "m", "--to", "torch", "--calibrate", "synthetic"], ["--calibrate", "--int8"]),
        (["export", "m", "--to", "torch", "--images", "5"], ["--images", "--int8"]),
        (["predict", "{export}", "{image}", "--device", "cuda"], ["--device cuda", "exported folder"]),
        (["evaluate", "{export}", "synthetic", "--device", "mps"], ["--device mps", "exported folder"]),
        (
            ["predict", "no-such-model", "{image}", "--device", "banana"],
            ["--device banana", "cpu, cuda", "leave it out"],
        ),
        (
            ["predict", "no-such-model", "{image}", "--device", "cuda:99"],
            ["--device cuda:99", "leave it out"],
        ),
        (
            ["split", "{file}", "--out", "{new}", "--val", "0.7", "--test", "0.7"],
            ["nothing is left to train on"],
        ),
        (["split", "{file}", "--out", "{new}", "--group-pattern", "(a)"], ["--by group"]),
        (["split", "{file}", "--out", "{new}", "--by", "stratified", "--groups", "folder"], ["--by group"]),
        (["predict", "m", "{image}", "--score", "2"], ["--score"]),
        (["predict", "m", "{image}", "--save", "csv", "--scale", "1e300"], ["--scale", "1000000000"]),
        (["predict", "m", "{image}", "--save", "csv", "--scale", "inf"], ["--scale"]),
        (["predict", "person-mobilenet", "{image}", "--score", "nan"], ["--score"]),
        (["predict", "m", "{image}", "--save", "labelme", "--simplify", "1e300"], ["--simplify", "1000000"]),
        (["samples", "synthetic", "--count", "99999999"], ["--count", "600"]),
    ],
)
def test_what_would_be_ignored_is_refused(
    arguments: list[str], words: list[str], tmp_path: Path, error_line: Callable[[], str]
) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    (tmp_path / "file").write_text("thing\n")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "export.json").write_text("{}")
    names = {name: tmp_path / name for name in ("file", "new", "export")} | {"image": tmp_path / "image.png"}
    out = [] if arguments[0] != "predict" else ["--out", str(tmp_path / "out")]
    assert main([*(argument.format(**names) for argument in arguments), *out]) == 2
    line = error_line()
    for word in words:
        assert word in line


def test_save_names_what_there_is(error_line: Callable[[], str], tmp_path: Path) -> None:
    assert {"overlay", "coco", *cli_predict.TABLES, *cli_predict.LABELS} == set(KINDS)
    (tmp_path / "a.png").touch()
    assert main(["predict", "nuclei-mobilenet", str(tmp_path / "a.png"), "--save", "overlay,cvs"]) == 2
    assert error_line().endswith("--save cvs: did you mean 'csv'?")


def test_no_option_or_argument_is_an_empty_text(tmp_path: Path, error_line: Callable[[], str]) -> None:
    """Of a path "" would be this folder: the results would lie in it, or what is in it would be read."""
    group = typer.main.get_command(app)
    verbs = [([name], verb) for name, verb in group.commands.items() if name not in ("convert", "launch")]  # type: ignore[attr-defined]
    verbs += [(["convert", name], verb) for name, verb in group.commands["convert"].commands.items()]  # type: ignore[attr-defined]
    for words, verb in verbs:
        arguments = [param for param in verb.params if param.param_type_name == "argument"]
        given = ["x"] * len(arguments)
        for place, _ in enumerate(arguments):
            assert main([*words, *given[:place], "", *given[place + 1 :]]) == 2
            assert "'' is an empty value" in error_line()
        for param in verb.params:
            if param.param_type_name == "option" and not param.is_flag:
                assert main([*words, *given, param.opts[0], ""]) == 2, param.opts
                assert f"{param.opts[0]}: '' is an empty value" in error_line()
    assert main(["launch", "--processes", "2", "train", "synthetic", "--run", ""]) == 2
    assert "--run: ''" in error_line()


def test_standard_input_is_read_once(
    tmp_path: Path, error_line: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)  # closed, as by <&-
    with pytest.raises(UserError, match="no path came"):
        named_on_stdin(["-"])
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{tmp_path}/a.png\n"))
    assert named_on_stdin(["-", "b.png", "-", "b.png"]) == [f"{tmp_path}/a.png", "b.png"]

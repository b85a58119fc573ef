"""A result that cannot be written is refused before the work, in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from maskrcnn.cli.main import main
from maskrcnn.cli.outputs import check_outputs
from maskrcnn.errors import UserError
from maskrcnn.images.write import save_image
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.writers.coco import write_coco

LABELS = Path(__file__).parents[1] / "labels" / "samples" / "coco"


@pytest.mark.parametrize("name", ["sheet", "x.webq", "x.h5", ".png", "x.png/"])
@pytest.mark.parametrize("verb", [["samples", "synthetic"], ["demo"]])
def test_an_image_must_have_a_suffix_that_pillow_writes(
    verb: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error_line: Callable[[], str]
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr("maskrcnn.train.sample_sheet.draw_sheet", work)
    monkeypatch.setattr("maskrcnn.weights.load.load_model", work)
    path = f"{tmp_path}/{name}"
    if name.endswith("/"):
        Path(path).mkdir()
    assert main([*verb, "--out", path]) == 2
    line = error_line()
    assert str(Path(path)) in line and ("suffix such as .png or .jpg" in line or "is a folder" in line)
    assert list(tmp_path.iterdir()) == ([Path(path)] if name.endswith("/") else [])


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".webp", ".bmp", ".tif", ".gif", ".ppm"])
def test_images_in_the_format_of_their_suffix(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"a{suffix}"
    check_outputs(path, kind="image")
    assert not path.parent.exists()
    save_image(Image.new("RGBA", (4, 4)), path)
    with Image.open(path) as image:
        assert image.size == (4, 4)


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "no-such-model", "{image}", "--out", "{file}"],
        ["predict", "no-such-model", "{image}", "--out", "{file}/deep"],
        ["export", "no-such-model", "--to", "torch", "--out", "{full}"],
        ["convert", "weights", "no-such-file", "--out", "{file}"],
        ["convert", "weights", "no-such-model", "--to", "torchvision", "--out", "{full}"],
        ["convert", "data", "synthetic", "--to", "coco", "--out", "{full}"],
        ["split", "synthetic", "--out", "{file}"],
        ["check", "synthetic", "--fix", "{full}"],
        ["check", "synthetic", "--json", "{file}/report.json"],
        ["check", "synthetic", "--json", "{new}", "--html", "{new}"],
        ["evaluate", "no-such-model", "synthetic", "--json", "{new}", "--results", "{new}"],
        ["train", "synthetic", "--recipe", "quick", "--run", "{file}"],
    ],
)
def test_outputs_are_checked_before_anything_is_read(
    arguments: list[str], tmp_path: Path, error_line: Callable[[], str]
) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("kept")
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    names = {"image": tmp_path / "image.png", "new": tmp_path / "new.json"}
    names |= {name: tmp_path / name for name in ("file", "full")}
    assert main([argument.format(**names) for argument in arguments]) == 2
    line = error_line()
    assert str(tmp_path) in line and "; " in line and "no-such" not in line and "synthetic" not in line
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "file", "full", "image.png"]


def test_a_link_and_a_device_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "there.json")
    check_outputs(tmp_path / "link.json", Path(os.devnull))
    (tmp_path / "deep").symlink_to(tmp_path / "missing" / "deep.json")
    check_outputs(tmp_path / "deep")


def test_two_results_cannot_be_one_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a name of its own"):
        check_outputs(tmp_path / "a", None, tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match="a name of its own"):
        check_outputs(tmp_path / "a", tmp_path / "link")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "{data}/train.json", "--json", "{data}/train.json"],
        ["check", "{data}", "--no-steps", "--html", "{data}/train.json"],
        ["evaluate", "person-mobilenet", "{data}/train.json", "--html", "{data}/train.json"],
        ["evaluate", "person-mobilenet", "{data}", "--split", "train", "--json", "{data}/train.json"],
        [
            "predict",
            "nuclei-mobilenet",
            "{data}/train",
            "--out",
            "{data}/out",
            "--json",
            "{data}/train/a.png",
        ],
        ["predict", "nuclei-mobilenet", "{data}/train", "--out", "{data}", "--json", "{data}/results.json"],
        ["evaluate", "nuclei-mobilenet", "{data}/train.json", "--results", "{data}/results.json"],
        ["check", "{data}/train.json", "--no-steps", "--json", "{image}"],
        ["evaluate", "nuclei-mobilenet", "{data}/train.json", "--html", "{image}"],
        ["samples", "{data}/train.json", "--recipe", "quick", "--out", "{image}"],
        ["convert", "weights", "{data}/m", "--to", "torchvision", "--out", "{data}/m/model.safetensors"],
        ["convert", "weights", "{data}/m/model.safetensors", "--out", "{data}/m"],
    ],
)
def test_no_report_replaces_what_is_read_or_written(
    arguments: list[str], tmp_path: Path, error_line: Callable[[], str]
) -> None:
    write_coco(Synthetic(2, seed=5), tmp_path / "train.json", tmp_path / "train")
    Image.new("RGB", (32, 32)).save(tmp_path / "train" / "a.png")
    for name in ("results.json", "journal.jsonl"):  # as predict leaves them
        (tmp_path / name).touch()
    (tmp_path / "m").mkdir()
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "m" / name).write_text("a model")
    (labelled,) = (path for path in (tmp_path / "train").iterdir() if path.stem.endswith("1"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main([argument.format(data=tmp_path, image=labelled) for argument in arguments]) == 2
    assert "name" in error_line()
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
def test_a_device_that_is_full_is_named(error_line: Callable[[], str]) -> None:
    assert main(["check", str(LABELS), "--no-steps", "--json", "/dev/full"]) == 2
    assert "/dev/full: No space left on device" in error_line()


def test_a_report_is_written_through_links_and_devices(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target, link = tmp_path / "there.json", tmp_path / "link.json"
    link.symlink_to(target)
    for path in (str(link), os.devnull, "/dev/stdout"):
        if Path(path).parent.exists():
            assert main(["check", str(LABELS), "--no-steps", "--json", path]) == 0
    assert link.is_symlink() and json.loads(target.read_text())["verdict"]
    assert '"verdict"' in capfd.readouterr().out
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("suffix", [".webp", ".jpg"])
def test_an_image_too_large_for_its_format_is_one_line(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("kept")
    with pytest.raises(UserError, match="a.*: cannot hold 1 x 70,000 pixels as .*; give it the suffix .png"):
        save_image(Image.new("RGB", (1, 70_000)), path)
    assert path.read_text() == "kept" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["data.json", "samples", "report.html"])
def test_a_run_replaces_nothing_that_is_of_no_run(
    name: str, tmp_path: Path, error_line: Callable[[], str]
) -> None:
    """The labels may be called data.json, and the run go into their folder."""
    (tmp_path / name).write_text("labels")
    assert main(["train", "synthetic", "--recipe", "quick", "--run", str(tmp_path)]) == 2
    assert f"{tmp_path / name}: is of no run" in error_line()
    assert (tmp_path / name).read_text() == "labels" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["objects.csv", "a.PNG", "labelme/a.json"])
def test_a_report_among_the_results_of_predict(
    name: str, tmp_path: Path, error_line: Callable[[], str]
) -> None:
    report = tmp_path / "out" / name
    assert (
        main(["predict", "no-such-model", "no.png", "--out", f"{tmp_path}/out", "--json", str(report)]) == 2
    )
    assert f"{report}: --json would replace a result" in error_line()

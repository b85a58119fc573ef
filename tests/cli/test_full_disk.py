"""A disk that is full, or a limit of file sizes: exit code 2, one line that names what was not written, and
nothing half-written in its place.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from small import small_model

from maskrcnn.cli.main import main
from maskrcnn.images.write import save_image
from maskrcnn.labels.convert import WRITERS
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.labels.writers.label_tiff import LabelTiffWriter
from maskrcnn.labels.writers.left_out import LeftOut
from maskrcnn.weights.store import save_model

Cramped = Callable[[int], Path]
FULL = ("No space left on device; free some space", "File too large; raise the limit of file sizes")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    write_coco(Synthetic(count=3, side=(64, 64)), tmp_path / "labels.json", tmp_path / "images")
    return tmp_path / "labels.json"


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """Noise, whose overlay needs more room than there is."""
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def refuse(
    arguments: list[object], error_line: Callable[[], str], out: Path, left: set[str] = frozenset()
) -> None:  # type: ignore[assignment]
    assert main([str(argument) for argument in arguments]) == 2
    line = error_line()
    assert any(words in line for words in FULL) and str(out) in line, line
    there = {str(path.relative_to(out.parent)) for path in out.parent.rglob("*") if path.is_file()}
    assert there == left


@pytest.mark.parametrize("form", WRITERS)
def test_converting_labels(cramped: Cramped, labels: Path, error_line: Callable[[], str], form: str) -> None:
    out = cramped(4096 if form != "yolo" else 2048) / "out"
    refuse(["convert", "data", labels, "--to", form, "--out", out], error_line, out)


@pytest.mark.parametrize("library", ["torchvision", "detectron2"])
def test_converting_weights(
    cramped: Cramped, tmp_path: Path, error_line: Callable[[], str], library: str
) -> None:
    heads = {"box_head": {"fc_channels": 1024}, "mask_head": None, "keypoint_head": None}
    save_model(small_model(backbone={"kind": "resnet50"}, **heads), tmp_path / "model")
    out = cramped(1 << 20) / "out.bin"
    refuse(["convert", "weights", tmp_path / "model", "--to", library, "--out", out], error_line, out)


def test_reports_of_a_check(cramped: Cramped, labels: Path, error_line: Callable[[], str]) -> None:
    out = cramped(8192) / "page.html"
    refuse(["check", labels, "--no-steps", "--html", out], error_line, out)
    with (out.parent / "page.html").open("w") as file:
        file.write("an older page")
    refuse(["check", labels, "--no-steps", "--html", out], error_line, out, {"page.html"})
    assert out.read_text() == "an older page"


def test_overlays(cramped: Cramped, photograph: Path, error_line: Callable[[], str]) -> None:
    out = cramped(16384) / "out"
    left = {"out/.journal.lock", "out/journal.jsonl", "out/results.json"}
    refuse(["predict", "person-mobilenet", photograph, "--out", out, "--score", "0.5"], error_line, out, left)
    json.loads((out / "results.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        (["samples", "{labels}", "--recipe", "quick", "--out"], 8192),
        (["split", "{labels}", "--val", "0.4", "--out"], 1024),
        (["split", "{labels}", "--val", "0.4", "--copy", "--out"], 4096),
        (["check", "{labels}", "--no-steps", "--fix"], 4096),
    ],
)
def test_sheets_splits_and_repaired_copies(
    cramped: Cramped, labels: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], size: int
) -> None:
    out = cramped(size) / "out.png"
    assert main([each.format(labels=labels) for each in arguments] + [str(out)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert str(out) in lines[-1] and any(words in lines[-1] for words in FULL)
    assert not list(out.parent.iterdir())


def test_a_split_beside_its_images_is_whole_or_not_there(
    labels: Path, monkeypatch: pytest.MonkeyPatch, error_line: Callable[[], str]
) -> None:
    def full(part: object, path: Path, **options: object) -> None:
        if path.name == "val.json":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        path.write_text("{}")

    before = sorted(path.name for path in labels.parent.iterdir())
    monkeypatch.setattr("maskrcnn.labels.split.write_coco", full)
    assert main(["split", str(labels), "--val", "0.4", "--out", str(labels.parent)]) == 2
    assert "val.json: No space left" in error_line()
    assert sorted(path.name for path in labels.parent.iterdir()) == before


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif", ".tif", ".bmp"])
def test_an_image_that_its_end_does_not_fit(cramped: Cramped, suffix: str) -> None:
    """Pillow's own JPEG writer takes the end of the disk for the end of the image."""
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    path = cramped(8192) / f"a{suffix}"
    with pytest.raises(OSError, match="No space left|File too large"):
        save_image(Image.fromarray(pixels), path)
    assert not list(path.parent.iterdir())


def test_a_label_image_that_its_objects_do_not_fit(cramped: Cramped) -> None:
    """It was mapped into memory, and a full disk ended the process by SIGBUS."""
    pytest.importorskip("tifffile", reason="tifffile is not installed")
    out = cramped(100_000) / "out"
    writer = LabelTiffWriter(out, LeftOut())
    ring = np.array([[0, 0], [300, 0], [300, 300], [0, 300]], np.float64)
    everything = Annotation((0, 0, 300, 300), 0, polygons=[ring], area=90_000)
    with pytest.raises(OSError, match="No space left|File too large"):
        writer.begin("", "a.png", LabelledImage(1, "a.png", None, 300, 300), DatasetInfo("a", ["a"], [1]))
        writer.add([everything])
    writer.close()
    assert not [path for path in out.rglob("*") if path.is_file()]

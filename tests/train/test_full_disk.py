"""A disk that is full when a training ends: one line, and what was trained is kept and can be finished later."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskrcnn.errors import UserError
from maskrcnn.train import trainer
from maskrcnn.train.checkpoint import read_state
from maskrcnn.train.trainer import train
from tiny_network import tiny_config, tiny_data, tiny_network

Cramped = Callable[[int], Path]


@pytest.fixture(autouse=True)
def _no_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "draw_share", lambda *_: None)
    monkeypatch.setattr(trainer, "draw_found", lambda *_: None)


def run_tiny(run: Path, resume: bool = False) -> None:
    config = tiny_config(epochs=1)
    train(config, tiny_data(), tiny_data("val"), run, resume=resume, network=tiny_network(config))


@pytest.mark.parametrize("cramped", ["full disk"], indirect=True)
@pytest.mark.parametrize("moment", ["write_plots", "write_report"])
def test_a_disk_that_is_full_at_the_end_loses_nothing(
    cramped: Cramped, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], moment: str
) -> None:
    folder = cramped(4 << 20)
    run, filler, write = folder / "run", folder / "filler", getattr(trainer, moment)

    def fill(*words: Any) -> Any:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        return write(*words)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, moment, fill)
        with pytest.raises(UserError, match="No space left on device; .* goes on with --resume$") as error:
            run_tiny(run)
    assert error.value.exit_code == 2 and "\n" not in str(error.value) and str(run) in str(error.value)
    assert "Traceback" not in capfd.readouterr().err
    kept = (run / "weights" / "best" / "model.safetensors").read_bytes()
    assert not (run / "report.md").exists() and not read_state(run / "state.pt")["progress"]["finished"]
    filler.unlink()
    run_tiny(run, resume=True)
    assert (run / "report.md").exists() and read_state(run / "state.pt")["progress"]["finished"]
    assert (run / "weights" / "best" / "model.safetensors").read_bytes() == kept


@pytest.mark.parametrize("cramped", ["limit of file sizes"], indirect=True)
def test_a_limit_of_file_sizes_below_that_of_plots(
    cramped: Cramped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    write, run = trainer.write_plots, tmp_path / "run"
    monkeypatch.setattr(trainer, "write_plots", lambda run: cramped(10_000) and write(run))
    with pytest.raises(UserError, match=r"loss.png: File too large; .* goes on with --resume$"):
        run_tiny(run)
    assert read_state(run / "state.pt")["progress"]["iteration"] == 8

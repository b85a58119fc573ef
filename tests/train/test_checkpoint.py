"""state.pt: what goes in comes out, and bad files are refused in one line."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from maskrcnn.errors import UserError
from maskrcnn.train.checkpoint import TrainingState, random_state, read_state, set_random_state, write_state


def test_random_numbers_continue_after_a_round_trip(tmp_path: Path) -> None:
    write_state(
        tmp_path / "state.pt", {"random": random_state(), "progress": TrainingState(iteration=3).to_dict()}
    )
    drawn = torch.rand(3), np.random.rand(3), random.random()
    state = read_state(tmp_path / "state.pt")
    set_random_state(state["random"])
    assert torch.equal(torch.rand(3), drawn[0])
    assert np.array_equal(np.random.rand(3), drawn[1])
    assert random.random() == drawn[2]
    assert TrainingState(**state["progress"]).iteration == 3


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_damaged_state_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(UserError, match="state.pt: not a readable") as error:
        read_state(tmp_path / "state.pt")
    assert "\n" not in str(error.value)


def test_a_state_of_another_version_is_named(tmp_path: Path) -> None:
    torch.save({"version": 0}, tmp_path / "state.pt")
    with pytest.raises(UserError, match="another version"):
        read_state(tmp_path / "state.pt")


def test_a_failed_write_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_state(tmp_path / "state.pt", {"a": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        write_state(tmp_path / "state.pt", {"a": 2})
    assert read_state(tmp_path / "state.pt")["a"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_packed_state_is_refused(tmp_path: Path) -> None:
    """A few bytes could unpack to all memory there is; torch packs nothing."""
    write_state(tmp_path / "state.pt", {"a": torch.zeros(10)})
    with zipfile.ZipFile(tmp_path / "state.pt") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "state.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.raises(UserError, match="it is packed"):
        read_state(tmp_path / "state.pt")

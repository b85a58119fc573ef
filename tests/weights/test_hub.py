"""The Hugging Face hub's conventions, on local folders: the library's network calls are replaced."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch

from maskrcnn import MaskRCNN
from maskrcnn.cli.main import main
from maskrcnn.errors import UserError


class Api:
    """Keeps in a folder what would be uploaded."""

    folder: Path
    made: list[tuple[str, bool]]

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
        self.made.append((name, private))

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
        shutil.copytree(folder_path, self.folder / repo_id, dirs_exist_ok=True)
        return f"https://huggingface.co/{repo_id}/commit/0"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    Api.folder, Api.made = tmp_path / "hub", []

    def snapshot_download(name: str, *, allow_patterns: list[str]) -> str:
        if not (Api.folder / name).is_dir():
            raise OSError(f"404 Client Error: {name}\nRepository Not Found")
        assert set(allow_patterns) == {"config.json", "model.safetensors", "README.md"}
        return str(Api.folder / name)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return Api()


def test_pushed_and_pulled(hub: Api) -> None:
    model = MaskRCNN.from_pretrained("person-mobilenet")
    assert model.push_to_hub("somebody/people", private=True).startswith(
        "https://huggingface.co/somebody/people"
    )
    assert hub.made == [("somebody/people", True)]
    files = sorted(p.name for p in (hub.folder / "somebody" / "people").iterdir())
    assert files == ["README.md", "config.json", "model.safetensors"]
    assert "library_name: maskrcnn" in (hub.folder / "somebody" / "people" / "README.md").read_text()
    again = MaskRCNN.from_pretrained("hf://somebody/people")
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in model.state_dict().items())
    assert again.config == model.config


def test_what_is_not_there_is_one_line(hub: Api) -> None:
    with pytest.raises(UserError, match="hf://somebody/nothing: not to be had from the hub: 404"):
        MaskRCNN.from_pretrained("hf://somebody/nothing")
    with pytest.raises(UserError, match="OWNER/NAME"):
        MaskRCNN.from_pretrained("person-mobilenet").push_to_hub("people")
    with pytest.raises(UserError, match="OWNER/NAME"):
        MaskRCNN.from_pretrained("hf://people")


def test_a_mistyped_path_asks_nobody_and_names_what_is_near(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(*_: object, **__: object) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", asked)
    monkeypatch.chdir(tmp_path)
    for name in ("quick-1", "quick-8", "slow"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert main(["evaluate", "runs/quick-9", "synthetic"]) == 2
    line = capsys.readouterr().err.strip()
    assert "near it: runs/quick-8, runs/quick-1; on the Hugging Face hub: hf://runs/quick-9; shipped:" in line
    assert "\n" not in line
    with pytest.raises(UserError, match="rums is not there either"):
        MaskRCNN.from_pretrained("rums/quick-9")

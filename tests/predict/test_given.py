"""Images as Python has them: bytes, open files, addresses; and floats that are no image yet."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from fixed_model import FixedModel
from PIL import Image

from maskrcnn.errors import DataError, UserError
from maskrcnn.predict import given
from maskrcnn.predict.predictor import predict


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)).save(path)
    return path


def test_bytes_and_open_files_are_as_the_file(png: Path) -> None:
    expected = predict(FixedModel(), png)
    data = png.read_bytes()
    with png.open("rb") as file:
        for source in (data, bytearray(data), memoryview(data), io.BytesIO(data), file):
            found = predict(FixedModel(), source)
            assert found.path is None
            found.path = expected.path
            assert found == expected
    many = predict(FixedModel(), [data, str(png), np.array(Image.open(png))])
    assert [one.path for one in many] == [None, png, None] and many[0].pixels is not None


def test_bytes_that_are_no_image_are_named_without_a_path_that_is_gone(png: Path) -> None:
    for data in (b"", b"not an image", png.read_bytes()[:200]):
        with pytest.raises(DataError, match="^given image 1: ") as error:
            predict(FixedModel(), data)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="'rb'"):
        predict(FixedModel(), io.StringIO("text"))


def test_addresses_only_where_allowed(png: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(url: str, folder: Path) -> Path:
        asked.append(url)
        folder.mkdir()
        copy = folder / "image.png"
        copy.write_bytes(png.read_bytes())
        return copy

    monkeypatch.setattr(given, "fetch", fetch)
    for url in ("https://host/image.png", "HTTP://host/image.png"):
        for source in (url, [url]):
            with pytest.raises(UserError, match="allow_network=True"):
                predict(FixedModel(), source)
    assert not asked
    found = predict(FixedModel(), "https://host/image.png", allow_network=True)
    assert asked == ["https://host/image.png"] and found.path is None and found.pixels is not None


def test_floats_that_may_be_anything_are_refused() -> None:
    image = np.random.default_rng(0).random((64, 128, 3))
    assert len(predict(FixedModel(), image)) and len(predict(FixedModel(), image.astype(np.float16)))
    for wrong, why in ((image * 1.02, "above 1"), (image * 255, "above 1"), (image - 0.45, "below 0")):
        with pytest.raises(UserError, match=f"{why}.*value_range"):
            predict(FixedModel(), wrong)
    model = FixedModel()
    model.config.input.value_range = (-0.45, 0.55)
    assert len(predict(model, image - 0.45))

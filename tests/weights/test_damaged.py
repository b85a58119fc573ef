"""A model folder in which bits flipped or an end was lost: the same network, or one line; never another network
without a word.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from small import small_config

from maskrcnn.errors import UserError
from maskrcnn.model.build import build
from maskrcnn.weights import store
from maskrcnn.weights.store import load_weights, save_model


@pytest.mark.parametrize("count", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_damaged_weights_are_one_line_or_the_same(tmp_path: Path, count: int) -> None:
    model = build(small_config())
    save_model(model, tmp_path)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path, draw = tmp_path / "model.safetensors", random.Random(count)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for number in range(count):
        spoilt = bytearray(whole)
        place = draw.randrange(header if number % 2 else len(whole))
        if number % 10:
            spoilt[place] ^= 1 << draw.randrange(8)
        else:
            del spoilt[place:]
        path.write_bytes(spoilt)
        try:
            load_weights(model, path)
        except UserError as error:
            assert "\n" not in str(error) and str(path) in str(error)
        else:
            assert number % 10 and place < header
            for name, tensor in model.state_dict().items():
                assert torch.equal(tensor, expected[name]), (number, name)


def test_settings_with_flipped_bits_are_settings_or_one_line(tmp_path: Path) -> None:
    save_model(build(small_config()), tmp_path)
    path, draw = tmp_path / "config.json", random.Random(0)
    whole = path.read_bytes()
    for number in range(200):
        spoilt, place = bytearray(whole), draw.randrange(len(whole))
        if number % 10:
            spoilt[place] ^= 1 << draw.randrange(8)
        else:
            del spoilt[place:]
        path.write_bytes(spoilt)
        try:
            store.load_model_config(tmp_path)
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000


def test_weights_without_a_digest_are_read(tmp_path: Path) -> None:
    model = build(small_config())
    save_model(model, tmp_path)
    path = tmp_path / "model.safetensors"
    save_file(load_file(path), path)
    load_weights(model, path)

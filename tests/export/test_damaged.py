"""A bit that flips in a file of an exported folder is noticed, wherever it is, before an engine sees it."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from exported import small_network

from maskrcnn.errors import UserError
from maskrcnn.runtime.exported_folder import (
    INPUTS,
    Record,
    SideRange,
    Target,
    outputs,
    read_export,
    write_export,
)

FILES: dict[Target, list[str]] = {
    "openvino": ["model.xml", "model.bin"],
    "onnx": ["model.onnx"],
    "torch": ["model.pt2"],
}


@pytest.fixture(params=FILES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An exported folder whose graph is any bytes."""
    for name in FILES[request.param]:
        (tmp_path / name).write_bytes(random.Random(0).randbytes(5000))
    config = small_network().config
    sides = SideRange(least=96, most=16384, multiple=config.input.divisor)
    record = Record(target=request.param, sides=sides, inputs=list(INPUTS), outputs=outputs(config))
    write_export(tmp_path, record, config)
    read_export(tmp_path)
    return tmp_path


def test_flipped_bits_and_lost_ends_are_one_line(folder: Path) -> None:
    draw = random.Random(0)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for number in range(60):
            spoilt, place = bytearray(whole), draw.randrange(len(whole))
            if number % 6:
                spoilt[place] ^= 1 << draw.randrange(8)
            else:
                del spoilt[place:]
            path.write_bytes(spoilt)
            try:
                record, *_ = read_export(folder)
            except UserError as error:
                assert "\n" not in str(error) and str(folder) in str(error)
            else:  # only what the record says of how it was made and compared, which changes no answer
                assert path.name == "export.json" and record.target
        path.write_bytes(whole)


def test_a_record_names_only_files_of_its_folder(folder: Path) -> None:
    path = folder / "export.json"
    path.write_text(path.read_text().replace('"config.json"', '"../secret.json"'))
    with pytest.raises(UserError, match="names '../secret.json', which is no file of an export"):
        read_export(folder)

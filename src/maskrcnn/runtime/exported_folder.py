"""An exported folder: `export.json` (what it is and was made from), `config.json` (the ModelConfig) and the
graph's files.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from maskrcnn.config.model import ModelConfig
from maskrcnn.config.section import Positive, Section, validate
from maskrcnn.errors import UserError
from maskrcnn.files import write_json
from maskrcnn.safe_files import parse_json

RECORD, CONFIG = "export.json", "config.json"
FORMAT = 1
Target = Literal["openvino", "onnx", "torch"]
GRAPHS: dict[Target, str] = {"openvino": "model.xml", "onnx": "model.onnx", "torch": "model.pt2"}
INPUTS = ("images", "sizes", "score")
MOST_SIDE = 16384  # pixels; what is larger is cut into tiles or shrunk


class SideRange(Section):
    """Pixels that height and width of padded images may have. Smaller ones are padded to `least`."""

    least: Positive
    most: Positive
    multiple: Positive


class Record(Section):
    """The contents of `export.json`."""

    format: int = FORMAT
    target: Target
    precision: Literal["fp32", "int8"] = "fp32"
    source: str = ""  # what the user named
    files: dict[str, str] = {}  # SHA-256 of the graph's files and of config.json, by name
    weights: str = ""  # digest of the network's tensors and settings, see `digest`
    versions: dict[str, str] = {}
    batch: str = "any"
    sides: SideRange
    inputs: list[str]
    outputs: list[str] = Field(min_length=4)
    verified: list[dict[str, Any]] = []  # the table of `maskrcnn.export.verify`
    calibration: dict[str, Any] | None = None  # of int8: images and what stayed in full precision


def outputs(config: ModelConfig) -> list[str]:
    """Names of what the graph gives, in order: the fields of RawDetections that are there."""
    names = ["boxes", "scores", "labels", "valid"]
    if config.mask_head:
        names.append("masks")
    if config.keypoint_head:
        names.append("keypoint_logits" if config.keypoint_head.decode == "resize" else "keypoints")
    return names


def is_export(folder: str | Path) -> bool:
    """Whether a path is an exported folder, sound or not."""
    return (Path(folder) / RECORD).is_file()


def read_export(folder: Path) -> tuple[Record, ModelConfig, Path]:
    """The record, the settings and the graph's file of an exported folder.

    Raises:
        UserError: not such a folder, of a later version, incomplete, with files that lie elsewhere, or with
            a record that contradicts its settings.
    """
    record = validate(Record, _read(folder / RECORD), str(folder / RECORD))
    if record.format > FORMAT:
        raise UserError(
            f"{folder / RECORD}: written by a later maskrcnn (format {record.format}); export it anew"
        )
    config = validate(ModelConfig, _read(folder / CONFIG), str(folder / CONFIG))
    graph = folder / GRAPHS[record.target]
    for path in _graph_files(folder, record.target):
        if not path.is_file():
            raise UserError(f"{folder}: has no {path.name}; export it anew")
        if path.resolve().parent != folder.resolve():
            raise UserError(f"{path}: leads out of its folder; copy the file into it")
    _check(record, config, folder / RECORD)
    for name, known in record.files.items():
        if name not in (CONFIG, graph.name, graph.with_suffix(".bin").name):
            raise UserError(
                f"{folder / RECORD}: names {name!r}, which is no file of an export; export it anew"
            )
        if (folder / name).is_file() and _digest(folder / name) != known:
            raise UserError(f"{folder / name}: is not what was exported (another SHA-256); export it anew")
    return record, config, graph


def write_export(folder: Path, record: Record, config: ModelConfig) -> None:
    """Write the two JSON files of an exported folder, beside its graph."""
    write_json(folder / CONFIG, config.model_dump(mode="json"))
    paths = [folder / CONFIG, *_graph_files(folder, record.target)]
    record = record.model_copy(update={"files": {path.name: _digest(path) for path in paths}})
    write_json(folder / RECORD, record.model_dump(mode="json"))


def _graph_files(folder: Path, target: Target) -> list[Path]:
    graph = folder / GRAPHS[target]
    return [graph, graph.with_suffix(".bin")] if target == "openvino" else [graph]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(record: Record, config: ModelConfig, path: Path) -> None:
    """Refuses a record that is not of a graph of these settings."""
    sides, divisor = record.sides, config.input.divisor
    if record.inputs != list(INPUTS) or record.outputs != outputs(config):
        raise UserError(f"{path}: inputs or outputs are not those of {CONFIG}; export it anew")
    if not (
        sides.least <= sides.most <= MOST_SIDE and sides.multiple == divisor and sides.least % divisor == 0
    ):
        raise UserError(f"{path}: sides do not fit input.divisor={divisor} of {CONFIG}; export it anew")
    if not config.classes:
        raise UserError(f"{path.parent / CONFIG}: names no classes; export it anew")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path.parent}: has no {path.name}; export it anew")
    return parse_json(path, "export it anew")

"""Other libraries' checkpoint files, read without running anything that is in them; never a fallback."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from maskrcnn.array_pickle import REMEDY, PickledArray, PickleReader, line, not_numbers, numbers, refusal
from maskrcnn.errors import UserError

# torch.save before 1.6: the pickle of a magic number
LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LEGACY_PICKLES = 5  # magic number, version, system, the object, its storages' keys; then raw numbers
LONGEST_HEADER = 100_000_000  # bytes, of safetensors
WRAPPERS = ("model", "state_dict", "model_state", "blobs")
TRAINING_STATE = ("optimizer", "optimizers", "scheduler", "lr_scheduler", "param_schedulers")
MAX_FACTS, MAX_DEPTH = 100_000, 12


@dataclass
class Checkpoint:
    """What a file holds: tensors by the publisher's names, and small plain facts beside them (class names,
    epoch).
    """

    tensors: dict[str, Tensor]
    extra: dict[str, Any]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Reads safetensors, `.npz`, torch's two formats, and pickled dicts of arrays (detectron2, Detectron).

    The format is told by the content. {"model": ...}, {"state_dict": ...}, {"model_state": ...} and {"blobs":
    ...} are unwrapped, a "module." before every name goes. Number types stay as they are; nothing needs a
    GPU.

    Args:
        path: a file of at most some GB; it may come from anybody.

    Raises:
        UserError: no such file, another format, a damaged file, one that asks for more than arrays and plain
            containers (named), claims more than it holds, or holds a number that is not finite.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder; give the checkpoint file in it")
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; give a checkpoint, or a name that `maskrcnn models` lists"
            )
        content, size = _read(path)
        return _sort(path, content, size)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: not readable: {line(error.strerror or error)}") from None
    except Exception as error:  # a damaged file makes pickle, torch and zipfile raise whatever they meet
        why = f"{type(error).__name__}: {line(error)}"
        raise UserError(f"{path}: damaged, or not a checkpoint: {why}") from None


def _read(path: Path) -> tuple[Any, int]:
    """What the file holds, its arrays as `PickledArray` or Tensor, and how many bytes of them there can
    be.
    """
    size = path.stat().st_size
    if not size:
        raise UserError(f"{path}: is empty; was the download cut off?")
    with path.open("rb") as file:
        head = file.read(32)
    if head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < LONGEST_HEADER:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            return {**(file.metadata() or {}), **tensors}, size
    if head.startswith(b"PK\x03\x04"):
        return _read_zip(path, size)
    legacy_torch = head.startswith(LEGACY_TORCH)
    if legacy_torch or head[0] == 0x80 or path.suffix in (".pkl", ".pickle"):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            if not legacy_torch:
                return PickleReader(path, size).read(view), size
            for _ in range(LEGACY_PICKLES):
                PickleReader(path, size, torch_file=True).read(view)
        return _torch_load(path), size
    start = line(head[:16].decode("latin1"))
    raise UserError(f"{path}: neither safetensors, .npz, torch nor pickle; it starts with '{start}'")


def _read_zip(path: Path, size: int) -> tuple[Any, int]:
    """A zip of torch.save or numpy.savez."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        unpacked = sum(info.file_size for info in infos)
        if unpacked > 50 * size + (16 << 20):
            raise UserError(f"{path}: refused: {size} bytes that would unpack to {unpacked}")
        if not any(info.CRC for info in infos):  # torch's set_crc32_options(False) wrote no checksums
            for info in infos:
                info.CRC = None  # type: ignore[assignment]  # which zipfile does not compare
        # torch finds DATA.PKL too
        pickles = [info for info in infos if info.filename.lower().endswith(".pkl")]
        for info in pickles:
            content = archive.read(info)
            PickleReader(path, len(content), torch_file=True).read(io.BytesIO(content))
        if not pickles:
            return _read_npz(path, archive), unpacked
        if damaged := archive.testzip():  # torch does not look
            raise UserError(
                f"{path}: damaged: {line(damaged)} does not agree with its checksum; fetch it again"
            )
    _refuse_two_directories(path, size)
    return _torch_load(path), unpacked


def _refuse_two_directories(path: Path, size: int) -> None:
    """Refuse a zip of which torch could read another directory than zipfile did: one that does not end with
    its directory and nothing behind or between.
    """
    with path.open("rb") as file:
        file.seek(-min(size, 98), os.SEEK_END)
        tail = file.read()
    end, locator, record = tail[-22:], tail[-42:-22], tail[-98:-42]
    length, start, comment = struct.unpack("<LLH", end[12:])
    place, plain = size - 22, end.startswith(b"PK\x05\x06") and not comment
    if plain and locator.startswith(b"PK\x06\x07"):  # of more than 4 GB, and always as torch writes
        plain = record.startswith(b"PK\x06\x06") and struct.unpack("<Q", locator[8:16])[0] == size - 98
        short = length, start
        place, (length, start) = size - 98, struct.unpack("<QQ", record[40:56])
        plain = plain and all(a in (b, 2**32 - 1) for a, b in zip(short, (length, start), strict=True))
    if not plain or start + length != place:
        raise UserError(
            f"{path}: refused: a zip with something before, between or behind its parts; {REMEDY}"
        )


def _read_npz(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    """The arrays of numpy.savez; of words a list. numpy.load would allocate what a header claims before it
    reads.
    """
    content: dict[str, Any] = {}
    for info in archive.infolist():
        if not info.filename.endswith(".npy"):
            raise UserError(f"{path}: a zip with {line(info.filename)} in it, neither torch's nor NumPy's")
        with archive.open(info) as file:
            version = np.lib.format.read_magic(file)
            header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            shape, fortran, dtype = header[version](file)
            name = info.filename.removesuffix(".npy")
            if dtype.kind not in "biufcU":
                raise not_numbers(path, dtype.kind)
            array = numbers(file.read(), dtype, shape, fortran)
        content[name] = array.tolist() if dtype.kind == "U" else PickledArray(array)
    return content


def _torch_load(path: Path) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # of formats that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted:
            raise refusal(path, wanted[1]) from None
        stated = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
        why = line(stated[1]) if stated else "torch cannot read it with weights_only=True"
        raise UserError(f"{path}: refused: {why}; {REMEDY}") from None


def _sort(path: Path, content: Any, size: int) -> Checkpoint:
    """Tensors and facts apart, the wrappings off."""
    extra: dict[str, Any] = {}
    budget = [MAX_FACTS]
    for _ in range(2):
        inner = [
            key for key in WRAPPERS if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)
        ]
        if not inner:
            break
        extra |= _facts({key: value for key, value in content.items() if key != inner[0]}, budget)
        content = content[inner[0]]
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}, not tensors by name")
    tensors: dict[str, Tensor] = {}
    for name, value in content.items():
        if isinstance(value, PickledArray | Tensor):
            if not isinstance(name, str):
                raise UserError(f"{path}: a tensor's name is of type {type(name).__name__}, not a word")
            tensors[name] = _checked(path, name, value, size)
    extra |= _facts(
        {key: value for key, value in content.items() if not isinstance(value, PickledArray | Tensor)}, budget
    )
    if not tensors:
        names = ", ".join(line(name) for name in list(content)[:5] if isinstance(name, str)) or "nothing"
        raise UserError(f"{path}: holds no tensors by name; its entries are {names}")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return Checkpoint(tensors, extra)


def _checked(path: Path, name: str, value: PickledArray | Tensor, size: int) -> Tensor:
    """A plain CPU tensor of finite numbers."""
    tensor = torch.from_numpy(value.numbers()) if isinstance(value, PickledArray) else value.detach()
    on_cpu = tensor.device.type == "cpu"
    if tensor.layout != torch.strided or not on_cpu or tensor.is_quantized or tensor.is_nested:
        raise UserError(
            f"{path}: {line(name)} is a {tensor.layout} tensor on {tensor.device}; only plain ones are read"
        )
    if tensor.numel() * tensor.element_size() > max(size, 1 << 20):  # a view that repeats a few numbers
        raise UserError(
            f"{path}: refused: {line(name)} claims to be {tuple(tensor.shape)} in a file of {size} bytes"
        )
    refuse_not_finite(path, name, tensor)
    return tensor


def refuse_not_finite(path: Path, name: str, tensor: Tensor) -> None:
    """Raises a UserError for a tensor with infinities or NaN: a network of such weights finds nothing."""
    values = tensor.float() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor
    if not bool(torch.isfinite(values).all()):
        raise UserError(f"{path}: {line(name)} holds numbers that are not finite; did that training diverge?")


def _facts(content: dict[Any, Any], budget: list[int]) -> dict[str, Any]:
    """The entries that are plain; what holds anything else, or training state, is left out."""
    kept: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(key, str) and key not in TRAINING_STATE:
            try:
                kept[key] = _plain(value, budget, MAX_DEPTH)
            except _NotPlainError:
                continue
    return kept


class _NotPlainError(Exception):
    """A value that is not a plain fact."""


def _plain(value: Any, budget: list[int], depth: int) -> Any:
    """A copy of `value` from plain types; entries of dicts that are not plain are left out."""
    budget[0] -= 1
    if budget[0] < 0 or depth < 0:
        raise _NotPlainError
    if isinstance(value, PickledArray) and value.values is not None and value.values.ndim == 0:
        return value.values.item()
    if type(value) in (str, int, float, bool):
        return value
    if type(value) in (list, tuple):
        return type(value)(_plain(item, budget, depth - 1) for item in value)
    if isinstance(value, dict):
        kept = {}
        for key, item in value.items():
            try:
                if type(key) in (str, int, float, bool):
                    kept[key] = _plain(item, budget, depth - 1)
            except _NotPlainError:
                continue
        return kept
    raise _NotPlainError

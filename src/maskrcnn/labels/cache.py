"""Labels that took long to read, kept as a file of flat arrays: the next time, and in every process, they are
mapped.

The file is of the safetensors format, so nothing in it is ever run. It is used only where it belongs to this
user, nobody else may write to it, and it is for the very state of the label file; else the labels are read
again. A file that is there is never overwritten: on a network drive that would kill a training elsewhere
which has mapped it.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import json
import mmap
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import UserError, one_line
from maskrcnn.files import cache_folder, code_digest, only_ours
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.packed import PackedLabels
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problems
from maskrcnn.labels.types import DatasetInfo
from maskrcnn.shell import printable

SLOW = 1.0  # seconds of reading that are worth a file
SMALL = 2**20  # bytes of a label file that is never slow
UNUSED = 30 * 24 * 3600.0  # seconds after which a cache file is removed
ENDS = 2**16  # bytes at both ends of a label file that its key looks at
DTYPES = {"F64": np.float64, "I64": np.int64, "U8": np.uint8}


class Unusable(Exception):
    """A cache file that is damaged, or that somebody else may have written."""


def cached_labels(
    source: Path, image_folder: Path | None, reader: str, read: Callable[[], FileDataset]
) -> FileDataset:
    """What `read()` returns, from the cache where it was read before and the file has not changed since.

    Whatever goes wrong with the cache costs the time of reading and a line on stderr, nothing else.

    Args:
        source: the label file.
        image_folder: the folder of the images that `read` was told.
        reader: what `read` takes the file for; several readers may understand one file.

    Raises:
        whatever `read` raises.
    """
    # as typed too: messages and the paths of the images begin with it
    place = [str(source), str(source.absolute()), str(image_folder), reader]
    key = _key(source, place)
    if key is None:
        return read()
    try:
        path = _path(key)
    except UserError:  # no folder to cache in
        return read()
    with _first_of_machine(path):
        return _from_cache(source, place, key, path, read)


@contextlib.contextmanager
def _first_of_machine(path: Path) -> Iterator[None]:
    """Inside is first one process of a training on this machine, and the others when it has done."""
    if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) < 2 or not hasattr(os, "fork"):
        yield
        return
    import fcntl

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = path.with_suffix(".lock").open("a")
    except OSError:  # nothing can be kept there either
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                fcntl.flock(file, fcntl.LOCK_SH)  # the others all at once: what is not kept they read each
        yield


def _from_cache(
    source: Path, place: list[str], key: str, path: Path, read: Callable[[], FileDataset]
) -> FileDataset:
    """What is in the cache at `path`, else what `read` returns, which is kept where that took long."""
    try:
        found = load_labels(path, key)
        if found is not None and _images_are_there(found):
            return found
        useless = found is not None
    except Unusable as why:
        print(printable(f"warning: {path}: {why}; reading {source} again"), file=sys.stderr)
        useless = True
    if useless:
        with contextlib.suppress(OSError):
            path.unlink()
    started = time.monotonic()
    with _collector_at_rest():
        labels = read()
    slow = time.monotonic() - started > SLOW
    # a size that was read from an image depends on more than the label file
    if not slow or labels.problems.counts[ProblemKind.IMAGE_SIZE_READ] or _key(source, place) != key:
        return labels
    try:
        save_labels(labels, path, key)
        return load_labels(path, key) or labels  # mapped, so that the arrays in memory can go
    except (OSError, SafetensorError, Unusable) as error:
        line = f"warning: {source}: its labels cannot be kept for the next time: {one_line(error)}"
        print(printable(line), file=sys.stderr)
        return labels


@contextlib.contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Inside, Python does not look for cycles: it goes through all objects ever again while millions are
    made.
    """
    active = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if active:
            gc.enable()


def save_labels(labels: FileDataset, path: Path, key: str) -> None:
    """Write a data set to a cache file that only this user can read; it appears whole or not at all.

    One that is there is left as it is. Those that nobody has used for a month are removed.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    description = {
        "key": key,
        "name": labels.name,
        "classes": labels.classes,
        "class_ids": labels.class_ids,
        "keypoints": labels.keypoints.model_dump(mode="json") if labels.keypoints else None,
        "problems": labels.problems.as_json(),
    }
    text, arrays = json.dumps(description), labels.packed.arrays()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # for this user only, as it stays
    handle, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        save_file(arrays, unfinished, {"description": text, "digest": _digest(text, arrays)})
        os.chmod(unfinished, 0o600)
        with contextlib.suppress(FileExistsError):  # another process was quicker
            os.link(unfinished, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)
    for file in path.parent.glob("*.safetensors"):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > UNUSED:
                file.unlink()


def load_labels(path: Path, key: str) -> FileDataset | None:
    """The data set in a cache file; None where there is none, or one with another key.

    Raises:
        Unusable: the file is damaged, or others can write to it.
    """
    try:
        buffer = _map(path)
        if buffer is None:
            return None
        text, digest, arrays = _parse(buffer)
        description = json.loads(text)
        if description["key"] != key:
            return None
        if _digest(text, arrays) != digest:
            raise Unusable("damaged")
        with contextlib.suppress(OSError):
            os.utime(path)
        schema = description["keypoints"]
        info = DatasetInfo(
            description["name"],
            description["classes"],
            description["class_ids"],
            None if schema is None else KeypointSchema.model_validate(schema),
            Problems.from_json(description["problems"]),
        )
        return FileDataset(_MappedLabels(arrays, path, digest), info)
    except OSError as error:
        raise Unusable(f"not readable ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Unusable("damaged") from None


class _MappedLabels(PackedLabels):
    """Labels in a mapped file; whoever unpickles them, such as a started worker, maps the file too."""

    def __init__(self, arrays: dict[str, np.ndarray], path: Path, digest: str) -> None:
        super().__init__(**arrays)
        object.__setattr__(self, "_file", (path, digest))  # the dataclass is frozen

    def __reduce__(self) -> tuple[Any, ...]:
        return _map_again, self._file  # type: ignore[attr-defined]


def _map_again(path: Path, digest: str) -> PackedLabels:
    buffer = _map(path)
    if buffer is not None:
        _, found, arrays = _parse(buffer)
        if found == digest:  # not computed again: the parent has
            return _MappedLabels(arrays, path, digest)
    raise RuntimeError(f"{path}: the label cache was changed while it was used; start again")


def _map(path: Path) -> np.ndarray | None:
    """The bytes of a cache file, uint8; None where there is none."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode) or not only_ours(state):
            raise Unusable("not used, since others may write to it")
        return np.frombuffer(mmap.mmap(handle, 0, access=mmap.ACCESS_READ), np.uint8)
    finally:
        os.close(handle)


def _parse(buffer: np.ndarray) -> tuple[str, str, dict[str, np.ndarray]]:
    """Description, its digest, and the arrays of a safetensors file: a header in JSON, its length before it.

    safetensors' own reader for NumPy copies the arrays: 212 MB more in every worker for COCO's 120,000 images
    (benchmarks/labels.py; docs/data.md, "Large label files", has what mapping takes).
    """
    begin = 8 + int.from_bytes(buffer[:8].tobytes(), "little")
    header = json.loads(buffer[8:begin].tobytes())
    metadata = header.pop("__metadata__")
    arrays = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        arrays[name] = (
            buffer[begin + first : begin + last].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
        )
    return metadata["description"], metadata["digest"], arrays


def _digest(text: str, arrays: dict[str, np.ndarray]) -> str:
    hasher = hashlib.sha256(text.encode())
    for name, values in sorted(arrays.items()):
        hasher.update(f"{name} {values.dtype} {values.shape}".encode())
        hasher.update(np.ascontiguousarray(values).reshape(-1).data)
    return hasher.hexdigest()


def _key(source: Path, place: list[str]) -> str | None:
    """What the labels in a file at `place` depend on; None where the file is too small to be slow, or cannot
    be looked at.
    """
    try:
        state = source.stat()
        if state.st_size < SMALL or not stat.S_ISREG(state.st_mode):
            return None
        with source.open("rb") as file:
            ends = hashlib.sha256(file.read(ENDS))
            file.seek(-ENDS, os.SEEK_END)
            ends.update(file.read(ENDS))
    except OSError:
        return None
    changes = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    return json.dumps([*place, *changes, ends.hexdigest(), _readers()])


def _readers() -> str:
    """A digest of the code that labels go through, so that a change of it makes them be read again."""
    return code_digest("labels", "masks", "config", "images")


def _path(key: str) -> Path:
    return cache_folder() / "labels" / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.safetensors"


def _images_are_there(labels: FileDataset) -> bool:
    """Whether every image is where it was; where not, reading again says what is wrong, or finds the new
    place.
    """
    return all(os.path.isfile(labels.packed.path(index) or "") for index in range(len(labels)))

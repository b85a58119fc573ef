"""The ground floor of files: written whole or not at all, locks between processes, and the cache folder.

What is unfinished lies beside its place as `.NAME.RANDOM.tmp`. A kill can leave one of these; a later write
of the same name removes it once it is a day old, since before that it may be another process's, on another
machine even.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from maskrcnn.errors import UserError

ABANDONED = 24 * 3600.0  # seconds without a change after which an unfinished file is nobody's
UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}\.tmp", re.DOTALL)  # names that `_beside` makes
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)  # some network drives
_FAR = 1 << 30  # the byte that is locked on Windows: nobody can read one that is


def cache_folder() -> Path:
    """Where downloads are kept: $MASKRCNN_CACHE, $XDG_CACHE_HOME/maskrcnn or ~/.cache/maskrcnn. Not created
    here.

    Raises:
        UserError: none of them is known, or it is not there and cannot be made.
    """
    folder = _cache_folder()
    there = next((parent for parent in (folder, *folder.absolute().parents) if parent.exists()), folder)
    if not os.access(there, os.R_OK if there == folder else os.W_OK | os.X_OK):
        raise UserError(f"{there}: cannot cache in it: set MASKRCNN_CACHE to a folder of your own")
    return folder


def _cache_folder() -> Path:
    own, shared = os.environ.get("MASKRCNN_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own).expanduser()
    if shared and Path(shared).is_absolute():  # the XDG specification: relative ones are to be ignored
        return Path(shared) / "maskrcnn"
    try:
        return Path.home() / ".cache" / "maskrcnn"
    except RuntimeError:  # no HOME and no entry in passwd, as in a container with a made-up user
        raise UserError("no home folder to cache in: set MASKRCNN_CACHE to a folder") from None


def only_ours(state: os.stat_result) -> bool:
    """Whether a file or folder belongs to this user and nobody else may write to it; always so on Windows."""
    return not hasattr(os, "getuid") or (state.st_uid == os.getuid() and not state.st_mode & 0o022)


def code_digest(*folders: str) -> str:
    """Hexadecimal digest of the package's code in `folders`, for the key of what is cached of its results."""
    hasher = hashlib.sha256()
    for folder in folders:
        for file in sorted((Path(__file__).parent / folder).rglob("*.py")):
            hasher.update(file.read_bytes())
    return hasher.hexdigest()


def write_text(path: Path, text: str, *, flush: bool = True) -> None:
    """Write a UTF-8 file as `new_file` does; bytes of file names that are no text as \\udcff."""
    with new_file(path, flush=flush) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: Any) -> None:
    """Write JSON as `new_file` does, indented, with names in their own script.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
        OSError: as `new_file`.
    """
    write_text(path, json.dumps(content, allow_nan=False, ensure_ascii=False, indent=1) + "\n")


@contextmanager
def new_file(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """A path to write to; the file there takes the place of `path` when the block ends without an error.

    Until then and after an error the old file is whole; its permissions stay. A link stays and what it
    leads to is replaced. A device or a pipe is written through: `/dev/null`, `/dev/stdout`, `>(...)`.

    Args:
        path: missing folders above it are created.
        flush: it is on the disk before it takes its place, and outlasts a power failure too.

    Raises:
        OSError: the folder cannot be written to or the disk is full.
    """
    path, through = _follow(Path(path))
    if through:
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "file"
            yield whole
            # stdout may be a file that others write to
            with naming(path), whole.open("rb") as file, path.open("ab") as out:
                shutil.copyfileobj(file, out)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _beside(path)
    try:
        unfinished.open("xb").close()
        likewise = path if path.exists() else unfinished
        mode = likewise.stat().st_mode & 0o7777
        yield unfinished
        unfinished.chmod(mode)  # a library may have made another file of it
        if flush:
            _to_disk(unfinished)
        os.replace(unfinished, path)
    except Exception as error:
        _tell_where(error, path, unfinished)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system that name no file, as those of a full disk, name this one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def new_folder(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """An empty folder to fill; it becomes `path` when the block ends without an error.

    An empty folder there gives way. One with contents is kept: another process was quicker.

    Args:
        shared: others make the same, so that theirs will do.

    Raises:
        UserError: another process was quicker, and the folder is not `shared`.
        OSError: the folder above cannot be written to, the disk is full, or `path` is a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _beside(path)
    try:
        unfinished.mkdir()
        yield unfinished
        for file in unfinished.rglob("*"):
            if file.is_file():
                _to_disk(file)
        with suppress(OSError):
            path.rmdir()  # Windows renames onto nothing, be it empty
        try:
            os.rename(unfinished, path)
        except OSError:
            if not path.is_dir() or not any(path.iterdir()):
                raise
            if not shared:
                raise UserError(f"{path}: another process has made it meanwhile; name another") from None
    except Exception as error:
        _tell_where(error, path, unfinished)
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def refuse_empty(name: str | Path, wanted: str = "a folder") -> None:
    """Refuse the name that a variable of a shell has that is not set: Path would take this folder.

    Raises:
        UserError: it is empty.
    """
    if name == "":
        raise UserError(f"'': an empty name; give {wanted}")


def make_folder(out: Path) -> None:
    """
    Raises:
        UserError: a file is in the way.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise in_the_way(out) from None


def refuse_filled(out: Path) -> None:
    """
    Raises:
        UserError: `out` is a file, or a folder that holds something.
    """
    if out.exists() and not out.is_dir():
        raise in_the_way(out)
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out}: is not empty; name a new folder")


def in_the_way(out: Path) -> UserError:
    """That a file has the name of a folder that is to be made."""
    return UserError(f"{out}: a file is in the way; name a folder for the results")


def remove_unfinished(folder: Path, *, deep: bool = True) -> None:
    """Remove what killed processes left in a folder, and with `deep` in those below it. Nobody may be writing
    there.
    """
    for file in list(folder.rglob("*") if deep else folder.glob("*")):
        if UNFINISHED.fullmatch(file.name):  # other files of such a suffix are somebody else's
            _remove(file)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds the lock file `path`, which stays there; the system frees it when the process ends in any way.

    On a drive that has no locks nothing is held.

    Args:
        path: in a folder that exists. It names the process that holds it.
        wait: until it is free, for other threads too; else only other processes are kept out.

    Raises:
        UserError: another process holds it and `wait` is false; says which.
        OSError: it cannot be written.
    """
    with os.fdopen(
        os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8", errors="replace"
    ) as file:
        try:
            while not _lock(file.fileno(), wait):
                if not wait:
                    other = file.read().strip() or "another process"
                    raise UserError(f"{path.parent}: {other} writes into it; wait, or name another folder")
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _lock(handle: int, wait: bool) -> bool:
    """Whether the lock of an open file is ours now. With `wait` it may still be false, on Windows after ten
    seconds.
    """
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(handle, wait)
    try:
        if wait:
            fcntl.flock(handle, fcntl.LOCK_EX)
        else:  # not flock: forked workers would inherit it, and they outlive a killed parent for some seconds
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _lock_on_windows(handle: int, wait: bool) -> bool:
    import msvcrt

    locks: Any = msvcrt  # other systems' type stubs lack its contents
    os.lseek(handle, _FAR, os.SEEK_SET)
    try:
        locks.locking(handle, locks.LK_LOCK if wait else locks.LK_NBLCK, 1)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EDEADLOCK):
            return False
        raise
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return True


def _follow(path: Path) -> tuple[Path, bool]:
    """Where links lead, and whether that is to be written through: a device, a pipe, or a name for an open
    file.
    """
    for _ in range(40):  # as many as Linux follows
        folder = path.parent.resolve()
        if folder == Path("/dev") or Path("/proc") in (folder, *folder.parents):
            return path, path.exists()
        if not path.is_symlink():
            return path, path.exists() and not path.is_file()
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _beside(path: Path) -> Path:
    """A name that nobody uses, on the same drive; what was abandoned under such a name is removed."""
    for file in path.parent.iterdir():
        if file.name.startswith(f".{path.name}.") and file.suffix == ".tmp":
            with suppress(OSError):  # another process may have removed it
                if time.time() - file.stat().st_mtime > ABANDONED:
                    _remove(file)
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _tell_where(error: Exception, path: Path, unfinished: Path) -> None:
    """Name what was to be written in what the system raises: neither its unfinished form nor, as of a
    full disk, nothing.
    """
    for key in ("filename", "filename2"):
        name = getattr(error, key, None)
        if name is None and key == "filename":
            name = unfinished
        if isinstance(name, str | Path) and Path(name).is_relative_to(unfinished):
            with suppress(AttributeError):
                setattr(error, key, str(path / Path(name).relative_to(unfinished)))


def _remove(file: Path) -> None:
    if file.is_dir():
        shutil.rmtree(file, ignore_errors=True)
    else:
        file.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:  # Windows wants one that may be written
        os.fsync(file.fileno())

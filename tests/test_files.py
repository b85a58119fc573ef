"""Atomic writes, folders and locks: whatever happens, the old or the new is there, whole and alone."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from maskrcnn import files
from maskrcnn.errors import UserError
from maskrcnn.files import (
    cache_folder,
    locked,
    new_file,
    new_folder,
    remove_unfinished,
    write_json,
    write_text,
)

posix = pytest.mark.skipif(os.name != "posix", reason="links, devices and pipes of POSIX")


class Killed(BaseException):
    """As Ctrl-C: no `except Exception` sees it."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_text_and_json_are_written_with_the_folders_above(tmp_path: Path) -> None:
    write_text(tmp_path / "a/b.txt", "é\n")
    write_json(tmp_path / "a/c.json", {"a": [1]})
    assert (tmp_path / "a/b.txt").read_bytes() == "é\n".encode()
    assert json.loads((tmp_path / "a/c.json").read_text()) == {"a": [1]}
    assert names(tmp_path / "a") == ["b.txt", "c.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), Killed()])
@pytest.mark.parametrize("before", ["old", None])
def test_an_error_at_any_step_leaves_the_old_file_whole_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException, before: str | None
) -> None:
    path = tmp_path / "a.txt"
    if before:
        path.write_text(before)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_text(path, "new")
    assert names(tmp_path) == (["a.txt"] if before else [])
    assert not before or path.read_text() == before


def test_an_error_of_the_writer_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(Killed), new_file(tmp_path / "a.txt") as unfinished:
        unfinished.write_text("ne")
        raise Killed
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@posix
def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.txt").write_text("old")
    (tmp_path / "link").symlink_to("real/a.txt")
    (tmp_path / "dangling").symlink_to("real/b.txt")
    write_text(tmp_path / "link", "new")
    write_text(tmp_path / "dangling", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "dangling").is_symlink()
    assert (tmp_path / "real/a.txt").read_text() == (tmp_path / "real/b.txt").read_text() == "new"
    assert names(tmp_path / "real") == ["a.txt", "b.txt"]


@posix
def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="a|b"):
        write_text(tmp_path / "a", "new")


@posix
def test_a_device_is_written_through(tmp_path: Path) -> None:
    before = os.stat(os.devnull)
    (tmp_path / "link").symlink_to(os.devnull)
    write_text(Path(os.devnull), "text")
    write_text(tmp_path / "link", "text")
    assert os.stat(os.devnull).st_rdev == before.st_rdev and Path(os.devnull).is_char_device()


@posix
def test_a_named_pipe_is_written_through(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "text")
    reader.join()
    assert read == ["text"] and pipe.is_fifo()


@posix
def test_standard_output_is_written_through_be_it_a_pipe_or_a_file(tmp_path: Path) -> None:
    code = "from maskrcnn.files import write_text; from pathlib import Path; print('one', flush=True)\n"
    code += "write_text(Path('/dev/stdout'), 'two\\n'); print('three')"
    out, _ = start(code).communicate(timeout=60)
    assert out == "one\ntwo\nthree\n"
    with (tmp_path / "out.txt").open("a") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True, timeout=60)
    assert (tmp_path / "out.txt").read_text() == "one\ntwo\nthree\n"


@posix
def test_process_substitution_is_written_through(tmp_path: Path) -> None:
    code = "import sys; from maskrcnn.files import write_text; from pathlib import Path; write_text(Path(sys.argv[1]), 'x')"
    shell = f'{sys.executable} -c "{code}" >(cat > {tmp_path / "got"}); wait $!'
    subprocess.run(["bash", "-c", shell], check=True, timeout=60)
    for _ in range(100):
        if (tmp_path / "got").exists() and (tmp_path / "got").read_text():
            break
        time.sleep(0.05)
    assert (tmp_path / "got").read_text() == "x"


@posix
def test_permissions_are_those_of_the_old_file_or_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with new_file(tmp_path / "new") as unfinished:
            unfinished.unlink()
            unfinished.write_text("")
            unfinished.chmod(0o600)  # as safetensors does
        write_text(tmp_path / "old", "")
        (tmp_path / "old").chmod(0o604)
        write_text(tmp_path / "old", "")
    finally:
        os.umask(before)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in names(tmp_path)}
    assert modes == {"new": 0o640, "old": 0o604}


def test_what_a_kill_left_goes_once_it_is_a_day_old(tmp_path: Path) -> None:
    old, recent, other = (
        tmp_path / name for name in (".a.txt.00000000.tmp", ".a.txt.1111aaaa.tmp", ".b.txt.00000000.tmp")
    )
    for path in (old, recent, other):
        path.touch()
    os.utime(old, (1, 1))
    os.utime(other, (1, 1))
    write_text(tmp_path / "a.txt", "")
    assert names(tmp_path) == [recent.name, other.name, "a.txt"]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/.c.00000000.tmp").mkdir()
    (tmp_path / ".notes.tmp").touch()  # somebody else's
    remove_unfinished(tmp_path, deep=False)
    assert names(tmp_path) == [".notes.tmp", "a.txt", "deep"] and names(tmp_path / "deep") != []
    remove_unfinished(tmp_path)
    assert names(tmp_path) == [".notes.tmp", "a.txt", "deep"] and names(tmp_path / "deep") == []


def test_many_processes_write_one_file(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from maskrcnn.files import write_text\n"
    code += "for _ in range(30): write_text(Path(sys.argv[1]), sys.argv[2] * 100000)"
    running = [start(code, tmp_path / "a.txt", letter) for letter in "abcd"]
    while any(process.poll() is None for process in running):
        if (tmp_path / "a.txt").exists():
            text = (tmp_path / "a.txt").read_text()
            assert len(text) == 100000 and len(set(text)) == 1
    for process in running:
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a/b") as unfinished:
        (unfinished / "sub").mkdir()
        (unfinished / "sub/x").write_text("1")
        assert not (tmp_path / "a/b").exists()
    assert (tmp_path / "a/b/sub/x").read_text() == "1"
    assert names(tmp_path / "a") == ["b"]


@pytest.mark.parametrize("step", ["fsync", "rename"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), Killed()])
def test_an_error_at_any_step_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)), new_folder(tmp_path / "a") as unfinished:
        (unfinished / "x").write_text("1")
    assert names(tmp_path) == []


def test_a_folder_that_another_made_meanwhile_is_kept(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("full", "empty"):
        with new_folder(tmp_path / name, shared=True) as unfinished:
            (unfinished / "x").write_text("ours")
            if name == "full":
                (tmp_path / "full").mkdir()
                (tmp_path / "full/x").write_text("theirs")
    assert (tmp_path / "full/x").read_text() == "theirs"
    assert (tmp_path / "empty/x").read_text() == "ours"
    assert names(tmp_path) == ["empty", "full"]


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(OSError), new_folder(tmp_path / "a"):  # noqa: PT011  # each system has its own
        pass
    assert (tmp_path / "a").read_text() == "mine" and names(tmp_path) == ["a"]


def test_many_processes_make_one_folder(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from maskrcnn.files import new_folder\n"
    code += "for number in range(30):\n"
    code += " with new_folder(Path(sys.argv[1]) / str(number), shared=True) as unfinished:\n"
    code += "  [(unfinished / name).write_text(sys.argv[2]) for name in 'xyz']"
    running = [start(code, tmp_path, letter) for letter in "abcd"]
    for process in running:
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert len(names(tmp_path)) == 30
    for folder in tmp_path.iterdir():
        assert len({(folder / name).read_text() for name in names(folder)}) == 1 and names(folder) == [
            "x",
            "y",
            "z",
        ]


HOLD = "import sys, time; from pathlib import Path; from maskrcnn.files import locked\n"
HOLD += "with locked(Path(sys.argv[1]), wait=False):\n print('held', flush=True)\n time.sleep(60)"


def test_a_lock_names_its_process_and_ends_with_it(tmp_path: Path) -> None:
    holder = start(HOLD, tmp_path / "lock")
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with (
        pytest.raises(UserError, match=f"process {holder.pid} .* writes into it"),
        locked(tmp_path / "lock", wait=False),
    ):
        pass
    holder.kill()
    holder.communicate()
    with locked(tmp_path / "lock", wait=False):
        assert f"process {os.getpid()} " in (tmp_path / "lock").read_text()
    with locked(tmp_path / "lock", wait=False):  # again, now that it was let go
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    code = "import os, sys, time; from pathlib import Path; from maskrcnn.files import locked\n"
    code += "with locked(Path(sys.argv[1]), wait=False):\n child = os.fork()\n"
    code += " if child: print(child, flush=True)\n time.sleep(60)"
    holder = start(code, tmp_path / "lock")
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        holder.kill()
        holder.wait()
        with locked(tmp_path / "lock", wait=False):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        holder.communicate()


def test_threads_wait_for_each_other(tmp_path: Path) -> None:
    inside: list[int] = []

    def work() -> None:
        with locked(tmp_path / "lock"):
            inside.append(1)
            assert len(inside) == 1
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == []


def test_a_drive_without_locks_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files, "_lock", none)
    with locked(tmp_path / "lock"):
        pass


@posix
def test_a_cache_that_cannot_be_made_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a container runs for a made-up user, whose home is /."""
    monkeypatch.delenv("MASKRCNN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "maskrcnn"
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write anywhere
    with pytest.raises(UserError, match="MASKRCNN_CACHE"):
        cache_folder()
    (tmp_path / ".cache" / "maskrcnn").mkdir(parents=True)  # there, and filled by somebody else
    assert cache_folder().is_dir()

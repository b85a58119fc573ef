"""Ctrl-C and kill at any moment: swallowed by a library, in an import, before and after the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskrcnn.stop import StopRequest, telling

SOURCE = Path(__file__).parents[1] / "src"
posix = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs POSIX signals")


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment, timeout=60
    )


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_a_library_swallows_is_raised_again(number: signal.Signals) -> None:
    swallowed = 0
    with pytest.raises(SystemExit) as left, StopRequest():
        while True:
            try:
                if not swallowed:
                    os.kill(os.getpid(), number)
                time.sleep(10)
            except BaseException:  # noqa: B036
                swallowed += 1
                if swallowed == 3:
                    raise
    assert left.value.code == 128 + number
    assert swallowed == 3


@posix
def test_what_is_cleaned_up_meanwhile_is_not_cut_off() -> None:
    done = []
    with pytest.raises(SystemExit), StopRequest():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            time.sleep(0.3)
            done.append(True)
    assert done


@posix
def test_an_import_is_not_cut_off(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(0.3)\nprint('imported')\n"
    )
    done = python(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from maskrcnn.stop import StopRequest\n"
        "with StopRequest():\n    import slow\n    __import__('time').sleep(10)",
        str(tmp_path),
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "imported\n", "")


def test_an_inner_request_takes_over_what_was_noted_and_tells_it() -> None:
    with StopRequest(at_once=False) as outer:
        os.kill(os.getpid(), signal.SIGTERM)
        with StopRequest(at_once=False) as inner:
            assert inner.signal == signal.SIGTERM
        outer.signal = None
        with StopRequest(at_once=False):
            os.kill(os.getpid(), signal.SIGTERM)
        assert outer.signal == signal.SIGTERM


def test_a_stop_says_what_was_done() -> None:
    with pytest.raises(SystemExit) as left, telling(lambda: "3 of 7 images"):
        raise SystemExit(143)
    assert left.value.__notes__ == ["3 of 7 images"]


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_while_it_is_imported_and_at_its_end(number: signal.Signals) -> None:
    """The line comes once, whatever is going on."""
    word = "terminated" if number == signal.SIGTERM else "interrupted"
    early = f"import os; os.kill(os.getpid(), {int(number)})"
    for where in ("maskrcnn.cli.main", "atexit"):
        code = (
            "import sys, types, atexit\n"
            f"def end(*_): {early}\n"
            "import maskrcnn.__main__ as entry\n"
            "class Finder:\n"
            "    def find_spec(self, name, *_):\n"
            f"        if name == {where!r}: end()\n"
            "sys.meta_path.insert(0, Finder())\n"
            + ("atexit.register(end)\n" if where == "atexit" else "")
            + "sys.argv = ['maskrcnn', '--version']\nsys.exit(entry.main())"
        )
        done = python(code)
        assert done.returncode == 128 + number
        assert done.stderr == f"maskrcnn: error: {word}\n"

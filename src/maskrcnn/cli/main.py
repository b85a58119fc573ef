"""The command line: one file a verb. Nothing heavy is imported before a verb needs it, so that `--help` is instant.

Exit codes: 0 done, 2 a wrong argument, setting, path or environment, 3 images or labels that cannot be used (a prediction
that skipped unreadable images included), 130 interrupted, 143 terminated. All but 0 come with one line on stderr.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

import typer

from maskrcnn.allocator import keep_freed_memory
from maskrcnn.cli import check, convert, demo, env, evaluate, export, models, predict, samples, split, train
from maskrcnn.errors import UserError
from maskrcnn.threads import sleep_when_waiting

app = typer.Typer(
    name="maskrcnn",
    help="Detect, segment and pose the objects in images with Mask R-CNN. Start with: maskrcnn demo",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (
    demo.demo, train.train, evaluate.evaluate, predict.predict, export.export, check.check, samples.samples, split.split,
):  # fmt: skip
    app.command()(verb)
app.add_typer(convert.app)
app.command()(models.models)
app.command()(env.env)

TERMINATED = 128 + signal.SIGTERM
REMEDIES = {
    errno.ENOSPC: "free some space or write elsewhere",
    errno.EDQUOT: "free some of your quota or write elsewhere",
    errno.EROFS: "write to another folder",
    errno.EACCES: "check its permissions or use another path",
    errno.EPERM: "check its permissions or use another path",
    errno.ENOENT: "use a path that exists",
    errno.ENOTDIR: "a file is where a folder should be; use another path",
    errno.EISDIR: "a folder is where a file should be; use another path",
    errno.EEXIST: "a file is where a folder should be; use another path",
    errno.ENAMETOOLONG: "use a shorter path",
    errno.EMFILE: "too many files are open; use fewer workers or raise ulimit -n",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; a user's mistake becomes one line on stderr.

    Any other exception is a defect and keeps its traceback.
    """
    keep_freed_memory()
    sleep_when_waiting()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        return int(app(args=arguments, prog_name="maskrcnn", standalone_mode=False) or 0)
    except UserError as error:
        return _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    except SystemExit as error:
        if error.code != TERMINATED:
            raise
        return _fail("terminated", TERMINATED)
    except BrokenPipeError:
        # the reader of our output has gone, as in `maskrcnn models | head`; keep the interpreter's last flush quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror}; {REMEDIES[error.errno]}", UserError.exit_code)
    except Exception as error:
        if _is_usage_error(error):
            return _usage(error)
        if type(error).__name__ == "OutOfMemoryError":
            return _fail(f"out of memory on the device; use smaller images or batches: {error}", UserError.exit_code)
        raise


def _terminate(number: int, frame: FrameType | None) -> None:
    # an exception, so that what was found so far is written and what is half written removed
    raise SystemExit(TERMINATED)


def _fail(message: str, code: int) -> int:
    print(f"maskrcnn: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _is_usage_error(error: Exception) -> bool:
    # typer carries its own copy of click since 0.2x and has no public name for the base class of usage errors
    return any(kind.__name__ == "ClickException" for kind in type(error).__mro__)


def _usage(error: Any) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message())
        return UserError.exit_code
    context = getattr(error, "ctx", None)
    helper = f"{context.command_path} --help" if context is not None else "maskrcnn --help"
    return _fail(f"{error.format_message().rstrip('.')}; see {helper}", UserError.exit_code)

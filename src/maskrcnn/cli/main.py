"""The command line: one file a verb. Nothing heavy is imported before a verb needs it, so that `--help` is
instant.

Exit codes: 0 done, 2 a wrong argument, setting, path or environment, 3 images or labels that cannot be used
(a prediction that skipped unreadable images included), 130 interrupted, 143 terminated. All but 0 come with
one line on stderr.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from maskrcnn.cli import (
    check,
    collect,
    convert,
    demo,
    env,
    evaluate,
    export,
    launch,
    models,
    predict,
    reproduce,
    samples,
    serve,
    split,
    train,
)
from maskrcnn.cli.console import open_any_name, print_any_letter, threads_told_in_a_line
from maskrcnn.cli.other_names import Verbs, our_option
from maskrcnn.cli.verb import Verb
from maskrcnn.errors import UserError
from maskrcnn.shell import printable
from maskrcnn.stop import INTERRUPTED, TERMINATED, StopRequest
from maskrcnn.system_errors import refusal
from maskrcnn.tuning import tune
from maskrcnn.version import __version__

app = typer.Typer(
    name="maskrcnn",
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"maskrcnn {__version__}")
        raise typer.Exit


@app.callback()
def _start(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Detect, segment and pose the objects in images with Mask R-CNN. Start with: maskrcnn demo"""


for verb in (
    demo.demo, train.train, evaluate.evaluate, predict.predict, collect.collect,
    export.export, serve.serve, check.check, samples.samples, split.split, reproduce.reproduce,
):  # fmt: skip
    app.command(cls=Verb)(verb)
app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})(
    launch.launch
)
app.add_typer(convert.app)
app.command(cls=Verb)(models.models)
app.command(cls=Verb)(env.env)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; a user's mistake becomes one line on stderr.

    Any other exception is a defect and keeps its traceback.
    """
    if arguments is None:
        open_any_name()
    print_any_letter()
    tune()
    with StopRequest() as stop, threads_told_in_a_line():
        try:
            return int(app(args=arguments, prog_name="maskrcnn", standalone_mode=False) or 0)
        except BrokenPipeError:
            # the reader of our output has gone, as in `maskrcnn models | head`; keep the interpreter's last
            # flush quiet
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            stop.now = False
            code, line = _explain(error, sys.argv[1:] if arguments is None else arguments, stop.signal)
            if code is None:
                raise
    if line:
        print(printable(f"maskrcnn: error: {' '.join(line.split())}"), file=sys.stderr)
    return code


def _explain(
    error: BaseException, words: Sequence[str], signalled: int | None = None
) -> tuple[int | None, str]:
    """Exit code and line for what a user can mend or has asked for; None for what is a defect of ours.

    Args:
        words: of the command.
        signalled: the signal that asked the program to end. What it raised, a library may have made another
            error of.
    """
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    if signalled == signal.SIGTERM or (isinstance(error, SystemExit) and error.code == TERMINATED):
        return TERMINATED, f"terminated{notes}"
    interrupted = isinstance(error, SystemExit) and error.code == INTERRUPTED
    if signalled is not None or interrupted or isinstance(error, KeyboardInterrupt | typer.Abort):
        return INTERRUPTED, f"interrupted{notes}"
    if isinstance(error, UserError):
        return error.exit_code, str(error)
    if type(error).__name__ == "OutOfMemoryError":
        return UserError.exit_code, f"out of memory on the device; use smaller images or batches: {error}"
    # typer carries its own copy of click since 0.2x and has no public name for the base class of usage errors
    if any(kind.__name__ == "ClickException" for kind in type(error).__mro__):
        return UserError.exit_code, _usage(error, words)
    refused = refusal(error)
    return (UserError.exit_code, refused[1]) if refused else (None, "")


def _usage(error: Any, words: Sequence[str]) -> str:
    """The line of a wrong command; nothing after a command that asks for help by having no arguments."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message())
        return ""
    context = getattr(error, "ctx", None)
    command = "maskrcnn" if context is None else context.command_path
    if context is None and words and words[0] in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        command += f" {words[0]}"  # an option without its value knows of no verb
    helper = f"{command} --help"
    ours = our_option(getattr(context, "info_name", None) or "", getattr(error, "option_name", None) or "")
    message = f"{error.option_name}: here that is {ours}" if ours else error.format_message().rstrip(".")
    return f"{message}; see {helper}"

"""The process that decodes or encodes for another; `pipe.py` has the messages."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from maskrcnn.errors import DataError, UserError
from maskrcnn.video.decode import Camera, Video
from maskrcnn.video.pipe import receive, send

FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0  # seconds before opening again: each try waits twice as long


def main() -> None:
    """Do the task that comes first on standard input; answers go to standard output."""
    inbox = sys.stdin.buffer
    outbox = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no message
    received = receive(inbox)
    if received is None:
        return
    task, _ = received
    try:
        if sys.argv[1] == "encode":
            from maskrcnn.video.encode import encode  # with what draws, which would make a decoder start late

            send(outbox, {"kind": "done", "left_out": encode(task, inbox)})
        else:
            threading.Thread(target=_end_for_parent, args=(inbox,), daemon=True).start()
            _decode(task, outbox)
    except BrokenPipeError:
        pass  # the parent has what it wanted
    except UserError as error:
        send(outbox, {"kind": "error", "code": error.exit_code, "line": str(error)})
    except OSError as error:
        send(outbox, {"kind": "refused", "number": error.errno, "line": error.strerror})
    except Exception:
        send(outbox, {"kind": "defect", "line": traceback.format_exc()})


def _decode(task: dict[str, Any], outbox: IO[bytes]) -> None:
    """Send the frames of a source; one that is live is opened again whenever it is lost.

    Args:
        task: `address` and `kind` of the source; `again`, whether it was there before.
    """
    wait, again = FIRST_WAIT, task["again"]
    while True:
        try:
            for message, pixels in _frames(task):
                send(outbox, message, pixels)
                if message["kind"] == "end":
                    return
                if pixels is not None:
                    wait, again = FIRST_WAIT, True
        except DataError:
            if not again:
                raise
        send(outbox, {"kind": "lost"})
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def _frames(task: dict[str, Any]) -> Iterator[tuple[dict[str, Any], np.ndarray | None]]:
    """The messages of one connection; the last of a live source is a frame."""
    address, kind = task["address"], task["kind"]
    video = Camera(int(address)) if kind == "camera" else Video(address, network=kind == "network")
    known = video.opened
    ratio = known.time_base.as_integer_ratio()
    yield {"kind": "opened", "time_base": ratio, "live": known.live, "frames": known.frames}, None
    for frame in video:
        aspect = frame.aspect.as_integer_ratio()
        yield {"kind": "frame", "number": frame.number, "ticks": frame.ticks, "aspect": aspect}, frame.pixels
    video.close()
    if not known.live:
        yield {"kind": "end", "damaged": video.damaged, "set_back": video.set_back}, None


def _end_for_parent(inbox: IO[bytes]) -> None:
    """End when the parent does, whatever the decoder hangs on."""
    while inbox.read(1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
    os._exit(0)  # a thread may wait for messages still

"""The process that decodes or encodes for another; `pipe.py` has the messages."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from typing import IO, Any

from maskrcnn.errors import UserError
from maskrcnn.video.decode import Camera, Video
from maskrcnn.video.encode import encode
from maskrcnn.video.pipe import receive, send


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
            encode(task, inbox)
            send(outbox, {"kind": "done"})
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
    address, kind = task["address"], task["kind"]
    video = Camera(int(address)) if kind == "camera" else Video(address, network=kind == "network")
    known = video.opened
    ratio = known.time_base.as_integer_ratio()
    send(outbox, {"kind": "opened", "time_base": ratio, "live": known.live, "frames": known.frames})
    for frame in video:
        send(outbox, {"kind": "frame", "number": frame.number, "ticks": frame.ticks}, frame.pixels)
    send(outbox, {"kind": "end", "damaged": video.damaged})


def _end_for_parent(inbox: IO[bytes]) -> None:
    """End when the parent does, whatever the decoder hangs on."""
    while inbox.read(1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
    os._exit(0)  # a thread may wait for messages still

"""Messages between this process and a child that decodes or encodes: a line of JSON, and pixels behind it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from contextlib import suppress
from typing import IO, Any

import numpy as np

from maskrcnn.environment import child_environment
from maskrcnn.stop import unstopped_children

HEADER = struct.Struct("<IQ")  # bytes of the JSON and of the pixels
PIPE = 1 << 20  # bytes that the system holds between the two; more switches between them with fewer


def send(file: IO[bytes], message: dict[str, Any], pixels: np.ndarray | None = None) -> None:
    """
    Raises:
        OSError: the other end has gone.
    """
    text = json.dumps(message | ({} if pixels is None else {"shape": pixels.shape})).encode()
    file.write(HEADER.pack(len(text), 0 if pixels is None else pixels.nbytes) + text)
    if pixels is not None:
        file.write(np.ascontiguousarray(pixels).data.cast("B"))
    file.flush()


def receive(file: IO[bytes]) -> tuple[dict[str, Any], np.ndarray] | None:
    """A message and its pixels (without any an array of none); None where the other end has gone."""
    head = file.read(HEADER.size)
    if len(head) < HEADER.size:
        return None
    text_size, size = HEADER.unpack(head)
    text = file.read(text_size)
    pixels = np.empty(size, np.uint8)
    if len(text) < text_size or (size and file.readinto(pixels.data) < size):  # type: ignore[attr-defined]
        return None
    message = json.loads(text)
    return message, pixels.reshape(message.pop("shape", (0,)))


def start_child(role: str, task: dict[str, Any]) -> subprocess.Popen[bytes]:
    """A process of `child.py`, which ends when this one does, and not by a signal to the whole group.

    Raises:
        OSError: the system starts no more processes.
    """
    # -P: no module of the folder that we happen to be in is imported
    command = [sys.executable, "-P", "-m", "maskrcnn.video.child", role]
    with unstopped_children():
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment(), pipesize=PIPE
        )
    assert child.stdin is not None
    send(child.stdin, task)
    return child


def end_child(child: subprocess.Popen[bytes]) -> None:
    """End it whatever it does, without a trace."""
    child.kill()
    child.wait()
    for file in (child.stdin, child.stdout):
        assert file is not None
        with suppress(OSError):  # what was still to be written has nowhere to go
            file.close()

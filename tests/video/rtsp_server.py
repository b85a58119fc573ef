"""A camera on the network for the tests: H.264 by RTSP (RFC 2326), its RTP packets within the connection."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAYLOAD = 1400  # bytes of an RTP packet
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=door\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
)


def packets_of(clip: Path) -> list[list[bytes]]:
    """RTP payloads of each frame (RFC 6184: a NAL unit each, large ones in fragments)."""
    import av

    every = []
    with av.open(str(clip)) as container:
        for packet in container.demux(video=0):
            units = [unit.rstrip(b"\0") for unit in bytes(packet).split(b"\0\0\1")]
            every.append([payload for unit in units if unit for payload in _payloads(unit)])
    return [payloads for payloads in every if payloads]


def _payloads(unit: bytes) -> Iterator[bytes]:
    if len(unit) <= PAYLOAD:
        yield unit
        return
    parts = [unit[place : place + PAYLOAD] for place in range(1, len(unit), PAYLOAD)]
    for number, part in enumerate(parts):
        begin, end = number == 0, number + 1 == len(parts)
        yield bytes([unit[0] & 0xE0 | 28, begin << 7 | end << 6 | unit[0] & 0x1F]) + part


@contextmanager
def rtsp_server(frames: list[list[bytes]], *, fps: float = 25, port: int = 0) -> Iterator[int]:
    """Plays frames, from the first, to each who asks; its port. At its end all connections break off."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            connections.append(self.connection)
            while request := self.rfile.readline():
                lines = [line.strip() for line in iter(self.rfile.readline, b"\r\n")]
                number = next(line.split(b":")[1] for line in lines if line.lower().startswith(b"cseq:"))
                method, body, more = request.split()[0], "", ""
                if method == b"DESCRIBE":
                    body = SDP
                    more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
                elif method == b"SETUP":
                    more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
                answer = f"RTSP/1.0 200 OK\r\nCSeq:{number.decode()}\r\n{more}\r\n{body}"
                self.wfile.write(answer.encode())
                if method == b"PLAY":
                    self.play()
                    return

        def play(self) -> None:
            sequence = 0
            try:
                for number, payloads in enumerate(frames):
                    for place, payload in enumerate(payloads):
                        last = place + 1 == len(payloads)
                        ticks = round(number * 90_000 / fps)
                        head = struct.pack(">BBHII", 0x80, last << 7 | 96, sequence & 0xFFFF, ticks, 7)
                        self.wfile.write(struct.pack(">cBH", b"$", 0, len(head + payload)) + head + payload)
                        sequence += 1
                    if ended.wait(1 / fps):
                        return
                ended.wait(30)
            except OSError:
                pass

    ended, connections = threading.Event(), []
    socketserver.ThreadingTCPServer.daemon_threads = True
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    here = socketserver.ThreadingTCPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=here.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield here.server_address[1]
    finally:
        ended.set()
        here.shutdown()
        for connection in connections:
            connection.close()
        here.server_close()
        thread.join()

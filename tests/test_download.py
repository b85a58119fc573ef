"""Downloads from a server on this machine: whole, resumed, broken, wrong, and two at once."""

from __future__ import annotations

import hashlib
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from maskrcnn import download
from maskrcnn.download import fetch
from maskrcnn.errors import UserError
from maskrcnn.files import cache_folder

CONTENT = bytes(range(256)) * 8000  # 2 MB
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server is to do, and the ranges that it was asked for."""

    address: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    length: bool = True
    status: int = 200
    redirect: str = ""
    cut: list[int] = field(
        default_factory=list
    )  # each answer's body ends after so many bytes; then whole ones
    wait: float = 0.0
    content_range: str = ""
    asked: list[str | None] = field(default_factory=list)

    def url(self, name: str = "model_final_f10217.pkl") -> str:
        return f"{self.address}/detectron2/{name}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            time.sleep(state.wait)
            if state.redirect and "there" not in self.path:
                self.send_response(302)
                self.send_header("Location", state.redirect)
                self.end_headers()
                return
            if state.status != 200:
                self.send_error(state.status)
                return
            start = int(re.findall(r"\d+", wanted)[0]) if wanted and state.ranges else 0
            if start >= len(state.content) > 0:
                self.send_error(416)
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            if start:
                span = f"bytes {start}-{len(state.content) - 1}/{len(state.content)}"
                self.send_header("Content-Range", state.content_range or span)
            if state.length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut.pop(0)] if state.cut else body)

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.address = f"http://127.0.0.1:{running.server_port}"
    yield state
    running.shutdown()
    running.server_close()
    thread.join()


def refused(url: str, folder: Path, **digests: str) -> str:
    """The one line that a download ends in."""
    with pytest.raises(UserError) as caught:
        fetch(url, folder, **digests)
    message = str(caught.value)
    assert "\n" not in message and url.split("/")[-1] in message
    return message


def visible(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def test_a_file_comes_whole_and_once(server: Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    folder = tmp_path / "a" / "b"
    path = fetch(
        server.url() + "?x=1", folder, sha256=SHA256[:8], md5=MD5.upper(), progress=lambda *s: steps.append(s)
    )
    assert path == folder / "model_final_f10217.pkl" and path.read_bytes() == CONTENT
    assert steps[0] == (0, len(CONTENT)) and steps[-1] == (len(CONTENT),) * 2 and steps == sorted(steps)
    assert visible(folder) == [path.name]
    assert fetch(server.url(), folder, sha256=SHA256) == path and fetch(server.url(), folder) == path
    assert len(server.asked) == 1


def test_without_a_stated_length(server: Server, tmp_path: Path) -> None:
    server.length = False
    steps: list[tuple[int, int | None]] = []
    path = fetch(server.url(), tmp_path, sha256=SHA256, progress=lambda *s: steps.append(s))
    assert path.read_bytes() == CONTENT and steps[-1] == (len(CONTENT), None)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_is_resumed(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.ranges, server.cut = ranges, [700_000]
    assert "after 700000 of 2048000 bytes; run again" in refused(server.url(), tmp_path, sha256=SHA256)
    assert visible(tmp_path) == ["model_final_f10217.pkl.partial"]
    steps: list[tuple[int, int | None]] = []
    path = fetch(server.url(), tmp_path, sha256=SHA256, progress=lambda *s: steps.append(s))
    assert path.read_bytes() == CONTENT and visible(tmp_path) == [path.name]
    assert server.asked == [None, "bytes=700000-"] and steps[0] == (700_000 if ranges else 0, len(CONTENT))


@pytest.mark.parametrize("left", [b"another file's beginning", CONTENT, CONTENT + b"more"])
def test_what_does_not_belong_to_the_file_is_not_resumed(server: Server, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "model_final_f10217.pkl.partial").write_bytes(left)
    assert fetch(server.url(), tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert len(server.asked) == 2 and server.asked[1] is None


@pytest.mark.parametrize("answer", ["bytes 0-9/10", "nonsense", "bytes 500-2047999/2048000"])
def test_another_range_than_asked_for_starts_again(server: Server, tmp_path: Path, answer: str) -> None:
    server.content_range = answer
    (tmp_path / "model_final_f10217.pkl.partial").write_bytes(CONTENT[:1000])
    assert fetch(server.url(), tmp_path).read_bytes() == CONTENT


def test_a_wrong_digest_deletes_the_file_and_names_both(server: Server, tmp_path: Path) -> None:
    message = refused(server.url(), tmp_path, sha256="f10217aa")
    assert SHA256 in message and "f10217aa was expected" in message and visible(tmp_path) == []
    assert "md5" in refused(server.url(), tmp_path, sha256=SHA256, md5="0" * 32)


def test_a_wrong_file_in_the_cache_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model_final_f10217.pkl").write_bytes(b"old")
    server.status = 503
    refused(server.url(), tmp_path, sha256=SHA256)
    assert (tmp_path / "model_final_f10217.pkl").read_bytes() == b"old"
    server.status = 200
    assert fetch(server.url(), tmp_path, sha256=SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 403, 500, 204])
def test_an_answer_that_is_not_the_file(server: Server, tmp_path: Path, status: int) -> None:
    server.status = status
    assert f"the server answers {status}" in refused(server.url(), tmp_path) and visible(tmp_path) == []


@pytest.mark.parametrize(
    "url", ["http://example.com/x.pkl", "ftp://localhost/x.pkl", "file:///etc/passwd", "/etc/passwd", "https:///x.pkl",
            "https://a b/x.pkl", "https://host:port/x.pkl", "http://127.0.0.1.evil.com/x.pkl", "https://h/\nx.pkl", ""]
)  # fmt: skip
def test_an_address_that_is_not_admitted(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="not an https address"):
        fetch(url, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("path", ["", "/", "/..", "/%2e%2e", "/a/..%5Cx", "/.hidden", "/x%00.pkl", "/x%0a"])
def test_a_name_that_leaves_the_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match="does not end in a file name"):
        fetch(f"https://localhost{path}", tmp_path)
    assert download.file_name("https://localhost/a%2F..%2Fb.pkl") == "b.pkl"


def test_redirects(server: Server, tmp_path: Path) -> None:
    server.redirect = server.url("there.pkl")
    assert fetch(server.url(), tmp_path).name == "model_final_f10217.pkl"
    for target in ("ftp://127.0.0.1/there.pkl", "file:///etc/passwd", "http://example.com/there.pkl"):
        server.redirect = target
        assert "edirect" in refused(server.url("other.pkl"), tmp_path)
    server.redirect = server.url()
    assert "infinite loop" in refused(server.url("loop.pkl"), tmp_path)
    assert visible(tmp_path) == ["model_final_f10217.pkl"]


def test_from_https_no_redirect_to_this_machine() -> None:
    request = download.Request("https://example.com/x.pkl")
    with (
        open(__file__, "rb") as body,
        pytest.raises(UserError, match="redirects to 'http://localhost/x.pkl'"),
    ):
        download._Redirects().redirect_request(request, body, 302, "", None, "http://localhost/x.pkl")  # type: ignore[arg-type]


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        message = refused(f"http://127.0.0.1:{closed.getsockname()[1]}/x.pkl", tmp_path)
        assert "refused" in message and f"download it by hand to {tmp_path / 'x.pkl'}" in message

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "Name or service not known" in refused("https://no.such.host.invalid/x.pkl", tmp_path)


def test_a_server_that_says_nothing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    server.wait = 0.5
    assert "timed out" in refused(server.url(), tmp_path)


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert "cannot write it" in refused(server.url(), tmp_path / "file")
    assert "cannot write it" in refused(server.url(), tmp_path / "file" / "folder")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))  # what a full disk looks like from here
    try:
        assert f"cannot write it to {tmp_path}: File too large; download it by hand" in refused(
            server.url(), tmp_path
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert fetch(server.url(), tmp_path, sha256=SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("digest", ["", "abc", "xyz12345", "0" * 65])
def test_a_digest_that_is_none_is_a_defect_of_the_caller(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        fetch("https://localhost/x.pkl", tmp_path, sha256=digest)


def test_processes_that_want_the_same_file_wait_for_each_other(server: Server, tmp_path: Path) -> None:
    server.wait = 0.3
    call = (
        f"from maskrcnn.download import fetch; fetch({server.url()!r}, {str(tmp_path)!r}, sha256={SHA256!r})"
    )
    running = [subprocess.Popen([sys.executable, "-c", call]) for _ in range(3)]
    assert [process.wait(20) for process in running] == [0, 0, 0]
    assert len(server.asked) == 1 and visible(tmp_path) == ["model_final_f10217.pkl"]


def test_a_killed_download_is_resumed(server: Server, tmp_path: Path) -> None:
    call = (
        "import os, sys; from maskrcnn.download import fetch\n"
        f"fetch({server.url()!r}, {str(tmp_path)!r}, progress=lambda n, _: n > 1e6 and os.kill(os.getpid(), "
        "9))"
    )
    assert subprocess.run([sys.executable, "-c", call], timeout=20).returncode == -9
    left = (tmp_path / "model_final_f10217.pkl.partial").stat().st_size
    assert left > 0 and fetch(server.url(), tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={left}-"]


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MASKRCNN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "maskrcnn"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "maskrcnn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "maskrcnn"
    monkeypatch.setenv("MASKRCNN_CACHE", "~/models")
    assert cache_folder() == tmp_path / "models" and list(tmp_path.iterdir()) == []

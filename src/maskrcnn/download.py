"""Files from the network into a cache folder: resumed, checked by digest, never half a file under its own
name.
"""

from __future__ import annotations

import hashlib
import re
from http.client import HTTPException, HTTPMessage
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from maskrcnn.errors import UserError, one_line
from maskrcnn.files import locked
from maskrcnn.progress import Progress

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 18


def fetch(
    url: str,
    folder: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """The file at `url`, in `folder` under its own name; what is there already and has the digest is not
    fetched.

    A download grows in NAME.partial and is moved to NAME when its digest is right. What an interrupted one
    left is resumed. Processes that want the same file wait for each other.

    Args:
        url: https, or http to this machine.
        folder: created where it is missing.
        sha256, md5: hexadecimal digest, or its first digits. Without one, a file that is there counts as
            right.
        progress: called with bytes so far and in all (None where the server does not say).

    Raises:
        UserError: an address that is not admitted, no network, an answer other than the file, a wrong digest
            (the file is deleted), a folder that cannot be written.
        ValueError: a digest that is not hexadecimal.
    """
    digests = _prefixes(sha256=sha256, md5=md5)
    folder = Path(folder)
    path = folder / file_name(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_file() and not _mismatch(path, digests):
            return path
        with locked(folder / f".{path.name}.lock"):
            if path.is_file() and not _mismatch(path, digests):  # another process was quicker
                return path
            partial = folder / (path.name + ".partial")
            resumed = _download(url, partial, path, progress)
            wrong = _mismatch(partial, digests)
            if wrong and resumed:  # what was there may have been the beginning of another file
                partial.unlink()
                _download(url, partial, path, progress)
                wrong = _mismatch(partial, digests)
            if wrong:
                partial.unlink()
                raise UserError(f"{url}: {wrong}; deleted. Run again, or {_by_hand(path)}")
            partial.replace(path)
    except OSError as error:
        raise UserError(
            f"{url}: cannot write it to {folder}: {error.strerror or error}; {_by_hand(None)}"
        ) from None
    return path


def _prefixes(**digests: str | None) -> dict[str, str]:
    """The digests that were given, by hashlib's name, in lower case."""
    for name, digest in digests.items():
        if digest is not None and not re.fullmatch(r"[0-9a-fA-F]{4,64}", digest):
            raise ValueError(f"{name}={digest!r}: at least the first 4 hexadecimal digits are needed")
    return {name: digest.lower() for name, digest in digests.items() if digest is not None}


def _mismatch(path: Path, digests: dict[str, str]) -> str | None:
    """What is wrong with the file's digest, both digests named; None where nothing is."""
    for name, expected in digests.items():
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, name).hexdigest()
        if not actual.startswith(expected):
            return f"its {name} is {actual}, {expected} was expected"
    return None


def file_name(url: str) -> str:
    """The last part of an admitted address.

    Raises:
        UserError: an address that is not admitted, or whose last part is no file name.
    """
    if not _admitted(url):
        raise UserError(f"{url!r}: not an https address, and nothing else is downloaded from")
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    if not re.fullmatch(r"[\w+-][\w.+ ()=@-]*", name):
        raise UserError(f"{url}: does not end in a file name; {_by_hand(None)}")
    return name


def _admitted(url: str) -> bool:
    if not (url.isascii() and url.isprintable()) or " " in url:
        return False
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  a wrong one raises
    except ValueError:
        return False
    here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or parts.scheme == "http" and here)


class _Redirects(HTTPRedirectHandler):
    """Follows redirects to admitted addresses only, and from the network never to this machine over http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if not _admitted(newurl) or (req.type == "https" and urlsplit(newurl).scheme != "https"):
            fp.close()
            raise UserError(f"{req.full_url}: redirects to {newurl!r}, which is not https; {_by_hand(None)}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, partial: Path, path: Path, progress: Progress | None) -> bool:
    """Appends to `partial` what it lacks of `url`.

    Returns:
        Whether bytes that were there before are part of it.

    Raises:
        UserError: anything on the network; what arrived stays in `partial`.
        OSError: `partial` cannot be written.
    """
    start = partial.stat().st_size if partial.exists() else 0
    response = _open(url, start, path)
    if response is None:
        # the server has no more than that: it is not the beginning of this file
        partial.unlink(missing_ok=True)
        return _download(url, partial, path, progress)
    with response:
        done, total = _extent(response)
        with partial.open("ab" if done else "wb") as file:
            while True:
                if progress:
                    progress(done, total)
                try:
                    chunk = response.read1(CHUNK)
                except (OSError, HTTPException) as error:
                    raise _broken(url, path, done, total, _reason(error)) from None
                if not chunk:
                    break
                file.write(chunk)
                done += len(chunk)
    if total is not None and done != total:
        raise _broken(url, path, done, total, "the connection ended")
    return bool(start) and response.status == 206


def _open(url: str, start: int, path: Path) -> Any:
    """The server's answer from byte `start`; None where it has nothing that begins there."""
    request = Request(url, headers={"User-Agent": "maskrcnn"})  # some servers refuse urllib's own
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = build_opener(_Redirects).open(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if start and error.code == 416:
            return None
        raise UserError(
            f"{url}: the server answers {error.code} {_reason(error)}; {_by_hand(path)}"
        ) from None
    except (OSError, HTTPException) as error:
        raise UserError(f"{url}: not reachable: {_reason(error)}; {_by_hand(path)}") from None
    if response.status == 200 or (response.status == 206 and _extent(response)[0] == start):
        return response
    response.close()
    if start:
        return None
    raise UserError(f"{url}: the server answers {response.status} {response.reason}; {_by_hand(path)}")


def _extent(response: Any) -> tuple[int, int | None]:
    """Where the body begins in the file, and the size of the whole file; a server may ignore the wish for a
    range.
    """
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if found is None:
            return -1, None
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _broken(url: str, path: Path, done: int, total: int | None, why: str) -> UserError:
    of = "" if total is None else f" of {total}"
    return UserError(
        f"{url}: {why} after {done}{of} bytes; run again to go on from there, or {_by_hand(path)}"
    )


def _reason(error: Exception) -> str:
    """One line of an exception of urllib, which hides the cause in `reason`."""
    return one_line(getattr(error, "reason", error))


def _by_hand(path: Path | None) -> str:
    return f"download it by hand to {path}" if path else "download it by hand and give the file"

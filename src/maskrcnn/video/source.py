"""What a person means by the name of a video: a file, a camera, a stream, or images that are its frames."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from maskrcnn.errors import UserError
from maskrcnn.predict.sources import FILMS, find_images

# in a folder these may be something else
MORE_FILMS = (".ts", ".asf", ".h264", ".hevc", ".ivf", ".nut", ".y4m", ".dv")
SCHEMES = ("http", "https", "rtsp", "rtsps")
MOST_CAMERAS = 100
MOST_FPS = 1000
NUMBERED = re.compile(r"%0?(\d*)d")


@dataclass(frozen=True)
class Source:
    """A video."""

    kind: Literal["file", "network", "camera", "images"]
    address: str  # a path, a URL, the number of a camera; of images as given
    name: str  # for the files that are written
    shown: str  # in messages and results: as given, without a password
    images: tuple[Path, ...] = ()  # its frames
    fps: Fraction = Fraction(25)  # of images


def video_source(text: str, *, allow_network: bool = False, fps: float | None = None) -> Source | None:
    """The video that `text` names; None where it names images, each by itself.

    Args:
        text: a video file, the number of a camera, an address (rtsp, http), or, with `fps`, images: a folder,
            a pattern, or a numbered name such as `shots/%05d.png`, in the order of their numbers.
        allow_network: addresses may be opened.
        fps: images are the frames of a video, so many a second.

    Raises:
        UserError: an address without `allow_network` or of another kind, images that are not there, or an
            `fps` that nothing has or that is given for no images.
    """
    if fps is not None and not 0 < fps <= MOST_FPS:
        raise UserError(f"fps={fps:g}: give frames a second, above 0 and up to {MOST_FPS}")
    path = Path(os.path.expanduser(text))
    video = _timed(text, path, allow_network)
    if video is not None:
        if fps is not None:
            raise UserError(f"{video.shown}: has its own times, and fps is for images; leave it out")
        return video
    numbered = NUMBERED.search(path.name) if not path.exists() else None
    if fps is None:
        if numbered:
            raise UserError(f"{text}: numbered images are the frames of a video; add --fps, frames a second")
        return None
    images = _numbered(path, numbered) if numbered else sorted(find_images([text]), key=_by_number)
    if not images:
        raise UserError(f"{text}: no image has such a name; check it with ls")
    folder = path if path.is_dir() else images[0].parent
    return Source("images", text, folder.resolve().name or "frames", text, tuple(images), _exact(fps))


def _timed(text: str, path: Path, allow_network: bool) -> Source | None:
    """The video that `text` names; None of images, which have no times."""
    scheme = re.match(r"([a-zA-Z][\w+.-]*)://", text)
    if scheme and not path.exists():
        return _address(text, scheme[1].lower(), allow_network)
    if path.suffix.lower() in FILMS + MORE_FILMS:
        if path.is_file():
            return Source("file", str(path), path.stem, text)
        if not path.exists():
            raise UserError(f"{text}: no such file or folder; check the name")
    if text.isdecimal() and len(text) < 4 and int(text) < MOST_CAMERAS and not path.exists():
        return Source("camera", str(int(text)), f"camera{int(text)}", f"camera {int(text)}")
    return None


def _exact(fps: float) -> Fraction:
    """29.97 is 30,000 / 1,001, and so are the other rates of American television."""
    american = Fraction(round(fps * 1.001) * 1000, 1001)
    near = american > 0 and fps != round(fps) and abs(american - Fraction(fps)) < Fraction(1, 200)
    if near:
        return american
    return Fraction(fps).limit_denominator(1000 if fps > 1 else 10**9)  # a time lapse has one in many seconds


def _address(text: str, scheme: str, allow_network: bool) -> Source:
    try:
        parts = urlsplit(text)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise UserError(f"{text}: not an address: {error}") from None
    user = f"{parts.username}@" if parts.username else ""
    shown = f"{scheme}://{user}{parts.hostname or ''}{port}{parts.path}"
    if scheme not in SCHEMES or not parts.hostname:
        raise UserError(f"{shown}: no address of a stream; there are {', '.join(f'{s}://' for s in SCHEMES)}")
    if not allow_network:
        raise UserError(f"{shown}: is on the network, which is used only with --allow-network")
    name = re.sub(r"[^\w.-]+", "_", Path(parts.path).stem or parts.hostname).strip("._") or "stream"
    return Source("network", text, name, shown)


def _numbered(path: Path, number: re.Match[str]) -> list[Path]:
    """The images of a name with %d or %05d in it, by their numbers."""
    before, after = (re.escape(part) for part in (path.name[: number.start()], path.name[number.end() :]))
    digits = f"[0-9]{{{number[1]},}}" if number[1] else "[0-9]+"
    pattern = re.compile(f"{before}({digits}){after}")
    if not path.parent.is_dir():
        return []
    found = [(match, file) for file in path.parent.iterdir() if (match := pattern.fullmatch(file.name))]
    return [file for match, file in sorted(found, key=lambda each: int(each[0][1]))]


def _by_number(path: Path) -> list[tuple[str, int]]:
    """A key by which 2.png is before 10.png."""
    return [(text, int(number or 0)) for text, number in re.findall(r"([^0-9]*)([0-9]*)", str(path))]

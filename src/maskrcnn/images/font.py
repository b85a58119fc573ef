"""A font for names in any script: Latin, Greek and Cyrillic are in the package, all else is looked for on the
system.

Letters that no font here has are drawn as \\uXXXX, as the console prints them, so that two names never look
alike. `MASKRCNN_FONT` names a font file that is preferred.
"""

from __future__ import annotations

import os
import struct
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ImageFont

from maskrcnn.errors import UserError

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

VARIABLE = "MASKRCNN_FONT"
# DejaVu Sans, cut down by fontTools to the scripts named above; its licence is beside it
PACKAGED = Path(__file__).parent / "font" / "DejaVuSans.ttf"
SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
SPECIAL = ("bold", "black", "heavy", "light", "thin", "italic", "oblique", "mono", "condensed", "serif")
PLACEHOLDERS = "lastresort"  # macOS's font that has a box for everything
WHOLE_UNICODE = ((3, 10), (0, 6), (0, 4))  # platform and encoding of a font's tables of letters
BASIC_PLANE = ((3, 1), (0, 3))


def with_font(text: str, size: int) -> tuple[str, Font]:
    """The text as it can be drawn here, and the font that has all letters of it.

    Raises:
        UserError: MASKRCNN_FONT names no font.
    """
    text = unicodedata.normalize("NFC", text)
    letters = frozenset(letter for letter in text if not letter.isspace())
    path, missing = _best_font(letters, os.environ.get(VARIABLE, ""))
    if missing:
        text = "".join(_escaped(letter) if letter in missing else letter for letter in text)
    return text, _open(path, size)


def names_without_font(names: Iterable[str]) -> list[str]:
    """Those of the names that have letters which no font here has."""
    return [name for name in names if with_font(name, 12)[0] != unicodedata.normalize("NFC", name)]


@cache
def _best_font(letters: frozenset[str], preferred: str) -> tuple[str, frozenset[str]]:
    """The first font that has most of the letters, and what it lacks; the empty path is Pillow's own font."""
    if preferred:
        _check(preferred)
    best, missing = "", frozenset(letter for letter in letters if not letter.isascii())
    if not missing and not preferred:
        return best, missing
    for path in [preferred] * bool(preferred) + [str(PACKAGED), *_system_fonts()]:
        lacks = frozenset(letter for letter in letters if not _has(path, ord(letter)))
        if len(lacks) < len(missing) or path == preferred:
            best, missing = path, lacks
        if not missing:
            break
    return best, missing


def _escaped(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode("ascii")


def _open(path: str, size: int) -> Font:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


def _check(path: str) -> None:
    if not len(_ranges(path)):
        raise UserError(f"{VARIABLE}={path}: not a font that can be read; name a .ttf or .otf file")


def _has(path: str, letter: int) -> bool:
    ranges = _ranges(path)
    return bool(((ranges[:, 0] <= letter) & (letter <= ranges[:, 1])).any())


@cache
def _system_fonts() -> list[str]:
    """Font files of this system that can be scaled, plain ones without serifs first."""
    found = [
        str(Path(folder, name))
        for root in _font_folders()
        for folder, _, names in os.walk(root)
        for name in names
        if name.lower().endswith(SUFFIXES) and PLACEHOLDERS not in name.lower()
    ]
    found.sort(key=lambda path: (any(word in Path(path).name.lower() for word in SPECIAL), path.lower()))
    return found


def _font_folders() -> Iterator[Path]:
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        yield Path(os.environ.get("WINDIR", r"C:\Windows"), "Fonts")
        yield home / "AppData" / "Local" / "Microsoft" / "Windows" / "Fonts"
    elif sys.platform == "darwin":
        yield from (Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library" / "Fonts")
    else:
        for folder in (os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":"):
            yield Path(folder, "fonts")
        yield from (home / ".local" / "share" / "fonts", home / ".fonts")


@cache
def _ranges(path: str) -> np.ndarray:
    """The first and last code point (N, 2) of each range of letters of a font file; none where it cannot be
    used.
    """
    try:
        ImageFont.truetype(path, 12)  # fonts of coloured bitmaps have one size only
        return _read_ranges(Path(path).read_bytes())
    except (OSError, struct.error, ValueError):
        return np.zeros((0, 2), np.int64)


def _read_ranges(data: bytes) -> np.ndarray:
    """The same of the bytes of an OpenType font, or of the first of a collection: its table `cmap`, of format
    4 or 12.
    """
    (face,) = struct.unpack_from(">I", data, 12) if data[:4] == b"ttcf" else (0,)
    (tables,) = struct.unpack_from(">H", data, face + 4)
    records = [struct.unpack_from(">4s4xII", data, face + 12 + 16 * place) for place in range(tables)]
    cmap = next((start for tag, start, _ in records if tag == b"cmap"), None)
    if cmap is None:
        raise ValueError("no table of letters")
    (count,) = struct.unpack_from(">H", data, cmap + 2)
    entries = [struct.unpack_from(">HHI", data, cmap + 4 + 8 * place) for place in range(count)]
    known = {(platform, encoding): cmap + start for platform, encoding, start in entries}
    start = next(known[key] for key in (*WHOLE_UNICODE, *BASIC_PLANE, *known) if key in known)
    (form,) = struct.unpack_from(">H", data, start)
    if form == 12:
        (groups,) = struct.unpack_from(">I", data, start + 12)
        return np.frombuffer(data, ">u4", 3 * groups, start + 16).reshape(-1, 3)[:, :2].astype(np.int64)
    if form != 4:
        raise ValueError(f"a table of letters of format {form}")
    (segments,) = (half // 2 for half in struct.unpack_from(">H", data, start + 6))
    last = np.frombuffer(data, ">u2", segments, start + 14)
    first = np.frombuffer(data, ">u2", segments, start + 16 + 2 * segments)
    return np.stack([first, last], axis=1).astype(np.int64)[:-1]

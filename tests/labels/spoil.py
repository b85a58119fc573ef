"""Label files spoilt at random: what a crash, a bad disk, a hasty edit or an attacker makes of a good one."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from xml.etree import ElementTree

# values that parse in some format and mean trouble
VALUES: list[Any] = [
    *(
        0,
        -1,
        -0.0,
        1e308,
        -1e308,
        1e-320,
        0.5,
        10**400,
        -(10**400),
        2**31,
        2**32,
        2**63,
        40_000,
        65_536,
        1e10,
    ),
    *(
        float("nan"),
        float("inf"),
        -float("inf"),
        None,
        True,
        False,
        "",
        [],
        {},
        [[]],
        [{}],
        {"": None},
        [None] * 3,
    ),
    *(
        "..",
        "../secret.png",
        "..\\secret.png",
        "/etc/passwd",
        "C:\\x.png",
        "//host/x.png",
        "file:///etc/passwd",
    ),
    *(
        "\0",
        "\ud800",
        "\x1b[2J",
        "a\nb",
        "\u2028",
        "x" * 5000,
        "é",
        "1e308",
        "NaN",
        "-1",
        "9" * 400,
        "٣",
        "1_0",
        "0x10",
    ),
    *(
        "a.png",
        "b.png",
        "a",
        "AAAA",
        "eNoDAAAAAAE=",
        [[1, 1], [2, 2]],
        [0, 0, 0, 0],
        [1e308] * 6,
        [10**400] * 4,
    ),
    *({"size": [20, 30], "counts": [600]}, {"size": [40_000, 40_000], "counts": "0"}, {"counts": [-1, 601]}),
    [[[[[[[[[[[[1]]]]]]]]]]]],
]
# what no well-formed file has at this place
TOKENS: list[bytes] = [
    *(
        b"1e308",
        b"-1e308",
        b"NaN",
        b"nan",
        b"inf",
        b"1" + b"0" * 400,
        b"-1",
        b"0",
        b"null",
        b"true",
        b"{}",
        b"[]",
    ),
    *(
        b'""',
        b'"',
        b"'",
        b",",
        b":",
        b"{",
        b"}",
        b"[",
        b"]",
        b"\\",
        b"\n",
        b"\r",
        b"\t",
        b" ",
        b"\0",
        b"\xff",
        b"\x1b[2J",
    ),
    *(
        b"../",
        b"../secret.png",
        b"/etc/passwd",
        b"..\\",
        b'"\\ud800"',
        b"\\u0000",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
    ),
    *(b"[" * 3000, b"{" * 3000, b'{"a":' * 3000, b"<a>" * 300, b"- " * 3000, b"x" * 5000, b"9" * 5000),
    *(
        b"<!DOCTYPE a>",
        b'<!DOCTYPE a [<!ENTITY b "c">]>',
        b"&b;",
        b"&#0;",
        b"&#xD800;",
        b"<![CDATA[",
        b"<a",
        b"</a>",
        b"<!--",
    ),
    *(b"&a [1]", b"*a", b"<<: *a", b"!!python/object/apply:os.system [x]", b"? ", b"--- ", b"%YAML 9\n"),
    *(
        b"\x00\x00\x9c\x40",
        b"\x7f\xff\xff\xff",
        b"\x80\x00\x00\x00",
        "٣".encode(),
        "\u2028".encode(),
        "\ud7ff".encode(),
    ),
]
# a text in quotes, or a word or number
WORD = re.compile(rb'"[^"\n]{0,80}"|[-+.\w]+')
PNG = b"\x89PNG\r\n\x1a\n"

Edit = Callable[[bytes, Random], bytes]


def spoil(content: bytes, rng: Random) -> bytes:
    """`content` after one to three changes; seldom it stays what it was."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        content = rng.choice(_edits(content))(content, rng)
    return content


def _edits(content: bytes) -> list[Edit]:
    """The changes that suit a file. Those that keep it well-formed come more often: the others end in its
    parser.
    """
    anything: list[Edit] = [_flip, _cut, _copy, _insert, _truncate]
    if content.startswith(PNG):
        return [*anything, _spoil_chunk, _spoil_chunk, _spoil_chunk, _spoil_pixels, _spoil_pixels]
    words: list[Edit] = [_replace_word, _replace_word, _swap_words, _spoil_line]
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    tree: list[Edit] = []
    if start in (b"{", b"["):
        tree = [_spoil_json] * 8
    elif start == b"<":
        tree = [_spoil_xml] * 8
    return [*anything, *words, *words, *tree]


# ---- bytes


def _place(content: bytes, rng: Random) -> int:
    return rng.randrange(len(content) + 1)


def _flip(content: bytes, rng: Random) -> bytes:
    """Another byte in one place, often by a single bit."""
    if not content:
        return b"\0"
    at = rng.randrange(len(content))
    new = content[at] ^ (1 << rng.randrange(8)) if rng.random() < 0.5 else rng.randrange(256)
    return content[:at] + bytes([new]) + content[at + 1 :]


def _cut(content: bytes, rng: Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.choice((1, 2, 8, 40, 200)) :]


def _copy(content: bytes, rng: Random) -> bytes:
    """A part of the file once more, in another place."""
    begin, at = _place(content, rng), _place(content, rng)
    return content[:at] + content[begin : begin + rng.choice((1, 4, 16, 80, 400))] + content[at:]


def _insert(content: bytes, rng: Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.choice(TOKENS) + content[at + rng.choice((0, 0, 1, 4)) :]


def _truncate(content: bytes, rng: Random) -> bytes:
    return content[: _place(content, rng)]


# ---- words and lines


def _replace_word(content: bytes, rng: Random) -> bytes:
    """A word becomes a hostile one; what was in quotes often stays in quotes."""
    words = list(WORD.finditer(content))
    if not words:
        return content
    word = rng.choice(words)
    new = rng.choice(TOKENS)
    if rng.random() < 0.5:
        value = rng.choice(VALUES)
        new = json.dumps(value).encode()
    if word.group().startswith(b'"') and not new.startswith(b'"') and rng.random() < 0.7:
        new = b'"' + new + b'"'
    return content[: word.start()] + new + content[word.end() :]


def _swap_words(content: bytes, rng: Random) -> bytes:
    words = list(WORD.finditer(content))
    if len(words) < 2:
        return content
    one, two = sorted(rng.sample(range(len(words)), 2))
    a, b = words[one], words[two]
    return content[: a.start()] + b.group() + content[a.end() : b.start()] + a.group() + content[b.end() :]


def _spoil_line(content: bytes, rng: Random) -> bytes:
    """A line is gone, comes twice, or changes places with another."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(to, lines[at])
    else:
        lines[at], lines[to] = lines[to], lines[at]
    return b"".join(lines)


# ---- trees


def _spoil_json(content: bytes, rng: Random) -> bytes:
    """One value of the tree is gone, another's, twice there, wrapped or hostile; the file stays JSON."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return content
    places = list(_json_places(document))
    if not places:
        return content
    owner, key = rng.choice(places)
    kind = rng.randrange(6)
    if kind == 0:
        del owner[key]
    elif kind == 1:
        other, place = rng.choice(places)
        owner[key] = other[place]  # perhaps one that holds it
    elif kind == 2 and isinstance(owner, list):
        owner.insert(rng.randrange(len(owner) + 1), owner[key])
    elif kind == 3:
        owner[key] = [owner[key]]
    else:
        owner[key] = rng.choice(VALUES)
    try:
        return json.dumps(document).encode()
    except ValueError:  # a value inside itself
        return content


def _json_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every list or object with each of its keys."""
    waiting = [value]
    while waiting:
        owner = waiting.pop()
        keys = (
            range(len(owner)) if isinstance(owner, list) else list(owner) if isinstance(owner, dict) else ()
        )
        for key in keys:
            yield owner, key
            waiting.append(owner[key])


def _spoil_xml(content: bytes, rng: Random) -> bytes:
    """One element is gone, twice there, elsewhere, renamed, or has a hostile text or attribute; the file
    stays XML.
    """
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):
        return content
    parents = [(parent, child) for parent in root.iter() for child in parent]
    if not parents:
        return content
    parent, child = rng.choice(parents)
    kind = rng.randrange(7)
    if kind == 0:
        parent.remove(child)
    elif kind == 1:
        parent.append(child)
    elif kind == 2:
        child.tag = rng.choice(parents)[1].tag
    elif kind == 3 and child.attrib:
        del child.attrib[rng.choice(sorted(child.attrib))]
    elif kind <= 5 and child.attrib:
        child.set(rng.choice(sorted(child.attrib)), _xml_text(rng))
    else:
        child.text = _xml_text(rng)
    return ElementTree.tostring(root)


def _xml_text(rng: Random) -> str:
    """A hostile value without the characters that XML has no way to write."""
    text = str(rng.choice([value for value in VALUES if not isinstance(value, int) or abs(value) < 2**64]))
    return re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd]", "", text)


# ---- PNG


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of each chunk, as far as the file goes."""
    chunks, at = [], len(PNG)
    while at + 8 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += length + 12
    return chunks


def _join(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """The file of these chunks, with check sums that are right."""
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return PNG + b"".join(parts)


def _spoil_chunk(content: bytes, rng: Random) -> bytes:
    """A chunk is spoilt, gone or twice there; decoders see no wrong check sum."""
    chunks = _chunks(content)
    if not chunks:
        return content
    # the header has the size and the depth, so it is the most telling
    at = 0 if rng.random() < 0.6 else rng.randrange(len(chunks))
    kind, data = chunks[at]
    change = rng.randrange(6)
    if change == 0:
        del chunks[at]
    elif change == 1:
        chunks.insert(rng.randrange(len(chunks) + 1), chunks[at])
    elif change == 2 and len(data) >= 8:
        sides = [rng.choice((0, 1, 2, 40_000, 2**31 - 1, 2**31, 2**32 - 1)) for _ in range(2)]
        chunks[at] = (kind, struct.pack(">II", *sides) + data[8:])
    else:
        chunks[at] = (kind, _flip(data, rng))
    return _join(chunks)


def _spoil_pixels(content: bytes, rng: Random) -> bytes:
    """Other pixels in an image that decodes without complaint."""
    chunks = _chunks(content)
    packed = b"".join(data for kind, data in chunks if kind == b"IDAT")
    try:
        rows = zlib.decompress(packed)
    except zlib.error:
        return content
    for _ in range(rng.choice((1, 5, 50))):
        rows = _flip(rows, rng)
    if rng.random() < 0.2:
        rows = rng.choice((_cut, _copy, _truncate))(rows, rng)
    others = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
    return _join([*others[:-1], (b"IDAT", zlib.compress(rows, 1)), *others[-1:]])

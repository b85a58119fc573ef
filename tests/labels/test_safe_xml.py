"""XML that must not be parsed, and XML that must."""

from __future__ import annotations

from pathlib import Path
from random import Random

import claims
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spoil import spoil

from maskrcnn.errors import DataError
from maskrcnn.labels.readers import safe_xml
from maskrcnn.labels.readers.safe_xml import parse_xml

GOOD = b"<?xml version='1.0'?><a x='1'><b>1 &lt; 2 &#65;</b><!-- c --><c><![CDATA[<d>]]></c>tail</a>"
LAUGHS = b"<!DOCTYPE a [<!ENTITY l 'ha'><!ENTITY m '&l;&l;&l;'>]><a>&m;</a>"
OUTSIDE = b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>"


def refused(path: Path, content: bytes, word: str) -> None:
    path.write_bytes(content)
    claims.refused(lambda: parse_xml(path), path, word)


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(GOOD)
    root = parse_xml(path)
    assert root.tag == "a" and root.attrib == {"x": "1"} and [child.tag for child in root] == ["b", "c"]
    assert root.findtext("b") == "1 < 2 A" and root.findtext("c") == "<d>" and root[1].tail == "tail"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.xml"
    declared = encoding.removesuffix("-sig")
    path.write_bytes(f"<?xml version='1.0' encoding='{declared}'?><a>Zürich</a>".encode(encoding))
    assert parse_xml(path).text == "Zürich"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        *[(each, "猫和狗") for each in ("gb2312", "GBK", "gb18030", "Shift_JIS", "euc-jp")],
        *[("big5", "貓"), ("EUC-KR", "고양이")],
    ],
)
def test_encodings_of_several_bytes_a_letter(tmp_path: Path, encoding: str, text: str) -> None:
    path = tmp_path / "a.xml"
    start = f"<?xml version='1.0' encoding='{encoding}'?>"
    path.write_bytes(f"{start}<a b='{text}'>{text}</a>".encode(encoding))
    assert parse_xml(path).text == text and parse_xml(path).attrib == {"b": text}
    refused(path, start.encode() + LAUGHS, "DOCTYPE")
    refused(path, start.encode() + b"<a>\x8e</a>", "save it as UTF-8")


@pytest.mark.parametrize(
    "content", [LAUGHS, OUTSIDE, b"<!DOCTYPE a><a/>", b"<!DOCTYPE a SYSTEM 'http://x/y'><a/>"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types(tmp_path: Path, content: bytes, encoding: str) -> None:
    refused(tmp_path / "a.xml", content.decode().encode(encoding), "DOCTYPE")


def test_depth(tmp_path: Path) -> None:
    refused(tmp_path / "a.xml", b"<a>" * 101 + b"</a>" * 101, "deeper than 100")
    refused(tmp_path / "a.xml", b"<a>" * 1_000_000, "deeper than 100")
    (tmp_path / "a.xml").write_bytes(b"<a>" * 100 + b"</a>" * 100)
    assert parse_xml(tmp_path / "a.xml").tag == "a"


def test_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_xml, "MAX_BYTES", len(GOOD) - 1)
    refused(tmp_path / "a.xml", GOOD, "larger than")


def test_number_of_elements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_xml, "MAX_ELEMENTS", 3)
    refused(tmp_path / "a.xml", b"<a><b/><b/><b/></a>", "more than 3 elements")
    (tmp_path / "a.xml").write_bytes(b"<a><b/><b/></a>")
    assert len(parse_xml(tmp_path / "a.xml")) == 2


def test_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "none.xml", tmp_path):
        with pytest.raises(DataError, match="no such file"):
            parse_xml(path)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no element found"),
        (b"<a>", "line 1, column 4"),
        (b"<a>\n</b></a>", "mismatched tag, line 2"),
        (b"<a>&x;</a>", "undefined entity"),
        (b"<a/><a/>", "junk"),
        (b"<a>\xff</a>", "not valid XML"),
        (b"<?xml version='1.0' encoding='johab'?><a/>", "UTF-8"),
        (b"<?xml version='1.0' encoding='zlib'?><a/>", "UTF-8"),
        (b"<?xml version='1.0' encoding='none'?><a/>", "UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "not valid XML"),
    ],
)
def test_broken(tmp_path: Path, content: bytes, word: str) -> None:
    refused(tmp_path / "a.xml", content, word)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_any_bytes_are_read_or_refused(tmp_path: Path, rng: Random) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(spoil(GOOD, rng))
    try:
        parse_xml(path)
    except DataError as error:
        assert str(path) in claims.one_line(error)

"""XML files that others wrote, parsed without what makes XML dangerous: no document types, no entities, no
depth.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from maskrcnn.errors import RecordError, one_line

XMLS = "*.[xX][mM][lL]"  # what tools on Windows write is in capitals at times
MAX_BYTES = 200 * 2**20
# of more than one byte a letter, which expat does not know, and what holds all that programs write as these
ENCODINGS = {
    **dict.fromkeys(("gb2312", "gbk", "gb18030", "cp936"), "gb18030"),
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "cp932", "windows-31j"), "cp932"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987", "cp949"), "cp949"),
    **{"big5": "cp950", "cp950": "cp950", "euc-jp": "euc_jp"},
}
DECLARED = re.compile(rb"""^<\?xml[^>]*\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
HEAD = 200  # bytes that hold it
MAX_DEPTH = 100  # elements inside elements
MAX_ELEMENTS = 5_000_000  # some 500 MB as Python objects; in 200 MB there is room for ten times as many


def parse_xml(path: Path) -> Element:
    """The root element of an XML file.

    Entities, and with them "billion laughs" and reading other files, can only be declared in a DOCTYPE. That
    is refused by the parser rather than by looking for its bytes, which a file in UTF-16 would hide.

    Raises:
        DataError: the file is missing, unreadable, larger than 200 MB, of more than 5 million elements,
            nested deeper than 100, or has a DOCTYPE.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    depth = count = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth += 1
        count += 1
        if count > MAX_ELEMENTS:
            raise RecordError(path, f"more than {MAX_ELEMENTS:,} elements", "export the labels in parts")
        if depth > MAX_DEPTH:
            raise RecordError(path, f"elements nested deeper than {MAX_DEPTH}", "export the labels anew")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise RecordError(
            path, "has a DOCTYPE, which label files never need", "delete it if you trust the file"
        )

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        if not path.is_file():
            raise RecordError(path, "no such file", "restore it")
        if path.stat().st_size > MAX_BYTES:
            raise RecordError(path, f"larger than {MAX_BYTES >> 20} MB", "export the labels in parts")
        _feed(parser, path)
    except OSError as error:
        raise RecordError(path, f"not readable ({error.strerror})", "check the file") from None
    except expat.ExpatError as error:
        message = expat.ErrorString(error.code)
        raise RecordError(
            path,
            f"not valid XML ({message}, line {error.lineno}, column {error.offset + 1})",
            "export the labels anew",
        ) from None
    # an encoding that Python does not know, another of more than one byte a letter, or not the file's
    except (ValueError, LookupError) as error:
        raise RecordError(path, f"not valid XML ({one_line(error):.200})", "save it as UTF-8") from None
    return builder.close()


def _feed(parser: expat.XMLParserType, path: Path) -> None:
    """Parse a file; of one of `ENCODINGS` the text, which is parsed as UTF-8 whatever it declares."""
    with path.open("rb") as file:
        declared = DECLARED.match(file.read(HEAD))
        file.seek(0)
        encoding = None if declared is None else ENCODINGS.get(declared[1].decode().lower())
        if encoding is None:
            parser.ParseFile(file)
        else:
            parser.Parse(file.read().decode(encoding), True)

"""Names in any script are drawn, and no two names look alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from maskrcnn.errors import UserError
from maskrcnn.images import font
from maskrcnn.images.font import names_without_font, with_font


@pytest.fixture(autouse=True)
def bare_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No font but the package's."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path / "share"))
    monkeypatch.setattr(font, "_font_folders", lambda: iter([tmp_path / "share"]))
    monkeypatch.delenv("MASKRCNN_FONT", raising=False)
    forget()


def forget() -> None:
    for cached in (font._best_font, font._system_fonts, font._ranges):
        cached.cache_clear()


def drawn(text: str) -> bytes:
    image = Image.new("L", (300, 40))
    written, chosen = with_font(text, 20)
    ImageDraw.Draw(image).text((2, 2), written, font=chosen, fill=255)
    return image.tobytes()


def make_font(path: Path, letters: str) -> Path:
    """A font whose letters are bars of different heights."""
    builder_module = pytest.importorskip("fontTools.fontBuilder")
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    def bar(height: int) -> object:
        pen = TTGlyphPen(None)
        pen.moveTo((100, 0))
        for corner in ((100, height), (500, height), (500, 0)):
            pen.lineTo(corner)
        pen.closePath()
        return pen.glyph()

    names = [".notdef", *(f"bar{place}" for place in range(len(letters)))]
    builder = builder_module.FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): names[place] for place, letter in enumerate(letters, 1)})
    builder.setupGlyf({name: bar(100 + 150 * place) for place, name in enumerate(names)})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Bars", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)
    return path


@pytest.mark.parametrize(
    "pair", [("кот", "пёс"), ("Käfer", "Kéfer"), ("Σκύλος", "Γάτα"), ("猫", "犬"), ("𠮷", "𠮶")]
)
def test_two_names_never_look_alike(pair: tuple[str, str]) -> None:
    assert drawn(pair[0]) != drawn(pair[1])
    assert np.frombuffer(drawn(pair[0]), np.uint8).any()


def test_letters_that_no_font_has_are_written_out_and_named() -> None:
    assert with_font("кот 猫", 20)[0] == "кот \\u732b"
    assert names_without_font(["cat", "Käfer", "кот", "猫", "𠮷"]) == ["猫", "𠮷"]


def test_decomposed_names_are_put_together() -> None:
    assert with_font("пе\u0308с", 20)[0] == "пёс" and names_without_font(["пе\u0308с"]) == []


@pytest.mark.parametrize("letters", ["猫犬", "猫犬𠮷"])  # tables of format 4 and 12
def test_a_font_of_the_system_is_found(letters: str, tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "a-broken.ttf").write_bytes(b"\0\1\0\0" + b"\xff" * 50)
    made = make_font(tmp_path / "share" / "fonts" / "bars.ttf", letters + "0123456789% ")
    for letter in letters:
        written, chosen = with_font(f"{letter} 97%", 20)
        assert written == f"{letter} 97%" and chosen.path == str(made)
    assert drawn(letters[0]) != drawn(letters[1])
    assert with_font("cat", 20)[1].path != str(made) and names_without_font(["\u732c"]) == ["\u732c"]


def test_the_font_that_was_named_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_font(tmp_path / "mine.ttf", "猫cat")
    monkeypatch.setenv("MASKRCNN_FONT", str(made))
    assert with_font("猫", 20)[1].path == with_font("cat", 20)[1].path == str(made)
    assert with_font("кот", 20)[1].path == str(font.PACKAGED)
    (tmp_path / "no.ttf").write_bytes(b"no font")
    for wrong in ("no.ttf", "missing.ttf"):
        monkeypatch.setenv("MASKRCNN_FONT", str(tmp_path / wrong))
        with pytest.raises(UserError, match=f"MASKRCNN_FONT=.*{wrong}.*ttf or .otf"):
            with_font("cat", 20)

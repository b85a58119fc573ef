"""Names and folders of images: backslashes of Windows, and symbolic links."""

from __future__ import annotations

from pathlib import Path

import pytest
from claims import refused

from maskrcnn.labels.image_files import present_name
from maskrcnn.labels.readers.folder_files import files_under


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_backslashes_where_no_file_has_the_name(tmp_path: Path) -> None:
    write(tmp_path, "a/b.png", "c\\d.png", "c/d.png")
    assert present_name(tmp_path, "a\\b.png") == "a/b.png"
    assert present_name(tmp_path, "c\\d.png") == "c\\d.png"
    assert present_name(tmp_path, "a\\lost.png") == "a\\lost.png"
    assert present_name(tmp_path, "a\\..\\..\\b.png") is None
    assert present_name(tmp_path, "C:\\a\\b.png") is None


def test_files_through_links(tmp_path: Path) -> None:
    top, outside = tmp_path / "top", tmp_path / "outside"
    write(top, "a/1.png", ".hidden/2.png")
    write(outside, "3.png", "deep/4.png", ".5.png")
    (top / "b").symlink_to(outside)
    (top / "again").symlink_to(top / "a")  # found in its own place
    (top / "c").symlink_to(outside)  # as b
    (top / "6.png").symlink_to(outside / "3.png")
    assert files_under(top) == ["6.png", "a/1.png", "b/3.png", "b/deep/4.png"]
    assert files_under(top / "b") == ["3.png", "deep/4.png"]


@pytest.mark.parametrize("target", [".", "..", "/"])
def test_links_to_what_holds_them(tmp_path: Path, target: str) -> None:
    write(tmp_path / "top", "a.png")
    write(tmp_path / "outside/deep", "b.png")
    (tmp_path / "top/linked").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/deep/up").symlink_to(target)
    refused(lambda: files_under(tmp_path / "top"), tmp_path / "top", "a folder that holds it")


def test_links_in_a_circle(tmp_path: Path) -> None:
    write(tmp_path / "one", "a.png")
    write(tmp_path / "two", "b.png")
    (tmp_path / "one/two").symlink_to(tmp_path / "two")
    (tmp_path / "two/one").symlink_to(tmp_path / "one")
    assert files_under(tmp_path / "one") == ["a.png", "two/b.png"]
    (tmp_path / "one/self").symlink_to("self")
    refused(lambda: files_under(tmp_path / "one"), "self", "symbolic links")

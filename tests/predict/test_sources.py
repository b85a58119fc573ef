"""Which files a person means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maskrcnn.errors import ImageError, UserError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.images.read import read_image
from maskrcnn.images.regions import count_images, open_regions
from maskrcnn.predict.kinds import spare_others
from maskrcnn.predict.sources import NOT_READ, find_images, find_sources, is_many, passed_over_line


def test_find_images_in_files_folders_and_patterns(tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    for name in ("b.png", "a.JPG", "notes.txt", "._a.jpg", "deep/c.png"):
        (tmp_path / name).write_bytes(b"")

    def names(*sources: str) -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in find_images(list(sources))]

    assert names(str(tmp_path)) == ["a.JPG", "b.png"]
    assert names(f"{tmp_path}/*.png") == ["b.png"]
    assert names(f"{tmp_path}/**/*") == ["a.JPG", "b.png", "deep/c.png"]
    assert names(f"{tmp_path}/notes.txt") == ["notes.txt"]
    assert names(f"{tmp_path}/b.png", str(tmp_path)) == ["b.png", "a.JPG"]


def test_an_image_in_two_spellings_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shots = tmp_path / "shots"
    shots.mkdir()
    for name in ("a.png", "b.png", "film.mp4"):
        (shots / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    both = [Path("shots/a.png"), Path("shots/b.png")]
    assert find_sources(["shots", str(shots)]) == (both, [Path("shots/film.mp4")])
    assert find_images(["shots/../shots/b.png", "./shots"]) == [Path("shots/../shots/b.png"), both[0]]
    (tmp_path / "latest").symlink_to(shots)
    assert find_images(["shots", "latest"]) == both
    (shots / "again").symlink_to(shots)  # ** follows links
    assert len(find_images(["shots/**/*.png"])) == 2
    (shots / "c.png").symlink_to("a.png")  # a link to an image is asked for by its own name
    assert find_images(["shots"]) == [*both, Path("shots/c.png")]


def test_a_link_that_leads_nowhere_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").symlink_to("gone.png")
    assert find_images([tmp_path]) == [tmp_path / "a.png", tmp_path / "b.png"]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    path = tmp_path / "shot[1].png"
    path.write_bytes(b"")
    assert find_images([str(path)]) == [path]


def test_sources_without_images_are_refused(tmp_path: Path) -> None:
    for sources in ([], [str(tmp_path)], [f"{tmp_path}/*.png"], [str(tmp_path / "missing.png")]):
        with pytest.raises(UserError) as caught:
            find_images(sources)
        assert "\n" not in str(caught.value)


def test_an_empty_name_is_not_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert find_images(["."]) == find_images([Path()]) == [Path("a.png")]
    with pytest.raises(UserError, match="an empty name"):
        find_images([""])


def test_a_name_that_no_system_has_is_one_line() -> None:
    """Such as the text of an image in base64; it was an OSError with all of it."""
    with pytest.raises(UserError, match="longer than any file's name") as caught:
        find_images(["/9j/" + "x" * 5000])
    assert len(str(caught.value)) < 200


def test_a_pattern_under_a_folder_whose_name_looks_like_one(tmp_path: Path) -> None:
    for folder in ("shots[1]", "shots1"):
        (tmp_path / folder / "more").mkdir(parents=True)
        for name in ("a.png", "more/b.png"):
            (tmp_path / folder / name).write_bytes(b"")
    literal = tmp_path / "shots[1]"
    assert find_images([f"{literal}/*.png"]) == [literal / "a.png"]
    assert find_images([f"{literal}/**/*.png"]) == [literal / "a.png", literal / "more" / "b.png"]
    assert find_images([f"{tmp_path}/shots[12]/*.png"]) == [tmp_path / "shots1" / "a.png"]
    assert is_many(f"{literal}/*.png") and is_many(literal) and not is_many(literal / "a.png")
    with pytest.raises(UserError, match="no such file"):
        find_images([literal / "missing.png"])


def test_a_pattern_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    assert find_images(["*.png"]) == find_images(["a.png"]) == [Path("a.png")]


def test_images_of_formats_that_are_not_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskrcnn.predict.sources.find_spec", lambda name: None)  # no pillow-heif
    for name in ("a.jfif", "b.avif", "c.NEF", "d.HEIC", "clip.MOV", "notes.txt", "labels.json", "._x.nef"):
        (tmp_path / name).write_bytes(b"")
    found = find_sources([tmp_path, tmp_path / "c.NEF", f"{tmp_path}/*"])
    assert [path.name for path in found.images] == ["a.jfif", "b.avif", "c.NEF"]  # named alone it is taken
    assert [path.name for path in found.passed_over] == ["clip.MOV", "d.HEIC"]
    line = passed_over_line(found.passed_over)
    assert "2 files" in line and "(.MOV, .HEIC)" in line and "clip.MOV" in line and "maskrcnn[heic]" in line
    assert not set(NOT_READ) & set(SUFFIXES)


def test_a_folder_of_nothing_else_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "a.cr2").write_bytes(b"")
    with pytest.raises(UserError, match=r"no images .* passed over: 1 file .*\(.cr2\).* convert"):
        find_images([tmp_path])


def test_a_pipe_is_not_passed_over_and_a_link_in_a_circle_stops_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("b.png")
    paths = find_images([str(tmp_path)])
    assert [path.name for path in paths] == ["a.png", "b.png"]
    spare_others(tmp_path, ["b.png", "c.png"], [], first=False)
    with pytest.raises(UserError, match=r"b\.png: the run reads it"):
        spare_others(tmp_path, ["b.png"], paths, first=False)
    for path, why in zip(paths, ("a pipe or a device", "cannot be decoded"), strict=True):
        with pytest.raises(ImageError, match=why):
            read_image(path)


def test_a_file_that_may_not_be_read_is_an_image_that_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "a.png"
    path.write_bytes(b"")
    monkeypatch.setattr(Path, "open", forbidden)  # root may read anything
    assert open_regions(path) is None and count_images(path) == 1

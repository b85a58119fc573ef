"""Which image files a person means by a file, a folder or a pattern."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from maskrcnn.errors import UserError
from maskrcnn.files import refuse_empty
from maskrcnn.images.header import HEIC_REMEDY, HEIC_SUFFIXES, SUFFIXES
from maskrcnn.images.multichannel import ARRAY_SUFFIX
from maskrcnn.images.slide_regions import SUFFIXES as SLIDES
from maskrcnn.images.zarr_regions import SUFFIX as ZARR
from maskrcnn.images.zarr_regions import is_zarr
from maskrcnn.shell import counted

FILMS = tuple(".mov .mp4 .m4v .avi .mkv .webm .wmv .mpg .mpeg .3gp .mts .m2ts .flv .ogv .mxf".split())
# Formats of cameras, microscopes, scanners and phones
NOT_READ = tuple(
    ".jxl .jp2 .j2k .jpx .jxr .psd .psb .xcf .svg .tga .exr .hdr .dds .pcx .ico .fits .qoi"
    " .dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .orf .rw2 .raf .pef .srw .raw .x3f .3fr .iiq .gpr"
    " .dcm .nii .mha .mhd .nrrd .czi .lif .nd2 .oib .oif .vsi .svs .ndpi .mrxs .scn .bif .zvi .ims".split()
)


class Sources(NamedTuple):
    """What a person's files, folders and patterns hold."""

    images: list[Path]  # in the order named, each once
    passed_over: list[Path]  # in folders and patterns: images and films of formats that are not read


class Names(NamedTuple):
    """The same as text, which takes a quarter of the memory: there may be millions."""

    images: list[str]
    passed_over: list[str]


def find_images(sources: Iterable[str | Path]) -> list[Path]:
    """The image files that a person named, in the order named, each once: `find_sources` without the rest."""
    return find_sources(sources).images


def find_sources(sources: Iterable[str | Path]) -> Sources:
    """The image files that a person named, and those that were meant but cannot be read.

    A file is taken as it is, whatever its suffix. A folder gives the images directly in it, sorted by name; a
    pattern (`shots/*.jpg`, `shots/**/*.png`) what it matches, sorted. In both, hidden files and other
    suffixes are passed over. The part of a pattern that exists is no pattern: in `shots[1]/*.jpg` the folder
    may be called shots[1]. An image that is named twice, also by another path to its folder, is one.

    Raises:
        UserError: no source at all, one that does not exist, or one with no image in it.
    """
    found = find_names(sources)
    return Sources(*([Path(name) for name in names] for names in found))


def find_names(sources: Iterable[str | Path]) -> Names:
    """The same as text. Errors are those of `find_sources`."""
    images: dict[str, None] = {}
    passed: dict[str, None] = {}
    for source in sources:
        found = _find(str(source))
        images.update(dict.fromkeys(found.images))
        passed.update(dict.fromkeys(found.passed_over))
    if not images:
        raise UserError("no images given; name files, folders or patterns such as 'shots/*.jpg'")
    return Names(once(images), once(name for name in passed if name not in images))


def once(names: Iterable[str]) -> list[str]:
    """Names without those of a folder that was named in another spelling before: relative, absolute, or by a
    link to it. Links to files are files of their own, and other machines' folders are as they are named.
    """
    names = list(names)
    # a folder is asked once, and no name is held twice: there may be millions
    folders = dict.fromkeys(map(os.path.dirname, names))
    real = {folder: os.path.realpath(folder) for folder in folders if "://" not in folder}
    if len(set(real.values())) == len(real):
        return names
    known: dict[tuple[str, str], str] = {}
    for name in names:
        folder, file = os.path.split(name)
        known.setdefault((real[folder], file) if folder in real else (name, ""), name)
    return list(known.values())


def passed_over_line(paths: list[Path]) -> str:
    """How many files were passed over, of which formats, the first and the remedy."""
    kinds = ", ".join(dict.fromkeys(path.suffix for path in paths))
    files = f"{counted(len(paths), 'file')} of formats that are not read ({kinds})"
    suffixes = {path.suffix.lower() for path in paths}
    remedy = "convert them to JPEG or PNG"
    if suffixes & set(HEIC_SUFFIXES):
        remedy = f"for HEIC {HEIC_REMEDY}"
    elif suffixes <= set(FILMS):
        remedy = "name videos one by one"
    return f"passed over: {files}, the first is {paths[0]}; {remedy}"


def is_many(source: str | Path) -> bool:
    """Whether a source stands for a list of images, however many it turns out to hold: a folder or a
    pattern.
    """
    path = Path(os.path.expanduser(source))
    if is_zarr(path):
        return False
    return path.is_dir() or (not path.exists() and _pattern(path) is not None)


def _find(source: str) -> Names:
    refuse_empty(source, "a file, a folder or a pattern")
    path = Path(os.path.expanduser(source))
    try:
        path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        # the content of a file, perhaps
        raise UserError(f"{source[:60]}...: longer than any file's name; check the name") from None
    if is_zarr(path):
        return Names([str(path)], [])
    if path.is_dir():
        found = _choose(path.iterdir())
        where, remedy = "no images in this folder", f"subfolders: '{path}/**/*'"
    elif path.exists():
        return Names([str(path)], [])
    else:
        pattern = _pattern(path)
        if pattern is None:
            raise UserError(f"{source}: no such file or folder; check the name")
        found = _choose(Path(match) for match in glob.glob(pattern, recursive=True))
        where, remedy = "the pattern matches no image", "check it with ls"
    if not found.images:
        others = (
            f"; {passed_over_line([Path(name) for name in found.passed_over])}" if found.passed_over else ""
        )
        raise UserError(f"{source}: {where} ({' '.join(SUFFIXES)}); {remedy}{others}")
    return found


def _pattern(path: Path) -> str | None:
    """A path that does not exist as a pattern, its existing folders taken literally; None where it is no
    pattern.
    """
    folder = next(parent for parent in path.parents if parent.exists())
    rest = str(path.relative_to(folder))
    return str(Path(glob.escape(str(folder)), rest)) if glob.has_magic(rest) else None


def _choose(paths: Iterable[Path]) -> Names:
    """The images among some files, sorted; arrays only where there is nothing else, since they may be
    anything.
    """
    shown = [
        str(path)
        for path in paths
        # of a link that leads nowhere and of a pipe whoever reads it says so
        if not path.name.startswith(".") and (not path.is_dir() or is_zarr(path))
    ]
    return choose_names(sorted(shown, key=lambda name: name.replace(os.sep, "\0")))  # as paths are sorted


def choose_names(shown: list[str]) -> Names:
    """The images among the names of files, by their suffixes, in their order."""
    slides = SLIDES if find_spec("tiffslide") is not None else ()
    no_heic = HEIC_SUFFIXES if find_spec("pillow_heif") is None else ()

    def of(suffixes: tuple[str, ...]) -> list[str]:
        return [name for name in shown if os.path.splitext(name)[1].lower() in suffixes]

    images = of((*(suffix for suffix in SUFFIXES if suffix not in no_heic), ZARR, *slides))
    passed_over = of((*(suffix for suffix in NOT_READ + FILMS if suffix not in slides), *no_heic))
    return Names(images or of((ARRAY_SUFFIX,)), passed_over)

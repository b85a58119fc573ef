"""Large images decoded once into files of the cache folder, from which a part can be read without the rest.

A JPEG or PNG can only be decoded as a whole. The decoded image is a NumPy array file that is mapped into
memory, so that a tile costs the memory of a tile. Decoding happens in a process of its own, whose memory is
given back when it ends.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from maskrcnn.environment import child_environment
from maskrcnn.errors import DataError, UserError, one_line
from maskrcnn.files import cache_folder, locked, new_file
from maskrcnn.images.read import ValueRange, read_image
from maskrcnn.progress import Progress
from maskrcnn.shell import printable

FORM = 2  # of the files; another one where the reading of images changes
GIGABYTE = 10**9


class DecodedImages:
    """The decoded images of one training, within `limit` bytes of the folder.

    Files are written under another name and moved, and processes that want the same one wait for each other,
    so any number of workers may ask at once.
    """

    def __init__(self, limit: int, folder: Path | None = None, value_range: ValueRange | None = None) -> None:
        """
        Args:
            limit: bytes that the files may take in all, those of other trainings included.
            folder: None: `images` in the cache folder.
            value_range: as `read_image` takes it.
        """
        self.limit, self.value_range = limit, value_range
        self.folder = folder or cache_folder() / "images"
        self.bytes = 0  # of the images reserved
        self._wanted: dict[Path, tuple[Path, int, int]] = {}  # file: image, channels, bytes

    def reserve(self, path: Path, channels: int, pixels: int) -> Path | None:
        """The file that an image of so many pixels will have; None where the limit leaves no room for it.

        Raises:
            DataError: there is no such image.
        """
        try:
            stat = path.stat()
        except OSError as error:
            raise DataError(f"{path}: {(error.strerror or 'not readable').lower()}; check the name") from None
        # another size or time of change is another image
        key = f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}\n{channels}\n{self.value_range}\n{FORM}"
        file = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"
        size = pixels * channels
        if file not in self._wanted:
            if self.bytes + size > self.limit:
                return None
            self.bytes += size
            self._wanted[file] = (path.resolve(), channels, size)
        return file

    def fill(self, progress: Progress | None = None) -> None:
        """Decodes every reserved image that is not there yet.

        Files of other trainings are removed, the longest unused first, where the limit would be passed.

        Raises:
            DataError: an image cannot be decoded.
            UserError: the disk has no room for them, or the folder cannot be written.
        """
        missing = {file: entry for file, entry in self._wanted.items() if not _is_used(file)}
        total = sum(size for _, _, size in missing.values())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if missing:
                self._make_room(total)
        except OSError as error:
            raise UserError(
                f"{self.folder}: cannot be written ({error.strerror}); set MASKRCNN_CACHE to a folder that "
                "can"
            ) from None
        done = 0
        for file, (path, channels, size) in missing.items():
            if progress:
                progress(done, total)
            decode_apart(path, channels, file, self.value_range)
            done += size
        if progress and missing:
            progress(total, total)

    def _make_room(self, needed: int) -> None:
        others = [file for file in self.folder.glob("[!.]*.npy") if file not in self._wanted]
        others.sort(key=lambda file: file.stat().st_mtime)
        kept = sum(file.stat().st_size for file in others)
        for file in others:
            if kept + self.bytes <= self.limit:
                break
            kept -= file.stat().st_size
            file.unlink(missing_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise UserError(
                f"{self.folder}: decoded images need {needed / GIGABYTE:.1f} GB there, {free / GIGABYTE:.1f} "
                "are free; "
                "make room, set MASKRCNN_CACHE to a folder on another disk, or lower data.tiles.cache_gb"
            )


def _is_used(file: Path) -> bool:
    """Note that a file is in use, unless it is not there; it is never made, as `touch` would."""
    try:
        os.utime(file)
    except FileNotFoundError:
        return False
    return True


def decode_apart(path: Path, channels: int, file: Path, value_range: ValueRange | None = None) -> None:
    """Decodes an image into an array file, unless it is there, in another process.

    Raises:
        DataError: it cannot be decoded.
        UserError: the file cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.with_suffix(".lock")):
        if file.exists():  # another process was quicker
            return
        command = [sys.executable, "-P", "-m", "maskrcnn.training_data.decoded"]
        command += [str(path), str(channels), str(file), *(repr(float(value)) for value in value_range or ())]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=child_environment()
        )
    if done.returncode == 0:
        return
    said = done.stderr.strip().splitlines()[-1:] or [""]
    if done.returncode == DataError.exit_code:
        raise DataError(said[0])
    if done.returncode == UserError.exit_code:
        raise UserError(said[0])
    reason = "killed; is there memory for the whole image?" if done.returncode < 0 else said[0]
    raise DataError(f"{path}: decoding it ended with code {done.returncode} ({reason:.200})")


def _decode(path: Path, channels: int, file: Path, value_range: ValueRange | None) -> None:
    pixels = read_image(path, channels, value_range)
    try:
        with new_file(file) as unfinished, unfinished.open("wb") as out:
            np.save(out, np.ascontiguousarray(pixels), allow_pickle=False)
    except OSError as error:
        raise UserError(
            f"{file.parent}: cannot be written ({error.strerror}); set MASKRCNN_CACHE to another"
        ) from None


def _main(arguments: list[str]) -> int:
    try:
        path, channels, file, *values = arguments
        _decode(
            Path(path), int(channels), Path(file), (float(values[0]), float(values[1])) if values else None
        )
    except UserError as error:  # DataError is one
        print(printable(one_line(error)), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))

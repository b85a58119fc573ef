"""Text files of one record a line, that anyone may have written."""

from __future__ import annotations

from pathlib import Path

from maskrcnn.errors import RecordError
from maskrcnn.safe_files import decoded

LARGEST = 100 * 2**20  # bytes
TEXTS = "*.[tT][xX][tT]"  # what tools on Windows write is in capitals at times


def read_text(path: Path, errors: str = "strict") -> str:
    """A text file in UTF-8, or in UTF-16 as Windows' programs save it.

    Args:
        errors: "replace": what is neither becomes a replacement character.

    Raises:
        DataError: unreadable, or no text.
    """
    try:
        return decoded(path.read_bytes(), errors)
    except OSError as error:
        raise RecordError(path, f"not readable ({error.strerror})", "check the file") from None
    except UnicodeDecodeError:
        raise RecordError(path, "not text", "save it as UTF-8") from None


def listed_names(folder: Path) -> set[str]:
    """All that the lists in a folder's folders name; flags after a name may be there."""
    lines = {
        line for path in folder.glob(f"*/{TEXTS}") if path.is_file() for line in read_lines(path, "replace")
    }
    return lines | {line.rpartition(" ")[0].strip() for line in lines}


def read_lines(path: Path, errors: str = "strict") -> list[str]:
    """The lines of a text file, stripped, without empty ones.

    Args:
        errors: as of `read_text`, where no line is a name: two of them could become one.

    Raises:
        DataError: unreadable, no text, or larger than 100 MB.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise RecordError(path, f"larger than {LARGEST >> 20} MB", "give the right file")
    except OSError as error:
        raise RecordError(path, f"not readable ({error.strerror})", "check the file") from None
    return [line.strip() for line in read_text(path, errors).splitlines() if line.strip()]

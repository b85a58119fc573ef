"""What the system refuses (room, memory, permission, open files), told in one line with its remedy."""

from __future__ import annotations

import errno
import os

# of a disk that fails, or a share whose machine does not answer
OUT_OF_REACH = (
    *(errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ECONNRESET),
)
REMEDIES = {
    **dict.fromkeys(OUT_OF_REACH, "check the disk or the share that it is on"),
    errno.ENOSPC: "free some space or write elsewhere",
    errno.EDQUOT: "free some of your quota or write elsewhere",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f) or write elsewhere",
    errno.EROFS: "write to another folder",
    errno.EACCES: "check its permissions or use another path",
    errno.EPERM: "check its permissions or use another path",
    errno.ENOENT: "use a path that exists",
    errno.ENOTDIR: "a file is where a folder should be; use another path",
    errno.EISDIR: "a folder is where a file should be; use another path",
    errno.EEXIST: "a file is where a folder should be; use another path",
    errno.ELOOP: "a link leads to itself; remove it or use another path",
    errno.ENAMETOOLONG: "use a shorter path",
    errno.EMFILE: "too many files are open; use fewer data.workers or raise ulimit -n",
    errno.ENFILE: "too many files are open on this machine; use fewer data.workers",
    errno.EAGAIN: "the system starts no more threads or processes; use fewer data.workers or raise ulimit -u",
    errno.ENOMEM: "use smaller images, train.batch or data.workers, or give it more memory (ulimit -v)",
}
# those that libraries report as errors of their own, with the system's words
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REWORDED = (*NO_ROOM, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE)
# how PyTorch, C++ and the system's loader say that memory has run out
NO_MEMORY = (
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "failed to map segment",
    "not enough memory",
    "unable to mmap",
    "insufficient memory",
)
NO_THREAD = ("can't start new thread", "resource temporarily unavailable")


def refusal(error: BaseException | None) -> tuple[int, str] | None:
    """The number and the line of the system's refusal that lies behind an error; None where none does.

    safetensors and C++ report it as errors of their own; torch raises another while it cleans up.
    """
    first = error
    while error is not None:
        number = error.errno if isinstance(error, OSError) else _number_in_words(error)
        # what hides behind another error need not be its cause, but for want of room
        if number in REMEDIES and (error is first or number in REWORDED or number == errno.ENOMEM):
            name = getattr(error, "filename", None) or getattr(first, "filename", None)
            if number in NO_ROOM:  # of two, a copy's source and its target, it is the target's disk
                name = getattr(error, "filename2", None) or name
            where = f"{os.fsdecode(name)}: " if isinstance(name, str | bytes) and name else ""
            words = "out of memory" if number == errno.ENOMEM else os.strerror(number)
            return number, f"{where}{words}; {REMEDIES[number]}"
        error = error.__cause__ or error.__context__
    return None


def _number_in_words(error: BaseException) -> int | None:
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if type(error).__name__ == "OutOfMemoryError":  # of a GPU, which has a line of its own
        return None
    text = str(error)
    if any(words in text.lower() for words in NO_MEMORY):
        return errno.ENOMEM
    if isinstance(error, RuntimeError) and any(words in text.lower() for words in NO_THREAD):
        return errno.EAGAIN
    return next((number for number in REWORDED if os.strerror(number) in text), None)

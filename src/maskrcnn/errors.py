"""What a user did that cannot work: one line each, with the record and the remedy. The command line turns
these into exit codes; every other exception is a defect of ours and keeps its traceback."""


class UserError(Exception):
    """A wrong argument, setting, path or environment. Exit code 2."""

    exit_code = 2


class DataError(UserError):
    """Images or labels that cannot be used as they are. Exit code 3."""

    exit_code = 3


class RecordError(DataError):
    """A file, or a record in it, that cannot be used, as data: `str` alone makes a line of it."""

    def __init__(self, source: object, what: str, remedy: str, record: str = "") -> None:
        """
        Args:
            source: the file or folder.
            what: what is wrong with it, or with the record.
            remedy: what a person can do about it.
            record: names the record in the file, as "line 7" or "shape 2 of image 'a.jpg'".
        """
        super().__init__(source, what, remedy, record)
        self.source, self.what, self.remedy, self.record = str(source), what, remedy, record

    @property
    def fault(self) -> str:
        """What is wrong and where, without the remedy."""
        return f"{self.source}: {self.record} {self.what}" if self.record else f"{self.source}: {self.what}"

    def __str__(self) -> str:
        return f"{self.fault}; {self.remedy}"


class ImageError(RecordError):
    """An image that cannot be used."""


def one_line(error: object) -> str:
    """What an error, or a text, says, on one line; the error's kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__

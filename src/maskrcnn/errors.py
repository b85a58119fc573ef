"""What a user did that cannot work: one line each, with the record and the remedy. The command line turns
these into exit codes; every other exception is a defect of ours and keeps its traceback."""


class UserError(Exception):
    """A wrong argument, setting, path or environment. Exit code 2."""

    exit_code = 2


class DataError(UserError):
    """Images or labels that cannot be used as they are. Exit code 3."""

    exit_code = 3


class ImageError(DataError):
    """An image that cannot be used."""

    def __init__(self, path: object, reason: str, remedy: str) -> None:
        """
        Args:
            path: the image's file.
            reason: why it cannot be used.
            remedy: what a person can do about it.
        """
        super().__init__(path, reason, remedy)
        self.reason, self.remedy = reason, remedy

    def __str__(self) -> str:
        path, reason, remedy = self.args
        return f"{path}: {reason}; {remedy}"

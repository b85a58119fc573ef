"""What a user did that cannot work: one line each, with the record and the remedy. The command line turns these into
exit codes; every other exception is a defect of ours and keeps its traceback."""


class UserError(Exception):
    """A wrong argument, setting, path or environment. Exit code 2."""

    exit_code = 2


class DataError(UserError):
    """Images or labels that cannot be used as they are. Exit code 3."""

    exit_code = 3

"""`maskrcnn env`."""

from __future__ import annotations


def env() -> None:
    """Print versions, devices and threads."""
    from rich.console import Console
    from rich.table import Table

    from maskrcnn.environment import describe_environment

    table = Table(show_header=False)
    for row in describe_environment().items():
        table.add_row(*row)
    Console().print(table)

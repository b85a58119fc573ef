"""The command `maskrcnn`, which is `python -m maskrcnn` too."""

from __future__ import annotations

import signal
import sys

from maskrcnn.stop import SIGNALS, end_at_once


def main() -> int:
    """Run the command line; Ctrl-C and kill end it while it is still being imported, and at the very end."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup, or in the background of a script
            signal.signal(number, end_at_once)
    from maskrcnn.cli.main import main

    return main()


if __name__ == "__main__":
    sys.exit(main())

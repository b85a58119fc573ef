"""`python -m maskrcnn` is the command `maskrcnn`."""

from __future__ import annotations

import sys

from maskrcnn.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

"""How long the command line takes to answer, and what an import costs.

python benchmarks/start.py [--json FILE] [--rounds N]
"""

from __future__ import annotations

import subprocess
import sys

from measure import OURS, Line, arguments, in_turns, report

COMMANDS = {
    "maskrcnn --help": ["-m", "maskrcnn", "--help"],
    "maskrcnn models": ["-m", "maskrcnn", "models"],
    "import maskrcnn": ["-c", "import maskrcnn"],
    "import torch (for comparison)": ["-c", "import torch"],
    "an empty interpreter": ["-c", "pass"],
}
AT_MOST = {"maskrcnn --help": 500}  # milliseconds


def main() -> None:
    options = arguments(__doc__).parse_args()
    lines = []
    for name, command in COMMANDS.items():

        def run(command: list[str] = command) -> None:
            subprocess.run([sys.executable, *command], check=True, capture_output=True)

        lines.append(Line(name, in_turns({OURS: run}, options.rounds)))
        if name in AT_MOST:
            lines[-1].notes["at most, ms"] = AT_MOST[name]
    report("Start, median ms (spread)", lines, options.json)


if __name__ == "__main__":
    main()

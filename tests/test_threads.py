"""What a user has said about waiting stays."""

from __future__ import annotations

import os
import subprocess
import sys

from maskrcnn.threads import SPINS, sleep_when_waiting


def test_what_is_set_stays() -> None:
    for environment, expected in (
        ({}, {"GOMP_SPINCOUNT": SPINS}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ):
        sleep_when_waiting(environment)
        assert environment == expected


def test_the_command_line_sets_it_before_torch_is_there() -> None:
    code = (
        "import os, sys\nfrom maskrcnn.cli.main import main\nmain(['--help'])\n"
        "print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{SPINS} False"

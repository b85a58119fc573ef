"""Schemathesis over the service's OpenAPI: requests of every kind, and no answer may be a 5xx.

    python tests/serve/fuzz_http.py SCHEMATHESIS [--cases 2000]

SCHEMATHESIS is its program, in an environment of its own (pip install schemathesis): it is no dependency.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "model")]

from prometheus_client import generate_latest  # noqa: E402
from service_thread import served  # noqa: E402
from small import small_model  # noqa: E402

from maskrcnn.runtime.torch_engine import TorchEngine  # noqa: E402

OPERATIONS = 14  # of the OpenAPI


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("schemathesis")
    parser.add_argument("--cases", type=int, default=2000)
    options = parser.parse_args()
    runner = TorchEngine(small_model(input={"short_side": 96, "long_side": 128, "divisor": 32}))
    with served(lambda: {"small": runner}, deadline_s=60, queue=256) as service:
        command = [options.schemathesis, "run", f"http://127.0.0.1:{service.port}/openapi.json"]
        command += [
            "--checks",
            "not_a_server_error",
            "--continue-on-failure",
            "--suppress-health-check",
            "all",
        ]
        command += ["--max-examples", str(-(-options.cases // OPERATIONS)), "--request-timeout", "60"]
        done = subprocess.run(command)
        text = generate_latest(service.service.metrics.registry).decode()
    lines = [line for line in text.splitlines() if line.startswith("maskrcnn_responses_total")]
    sums: dict[str, int] = {}
    for line in lines:
        status = line.partition('status="')[2][:3]
        sums[status] = sums.get(status, 0) + int(float(line.rsplit(" ", 1)[1]))
    print("answers by status:", dict(sorted(sums.items())), "in all", sum(sums.values()))
    return done.returncode or int(any(status.startswith("5") for status in sums))


if __name__ == "__main__":
    sys.exit(main())

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# service_thread.py is shared by the tests here; small.py is that of the network's
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "model")]

for needed in ("fastapi", "uvicorn", "prometheus_client", "python_multipart"):
    pytest.importorskip(needed)

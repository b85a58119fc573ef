"""The Python of the pages on one's own parts runs as it is written there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(
    ("page", "left"),
    [
        ("own-dataset.md", "runs/discs/weights/best/model.safetensors"),
        ("own-backbone.md", "runs/own-backbone/weights/best/model.safetensors"),
        ("own-loop.md", "my-model/model.safetensors"),
        ("training.md", "runs/told/report.html"),
    ],
)
def test_the_python_of_a_page_runs(page: str, left: str, tmp_path: Path) -> None:
    blocks = (DOCS / page).read_text(encoding="utf-8").split("```python\n")[1:]
    (tmp_path / "page.py").write_text("\n".join(block.partition("```")[0] for block in blocks))
    command = [sys.executable, "page.py"]
    # beside other programs two threads wait for each other most of the time
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / left).is_file()

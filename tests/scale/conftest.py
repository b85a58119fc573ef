from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# photos.py is shared by the tests here, blob_model.py with those of predict
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "predict")]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the processes of Ray and Spark have, for equal rounding."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

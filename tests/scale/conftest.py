from __future__ import annotations

import sys
from pathlib import Path

# photos.py is shared by the tests here, blob_model.py with those of predict
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "predict")]

from __future__ import annotations

import sys
from pathlib import Path

# tests/train/tiny_network.py is also started as a program by torchrun
sys.path.insert(0, str(Path(__file__).parent))

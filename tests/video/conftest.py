from __future__ import annotations

import sys
from pathlib import Path

# clips.py is shared by the tests here
sys.path.insert(0, str(Path(__file__).parent))

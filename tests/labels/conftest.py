from __future__ import annotations

import sys
from pathlib import Path

# claims.py, fuzz.py and make_samples.py are shared by the tests here; the last two are also started as
# programs
sys.path.insert(0, str(Path(__file__).parent))

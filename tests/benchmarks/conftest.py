"""The root of the repository, where `benchmarks` lies, comes last on the path: after an installed torchtangents."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

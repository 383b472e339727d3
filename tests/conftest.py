"""Settings for every test: this repository first on the path, one thread, no surprises from the network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)

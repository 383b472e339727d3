"""The package itself: what it says where numba is missing."""

from __future__ import annotations

import subprocess
import sys


def test_exception_numba_missing() -> None:
    """Without numba drawing is refused in plain words, while sampling still works."""
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from latent_reenact import errors, synthface\n"
        "synthface.sample(1, 0)\n"
        "try:\n    synthface.Renderer\n"
        "except errors.MissingDependencyError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "latent-reenact[train]" in done.stdout

"""Serve the app for tests in a process of its own, with a reenactor that has no networks; prints the address.

python tests/webui/serve_stub.py '{"limits": {...}, "delay_s": 0.0, "users": {...}}'
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from fake_reenactor import FakeReenactor

from latent_reenact.webui.limits import Limits
from latent_reenact.webui.server import AppOptions, running


class SlowReenactor(FakeReenactor):
    """Takes its time for every picture and frame."""

    def __init__(self, delay_s: float) -> None:
        super().__init__()
        self.delay_s = delay_s

    def _drawn(self, *given: Any) -> Any:
        time.sleep(self.delay_s)
        return super()._drawn(*given)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    wanted = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    reenactor = SlowReenactor(wanted.get("delay_s", 0.0))
    options = AppOptions(port=0, limits=Limits(**wanted.get("limits", {})), users=wanted.get("users", {}))
    with running(reenactor, options, detector=reenactor.detector) as url:
        print(f"ready: open {url} in a browser; files in {os.environ['GRADIO_TEMP_DIR']}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()

"""`python app.py` opens the app in a browser; `python app.py --help` says what else it can do."""

from __future__ import annotations

import sys

from latent_reenact.cli import main

if __name__ == "__main__":
    sys.exit(main(["app", *sys.argv[1:]]))

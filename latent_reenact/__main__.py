"""`python -m latent_reenact` is `latent-reenact`."""

from __future__ import annotations

import sys

from latent_reenact.cli import main

if __name__ == "__main__":
    sys.exit(main())

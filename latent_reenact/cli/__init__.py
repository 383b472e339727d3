"""The command line. Commands parse and make one call; `main` turns errors into exit codes."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run `latent-reenact` with these words (default: those of the process).

    Returns:
        0 done; 1 bad input; 2 wrong arguments; 3 interrupted.
    """
    from latent_reenact.cli.app import run

    return run(argv)

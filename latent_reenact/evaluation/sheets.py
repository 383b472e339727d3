"""Contact sheets: pictures in rows, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latent_reenact.media import Provenance, side_by_side, write_image


@dataclass(frozen=True, eq=False)
class Sheet:
    """Rows of pictures.

    name: the file's stem. titles: what each row shows, from the top. rows: uint8 [R, R, 3], as many in each.
    """

    name: str
    titles: tuple[str, ...]
    rows: tuple[Sequence[np.ndarray], ...]

    def image(self) -> np.ndarray:
        """uint8 [H, W, 3]."""
        height = self.rows[0][0].shape[0]
        return np.concatenate([side_by_side(row, height) for row in self.rows])

    def save(self, folder: Path, model: str) -> str:
        """Write `name`.png, marked as made by AI, and return its name.

        Raises:
            OutputError: it cannot be written.
        """
        path = folder / f"{self.name}.png"
        rows = ", ".join(self.titles)
        write_image(path, self.image(), marks=Provenance(model=model, operation=f"evaluate; rows: {rows}"))
        return path.name

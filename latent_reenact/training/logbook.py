"""What a run says of itself: a line a report in `log.jsonl`, TensorBoard, sheets of samples, a progress bar."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from latent_reenact.media import Provenance, atomic_write_text, write_image


class Logbook:
    """Writes for one stage; on ranks other than the first it does nothing.

    A resumed run takes back what was logged after the checkpoint that it goes on from, so that the log has neither
    gaps nor doubles.
    """

    def __init__(self, folder: Path, *, images: int, seen: int = 0, enabled: bool = True) -> None:
        self.folder, self.enabled = folder, enabled
        if not enabled:
            return
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only needed here

        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.jsonl"
        kept = [line for line in self._lines() if line["seen"] <= seen]
        atomic_write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=seen + 1 if seen else None)
        self._bar = tqdm(
            total=images, initial=seen, unit=" images", desc=folder.name, disable=None, leave=False, file=sys.stderr
        )

    def advance(self, images: int) -> None:
        """Move the bar, which shows images a second and the time that is left."""
        if self.enabled:
            self._bar.update(images)

    def report(self, seen: int, values: Mapping[str, float], pictures: Mapping[str, np.ndarray]) -> None:
        """One line of the log, the same numbers to TensorBoard, and each picture as `NAME.png`."""
        if not self.enabled:
            return
        line: dict[str, Any] = {"seen": seen, **{name: round(value, 5) for name, value in values.items()}}
        with open(self._path, "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, seen)
        for name, picture in pictures.items():
            self._board.add_image(name, picture, seen, dataformats="HWC")
            write_image(self.folder / f"{name}.png", picture, marks=Provenance(operation="training"))
        self._board.flush()
        self.say(f"{self.folder.name}: {json.dumps(line)}")

    def say(self, text: str) -> None:
        """A line on stderr that leaves the bar whole."""
        if self.enabled:
            tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        if self.enabled:
            self._bar.close()
            self._board.close()

    def _lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        lines = []
        for text in self._path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:  # the last line of a run that was killed while it wrote
                continue
        return lines

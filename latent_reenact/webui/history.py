"""What was set before, so that it can be taken back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_MOST = 200
_SAME_DRAG_S = 0.8


@dataclass
class History:
    """Settings one after another, and where one stands among them."""

    states: list[dict[str, float]] = field(default_factory=lambda: [{}])
    at: int = 0
    _touched: frozenset[str] = frozenset()
    _time_s: float = float("-inf")

    @property
    def now(self) -> dict[str, float]:
        return dict(self.states[self.at])

    def start(self, settings: Mapping[str, float]) -> None:
        """Forget everything: a new person."""
        self.states, self.at, self._time_s = [dict(settings)], 0, float("-inf")

    def record(self, settings: Mapping[str, float], time_s: float) -> None:
        """Note a change. The many steps of one drag of a slider count as one."""
        before = self.states[self.at]
        touched = frozenset(name for name in settings if settings[name] != before.get(name))
        if not touched:
            return
        same_drag = touched <= self._touched and time_s - self._time_s < _SAME_DRAG_S and self.at > 0
        del self.states[self.at + (0 if same_drag else 1) :]
        self.states.append(dict(settings))
        del self.states[:-_MOST]
        self.at = len(self.states) - 1
        self._touched, self._time_s = touched, time_s

    def undo(self) -> dict[str, float]:
        self.at, self._time_s = max(0, self.at - 1), float("-inf")
        return self.now

    def redo(self) -> dict[str, float]:
        self.at, self._time_s = min(len(self.states) - 1, self.at + 1), float("-inf")
        return self.now

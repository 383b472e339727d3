"""One job in a thread of its own: how far it is, how long it may take, and how it is stopped."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from latent_reenact.errors import LatentReenactError, LimitExceededError

T = TypeVar("T")
Tell = Callable[[float, float | None, str], None]
"""How much is done, of how much (None: unknown), and the unit."""

_EVERY_S = 0.2


class Stopped(LatentReenactError):
    """The person who asked for the job no longer wants it."""


@dataclass
class Job:
    """stopped: nobody wants it any more."""

    stopped: bool = False


@dataclass(frozen=True)
class Progress:
    """done, total: in `unit`; total None where nobody knows. elapsed_s: since the job began."""

    done: float
    total: float | None
    unit: str
    elapsed_s: float

    @property
    def left_s(self) -> float | None:
        """Seconds still to go at the pace so far; None where that cannot be told yet."""
        if not self.total or self.done <= 0 or self.elapsed_s < 2 * _EVERY_S:
            return None
        return self.elapsed_s * max(0.0, self.total - self.done) / self.done


@dataclass(frozen=True)
class Done(Generic[T]):
    value: T


def run(
    work: Callable[[Tell], T], *, limit_s: float, job: Job | None = None, every_s: float = _EVERY_S
) -> Iterator[Progress | Done[T]]:
    """Run `work` in a thread and yield its progress several times a second, then what it returned.

    When the iterator is closed, the job is stopped or time is up, the next call of `tell` inside the work raises and
    so ends it.

    Args:
        job: looked at several times a second.

    Raises:
        Stopped: the job was. LimitExceededError: time is up. Whatever the work raises.
    """
    started = time.monotonic()
    stop = threading.Event()
    latest: list[tuple[float, float | None, str]] = [(0, None, "")]
    answer: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def tell(done: float, total: float | None, unit: str) -> None:
        if stop.is_set():
            raise Stopped("stopped")
        if time.monotonic() - started > limit_s:
            raise LimitExceededError(f"the job took longer than the {limit_s:.0f} s that one may take here")
        latest[0] = (done, total, unit)

    def body() -> None:
        try:
            answer.put((work(tell), None))
        except BaseException as error:
            answer.put((None, error))

    threading.Thread(target=body, name="job", daemon=True).start()
    try:
        while True:
            try:
                value, error = answer.get(timeout=every_s)
            except queue.Empty:
                if job is not None and job.stopped:
                    raise Stopped("stopped") from None
                yield Progress(*latest[0], time.monotonic() - started)
                continue
            if error is not None:
                raise error
            yield Done(value)  # type: ignore[arg-type]
            return
    finally:
        stop.set()

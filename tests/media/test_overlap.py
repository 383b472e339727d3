"""Threads ahead and behind: the same items in the same order, bounded, and errors where they were due."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from latent_reenact.media.overlap import ahead, behind


def test_smoke() -> None:
    done: list[int] = []
    with behind(done.append, depth=2) as put:
        for item in ahead(range(50), depth=3):
            put(item)
    assert done == list(range(50))
    assert list(ahead([], depth=3)) == []


def test_feature_ahead_is_bounded() -> None:
    made = []

    def items() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    stream = ahead(items(), depth=4)
    assert next(stream) == 0
    time.sleep(0.2)
    assert len(made) == 5
    stream.close()
    assert len(made) <= 6


def test_feature_behind_is_bounded() -> None:
    gate, begun = threading.Event(), []

    def work(item: int) -> None:
        begun.append(item)
        gate.wait(10)

    with behind(work, depth=2) as put:
        put(0)
        put(1)
        blocked = threading.Thread(target=put, args=(2,))
        blocked.start()
        blocked.join(0.1)
        assert blocked.is_alive()
        gate.set()
        blocked.join(10)
    assert begun == [0, 1, 2]


def test_feature_closing_closes_the_items_and_ends_the_thread() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(threading.current_thread())

    before = threading.active_count()
    stream = ahead(items(), depth=2)
    next(stream)
    assert threading.active_count() == before + 1
    stream.close()
    assert threading.active_count() == before
    assert closed


def test_feature_overlaps() -> None:
    """The third item is read while the second is worked on and the first is written: all three meet."""
    meeting = threading.Barrier(3, timeout=60)  # one after another would break it

    def items() -> Iterator[int]:
        for i in range(4):
            if i == 2:
                meeting.wait()
            yield i

    with behind(lambda item: item == 0 and meeting.wait(), depth=2) as put:
        for item in ahead(items(), depth=2):
            if item == 1:
                meeting.wait()
            put(item)
    assert not meeting.broken


def test_exception_comes_where_it_was_due() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("torn")

    got = []
    with pytest.raises(ValueError, match="torn"):
        got += ahead(items(), depth=8)
    stream = ahead(items(), depth=8)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="torn"):
        next(stream)


def test_exception_of_the_work_stops_it() -> None:
    done = []

    def work(item: int) -> None:
        if item == 3:
            raise OSError("disk full")
        done.append(item)

    with pytest.raises(OSError, match="disk full"):
        hand_over(range(100), work)
    assert done == [0, 1, 2]


def test_exception_of_the_block_drops_what_waits() -> None:
    done = []

    def items() -> Iterator[int]:
        yield from range(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hand_over(items(), lambda item: (time.sleep(0.05), done.append(item)))
    assert len(done) <= 2


def hand_over(items: Iterable[int], work: Callable[[int], object]) -> None:
    with behind(work, depth=20) as put:
        for item in items:
            put(item)

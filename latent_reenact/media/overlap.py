"""Work beside the caller's thread: frames read ahead of it and written behind it, a few at a time."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
_END = object()


def ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The items, in order, of which a thread makes up to `depth` before they are asked for.

    What an item raises is raised where it was due. Closing waits for the item that is being made, and closes `items`.
    """
    iterator = iter(items)
    with contextlib.ExitStack() as stack:
        if hasattr(iterator, "close"):
            stack.callback(iterator.close)
        thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="ahead"))
        pending: deque[Future[Any]] = deque(thread.submit(next, iterator, _END) for _ in range(depth))
        stack.callback(_cancel, pending)
        while (item := pending.popleft().result()) is not _END:
            pending.append(thread.submit(next, iterator, _END))
            yield item


@contextlib.contextmanager
def behind(work: Callable[[T], object], depth: int) -> Iterator[Callable[[T], None]]:
    """A function that hands items, in order, to a thread which does `work` on them; it waits when `depth` are open.

    The block ends when all are done. What `work` raises is raised by a later call or at the end; then, and where the
    block is left by an exception, the items that wait are dropped.
    """
    broken = threading.Event()

    def run(item: T) -> None:
        if not broken.is_set():
            try:
                work(item)
            except BaseException:
                broken.set()
                raise

    with ThreadPoolExecutor(1, thread_name_prefix="behind") as thread:
        pending: deque[Future[Any]] = deque()

        def put(item: T) -> None:
            while len(pending) >= depth or (pending and pending[0].done()):
                pending.popleft().result()
            pending.append(thread.submit(run, item))

        try:
            yield put
            while pending:
                pending.popleft().result()
        finally:
            _cancel(pending)


def _cancel(pending: Iterable[Future[Any]]) -> None:
    for future in pending:
        future.cancel()

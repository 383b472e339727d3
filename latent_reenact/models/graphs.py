"""CUDA graphs: what a function launches on a GPU, recorded once and replayed, with no Python in between.

At batch 1 the networks launch hundreds of small kernels, and the GPU waits for Python after each.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from latent_reenact.models import devices

Function = Callable[..., tuple[Tensor, ...]]
"""Tensors [B, ...] -> tensors [B, ...], each sample for itself."""

_WARM = 3  # calls before a recording: kernels are compiled, convolutions chosen


class Graphed:
    """A function whose calls on a GPU are replays of a graph; elsewhere they are calls.

    A graph holds so many samples; where fewer come, the rest are computed from what came before, and dropped. A
    function that cannot be recorded (it waits for the GPU, or brings numbers from the host) is called, with a warning.

    Args:
        function: what to replay; everything that it reads but its arguments keeps its place in memory.
        after: calls of one size before it is recorded, which costs a second or two and pays when many follow.
        keep: graphs, each of its own size and with memory of its own; the oldest goes first.

    Threads may share it. Results belong to the caller.
    """

    def __init__(self, function: Function, *, after: int = 0, keep: int = 2) -> None:
        self._function, self._after, self._keep = function, after, keep
        self._graphs: dict[int, _Graph] = {}
        self._calls: dict[int, int] = {}
        self._broken = False
        self._lock = threading.Lock()

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor, batch: int | None = None) -> tuple[Tensor, ...]:
        """What the function gives for `inputs`.

        Args:
            batch: samples of the graph to record and to use, where more calls with fewer or as many will follow. By
                default the smallest that holds the inputs, or else one for as many.
        """
        if self._broken or not devices.on_gpu(inputs[0].device):
            return self._function(*inputs)
        with self._lock:
            graph = self._graph_for(inputs, batch)
            return self._function(*inputs) if graph is None else graph(inputs)

    def _graph_for(self, inputs: tuple[Tensor, ...], batch: int | None) -> _Graph | None:
        """One that holds the inputs; None where it is too early, or impossible."""
        count = len(inputs[0])
        size = max(batch, count) if batch else min((n for n in self._graphs if n >= count), default=count)
        if size in self._graphs:
            return self._graphs[size]
        self._calls[size] = self._calls.get(size, 0) + 1
        if self._calls[size] <= self._after:
            return None
        while len(self._graphs) >= self._keep:
            self._graphs.pop(next(iter(self._graphs)))
        try:
            self._graphs[size] = _Graph(self._function, inputs, size)
        except RuntimeError as error:
            self._broken = True
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            warnings.warn(f"a CUDA graph could not be recorded, which costs some speed: {reason}", stacklevel=4)
        return self._graphs.get(size)


class _Graph:
    """A recording for `size` samples, with the memory that it reads and writes."""

    def __init__(self, function: Function, inputs: tuple[Tensor, ...], size: int) -> None:
        self._inputs = [_filled_up(x, size) for x in inputs]
        device = inputs[0].device
        with torch.cuda.device(device):
            stream = torch.cuda.Stream()  # for warming up, too: libraries keep a workspace for each stream
            stream.wait_stream(torch.cuda.current_stream())
            self._graph, self._done = torch.cuda.CUDAGraph(), torch.cuda.Event()
            with fastest_convolutions():
                with torch.cuda.stream(stream):
                    for _ in range(_WARM):
                        function(*self._inputs)
                with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                    self._outputs = function(*self._inputs)
            torch.cuda.current_stream().wait_stream(stream)

    def __call__(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        count = len(inputs[0])
        with torch.cuda.device(inputs[0].device):
            stream = torch.cuda.current_stream()
            stream.wait_event(self._done)  # the last replay may have been on another thread's stream
            for mine, given in zip(self._inputs, inputs, strict=True):
                mine[:count].copy_(given)
            self._graph.replay()
            results = tuple(y[:count].clone() for y in self._outputs)
            self._done.record(stream)
        return results


@contextmanager
def fastest_convolutions() -> Iterator[None]:
    """cuDNN tries its algorithms on every new shape and remembers the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _filled_up(x: Tensor, size: int) -> Tensor:
    """x [B, ...] with its first sample repeated -> [size, ...], memory of its own."""
    filler = x[:1].expand(size - len(x), *x.shape[1:])
    return torch.cat([x, filler]).contiguous()

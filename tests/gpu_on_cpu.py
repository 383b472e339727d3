"""Just enough of CUDA to rehearse graphs and streams on a CPU: a graph is the operators that ran, with their tensors.

As on a GPU, a replay runs no Python of the function, reads and writes the memory of the recording, and a recording
that waits for a number or brings one from the host fails.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from latent_reenact.evaluation import speed
from latent_reenact.models import benchmark_process, devices
from latent_reenact.systems import transfer

WAITING = ("aten::item", "aten::_local_scalar_dense", "aten::lift_fresh", "aten::is_nonzero", "aten::nonzero")


class Graph(TorchDispatchMode):
    """`torch.cuda.CUDAGraph`, and the mode that records into it."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, tuple, dict, list[torch.Tensor]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if function._schema.name in WAITING:
            raise RuntimeError(f"operation not permitted when stream is capturing: {function._schema.name}")
        results = function(*args, **(kwargs or {}))
        self.steps.append((function, args, kwargs or {}, _tensors(results)))
        return results

    def replay(self) -> None:
        for function, args, kwargs, results in self.steps:
            for old, new in zip(results, _tensors(function(*args, **kwargs)), strict=True):
                if old.data_ptr() != new.data_ptr():  # neither a view nor in place
                    old.copy_(new)


@contextmanager
def recording(graph: Graph, stream: object, capture_error_mode: str) -> Any:
    assert capture_error_mode == "thread_local"
    with graph:
        yield


class Stream:
    """Everything is done when it is asked for, so that there is nothing to wait for."""

    def __init__(self, device: object = None) -> None: ...
    def wait_stream(self, other: Stream) -> None: ...
    def wait_event(self, event: Event) -> None: ...
    def record_event(self) -> Event:
        return Event()


class Event:
    def record(self, stream: Stream) -> None: ...
    def synchronize(self) -> None: ...


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the CPU is taken for a GPU: `Graphed` records and replays, transfers go through streams."""
    monkeypatch.setattr(devices, "on_gpu", lambda device: True)
    for module in (speed, benchmark_process):
        monkeypatch.setattr(module, "on_gpu", lambda device: True)
    monkeypatch.setattr(transfer, "_pinned", lambda shape, dtype: torch.empty(tuple(shape), dtype=dtype))
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    for name, stand_in in {
        "Stream": Stream,
        "current_stream": Stream,
        "stream": nullcontext,
        "device": nullcontext,
        "synchronize": lambda device=None: None,
        "max_memory_allocated": lambda device=None: 3_000_000,
        "reset_peak_memory_stats": lambda device=None: None,
        "Event": Event,
        "CUDAGraph": Graph,
        "graph": recording,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)


def _tensors(results: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(results) if isinstance(leaf, torch.Tensor)]

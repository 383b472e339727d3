"""Which synthesis draws the frames of a video: the fast one of the device, as soon as its operators are there."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError

import torch
from torch import Tensor

from latent_reenact.errors import BackendError
from latent_reenact.models import devices
from latent_reenact.models.fast_synthesis import FastSynthesis, Precision
from latent_reenact.models.graphs import Graphed
from latent_reenact.models.half_synthesis import HalfSynthesis
from latent_reenact.models.stylegan2 import SynthesisNetwork

Draw = Callable[[Tensor], Tensor]
"""w_plus [B, L, D] -> images [B, 3, R, R]."""

_PATIENCE_S = 2.0  # more than it takes to load operators that were built before
_REPLAY_AFTER = 8  # drawings; a single picture would wait longer for the recording of a graph than for its drawing


class FastestSynthesis:
    """Draws with the fast synthesis of the network's device where there is one; it agrees to about one grey level.

    On a CPU that is `FastSynthesis`; the first video on a machine would wait for a compiler, and is drawn by the
    network meanwhile. On a GPU it is `HalfSynthesis`, which the first drawing waits for, and what is drawn again and
    again is replayed as a CUDA graph. LATENT_REENACT_OPS=reference keeps the network. Threads may share it.

    Args:
        synthesis: the network.
        precision: of convolutions. "auto": float16 on a GPU, bfloat16 on a CPU that has it; "bf16"; "fp32", with which
            a GPU keeps the network.
    """

    def __init__(self, synthesis: SynthesisNetwork, precision: Precision = "auto") -> None:
        self._network, self._precision = synthesis, precision
        self._fast: Future[Draw] | None = None
        self._lock = threading.Lock()
        self._replayed = Graphed(lambda w_plus: (self.plain(w_plus),), after=_REPLAY_AFTER)

    def start(self, patience_s: float | None = None) -> None:
        """Get the fast one ready; returns when it is, or on a CPU after that time (by default two seconds)."""
        with self._lock:
            if self._fast is None:
                pool = ThreadPoolExecutor(1, thread_name_prefix="operators")
                self._fast = pool.submit(self._prepare)
                pool.shutdown(wait=False)
        patience_s = _PATIENCE_S if patience_s is None else patience_s
        with contextlib.suppress(TimeoutError):
            self._fast.result(None if self._on_gpu else patience_s)

    def __call__(self, w_plus: Tensor) -> Tensor:
        """w_plus [B, L, D] -> images [B, 3, R, R], roughly in [-1, 1]."""
        return self._replayed(w_plus)[0]

    def plain(self, w_plus: Tensor) -> Tensor:
        """The same, never as a graph: to be recorded together with what comes before and after."""
        if self._on_gpu:
            self.start()  # what is recorded stays
        return self._drawer(w_plus)

    @property
    def precision(self) -> str:
        """Of the convolutions that draw now: "float32", "bfloat16", ..."""
        draw = self._drawer
        dtype = draw.dtype if isinstance(draw, FastSynthesis | HalfSynthesis) else self._network.const.dtype
        return str(dtype).removeprefix("torch.")

    @property
    def _drawer(self) -> Draw:
        """What draws now."""
        fast = self._fast
        return fast.result() if fast is not None and fast.done() else self._network

    @property
    def _on_gpu(self) -> bool:
        return devices.on_gpu(self._network.const.device)

    def _prepare(self) -> Draw:
        """The fastest that works here; it has drawn one picture."""
        network = self._network
        if os.environ.get("LATENT_REENACT_OPS") == "reference":
            return network
        try:
            fast = self._made()
            fast(torch.zeros(1, network.config.n_styles, network.config.w_dim, device=network.const.device))
        except BackendError as error:
            warnings.warn(f"videos are drawn without fused operators, several times slower: {error}", stacklevel=2)
            return network
        if self._on_gpu:
            torch.cuda.synchronize(network.const.device)  # the caller's stream may be another
        return fast

    def _made(self) -> Draw:
        network = self._network
        if self._on_gpu:
            half = {"auto": torch.float16, "bf16": torch.bfloat16}.get(self._precision)
            return network if half is None else HalfSynthesis(network, half)
        return FastSynthesis(network, self._precision) if network.const.device.type == "cpu" else network

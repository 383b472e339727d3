"""Which synthesis draws the frames of a video: on CPUs the fast one, as soon as its operators are built."""

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
from latent_reenact.models.fast_synthesis import FastSynthesis, Precision
from latent_reenact.models.stylegan2 import SynthesisNetwork

Draw = Callable[[Tensor], Tensor]
"""w_plus [B, L, D] -> images [B, 3, R, R]."""

_PATIENCE_S = 2.0  # more than it takes to load operators that were built before


class VideoSynthesis:
    """Draws with `FastSynthesis` where there is one, and with the network itself until it is ready.

    The first video on a machine would wait for a compiler; it is drawn by the network meanwhile. The two agree to
    about one grey level. LATENT_REENACT_OPS=reference keeps the network. Threads may share it.
    """

    def __init__(self, synthesis: SynthesisNetwork, precision: Precision = "auto") -> None:
        self._network, self._precision = synthesis, precision
        self._fast: Future[Draw] | None = None
        self._lock = threading.Lock()

    def start(self, patience_s: float | None = None) -> None:
        """Get the fast one ready; returns when it is, or after that time (by default two seconds) at the latest."""
        with self._lock:
            if self._fast is None:
                pool = ThreadPoolExecutor(1, thread_name_prefix="operators")
                self._fast = pool.submit(self._prepare)
                pool.shutdown(wait=False)
        with contextlib.suppress(TimeoutError):
            self._fast.result(_PATIENCE_S if patience_s is None else patience_s)

    def __call__(self, w_plus: Tensor) -> Tensor:
        """w_plus [B, L, D] -> images [B, 3, R, R], roughly in [-1, 1]."""
        fast = self._fast
        draw = fast.result() if fast is not None and fast.done() else self._network
        return draw(w_plus)

    @property
    def precision(self) -> str:
        """Of the convolutions that draw now: "float32", "bfloat16", ..."""
        fast = self._fast
        draw = fast.result() if fast is not None and fast.done() else None
        return str(draw.dtype if isinstance(draw, FastSynthesis) else self._network.const.dtype).removeprefix("torch.")

    def _prepare(self) -> Draw:
        """The fastest that works here; it has drawn one picture."""
        network = self._network
        if network.const.device.type != "cpu" or os.environ.get("LATENT_REENACT_OPS") == "reference":
            return network
        config = network.config
        try:
            fast = FastSynthesis(network, self._precision)
            fast(torch.zeros(1, config.n_styles, config.w_dim))
        except BackendError as error:
            warnings.warn(f"videos are drawn without fused operators, several times slower: {error}", stacklevel=2)
            return network
        return fast

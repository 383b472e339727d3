"""Pixels between host and device while both go on working.

On a GPU they travel through pinned memory, on a stream for each direction. PyTorch's allocators keep such memory and
hand it out again once the copies that use it are done, so that two or three buffers serve a whole video.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from latent_reenact.models import devices

Arrived = Callable[[], tuple[np.ndarray, ...]]
"""Waits for what was sent, and gives it."""


class Uploads:
    """Arrays to a device.

    Args:
        device: where to; without a GPU a copy is a copy.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if devices.on_gpu(device) else None

    def __call__(self, arrays: Sequence[np.ndarray]) -> Tensor:
        """B arrays of one shape and type -> [B, ...] for the current stream; the caller does not wait for the GPU."""
        if self._stream is None:
            return torch.from_numpy(np.stack(arrays)).to(self._device)
        host = _pinned((len(arrays), *arrays[0].shape), torch.from_numpy(arrays[0][:0]).dtype)
        np.stack(arrays, out=host.numpy())
        with torch.cuda.stream(self._stream):
            sent = host.to(self._device, non_blocking=True)
        stream = torch.cuda.current_stream(self._device)
        stream.wait_stream(self._stream)
        sent.record_stream(stream)
        return sent


class Downloads:
    """Tensors from a device.

    Args:
        device: where from.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if devices.on_gpu(device) else None

    def __call__(self, *tensors: Tensor) -> Arrived:
        """Send them as soon as the current stream has made them; what comes back waits for them."""
        if self._stream is None:
            arrays = tuple(tensor.cpu().numpy() for tensor in tensors)
            return lambda: arrays
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            hosts = [_pinned(tensor.shape, tensor.dtype) for tensor in tensors]
            for host, tensor in zip(hosts, tensors, strict=True):
                host.copy_(tensor, non_blocking=True)
                tensor.record_stream(self._stream)
            done = self._stream.record_event()

        def arrived() -> tuple[np.ndarray, ...]:
            done.synchronize()
            return tuple(host.numpy().copy() for host in hosts)  # of the caller's: pinned memory is scarce

        return arrived


def _pinned(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Host memory that a GPU reads and writes by itself."""
    return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)

"""Where networks run."""

from __future__ import annotations

import torch

from latent_reenact.errors import BackendError


def usable(name: str) -> torch.device:
    """ "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", ...

    Raises:
        BackendError: the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise BackendError(f"device {name!r} cannot be used here: {reason}; use --device auto or cpu") from None
    return device


def on_gpu(device: torch.device) -> bool:
    """It has streams and graphs: an NVIDIA GPU (or what PyTorch treats as one)."""
    return device.type == "cuda"

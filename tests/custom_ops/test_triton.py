"""What is particular to the Triton kernels: tiles, masks, and running without a GPU."""

from __future__ import annotations

import os

import pytest
import torch

pytest.importorskip("triton")

from latent_reenact.custom_ops import backend_report, fused_bias_act, upfirdn2d
from latent_reenact.errors import BackendError

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def _interpreter(monkeypatch) -> None:
    """Where there is no GPU, the kernels run in Python."""
    if DEVICE == "cpu":
        monkeypatch.setitem(os.environ, "TRITON_INTERPRET", "1")


def test_smoke() -> None:
    assert backend_report()["triton"] == ""
    assert fused_bias_act(torch.ones(1, device=DEVICE), dim=0, gain=3.0, backend="triton").item() == 3


@pytest.mark.parametrize("shape", [(1, 1, 40, 41), (1, 130, 3, 3), (2, 5, 16, 16)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_shapes_more_than_a_tile(shape: tuple, layout: torch.memory_format) -> None:
    x = torch.randn(shape, device=DEVICE).contiguous(memory_format=layout)
    f, b = torch.randn(3, 2, device=DEVICE), torch.randn(shape[1], device=DEVICE)
    for options in ({"up": 2}, {"down": 2}, {"gain": 2.0}):
        y = upfirdn2d(x, f, padding=2, **options, backend="triton")
        expected = upfirdn2d(x.double(), f.double(), padding=2, **options, backend="reference")
        torch.testing.assert_close(y.double(), expected, rtol=0, atol=2e-5)
    y = fused_bias_act(x, b, act="lrelu", clamp=2.0, backend="triton")
    torch.testing.assert_close(y, fused_bias_act(x, b, act="lrelu", clamp=2.0, backend="reference"))


def test_exception_no_gpu_and_no_interpreter(monkeypatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(BackendError, match="take tensors on cuda, got one on cpu"):
        fused_bias_act(torch.ones(2, 2), backend="triton")

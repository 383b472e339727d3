"""The C++ operators for CPUs against the definition and scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from raw_cases import NAMES, check_bias_act, check_upfirdn2d

from latent_reenact.custom_ops import build, setup_filter

DTYPES = [torch.float32, torch.bfloat16, torch.float64]


@pytest.fixture(scope="module")
def cpu() -> Any:
    if reason := build.missing("cpu"):
        pytest.skip(reason)
    return build.load("cpu")


def test_smoke(cpu: Any) -> None:
    x = torch.ones(1, 3, 8, 8)
    y = cpu.upfirdn2d(x, setup_filter([1, 3, 3, 1]), 2, 2, 1, 1, 2, 1, 2, 1, False, 4.0)
    assert y.shape == (1, 3, 16, 16)
    torch.testing.assert_close(y[..., 2:-2, 2:-2], torch.ones(1, 3, 12, 12))


def test_feature_upfirdn2d_is_the_definition(cpu: Any) -> None:
    check_upfirdn2d(cpu, DTYPES)


def test_feature_bias_act_is_the_definition_with_both_derivatives(cpu: Any) -> None:
    check_bias_act(cpu, DTYPES)


@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (1, 2), (3, 2)])
def test_feature_upfirdn2d_is_scipys(cpu: Any, factors: tuple[int, int]) -> None:
    up, down = factors
    x, taps = np.random.default_rng(0).standard_normal((7, 10)), np.array([1.0, 3, 3, 1])
    expected = scipy.signal.upfirdn(taps, scipy.signal.upfirdn(taps, x, up, down, axis=1), up, down, axis=0)
    f = torch.from_numpy(np.outer(taps, taps))
    y = cpu.upfirdn2d(torch.from_numpy(x)[None, None], f, up, up, down, down, 3, 4 - up, 3, 4 - up, False, 1.0)[0, 0]
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_feature_threads_do_not_change_the_result(cpu: Any, layout: torch.memory_format) -> None:
    x = torch.randn(2, 16, 65, 67).contiguous(memory_format=layout)  # enough to be shared among threads
    bias = torch.randn(16)
    f = setup_filter([1, 3, 3, 1])
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            y = cpu.upfirdn2d(x, f, 1, 1, 1, 1, 2, 1, 1, 2, False, 1.0)
            results.append((y, cpu.bias_act(x, bias, None, 0, 1, 2, 0.2, 1.4, 0.9)))
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


@pytest.mark.parametrize("dtype", DTYPES)
def test_feature_nan_stays_nan(cpu: Any, dtype: torch.dtype) -> None:
    x = torch.full((1, 1, 5, 5), torch.nan, dtype=dtype)
    for act in range(len(NAMES)):
        assert cpu.bias_act(x, None, None, 0, 1, act, 0.2, 1.0, 0.5).isnan().all(), NAMES[act]
    f = torch.ones(4, 4, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    assert cpu.upfirdn2d(x, f, 1, 1, 1, 1, 1, 2, 1, 2, False, 1.0).isnan().all()


def test_exception_half_precision_is_refused(cpu: Any) -> None:
    x = torch.ones(1, 1, 4, 4, dtype=torch.float16)
    with pytest.raises(RuntimeError, match="unknown dtype"):
        cpu.bias_act(x, None, None, 0, 1, 0, 0.0, 1.0, -1.0)

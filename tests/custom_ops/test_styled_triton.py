"""The pass between convolutions on GPUs: the Triton kernels make what its definition makes, part by part."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from latent_reenact.custom_ops.styled import ToColours, styled_activation

REPOSITORY = Path(__file__).parent.parent.parent
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCES = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
TAPS = torch.tensor([0.25, 0.8, 0.7, 0.3], device=DEVICE)  # lopsided: a mirrored filter shows
SHAPES = [(1, 32, 8, 8), (2, 5, 6, 4), (1, 66, 4, 8), (1, 4, 34, 2)]
if DEVICE == "cuda":
    SHAPES += [(3, 512, 16, 16), (2, 32, 128, 256), (16, 130, 33, 35)]


@pytest.fixture(autouse=True)
def _interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no GPU, the kernels run in Python."""
    if DEVICE == "cpu":
        monkeypatch.setitem(os.environ, "TRITON_INTERPRET", "1")


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, device=DEVICE)


def wide(*shape: int) -> torch.Tensor:
    """A slice of something wider, as the rows of several layers are kept."""
    return randn(*shape[:-1], shape[-1] + 12)[..., : shape[-1]]


def check(x: torch.Tensor, vectors: tuple, dtype: torch.dtype, **how) -> None:
    x = x.to(dtype).contiguous(memory_format=torch.channels_last)
    y, picture = styled_activation(x.clone(), *vectors, **how, backend="triton")
    expected, expected_picture = styled_activation(x.clone(), *vectors, **how, backend="reference")
    tolerance = TOLERANCES[dtype]
    assert (y is None) == (expected is None)
    if y is not None:
        assert y.dtype == dtype
        assert y.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(y, expected, rtol=tolerance, atol=tolerance)
    if picture is not None:
        torch.testing.assert_close(picture, expected_picture, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_feature_after_an_up_convolution(shape: tuple, dtype: torch.dtype) -> None:
    b, c, h, w = shape
    for noise, clamp in ((None, None), (randn(1, h, w), 1.5), (randn(b, h, w), None)):
        vectors = (wide(b, c), randn(c), wide(b, c))
        check(randn(b, c, h + 1, w + 1), vectors, dtype, taps=TAPS, noise=noise, clamp=clamp)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES[1:])
def test_feature_after_a_plain_convolution(shape: tuple, dtype: torch.dtype) -> None:
    b, c, h, w = shape
    h, w = h // 2 * 2, w // 2 * 2
    colours = ToColours(weight=wide(b, 3, c), bias=randn(3), before=randn(b, 3, h // 2, w // 2), taps=TAPS)
    vectors = (wide(b, c), randn(c), wide(b, c))
    check(randn(b, c, h, w), vectors, dtype, noise=randn(1, h, w), clamp=1.5, colours=colours)
    check(randn(b, c, h, w), vectors, dtype, noise=randn(b, h, w))


def test_feature_first_and_last_pictures() -> None:
    """Nothing to double yet; and no activations wanted, which then stay as they are."""
    x = randn(2, 8, 4, 4)
    first = ToColours(weight=randn(2, 3, 8), bias=randn(3), before=None, taps=TAPS)
    check(x, (randn(2, 8), randn(8), randn(2, 8)), torch.float32, colours=first)
    last = ToColours(weight=randn(2, 3, 8), bias=randn(3), before=randn(2, 3, 2, 2), taps=TAPS)
    check(x, (randn(2, 8), randn(8), None), torch.float32, colours=last)
    kept = x.clone().contiguous(memory_format=torch.channels_last)
    given = kept.clone()
    styled_activation(given, randn(2, 8), randn(8), None, colours=last, backend="triton")
    assert torch.equal(given, kept)


def test_feature_nan_stays_nan() -> None:
    x = torch.full((1, 4, 4, 4), torch.nan, device=DEVICE)
    colours = ToColours(weight=randn(1, 3, 4), bias=randn(3), before=None, taps=TAPS)
    y, picture = styled_activation(x, randn(1, 4), randn(4), randn(1, 4), clamp=1.0, colours=colours, backend="triton")
    assert y is not None
    assert picture is not None
    assert y.isnan().all()
    assert picture.isnan().all()


COMPILE = """
import re, sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from latent_reenact.custom_ops import styled_triton

POINTERS = "scale bias after noise rgb weight rgb_bias before taps".split()

def ptx(kernel, constants):
    names = kernel.arg_names
    types = {n: "fp32" if n in ("slope", "gain", "clamp") else "i32" for n in names}
    types |= {f"{n}_ptr": "*fp32" for n in POINTERS} | {"x_ptr": "*fp16", "y_ptr": "*fp16"}
    types |= dict.fromkeys(constants, "constexpr")
    known = [n for n in names if n.endswith("_ptr") or n in ("c", "scale_b", "after_b", "weight_b", "weight_k")]
    source = ASTSource(
        fn=kernel,
        signature={n: types[n] for n in names},
        constexprs={(names.index(n),): value for n, value in constants.items()},
        attrs={(names.index(n),): [["tt.divisibility", 16]] for n in known},
    )
    return triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]

for kernel, constants in [
    (styled_triton._plain, dict(PIXELS=128, CHANNELS=32, WHOLE=True)),
    (styled_triton._filtered, dict(ROWS=8, COLUMNS=16, CHANNELS=64, WHOLE=True)),
]:
    accesses = re.findall(r"(ld|st)\\.global\\.v4\\.b32", ptx(kernel, constants))
    assert {"ld", "st"} <= set(accesses), accesses
"""


@pytest.mark.slow
def test_feature_compiles_without_a_gpu(tmp_path: Path) -> None:
    """For sm_90, activations moving sixteen bytes at a time."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", COMPILE], env=environment, check=True, timeout=300, cwd=REPOSITORY)

"""Graphs give what the function gives: for fewer samples, from several threads, and where none can be recorded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import gpu_on_cpu
import pytest
import tiny
import torch
from torch import Tensor

from latent_reenact.models.graphs import Graphed, fastest_convolutions
from latent_reenact.models.restyle import face_pool


class Counted:
    """x [B, 3], y [B, 2] -> sums [B], [x, y] [B, 5]; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        self.calls += 1
        both = torch.cat([x, y], dim=1)
        return both.sum(1), both


@pytest.fixture
def _on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_on_cpu.install(monkeypatch)


def samples(count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 3), torch.randn(count, 2)


def check(graphed: Graphed, count: int, batch: int | None = None) -> None:
    x, y = samples(count)
    total, both = graphed(x, y, batch=batch)
    assert torch.equal(both, torch.cat([x, y], dim=1))
    assert torch.equal(total, both.sum(1))


def test_smoke() -> None:
    """Without a GPU it is the function."""
    function = Counted()
    graphed = Graphed(function)
    for count in (4, 2, 4):
        check(graphed, count, batch=4)
    assert function.calls == 3


@pytest.mark.usefixtures("_on_cpu")
def test_feature_fewer_samples_share_the_graph() -> None:
    function = Counted()
    graphed = Graphed(function)
    check(graphed, 3, batch=4)
    recorded = function.calls
    for count in (4, 1, 2, 4):
        check(graphed, count, batch=4)
        check(graphed, count)  # one that holds them is there
    assert function.calls == recorded


@pytest.mark.usefixtures("_on_cpu")
def test_feature_sizes_have_graphs_of_their_own_and_few_are_kept() -> None:
    graphed = Graphed(Counted(), keep=2)
    for batch in (8, 1, 2):
        check(graphed, 1, batch=batch)
    assert list(graphed._graphs) == [1, 2]
    check(graphed, 5)
    assert list(graphed._graphs) == [2, 5]


@pytest.mark.usefixtures("_on_cpu")
def test_feature_recorded_after_some_calls() -> None:
    function = Counted()
    graphed = Graphed(function, after=2)
    for _ in range(2):
        check(graphed, 2)
    assert (function.calls, len(graphed._graphs)) == (2, 0)
    check(graphed, 2)
    assert list(graphed._graphs) == [2]


@pytest.mark.usefixtures("_on_cpu")
def test_feature_results_stay() -> None:
    graphed = Graphed(Counted())
    x, y = samples(2)
    first = graphed(x, y)[1]
    kept = first.clone()
    graphed(*samples(2))
    assert torch.equal(first, kept)


@pytest.mark.usefixtures("_on_cpu")
def test_feature_threads() -> None:
    graphed = Graphed(Counted())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: check(graphed, 1 + i % 4, batch=4), range(40)))


@pytest.mark.usefixtures("_on_cpu")
def test_feature_a_step_of_an_inversion_can_be_a_graph() -> None:
    """The drawing of the estimate, its shrinking and the encoder."""
    networks = tiny.networks()
    inversion, synthesis = networks.inversion, networks.generator.synthesis

    def step(images: Tensor, w_plus: Tensor) -> tuple[Tensor, ...]:
        return (inversion.step(images, face_pool(synthesis(w_plus), inversion.input_size), w_plus),)

    graphed = Graphed(step)
    for _ in range(3):
        images, w_plus = torch.rand(1, 3, 32, 32) * 2 - 1, torch.randn(1, tiny.L, tiny.D)
        torch.testing.assert_close(graphed(images, w_plus)[0], step(images, w_plus)[0])
    assert list(graphed._graphs) == [1]


@pytest.mark.usefixtures("_on_cpu")
@pytest.mark.parametrize("bad", [lambda x: x * x.sum().item(), lambda x: x * x.new_tensor([1.0, 2.0, 3.0])])
def test_exception_what_cannot_be_recorded_is_called(bad) -> None:
    graphed = Graphed(lambda x: (bad(x),))
    x = torch.randn(2, 3)
    with pytest.warns(UserWarning, match="a CUDA graph could not be recorded, which costs some speed: operation not"):
        assert torch.equal(graphed(x)[0], bad(x))
    assert torch.equal(graphed(x + 1)[0], bad(x + 1))  # and not tried again


def test_feature_choice_of_convolutions_is_put_back() -> None:
    before = torch.backends.cudnn.benchmark
    with fastest_convolutions():
        assert torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_feature_graph_on_a_gpu() -> None:
    function = Counted()
    graphed = Graphed(function)
    for count in (4, 2, 4, 1):
        x, y = (t.cuda() for t in samples(count))
        total, both = graphed(x, y, batch=4)
        assert torch.equal(both, torch.cat([x, y], dim=1))
        torch.testing.assert_close(total, both.sum(1))
    assert function.calls == 4  # three to warm up, one to record

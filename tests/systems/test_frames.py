"""A video's way through a GPU, rehearsed on the CPU: the same results, nothing read twice, and graphs recorded once."""

from __future__ import annotations

from collections.abc import Iterator

import gpu_on_cpu
import numpy as np
import pytest
import tiny
import torch

from latent_reenact.models.half_synthesis import HalfSynthesis
from latent_reenact.systems import Identity, LatentReenactor, drawing
from latent_reenact.systems.drawing import FastestSynthesis
from latent_reenact.systems.protocol import Result
from latent_reenact.systems.transfer import Downloads, Uploads

BLACK = np.zeros((64, 64, 3), np.uint8)  # no face


@pytest.fixture(scope="module")
def identity() -> Identity:
    return tiny.reenactor().identity(tiny.picture(1))


@pytest.fixture(scope="module")
def on_cpu() -> LatentReenactor:
    return tiny.reenactor()


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> LatentReenactor:
    """The same, as on a GPU."""
    monkeypatch.delenv("LATENT_REENACT_OPS", raising=False)
    gpu_on_cpu.install(monkeypatch)
    return tiny.reenactor()


def clip(length: int) -> list[np.ndarray]:
    """Some frames without a face, also the first of a batch of three or four."""
    return [BLACK if i in (1, 3, 4, 8) else tiny.picture(i) for i in range(length)]


def check(results: list[Result], expected: list[Result]) -> None:
    assert len(results) == len(expected)
    for result, other in zip(results, expected, strict=True):
        assert result.image.dtype == np.uint8
        assert np.abs(result.image.astype(int) - other.image).max() <= 2
        np.testing.assert_allclose(result.motion, other.motion, atol=1e-5)
        np.testing.assert_allclose(result.w_plus, other.w_plus, atol=1e-5)
        assert result.driving_face is not None
        assert other.driving_face is not None
        assert np.array_equal(result.driving_face.image, other.driving_face.image)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(("length", "batch"), [(11, 4), (12, 3), (2, 4), (1, 1)])
def test_feature_same_video_as_on_a_cpu(on_cpu, on_gpu, identity, length: int, batch: int, relative: bool) -> None:
    runs = [
        list(r.stream(identity, clip(length), batch=batch, relative=relative, smoothing="none"))
        for r in (on_gpu, on_cpu)
    ]
    check(*runs)


def test_feature_graphs_are_recorded_once(on_gpu, on_cpu, identity, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    forward = type(on_gpu.networks.motion_encoder).forward
    monkeypatch.setattr(
        type(on_gpu.networks.motion_encoder), "forward", lambda net, x: calls.append(len(x)) or forward(net, x)
    )
    frames = [tiny.picture(i, 32) for i in range(10)]
    for _ in range(2):
        results = list(on_gpu.stream(identity, frames, aligned=True, batch=4))
    assert calls == [4, 4, 4, 4]  # three to warm up, one to record; the last two frames of each video are filled up
    check(results, list(on_cpu.stream(identity, frames, aligned=True, batch=4)))


def test_feature_other_people_share_the_graph(on_gpu, on_cpu, identity) -> None:
    other = on_cpu.identity(tiny.picture(7))
    for person in (identity, other, identity):
        check(
            list(on_gpu.stream(person, clip(5), batch=3)),
            list(on_cpu.stream(person, clip(5), batch=3)),
        )


def test_feature_a_batch_is_drawn_while_another_is_handed_out(on_gpu, identity) -> None:
    read = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal read
        while True:
            read += 1
            yield tiny.picture()

    results = on_gpu.stream(identity, frames(), batch=4)
    next(results)
    results.close()
    assert 8 <= read <= 12  # two batches are on their way, and one is cut ahead of them


def test_feature_synthesis_of_the_device(on_gpu: LatentReenactor) -> None:
    network = on_gpu.networks.generator.synthesis
    w_plus = torch.randn(1, tiny.L, tiny.D)
    expected = network(w_plus)
    for precision, name in (("auto", "float16"), ("bf16", "bfloat16"), ("fp32", "float32")):
        draw = FastestSynthesis(network, precision)
        for _ in range(drawing._REPLAY_AFTER + 2):  # called, then recorded and replayed
            assert (draw(w_plus) - expected).abs().max() < 0.1 * expected.std()
        assert draw.precision == name
        assert isinstance(draw._drawer, HalfSynthesis) == (precision != "fp32")
        assert list(draw._replayed._graphs) == [1]


def test_feature_reference_operators_keep_the_network(on_gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENT_REENACT_OPS", "reference")
    network = on_gpu.networks.generator.synthesis
    draw = FastestSynthesis(network)
    draw.start()
    assert draw._drawer is network


def test_feature_results_are_the_callers(on_gpu: LatentReenactor) -> None:
    device = torch.device("cpu")
    arrays = [np.full((2, 2), i, np.uint8) for i in range(3)]
    sent = Uploads(device)(arrays)
    assert sent.dtype == torch.uint8
    assert np.array_equal(sent.numpy(), np.stack(arrays))
    fetched, other = Downloads(device)(sent, sent.float())()
    fetched[:] = 9
    assert np.array_equal(sent.numpy(), np.stack(arrays))
    assert other.dtype == np.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("relative", [False, True])
def test_feature_same_video_on_a_gpu(on_cpu: LatentReenactor, identity: Identity, relative: bool) -> None:
    networks = tiny.networks()
    for network in filter(None, vars(networks).values()):
        network.cuda()
    gpu = LatentReenactor(networks, name="tiny", framing=1.12, detector=tiny.CentreDetector())
    results = list(gpu.stream(identity, clip(11), batch=4, relative=relative, smoothing="none"))
    expected = list(on_cpu.stream(identity, clip(11), batch=4, relative=relative, smoothing="none"))
    for result, other in zip(results, expected, strict=True):
        assert np.abs(result.image.astype(int) - other.image).mean() <= 1
        np.testing.assert_allclose(result.motion, other.motion, rtol=2e-2, atol=2e-2)  # TF32 in the encoder

"""The benchmark measures what it says: every stage of a small model, its sums, and processes of their own."""

from __future__ import annotations

import json

import gpu_on_cpu
import pytest
import tiny
import torch

from latent_reenact.errors import BackendError, UsageError
from latent_reenact.evaluation import speed, starts
from latent_reenact.evaluation.machine import describe_machine
from latent_reenact.media import VideoReader
from latent_reenact.systems import LatentReenactor


@pytest.fixture(scope="module")
def report() -> speed.SpeedReport:
    return speed.measure(tiny.reenactor(), 11, starts=False)


def test_smoke(report: speed.SpeedReport) -> None:
    assert tuple(row.name for row in report.stages) == speed.STAGES
    assert all(row.ms > 0 and row.count == 2 for row in report.stages)  # two batches
    assert (report.model, report.frames, report.size, report.peak_mb) == ("tiny", 11, 32, None)
    assert report.whole.count == 11
    assert [row.name for row in report.others] == [
        "aligned frames to finished frames",
        "inversion, aligned",
        "inversion, from a file",
        "inversion, its networks alone",
        "one picture, running process",
    ]
    assert report.others[0].count == 11
    assert report.peak_gpu_mb is None


def test_feature_sums(report: speed.SpeedReport) -> None:
    data = json.loads(json.dumps(report.as_dict()))
    assert data["fps"] == pytest.approx(1000 / report.whole.ms, abs=0.01)
    assert data["overlap"] == pytest.approx(sum(row.ms for row in report.stages) / report.whole.ms, abs=0.001)
    assert data["machine"]["threads"] >= 1
    for row in (*report.stages, report.whole, *report.others):
        assert row.name in report.table()


def test_feature_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published sizes' way, rehearsed with small networks on the CPU."""
    gpu_on_cpu.install(monkeypatch)
    monkeypatch.delenv("LATENT_REENACT_OPS", raising=False)
    monkeypatch.setattr(speed, "published_reenactor", lambda device: tiny.reenactor())
    monkeypatch.setattr(speed, "_ALIGNED", 19)
    report = speed.measure_published(4, device="cuda")
    assert (report.precision, report.peak_gpu_mb) == ("float16", 3)
    assert report.others[0].count == 19
    assert "peak memory on the GPU" in report.table()


def test_feature_nothing_is_left(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed.tempfile, "tempdir", str(tmp_path))
    speed.measure(tiny.reenactor(), 1, starts=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("frames", [3, 80])
def test_feature_clip_of_any_length(tmp_path, frames: int) -> None:
    with VideoReader(speed.driving_clip(tmp_path / "clip.mp4", frames)) as reader:
        assert sum(1 for _ in reader) == frames


def test_feature_machine_has_no_names() -> None:
    import getpass
    import platform

    machine = describe_machine()
    assert machine.cores >= 1
    assert machine.ram_gb > 0
    assert machine.operators["reference"] == ""
    assert platform.node() not in str(machine)
    assert f"/{getpass.getuser()}" not in str(machine)


def test_exception_frames_and_models() -> None:
    with pytest.raises(UsageError, match="frames: got 0"):
        speed.measure(tiny.reenactor(), 0)

    class Other:
        name = "other"

    with pytest.raises(UsageError, match="other is none"):
        speed.measure(Other(), 3)  # type: ignore[arg-type]
    assert isinstance(tiny.reenactor(), LatentReenactor)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_exception_no_gpu() -> None:
    for measure in (lambda: speed.measure("builtin", device="cuda"), lambda: speed.measure_published(device="cuda")):
        with pytest.raises(BackendError, match=r"device 'cuda' cannot be used here: .*; use --device auto or cpu"):
            measure()


def test_exception_of_a_process(tmp_path) -> None:
    with pytest.raises(BackendError, match="No such file"):
        starts.run_program(["verify", tmp_path / "none.png"])


@pytest.mark.slow
def test_feature_memory_does_not_grow_with_length(tmp_path) -> None:
    peaks = []
    for frames in (300, 3000):
        clip = speed.driving_clip(tmp_path / f"{frames}.mp4", frames)
        peaks.append(starts.peak_megabytes("builtin", "cpu", clip, tmp_path / "out.mp4"))
    assert peaks[1] < 1.1 * peaks[0] + 20, peaks
    assert peaks[1] < 1500

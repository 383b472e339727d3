"""Other people's programs: known by their files, run apart from us, and refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gpu_on_cpu
import pytest
import tiny
import torch

from latent_reenact.errors import BackendError, MissingDependencyError, UsageError
from latent_reenact.evaluation import anchor_process, anchors, published_sizes
from latent_reenact.models import benchmark
from latent_reenact.systems import LatentReenactor


def clone(folder: Path, text: str) -> Path:
    (folder / "psp.py").write_text(text)
    return folder


def test_smoke(tmp_path: Path) -> None:
    program = anchors.recognise(clone(tmp_path, ""))
    assert (program.name, program.path) == (anchors.METHOD, tmp_path)
    (tmp_path / "psp.py").unlink()
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "networks.py").touch()
    assert anchors.recognise(tmp_path).name == anchors.NVIDIA


def test_feature_table_and_ratio() -> None:
    races = (anchors.Race("frame", 3000.0, 500.0, 5), anchors.Race("synthesis", 400.0, 100.0, 5, batch=16))
    versus = anchors.Versus("them", races, ("ours: bfloat16",))
    assert [row["ratio"] for row in versus.as_dict()["rows"]] == [6, 4]
    assert [row["theirs_images_s"] for row in versus.as_dict()["rows"]] == [0.33, 40]
    assert [row["ours_images_s"] for row in versus.as_dict()["rows"]] == [2, 160]
    assert "6.00 times as fast" in versus.table()
    assert "160.0 a second" in versus.table()
    assert versus.table().endswith("ours: bfloat16")


def measured(resolution: int, batch: int, gpu: bool) -> dict[str, Any]:
    """As `compare_synthesis` gives it."""
    seconds = {"graph": 0.1, "fp16": 0.2, "network": 0.6, "anchor fp16": 0.5, "anchor": 0.9}
    if not gpu:
        seconds = {"bf16": 0.1, "network": 0.6, "anchor": 0.4}
    peak = {"peak_mb": 700.0} if gpu else {}
    return {
        "resolution": resolution,
        "batch": batch,
        "rounds": 3,
        "machine": "a machine",
        "notes": ["the CUDA plugins of anchor: built"] if gpu else [],
        "psnr_db": 60.0,
        "contestants": {name: {"wall_s": wall, **peak} for name, wall in seconds.items()},
    }


@pytest.mark.parametrize("gpu", [True, False])
def test_feature_synthesis_beside_nvidias(gpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def compare(resolution: int, path: Path, *, seconds: float, device: str, batch: int) -> dict[str, Any]:
        asked.append((resolution, batch))
        assert (path, seconds, device) == (tmp_path, 6.0 if gpu else 12.0, "cpu")
        return measured(resolution, batch, gpu)

    monkeypatch.setattr(benchmark, "compare_synthesis", compare)
    monkeypatch.setattr(anchors, "on_gpu", lambda device: gpu)
    versus = anchors.compare(anchors.Program(anchors.NVIDIA, tmp_path), device="cpu", rounds=2)
    ratios = {row.task: row.ratio for row in versus.rows}
    if gpu:
        assert asked == [(1024, 1), (1024, 16), (256, 1), (256, 16)]
        assert len(ratios) == 12  # half precision against half precision, plain numbers against plain numbers
        assert ratios["synthesis 1024, batch 16, graph against anchor fp16"] == 5
        assert ratios["synthesis 256, batch 1, network against anchor"] == 1.5
        assert versus.rows[3].images_s == (32, 160)
        assert "the CUDA plugins of anchor: built" in versus.notes
        assert "synthesis 1024, batch 16: peak memory graph 700 MB, fp16 700 MB" in versus.table()
    else:
        assert asked == [(1024, 1), (256, 1)]
        assert ratios["synthesis 1024, batch 1, bf16"] == 4
    assert versus.notes.count("a machine") == 1


def test_feature_our_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed of ours runs, as on a GPU."""
    gpu_on_cpu.install(monkeypatch)
    monkeypatch.setattr(anchor_process, "_LAYERS", tiny.L)
    monkeypatch.setattr(anchor_process, "_WIDTH", tiny.D)
    monkeypatch.setattr(anchor_process, "published_reenactor", lambda device: tiny.reenactor())
    tasks, notes = anchor_process.our_method(torch.device("cpu"))
    for task in tasks.values():
        for _ in range(3):
            assert anchor_process.seconds(task, torch.device("cpu")) > 0
    assert notes[0].startswith("ours: float16")


def test_feature_published_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the method's own networks; here without filling them."""
    with torch.device("meta"):
        monkeypatch.setattr(published_sizes, "usable", lambda name: torch.device("meta"))
        networks = published_sizes.published_networks()
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in vars(networks).items() if net is not None}
    assert networks.generator.config.resolution == 1024
    assert networks.inversion.steps == 5
    assert counts["generator"] == pytest.approx(30.4e6, rel=0.02)  # 30 million, as StyleGAN2's paper has it
    assert counts["mapper"] == 9216 * 18432 + 9216
    monkeypatch.setattr(published_sizes, "published_networks", lambda device: tiny.networks())
    assert isinstance(published_sizes.published_reenactor("cpu"), LatentReenactor)


def test_exception_not_a_clone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no clone of JahodaPetr"):
        anchors.recognise(tmp_path)


def test_exception_its_imports_are_missing(tmp_path: Path) -> None:
    program = anchors.recognise(clone(tmp_path, "import a_module_of_theirs"))
    with pytest.raises(MissingDependencyError, match="needs what is not here: No module named 'a_module_of_theirs'"):
        anchors.compare(program, device="cpu", rounds=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", [anchors.METHOD, anchors.NVIDIA])
def test_exception_no_gpu(name: str, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="device 'cuda' cannot be used here"):
        anchors.compare(anchors.Program(name, tmp_path), device="cuda")

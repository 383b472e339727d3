"""The synthetic world into shards, and shards into what training reads."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("numba")
from latent_reenact.errors import ConfigError, CorruptFileError, WeightsNotFoundError
from latent_reenact.media.shards import index_path
from latent_reenact.synthface import (
    LATENT_DIM,
    LATENT_SLOTS,
    Renderer,
    conditioning,
    factors_from_latent,
    load_mesh,
    sample,
    sample_latent,
)
from latent_reenact.synthface.tiny import tiny_arrays
from latent_reenact.training.preparation.cluster import executor
from latent_reenact.training.preparation.synthetic import (
    SyntheticConfig,
    frame_latent,
    plan_synthetic,
    prepare_synthetic,
    synthetic_sample,
)
from latent_reenact.training.shards import portraits as module
from latent_reenact.training.shards.format import clip_of, find_shards, read_index, write_shard
from latent_reenact.training.shards.motion import motion_vector
from latent_reenact.training.shards.portraits import load_portraits, swapped_conditioning
from latent_reenact.training.shards.reading import decode, read_raw
from latent_reenact.training.shards.stream import stream

HERE = executor(jobs=1)
SMALL = SyntheticConfig(seed=3, people=5, frames=4, size=32)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("mesh") / "mesh.npz"
    np.savez(path, **tiny_arrays())
    return path


@pytest.fixture(scope="module")
def shards(tmp_path_factory, mesh: Path) -> list[Path]:
    """Two shards of people with a frame each, 9 and 6."""
    folder = tmp_path_factory.mktemp("shards")
    renderer = Renderer(load_mesh(mesh))
    for name, people in (("0.tar", range(9)), ("1.tar", range(9, 15))):
        rendered = ((i, renderer.render(sample(4, i), 32)) for i in people)
        write_shard(
            folder / name,
            [synthetic_sample(p.image, p.landmarks, sample_latent(4, i), person=f"4-{i:07d}") for i, p in rendered],
        )
    return sorted(folder.glob("*.tar"))


def test_smoke(mesh: Path, tmp_path: Path) -> None:
    manifest = prepare_synthetic(mesh, tmp_path / "out", SMALL, run=HERE)
    assert manifest["splits"]["train"] == {"people": 5, "clips": 10, "samples": 20, "shards": ["train/00000.tar"]}
    index = read_index(tmp_path / "out/train/00000.tar")
    assert index.keys[:4] == ("3-0000000/0/0000", "3-0000000/0/0001", "3-0000000/1/0002", "3-0000000/1/0003")
    portrait = Renderer(load_mesh(mesh)).render(sample(3, 0), 32)
    face = decode(next(read_raw(index.path, 0, int(index.offsets[-1]))))
    assert np.array_equal(face.picture, portrait.image)
    assert np.allclose(face.landmarks + 0.5, portrait.landmarks, atol=1e-3)
    assert face.pose_deg[0] == pytest.approx(portrait.yaw_deg, abs=1e-3)
    assert np.array_equal(face.z, sample_latent(3, 0))


def test_feature_frames_of_a_person() -> None:
    first = factors_from_latent(frame_latent(3, 7, 0)[1])
    assert first == sample(3, 7)
    frames = [factors_from_latent(frame_latent(3, 7, k)[1]) for k in range(8)]
    assert [frame_latent(3, 7, k)[0] for k in range(8)] == list("00110011")
    assert all(frame.identity == first.identity for frame in frames)
    assert len({frame.motion.yaw_deg for frame in frames}) == 8
    assert all(frames[k].scene == first.scene for k in (1, 4, 5))
    assert all(frames[k].scene == frames[2].scene != first.scene for k in (3, 6, 7))
    assert frame_latent(3, 8, 2)[1][LATENT_SLOTS["exposure"]] != frame_latent(3, 7, 2)[1][LATENT_SLOTS["exposure"]]


def test_feature_every_slot_is_of_identity_motion_or_scene() -> None:
    """What differs between frames 0 and 2 is motion and scene, slot for slot."""
    changed = frame_latent(1, 1, 0)[1] != frame_latent(1, 1, 2)[1]
    names = list(LATENT_SLOTS)
    start, scene = names.index("yaw"), names.index("light_azimuth")
    expected = np.zeros(LATENT_DIM, bool)
    expected[LATENT_SLOTS[names[start]].start :] = True
    assert np.array_equal(changed, expected)
    moved = frame_latent(1, 1, 0)[1] != frame_latent(1, 1, 1)[1]
    assert moved[: LATENT_SLOTS[names[scene]].start].sum() == moved.sum() > 0
    assert not moved[LATENT_SLOTS[names[start - 1]]].any()


def test_feature_larger_sets_begin_with_the_smaller(mesh: Path, tmp_path: Path) -> None:
    one = plan_synthetic(mesh, tmp_path, SyntheticConfig(people=1024))
    two = plan_synthetic(mesh, tmp_path, SyntheticConfig(people=1537))
    assert one.units[0] == two.units[0]
    assert [len(unit.people) for unit in two.units] == [512, 512, 513]  # nobody is alone in a shard
    assert plan_synthetic(mesh, tmp_path, SyntheticConfig(people=47_104)).summary()["shards"] == 92


def test_feature_splits(mesh: Path, tmp_path: Path) -> None:
    plan = plan_synthetic(mesh, tmp_path, SyntheticConfig(people=100, val=5, test=10))
    assert plan.summary()["people"] == {"train": 85, "val": 5, "test": 10}
    assert sorted(person for unit in plan.units for person in unit.people) == list(range(100))


def test_feature_finished_shards_are_kept(mesh: Path, tmp_path: Path) -> None:
    prepare_synthetic(mesh, tmp_path / "out", SMALL, run=HERE)
    (shard,) = find_shards(tmp_path / "out")
    before = shard.read_bytes(), shard.stat().st_mtime_ns
    prepare_synthetic("no such mesh", tmp_path / "out", SMALL, run=HERE)
    assert (shard.read_bytes(), shard.stat().st_mtime_ns) == before


def test_feature_streams_carry_z(shards: list[Path]) -> None:
    batch = next(stream(shards, seed=1, batch=4))
    for key, z in zip(batch.keys, batch.z, strict=True):
        assert np.array_equal(z, sample_latent(4, int(key.split("/")[0][2:])))


def test_feature_portraits_know_the_truth(shards: list[Path], mesh: Path) -> None:
    tiny = load_mesh(mesh)
    portraits = load_portraits(shards, 16, tiny, partners=2, jobs=1)
    assert len(portraits) == 15
    assert portraits.images.shape == (15, 3, 16, 16)
    assert portraits.images.is_contiguous(memory_format=torch.channels_last)
    assert portraits.person.tolist() == list(range(15))
    for i in (0, 8, 9, 14):
        factors = sample(4, i)
        assert np.allclose(portraits.conditioning[i], conditioning(factors, tiny))
        assert np.allclose(portraits.motion[i], motion_vector(factors))
        others = [sample(4, j) for j in portraits.partners[i].tolist()]
        assert np.allclose(portraits.swapped[i], swapped_conditioning(factors, others, tiny))
        rendered = Renderer(tiny).render(factors, 32)
        assert np.allclose(portraits.landmarks[i] * 2, rendered.landmarks, atol=1e-2)
        pooled = rendered.image.reshape(16, 2, 16, 2, 3).mean((1, 3))
        assert np.abs(portraits.images[i].permute(1, 2, 0).numpy() - pooled).max() <= 0.51
    assert portraits.pictures(torch.tensor([1])).abs().max() <= 1


def test_feature_partners_are_others_of_the_same_shard(shards: list[Path], mesh: Path, tmp_path: Path) -> None:
    portraits = load_portraits(shards, 16, load_mesh(mesh), partners=8, jobs=1)
    assert portraits.partners[:9].max() < 9 <= portraits.partners[9:].min()
    assert not (portraits.partners == torch.arange(15)[:, None]).any()
    prepare_synthetic(mesh, tmp_path, SMALL, run=HERE)
    several = load_portraits(find_shards(tmp_path), 16, load_mesh(mesh), jobs=1)
    assert several.person.tolist() == [person for person in range(5) for _ in range(4)]
    assert not (several.person[several.partners] == several.person[:, None]).any()


def test_feature_limit_takes_whole_shards(shards: list[Path], mesh: Path) -> None:
    assert len(load_portraits(shards, 16, load_mesh(mesh), 5, jobs=1)) == 9
    assert len(load_portraits(shards, 16, load_mesh(mesh), 10, jobs=1)) == 15


def test_feature_cache_is_made_once_and_shared(
    shards: list[Path], mesh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = [tmp_path / shard.name for shard in shards]
    for shard, copy in zip(shards, copies, strict=True):
        copy.write_bytes(shard.read_bytes())
        index_path(copy).write_bytes(index_path(shard).read_bytes())
    first = load_portraits(copies, 16, load_mesh(mesh), jobs=1)
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.npy")}
    assert len(files) == 5
    derived = []
    original = module._derive
    monkeypatch.setattr(module, "_derive", lambda part, **options: derived.append(options) or original(part, **options))
    second = load_portraits(copies, 16, load_mesh(mesh), jobs=1)
    assert derived == []
    for name in vars(first):
        assert torch.equal(getattr(first, name), getattr(second, name))
    load_portraits(copies, 8, load_mesh(mesh), jobs=1)  # another resolution needs the pictures anew, and nothing else
    assert [sorted(options["drafts"]) for options in derived] == [["images"]] * 2
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.npy")}
    assert files.items() <= now.items()
    arrays = tiny_arrays()
    arrays["neutral"] = arrays["neutral"] * 1.1
    np.savez(tmp_path / "other.npz", **arrays)
    other = load_portraits(copies, 16, load_mesh(tmp_path / "other.npz"), jobs=1)
    assert not torch.equal(other.conditioning, first.conditioning)


def test_feature_stopped_cache_leaves_nothing(
    shards: list[Path], mesh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "0.tar"
    copy.write_bytes(shards[0].read_bytes())

    def stop(part, **options) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_derive", stop)
    with pytest.raises(KeyboardInterrupt):
        load_portraits([copy], 16, load_mesh(mesh), jobs=1)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]
    monkeypatch.undo()
    assert len(load_portraits([copy], 16, load_mesh(mesh), jobs=1)) == 9


@pytest.mark.slow
def test_feature_several_processes_derive_the_same(
    shards: list[Path], mesh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = [tmp_path / shard.name for shard in shards]
    for shard, copy in zip(shards, copies, strict=True):
        copy.write_bytes(shard.read_bytes())
    monkeypatch.setattr(module, "_SHARED_WORK", 0)
    shared = load_portraits(copies, 16, load_mesh(mesh), jobs=2)
    alone = load_portraits(shards, 16, load_mesh(mesh), jobs=1)
    for name in vars(shared):
        assert torch.equal(getattr(shared, name), getattr(alone, name))


def test_exception_portraits(shards: list[Path], mesh: Path, tmp_path: Path) -> None:
    tiny = load_mesh(mesh)
    with pytest.raises(WeightsNotFoundError, match="no shards"):
        load_portraits([], 16, tiny)
    (tmp_path / "cut.tar").write_bytes(shards[0].read_bytes()[:20_000])
    with pytest.raises(CorruptFileError, match="cut off"):
        load_portraits([tmp_path / "cut.tar"], 16, tiny)
    portrait = Renderer(tiny).render(sample(4, 0), 32)
    one = synthetic_sample(portrait.image, portrait.landmarks, sample_latent(4, 0), person="a")
    write_shard(tmp_path / "one.tar", [one])
    with pytest.raises(ConfigError, match="single portrait"):
        load_portraits([tmp_path / "one.tar"], 16, tiny)
    real = [type(one)(**(vars(one) | {"z": None, "person": name})) for name in "ab"]
    write_shard(tmp_path / "real.tar", real)
    with pytest.raises(CorruptFileError, match="has no z"):
        load_portraits([tmp_path / "real.tar"], 16, tiny, jobs=1)
    with pytest.raises(CorruptFileError, match="32 px, 64 are asked for"):
        load_portraits(shards[:1], 64, tiny, jobs=1)
    assert list((tmp_path / "cache").glob("*.npy")) == []


def test_exception_config() -> None:
    for settings in ({"people": 0}, {"seed": -1}, {"frames": 0}):
        with pytest.raises(ConfigError, match="expected a seed of 0 or more"):
            SyntheticConfig(**settings)
    with pytest.raises(ConfigError, match="size: got 4"):
        SyntheticConfig(size=4)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 3)])
def test_feature_stopped_command_goes_on(mesh: Path, tmp_path: Path, number: int, code: int) -> None:
    """Whatever stops the command, the shards that are there are whole, and the next run ends with the same ones."""
    out = tmp_path / "out"
    words = ["prepare", "--synthetic", "16", "--frames", "128", "--size", "16", "--mesh", mesh, "--jobs", "2", "-o"]
    command = [sys.executable, "-m", "latent_reenact", *map(str, words)]
    process = subprocess.Popen([*command, str(out)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(out.rglob("[!.]*.tar")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert "run it again" in message or number == signal.SIGKILL
    left = {shard.name: shard.read_bytes() for shard in find_shards(out)}
    assert 0 < len(left) < 4
    done = subprocess.run([*command, str(out)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    finished = {shard.name: shard.read_bytes() for shard in find_shards(out)}
    assert left.items() <= finished.items()
    assert len(finished) == 4
    assert len({clip_of(key) for shard in find_shards(out) for key in read_index(shard).keys}) == 32

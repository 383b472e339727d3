"""Labelled shards of random people, with a model at toy size."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from PIL import Image

from latent_reenact.cli import main
from latent_reenact.editing import sample_identity, sampling
from latent_reenact.editing.sampling import sample_shards
from latent_reenact.editing.sampling_plan import SamplingConfig
from latent_reenact.errors import ConfigError, CorruptFileError, OutputError, UsageError
from latent_reenact.media import Provenance, read_image, read_provenance
from latent_reenact.media.provenance import from_xmp
from latent_reenact.media.shards import ShardFile
from latent_reenact.models import save_networks
from latent_reenact.systems import Identity, load

RANGES = {"yaw_deg": (-20.0, 20.0), "smile": (0.0, 1.0)}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    networks = {name: network for name, network in vars(tiny.networks()).items() if network is not None}
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_networks(path, networks, tiny.ABOUT)
    return str(path)


@pytest.fixture
def config(model) -> SamplingConfig:
    return SamplingConfig(model=model, count=7, seed=3, identities=3, ranges=RANGES, shard_size=4)


def members(folder: Path) -> dict[str, bytes]:
    """Every member of every shard."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_smoke(config, tmp_path) -> None:
    report = sample_shards(tmp_path, config)
    assert (report["pictures"], report["people"], report["shards"], report["drawn"]) == (7, 3, 2, 7)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("00000.json", "00000.tar", "00001.json", "00001.tar", "plan.json")
    ]
    found = members(tmp_path)
    assert list(found) == [f"{i:08d}.{suffix}" for i in range(7) for suffix in ("png", "json")]
    labels = [json.loads(found[f"{i:08d}.json"]) for i in range(7)]
    assert [label["person"] for label in labels] == [3, 3, 3, 4, 4, 4, 5]
    assert all(-20 <= label["controls"]["yaw_deg"] <= 20 for label in labels)
    assert len({label["controls"]["smile"] for label in labels}) == 7


def test_feature_the_label_is_what_was_drawn(config, model, tmp_path) -> None:
    sample_shards(tmp_path, replace(config, latents=True))
    found, reenactor = members(tmp_path), load(model, device="cpu")
    label = json.loads(found["00000004.json"])
    person = sample_identity(reenactor, label["person"])
    drawn = reenactor.poses(person, [label["controls"]], at_rest=True)[0]  # type: ignore[union-attr]
    picture = np.asarray(Image.open(io.BytesIO(found["00000004.png"])))
    assert np.abs(picture.astype(int) - drawn.image).max() <= 2
    np.testing.assert_allclose(np.load(io.BytesIO(found["00000004.npy"])), drawn.w_plus, atol=1e-4)


def test_feature_controls_without_a_range_are_at_rest(config, tmp_path) -> None:
    sample_shards(tmp_path, replace(config, ranges={"yaw_deg": (5.0, 5.0)}, count=2, identities=None))
    assert json.loads(members(tmp_path)["00000001.json"])["controls"] == {"yaw_deg": 5.0, "smile": 0.0}


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_feature_every_picture_carries_the_mark(config, tmp_path, suffix) -> None:
    sample_shards(tmp_path, replace(config, count=1, identities=None, suffix=suffix))
    with Image.open(io.BytesIO(members(tmp_path)[f"00000000.{suffix}"])) as image:
        packet = image.info.get("xmp") or image.info["XML:com.adobe.xmp"]
    mark = from_xmp(packet if isinstance(packet, bytes) else packet.encode())
    assert mark is not None
    assert (mark.model, mark.operation, mark.source_type) == ("tiny", "sample", "trainedAlgorithmicMedia")


def test_feature_neither_shards_nor_a_longer_set_matter(config, tmp_path, monkeypatch) -> None:
    """The pictures and labels of an index are the same in other shards, and where there are more of them."""
    monkeypatch.setattr(Provenance, "dated", lambda mark: replace(mark, created=mark.created or "2024-01-01T00:00:00"))
    sets = {"one": config, "two": replace(config, shard_size=2), "more": replace(config, count=9)}
    for name, other in sets.items():
        (tmp_path / name).mkdir()
        sample_shards(tmp_path / name, other)
    one, two, more = (members(tmp_path / name) for name in sets)
    assert one == two
    assert one == {name: content for name, content in more.items() if int(name[:8]) < 7}


def test_feature_a_stopped_run_goes_on(config, tmp_path) -> None:
    stopped = tmp_path
    sample_shards(stopped, config)
    before = contents(stopped)
    (stopped / "00001.json").unlink()  # as if killed between shard and index
    (stopped / ".tmp-999999999-abcdef01-00001.tar").write_bytes(b"half")
    report = sample_shards(stopped, config)
    assert report["drawn"] == 3
    assert contents(stopped) == before
    assert sample_shards(stopped, config)["drawn"] == 0


def test_feature_more_may_be_asked_for_later(config, tmp_path) -> None:
    alone = replace(config, identities=None)
    sample_shards(tmp_path, alone)
    before = members(tmp_path)
    report = sample_shards(tmp_path, replace(alone, count=10))
    assert report["drawn"] == 6  # the shard that was full stays
    after = members(tmp_path)
    assert len(after) == 20
    assert {name: after[name] for name in before} == before


def _kill_after_the_first_shard(folder: Path, model: str) -> None:
    config = SamplingConfig(model=model, count=7, seed=3, identities=3, ranges=RANGES, shard_size=4)

    def kill(done: float, total: float | None, unit: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    sample_shards(folder, config, progress=kill)


@pytest.mark.slow
def test_feature_kill_9_leaves_whole_shards_and_the_rest_follows(config, model, tmp_path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_kill_after_the_first_shard, args=(tmp_path, model))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == ["00000.tar"]
    assert sample_shards(tmp_path, config)["drawn"] == 3


@pytest.mark.slow
def test_feature_several_processes_write_the_same_bytes(config, tmp_path) -> None:
    from latent_reenact.training.preparation.cluster import executor

    folders = [tmp_path / str(jobs) for jobs in (1, 2)]
    for jobs, folder in enumerate(folders, start=1):
        folder.mkdir()
        if jobs == 2:
            (folder / "plan.json").write_bytes((folders[0] / "plan.json").read_bytes())
        sample_shards(folder, config, run=executor(jobs=jobs))
    assert contents(folders[0]) == contents(folders[1])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seed": 4}, "another data set \\(seed 3, now 4\\)"),
        ({"count": 6, "identities": 2}, "count 7, now 6"),
        ({"identities": 7}, "each 3, now 1"),
        ({"ranges": {}}, "another data set \\(ranges"),
    ],
)
def test_exception_another_data_set_in_the_folder(config, tmp_path, changes, match) -> None:
    sample_shards(tmp_path, config)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=match):
        sample_shards(tmp_path, replace(config, **changes))
    assert contents(tmp_path) == before


def test_exception_strange_shards_and_a_damaged_plan(config, tmp_path) -> None:
    with ShardFile(tmp_path / "00000.tar") as shard:
        shard.write("a", {"txt": b"mine"})
    with pytest.raises(ConfigError, match="not part of this data set"):
        sample_shards(tmp_path, config)
    (tmp_path / "plan.json").write_text("[1")
    with pytest.raises(CorruptFileError, match=r"plan\.json cannot be read"):
        sample_shards(tmp_path, config)


@pytest.mark.parametrize(
    ("changes", "kind", "match"),
    [
        ({"ranges": {"wink": (0.0, 1.0)}}, ConfigError, "unknown control 'wink'"),
        ({"ranges": {"smile": (0.0, 100.0)}}, UsageError, "smile: got 100"),
    ],
)
def test_exception_what_no_face_does_is_refused_before_anything_is_written(
    config, tmp_path, changes, kind, match
) -> None:
    with pytest.raises(kind, match=match):
        sample_shards(tmp_path, replace(config, **changes))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"count": 0}, "count"),
        ({"identities": 8}, "identities: got 8, expected at most 7"),
        ({"ranges": {"smile": (1.0, 0.0)}}, "smile: got 1:0"),
        ({"ranges": {"smile": (0.0, float("nan"))}}, "smile: got 0:nan"),
        ({"suffix": "gif"}, "format: got 'gif'"),
    ],
)
def test_exception_settings_that_make_no_sense(config, changes, match) -> None:
    with pytest.raises(ConfigError, match=match):
        replace(config, **changes)


def test_exception_a_disk_that_is_too_small(config, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sampling.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(OutputError, match="1,000 bytes free"):
        sample_shards(tmp_path, config)


# ---------------------------------------------------------------- on the command line


@pytest.fixture
def run(model, capsys):
    def run(*words: object) -> tuple[int, str, str]:
        code = main(["sample", *map(str, words), "--model", model, "--device", "cpu"])
        return code, *capsys.readouterr()

    return run


def test_feature_few_people_with_ranges_become_labelled_pictures(run, model, tmp_path) -> None:
    out = tmp_path / "people"
    code, _, err = run("-n", 2, "--seed", 5, "--yaw", "-20:20", "--set", "smile=0.5", "--format", "jpg", "-o", out)
    assert (code, err) == (0, "")
    assert sorted(p.name for p in out.iterdir()) == [
        f"person-{seed}{suffix}" for seed in (5, 6) for suffix in (".jpg", ".json", ".safetensors")
    ]
    label = json.loads((out / "person-6.json").read_text())
    assert label["person"] == 6
    assert label["controls"]["smile"] == 0.5
    assert read_provenance(out / "person-6.jpg").operation == "sample"  # type: ignore[union-attr]
    reenactor, person = load(model, device="cpu"), Identity.load(out / "person-6.safetensors")
    drawn = reenactor.poses(person, [label["controls"]], at_rest=True)[0].image  # type: ignore[union-attr]
    assert np.abs(read_image(out / "person-6.jpg").astype(int) - drawn).mean() < 12  # as far as JPEG goes


def test_feature_shards_on_the_command_line(run, tmp_path) -> None:
    words = ["-n", 3, "--shards", "--shard-size", 2, "--jobs", 1, "--smile", "0:1", "-o", tmp_path / "set", "--json"]
    code, text, _ = run(*words)
    assert (code, json.loads(text)["shards"]) == (0, 2)
    assert json.loads(run(*words)[1])["drawn"] == 0


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--yaw", "left"], "yaw_deg: got 'left', expected LOW:HIGH"),
        (["--set", "squint"], "--set: got 'squint', expected name=LOW:HIGH"),
        (["--yaw", "20:-20"], "yaw_deg: got 20:-20"),
        (["--identities", "1"], "are for shards"),
    ],
)
def test_exception_on_the_command_line(run, tmp_path, words, match) -> None:
    code, _, err = run(*words, "-o", tmp_path / "people")
    assert code in (1, 2)
    assert match in err
    assert not (tmp_path / "people").exists()

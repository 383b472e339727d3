"""Folders of videos into shards: who is taken, which frames, what is dropped, and stopping at any moment."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from actor_detector import ActorDetector, KillingDetector, fail
from video_samples import make_video

from latent_reenact.errors import (
    ConfigError,
    InterruptedRunError,
    MissingDependencyError,
    OutputError,
    UsageError,
)
from latent_reenact.face import landmarks_to_aligned
from latent_reenact.media import VideoReader
from latent_reenact.training.preparation import plan as planning
from latent_reenact.training.preparation.cluster import executor, run_locally
from latent_reenact.training.preparation.plan import carry_out, split_people
from latent_reenact.training.preparation.videos import (
    VideoConfig,
    find_people,
    frames_at,
    plan_videos,
    prepare_videos,
)
from latent_reenact.training.shards.format import find_shards, person_of, read_index
from latent_reenact.training.shards.reading import decode, read_raw

HERE = executor(jobs=1)
SMALL = VideoConfig(size=32, frames=4, max_yaw_deg=30, val=0, test=0)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    return make_video(tmp_path_factory.mktemp("video") / "a.mp4", frames=45).read_bytes()


@pytest.fixture
def folder(tmp_path: Path, video: bytes) -> Path:
    """Three people as VoxCeleb2 has them, one with seven videos, and a broken one."""
    root = tmp_path / "videos"
    for name in ("id1/x/1", "id1/x/2", "id1/x/3", "id1/y/1", "id1/y/2", "id1/z/1", "id1/z/2", "id2/x/1", "id3/_w/1"):
        path = root / "dev" / "mp4" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(video)
    (root / "dev/mp4/id2/x/1.mp4").write_bytes(video[: len(video) // 40])
    return root


def test_smoke(folder: Path, tmp_path: Path) -> None:
    told = []
    manifest = prepare_videos(
        folder, tmp_path / "out", SMALL, run=HERE, detector=ActorDetector, progress=lambda *x: told.append(x)
    )
    assert manifest["splits"]["train"] | {"shards": 0} == {"people": 2, "clips": 6, "samples": 12, "shards": 0}
    assert manifest["dropped"] == {"extreme pose": 6, "no face": 6, "unreadable video": 4}
    (failure,) = manifest["failures"]
    assert failure.startswith("dev/mp4/id2/x/1.mp4 ")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == manifest
    assert told == [(1, 3, "shards"), (2, 3, "shards"), (3, 3, "shards")]


def test_feature_samples_are_aligned_faces(folder: Path, tmp_path: Path) -> None:
    prepare_videos(folder, tmp_path / "out", SMALL, run=HERE, detector=ActorDetector)
    faces = {}
    for shard in find_shards(tmp_path / "out"):
        for raw in read_raw(shard, 0, int(read_index(shard).offsets[-1])):
            faces[raw["__key__"]] = decode(raw)
            truth = json.loads(raw["json"])
            assert truth["time_s"] == {"0000": 0.0, "0001": 0.52}[raw["__key__"][-4:]]  # 25 a second: 0.48 is as near
    assert {key for key in faces if key.startswith("id3")} == {"id3/_w-1/0000", "id3/_w-1/0001"}
    face = faces["id3/_w-1/0000"]
    assert face.picture.shape == (32, 32, 3)
    assert face.pose_deg == pytest.approx([0, -8.77, 0], abs=0.05)
    square = np.array([[0, 0], [0, 31], [31, 31], [31, 0]])
    assert (face.landmarks > square.min(0)).all()
    assert (face.landmarks < square.max(0)).all()
    eyes = face.landmarks[36:48].mean(0)
    assert eyes[0] == pytest.approx(15.5, abs=0.01)  # upright, in the middle


def test_feature_framing_widens_the_cut(folder: Path, tmp_path: Path) -> None:
    def width(framing: float) -> float:
        config = VideoConfig(size=32, frames=1, framing=framing, val=0, test=0)
        out = tmp_path / f"{framing}"
        prepare_videos(folder, out, config, run=HERE, detector=ActorDetector)
        index = read_index(find_shards(out)[0])
        landmarks = decode(next(read_raw(index.path, 0, int(index.offsets[-1])))).landmarks
        return float(np.ptp(landmarks[:, 0]))

    assert width(1.25) == pytest.approx(width(1.0) / 1.25, abs=0.01)


def test_feature_at_most_n_clips_from_as_many_places(folder: Path) -> None:
    people = {person.name: person.clips for person in find_people(folder, 4)}
    assert sorted(people) == ["id1", "id2", "id3"]
    assert len(people["id1"]) == 4
    assert {name[0] for name, _ in people["id1"]} == {"x", "y", "z"}
    assert all((folder / path).is_file() for clips in people.values() for _, path in clips)
    assert len(find_people(folder, 99)[0].clips) == 7


@pytest.mark.parametrize(
    ("names", "people"),
    [
        (["a.mp4", "b.mkv", "notes.txt", ".hidden.mp4"], {"a": ["a"], "b": ["b"]}),
        (["ann/1.mp4", "ann/2.mp4", "bob/1.MP4"], {"ann": ["1", "2"], "bob": ["1"]}),
        (["ann/x/1.mp4", "bob/x/1.mp4"], {"ann": ["x-1"], "bob": ["x-1"]}),
        (["a.mp4", "a.mov"], {"a": ["a", "a-"]}),
    ],
)
def test_feature_layouts(tmp_path: Path, names: list[str], people: dict[str, list[str]]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    found = {person.name: [name for name, _ in person.clips] for person in find_people(tmp_path, 5)}
    assert found.keys() == people.keys()
    for name, clips in people.items():
        assert all(is_.startswith(expected) for is_, expected in zip(found[name], clips, strict=True))


def test_feature_names_become_keys_that_stay_apart(tmp_path: Path) -> None:
    for name in ("é b", "e b", "__x__", "a.b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.mp4").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    names = [person.name for person in find_people(tmp_path, 5)]
    assert len(set(names)) == 4
    assert not any(set(name) & set("./ é") or name.startswith("__") for name in names)


def test_feature_frames_are_those_shown_at_the_times(tmp_path: Path) -> None:
    reader = VideoReader(make_video(tmp_path / "a.mp4", frames=50))
    grey = [(float(image[-1, -1].mean()), time_s) for image, time_s in frames_at(reader, [0, 0.5, 1.0, 5.0])]
    assert [time_s for _, time_s in grey] == pytest.approx([0, 0.52, 1.0])
    assert [value for value, _ in grey] == pytest.approx([40, 40 + 3 * 13, 40 + 3 * 25], abs=3)


def test_feature_nothing_is_decoded_after_the_last_frame() -> None:
    decoded = []

    def frames():
        for index in range(100):
            decoded.append(index)
            yield np.zeros((2, 2, 3), np.uint8), index / 10

    reader: Any = SimpleNamespace(info=SimpleNamespace(fps=Fraction(10)), iter_timed=frames)
    assert [time_s for _, time_s in frames_at(reader, [0.0, 0.5])] == [0.0, 0.5]
    assert decoded == list(range(6))


def test_feature_a_gap_gives_its_frame_once() -> None:
    reader: Any = SimpleNamespace(
        info=SimpleNamespace(fps=Fraction(10)), iter_timed=lambda: iter([(np.zeros(1), t) for t in (0.0, 2.0, 2.1)])
    )
    assert [time_s for _, time_s in frames_at(reader, [0.0, 0.5, 1.0, 2.0, 2.5])] == [0.0, 2.0]


def test_feature_short_clips_are_counted(tmp_path: Path, video: bytes) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(video)
    config = VideoConfig(size=32, frames=6, max_yaw_deg=30, val=0, test=0)
    manifest = prepare_videos(tmp_path / "in", tmp_path / "out", config, run=HERE, detector=ActorDetector)
    assert manifest["dropped"] == {"clip too short": 2, "extreme pose": 1, "no face": 1}
    assert manifest["splits"]["train"]["samples"] == 2


def test_feature_cut_video_gives_what_it_holds(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", frames=45, codec="mjpeg")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    manifest = prepare_videos(tmp_path, tmp_path / "out", SMALL, run=HERE, detector=ActorDetector)
    assert manifest["splits"]["train"]["samples"] == 2
    assert manifest["dropped"] == {"unreadable video": 2}
    assert "a.mkv is cut off or damaged" in manifest["failures"][0]


def test_feature_splits_are_disjoint_and_stable(tmp_path: Path) -> None:
    names = [f"person {i}" for i in range(3000)]
    splits = split_people(names, 0.1, 0.2)
    counts = {which: list(splits.values()).count(which) for which in ("train", "val", "test")}
    assert counts["test"] == pytest.approx(600, abs=70)
    assert counts["val"] == pytest.approx(300, abs=60)
    assert splits == {name: split_people([name], 0.1, 0.2)[name] for name in names}
    assert list(split_people(names, 30, 0.2).values()).count("val") == 30
    assert list(split_people(names, 0, 120).values()).count("test") == 120


def test_feature_people_of_a_split_are_in_no_other(tmp_path: Path, video: bytes) -> None:
    for i in range(6):
        (tmp_path / "in" / f"p{i}").mkdir(parents=True)
        (tmp_path / "in" / f"p{i}" / "1.mp4").write_bytes(video)
    config = VideoConfig(size=32, frames=1, val=1, test=2)
    manifest = prepare_videos(tmp_path / "in", tmp_path / "out", config, run=HERE, detector=ActorDetector)
    people = {
        split: {person_of(key) for shard in find_shards(tmp_path / "out", split) for key in read_index(shard).keys}
        for split in manifest["splits"]
    }
    assert {split: len(members) for split, members in people.items()} == {"train": 3, "val": 1, "test": 2}
    assert len(set.union(*people.values())) == 6


def test_feature_finished_shards_are_kept(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_videos(folder, out, SMALL, run=HERE, detector=ActorDetector)
    shards = find_shards(out)
    before = [(shard.read_bytes(), shard.stat().st_mtime_ns) for shard in shards]
    shards[1].with_suffix(".json").unlink()  # as a kill between the two leaves it
    again = prepare_videos(folder, out, SMALL, run=HERE, detector=ActorDetector)
    assert again == json.loads((out / "manifest.json").read_text())
    assert [shard.read_bytes() for shard in shards] == [content for content, _ in before]
    rewritten = [shard.stat().st_mtime_ns != stamp for shard, (_, stamp) in zip(shards, before, strict=True)]
    assert rewritten == [False, True, False]


def run_in_process(folder: Path, out: Path) -> subprocess.Popen:
    """A preparation with two workers in a process group of its own; prints the workers' ids when it goes."""
    code = f"""
import multiprocessing, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs deaf to it
sys.path[:0] = {sys.path!r}
from latent_reenact.training.preparation.cluster import executor
from actor_detector import SlowDetector
from latent_reenact.training.preparation.videos import VideoConfig, prepare_videos
def told(*_):
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
if __name__ == "__main__":
    prepare_videos({str(folder)!r}, {str(out)!r}, {SMALL!r}, run=executor(jobs=2), detector=SlowDetector, progress=told)
"""
    script = out.parent / "go.py"
    script.write_text(code)
    return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_feature_stopped_run_leaves_whole_files_and_goes_on(tmp_path: Path, video: bytes, number: int) -> None:
    for i in range(8):
        (tmp_path / "in" / f"p{i}").mkdir(parents=True)
        (tmp_path / "in" / f"p{i}" / "1.mp4").write_bytes(video)
    process = run_in_process(tmp_path / "in", tmp_path / "out")
    workers = [int(word) for word in process.stdout.readline().split()]
    time.sleep(0.2)  # into the next shard
    process.send_signal(number)
    assert process.wait(timeout=20) != 0
    deadline = time.monotonic() + 10
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers) == 2
    assert not any(map(alive, workers))
    left = {shard.name: shard.read_bytes() for shard in find_shards(tmp_path / "out")}
    assert 0 < len(left) < 8
    prepare_videos(tmp_path / "in", tmp_path / "out", SMALL, run=HERE, detector=ActorDetector)
    prepare_videos(tmp_path / "in", tmp_path / "unbroken", SMALL, run=HERE, detector=ActorDetector)
    finished = {shard.name: shard.read_bytes() for shard in find_shards(tmp_path / "out")}
    assert finished == {shard.name: shard.read_bytes() for shard in find_shards(tmp_path / "unbroken")}
    assert left.items() <= finished.items()
    leftovers = [path.name.split("-")[1] for path in (tmp_path / "out").rglob(".tmp-*")]
    assert all(Path("/proc", pid).exists() for pid in leftovers)  # dead, yet nobody has asked how they ended


def test_feature_several_processes_write_the_same(folder: Path, tmp_path: Path) -> None:
    prepare_videos(folder, tmp_path / "one", SMALL, run=HERE, detector=ActorDetector)
    prepare_videos(folder, tmp_path / "two", SMALL, run=executor(jobs=2), detector=ActorDetector)
    one, two = ([shard.read_bytes() for shard in find_shards(tmp_path / name)] for name in ("one", "two"))
    assert one == two
    assert (tmp_path / "one/manifest.json").read_bytes() == (tmp_path / "two/manifest.json").read_bytes()


def test_exception_killed_worker(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError, match="with fewer --jobs"):
        prepare_videos(folder, tmp_path / "out", SMALL, run=executor(jobs=2), detector=KillingDetector)


def test_exception_of_a_unit_comes_through() -> None:  # which of them is a matter of time
    with pytest.raises(ConfigError, match="is odd"):
        list(run_locally(fail, range(3), jobs=2))


class FakeRay:
    """Ray's calls that are used, run at once; remembers what became a task."""

    def __init__(self) -> None:
        self.tasks: list[Any] = []
        self.cancelled: list[Any] = []
        self.options: dict[str, Any] = {}

    def is_initialized(self) -> bool:
        return False

    def init(self) -> None:
        self.options["init"] = True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 1.0}

    def remote(self, **options: Any) -> Any:
        self.options |= options

        def decorate(function: Any) -> Any:
            def start(unit: Any) -> Any:
                self.tasks.append(unit)
                return lambda: function(unit)

            return SimpleNamespace(remote=start)

        return decorate

    def wait(self, running: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        self.most = max(getattr(self, "most", 0), len(running))
        return running[:num_returns], running[num_returns:]

    def get(self, reference: Any) -> Any:
        return reference()

    def cancel(self, reference: Any) -> None:
        self.cancelled.append(reference)


def test_feature_ray_does_the_same_units(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    manifest = prepare_videos(folder, tmp_path / "ray", SMALL, run=executor("ray"), detector=ActorDetector)
    assert manifest == prepare_videos(folder, tmp_path / "here", SMALL, run=HERE, detector=ActorDetector)
    assert [unit.name for unit in ray.tasks] == ["train/00000.tar", "train/00001.tar", "train/00002.tar"]
    assert (ray.most, ray.options) == (2, {"init": True, "num_cpus": 1})
    one, two = ([shard.read_bytes() for shard in find_shards(tmp_path / name)] for name in ("ray", "here"))
    assert one == two


def test_exception_of_a_ray_task_cancels_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(ConfigError, match="unit 0 is odd"):
        list(executor("ray")(fail, range(5)))
    assert len(ray.cancelled) == 1


def test_exception_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'latent-reenact\[ray\]'"):
        executor("ray")


def test_feature_plan_says_what_comes(folder: Path, tmp_path: Path) -> None:
    summary = plan_videos(folder, tmp_path / "out", VideoConfig(val=0, test=0)).summary()
    assert summary["people"] == {"train": 3, "val": 0, "test": 0}
    assert (summary["clips"], summary["samples"], summary["shards"], summary["shards_done"]) == (7, 70, 3, 0)
    assert 70 * 20_000 < summary["needed_bytes"] == summary["missing_bytes"] < 70 * 60_000
    assert summary["fits"]
    assert not (tmp_path / "out").exists()
    people = VideoConfig(val=0, test=0, size=32)
    prepare_videos(folder, tmp_path / "out", people, run=HERE, detector=ActorDetector)
    done = plan_videos(folder, tmp_path / "out", people).summary()
    assert (done["shards_done"], done["missing_bytes"]) == (3, 0)


def test_exception_disk_too_small(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_free_bytes", lambda out: 1000)
    plan = plan_videos(folder, tmp_path / "out", SMALL, ActorDetector)
    assert not plan.summary()["fits"]
    with pytest.raises(OutputError, match="1,000 bytes free"):
        carry_out(plan, HERE)
    assert not (tmp_path / "out").exists()


def test_exception_folder_of_another_plan(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_videos(folder, out, SMALL, run=HERE, detector=ActorDetector)
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    with pytest.raises(UsageError, match="made from other data or settings"):
        prepare_videos(folder, out, VideoConfig(size=16, val=0, test=0), run=HERE, detector=ActorDetector)
    stranger = out / "train" / "00007.tar"
    stranger.touch()
    with pytest.raises(UsageError, match=r"00007\.tar is not part of this plan"):
        prepare_videos(folder, out, SMALL, run=HERE, detector=ActorDetector)
    stranger.unlink()
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clips": 0}, "clips, frames: got 0 and 10"),
        ({"every_s": 0.0}, "every_s: got 0.0"),
        ({"max_yaw_deg": float("nan")}, "max_yaw_deg: got nan"),
        ({"size": 8}, "size: got 8"),
    ],
)
def test_exception_config(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VideoConfig(**settings)


def test_exception_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no videos in"):
        prepare_videos(tmp_path, tmp_path / "out", run=HERE)
    with pytest.raises(ConfigError, match="is not a folder"):
        prepare_videos(tmp_path / "none", tmp_path / "out", run=HERE)
    for shares in ((0.6, 0.5), (-0.1, 0), (0, 3), (float("nan"), 0)):
        with pytest.raises(ConfigError, match="val, test: got"):
            split_people(["a", "b", "c"], *shares)
    with pytest.raises(UsageError, match="cluster: got 'slurm'"):
        executor("slurm")  # type: ignore[arg-type]


@pytest.mark.slow
def test_feature_real_detector_on_the_sample_clip(tmp_path: Path) -> None:
    """Every frame of the package's clip has a face, and dlib finds it again where the landmarks say."""
    from latent_reenact.face import DlibDetector, alignment_from_landmarks, head_pose

    samples = Path(__file__).parents[2] / "latent_reenact" / "samples"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "driving.mp4").write_bytes((samples / "driving.mp4").read_bytes())
    config = VideoConfig(frames=4, every_s=0.3, framing=1.12, val=0, test=0)
    manifest = prepare_videos(tmp_path / "in", tmp_path / "out", config, run=HERE)
    assert manifest["splits"]["train"]["samples"] == 4
    assert manifest["dropped"] == {}
    index = read_index(find_shards(tmp_path / "out")[0])
    for raw in read_raw(index.path, 0, int(index.offsets[-1])):
        face = decode(raw)
        assert face.picture.shape == (256, 256, 3)
        (found,) = DlibDetector().detect(face.picture)
        assert np.abs(found.landmarks - face.landmarks)[17:].mean() < 3
        assert head_pose(face.landmarks).yaw_deg == pytest.approx(face.pose_deg[0], abs=0.1)
        again = alignment_from_landmarks(face.landmarks, scale=1.12)
        assert landmarks_to_aligned(face.landmarks, again, 256) == pytest.approx(face.landmarks, abs=0.1)

"""Endless batches out of shards: each sample once an epoch, exact to resume, and nothing broken stops them."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from test_shards import sample

from latent_reenact.errors import ConfigError, CorruptFileError
from latent_reenact.media.shards import index_path
from latent_reenact.training.shards import reading
from latent_reenact.training.shards.format import clip_of, person_of, read_index, write_shard
from latent_reenact.training.shards.order import Order, chunk_starts
from latent_reenact.training.shards.stream import PictureStream, stream, stream_clips


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> list[Path]:
    """Three shards of four people, with two clips of three frames each: 72 samples."""
    folder = tmp_path_factory.mktemp("shards")
    for s in range(3):
        keys = itertools.product(range(4), "ab", range(3))
        write_shard(folder / f"{s}.tar", [sample(f"p{s}{person}", clip, frame) for person, clip, frame in keys])
    return sorted(folder.glob("*.tar"))


def keys_of(batches, count: int) -> list[tuple[str, ...]]:
    return [next(batches).keys for _ in range(count)]


def damaged(shards: list[Path], folder: Path, keys: set[str]) -> list[Path]:
    """Copies in which the pictures of some samples are spoilt."""
    copies = []
    for shard in shards:
        copy = folder / shard.name
        index, content = read_index(shard), bytearray(shard.read_bytes())
        for key, start in zip(index.keys, index.offsets, strict=False):
            if key in keys:
                content[start + 512 + 40 : start + 512 + 60] = bytes(20)
        copy.write_bytes(content)
        index_path(copy).write_bytes(index_path(shard).read_bytes())
        copies.append(copy)
    return copies


def test_shapes(shards: list[Path]) -> None:
    batch = next(stream(shards, seed=1, batch=5))
    assert batch.images.shape == (5, 3, 16, 16)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.landmarks.shape == (5, 68, 2)
    assert batch.pose_deg.shape == (5, 3)
    assert (len(batch.keys), len(batch.people), batch.z) == (5, 5, None)
    assert batch.pictures().min() >= -1
    assert batch.pictures().max() <= 1
    assert next(stream(shards, seed=1, batch=2, resolution=8)).images.shape == (2, 3, 8, 8)


def test_feature_samples_and_annotations_stay_together(shards: list[Path]) -> None:
    batch = next(stream(shards, seed=1, batch=20))
    for key, person, image in zip(batch.keys, batch.people, batch.images, strict=True):
        assert person == person_of(key)
        raw = sample(person, clip_of(key).rpartition("/")[2], int(key[-4:]))
        expected = reading.decode({"__key__": key, "png": raw.picture, "json": raw.members()["json"]})
        assert np.array_equal(image.permute(1, 2, 0), expected.picture)


def test_feature_every_sample_once_an_epoch(shards: list[Path]) -> None:
    batches = stream(shards, seed=3, batch=8)
    epochs = [[key for keys in keys_of(batches, 9) for key in keys] for _ in range(3)]
    assert all(sorted(epoch) == sorted(epochs[0]) and len(set(epoch)) == 72 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != sorted(epochs[0])


def test_feature_ranks_share_an_epoch(shards: list[Path]) -> None:
    drawn = [keys_of(stream(shards, seed=3, batch=1, rank=r, world_size=3), 24) for r in range(3)]
    assert len({key for rank in drawn for (key,) in rank}) == 72


def test_feature_seed_changes_the_order_and_nothing_else_does(shards: list[Path]) -> None:
    first = keys_of(stream(shards, seed=1, batch=4), 6)
    assert keys_of(stream(reversed(shards), seed=1, batch=4), 6) == first
    assert keys_of(stream(shards, seed=2, batch=4), 6) != first


@pytest.mark.parametrize("world_size", [1, 2])
def test_feature_resumed_stream_goes_on_exactly(shards: list[Path], world_size: int) -> None:
    options = {"seed": 5, "batch": 5, "rank": world_size - 1, "world_size": world_size}
    unbroken = keys_of(stream(shards, **options), 40)  # more than two epochs
    for start in (1, 7, 15, 29):
        assert keys_of(stream(shards, start=start, **options), 5) == unbroken[start : start + 5]


def test_feature_workers_in_turn_give_the_same_at_any_start(shards: list[Path]) -> None:
    unbroken = keys_of(stream(shards, seed=5, batch=3, workers=2), 20)
    assert keys_of(stream(shards, seed=5, batch=3, workers=2, start=7), 13) == unbroken[7:]
    assert keys_of(stream(shards, seed=5, batch=3, workers=2, start=8), 12) == unbroken[8:]
    assert len({key for keys in unbroken for key in keys}) > 50


def test_feature_workers_can_start_after_opencv_has_threads(shards: list[Path]) -> None:
    """They are forked, and a fork has none of the threads that OpenCV would wait for."""
    cv2 = pytest.importorskip("cv2")
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    cv2.GaussianBlur(np.zeros((2048, 2048, 3), np.uint8), (0, 0), 5)
    batch = next(stream(shards, seed=5, batch=3, workers=1, resolution=8))
    cv2.setNumThreads(before)
    assert batch.keys == next(stream(shards, seed=5, batch=3, resolution=8)).keys


def test_feature_getting_to_the_start_decodes_nothing(shards: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    original = reading._picture
    monkeypatch.setattr(reading, "_picture", lambda raw, r: decoded.append(raw["__key__"]) or original(raw, r))
    keys = next(stream(shards, seed=5, batch=3, start=1000)).keys
    assert tuple(decoded) == keys


def test_feature_unreadable_samples_are_replaced_and_counted(shards: list[Path], tmp_path: Path) -> None:
    bad = {"p00/a/0000", "p13/b/0002", "p22/a/0001"}
    copies = damaged(shards, tmp_path, bad)
    batches = stream(copies, seed=5, batch=8)
    epoch = [key for keys in keys_of(batches, 9) for key in keys]
    assert not bad & set(epoch)
    assert len(epoch) == 72
    assert batches.skipped["unreadable_samples"] == 3
    assert any("p13/b/0002 cannot be decoded" in problem for problem in batches.problems)
    resumed = [key for keys in keys_of(stream(copies, seed=5, batch=8, start=4), 5) for key in keys]
    assert resumed == epoch[32:]
    whole = [key for keys in keys_of(stream(shards, seed=5, batch=8), 9) for key in keys]
    assert all(a == b for a, b in zip(whole, epoch, strict=True) if a not in bad)


def test_feature_counts_come_back_from_workers(shards: list[Path], tmp_path: Path) -> None:
    batches = stream(damaged(shards, tmp_path, {f"p0{i}/a/0000" for i in range(4)}), seed=5, batch=6, workers=2)
    keys_of(batches, 20)
    assert batches.skipped["unreadable_samples"] >= 3


def test_feature_cut_shard_is_counted_and_used(shards: list[Path], tmp_path: Path) -> None:
    copies = damaged(shards, tmp_path, set())
    offsets = read_index(shards[1]).offsets
    copies[1].write_bytes(shards[1].read_bytes()[: offsets[10] + 600])
    copies[2].write_bytes(b"")
    batches = stream(copies, seed=1, batch=2)
    drawn = {key for keys in keys_of(batches, 17) for key in keys}
    assert drawn == {*read_index(shards[0]).keys, *read_index(shards[1]).keys[:10]}
    assert batches.skipped == {"truncated_shards": 2, "unreadable_samples": 0}


def test_feature_shard_cut_behind_its_index(shards: list[Path], tmp_path: Path) -> None:
    """Bytes that vanish while a run reads: what is left still comes."""
    copies = damaged(shards, tmp_path, set())
    batches = stream(copies, seed=1, batch=2)
    copies[0].write_bytes(shards[0].read_bytes()[: read_index(shards[0]).offsets[12]])
    drawn = {key for keys in keys_of(batches, 36) for key in keys}
    assert not set(read_index(shards[0]).keys[12:]) & drawn
    assert batches.skipped["unreadable_samples"] >= 12


def test_feature_clips_are_two_frames_each_of_two_people(shards: list[Path]) -> None:
    clips = stream_clips(shards, seed=2, batch=4)
    first: Counter[str] = Counter()
    for _ in range(6):  # 24 clips: an epoch
        step = next(clips)
        assert step.driving_a.images.shape == (4, 3, 16, 16)
        for a, b, c, d in zip(*(part.keys for part in vars(step).values()), strict=True):
            assert clip_of(a) == clip_of(b)
            assert clip_of(c) == clip_of(d)
            assert a != b
            assert c != d
            assert person_of(a) != person_of(c)
            first[clip_of(a)] += 1
    assert len(first) == 24
    unbroken = [step.keys for step in itertools.islice(stream_clips(shards, seed=2, batch=4), 20)]
    assert next(stream_clips(shards, seed=2, batch=4, start=17)).keys == unbroken[17]


def test_feature_clips_survive_unreadable_frames(shards: list[Path], tmp_path: Path) -> None:
    """A clip with one frame left is replaced, as A and as R."""
    copies = damaged(shards, tmp_path, {"p00/a/0000", "p00/a/0001", "p11/b/0000"})
    clips = stream_clips(copies, seed=2, batch=4)
    for step in itertools.islice(clips, 12):
        assert not any(key.startswith("p00/a/") for key in step.keys)
        assert all(person_of(a) != person_of(r) for a, r in zip(step.driving_a.keys, step.driving_r.keys, strict=True))
    assert clips.skipped["unreadable_samples"] > 0


def test_feature_picture_stream(shards: list[Path]) -> None:
    pictures = PictureStream(stream(shards, seed=4, batch=3))
    image = pictures.pictures(torch.Generator(), 3)
    assert image.shape == (3, 3, 16, 16)
    assert image.dtype == torch.float32
    assert pictures.keys == next(stream(shards, seed=4, batch=3)).keys
    with pytest.raises(ConfigError, match="opened for batches of 3, got 4"):
        pictures.pictures(torch.Generator(), 4)


def test_feature_order_needs_no_shards() -> None:
    """Skipping is the same as walking, for every reader, and windows mix shards."""
    shard = np.repeat(np.arange(5), 300)
    starts = chunk_starts(shard, largest=40, readers=4)
    assert np.diff(starts).max() <= 40
    assert set(range(0, 1501, 300)) <= set(starts.tolist())
    seen = set()
    for reader in range(4):
        order = Order(starts, 7, reader, 4)
        walked = [u for w in itertools.islice(order.windows(0), 6) for u in w.units[w.first :]]
        skipped = next(order.windows(333))
        assert skipped.units[skipped.first] == walked[333]
        epoch = [
            unit for window in itertools.takewhile(lambda w: w.epoch == 0, order.windows(0)) for unit in window.units
        ]
        seen |= set(epoch)
    assert seen == set(range(1500))
    assert len(set(shard[next(Order(starts, 7, 0, 4).windows(0)).units])) > 1


def test_exception_too_few_samples(shards: list[Path]) -> None:
    with pytest.raises(ConfigError, match="got 72 samples or clips for 80 readers"):
        stream(shards, seed=0, batch=1, world_size=10, workers=8)
    with pytest.raises(ConfigError, match="got no shards"):
        stream([], seed=0, batch=1)
    with pytest.raises(ConfigError, match="rank 2 of 2"):
        stream(shards, seed=0, batch=1, rank=2, world_size=2)


def test_exception_nothing_readable(shards: list[Path], tmp_path: Path) -> None:
    keys = {key for shard in shards for key in read_index(shard).keys}
    with pytest.raises(CorruptFileError, match="samples in a row can be read"):
        next(stream(damaged(shards, tmp_path, keys), seed=0, batch=1))
    (tmp_path / "empty.tar").write_bytes(b"")
    with pytest.raises(CorruptFileError, match="no samples in 1 shards"):
        stream([tmp_path / "empty.tar"], seed=0, batch=1)


def test_exception_clips_of_one_person(tmp_path: Path) -> None:
    one = [write_shard(tmp_path / "0.tar", [sample(frame=i) for i in range(3)]).path]
    with pytest.raises(ConfigError, match="fewer than two people"):
        stream_clips(one, seed=0, batch=1)
    single = [write_shard(tmp_path / "1.tar", [sample(f"p{i}") for i in range(3)]).path]
    with pytest.raises(ConfigError, match="no clip in the shards has two frames"):
        stream_clips(single, seed=0, batch=1)

"""Shards on disk: what goes in comes out, the same bytes each time, whole or not at all."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latent_reenact.errors import ConfigError, CorruptFileError
from latent_reenact.media.shards import index_path
from latent_reenact.training.shards.format import (
    Sample,
    ShardWriter,
    clip_of,
    find_shards,
    person_of,
    read_index,
    write_shard,
)
from latent_reenact.training.shards.reading import decode, read_raw


def sample(person: str = "ann", clip: str = "0", frame: int = 0, *, suffix: str = "png", z=None) -> Sample:
    picture = np.random.default_rng([frame, *person.encode()]).integers(0, 256, (16, 16, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, {"png": "PNG", "jpg": "JPEG"}[suffix])
    return Sample(
        person=person,
        clip=clip,
        frame=frame,
        picture=buffer.getvalue(),
        suffix=suffix,
        time_s=frame / 2,
        landmarks=np.arange(136.0).reshape(68, 2) / 10,
        pose_deg=(10.0, -5.0, 0.5),
        z=z,
    )


def everything(shard: Path) -> list:
    return list(read_raw(shard, 0, int(read_index(shard).offsets[-1])))


def test_smoke(tmp_path: Path) -> None:
    z = np.linspace(-1, 1, 7)
    index = write_shard(tmp_path / "0.tar", [sample(frame=3, z=z), sample("bob", "x", suffix="jpg")])
    assert index.keys == ("ann/0/0003", "bob/x/0000")
    first, second = map(decode, everything(tmp_path / "0.tar"))
    assert np.array_equal(first.picture, np.asarray(Image.open(io.BytesIO(sample(frame=3).picture))))
    assert np.allclose(first.landmarks, sample().landmarks)
    assert first.pose_deg.tolist() == [10, -5, 0.5]
    assert np.array_equal(first.z, z)
    assert (second.person, second.z) == ("bob", None)


def test_feature_members_follow_the_documented_layout(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", [sample(frame=2, z=np.zeros(3))])
    with tarfile.open(tmp_path / "0.tar") as tar:
        assert tar.getnames() == ["ann/0/0002.png", "ann/0/0002.json", "ann/0/0002.npy"]
        truth = json.load(tar.extractfile("ann/0/0002.json"))
    assert truth.keys() == {"person", "clip", "time_s", "landmarks", "yaw_deg", "pitch_deg", "roll_deg"}
    assert (truth["person"], truth["clip"], truth["time_s"], truth["yaw_deg"]) == ("ann", "0", 1.0, 10.0)
    assert np.shape(truth["landmarks"]) == (68, 2)


def test_feature_same_samples_same_bytes(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_shard(tmp_path / name, [sample(frame=i) for i in range(3)], unit="u")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert index_path(tmp_path / "a.tar").read_bytes() == index_path(tmp_path / "b.tar").read_bytes()


def test_feature_index_beside_the_shard_equals_a_scan(tmp_path: Path) -> None:
    long_name = "p" * 90  # needs an extended header
    written = write_shard(tmp_path / "0.tar", [sample(long_name, frame=i, z=np.zeros(2)) for i in range(4)])
    index_path(tmp_path / "0.tar").unlink()
    scanned = read_index(tmp_path / "0.tar")
    assert scanned.keys == written.keys
    assert np.array_equal(scanned.offsets, written.offsets)
    assert scanned.truncated is None


def test_feature_any_sample_can_be_read_by_its_bytes(tmp_path: Path) -> None:
    index = write_shard(tmp_path / "0.tar", [sample(frame=i) for i in range(5)])
    for i, key in enumerate(index.keys):
        assert [raw["__key__"] for raw in read_raw(index.path, *index.offsets[i : i + 2])] == [key]


def test_feature_webdataset_reads_them(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    write_shard(tmp_path / "0.tar", [sample(frame=i) for i in range(3)])
    items = list(webdataset.WebDataset(str(tmp_path / "0.tar"), shardshuffle=False).decode("rgb8"))
    assert [item["__key__"] for item in items] == [f"ann/0/000{i}" for i in range(3)]
    assert items[0]["png"].shape == (16, 16, 3)


def test_feature_failed_shard_leaves_nothing(tmp_path: Path) -> None:
    def samples():
        yield sample()
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_shard(tmp_path / "0.tar", samples())
    assert list(tmp_path.iterdir()) == []


def test_feature_cut_shard_gives_what_it_holds(tmp_path: Path) -> None:
    index = write_shard(tmp_path / "0.tar", [sample(frame=i) for i in range(5)])
    content = index.path.read_bytes()
    index.path.write_bytes(content[: int(index.offsets[3]) + 700])  # in the fourth picture
    cut = read_index(index.path)
    assert cut.keys == index.keys[:3]
    assert "unexpected end" in cut.truncated
    damaged = bytearray(content)
    damaged[int(index.offsets[2]) + 20] ^= 255  # in a header
    index_path(index.path).unlink()
    index.path.write_bytes(damaged)
    assert read_index(index.path).keys == index.keys[:2]
    assert "no end of the archive after 2" in read_index(index.path).truncated
    index.path.write_bytes(b"not a tar file at all" * 100)
    assert (len(read_index(index.path)), read_index(index.path).truncated is None) == (0, False)


def test_feature_counts_are_kept_beside_the_shard(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "0.tar", unit="abc") as shard:
        shard.add(sample())
        shard.dropped["no face"] += 2
        shard.failures.append("x.mp4 is cut off")
    index = json.loads((tmp_path / "0.json").read_text())
    assert (index["unit"], index["samples"], index["dropped"]) == ("abc", 1, {"no face": 2})
    assert index["failures"] == ["x.mp4 is cut off"]


def test_feature_pictures_are_averaged_and_landmarks_follow(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", [sample()])
    (raw,) = everything(tmp_path / "0.tar")
    full, half = decode(raw), decode(raw, 8)
    blocks = full.picture.reshape(8, 2, 8, 2, 3).mean((1, 3))
    assert np.abs(half.picture - blocks).max() <= 0.51
    assert np.allclose((half.landmarks + 0.5) * 2, full.landmarks + 0.5, atol=1e-5)
    odd = decode(raw, 10)  # no whole number of pixels to one
    assert odd.picture.shape == (10, 10, 3)
    assert np.allclose((odd.landmarks + 0.5) * 1.6, full.landmarks + 0.5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"png": b"\x89PNG\r\n\x1a\n cut"}, "cannot be decoded"),
        ({"png": None}, "no picture"),
        ({"json": None}, "no json"),
        ({"json": b'{"person": "ann"}'}, "no landmarks"),
        (
            {"json": b'{"person": "ann", "landmarks": [[1, 2]], "yaw_deg": 0, "pitch_deg": 0, "roll_deg": 0}'},
            r"\[1, 2\]",
        ),
        ({"npy": b"junk"}, "cannot be decoded"),
    ],
)
def test_exception_unreadable_samples(tmp_path: Path, change: dict, message: str) -> None:
    write_shard(tmp_path / "0.tar", [sample()])
    (raw,) = everything(tmp_path / "0.tar")
    raw = {name: value for name, value in (raw | change).items() if value is not None}
    with pytest.raises(CorruptFileError, match=message):
        decode(raw)


def test_exception_picture_of_another_shape(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12)).save(buffer, "PNG")
    write_shard(tmp_path / "0.tar", [sample()])
    (raw,) = everything(tmp_path / "0.tar")
    with pytest.raises(CorruptFileError, match="16 x 12, not a square"):
        decode(raw | {"png": buffer.getvalue()})
    with pytest.raises(CorruptFileError, match="16 px, 32 are asked for"):
        decode(raw, 32)


def test_exception_damaged_shard_read_strictly(tmp_path: Path) -> None:
    index = write_shard(tmp_path / "0.tar", [sample(frame=i) for i in range(2)])
    index.path.write_bytes(index.path.read_bytes()[: int(index.offsets[1]) + 700])
    with pytest.raises(CorruptFileError, match="damaged or cut off"):
        list(read_raw(index.path, 0, int(index.offsets[-1])))


def test_exception_key_twice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two samples 'ann/0/0000'"):
        write_shard(tmp_path / "0.tar", [sample(), sample()])
    assert list(tmp_path.iterdir()) == []


def test_exception_no_shards(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no shards"):
        find_shards(tmp_path)
    write_shard(tmp_path / "val" / "00000.tar", [sample()])
    assert find_shards(tmp_path, "val") == [tmp_path / "val" / "00000.tar"]


def test_feature_parts_of_a_key() -> None:
    assert (clip_of("ann/x/0003"), person_of("ann/x/0003")) == ("ann/x", "ann")

"""The latent system at toy size: what it promises whatever its weights."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from latent_reenact.editing import sample_identity
from latent_reenact.errors import ConfigError, CorruptFileError, NoFaceError, UsageError
from latent_reenact.media import read_provenance
from latent_reenact.systems import Identity


@pytest.fixture(scope="module")
def reenactor():
    return tiny.reenactor()


@pytest.fixture(scope="module")
def identity(reenactor):
    return reenactor.identity(tiny.picture(1))


def test_smoke(reenactor, identity, tmp_path) -> None:
    result = reenactor(identity, tiny.picture(2))
    assert result.image.shape == (32, 32, 3)
    assert result.image.dtype == np.uint8
    result.save(tmp_path / "out.png")
    mark = read_provenance(tmp_path / "out.png")
    assert mark is not None
    assert mark.model == "tiny"


def test_shapes(identity) -> None:
    assert identity.w_plus.shape == (tiny.L, tiny.D)
    assert identity.motion.shape == (tiny.L, tiny.N)
    assert identity.picture.shape == identity.reconstruction.shape == (32, 32, 3)


def test_feature_stream_equals_one_by_one(reenactor, identity) -> None:
    frames = [tiny.picture(seed, 32) for seed in range(5)]
    streamed = list(reenactor.stream(identity, frames, aligned=True, batch=2))
    assert len(streamed) == 5
    for frame, result in zip(frames, streamed, strict=True):
        single = reenactor(identity, frame, aligned=True)
        assert np.abs(result.image.astype(int) - single.image).max() <= 2  # videos have a synthesis of their own
        np.testing.assert_allclose(result.motion, single.motion, atol=1e-4)


def test_feature_same_result_twice(reenactor, identity) -> None:
    first, second = (reenactor(identity, tiny.picture(3)) for _ in range(2))
    assert np.array_equal(first.image, second.image)


def test_feature_threads_and_batch_do_not_matter(reenactor, identity) -> None:
    frames = [tiny.picture(seed, 32) for seed in range(8)]
    runs = []
    threads = torch.get_num_threads()
    try:
        for count, batch in ((1, 1), (2, 8)):
            torch.set_num_threads(count)
            runs.append([r.w_plus for r in reenactor.stream(identity, frames, aligned=True, batch=batch)])
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(runs[0], runs[1], atol=1e-5)


def test_feature_relative_motion_starts_at_the_identitys_own(reenactor, identity) -> None:
    frames = [tiny.picture(seed) for seed in range(3)]
    first, *rest = reenactor.stream(identity, frames, relative=True, smoothing="none")
    np.testing.assert_allclose(first.motion, identity.motion, atol=1e-5)
    assert not np.allclose(rest[0].motion, identity.motion)


def test_feature_frames_without_a_face_hold_the_last_motion(reenactor, identity) -> None:
    frames = [tiny.picture(0), np.zeros((64, 64, 3), np.uint8), tiny.picture(1)]
    results = list(reenactor.stream(identity, frames, smoothing="none"))
    assert [r.driving_face.found for r in results] == [True, False, True]
    assert np.array_equal(results[0].motion, results[1].motion)
    assert not np.array_equal(results[1].motion, results[2].motion)


def test_feature_pose_without_controls_is_the_identity_itself(reenactor, identity) -> None:
    np.testing.assert_allclose(reenactor.pose(identity).motion, identity.motion, atol=1e-5)
    assert not np.allclose(reenactor.pose(identity, yaw_deg=20).motion, identity.motion)


def test_feature_identity_survives_a_file(identity, reenactor, tmp_path) -> None:
    identity.save(tmp_path / "person.safetensors")
    loaded = Identity.load(tmp_path / "person.safetensors")
    assert loaded.model == "tiny"
    for name in ("w_plus", "motion", "picture", "reconstruction"):
        assert np.array_equal(getattr(loaded, name), getattr(identity, name))
    assert np.array_equal(reenactor(loaded, tiny.picture(2)).image, reenactor(identity, tiny.picture(2)).image)


def test_feature_identity_is_immutable(identity) -> None:
    with pytest.raises(ValueError, match="read-only"):
        identity.w_plus[0] = 0


def test_feature_aligned_input_needs_no_face(reenactor) -> None:
    black = np.zeros((48, 48, 3), np.uint8)
    identity = reenactor.identity(black, aligned=True)
    assert reenactor(identity, black, aligned=True).driving_face is None


def test_feature_sampled_identities_come_through_the_inversion(reenactor) -> None:
    first, again, other = sample_identity(reenactor, 1), sample_identity(reenactor, 1), sample_identity(reenactor, 2)
    assert np.array_equal(first.w_plus, again.w_plus)
    assert not np.array_equal(first.w_plus, other.w_plus)
    images = torch.tensor(first.picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    inverted = reenactor.networks.inversion.invert(images)[0].numpy()
    np.testing.assert_allclose(first.w_plus, inverted, atol=1e-4)


def test_exception_no_face(reenactor) -> None:
    with pytest.raises(NoFaceError):
        reenactor.identity(np.zeros((64, 64, 3), np.uint8))


def test_exception_unknown_control(reenactor, identity) -> None:
    with pytest.raises(ConfigError, match="unknown control 'wink'"):
        reenactor.pose(identity, wink=1)


def test_exception_identity_of_another_model(reenactor, identity) -> None:
    other = Identity(identity.w_plus, identity.motion, identity.picture, identity.reconstruction, "another")
    with pytest.raises(UsageError, match="invert the picture again"):
        reenactor(other, tiny.picture(2))


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 64])
def test_exception_broken_identity_file(content, tmp_path) -> None:
    path = tmp_path / "person.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError):
        Identity.load(path)


def test_exception_missing_identity_file(tmp_path) -> None:
    with pytest.raises(CorruptFileError, match="No such file"):
        Identity.load(tmp_path / "nobody.safetensors")

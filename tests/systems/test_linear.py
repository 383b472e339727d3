"""The linear baseline at toy size: the thesis's formula, clip in, clip out."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from latent_reenact.errors import ConfigError, NoFaceError, UsageError, WeightsNotFoundError
from latent_reenact.face import align
from latent_reenact.media import VideoReader, VideoWriter, write_image
from latent_reenact.models import EncoderConfig, ReStyleEncoder, StyleEncoder, save_networks
from latent_reenact.models.pixels import from_pixels
from latent_reenact.systems import Identity, LinearReenactor, jobs, load
from latent_reenact.systems.names import named, reads_clips

BLACK = np.zeros((64, 64, 3), np.uint8)
E4E = EncoderConfig(kind="gradual", input_channels=6, input_size=32, n_styles=tiny.L, w_dim=tiny.D, body=tiny.BODY)


def clip(first: int, count: int = 3, size: int = 64) -> list[np.ndarray]:
    return [tiny.picture(seed, size) for seed in range(first, first + count)]


def tensors(frames: list[np.ndarray]) -> torch.Tensor:
    return from_pixels(torch.tensor(np.stack(frames)).permute(0, 3, 1, 2))


def linear(**options) -> LinearReenactor:
    return LinearReenactor(tiny.networks().inversion, name="linear-tiny", detector=tiny.CentreDetector(), **options)


@pytest.fixture(scope="module")
def reenactor() -> LinearReenactor:
    return linear(batch=2)


@pytest.fixture(scope="module")
def identity(reenactor) -> Identity:
    return reenactor.identity(clip(10))


def test_smoke(reenactor, identity) -> None:
    results = list(reenactor.stream(identity, clip(20, 5), batch=2))
    assert [r.image.shape for r in results] == [(32, 32, 3)] * 5
    assert results[0].model == "linear-tiny"
    assert not np.array_equal(results[0].image, results[1].image)
    assert all(r.driving_face.found for r in results)


def test_shapes(identity) -> None:
    assert identity.w_plus.shape == identity.motion.shape == (tiny.L, tiny.D)
    assert identity.picture.shape == identity.reconstruction.shape == (32, 32, 3)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_feature_the_formula(alpha) -> None:
    """z = z_R + α (z_A1 - z_A0), means over all frames and their mirror images."""
    reenactor = linear(batch=2, alpha=alpha)
    person, driving = clip(10, size=32), clip(20, 5, size=32)
    results = list(reenactor.stream(reenactor.identity(person, aligned=True), driving, aligned=True))
    invert = reenactor.inversion.invert
    z_r, z_a0 = (invert(torch.cat([tensors(f), tensors(f).flip(3)])).mean(0) for f in (person, driving))
    expected = z_r + alpha * (invert(tensors(driving)) - z_a0)
    np.testing.assert_allclose([r.w_plus for r in results], expected.numpy(), atol=1e-4)


def test_feature_a_mirrored_clip_has_the_same_identity(reenactor) -> None:
    frames = clip(10, size=32)
    one = reenactor.identity(frames, aligned=True)
    other = reenactor.identity([np.ascontiguousarray(f[:, ::-1]) for f in frames], aligned=True)
    np.testing.assert_allclose(one.w_plus, other.w_plus, atol=1e-5)


def test_feature_relative_motion_starts_at_the_identitys_first_frame(reenactor) -> None:
    frames = clip(10, size=32)
    identity = reenactor.identity(frames, aligned=True)
    first, *_ = reenactor.stream(identity, clip(20, size=32), aligned=True, relative=True)
    np.testing.assert_allclose(first.w_plus, reenactor.inversion.invert(tensors(frames[:1]))[0].numpy(), atol=1e-4)


def test_feature_frames_without_a_face_hold_the_last_motion_and_do_not_count(reenactor, identity) -> None:
    a, b = clip(20, 2)
    results = list(reenactor.stream(identity, [a, BLACK, b], smoothing="none"))
    assert [r.driving_face.found for r in results] == [True, False, True]
    assert np.array_equal(results[0].motion, results[1].motion)
    faces = [r.driving_face for r in results if r.driving_face.found]
    crops = tensors([align(face.image, face.alignment, 32) for face in faces])
    invert = reenactor.inversion.invert
    expected = invert(crops) - invert(torch.cat([crops, crops.flip(3)])).mean(0)
    np.testing.assert_allclose([results[0].motion, results[2].motion], expected.numpy(), atol=1e-4)


def test_feature_files_readers_arrays_and_generators_are_one(reenactor, identity, tmp_path) -> None:
    path = tmp_path / "talk.mp4"
    with VideoWriter(path, fps=25) as out:
        for frame in clip(20, 4):
            out.write(frame)
    frames = list(VideoReader(path))
    ways = (path, str(path), VideoReader(path), np.stack(frames), frames, iter(frames))
    runs = [[r.w_plus for r in reenactor.stream(identity, way)] for way in ways]
    assert all(np.array_equal(runs[0], run) for run in runs)
    people = [reenactor.identity(way).w_plus for way in (path, frames, iter(frames))]
    assert all(np.array_equal(people[0], person) for person in people)


def test_feature_mean_every_counts_fewer_frames() -> None:
    frames = clip(10, 4, size=32)
    sparse = linear(mean_every=2, batch=3).identity(frames, aligned=True)
    np.testing.assert_allclose(sparse.w_plus, linear().identity(frames[::2], aligned=True).w_plus, atol=1e-5)


def test_feature_loads_from_any_folder_with_an_inversion(tmp_path) -> None:
    """Both inversions: a pSp-style encoder in a model of another system, an e4e-style one in a folder of its own."""
    networks = tiny.networks()
    pair = {"generator": networks.generator, "inversion": networks.inversion}
    save_networks(tmp_path / "psp", pair, {**tiny.ABOUT, "name": "psp", "system": None})
    e4e = {**pair, "inversion": ReStyleEncoder(StyleEncoder(E4E), networks.generator, steps=2)}
    save_networks(tmp_path / "e4e", e4e, {**tiny.ABOUT, "name": "e4e", "system": "linear"})
    psp, own = load(tmp_path / "psp", device="cpu", system="linear"), load(tmp_path / "e4e", device="cpu")
    assert (psp.name, own.name) == ("linear-psp", "e4e")
    for system in (psp, own):
        assert system.framing == tiny.ABOUT["framing"]
        person = system.identity(clip(10, size=32), aligned=True)
        assert len(list(system.stream(person, clip(20, size=32), aligned=True))) == 3


def test_feature_jobs_from_clips_to_a_video(tmp_path) -> None:
    networks = tiny.networks()
    pair = {"generator": networks.generator, "inversion": networks.inversion}
    save_networks(tmp_path / "psp", pair, {**tiny.ABOUT, "name": "psp", "system": None})
    model = f"linear-{tmp_path / 'psp'}"
    for name, first in (("person.mp4", 10), ("talk.mp4", 20)):
        with VideoWriter(tmp_path / name, fps=25) as out:
            for frame in clip(first, 4, size=32):
                out.write(frame)
    options = jobs.ReenactOptions(aligned=True)
    talk, saved = tmp_path / "talk.mp4", tmp_path / "person.safetensors"
    jobs.invert(model, tmp_path / "person.mp4", saved, aligned=True, device="cpu")
    for identity in (tmp_path / "person.mp4", saved):
        report = jobs.reenact(model, identity, talk, tmp_path / "out.mp4", options, device="cpu")
        assert report.frames == len(list(VideoReader(tmp_path / "out.mp4"))) == 4
    write_image(tmp_path / "face.png", tiny.picture(size=32))
    for identity, driving in (("face.png", "talk.mp4"), ("person.mp4", "face.png")):
        result = tmp_path / f"new{tmp_path.joinpath(driving).suffix}"
        with pytest.raises(UsageError, match="give a short clip of each person"):
            jobs.reenact(model, tmp_path / identity, tmp_path / driving, result, options, device="cpu")
        assert not result.exists()


def test_feature_a_models_name_with_linear_before_it(tmp_path) -> None:
    assert (named("linear-builtin").name, named("linear-builtin").system) == ("linear-builtin", "linear")
    assert (named("builtin").name, reads_clips("builtin"), reads_clips("linear-builtin")) == ("builtin", False, True)
    with pytest.raises(WeightsNotFoundError, match="no model 'nothing'"):
        named("linear-nothing")


def test_exception_one_picture(reenactor, identity, tmp_path) -> None:
    path = tmp_path / "face.png"
    write_image(path, tiny.picture())
    for picture in (path, str(path), tiny.picture(), [tiny.picture()], tiny.picture()[None]):
        with pytest.raises(UsageError, match="short clip of each person"):
            reenactor.identity(picture)
        with pytest.raises(UsageError, match="short clip of each person"):
            list(reenactor.stream(identity, picture))
    with pytest.raises(UsageError, match="one driving picture"):
        reenactor(identity, tiny.picture())


def test_exception_clip_without_a_face(reenactor, identity) -> None:
    with pytest.raises(NoFaceError):
        list(reenactor.stream(identity, [BLACK] * 3))


def test_exception_identity_of_another_system(reenactor) -> None:
    """A latent model's identity is no mean over a clip."""
    with pytest.raises(UsageError, match="means over a clip"):
        list(reenactor.stream(tiny.reenactor().identity(tiny.picture()), clip(20)))


def test_exception_no_sliders(reenactor, identity) -> None:
    assert reenactor.controls == ()
    with pytest.raises(ConfigError, match="no sliders"):
        reenactor.pose(identity, yaw_deg=3)


def test_exception_no_inversion(tmp_path) -> None:
    save_networks(tmp_path / "bare", {"generator": tiny.networks().generator}, {**tiny.ABOUT, "system": None})
    with pytest.raises(ConfigError, match="not those of the linear system"):
        load(tmp_path / "bare", device="cpu", system="linear")

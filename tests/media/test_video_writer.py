"""Videos written: every frame, the rate, the length and the sound of the original, or nothing at all."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_samples import audio_packets, audio_seconds, frame_picture, make_video

from latent_reenact.errors import CorruptFileError, OutputError, UsageError
from latent_reenact.media import VideoReader, VideoWriter, probe_video
from latent_reenact.media.clock import FrameClock

SUFFIXES = [".mp4", ".mov", ".mkv", ".webm"]
NTSC = Fraction(30_000, 1001)


def copy(source: Path, out: Path, *, frames: int | None = None, **options) -> VideoWriter:
    with VideoWriter(out, like=source, **options) as writer:
        for index, frame in enumerate(VideoReader(source)):
            if index == frames:
                break
            writer.write(frame)
    return writer


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("fps", [Fraction(25), NTSC, Fraction(24_000, 1001)], ids=str)
def test_smoke_like(tmp_path: Path, suffix: str, fps: Fraction) -> None:
    source = make_video(tmp_path / "in.mp4", frames=20, fps=fps, audio="aac")
    writer = copy(source, tmp_path / f"out{suffix}")
    with VideoReader(tmp_path / f"out{suffix}") as reader:
        times = [t for _, t in reader.iter_timed()]
    assert reader.info.fps == fps
    assert len(times) == writer.frames == 20
    assert np.allclose(times, np.arange(20) / float(fps), atol=0.001)
    assert reader.truncated is None
    if suffix in (".mp4", ".mov"):
        assert (reader.info.frames, reader.info.duration_s) == (20, float(20 / fps))
    assert writer.audio == ("encoded" if suffix == ".webm" else "copied")
    if writer.audio == "copied":
        assert audio_packets(tmp_path / f"out{suffix}") == audio_packets(source)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["in.mp4", f"out{suffix}"])


def test_feature_pictures_survive(tmp_path: Path) -> None:
    picture = frame_picture(7, 128, 96)
    with VideoWriter(tmp_path / "a.mp4", fps=30, crf=10) as writer:
        for _ in range(5):
            writer.write(picture)
    back = list(VideoReader(tmp_path / "a.mp4"))
    assert np.abs(back[3][8:40, 8:56].astype(int) - (220, 20, 20)).max() <= 6  # the colour matrix is the tagged one
    assert np.abs(back[3].astype(int) - picture).mean() < 3


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_feature_variable_rate(tmp_path: Path, suffix: str) -> None:
    times = [Fraction(i * i + 3 * i, 200) for i in range(12)]
    source = make_video(tmp_path / "in.mp4", times_s=times, audio="aac", audio_s=1)
    copy(source, tmp_path / f"out{suffix}")
    written = [t for _, t in VideoReader(tmp_path / f"out{suffix}").iter_timed()]
    assert np.allclose(written, [float(t) for t in times], atol=0.001)
    if suffix == ".mp4":
        assert probe_video(tmp_path / "out.mp4").duration_s >= float(times[-1])


def test_feature_sound_is_cut_with_the_frames(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", frames=50, audio="aac")
    copy(source, tmp_path / "out.mp4", frames=25)
    assert probe_video(tmp_path / "out.mp4").duration_s == 1.0
    assert audio_seconds(tmp_path / "out.mp4")[1] == pytest.approx(1.0, abs=0.03)


def test_feature_long_sound_is_kept_whole(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", frames=25, audio="aac", audio_s=3)
    copy(source, tmp_path / "out.mp4")
    assert audio_packets(tmp_path / "out.mp4") == audio_packets(source)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_feature_sound_stays_in_step(tmp_path: Path, suffix: str) -> None:
    """The sound is from another file; a click-free sine starts with the first frame and ends with the last."""
    make_video(tmp_path / "sound.webm", frames=25, codec="libvpx-vp9", audio="libopus")
    source = make_video(tmp_path / "in.mp4", frames=25)
    copy(source, tmp_path / f"out{suffix}", audio_from=tmp_path / "sound.webm")
    first, last = audio_seconds(tmp_path / f"out{suffix}")
    assert abs(first) < 0.03
    assert last == pytest.approx(1.0, abs=0.05)


def test_feature_odd_sizes_and_one_pixel(tmp_path: Path) -> None:
    for width, height in ((63, 47), (1, 1), (2, 5)):
        for suffix in (".mp4", ".webm"):
            path = tmp_path / f"{width}x{height}{suffix}"
            with VideoWriter(path, fps=10) as writer:
                for index in range(3):
                    writer.write(np.full((height, width, 3), 40 * index, np.uint8))
            info = probe_video(path)
            assert (info.width, info.height) == (width + width % 2, height + height % 2)
            assert len(list(VideoReader(path))) == 3


def test_feature_size_and_forms(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Result:
        image = torch.zeros(3, 32, 32)

    with VideoWriter(tmp_path / "a.mp4", size=(48, 24)) as writer:
        for frame in (frame_picture(0), Result(), torch.zeros(1, 3, 20, 20)):
            writer.write(frame)
    assert {f.shape for f in VideoReader(tmp_path / "a.mp4")} == {(24, 48, 3)}
    assert probe_video(tmp_path / "a.mp4").fps == 25


def test_feature_more_frames_than_like(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", frames=10, audio="aac")
    with VideoWriter(tmp_path / "out.mp4", like=source) as writer:
        for index in range(15):
            writer.write(frame_picture(index))
    assert probe_video(tmp_path / "out.mp4").duration_s == pytest.approx(0.6)


def test_feature_like_rotated_gif_and_damaged_sound(tmp_path: Path) -> None:
    make_video(tmp_path / "a.gif", codec="gif", fps=Fraction(10))
    assert copy(tmp_path / "a.gif", tmp_path / "b.mp4").audio is None
    assert probe_video(tmp_path / "b.mp4").fps == 10
    turned = make_video(tmp_path / "in.mp4", rotation_deg=90)
    copy(turned, tmp_path / "out.mp4")
    info = probe_video(tmp_path / "out.mp4")
    assert (info.width, info.height, info.rotation_deg) == (48, 64, 0)
    noisy = make_video(tmp_path / "noisy.mkv", audio="aac", frames=25)
    data = bytearray(noisy.read_bytes())
    data[-600:-300] = bytes(300)
    noisy.write_bytes(data)
    copy(noisy, tmp_path / "noisy.webm")
    assert len(list(VideoReader(tmp_path / "noisy.webm"))) >= 20


def test_exception_arguments(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.mp4, \.m4v, \.mov, \.mkv, \.webm"):
        VideoWriter(tmp_path / "a.avi")
    for options in ({"fps": 0}, {"fps": -1.0}, {"fps": 5000}, {"crf": 52}):
        with pytest.raises(UsageError, match="expected"):
            VideoWriter(tmp_path / "a.mp4", **options)
    with pytest.raises(CorruptFileError, match="No such file"):
        VideoWriter(tmp_path / "a.mp4", like=tmp_path / "none.mp4")
    with pytest.raises(CorruptFileError):
        VideoWriter(tmp_path / "a.mp4", audio_from=tmp_path)
    with pytest.raises(OutputError, match="create it first"):
        VideoWriter(tmp_path / "none" / "a.mp4")
    assert list(tmp_path.iterdir()) == []


def test_exception_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"older")

    def write(*frames: np.ndarray, then: BaseException | None = None) -> None:
        with VideoWriter(tmp_path / "a.mp4") as writer:
            for frame in frames:
                writer.write(frame)
            if then is not None:
                raise then

    with pytest.raises(OutputError, match="no frames"):
        write()
    with pytest.raises(UsageError, match="32 x 32"):
        write(frame_picture(0), frame_picture(0, 32, 32))
    with pytest.raises(UsageError, match="float64"):
        write(frame_picture(0).astype(float))
    with pytest.raises(KeyboardInterrupt):
        write(frame_picture(0), then=KeyboardInterrupt())
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"older"


def test_exception_write_after_close(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4")
    writer.write(frame_picture(0))
    writer.close()
    writer.close()
    with pytest.raises(UsageError, match="finished"):
        writer.write(frame_picture(0))
    assert len(list(VideoReader(tmp_path / "a.mp4"))) == 1


@pytest.mark.parametrize(
    "fps", [Fraction(1, 2), Fraction(12), Fraction(24_000, 1001), NTSC, Fraction(120), Fraction(1000)]
)
def test_feature_clock_is_exact(fps: Fraction) -> None:
    clock = FrameClock(fps=fps)
    for index in (0, 1, 7, 100_000):
        time, duration = clock.ticks(index)
        assert time * clock.time_base == index / fps
        assert duration * clock.time_base == 1 / fps


def test_feature_indexed_first(tmp_path: Path) -> None:
    """Browsers start playing before the whole file is there."""
    with VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(frame_picture(0))
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"

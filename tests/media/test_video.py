"""Videos read: every frame, upright, at its time, in flat memory; nothing but local files of known kinds."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from attacks import media_corpus
from video_samples import frame_picture, make_video

from latent_reenact.errors import CorruptFileError, LimitExceededError
from latent_reenact.media import VideoInfo, VideoLimits, VideoReader, probe_video, write_image

KINDS = [
    ("a.mp4", "libx264", "aac"),
    ("a.mov", "libx264", "aac"),
    ("a.mkv", "libx264", "aac"),
    ("a.webm", "libvpx-vp9", "libopus"),
    ("a.avi", "mpeg4", None),
    ("a.gif", "gif", None),
]


@pytest.mark.parametrize(("name", "codec", "audio"), KINDS, ids=[k[0] for k in KINDS])
def test_smoke_every_kind(tmp_path: Path, name: str, codec: str, audio: str | None) -> None:
    path = make_video(tmp_path / name, frames=12, codec=codec, audio=audio)
    reader = VideoReader(path)
    assert (reader.info.width, reader.info.height, reader.info.fps) == (64, 48, 25)
    assert reader.info.has_audio == (audio is not None)
    frames, times = zip(*reader.iter_timed(), strict=True)
    assert len(frames) == 12  # those still inside the decoder included
    assert reader.truncated is None
    assert np.allclose(times, np.arange(12) / 25, atol=0.001)
    for index, frame in enumerate(frames):
        assert frame.shape == (48, 64, 3)
        assert np.abs(frame[8:16, 8:24].astype(int) - (220, 20, 20)).mean() < 20
        if codec != "gif":  # whose palette is coarse
            assert np.abs(frame[32:].astype(int) - frame_picture(index)[32:]).mean() < 6


def test_feature_info_is_exact(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=30, fps=Fraction(30_000, 1001), audio="aac", audio_s=2)
    assert probe_video(path) == VideoInfo(64, 48, Fraction(30_000, 1001), 30, pytest.approx(1.001), 0, True)


def test_feature_iterates_again_and_stops_early(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    with VideoReader(path) as reader:
        assert len(list(reader)) == len(list(reader)) == 12
        half_way = iter(reader)
        next(half_way)
    assert list(half_way) == []
    assert not [fd for fd in os.listdir("/proc/self/fd") if _target(fd) == str(path)]


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_feature_rotation(tmp_path: Path, degrees: int) -> None:
    reader = VideoReader(make_video(tmp_path / "a.mp4", rotation_deg=degrees))
    frame = next(iter(reader))
    expected = np.rot90(frame_picture(0), degrees // 90)
    assert frame.shape == expected.shape == (reader.info.height, reader.info.width, 3)
    assert np.abs(frame.astype(int) - expected).mean() < 6
    assert reader.info.rotation_deg == degrees % 360


def test_feature_mirrored(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", rotation_deg=90)
    data = path.read_bytes()
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    matrix = np.array([-one, 0, 0, 0, one, 0, 0, 0, 1 << 30], ">i4").tobytes()
    path.write_bytes(data[:at] + matrix + data[at + 36 :])
    assert np.abs(next(iter(VideoReader(path))).astype(int) - np.fliplr(frame_picture(0))).mean() < 6


def test_feature_variable_rate(tmp_path: Path) -> None:
    times = [Fraction(i * i + 3 * i, 200) for i in range(12)]
    reader = VideoReader(make_video(tmp_path / "a.mp4", times_s=times))
    assert np.allclose([t for _, t in reader.iter_timed()], [float(t) for t in times], atol=1e-4)


def test_feature_size_change_is_fitted(tmp_path: Path) -> None:
    """Two H.264 streams one after the other: the second, narrower one gets bars, not another shape."""
    wide, tall = make_video(tmp_path / "a.mp4", frames=4), make_video(tmp_path / "b.mp4", frames=4, size=(32, 96))
    path = tmp_path / "both.mkv"
    with av.open(str(path), "w") as output, av.open(str(wide)) as first, av.open(str(tall)) as second:
        stream = output.add_stream_from_template(first.streams.video[0])
        start = 0
        for source in (first, second):
            bsf = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", source.streams.video[0])
            for packet in source.demux(video=0):
                for filtered in bsf.filter(packet if packet.size else None):
                    filtered.pts, filtered.dts = filtered.pts + start, filtered.dts + start
                    filtered.stream = stream
                    output.mux(filtered)
            start = 4 * 512
    frames = list(VideoReader(path))
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert len(frames) == 8
    assert (frames[-1][:, :20] < 25).all()
    assert frames[-1][4:20, 26:30, 0].mean() > 150


def test_feature_wide_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(2)
        for index in range(4):
            output.mux(video.encode(av.VideoFrame.from_ndarray(frame_picture(index))))
        output.mux(video.encode(None))
    assert next(iter(VideoReader(path))).shape == (48, 128, 3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_feature_cut_off(tmp_path: Path, suffix: str) -> None:
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    whole = make_video(tmp_path / f"a{suffix}", frames=50, codec=codec)
    if suffix == ".mp4":
        whole = _front_loaded(whole)
    data = whole.read_bytes()
    start, end = (data.index(b"movi"), data.index(b"idx1")) if suffix == ".avi" else (len(data) // 2, len(data))
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: (start + end) // 2])
    reader = VideoReader(cut)
    assert 1 <= len(list(reader)) < 50
    assert reader.truncated
    with pytest.raises(CorruptFileError, match="cut off or damaged"):
        list(VideoReader(cut, on_truncated="error"))


def test_exception_not_a_video(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.mp4").read_bytes()
    bad = {
        "empty.mp4": b"",
        "text.mp4": b"hello",
        "magic.mp4": whole[:32],
        "magic.mkv": b"\x1a\x45\xdf\xa3" + bytes(64),
    }
    bad["no-index.mp4"] = whole[: whole.index(b"moov")]
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CorruptFileError, match="expected an MP4") as caught:
            VideoReader(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(CorruptFileError, match="No such file"):
        VideoReader(tmp_path / "none.mp4")
    with pytest.raises(CorruptFileError, match="is a folder"):
        VideoReader(tmp_path)


def test_exception_only_audio(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        sound = output.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    with pytest.raises(CorruptFileError, match="no video stream"):
        probe_video(path)


def test_exception_unknown_codec(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"avc1", b"zzzz"))
    with pytest.raises(CorruptFileError, match="of a known codec"):
        VideoReader(path)


def test_exception_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        output.start_encoding()
    with pytest.raises(CorruptFileError, match="before the first frame"):
        VideoReader(path)


def test_exception_limits(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=30)
    assert len(list(VideoReader(path, VideoLimits(max_side=64, max_pixels=64 * 48, max_frames=30)))) == 30
    for limits in (VideoLimits(max_side=63), VideoLimits(max_pixels=64 * 48 - 1), VideoLimits(max_seconds=1)):
        with pytest.raises(LimitExceededError, match="expected at most"):
            VideoReader(path, limits)
    with pytest.raises(LimitExceededError, match="29"):
        list(VideoReader(path, VideoLimits(max_frames=29)))
    wide = make_video(tmp_path / "wide.mp4", frames=1, size=(8200, 16))
    long = tmp_path / "long.mkv"
    long.write_bytes(media_corpus.mkv_with_hours(make_video(long).read_bytes(), 10))
    for lie in (wide, long):
        started = time.process_time()
        with pytest.raises(LimitExceededError, match=r"8200 x 16|36000 s"):
            VideoReader(lie)
        assert time.process_time() - started < 1


def test_feature_container_that_lies_about_size(tmp_path: Path) -> None:
    """What counts is what the stream holds: nothing is allocated for the claim."""
    path = make_video(tmp_path / "a.mp4")
    path.write_bytes(media_corpus.mp4_with_size(path.read_bytes(), 16_384, 16_384))
    assert all(frame.shape[0] == 48 and frame.shape[1] < 100 for frame in VideoReader(path))


def test_exception_undeclared_length(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.gif", frames=30, codec="gif")
    with pytest.raises(LimitExceededError, match="lasts"):
        list(VideoReader(path, VideoLimits(max_seconds=0.5)))


@pytest.mark.parametrize(("width", "height", "frames"), [(60_000, 60_000, 10), (16, 16, 100_000)])
def test_exception_gif_bombs(tmp_path: Path, width: int, height: int, frames: int) -> None:
    (tmp_path / "a.gif").write_bytes(media_corpus.gif(width, height, frames))
    with pytest.raises((LimitExceededError, CorruptFileError)):
        list(VideoReader(tmp_path / "a.gif", VideoLimits(max_frames=1000)))


@pytest.fixture
def canary() -> Iterator[tuple[int, list[str]]]:
    """A server on this machine that notes who comes: (port, paths asked for)."""
    hits: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle(self) -> None:
            hits.append(str(self.client_address))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, hits
    server.shutdown()
    server.server_close()


def test_exception_reaching_out(tmp_path: Path, canary: tuple[int, list[str]]) -> None:
    port, hits = canary
    video = make_video(tmp_path / "a.mp4")
    for name, text in media_corpus.reaching_files(port).items():
        (tmp_path / name).write_text(text)
        with pytest.raises(CorruptFileError):
            VideoReader(tmp_path / name)
    for name in media_corpus.reaching_names(port, video):
        with pytest.raises(CorruptFileError, match="cannot read"):
            VideoReader(name)
    write_image(tmp_path / "frame-001.png", frame_picture(0))
    with pytest.raises(CorruptFileError, match="No such file"):
        VideoReader(tmp_path / "frame-%03d.png")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(CorruptFileError, match="pipe or device"):
        VideoReader(tmp_path / "pipe.mp4")
    assert hits == []


def test_feature_strange_names(tmp_path: Path) -> None:
    """A name is a name: links, patterns, colons and other tongues are opened as they stand."""
    video = make_video(tmp_path / "a.mp4")
    (tmp_path / "link.mp4").symlink_to(video)
    for name in ("frame-%03d.mp4", "concat:a|b.mp4", "видео 'x'.mp4"):
        (tmp_path / name).write_bytes(video.read_bytes())
    for path in tmp_path.iterdir():
        assert len(list(VideoReader(path))) == 12


_MEASURE = """
import sys
from latent_reenact.media import VideoReader, VideoWriter
with VideoWriter(sys.argv[2], like=sys.argv[1]) as out:
    for frame in VideoReader(sys.argv[1]):
        out.write(frame)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(out.frames, peak.split()[1])
"""


def test_feature_flat_memory(tmp_path: Path) -> None:
    """Reading and writing 1,500 frames with sound takes under 20 MB more than 300."""
    peaks = {}
    for frames in (300, 1500):
        path = make_video(tmp_path / f"{frames}.mp4", frames=frames, size=(32, 32), audio="aac")
        command = [sys.executable, "-c", _MEASURE, str(path), str(tmp_path / "out.mp4")]
        count, peak_kb = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(count) == frames == probe_video(tmp_path / "out.mp4").frames
        peaks[frames] = int(peak_kb)
    assert peaks[1500] - peaks[300] < 20_000


def _front_loaded(path: Path) -> Path:
    """The same MP4 with its index before its pictures, as a download in progress has it."""
    out = path.with_name("front.mp4")
    with av.open(str(path)) as source, av.open(str(out), "w", container_options={"movflags": "faststart"}) as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    return out


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""

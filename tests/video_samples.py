"""Small videos made in code: frames that count, a sine for sound."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICKS = 90_000


def frame_picture(index: int, width: int = 64, height: int = 48) -> np.ndarray:
    """[height, width, 3] uint8: a grey level that grows with `index`, the top left quarter red, its right half blue."""
    picture = np.full((height, width, 3), 40 + 3 * index % 200, np.uint8)
    picture[: height // 2, : width // 2] = (220, 20, 20)
    picture[: height // 2, width // 2 :] = (20, 20, 220)
    return picture


def make_video(
    path: Path,
    *,
    frames: int = 12,
    fps: Fraction = Fraction(25),
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    audio: str | None = None,
    audio_s: float | None = None,
    rotation_deg: int = 0,
    times_s: Sequence[Fraction] | None = None,
    container_format: str | None = None,
) -> Path:
    """Write a test video; `times_s` gives each frame's time for a variable rate."""
    with av.open(str(path), "w", format=container_format) as output:
        video = output.add_stream(codec, rate=fps)
        video.width, video.height = size
        video.codec_context.thread_count = 1
        video.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        time_base = Fraction(1, TICKS) if times_s is not None else 1 / fps
        if codec != "gif":
            video.codec_context.time_base = time_base
        if rotation_deg:
            video.set_display_rotation(rotation_deg)
        sound = output.add_stream(audio, rate=48_000) if audio else None
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(frame_picture(index, *size))
            seconds = times_s[index] if times_s is not None else index / fps
            frame.pts, frame.time_base = round(seconds / time_base), time_base
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if sound is not None:
            _add_sine(output, sound, audio_s if audio_s is not None else float(frames / fps))
    return path


def _add_sine(output, sound, seconds: float) -> None:
    rate, samples = 48_000, round(seconds * 48_000)
    wave = (0.3 * np.sin(2 * np.pi * 440 * np.arange(samples) / rate)).astype(np.float32)
    for start in range(0, samples, 960):
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + 960], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        output.mux(sound.encode(frame))
    output.mux(sound.encode(None))


def audio_packets(path: Path) -> list[bytes]:
    """The encoded sound, packet by packet."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def audio_seconds(path: Path) -> tuple[float, float]:
    """(first, last) time of decoded sound [s]."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    return frames[0].time, frames[-1].time + frames[-1].samples / frames[-1].sample_rate

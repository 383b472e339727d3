"""Pictures and videos with made-up faces: patches of one colour that `fake_reenactor` takes for faces."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from fake_reenactor import SKIN
from PIL import Image


def face_picture(width: int = 120, height: int = 100, *faces: tuple[int, int, int]) -> np.ndarray:
    """[height, width, 3] uint8: a face (left, top, side) on blue grey; by default one in the middle."""
    picture = np.full((height, width, 3), (40, 50, 90), np.uint8)
    for left, top, side in faces or ((width // 2 - 20, height // 2 - 20, 40),):
        picture[top : top + side, left : left + side] = SKIN
    return picture


def save(path: Path, picture: np.ndarray, mode: str = "RGB", **options: Any) -> Path:
    Image.fromarray(picture).convert(mode).save(path, **options)
    return path


def moving_face(frames: int) -> list[np.ndarray]:
    return [face_picture(160, 120, (40 + i, 30, 60)) for i in range(frames)]


def save_video(
    path: Path,
    frames: list[np.ndarray],
    *,
    fps: Fraction = Fraction(25),
    rotation_deg: int = 0,
    sound: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """An H.264 video, with a second of silence as AAC where asked."""
    with av.open(str(path), "w", container_options=options or {}) as output:
        video = output.add_stream("libx264", rate=fps, options={"crf": "10"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv420p"
        if rotation_deg:
            video.set_display_rotation(rotation_deg)
        audio = output.add_stream("aac", rate=48_000, layout="mono") if sound else None
        for frame in frames:
            output.mux(video.encode(av.VideoFrame.from_ndarray(frame)))
        output.mux(video.encode(None))
        if audio is not None:
            output.mux(audio.encode(_silence(48_000)))
            output.mux(audio.encode(None))
    return path


def save_changing_video(path: Path, frames: list[np.ndarray]) -> Path:
    """Motion JPEG, in which every frame brings its own size."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("mjpeg", rate=25)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuvj420p"
        for index, frame in enumerate(frames):
            buffer = io.BytesIO()
            Image.fromarray(frame).save(buffer, "JPEG", quality=95)
            packet = av.Packet(buffer.getvalue())
            packet.pts = packet.dts = index
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), video, True
            output.mux(packet)
    return path


def save_sound(path: Path) -> Path:
    with av.open(str(path), "w") as output:
        audio = output.add_stream("aac", rate=48_000, layout="mono")
        output.mux(audio.encode(_silence(48_000)))
        output.mux(audio.encode(None))
    return path


def _silence(samples: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, samples), np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
    return frame

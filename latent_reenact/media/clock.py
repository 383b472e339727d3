"""When each frame of an output video is shown: at a constant rate, or at the times of another video."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from latent_reenact.errors import CorruptFileError, UsageError
from latent_reenact.media.video import NO_LIMITS, frame_rate, open_video, video_stream

_DEFAULT_FPS = Fraction(25)
_MAX_FPS = 1000
_MAX_DENOMINATOR = 1001  # 30000/1001 and its kin
_FINE_TICKS = 10_000  # a second, at least: constant rates are exact in any, and muxers keep 0.1 ms
_VARIABLE_TICKS = 90_000  # a second, MPEG's clock


class FrameClock:
    """Times of the frames to write, in ticks of `time_base` seconds.

    A constant rate is exact: frame i is shown at i / fps. Where the times of `like` fit no constant
    rate, frame i is shown when frame i of `like` is, counted from the first.

    Args:
        like: the video to follow.
        fps: frames a second; overrides `like`. Default 25.

    Raises:
        UsageError: `fps` out of (0, 1000].
        CorruptFileError: `like` is no readable video.
    """

    def __init__(self, like: str | Path | None = None, fps: Fraction | float | None = None) -> None:
        self._like_frames: int | None = None
        self._ticks: np.ndarray | None = None  # [frames + 1], the last being the end
        self.fps = _checked_fps(fps) if fps is not None else _DEFAULT_FPS
        if like is not None:
            self._follow(Path(like), follow_times=fps is None)
        if self._ticks is None:
            multiple = -(-_FINE_TICKS // self.fps.numerator)
            self.time_base = Fraction(1, self.fps.numerator * multiple)
        else:
            self.time_base = Fraction(1, _VARIABLE_TICKS)
        self._step = round(1 / (self.fps * self.time_base))

    def ticks(self, index: int) -> tuple[int, int]:
        """(time, duration) of frame `index`; after the last frame of `like` the rate goes on."""
        if self._ticks is None:
            return index * self._step, self._step
        last = len(self._ticks) - 1
        if index >= last:
            return int(self._ticks[last]) + (index - last) * self._step, self._step
        return int(self._ticks[index]), int(self._ticks[index + 1] - self._ticks[index])

    def all_written(self, frames: int) -> bool:
        """Whether `frames` frames answer every one of `like`; False without one."""
        return self._like_frames is not None and frames >= self._like_frames

    def _follow(self, like: Path, *, follow_times: bool) -> None:
        pts, time_base, rates = _scan(like)
        self._like_frames = len(pts) - 1
        if not follow_times:
            return
        seconds = (pts - pts[0]) * float(time_base)
        constant = next((rate for rate in rates if _is_constant(seconds[:-1], rate, float(time_base))), None)
        self.fps = constant or rates[-1]
        if constant is None:
            self._ticks = _increasing(seconds * _VARIABLE_TICKS)


def _scan(path: Path) -> tuple[np.ndarray, Fraction, list[Fraction]]:
    """Times of all frames, without decoding: (pts in order and the end [frames + 1], time base, likely rates).

    The file is read once; some forty bytes a frame are kept.
    """
    times: list[int] = []
    end = -(2**62)
    with open_video(path, NO_LIMITS) as container:
        stream = video_stream(container, path)
        rates = [frame_rate(stream)]
        if stream.average_rate and 0 < stream.average_rate <= _MAX_FPS:
            rates.append(Fraction(stream.average_rate).limit_denominator(_MAX_DENOMINATOR))
        with contextlib.suppress(av.FFmpegError):  # cut off: the times so far
            for packet in container.demux(stream):
                time = packet.pts if packet.pts is not None else packet.dts
                if time is not None and not packet.is_discard:
                    times.append(time)
                    end = max(end, time + (packet.duration or 0))
        time_base = stream.time_base or Fraction(1, av.time_base)
        if not times:
            raise CorruptFileError(f"{path} has no frames; expected a video to take the timing from")
        end = end if end > max(times) else max(times) + round(1 / (rates[-1] * time_base))
        return np.array([*sorted(times), end], np.int64), time_base, rates


def _is_constant(seconds: np.ndarray, fps: Fraction, tick_s: float) -> bool:
    """Whether all times are within one tick of frame number / fps."""
    expected = np.arange(len(seconds)) / float(fps)
    return bool(np.all(np.abs(seconds - expected) <= 1.01 * tick_s))


def _increasing(ticks: np.ndarray) -> np.ndarray:
    """Rounded to whole ticks, each at least one after the last."""
    steps = np.arange(len(ticks))
    return np.maximum.accumulate(np.rint(ticks).astype(np.int64) - steps) + steps


def _checked_fps(fps: Fraction | float) -> Fraction:
    if not 0 < fps <= _MAX_FPS:
        raise UsageError(f"got fps {float(fps):g}, expected more than 0 and at most {_MAX_FPS}")
    return Fraction(fps).limit_denominator(_MAX_DENOMINATOR)

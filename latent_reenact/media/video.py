"""Videos in: local files of five known kinds, streamed upright and in RGB, one frame in memory at a time."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from latent_reenact.errors import CorruptFileError, LimitExceededError
from latent_reenact.media.files import require_file, video_format

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_EXPECTED = "an MP4, MOV, MKV, WebM, AVI or GIF video"
_FALLBACK_FPS = Fraction(25)
_MAX_FPS = 1000
_TIMEOUT_S = 20.0
_SHORTFALL_S, _SHORTFALL_FRAMES = 0.1, 3
_ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC: cover art, not a video
_MATRIX = "=9i"  # AV_PKT_DATA_DISPLAYMATRIX, row by row
_PLAIN_ASPECTS = (Fraction(1, 4), Fraction(4))


@dataclass(frozen=True, kw_only=True)
class VideoLimits:
    """What a video may be at most. Sizes and declared lengths are checked before anything is decoded."""

    max_side: int = 8192
    max_pixels: int = 8192 * 4352  # 8K, in either of its two shapes
    max_seconds: float = 3600.0
    max_frames: int | None = None


@dataclass(frozen=True)
class VideoInfo:
    """A video as its frames will come out of `VideoReader`: upright, with square pixels.

    `fps` is the nominal or average rate; `frames` and `duration_s` are what the file declares, None
    where it does not. `rotation_deg` is the anticlockwise turn that was applied to every frame.
    """

    width: int
    height: int
    fps: Fraction
    frames: int | None
    duration_s: float | None
    rotation_deg: int
    has_audio: bool


DEFAULT_LIMITS = VideoLimits()
NO_LIMITS = VideoLimits(max_seconds=float("inf"))  # on length; sizes stay bounded


def probe_video(path: str | Path, limits: VideoLimits = DEFAULT_LIMITS) -> VideoInfo:
    """Read a video's header and first frame. Raises as `VideoReader` does."""
    with open_video(path, limits) as container:
        stream = video_stream(container, path)
        first = next(_decoded(container, stream, _Damage()), None)
        if first is None:
            raise CorruptFileError(f"{path} has no frames that can be decoded; expected {_EXPECTED}")
        shape = _Shape(first, stream)
        seconds = _declared_seconds(container, stream)
        _check_size(path, shape.width, shape.height, limits)
        _check_length(path, stream.frames, seconds or 0.0, limits)
        return VideoInfo(
            width=shape.width,
            height=shape.height,
            fps=frame_rate(stream),
            frames=stream.frames if stream.frames > 0 else None,
            duration_s=seconds,
            rotation_deg=first.rotation % 360,
            has_audio=bool(container.streams.audio),
        )


class VideoReader:
    """A video's frames, each uint8 [H, W, 3] RGB, all of one size, in flat memory.

    Iterate over it for frames, or over `iter_timed()` for `(frame, time_s)`; each iteration starts at
    the first frame. Rotation flags and non-square pixels are applied; a frame of another size is
    fitted, with black bars, into the size of the first. Frames of an animation or of a variable rate
    come as they are, none doubled or dropped.

    Args:
        on_truncated: what a cut or damaged file means: "frames" yields what can be decoded and leaves
            the reason in `truncated`; "error" raises.

    Attributes:
        info: the `VideoInfo`.
        truncated: why the last iteration gave fewer frames than the file promises, else None.

    Raises:
        CorruptFileError: not a local video of a known kind, no video stream, no frames, or damaged.
        LimitExceededError: larger or longer than `limits`.
    """

    def __init__(
        self,
        path: str | Path,
        limits: VideoLimits = DEFAULT_LIMITS,
        *,
        on_truncated: Literal["frames", "error"] = "frames",
    ) -> None:
        self.path = Path(path)
        self.limits = limits
        self.on_truncated = on_truncated
        self.info = probe_video(path, limits)
        self.truncated: str | None = None
        self._running: Generator[tuple[np.ndarray, float], None, None] | None = None
        self._iteration = 0

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; a running iteration ends."""
        running, self._running = self._running, None
        if running is not None:
            with contextlib.suppress(ValueError):  # another thread is in it, and will find that it no longer runs
                running.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        return (frame for frame, _ in self.iter_timed())

    def iter_timed(self) -> Iterator[tuple[np.ndarray, float]]:
        """Yield `(frame, time_s)`; the first frame is at 0 and times increase."""
        self.close()
        self._iteration += 1
        self._running = self._read(self._iteration)
        return self._running

    def _read(self, iteration: int) -> Generator[tuple[np.ndarray, float], None, None]:
        damage = _Damage()
        self.truncated = None
        with open_video(self.path, self.limits) as container:
            stream = video_stream(container, self.path)
            times = _Times(stream)
            shape: _Shape | None = None
            for count, frame in enumerate(_decoded(container, stream, damage), start=1):
                if self._running is None or iteration != self._iteration:
                    return
                shape = shape or _Shape(frame, stream)
                time_s = times.next(frame.pts)
                _check_length(self.path, count, float(time_s), self.limits)
                yield shape.picture(frame), float(time_s)
        self.truncated = damage.reason
        if damage.reason and self.on_truncated == "error":
            raise CorruptFileError(f"{self.path} is cut off or damaged: {damage.reason}; expected a whole video")


@contextlib.contextmanager
def open_video(path: str | Path, limits: VideoLimits = DEFAULT_LIMITS) -> Iterator[InputContainer]:
    """Open a local video for demuxing.

    The first bytes choose the one demuxer that may look at it, and it reads through a Python file:
    no name inside the file, playlist, pattern or address is ever followed.
    """
    with contextlib.ExitStack() as stack:
        with _refusing(path):
            file = require_file(path, _EXPECTED)
            kind = video_format(file)
            if kind is None:
                raise CorruptFileError(f"{path} is not a video, or is damaged; expected {_EXPECTED}")
            stream = stack.enter_context(open(file, "rb"))
            container = stack.enter_context(_open_container(stream, kind, limits))
        for codec in [s.codec_context for s in container.streams.video if s.codec_context is not None]:
            _check_size(path, codec.width, codec.height, limits)
        yield container


def video_stream(container: InputContainer, path: str | Path) -> VideoStream:
    """The first stream of moving pictures, set up for decoding. Raises CorruptFileError where there is none."""
    for stream in container.streams.video:
        if stream.codec_context is not None and not int(stream.disposition) & _ATTACHED_PICTURE:
            return stream
    what = "of a known codec" if container.streams.video else "(only audio)" if container.streams.audio else "at all"
    raise CorruptFileError(f"{path} has no video stream {what}; expected {_EXPECTED}")


def frame_rate(stream: VideoStream) -> Fraction:
    """Nominal frames per second, exact where the file says (30000/1001); the average for a variable rate."""
    for rate in (stream.guessed_rate, stream.average_rate):
        if rate and 0 < rate <= _MAX_FPS:
            return Fraction(rate)
    return _FALLBACK_FPS


class _Damage:
    """The first thing found wrong with a file while decoding it."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def note(self, reason: str | None) -> None:
        self.reason = self.reason or reason or "unknown error"


def _decoded(container: InputContainer, stream: VideoStream, damage: _Damage) -> Iterator[VideoFrame]:
    """All frames of `stream`, those still inside the decoder at the end included."""
    end_s = Fraction(0)
    try:
        for packet in container.demux():
            if packet.dts is None and packet.size == 0:
                continue  # asks for a flush: done below, also after an error
            if packet.pts is not None:
                end_s = max(end_s, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream_index == stream.index:
                yield from _decode(stream, packet, damage)
    except av.FFmpegError as error:
        damage.note(error.strerror)
    yield from _decode(stream, None, damage)
    declared_s = Fraction(container.duration or 0, av.time_base)
    if container.format.name != "gif" and declared_s - end_s > _shortfall_s(stream):
        damage.note(f"it ends after {float(end_s):.2f} s of {float(declared_s):.2f} s")


def _decode(stream: VideoStream, packet: Any, damage: _Damage) -> list[VideoFrame]:
    try:
        return stream.codec_context.decode(packet)
    except av.FFmpegError as error:
        if not isinstance(error, av.EOFError):
            damage.note(error.strerror)
        return []


def _shortfall_s(stream: VideoStream) -> float:
    """How much of the declared length may be missing from a whole file [s]: rounding, a last frame's duration."""
    return max(_SHORTFALL_S, float(_SHORTFALL_FRAMES / frame_rate(stream)))


class _Times:
    """Presentation times from the first frame on, increasing even where the file's are missing or step back."""

    def __init__(self, stream: VideoStream) -> None:
        self._time_base = stream.time_base or Fraction(1, av.time_base)
        self._step = 1 / frame_rate(stream)
        self._first: int | None = None
        self._last = Fraction(-1)

    def next(self, pts: int | None) -> Fraction:
        if self._first is None:
            self._first, self._last = pts, Fraction(0)
            return self._last
        time = (pts - self._first) * self._time_base if pts is not None else self._last
        self._last = time if time > self._last else self._last + self._step
        return self._last


class _Shape:
    """How decoded frames become pictures of one size: square pixels, bars where they differ, upright."""

    def __init__(self, first: VideoFrame, stream: VideoStream) -> None:
        aspect = stream.sample_aspect_ratio or Fraction(1)
        low, high = _PLAIN_ASPECTS
        self._aspect = Fraction(aspect) if low <= aspect <= high else Fraction(1)
        self._matrix = _display_matrix(first)
        self._converter = VideoReformatter()  # one for all frames: it keeps tables and threads
        self._coded_size = max(1, round(first.width * self._aspect)), first.height
        swapped = self._matrix[0] == 0
        self.width, self.height = self._coded_size[::-1] if swapped else self._coded_size

    def picture(self, frame: VideoFrame) -> np.ndarray:
        """[H, W, 3] uint8, RGB."""
        width, height = self._coded_size
        scale = min(width / (frame.width * self._aspect), Fraction(height, frame.height))
        fitted_width = min(width, max(1, round(frame.width * self._aspect * scale)))
        fitted_height = min(height, max(1, round(frame.height * scale)))
        size = fitted_width, fitted_height
        fitted = self._converter.reformat(frame, *size, "rgb24", interpolation="BICUBIC").to_ndarray()
        if fitted.shape[:2] != (height, width):
            canvas = np.zeros((height, width, 3), np.uint8)
            top, left = (height - fitted_height) // 2, (width - fitted_width) // 2
            canvas[top : top + fitted_height, left : left + fitted_width] = fitted
            fitted = canvas
        return _turned(fitted, self._matrix)


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d), each -1, 0 or 1, of x' = a x + c y, y' = b x + d y: the nearest right-angled turn."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None or len(bytes(data)) != struct.calcsize(_MATRIX):
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = struct.unpack(_MATRIX, bytes(data))
    if abs(b) > abs(a):
        return 0, -1 if b < 0 else 1, -1 if c < 0 else 1, 0
    return -1 if a < 0 else 1, 0, 0, -1 if d < 0 else 1


def _turned(picture: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    a, b, c, d = matrix
    if a == 0:
        picture = picture.swapaxes(0, 1)
    return np.ascontiguousarray(picture[:: b + d, :: a + c])


def _open_container(stream: Any, kind: str, limits: VideoLimits) -> InputContainer:
    def refuse(url: str, *_: object) -> None:
        raise PermissionError(f"refused to open {url!r}")

    return av.open(
        stream,
        "r",
        format=kind,
        options={"max_pixels": str(limits.max_pixels)},
        container_options={"format_whitelist": kind, "protocol_whitelist": "file"},
        metadata_errors="replace",
        timeout=_TIMEOUT_S,
        io_open=refuse,
    )


@contextlib.contextmanager
def _refusing(path: str | Path) -> Iterator[None]:
    """Errors of the demuxer as errors of the file."""
    try:
        yield
    except (av.FFmpegError, OSError, ValueError) as error:
        ended = isinstance(error, av.EOFError)
        reason = "it ends before the first frame" if ended else getattr(error, "strerror", None) or error
        raise CorruptFileError(f"{path} cannot be read as a video ({reason}); expected {_EXPECTED}") from error


def _check_size(path: str | Path, width: int, height: int, limits: VideoLimits) -> None:
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        most = f"{limits.max_pixels:,} pixels and {limits.max_side:,} a side"
        raise LimitExceededError(f"{path} is {width} x {height}; expected at most {most}: make it smaller first")


def _check_length(path: str | Path, frames: int, seconds: float, limits: VideoLimits) -> None:
    if seconds > limits.max_seconds:
        raise LimitExceededError(
            f"{path} lasts {seconds:.0f} s; expected at most {limits.max_seconds:g} s: cut it first"
        )
    if limits.max_frames is not None and frames > limits.max_frames:
        raise LimitExceededError(
            f"{path} has {frames} frames or more; expected at most {limits.max_frames}: cut it first"
        )


def _declared_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None

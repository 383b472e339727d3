"""Videos out: frames in, an H.264 or VP9 file with the original's timing and sound, put in place when whole."""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from latent_reenact.errors import OutputError, UsageError
from latent_reenact.media.atomic import atomic_path, output_error
from latent_reenact.media.audio import AudioTrack, has_sound
from latent_reenact.media.clock import FrameClock
from latent_reenact.media.images import as_pixels
from latent_reenact.media.provenance import DEFAULT_MARK, Provenance, to_comment, to_xmp
from latent_reenact.media.video import NO_LIMITS, open_video

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_MAX_CRF, _MAX_VP9_CRF = 51, 63
_BT709 = 1  # the same number for matrix, primaries and transfer in ITU-T H.273
_LIMITED_RANGE = 1
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # ISO 16684-1: XMP in an MP4 `uuid` box


class VideoWriter:
    """Write frames to MP4, MOV, MKV (H.264) or WebM (VP9), by suffix, in flat memory.

        with VideoWriter("out.mp4", like="talk.mp4") as out:
            for frame in frames:
                out.write(frame)

    The file appears, whole and marked as made by AI, when the block ends; if it ends by an exception
    nothing is left behind and an older file of that name stays as it was. Odd sizes get one more row
    or column, a copy of the last, since 4:2:0 video has even sides.

    Args:
        like: a video whose frame rate, times of frames (where its rate varies) and sound are taken over.
        fps: frames a second, exact as a Fraction; overrides the rate and times of `like`. Default 25.
        audio_from: take the sound of this file instead of that of `like`.
        crf: constant quality, 0 (best) to 51, in H.264's terms; 18 is visually lossless.
        size: (width, height) [pixels] to resize every frame to; default the first frame's.
        marks: the provenance mark.

    Attributes:
        frames: how many frames were written.
        audio: "copied", "encoded", or None without sound.

    Sound is kept whole where all frames of `like` were answered by one, and else cut to the frames written.

    Raises:
        OutputError: unknown suffix, or the file cannot be written, or no frame was written.
        UsageError: an argument out of range, or a frame that is no picture or of another size.
        CorruptFileError: `like` or `audio_from` cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        like: str | Path | None = None,
        fps: Fraction | float | None = None,
        audio_from: str | Path | None = None,
        crf: int = 18,
        size: tuple[int, int] | None = None,
        marks: Provenance = DEFAULT_MARK,
    ) -> None:
        self.path = Path(path)
        self.frames = 0
        self.audio: str | None = None
        self._container = _container_for(self.path)
        self._crf = _checked_crf(crf)
        self._size = size
        self._resizes = size is not None
        self._marks = marks.dated()
        self._clock = FrameClock(like, fps)
        self._converter = VideoReformatter()
        self._durations: deque[int] = deque()
        self._closed = False
        self._video: VideoStream | None = None
        self._track: AudioTrack | None = None
        with contextlib.ExitStack() as stack, self._writing():
            self._temp = stack.enter_context(atomic_path(self.path))
            self._output = _open_output(self._temp, self._container)
            stack.callback(_close_quietly, self._output)
            self._output.metadata["comment"] = to_comment(self._marks)
            self._sound = _open_sound(stack, audio_from or like)
            self._resources = stack.pop_all()  # unwound once: the inputs, the output, the temporary file

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif not self._closed:
            self._closed = True
            self._resources.__exit__(kind, error, trace)
            self._release()

    def write(self, frame: Any) -> None:
        """Append a frame: whatever `as_pixels` takes."""
        if self._closed:
            raise UsageError(f"{self.path} is finished; write frames inside the `with` block")
        pixels = as_pixels(frame)
        if self._size is None:
            self._size = pixels.shape[1], pixels.shape[0]
        with self._writing():
            if self._video is None:
                self._add_streams(*self._size)
            encoded = self._yuv(pixels)
            encoded.pts, duration = self._clock.ticks(self.frames)
            encoded.time_base = self._clock.time_base
            self._durations.append(duration)
            self.frames += 1
            self._mux(encoded)
            if self._track is not None:
                self._track.write_until((encoded.pts + duration) * self._clock.time_base)

    def close(self) -> None:
        """Finish the file and put it in place; `with` does it. A second call does nothing."""
        if not self._closed:
            self._closed = True
            try:
                with self._resources, self._writing():
                    self._finish()
            finally:
                self._release()

    def _finish(self) -> None:
        if self._video is None:
            raise OutputError(f"no frames were written to {self.path}, so there is no video; write at least one")
        self._mux(None)
        if self._track is not None:
            if self._clock.all_written(self.frames):
                self._track.write_until(None)
            self._track.finish()
        self._output.close()
        if self._container in ("mp4", "mov"):
            _append_xmp(self._temp, self._marks)

    def _release(self) -> None:
        """Let the encoder's threads and memory go now, not when the writer does."""
        self._video = self._track = self._sound = None
        del self._output

    def _add_streams(self, width: int, height: int) -> None:
        self._video = _add_video(self._output, self._container, width, height, self._clock, self._crf)
        if self._sound is not None:
            self._track = AudioTrack(self._sound, self._output, self._container)
            self.audio = "copied" if self._track.copied else "encoded"

    def _mux(self, frame: VideoFrame | None) -> None:
        assert self._video is not None
        for packet in self._video.encode(frame):  # without B-frames, packets come in the order of frames
            packet.duration = self._durations.popleft()
            self._output.mux(packet)

    def _yuv(self, pixels: np.ndarray) -> VideoFrame:
        """[H, W, 3] as a 4:2:0 frame of the video's size, padded to even sides."""
        width, height = self._size or (0, 0)
        if pixels.shape[:2] != (height, width):
            if not self._resizes:
                got = f"{pixels.shape[1]} x {pixels.shape[0]}"
                raise UsageError(f"got a frame of {got} after {width} x {height}; give size= to have frames resized")
            resized = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                width, height, interpolation="BICUBIC"
            )
            pixels = resized.to_ndarray()
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        return self._converter.reformat(
            frame, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """The encoder's and muxer's errors as errors of the output."""
        try:
            yield
        except av.FFmpegError as error:
            raise output_error(OSError(error.errno, error.strerror), self.path) from error


def _container_for(path: Path) -> str:
    container = _CONTAINERS.get(path.suffix.lower())
    if container is None:
        known = ", ".join(_CONTAINERS)
        raise OutputError(f"cannot write {path}: unknown video suffix {path.suffix!r}; expected one of {known}")
    return container


def _checked_crf(crf: int) -> int:
    if not 0 <= crf <= _MAX_CRF:
        raise UsageError(f"got crf {crf}, expected 0 (best) to {_MAX_CRF}; 18 is visually lossless")
    return crf


def _open_output(temp: Path, container: str) -> OutputContainer:
    options = {"movflags": "faststart"} if container in ("mp4", "mov") else {}
    return av.open(str(temp), "w", format=container, container_options=options)


def _open_sound(stack: contextlib.ExitStack, path: str | Path | None) -> InputContainer | None:
    if path is None:
        return None
    source = stack.enter_context(open_video(path, NO_LIMITS))
    return source if has_sound(source) else None


def _add_video(
    output: OutputContainer, container: str, width: int, height: int, clock: FrameClock, crf: int
) -> VideoStream:
    if container == "webm":
        codec = "libvpx-vp9"
        options = {"crf": str(round(crf * _MAX_VP9_CRF / _MAX_CRF)), "b:v": "0", "cpu-used": "4", "row-mt": "1"}
    else:
        codec, options = "libx264", {"crf": str(crf), "bf": "0"}
    video = cast("VideoStream", output.add_stream(codec, rate=clock.fps, options=options))
    video.width, video.height, video.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    video.time_base = video.codec_context.time_base = clock.time_base
    video.color_primaries = video.color_trc = video.colorspace = _BT709
    video.color_range = _LIMITED_RANGE
    return video


def _append_xmp(path: Path, mark: Provenance) -> None:
    """Add the XMP packet as a last, top-level `uuid` box, where photo and newsroom tools look for it."""
    packet = to_xmp(mark)
    with open(path, "ab") as file:
        file.write(struct.pack(">I4s", 8 + len(_XMP_BOX) + len(packet), b"uuid") + _XMP_BOX + packet)


def _close_quietly(output: OutputContainer) -> None:
    with contextlib.suppress(av.FFmpegError, OSError):
        output.close()

"""The sound of one video carried into another: copied packet by packet where the container can hold it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet

_COPIED = {
    "mp4": {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"},
    "mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le"},
    "matroska": {"aac", "mp3", "ac3", "eac3", "alac", "opus", "vorbis", "flac", "pcm_s16le", "pcm_s24le"},
    "webm": {"opus", "vorbis"},
}
_ENCODER = {"mp4": "aac", "mov": "aac", "matroska": "aac", "webm": "libopus"}
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_RATE = 48_000
# Encoders put up to this much silence before the first sample [s]; players drop it, but need it to start decoding.
_PRIMING_S = Fraction(1, 10)


class AudioTrack:
    """One audio stream on its way into `output`, in step with the frames written there.

    Times are seconds from the first video frame of `source`. A source that ends early or breaks off
    gives what it has.

    Args:
        source: the open file whose first audio stream is taken.
        output: the open file to add a stream to, before anything is written.
        container: "mp4", "mov", "matroska" or "webm".
    """

    def __init__(self, source: InputContainer, output: OutputContainer, container: str) -> None:
        stream = source.streams.audio[0]
        self.copied = stream.codec_context.name.removesuffix("float") in _COPIED[container]
        self._output = output
        self._origin_s = _video_start_s(source)
        self._packets = _packets(source, stream)
        self._waiting: Packet | None = None
        self._last_s: Fraction | None = None
        if self.copied:
            self._stream = output.add_stream_from_template(stream)
        else:
            self._stream = _encoded_stream(output, stream, _ENCODER[container])

    def write_until(self, end_s: Fraction | None) -> None:
        """Write the sound that begins before `end_s`, or all of it with None."""
        while (packet := self._waiting or next(self._packets, None)) is not None:
            if end_s is not None and self._time_s(packet) >= end_s:
                self._waiting = packet
                return
            self._waiting = None
            if self._time_s(packet) < -_PRIMING_S:
                continue
            if self.copied:
                self._copy(packet)
            else:
                self._encode(packet)

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if not self.copied and self._stream.codec_context.is_open:
            self._output.mux(self._stream.encode(None))

    def _time_s(self, packet: Packet) -> Fraction:
        return (packet.pts or 0) * packet.time_base - self._origin_s

    def _copy(self, packet: Packet) -> None:
        """Sound has no reordering: one time serves as both that of decoding and that of playing."""
        pts = (packet.pts or 0) - round(self._origin_s / packet.time_base)
        if self._last_s is not None and pts * packet.time_base <= self._last_s:
            return  # muxers take times that grow, nothing else
        self._last_s = pts * packet.time_base
        packet.pts = packet.dts = pts
        packet.stream = self._stream
        self._output.mux(packet)

    def _encode(self, packet: Packet) -> None:
        for frame in _decode(packet):
            if frame.pts is not None and frame.time_base:
                frame.pts -= round(self._origin_s / frame.time_base)
            self._output.mux(self._stream.encode(frame))


def has_sound(source: InputContainer) -> bool:
    """Whether the first audio stream is of a kind this FFmpeg knows."""
    return bool(source.streams.audio) and source.streams.audio[0].codec_context is not None


def _packets(source: InputContainer, stream: AudioStream) -> Iterator[Packet]:
    """Packets that carry data and a time, up to the end of the file or the first damage to it."""
    with contextlib.suppress(av.FFmpegError):
        for packet in source.demux(stream):
            if packet.size and packet.pts is not None:
                yield packet


def _decode(packet: Packet[Any]) -> list[AudioFrame]:
    try:
        return cast("list[AudioFrame]", packet.decode())
    except av.FFmpegError:
        return []  # one damaged packet is a short silence


def _encoded_stream(output: OutputContainer, like: AudioStream, codec: str) -> AudioStream:
    rate = _OPUS_RATE if codec == "libopus" else min(_AAC_RATES, key=lambda r: abs(r - like.rate))
    layout = "mono" if like.codec_context.channels == 1 else "stereo"
    return cast("AudioStream", output.add_stream(codec, rate=rate, layout=layout, bit_rate=128_000))


def _video_start_s(source: InputContainer) -> Fraction:
    for stream in source.streams.video:
        if stream.start_time is not None and stream.time_base:
            return stream.start_time * stream.time_base
    return Fraction(0)

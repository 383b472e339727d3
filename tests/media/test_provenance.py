"""The mark of origin: written by every writer, read back from anyone's file, safe on a hostile one."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import pytest
from attacks import media_corpus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from video_samples import frame_picture, make_video

from latent_reenact import __version__
from latent_reenact.errors import CorruptFileError
from latent_reenact.media import Provenance, VideoWriter, read_provenance, write_image
from latent_reenact.media.provenance import COMPOSITE, from_comment, from_xmp, to_comment, to_xmp

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MARK = Provenance(model="builtin", operation="reenact", created="2026-01-02T03:04:05+00:00", source_type=COMPOSITE)


def write(path: Path, **options) -> None:
    if path.suffix in (".png", ".jpg", ".jpeg", ".webp"):
        write_image(path, frame_picture(0), **options)
    else:
        with VideoWriter(path, **options) as writer:
            writer.write(frame_picture(0))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".mp4", ".m4v", ".mov", ".mkv", ".webm"])
def test_smoke_every_kind(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}")
    mark = read_provenance(tmp_path / f"a{suffix}")
    assert mark is not None
    assert mark.tool == f"latent_reenact {__version__}"
    assert mark.source_type_url == IPTC + "trainedAlgorithmicMedia"
    assert mark.created
    write(tmp_path / f"a{suffix}", marks=MARK)
    assert read_provenance(tmp_path / f"a{suffix}") == MARK
    if suffix in (".png", ".jpg", ".webp", ".mp4", ".mov"):  # as other tools look for it
        data = (tmp_path / f"a{suffix}").read_bytes()
        assert b"<Iptc4xmpExt:DigitalSourceType>" + IPTC.encode() + COMPOSITE.encode() in data


def test_feature_unmarked_is_none(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", frame_picture(0), marks=None)
    make_video(tmp_path / "a.mp4")
    assert read_provenance(tmp_path / "a.png") is None
    assert read_provenance(tmp_path / "a.mp4") is None


def test_feature_survives_another_container(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", marks=MARK)
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(tmp_path / "b.mkv"), "w") as output:
        output.metadata.update(source.metadata)
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    assert read_provenance(tmp_path / "b.mkv") == MARK


def test_feature_xmp_box_is_well_formed(tmp_path: Path) -> None:
    """Top-level boxes cover the file exactly, and players that do not know the last one skip it."""
    write(tmp_path / "a.mp4")
    data, at, kinds = (tmp_path / "a.mp4").read_bytes(), 0, []
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        kinds.append(kind)
        at += size
    assert at == len(data)
    assert kinds[-1] == b"uuid"


def test_feature_others_marks(tmp_path: Path) -> None:
    packet = f'<rdf:Description xmp:CreatorTool="Other &amp; Co" Iptc4xmpExt:DigitalSourceType="{IPTC}digitalCapture"/>'
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", xmp=packet.encode())
    assert read_provenance(tmp_path / "a.jpg") == Provenance(tool="Other & Co", source_type="digitalCapture")


def test_exception_not_media(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    for path in (tmp_path / "a.png", tmp_path / "none.mp4", tmp_path):
        with pytest.raises(CorruptFileError):
            read_provenance(path)
    (tmp_path / "b.png").write_bytes(media_corpus.png_text_bomb())
    with pytest.raises(CorruptFileError):
        read_provenance(tmp_path / "b.png")


def test_feature_no_entities() -> None:
    laughs = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
    text = f'<!DOCTYPE x [<!ENTITY a0 "ha">{laughs}]><xmp:CreatorTool>&a9;</xmp:CreatorTool>{IPTC}x'
    assert from_xmp(text.encode()) == Provenance(tool="&a9;", source_type="x")
    assert from_xmp((IPTC + "x").encode() + b"<xmp:CreatorTool>" * 60_000) is not None  # no slow pattern


@given(st.text(max_size=80), st.text(max_size=80))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_feature_any_words_survive(model: str, operation: str) -> None:
    """Whatever the words, both forms stay one well-formed line and give back what is printable."""
    mark = Provenance(model=model, operation=operation, created="2026")
    shown = "".join(c if c.isprintable() else " " for c in model)
    from xml.dom import minidom

    minidom.parseString(to_xmp(mark).decode())
    assert from_xmp(to_xmp(mark)).model == shown
    assert "\n" not in to_comment(mark)
    assert from_comment(to_comment(mark)).model == shown.replace(";", ",")
    assert from_comment(to_comment(mark)).created == "2026"

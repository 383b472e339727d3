"""The mark that says a picture or video was made by a generative model, and how to read it back.

Pictures carry an XMP packet with the IPTC property `DigitalSourceType`
(https://cv.iptc.org/newscodes/digitalsourcetype/); videos carry the same facts as one line in the
container's `comment`, which players show and which survives copying into another container.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from latent_reenact import __version__
from latent_reenact.media.files import require_file, video_format

if TYPE_CHECKING:
    from PIL.Image import Image

SYNTHETIC = "trainedAlgorithmicMedia"
COMPOSITE = "compositeWithTrainedAlgorithmicMedia"

_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_SOURCE_TYPE = re.compile(r"https?://cv\.iptc\.org/newscodes/digitalsourcetype/(\w{1,80})")
_OUR_NAMESPACE = "https://latent-reenact.invalid/ns/1.0/"
_MAX_VALUE = 500
_MAX_PACKET = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a picture or video came to be.

    `source_type` is a term of IPTC's digital source types: "trainedAlgorithmicMedia" for what a model
    drew, "compositeWithTrainedAlgorithmicMedia" where it was pasted back into a real picture.
    `created` is an ISO 8601 time; empty means the moment of writing.
    """

    tool: str = field(default=f"latent_reenact {__version__}")
    model: str = ""
    operation: str = ""
    created: str = ""
    source_type: str = SYNTHETIC

    @property
    def source_type_url(self) -> str:
        """The full IPTC term, e.g. http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia."""
        return _VOCABULARY + self.source_type

    def dated(self) -> Provenance:
        """This mark with `created` filled in."""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return self if self.created else replace(self, created=now)


DEFAULT_MARK = Provenance()


def to_xmp(mark: Provenance) -> bytes:
    """The mark as an XMP packet, for pictures and for an MP4's `uuid` box."""
    mark = mark.dated()
    values = {
        "Iptc4xmpExt:DigitalSourceType": mark.source_type_url,
        "xmp:CreatorTool": mark.tool,
        "xmp:CreateDate": mark.created,
        "lr:Model": mark.model,
        "lr:Operation": mark.operation,
    }
    properties = "".join(f"<{k}>{escape(_clean(v))}</{k}>" for k, v in values.items() if v)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:lr="{_OUR_NAMESPACE}">'
        f"{properties}</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="w"?>'
    ).encode()


def from_xmp(packet: bytes) -> Provenance | None:
    """The mark in an XMP packet of any writer, or None. No XML parser runs: nothing is expanded or fetched."""
    text = packet[:_MAX_PACKET].decode("utf-8", "replace")
    source = _SOURCE_TYPE.search(text)
    if source is None:
        return None
    return Provenance(
        tool=_xmp_value(text, "xmp:CreatorTool"),
        model=_xmp_value(text, "lr:Model"),
        operation=_xmp_value(text, "lr:Operation"),
        created=_xmp_value(text, "xmp:CreateDate"),
        source_type=source[1],
    )


def to_comment(mark: Provenance) -> str:
    """The mark as one line for a video container's `comment`."""
    mark = mark.dated()
    facts = {"tool": mark.tool, "model": mark.model, "operation": mark.operation, "created": mark.created}
    words = [f"{k}={_clean(v).replace(';', ',')}" for k, v in facts.items() if v]
    return "; ".join(["Made by AI", f"DigitalSourceType={mark.source_type_url}", *words])


def from_comment(comment: str) -> Provenance | None:
    """The mark in a container's `comment`, or None."""
    comment = comment[:_MAX_PACKET]
    source = _SOURCE_TYPE.search(comment)
    if source is None:
        return None
    facts = dict(re.findall(r"; (tool|model|operation|created)=([^;]{0,500})", comment))
    return Provenance(**{"tool": "", **facts}, source_type=source[1])


def read_provenance(path: str | Path) -> Provenance | None:
    """The mark a picture or video carries, whoever wrote it; None where there is none.

    Raises:
        CorruptFileError: no such file, or neither a picture nor a video.
        LimitExceededError: larger than the default limits of pictures.
    """
    file = require_file(path, "a picture or video")
    if video_format(file):
        from latent_reenact.media.video import open_video

        with open_video(file) as container:
            comments = [v for k, v in container.metadata.items() if k.lower() in ("comment", "description")]
        return next((mark for comment in comments if (mark := from_comment(comment))), None)
    from latent_reenact.media.images import open_image

    with open_image(file) as image:
        return _image_mark(image)


def _image_mark(image: Image) -> Provenance | None:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    return from_xmp(packet.encode() if isinstance(packet, str) else bytes(packet))


def _xmp_value(text: str, name: str) -> str:
    """A simple property, written as an element or as an attribute."""
    match = re.search(rf"<{name}>([^<]{{0,{_MAX_VALUE}}})<|\s{name}=[\"']([^\"'<]{{0,{_MAX_VALUE}}})[\"']", text)
    return html.unescape(match[1] or match[2] or "") if match else ""


def _clean(value: str) -> str:
    """One line of printable characters, of bounded length."""
    return "".join(c if c.isprintable() else " " for c in value)[:_MAX_VALUE]

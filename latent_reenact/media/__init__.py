"""Pictures and videos in and out: bounded decoding, whole files or none, and the mark of their origin."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "ImageLimits": "images",
    "Provenance": "provenance",
    "VideoInfo": "video",
    "VideoLimits": "video",
    "VideoReader": "video",
    "VideoWriter": "video_writer",
    "as_pixels": "images",
    "atomic_path": "atomic",
    "atomic_write_bytes": "atomic",
    "atomic_write_json": "atomic",
    "atomic_write_text": "atomic",
    "clean_leftovers": "atomic",
    "encode_image": "images",
    "is_image_path": "files",
    "is_video_path": "files",
    "probe_video": "video",
    "read_image": "images",
    "read_provenance": "provenance",
    "side_by_side": "images",
    "with_badge": "badge",
    "write_gif": "animation",
    "write_image": "images",
}

__all__ = [
    "ImageLimits",
    "Provenance",
    "VideoInfo",
    "VideoLimits",
    "VideoReader",
    "VideoWriter",
    "as_pixels",
    "atomic_path",
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "clean_leftovers",
    "encode_image",
    "is_image_path",
    "is_video_path",
    "probe_video",
    "read_image",
    "read_provenance",
    "side_by_side",
    "with_badge",
    "write_gif",
    "write_image",
]

if TYPE_CHECKING:
    from latent_reenact.media.animation import write_gif
    from latent_reenact.media.atomic import (
        atomic_path,
        atomic_write_bytes,
        atomic_write_json,
        atomic_write_text,
        clean_leftovers,
    )
    from latent_reenact.media.badge import with_badge
    from latent_reenact.media.files import is_image_path, is_video_path
    from latent_reenact.media.images import ImageLimits, as_pixels, encode_image, read_image, side_by_side, write_image
    from latent_reenact.media.provenance import Provenance, read_provenance
    from latent_reenact.media.video import VideoInfo, VideoLimits, VideoReader, probe_video
    from latent_reenact.media.video_writer import VideoWriter


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(f"latent_reenact.media.{_EXPORTS[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'latent_reenact.media' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

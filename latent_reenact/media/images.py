"""Pictures in and out: bounded, checked decoding to RGB, and atomic, marked writing."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, PngImagePlugin

from latent_reenact.errors import CorruptFileError, LimitExceededError, OutputError, UsageError
from latent_reenact.media.atomic import atomic_write_bytes
from latent_reenact.media.files import require_file
from latent_reenact.media.provenance import DEFAULT_MARK, Provenance, to_xmp

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_EXPECTED = "a PNG, JPEG, WebP, BMP or TIFF picture"
_WRITERS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95, "method": 4},
}
_ORIENTATION_TAG = 0x0112
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns about odd metadata and large headers; both are answered here, by reading on or by our own error.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """What a picture may be at most; all are checked before anything is decoded."""

    max_bytes: int = 64 * 2**20
    max_pixels: int = 64_000_000
    max_side: int = 20_000


DEFAULT_LIMITS = ImageLimits()


def read_image(path: str | Path, limits: ImageLimits = DEFAULT_LIMITS) -> np.ndarray:
    """Read a picture as RGB, as a viewer would show it.

    EXIF orientation is applied, transparency laid over white, 16-bit values scaled, CMYK converted,
    and of an animation the first frame is taken.

    Returns:
        [H, W, 3] uint8, RGB.

    Raises:
        CorruptFileError: missing, unreadable, cut off, empty, or not PNG, JPEG, WebP, BMP or TIFF.
        LimitExceededError: more bytes, pixels or a longer side than `limits` allow.
    """
    with open_image(path, limits) as image:
        try:
            image.load()
            rgb = _to_rgb(image)
            turn = _ORIENTATIONS.get(_orientation(image))
            return np.array(rgb.transpose(turn) if turn is not None else rgb)
        except MemoryError:
            raise LimitExceededError(f"{path}: not enough memory to decode {image.width} x {image.height}") from None
        except Exception as error:  # Pillow's decoders raise a dozen kinds on damaged files
            raise CorruptFileError(f"{path} is damaged or cut off ({_reason(error)}); expected {_EXPECTED}") from error


def open_image(path: str | Path, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """Read a picture's header alone, and check it against `limits`. Raises as `read_image` does."""
    file = require_file(path, _EXPECTED)
    try:
        size = file.stat().st_size
        if size > limits.max_bytes:
            raise LimitExceededError(f"{path} has {size:,} bytes; expected at most {limits.max_bytes:,}")
        data = file.read_bytes()
    except OSError as error:
        raise CorruptFileError(f"cannot read {path}: {error.strerror}; expected {_EXPECTED}") from None
    if not data:
        raise CorruptFileError(f"{path} is empty (0 bytes); expected {_EXPECTED}")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise LimitExceededError(
            f"{path} has too many pixels; expected at most {limits.max_pixels:,}: make it smaller"
        ) from None
    except Image.UnidentifiedImageError:
        raise CorruptFileError(f"{path} is not a picture, or is damaged; expected {_EXPECTED}") from None
    except Exception as error:  # Pillow's parsers raise a dozen kinds on damaged files
        raise CorruptFileError(f"{path} is damaged ({_reason(error)}); expected {_EXPECTED}") from error
    _check_size(path, image.size, limits)
    return image


def write_image(path: str | Path, image: Any, *, marks: Provenance | None = DEFAULT_MARK) -> None:
    """Write a picture as PNG, JPEG or WebP (by suffix), whole or not at all, marked as made by AI.

    Args:
        image: whatever `as_pixels` takes.
        marks: the provenance mark; None only for what no model made (a prepared photograph, a plot).

    Raises:
        OutputError: unknown suffix, or the file cannot be written.
    """
    kind = _WRITERS.get(Path(path).suffix.lower())
    if kind is None:
        known = ", ".join(_WRITERS)
        raise OutputError(f"cannot write {path}: unknown picture suffix {Path(path).suffix!r}; expected one of {known}")
    try:
        data = encode_image(image, kind, marks=marks)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path}: {_reason(error)}; try .png") from error
    atomic_write_bytes(path, data)


def encode_image(
    image: Any, kind: Literal["PNG", "JPEG", "WEBP"] | str = "PNG", *, marks: Provenance | None = DEFAULT_MARK
) -> bytes:
    """A picture as the bytes of a file; arguments as `write_image` takes them.

    Raises:
        OSError, ValueError: Pillow cannot write such a picture, a side over 16,383 as WebP, say.
    """
    options = dict(_SAVE_OPTIONS[kind])
    if marks is not None and kind == "PNG":
        text = options["pnginfo"] = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", to_xmp(marks).decode())
    elif marks is not None:
        options["xmp"] = to_xmp(marks)
    buffer = io.BytesIO()
    Image.fromarray(as_pixels(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def as_pixels(image: Any) -> np.ndarray:
    """The one form pictures take here, from the forms the rest of the package uses.

    Args:
        image: uint8 [H, W, 3] RGB; a float tensor [3, H, W] or [1, 3, H, W] in [-1, 1]; or an object
            with an `.image` that is one of these.

    Returns:
        [H, W, 3] uint8, RGB, contiguous.

    Raises:
        UsageError: anything else.
    """
    image = getattr(image, "image", image)
    if hasattr(image, "detach"):
        image = _tensor_pixels(image)
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
        got = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UsageError(f"got {got}, expected a uint8 [H, W, 3] RGB picture or a float tensor [3, H, W] in [-1, 1]")
    if 0 in image.shape:
        raise UsageError(f"got an empty picture {list(image.shape)}, expected at least one pixel")
    return np.ascontiguousarray(image)


def side_by_side(images: Sequence[Any], height: int) -> np.ndarray:
    """Pictures in a row on white, resized to one height [pixels], with a small gap between.

    Returns:
        [height, W, 3] uint8, RGB.
    """
    if not images or height < 1:
        raise UsageError(f"got {len(images)} pictures at height {height}, expected at least one of each")
    row: list[np.ndarray] = []
    for image in map(as_pixels, images):
        width = max(1, round(image.shape[1] * height / image.shape[0]))
        if row:
            row.append(np.full((height, max(2, height // 64), 3), 255, np.uint8))
        row.append(np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)))
    return np.concatenate(row, axis=1)


def _check_size(path: str | Path, size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if max(size) > limits.max_side or width * height > limits.max_pixels:
        most = f"{limits.max_pixels:,} pixels and {limits.max_side:,} a side"
        raise LimitExceededError(f"{path} is {width} x {height}; expected at most {most}: make it smaller first")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_wide_to_8bit(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _wide_to_8bit(values: np.ndarray) -> np.ndarray:
    """Grey levels of 16 or 32 bits, or floats, to [0, 255], scaled by the smallest range that holds them all."""
    grey = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    ranges = (65_535.0,) if values.dtype.itemsize == 2 else (1.0, 255.0, 65_535.0, 2.0**31)
    top = next((r for r in ranges if grey.max() <= r), float(grey.max()))
    return np.rint(np.clip(grey / top, 0, 1) * 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1-8; 1 where the EXIF block is missing or damaged: the picture itself is fine."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # as above: any kind, and none of them a reason to refuse the picture
        return 1


def _tensor_pixels(tensor: Any) -> np.ndarray:
    values = tensor.detach().float().cpu().numpy()
    if values.ndim == 4 and len(values) == 1:
        values = values[0]
    if values.ndim != 3 or values.shape[0] != 3:
        raise UsageError(f"got a tensor {list(tensor.shape)}, expected one picture [3, H, W] in [-1, 1]")
    return np.rint((np.clip(values, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0)


def _reason(error: Exception) -> str:
    """The decoder's own words, on one short line."""
    return " ".join(str(error).split())[:100] or type(error).__name__

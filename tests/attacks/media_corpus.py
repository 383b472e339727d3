"""Files that lie, explode or reach out, made in code."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

from PIL import Image, PngImagePlugin


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *extra: bytes) -> bytes:
    """A PNG that claims a size and holds one row of pixels, with `extra` chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(1 + 3 * min(width, 1000))))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(extra) + pixels + png_chunk(b"IEND", b"")


def png_text_bomb() -> bytes:
    """Ten compressed texts of 60 MB each in 600 kB."""
    text = b"bomb\0\0" + zlib.compress(bytes(60_000_000), 9)
    return png(8, 8, *[png_chunk(b"zTXt", text)] * 10)


def jpeg_with_size(width: int, height: int) -> bytes:
    """A small JPEG whose header claims another size."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def gif(width: int, height: int, frames: int) -> bytes:
    """A GIF of many frames that all claim the whole canvas and hold almost nothing."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00"
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + frame * frames + b"\x3b"


def mp4_with_size(whole: bytes, width: int, height: int) -> bytes:
    """An MP4 whose sample description claims another size."""
    at = whole.index(b"avc1", whole.index(b"stsd")) + 4 + 24
    return whole[:at] + struct.pack(">HH", width, height) + whole[at + 4 :]


def mkv_with_hours(whole: bytes, hours: int) -> bytes:
    """A Matroska file whose header claims a length of hours (element 0x4489, in milliseconds)."""
    at = whole.index(b"\x44\x89\x88") + 3
    return whole[:at] + struct.pack(">d", hours * 3_600_000) + whole[at + 8 :]


def reaching_files(port: int) -> dict[str, str]:
    """Name -> text of playlists that ask for something from a local server, under honest and lying names."""
    url = f"http://127.0.0.1:{port}/canary"
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}.ts\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile '{url}.mp4'\n"
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    dash = f'<?xml version="1.0"?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>'
    texts = {"m3u8": playlist, "ffconcat": concat, "sdp": sdp, "mpd": dash}
    return {f"list.{kind}{suffix}": text for kind, text in texts.items() for suffix in ("", ".mp4")}


def reaching_names(port: int, file: Path) -> list[str]:
    """Addresses and prefixes a media library would follow."""
    hosts = [f"{scheme}://127.0.0.1:{port}/canary.mp4" for scheme in ("http", "https", "ftp", "rtmp", "rtsp", "tcp")]
    prefixed = [f"{prefix}:{file}" for prefix in ("file", "concat", "crypto", "async", "cache")]
    return [
        *hosts,
        *prefixed,
        f"subfile,,start,0,end,0,,:{file}",
        "pipe:0",
        "data:video/mp4;base64,AAAA",
        "lavfi:testsrc",
    ]


def image_seeds(folder: Path) -> None:
    """Write whole pictures of every kind that is read, as `seed-*`."""
    colour = Image.linear_gradient("L").resize((24, 16)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "<x/>", zip=True)
    pages = [colour.rotate(90 * i) for i in range(3)]
    saved = {
        "plain.jpg": (colour, {}),
        "turned.jpg": (colour, {"exif": exif}),
        "progressive.jpg": (colour, {"progressive": True}),
        "cmyk.jpg": (colour.convert("CMYK"), {}),
        "grey.jpg": (colour.convert("L"), {}),
        "plain.png": (colour, {"exif": exif, "pnginfo": text}),
        "one.png": (colour.resize((1, 1)), {}),
        "bits.png": (colour.convert("1"), {}),
        "palette.png": (colour.convert("P"), {"transparency": 3}),
        "alpha.png": (colour.convert("RGBA"), {}),
        "grey-alpha.png": (colour.convert("LA"), {}),
        "deep.png": (colour.convert("L").convert("I;16"), {}),
        "moving.png": (pages[0], {"save_all": True, "append_images": pages[1:]}),
        "lossy.webp": (colour, {"exif": exif}),
        "lossless.webp": (colour.convert("RGBA"), {"lossless": True}),
        "moving.webp": (pages[0], {"save_all": True, "append_images": pages[1:]}),
        "plain.bmp": (colour, {}),
        "palette.bmp": (colour.convert("P"), {}),
        "plain.tif": (colour, {}),
        "lzw.tif": (colour, {"compression": "tiff_lzw"}),
        "jpeg.tif": (colour, {"compression": "jpeg"}),
        "deep.tif": (colour.convert("L").convert("I;16"), {}),
        "float.tif": (colour.convert("F"), {}),
    }
    for name, (picture, options) in saved.items():
        picture.save(folder / f"seed-{name}", **options)

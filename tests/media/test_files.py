"""What a path is: by its first bytes where there is a file, else by its name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from video_samples import frame_picture, make_video

from latent_reenact.media import is_image_path, is_video_path, write_image


def test_smoke_names() -> None:
    assert all(map(is_image_path, ("a.png", "b/A.JPG", "c.jpeg", "d.webp", "e.bmp", "f.tif", "g.TIFF")))
    assert all(map(is_video_path, ("a.mp4", "A.MOV", "b.mkv", "c.webm", "d.avi", "e.gif", "f.m4v")))
    assert not any(map(is_video_path, ("a.png", "a.txt", "a", "", "mp4", "http://x/a.png")))
    assert not any(map(is_image_path, ("a.mp4", "a.txt", "a\0.txt", "." * 300)))


def test_feature_contents_beat_names(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", frame_picture(0))
    make_video(tmp_path / "b.mp4")
    os.rename(tmp_path / "a.png", tmp_path / "a.mp4")
    os.rename(tmp_path / "b.mp4", tmp_path / "b.png")
    assert is_image_path(tmp_path / "a.mp4")
    assert not is_video_path(tmp_path / "a.mp4")
    assert is_video_path(tmp_path / "b.png")
    (tmp_path / "c.png").write_text("broken, but meant as a picture")
    (tmp_path / "heic.mp4").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    assert is_image_path(tmp_path / "c.png")
    (tmp_path / "folder.mp4").mkdir()
    assert not is_video_path(tmp_path / "folder.mp4")


def test_feature_light_import() -> None:
    code = "import sys, latent_reenact.media as m; m.is_video_path; m.atomic_path; m.read_image; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "av", "cv2", "dlib", "scipy"} & set(loaded)

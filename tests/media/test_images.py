"""Pictures in every form people have them, and in forms only an attacker has."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from attacks import media_corpus
from PIL import Image

from latent_reenact.errors import CorruptFileError, LimitExceededError, OutputError, UsageError
from latent_reenact.media import ImageLimits, as_pixels, read_image, side_by_side, write_image

RED, BLUE, WHITE = (220, 20, 20), (20, 20, 220), (255, 255, 255)


@pytest.fixture
def picture() -> np.ndarray:
    """[6, 10, 3]: red on the left, blue on the right, white in the last row."""
    pixels = np.zeros((6, 10, 3), np.uint8)
    pixels[:, :5], pixels[:, 5:], pixels[5] = RED, BLUE, WHITE
    return pixels


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp"])
def test_smoke_round_trip(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    big = picture.repeat(16, 0).repeat(16, 1)
    write_image(tmp_path / f"a{suffix}", big)
    back = read_image(tmp_path / f"a{suffix}")
    assert back.shape == big.shape
    assert back.dtype == np.uint8
    assert np.abs(back.astype(int) - big).mean() < (0.001 if suffix == ".png" else 4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_feature_exif_orientation(tmp_path: Path, picture: np.ndarray, orientation: int, suffix: str) -> None:
    # How a camera held that way stores the picture: the inverse of what the tag asks for.
    undo = {1: lambda p: p, 2: np.fliplr, 3: lambda p: np.rot90(p, 2), 4: np.flipud, 5: lambda p: p.swapaxes(0, 1)}
    undo |= {6: lambda p: np.rot90(p), 7: lambda p: np.rot90(p, 2).swapaxes(0, 1), 8: lambda p: np.rot90(p, -1)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](picture)))
    stored.save(tmp_path / f"a{suffix}", exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    assert np.array_equal(read_image(tmp_path / f"a{suffix}"), picture)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_feature_16_bit_is_scaled(tmp_path: Path, suffix: str) -> None:
    levels = np.array([[0, 257, 32_768, 65_535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / f"a{suffix}")
    assert read_image(tmp_path / f"a{suffix}")[0, :, 0].tolist() == [0, 1, 128, 255]


def test_feature_float_is_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0.5, 1, np.nan]], np.float32)).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 128, 255, 0]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_feature_alpha_lies_over_white(tmp_path: Path, mode: str) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert(mode)
    keyed = {"P": {"transparency": 0}, "RGB": {"transparency": (0, 0, 0)}}
    clear.save(tmp_path / "a.png", **keyed.get(mode, {}))
    assert (read_image(tmp_path / "a.png") == 255).all()


def test_feature_palette_cmyk_grey_animation(tmp_path: Path, picture: np.ndarray) -> None:
    image = Image.fromarray(picture).resize((80, 48), Image.Resampling.NEAREST)
    image.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    image.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95, subsampling=0)
    image.save(tmp_path / "moving.webp", save_all=True, append_images=[image.rotate(180)], lossless=True)
    image.save(tmp_path / "moving.png", save_all=True, append_images=[image.rotate(180)])
    for name in ("palette.png", "cmyk.jpg", "moving.webp", "moving.png"):
        back = read_image(tmp_path / name)
        assert np.abs(back[4, 4].astype(int) - RED).max() <= 6, name
        assert np.abs(back[4, 70].astype(int) - BLUE).max() <= 6, name
    image.convert("L").save(tmp_path / "grey.jpg")
    assert read_image(tmp_path / "grey.jpg").shape == (48, 80, 3)


def test_exception_unreadable(tmp_path: Path) -> None:
    write_image(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    whole = (tmp_path / "whole.png").read_bytes()
    bad = {"empty.png": b"", "text.jpg": b"hello, world", "cut.png": whole[: len(whole) // 2], "head.png": whole[:20]}
    bad["movie.png"] = media_corpus.gif(4, 4, 2)
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CorruptFileError, match="expected a PNG, JPEG") as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert (tmp_path / name).read_bytes() == data


def test_exception_missing(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(CorruptFileError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(CorruptFileError, match="null"):
        read_image("a\0b.png")
    with pytest.raises(CorruptFileError, match="local files"):
        read_image("https://example.com/a.png")
    with pytest.raises(CorruptFileError, match="pipe or device"):
        read_image("/dev/zero")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "data",
    [
        media_corpus.png(50_000, 50_000),
        media_corpus.png(2**31 - 1, 1),
        media_corpus.png(12_000, 12_000),
        media_corpus.jpeg_with_size(65_500, 65_500),
        media_corpus.jpeg_with_size(20_001, 1),
    ],
    ids=["png-50k", "png-wide", "png-144M", "jpeg-65k", "jpeg-wide"],
)
def test_exception_too_large(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.img").write_bytes(data)
    started = time.process_time()
    with pytest.raises(LimitExceededError, match="expected at most"):
        read_image(tmp_path / "a.img")
    assert time.process_time() - started < 1


def test_exception_too_many_bytes(tmp_path: Path, picture: np.ndarray) -> None:
    write_image(tmp_path / "a.png", picture)
    size = (tmp_path / "a.png").stat().st_size
    read_image(tmp_path / "a.png", ImageLimits(max_bytes=size, max_side=10, max_pixels=60))
    for limits in (ImageLimits(max_bytes=size - 1), ImageLimits(max_side=9), ImageLimits(max_pixels=59)):
        with pytest.raises(LimitExceededError):
            read_image(tmp_path / "a.png", limits)


def test_exception_text_bomb(tmp_path: Path) -> None:
    import resource

    (tmp_path / "a.png").write_bytes(media_corpus.png_text_bomb())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(CorruptFileError):
        read_image(tmp_path / "a.png")
    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_feature_silent(tmp_path: Path) -> None:
    """Odd but readable files say nothing on stderr, even where all warnings are shown."""
    exif = Image.new("RGB", (8, 8)).getexif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + exif.tobytes()[6:-8])
    (tmp_path / "b.png").write_bytes(media_corpus.png(9_600, 9_600))  # Pillow would warn of a bomb
    code = (
        "import sys\nfrom latent_reenact.errors import LatentReenactError\n"
        "from latent_reenact.media import read_image\n"
        "for name in sys.argv[1:]:\n  try: read_image(name)\n  except LatentReenactError: pass\n"
    )
    names = [str(tmp_path / "a.jpg"), str(tmp_path / "b.png")]
    done = subprocess.run([sys.executable, "-W", "always", "-c", code, *names], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_exception_unwritable(tmp_path: Path, picture: np.ndarray) -> None:
    with pytest.raises(OutputError, match=r"\.png, \.jpg, \.jpeg, \.webp"):
        write_image(tmp_path / "a.xyz", picture)
    with pytest.raises(OutputError, match="create it first"):
        write_image(tmp_path / "none" / "a.png", picture)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_image(tmp_path / "folder.png", picture)
    with pytest.raises(OutputError, match=r"try \.png"):
        write_image(tmp_path / "a.webp", np.zeros((1, 16_400, 3), np.uint8))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.png"]


def test_feature_as_pixels(picture: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 127.5 - 1

    class Result:
        image = tensor[None]

    for form in (picture, tensor, tensor.half(), Result()):
        assert np.abs(as_pixels(form).astype(int) - picture).max() <= (1 if form is not picture else 0)
    assert as_pixels(tensor * 9).max() == 255
    for wrong in (picture.astype(np.float32), picture[..., 0], tensor[:2], torch.zeros(2, 3, 4, 4), "a.png", None):
        with pytest.raises(UsageError, match="expected"):
            as_pixels(wrong)


def test_feature_side_by_side(picture: np.ndarray) -> None:
    row = side_by_side([picture, picture.swapaxes(0, 1), picture], 60)
    assert row.shape == (60, 100 + 2 + 36 + 2 + 100, 3)
    assert (row[:, 100:102] == 255).all()
    assert np.abs(row[10, 10].astype(int) - RED).max() <= 2
    with pytest.raises(UsageError):
        side_by_side([], 60)

"""`demo`: the shipped samples, or what stands in for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from latent_reenact import samples
from latent_reenact.cli import demo
from latent_reenact.media import probe_video, read_image, read_provenance


@pytest.fixture
def clip(files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made-up faces, which the made-up reenactor knows, in place of the samples."""
    standing_in = {"portrait_a.png": "portrait.png", "driving.png": "smile.png", "driving.mp4": "talk.mp4"}
    monkeypatch.setattr(samples, "path", lambda name: files / standing_in[name])
    return files / "talk.mp4"


def test_smoke(cli, clip: Path, tmp_path: Path) -> None:
    done = cli("demo", "-o", tmp_path / "results", "--json")
    assert (done.code, done.err) == (0, "")
    assert [Path(name).name for name in done.json["outputs"]] == [*demo.RESULTS]
    picture = read_image(tmp_path / "results" / "picture.png")
    assert picture.shape[1] >= 3 * picture.shape[0], "identity, driving and result in a row"
    assert probe_video(tmp_path / "results" / "video.mp4").frames == probe_video(clip).frames
    assert all(read_provenance(tmp_path / "results" / name) for name in demo.RESULTS)


def test_exception_folder_that_is_a_file(cli, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("mine")
    done = cli("demo", "-o", tmp_path / "results")
    assert done.code == 1
    assert str(tmp_path / "results") in done.error
    assert (tmp_path / "results").read_text() == "mine"


def test_exception_unknown_model_leaves_nothing(cli, tmp_path: Path) -> None:
    done = cli("demo", "-o", tmp_path / "results", "--model", "nobody")
    assert done.code == 1
    assert "nobody" in done.error
    assert not (tmp_path / "results").exists()

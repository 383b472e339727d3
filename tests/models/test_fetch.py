"""Fetching by name, from a registry that points to a server on this machine."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from lying_server import LyingServer, cut, serve

from latent_reenact.errors import CorruptFileError, DownloadError, OutputError, WeightsNotFoundError
from latent_reenact.models.fetch import fetch, files_home
from latent_reenact.third_party import registry
from latent_reenact.third_party.registry import PublishedFile, PublishedModel, Registry
from latent_reenact.weights import ModelFolder, list_models
from toy_upstream import jahoda_file, restyle_file

NAMES = ("best_model.pt", "restyle.pt")


def published(name: str, path: Path | None = None, **changes: object) -> PublishedFile:
    data = None if path is None else path.read_bytes()
    values = {
        "name": name,
        "url": None,
        "page": f"https://drive.example/{name}",
        "bytes": None if data is None else len(data),
        "sha256": None if data is None else hashlib.sha256(data).hexdigest(),
        "sha256_prefix": None,
        "unpack": None,
        "licence": "toy licence",
        "non_commercial": name == "best_model.pt",
        "purpose": "a toy",
        "citation": "Nobody, 2025",
    }
    return PublishedFile(**{**values, **changes})


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    """The toy files, as a home has them."""
    folder = tmp_path_factory.mktemp("home")
    jahoda_file(folder / "best_model.pt")
    restyle_file(folder / "restyle.pt")
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LATENT_REENACT_HOME", str(tmp_path / "models"))
    monkeypatch.delenv("LATENT_REENACT_OFFLINE", raising=False)
    return tmp_path / "models"


@pytest.fixture
def publish(monkeypatch):
    def make(*files: PublishedFile) -> None:
        model = PublishedModel(name="toy", files=tuple(f.name for f in files), description="the toy method")
        monkeypatch.setattr(registry, "load_registry", lambda: Registry(files=files, models=(model,)))

    return make


def offer(server: LyingServer, originals: Path) -> tuple[PublishedFile, PublishedFile]:
    """best_model.pt by browser, restyle.pt direct."""
    path = originals / "restyle.pt"
    server.content = path.read_bytes()
    return published("best_model.pt"), published("restyle.pt", path, url=server.url("restyle.pt"))


def test_smoke(home, publish, originals) -> None:
    """What can be downloaded is, the rest is asked for; once it is there, the model is made of both."""
    told: list[str] = []
    with serve(b"", [cut(5000)]) as server:
        publish(*offer(server, originals))
        report = fetch("toy", tell=told.append)
        assert not report.is_ready
        assert report.folder is None
        assert report.files == (str(home.parent / "files" / "restyle.pt"),)
        assert report.steps == (
            "1. open https://drive.example/best_model.pt in a browser and download best_model.pt (size unknown)",
            f"2. put best_model.pt, so named, into {home.parent / 'files'}",
            "3. run: latent-reenact models fetch toy",
        )
        assert told == list(report.notices)
        assert "toy licence; NOT FOR COMMERCIAL USE; please cite Nobody, 2025" in told[0]
        assert "COMMERCIAL" not in told[1]

        shutil.copy(originals / "best_model.pt", files_home())
        report = fetch("toy")
        assert report.is_ready
        assert report.folder == str(home / "toy")
        assert server.ranges == [None, "bytes=5000-"], "nothing is fetched twice"
    assert set(ModelFolder(home / "toy").networks) == {"generator", "inversion", "motion_encoder", "mapper"}
    assert "toy" in [info.name for info in list_models()]
    assert json.dumps(report.as_dict())


def test_feature_model_that_is_here_needs_nothing(home, publish, originals) -> None:
    publish(published("best_model.pt"), published("restyle.pt"))
    files_home().mkdir(parents=True)
    for name in NAMES:
        shutil.copy(originals / name, files_home())
    fetch("toy", offline=True)
    shutil.rmtree(files_home())
    told: list[str] = []
    report = fetch("toy", tell=told.append)
    assert (report.folder, report.steps, told) == (str(home / "toy"), (), [])
    (home / "toy" / "mapper.safetensors").write_bytes(b"altered")
    with pytest.raises(CorruptFileError, match=r"remove .*toy, then run: latent-reenact models fetch toy"):
        fetch("toy")


def test_feature_offline_asks_for_everything(home, publish, originals, monkeypatch) -> None:
    with serve(b"") as server:
        publish(*offer(server, originals))
        steps = fetch("toy", offline=True).steps
        assert steps[1].startswith(f"2. where there is a connection, download {server.url('restyle.pt')} (")
        assert steps[2].startswith("3. put best_model.pt and restyle.pt, so named, into ")
        monkeypatch.setenv("LATENT_REENACT_OFFLINE", "1")
        assert fetch("toy").steps == steps
        assert server.requests == []


def test_feature_browser_files_are_pinned_once_they_convert(home, publish, originals) -> None:
    publish(published("best_model.pt"), published("restyle.pt"))
    store = files_home()
    store.mkdir(parents=True)
    shutil.copy(originals / "restyle.pt", store)
    whole = (originals / "best_model.pt").read_bytes()
    (store / "best_model.pt").write_bytes(whole[:-1000])
    assert fetch("best_model.pt").files == (str(store / "best_model.pt"),)
    with pytest.raises(CorruptFileError):
        fetch("toy")
    assert not (store / "hashes.json").exists(), "a file that the browser cut is not trusted"
    assert not (home / "toy").exists()
    (store / "best_model.pt").write_bytes(whole)
    fetch("toy")
    pins = json.loads((store / "hashes.json").read_text())
    assert pins["best_model.pt"]["sha256"] == hashlib.sha256(whole).hexdigest()
    shutil.rmtree(home / "toy")
    jahoda_file(store / "best_model.pt", seed="another")
    with pytest.raises(CorruptFileError, match="first used here"):
        fetch("toy")


def test_exception_browser_saved_a_web_page(home, publish) -> None:
    publish(published("best_model.pt"))
    files_home().mkdir(parents=True)
    (files_home() / "best_model.pt").write_text("<!DOCTYPE html><html><title>Sign in</title></html>")
    with pytest.raises(DownloadError, match=r"best_model\.pt is a web page, not the file"):
        fetch("toy")


def test_exception_home_sends_something_else(home, publish, originals) -> None:
    with serve(b"") as server:
        publish(offer(server, originals)[1])
        server.content = b"x" * len(server.content)
        with pytest.raises(CorruptFileError, match="as published"):
            fetch("toy")
    assert not (files_home() / "restyle.pt").exists()
    assert not (home / "toy").exists()


def test_exception_unknown(home, publish) -> None:
    publish(published("best_model.pt"))
    with pytest.raises(WeightsNotFoundError, match="did you mean 'toy'"):
        fetch("toys")


def test_exception_no_place_to_put_it(tmp_path, publish) -> None:
    publish(published("best_model.pt"))
    (tmp_path / "files").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        fetch("toy", home=tmp_path / "models")


def test_feature_one_file_is_not_converted(home, publish, originals) -> None:
    with serve(b"") as server:
        publish(offer(server, originals)[1])
        report = fetch("restyle.pt")
    assert (report.folder, report.steps) == (None, ())
    assert report.files == (str(files_home() / "restyle.pt"),)
    assert not (home / "toy").exists()


def archive(path: Path, *members: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for member in members:
            opened.writestr(member, b"onnx" * 1000)
    return path


def test_feature_one_file_of_an_archive(home, publish, tmp_path) -> None:
    path = archive(tmp_path / "pack.zip", "pack/det.onnx", "pack/w600k_r50.onnx")
    with serve(path.read_bytes()) as server:
        publish(published("pack.zip", path, url=server.url(), unpack="w600k_r50.onnx"))
        for _ in range(2):
            assert fetch("pack.zip").files[1] == str(files_home() / "w600k_r50.onnx")
    assert (files_home() / "w600k_r50.onnx").read_bytes() == b"onnx" * 1000


@pytest.mark.parametrize("kind", ["without it", "twice", "no archive", "damaged"])
def test_exception_bad_archive(home, publish, tmp_path, kind) -> None:
    names = {"without it": ["a/other.onnx"], "twice": ["a/w.onnx", "b/w.onnx"]}.get(kind, ["w.onnx"])
    path = archive(tmp_path / "pack.zip", *names)
    if kind == "no archive":
        path.write_bytes(b"PK nothing")
    if kind == "damaged":
        data = bytearray(path.read_bytes())
        data[45] ^= 0xFF
        path.write_bytes(data)
    with serve(path.read_bytes()) as server:
        publish(published("pack.zip", path, url=server.url(), unpack="w.onnx"))
        with pytest.raises(CorruptFileError):
            fetch("pack.zip")
    assert not (files_home() / "w.onnx").exists()

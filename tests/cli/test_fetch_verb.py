"""`models fetch` and `models list --published` on the command line."""

from __future__ import annotations

import hashlib

import pytest
from lying_server import serve

from latent_reenact.third_party import registry
from latent_reenact.third_party.registry import PublishedFile, Registry, load_registry


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LATENT_REENACT_HOME", str(tmp_path / "models"))
    monkeypatch.delenv("LATENT_REENACT_OFFLINE", raising=False)


def test_smoke_list_published(cli) -> None:
    done = cli("models", "list", "--published")
    assert done.code == 0
    for entry in (*load_registry().models, *load_registry().files):
        assert entry.name in done.out
    assert "alexnet-owt-7be5be79.pth  244.4 MB, direct, BSD-3-Clause" in done.out
    assert len(cli("models", "list", "--published", "--json").json["files"]) == len(load_registry().files)


def test_feature_browser_steps(cli, tmp_path) -> None:
    done = cli("models", "fetch", "jahoda-ffhq-1024")
    assert done.code == 1
    assert [line[:2] for line in done.out.splitlines()] == ["1.", "2.", "3.", "4."]
    assert f"so named, into {tmp_path / 'files'}" in done.out
    assert done.out.endswith("4. run: latent-reenact models fetch jahoda-ffhq-1024\n")
    assert done.err.count("NOT FOR COMMERCIAL USE") == 2
    report = cli("models", "fetch", "jahoda-ffhq-1024", "--json").json
    assert (report["ready"], len(report["steps"])) == (False, 4)


def test_feature_offline(cli) -> None:
    done = cli("models", "fetch", "lpips-alex", "--offline")
    assert done.code == 1
    assert "1. where there is a connection, download https://download.pytorch.org/models/alexnet-owt" in done.out


def test_feature_file(cli, tmp_path, monkeypatch) -> None:
    with serve(b"weights" * 1000) as server:
        file = PublishedFile(
            name="toy.bin",
            url=server.url(),
            page="https://toy.example",
            bytes=7000,
            sha256=hashlib.sha256(server.content).hexdigest(),
            sha256_prefix=None,
            unpack=None,
            licence="toy licence",
            non_commercial=False,
            purpose="a toy",
            citation="Nobody, 2025",
        )
        monkeypatch.setattr(registry, "load_registry", lambda: Registry(files=(file,), models=()))
        done = cli("models", "fetch", "toy.bin")
        assert (done.code, done.out) == (0, f"{tmp_path / 'files' / 'toy.bin'}\n")
        assert done.err == "toy.bin (7.0 kB): a toy; licence: toy licence; please cite Nobody, 2025\n"
        server.content = b"other" * 1400
        (tmp_path / "files" / "toy.bin").unlink()
        done = cli("models", "fetch", "toy.bin")
        assert (done.code, done.out) == (1, "")
        assert "error: " in done.err.splitlines()[-1]
        assert "as published" in done.err.splitlines()[-1]


def test_exception_unknown_name(cli) -> None:
    done = cli("models", "fetch", "jahoda")
    assert done.code == 1
    assert "nothing is published under the name 'jahoda'" in done.error

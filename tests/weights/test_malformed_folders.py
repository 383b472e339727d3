"""Model folders whose files lie: nothing but our own errors, and no time or memory to speak of."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from attacks import mutate
from attacks.safetensors_corpus import BODY, entry, lying_configs, lying_files, lying_manifests, safetensors

from latent_reenact.errors import CorruptFileError, LimitExceededError
from latent_reenact.weights import ModelFolder, write_model

REFUSED = (CorruptFileError, LimitExceededError)
NAME = "mapper.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    state = {"weight": torch.randn(4, 3), "bias": torch.arange(3.0), "count": torch.tensor(7)}
    write_model(tmp_path / "whole", {"networks": {"mapper": {"class": "X", "config": {}}}}, {"mapper": state})
    return tmp_path / "whole"


def put(folder: Path, name: str, data: bytes, *, listed: bool = True) -> None:
    """Write a file, and its true hash into the manifest, as somebody would who means it."""
    (folder / name).write_bytes(data)
    if listed:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(manifest))


def fuzz(folder: Path, count: int) -> dict[str, float]:
    """A child reads mutants of every file of the folder."""
    tests = Path(__file__).parent.parent
    for suffix, name in ((".config", "config.json"), (".manifest", "manifest.json"), (".safetensors", NAME)):
        (folder.parent / f"seed-a{suffix}").write_bytes((folder / name).read_bytes())
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])}
    command = [sys.executable, mutate.__file__, "weights", str(folder.parent), str(count), "0"]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, f"{done.stderr[-2000:]} (see {folder.parent})"
    return json.loads(done.stdout)


def test_smoke(folder) -> None:
    put(folder, NAME, safetensors({"a": entry()}))
    assert ModelFolder(folder).tensors("mapper")["a"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_exception_lying_files(folder) -> None:
    """With their true hashes in the manifest, so that the reader itself must refuse them."""
    for name, data in lying_files().items():
        put(folder, NAME, data)
        started = time.process_time()
        with pytest.raises(REFUSED) as error:
            pytest.fail(f"{name}: {ModelFolder(folder).tensors('mapper')}")
        assert time.process_time() - started < 2, name
        assert "\n" not in str(error.value), name


def test_exception_unlisted_change(folder) -> None:
    put(folder, NAME, safetensors({"a": entry()}), listed=False)
    with pytest.raises(CorruptFileError, match="cut or altered"):
        ModelFolder(folder).tensors("mapper")
    with pytest.raises(CorruptFileError, match="cut or altered"):
        ModelFolder(folder).verify()


def test_exception_numbers_that_are_none(folder) -> None:
    for odd in (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff"):  # not a number, infinity, minus infinity
        put(folder, NAME, safetensors({"a": entry()}, odd + BODY[4:]))
        with pytest.raises(CorruptFileError, match="not finite"):
            ModelFolder(folder).tensors("mapper")


def test_exception_lying_stamp(folder) -> None:
    """`verified.json` spares large files a second hash; whatever it says, nothing but our errors."""
    for text in ("", "[]", "1", "{", '{"mapper.safetensors": 1}', '{"mapper.safetensors": [1, 2, 3]}', "[" * 100_000):
        (folder / "verified.json").write_text(text)
        with contextlib.suppress(*REFUSED):
            ModelFolder(folder).tensors("mapper")
        put(folder, NAME, safetensors({"a": entry()}), listed=False)
        with pytest.raises(REFUSED):
            ModelFolder(folder).tensors("mapper")


@pytest.mark.parametrize("text", lying_configs())
def test_exception_lying_config(folder, text) -> None:
    put(folder, "config.json", text.encode())
    with pytest.raises(REFUSED) as error:
        [ModelFolder(folder).tensors(network) for network in ModelFolder(folder).networks]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", lying_manifests())
def test_exception_lying_manifest(folder, text) -> None:
    (folder / "manifest.json").write_text(text)
    for read in (ModelFolder(folder).verify, lambda: ModelFolder(folder).tensors("mapper")):
        with pytest.raises(REFUSED) as error:
            read()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("count", [2_000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_feature_mutants(folder, count) -> None:
    """Every mutant that differs is refused: by the format, or by its hash."""
    figures = fuzz(folder, count)
    assert figures["count"] == count
    assert figures["refused"] > 0.97 * count
    assert figures["slowest_s"] < 2
    assert figures["grown_mb"] < 100

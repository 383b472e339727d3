"""Checkpoints made to do harm: all of them refused, by name, before anything happens.

The corpus is in `tests/attacks`; a child process reads it under an audit hook (`attacks/watch.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attacks import mutate, pickle_corpus, watch
from attacks.pickle_containers import CONTAINERS, LAYOUTS, container
from attacks.pickle_disguises import disguised
from attacks.pickle_payloads import payloads
from attacks.pickle_tricks import touch

from latent_reenact.errors import UnsafeCheckpointError
from latent_reenact.third_party.containers import read_checkpoint

TESTS = Path(__file__).parent.parent
SECONDS, MEGABYTES = 2, 100


def child(script: str, *words: str) -> Any:
    """Run a script of `tests/attacks` and read the JSON it prints."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_smoke(tmp_path, kind, layout) -> None:
    """The corpus without a payload is whole checkpoints: what is refused is refused for its payload."""
    (tmp_path / "a.pt").write_bytes(container(kind, layout))
    tree = read_checkpoint(tmp_path / "a.pt")
    if "G_ema" in tree:
        assert tree["G_ema"].class_name == "Generator"
        assert tree["G_ema"].state["_buffers"]["noise_const"].flatten().tolist() == [*range(16)]
    else:
        state = tree.get("g_ema", tree.get("state_dict"))
        assert all(tensor.flatten().tolist() == [*range(tensor.numel())] for tensor in state.values())
        assert len(state) == 3


def test_feature_families() -> None:
    found = payloads("canary")
    assert len({p.family for p in found}) >= 60
    assert len({(p.module, p.name) for p in found}) >= 300
    assert len(disguised()) >= 100


def test_feature_ammunition_is_live(tmp_path) -> None:
    """Python's and torch's own unpicklers do what the corpus asks for, and the audit hook sees it."""
    fired = child(watch.__file__, "control", str(tmp_path))
    assert len(fired) == 144
    assert {name: result for name, result in fired.items() if result[:2] != [True, True]} == {}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_exception_payloads(tmp_path, kind) -> None:
    result = child(watch.__file__, "payloads", kind, str(tmp_path))
    assert result["wrong"] == {}  # case -> why: read, another error, or the name is not told
    assert result["events"] == []  # imports, programs, sockets, files opened for writing, ...
    assert result["touched"] == []  # the canary file, the canary port, anything new beside the attack
    assert result["count"] > 1_500
    assert result["slowest_s"] < SECONDS
    assert result["grown_mb"] < MEGABYTES


def test_exception_bombs_and_lies(tmp_path) -> None:
    results = child(watch.__file__, "limits", str(tmp_path))
    assert len(results) > 600
    assert {name: r["wrong"] for name, r in results.items() if r["wrong"]} == {}
    assert {name: r["events"] for name, r in results.items() if r["events"]} == {}
    assert {name: r["seconds"] for name, r in results.items() if r["seconds"] > SECONDS} == {}
    assert {name: r["grown_mb"] for name, r in results.items() if r["grown_mb"] > MEGABYTES} == {}


def test_exception_message_tells_what_and_what_to_do(tmp_path) -> None:
    p = touch(str(tmp_path / "canary"))
    data = next(c for c in pickle_corpus.cases("nvidia", "x") if c.refused == p.dotted).data
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(UnsafeCheckpointError, match=r"a\.pkl .*builtins\.open.* nothing was run\. Get the file"):
        read_checkpoint(tmp_path / "a.pkl")


@pytest.mark.parametrize("count", [1_000, pytest.param(30_000, marks=pytest.mark.slow)])
def test_feature_mutants(tmp_path, count) -> None:
    for kind in CONTAINERS:
        for layout in LAYOUTS:
            (tmp_path / f"seed-{kind}-{layout}.pt").write_bytes(container(kind, layout))
    figures = child(mutate.__file__, "checkpoint", str(tmp_path), str(count), "0")
    assert figures["count"] == count
    assert figures["refused"] > count / 4
    assert figures["slowest_s"] < SECONDS
    assert figures["grown_mb"] < MEGABYTES


@pytest.mark.slow  # 9,000 files
def test_feature_corpus_is_written_for_others(tmp_path) -> None:
    index = child(pickle_corpus.__file__, str(tmp_path / "corpus"))
    assert index["files"] == len([*(tmp_path / "corpus").iterdir()]) - 1
    assert index["files"] > 8_000

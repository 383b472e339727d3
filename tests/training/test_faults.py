"""Training that is killed, stopped, damaged or spread over processes ends where an unbroken run ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latent_reenact.errors import CorruptFileError
from latent_reenact.training.checkpoints import Checkpoints, read_state, write_state
from latent_reenact.training.loop import Loop
from regression_stage import CONFIG, Regression

PROGRAM = Path(__file__).with_name("regression_stage.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "NCCL_SOCKET_IFNAME": "lo", "GLOO_SOCKET_IFNAME": "lo"}


def start(folder: Path, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, str(PROGRAM), str(folder), *map(str, arguments)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(folder: Path, *arguments: object) -> str:
    process = start(folder, *arguments)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return errors


def newest(folder: Path) -> tuple[dict[str, torch.Tensor], dict]:
    found = Checkpoints(folder).newest()
    assert found is not None
    return found


def assert_same(a: Path, b: Path) -> None:
    """The whole state: weights, averages, optimisers, counters; and the log's places."""
    (one, about), (other, other_about) = newest(a), newest(b)
    assert about == other_about
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    seen = [[line.split(",")[0] for line in (f / "log.jsonl").read_text().splitlines()] for f in (a, b)]
    assert seen[0] == seen[1]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    finish(folder)
    return folder


def kill_at_random(folder: Path, rng: random.Random, *arguments: object) -> None:
    """Kill -9 some time after the first checkpoint is there. Every step saves, so many kills fall inside a save."""
    process = start(folder, *arguments)
    deadline = time.monotonic() + 60
    while not list(folder.glob("checkpoint-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.4))
    process.kill()
    process.communicate(timeout=60)


@pytest.mark.slow
def test_feature_killed_runs_resume_bit_for_bit(unbroken, tmp_path) -> None:
    rng = random.Random(3)
    for trial in range(4):
        folder = tmp_path / str(trial)
        for _ in range(3):
            kill_at_random(folder, rng, 0.004)
        finish(folder)
        assert_same(folder, unbroken)
        assert not list(folder.glob(".tmp-*"))


@pytest.mark.slow
def test_feature_two_processes_killed_resume_bit_for_bit(tmp_path) -> None:
    finish(tmp_path / "unbroken", 0, 2)
    kill_at_random(tmp_path / "broken", random.Random(5), 0.004, 2)
    time.sleep(1)
    finish(tmp_path / "broken", 0, 2)
    assert_same(tmp_path / "broken", tmp_path / "unbroken")


@pytest.mark.slow
def test_feature_sigterm_saves_in_the_middle(unbroken, tmp_path) -> None:
    process = start(tmp_path, 0.01)
    while not list(tmp_path.glob("checkpoint-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1  # the bare program; the command line turns the error into exit code 3
    assert "InterruptedRunError: stopped after" in errors
    finish(tmp_path)
    assert_same(tmp_path, unbroken)


SHORT = replace(CONFIG, images=20 * 8)


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "truncated":
        del data[len(data) // 2 :]
    elif kind == "flipped":
        data[-5] ^= 1
    else:
        data = bytearray(b"\0" * 100)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("kind", ["truncated", "flipped", "zeros"])
def test_feature_damaged_newest_checkpoint_is_passed_over_and_said(tmp_path, capsys, kind) -> None:
    whole = Loop(Regression(), SHORT, tmp_path / "whole").run().state_dict()
    Loop(Regression(), SHORT, tmp_path / "damaged").run()
    paths = Checkpoints(tmp_path / "damaged").paths()
    assert len(paths) == SHORT.keep
    damage(paths[-1], kind)
    resumed = Regression()
    state = Loop(resumed, SHORT, tmp_path / "damaged").run().state_dict()
    assert resumed.steps == 1
    assert all(torch.equal(state[name], whole[name]) for name in whole)
    assert "going on from the one before" in capsys.readouterr().err


def test_exception_all_checkpoints_damaged(tmp_path) -> None:
    Loop(Regression(), SHORT, tmp_path).run()
    for path in Checkpoints(tmp_path).paths():
        damage(path, "truncated")
    with pytest.raises(CorruptFileError, match="all 3 checkpoints are damaged; remove them"):
        Loop(Regression(), SHORT, tmp_path).run()


def test_feature_state_round_trip(tmp_path) -> None:
    tensors = {"a": torch.randn(3, 4), "b": torch.tensor(7), "c": torch.randn(2).bfloat16(), "d": torch.empty(0)}
    write_state(tmp_path / "s.safetensors", tensors, {"step": 3, "best": None})
    read, about = read_state(tmp_path / "s.safetensors")
    assert about == {"step": 3, "best": None}
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


@pytest.mark.slow
def test_feature_train_command_stopped_exits_3_and_goes_on(tmp_path) -> None:
    """The whole command on the toy recipe: SIGTERM in some stage, then the same command to the end."""
    pytest.importorskip("numba")
    import numpy as np
    import yaml

    from latent_reenact.synthface.tiny import tiny_arrays
    from test_stages import recipe

    np.savez(tmp_path / "mesh.npz", **tiny_arrays())
    values = recipe(tmp_path / "run", tmp_path / "mesh.npz")
    values["generator"]["growth"][32]["loop"] = {"images": 4000, "batch": 8, "report_images": 800}
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "latent_reenact", "train", str(tmp_path / "toy.yaml")]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "generator" / "32" / "log.jsonl"
    deadline = time.monotonic() + 240
    while not (log.exists() and log.read_text()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3, errors
    assert "run the same command again to go on" in errors
    assert "Traceback" not in errors
    again = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert "the model is in" in again.stdout

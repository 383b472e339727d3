"""`edit` from a face at rest, and `reenact` that takes a part of what drives: the latent system at toy size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny

from latent_reenact.cli import main
from latent_reenact.media import read_image, write_image
from latent_reenact.models import save_networks
from latent_reenact.systems import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("posing")
    networks = {name: network for name, network in vars(tiny.networks()).items() if network is not None}
    save_networks(path / "tiny", networks, tiny.ABOUT)
    for name, seed in (("portrait", 1), ("turned", 2), ("smiling", 3)):
        write_image(path / f"{name}.png", tiny.picture(seed, 32))
    return path


@pytest.fixture
def run(folder, capsys):
    def run(*words: object) -> tuple[int, str]:
        code = main([*map(str, words), "--model", str(folder / "tiny"), "--device", "cpu", "--aligned"])
        return code, capsys.readouterr().err

    return run


@pytest.fixture(scope="module")
def person(folder):
    reenactor = load(folder / "tiny", device="cpu")
    return reenactor, reenactor.identity(folder / "portrait.png", aligned=True)


def test_smoke_edit_from_rest(run, person, folder, tmp_path) -> None:
    reenactor, identity = person
    assert run("edit", folder / "portrait.png", "--smile", 0.5, "--at-rest", "-o", tmp_path / "a.png")[0] == 0
    drawn = reenactor.poses(identity, [{"smile": 0.5}], at_rest=True)[0].image
    assert np.array_equal(read_image(tmp_path / "a.png"), drawn)
    assert run("edit", folder / "portrait.png", "--at-rest", "-o", tmp_path / "b.png")[0] == 0
    assert run("edit", folder / "portrait.png", "-o", tmp_path / "c.png") == (
        2,
        "error: nothing to change: give at least one control, for example yaw_deg=20\n",
    )


@pytest.mark.parametrize("part", ["pose", "expression"])
def test_feature_only_a_part(run, person, folder, tmp_path, part) -> None:
    reenactor, identity = person
    words = [folder / "portrait.png", folder / "smiling.png", "--only", part, "-o", tmp_path / "a.png"]
    assert run("reenact", *words)[0] == 0
    drawn = reenactor.combine(identity, **{part: folder / "smiling.png"}, aligned=True).image
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - drawn).max() <= 1


def test_feature_pose_from_another_picture(run, person, folder, tmp_path) -> None:
    reenactor, identity = person
    words = ["--pose-from", folder / "turned.png", "-o", tmp_path / "a.png"]
    code, err = run("reenact", folder / "portrait.png", folder / "smiling.png", *words)
    assert (code, err) == (0, "")
    pose, expression = (reenactor(identity, folder / f"{n}.png", aligned=True) for n in ("turned", "smiling"))
    drawn = reenactor.combine(identity, pose=pose, expression=expression).image
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - drawn).max() <= 1


def test_exception_both_at_once(run, folder, tmp_path) -> None:
    words = ["--only", "pose", "--pose-from", folder / "turned.png", "-o", tmp_path / "a.png"]
    code, err = run("reenact", folder / "portrait.png", folder / "smiling.png", *words)
    assert code == 2
    assert "expected one of them" in err
    assert not list(tmp_path.iterdir())

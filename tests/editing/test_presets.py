"""Presets: those that come along, and files of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latent_reenact.editing import PRESETS, load_preset, save_preset
from latent_reenact.errors import CorruptFileError, LimitExceededError
from latent_reenact.weights import ModelFolder, resolve


def test_smoke(tmp_path: Path) -> None:
    save_preset(tmp_path / "a.json", {"smile": 0.123456, "yaw_deg": 10})
    assert load_preset(tmp_path / "a.json", ["smile", "yaw_deg"]) == {"smile": 0.1235, "yaw_deg": 10.0}


def test_feature_builtin_has_every_control_of_the_presets() -> None:
    controls = ModelFolder(resolve("builtin")).networks["control"]["config"]["controls"]
    assert {name for settings in PRESETS.values() for name in settings} <= set(controls)


def test_feature_unknown_controls_are_left_out(tmp_path: Path) -> None:
    save_preset(tmp_path / "a.json", {"smile": 1, "nose": 1})
    assert load_preset(tmp_path / "a.json", ["smile"]) == {"smile": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "7", '{"settings": {"smile": 1}}', "[" * 20_000),
        *(json.dumps({"format": "latent_reenact preset", "settings": s}) for s in (None, [], {}, {"nose": 1})),
        *(json.dumps({"format": "latent_reenact preset", "settings": {"smile": v}}) for v in ("1", True, None, 1e9)),
        '{"format": "latent_reenact preset", "settings": {"smile": NaN}}',
    ],
)
def test_exception_no_preset(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(CorruptFileError, match=r"expected a preset|settings"):
        load_preset(tmp_path / "a.json", ["smile"])


def test_exception_too_large(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(" " * 70_000)
    with pytest.raises(LimitExceededError):
        load_preset(tmp_path / "a.json", ["smile"])
    with pytest.raises(CorruptFileError, match="cannot read"):
        load_preset(tmp_path / "none.json", ["smile"])

"""Model folders: what was written comes back, and nothing else is accepted."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import tiny
import torch

from latent_reenact.errors import ConfigError, CorruptFileError, LatentReenactError, WeightsNotFoundError
from latent_reenact.models import load_network, load_networks, save_networks
from latent_reenact.systems import load
from latent_reenact.weights import ModelFolder, list_models, verify_model


def present(networks) -> dict:
    """Those that a model of the system may lack are None."""
    return {name: network for name, network in vars(networks).items() if network is not None}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "tiny"
    save_networks(path, present(tiny.networks()), tiny.ABOUT)
    return path


def rewrite_config(folder, change) -> None:
    """Change config.json and its entry in the manifest, as somebody would who means it."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def test_smoke(folder) -> None:
    verify_model(folder)
    networks = load_networks(folder)
    original = vars(tiny.networks())
    for name, network in networks.items():
        for key, tensor in network.state_dict().items():
            torch.testing.assert_close(tensor, original[name].state_dict()[key], rtol=1e-3, atol=1e-4)


def test_feature_loaded_system_reenacts(folder) -> None:
    reenactor = load(folder, device="cpu")
    assert (reenactor.name, reenactor.resolution, reenactor.framing) == ("tiny", 32, 1.12)
    identity = reenactor.identity(tiny.picture(0, 32), aligned=True)
    assert reenactor(identity, tiny.picture(1, 32), aligned=True).image.shape == (32, 32, 3)


def test_feature_one_network_by_name(folder) -> None:
    generator = load_network(folder)
    assert generator.synthesis(torch.zeros(1, tiny.L, tiny.D)).shape == (1, 3, 32, 32)
    assert type(load_network(folder, "mapper")).__name__ == "MotionMapper"


def test_feature_numbers_too_large_for_half_precision_are_kept(tmp_path) -> None:
    """As running variances may be: saved as infinity, the model could not be loaded again."""
    networks = present(tiny.networks())
    networks["generator"].synthesis.const.data[0, 0, 0] = 80_000.0
    save_networks(tmp_path, networks, tiny.ABOUT)
    stored = ModelFolder(tmp_path).tensors("generator")
    assert stored["synthesis.const"].dtype == torch.float32
    assert {t.dtype for name, t in stored.items() if name != "synthesis.const"} == {torch.float16}
    assert load_network(tmp_path).synthesis.const[0, 0, 0] == 80_000.0


def test_feature_models_home_is_listed(folder, monkeypatch) -> None:
    monkeypatch.setenv("LATENT_REENACT_HOME", str(folder.parent))
    assert "tiny" in [info.name for info in list_models()]
    assert verify_model("tiny") == folder


def test_exception_unknown_model(tmp_path) -> None:
    with pytest.raises(WeightsNotFoundError, match="models list"):
        load(tmp_path / "nothing")


def test_exception_unknown_network(folder) -> None:
    with pytest.raises(WeightsNotFoundError, match="it has generator"):
        load_network(folder, "discriminator")


def test_exception_any_flipped_bit_is_caught(folder) -> None:
    path = folder / "mapper.safetensors"
    whole = path.read_bytes()
    choose = random.Random(0)
    for _ in range(50):
        data = bytearray(whole)
        data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        path.write_bytes(data)
        with pytest.raises(CorruptFileError):
            ModelFolder(folder).tensors("mapper")


def test_exception_truncated_or_missing_file(folder) -> None:
    path = folder / "generator.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptFileError, match="cut or altered"):
        load_networks(folder)
    path.unlink()
    with pytest.raises(CorruptFileError, match="missing"):
        verify_model(folder)


def test_exception_tensors_that_do_not_fit_the_config(folder) -> None:
    rewrite_config(folder, lambda c: c["networks"]["mapper"]["config"].update(motion_dim=5))
    with pytest.raises(CorruptFileError, match="expected"):
        load_networks(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["networks"]["mapper"].update({"class": "os.system"}), "unknown class"),
        (lambda c: c["networks"]["mapper"]["config"].update(motion_dmi=4), "did you mean 'motion_dim'"),
        (lambda c: c["networks"]["generator"]["config"].update(resolution=33), "power of two"),
        (lambda c: c.update(system="magic"), "expected 'latent'"),
    ],
)
def test_exception_bad_config(folder, change, message) -> None:
    rewrite_config(folder, change)
    with pytest.raises(ConfigError, match=message):
        load(folder, device="cpu")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', "[" * 100_000])
def test_exception_broken_json(folder, text) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(CorruptFileError):
        ModelFolder(folder)


def test_exception_weights_that_are_not_finite(tmp_path) -> None:
    networks = present(tiny.networks())
    networks["mapper"].biases[0].data.fill_(np.nan)
    save_networks(tmp_path / "nan", networks, tiny.ABOUT)
    with pytest.raises(CorruptFileError, match="finite"):
        load_networks(tmp_path / "nan")


def test_exception_hostile_paths(folder) -> None:
    for name in ("../tiny", "..", "/etc", "tiny\0", "a/../../b"):
        with pytest.raises(LatentReenactError):
            verify_model(name)

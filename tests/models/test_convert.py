"""Conversion at toy size: what files may hold, what they must hold, and what is said of the rest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import latent_reenact as lr
from golden_set import vec
from latent_reenact.errors import CorruptFileError, OutputError, UnsafeCheckpointError, UsageError
from latent_reenact.models import GeneratorConfig, StyleGAN2Generator, load_networks
from latent_reenact.models.convert import convert
from toy_upstream import (
    ada_state,
    jahoda_file,
    restyle_file,
    rosinality_state,
    save,
)
from upstream_files import Called, Named, write_nvidia, write_pickle


def test_smoke(tmp_path) -> None:
    report = convert([restyle_file(tmp_path / "restyle.pt")], tmp_path / "model")
    assert report.networks == {"generator": "StyleGAN2Generator", "inversion": "ReStyleEncoder"}
    assert report.formats == {str(tmp_path / "restyle.pt"): "pSp, e4e or ReStyle"}
    networks = load_networks(tmp_path / "model")
    assert networks["inversion"].invert(torch.randn(1, 3, 32, 32)).shape == (1, 6, 8)
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("conv_clamp", [256, None])
def test_feature_nvidia_pickles(tmp_path, protocol, conv_clamp) -> None:
    path = write_nvidia(tmp_path / "network.pkl", ada_state(), conv_clamp=conv_clamp, protocol=protocol)
    report = convert([path], tmp_path / "model")
    assert report.left_out == {str(path): ("training_set_kwargs", "G", "D", "augment_pipe")}
    generator = lr.load_network(tmp_path / "model")
    assert generator.config.conv_clamp == conv_clamp
    assert not generator.config.scaled_demodulation
    for name, tensor in ada_state().items():
        if name == "synthesis.b8.conv0.weight":
            torch.testing.assert_close(generator.state_dict()["synthesis.blocks.1.up_conv.conv.weight"], tensor)


def test_feature_conditional_generator(tmp_path) -> None:
    state = ada_state()
    state["mapping.embed.weight"], state["mapping.embed.bias"] = vec("e", (8, 3)), vec("eb", (8,))
    state["mapping.fc0.weight"] = vec("fc0", (8, 16))
    convert([write_nvidia(tmp_path / "c.pkl", state)], tmp_path / "model")
    generator = lr.load_network(tmp_path / "model")
    assert generator.config.label_dim == 3
    z, labels = torch.randn(2, 8), torch.eye(3)[:2]
    assert generator(z, labels=labels).shape == (2, 3, 16, 16)
    assert not torch.equal(generator.mapping(z, labels=labels), generator.mapping(z, labels=labels.flip(0)))
    with pytest.raises(lr.LatentReenactError, match="conditional"):
        generator(z)


def test_feature_same_numbers_through_both_generator_formats(tmp_path) -> None:
    """NVIDIA's and rosinality's names for the same weights draw the same picture."""
    convert([write_nvidia(tmp_path / "a.pkl", ada_state(), conv_clamp=None)], tmp_path / "a")
    save(tmp_path / "r.pt", {"g_ema": rosinality_state(), "latent_avg": ada_state()["mapping.w_avg"]})
    convert([tmp_path / "r.pt"], tmp_path / "r")
    w_plus = torch.randn(2, 6, 8)
    a, r = (lr.load_network(tmp_path / name).synthesis(w_plus) for name in "ar")
    torch.testing.assert_close(a, r, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("key", ["g_ema", "g", None])
def test_feature_rosinality_layouts(tmp_path, key) -> None:
    import argparse

    state = rosinality_state()
    tree = state if key is None else {key: state, "args": argparse.Namespace(size=16), "d": {"x": torch.zeros(1)}}
    save(tmp_path / "r.pt", tree)
    report = convert([tmp_path / "r.pt"], tmp_path / "model")
    assert any("average latent" in note for note in report.notes)
    generator = lr.load_network(tmp_path / "model")
    z = torch.randn(4096, 8, generator=torch.Generator().manual_seed(1))
    expected = generator.mapping(z).mean(0)
    assert (generator.mapping.w_avg - expected).norm() < 0.1 * generator.mapping(z).std(0).norm()


def test_feature_method_and_restyle_make_a_system(tmp_path) -> None:
    files = [jahoda_file(tmp_path / "best_model.pt"), restyle_file(tmp_path / "restyle.pt")]
    report = convert(files, tmp_path / "model", name="toy")
    assert report.system == "latent"
    assert "kept once" in report.notes[0]
    assert lr.load(tmp_path / "model", device="cpu").name == "toy"


def test_feature_inversion_keeps_its_own_generator(tmp_path) -> None:
    """A method's network with a trained generator (the variant Gen)."""
    files = [jahoda_file(tmp_path / "best_model.pt", seed="tuned"), restyle_file(tmp_path / "restyle.pt")]
    report = convert(files, tmp_path / "model")
    assert "keeps its own" in report.notes[0]
    networks = load_networks(tmp_path / "model")
    assert networks["inversion"].generator is networks["inversion_generator"]
    assert networks["inversion"].generator is not networks["generator"]
    assert lr.load(tmp_path / "model", device="cpu").networks.generator is not None


def test_feature_legacy_and_zip_give_the_same(tmp_path) -> None:
    for legacy in (False, True):
        restyle_file(tmp_path / "r.pt", legacy=legacy)
        convert([tmp_path / "r.pt"], tmp_path / f"model{legacy}")
    a, b = (load_networks(tmp_path / f"model{legacy}")["inversion"].state_dict() for legacy in (False, True))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_feature_no_system_says_so(tmp_path) -> None:
    convert([restyle_file(tmp_path / "r.pt")], tmp_path / "model")
    with pytest.raises(lr.LatentReenactError, match="no system to reenact with"):
        lr.load(tmp_path / "model")


def test_exception_missing_extra_and_misshaped_tensors_are_listed(tmp_path) -> None:
    state = rosinality_state()
    del state["convs.0.noise.weight"]
    state["convs.1.conv.modulation.bias"] = torch.zeros(5)
    state["conv1.surprise"] = torch.zeros(1)
    del state["conv1.surprise"]
    save(tmp_path / "r.pt", {"g_ema": state})
    with pytest.raises(CorruptFileError) as caught:
        convert([tmp_path / "r.pt"], tmp_path / "model")
    assert "missing synthesis.blocks.1.up_conv.noise_strength" in str(caught.value)
    assert re.search(r"blocks\.1\.conv\.conv\.affine\.bias is \(5,\), expected \(8,\)", str(caught.value))
    assert not (tmp_path / "model").exists()


def test_exception_not_finite(tmp_path) -> None:
    state = rosinality_state()
    state["conv1.activate.bias"][0] = float("nan")
    save(tmp_path / "r.pt", {"g_ema": state})
    with pytest.raises(CorruptFileError, match="not finite"):
        convert([tmp_path / "r.pt"], tmp_path / "model")


def test_exception_unknown_encoder_type(tmp_path) -> None:
    with pytest.raises(CorruptFileError, match="expected one of GradualStyleEncoder"):
        convert([restyle_file(tmp_path / "r.pt", encoder_type="WEncoder")], tmp_path / "model")


def test_exception_out_is_there(tmp_path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(OutputError, match="is there already"):
        convert([restyle_file(tmp_path / "r.pt")], tmp_path / "model")


def test_exception_two_of_a_kind(tmp_path) -> None:
    files = [restyle_file(tmp_path / f"{i}.pt") for i in range(2)]
    with pytest.raises(UsageError, match="second inversion"):
        convert(files, tmp_path / "model")


def test_exception_heads_alone(tmp_path) -> None:
    save(tmp_path / "heads.pth", {f"lin{i}.model.1.weight": torch.zeros(1, 1, 1, 1) for i in range(5)})
    with pytest.raises(UsageError, match="alexnet or vgg16"):
        convert([tmp_path / "heads.pth"], tmp_path / "model")


def test_exception_onnx_runs_as_it_is(tmp_path) -> None:
    (tmp_path / "w600k_r50.onnx").write_bytes(b"\x08\x07")
    with pytest.raises(UsageError, match="OnnxIdentityEmbedder"):
        convert([tmp_path / "w600k_r50.onnx"], tmp_path / "model")


@pytest.mark.parametrize("tree", [{}, {"state_dict": {}}, [1, 2], {"a": {"b": 1}}, "text"])
def test_exception_nothing_known(tmp_path, tree) -> None:
    save(tmp_path / "x.pt", tree)
    with pytest.raises(CorruptFileError, match="expected one of: StyleGAN2 pickles"):
        convert([tmp_path / "x.pt"], tmp_path / "model")


def test_exception_tensorflow_pickle(tmp_path) -> None:
    path = write_pickle(tmp_path / "tf.pkl", (None, None, Called(Named("dnnlib.tflib.network", "Network"))))
    with pytest.raises(UnsafeCheckpointError, match=r"legacy\.py"):
        convert([path], tmp_path / "model")


def test_exception_stylegan3(tmp_path) -> None:
    path = write_nvidia(tmp_path / "sg3.pkl", {"synthesis.L0_36_512.weight": torch.zeros(1)})
    with pytest.raises(CorruptFileError, match="choose a StyleGAN2 network"):
        convert([path], tmp_path / "model")


def test_feature_source_text_in_a_checkpoint_is_not_run(tmp_path) -> None:
    """`upstream_files` writes source that would end the process."""
    convert([write_nvidia(Path(tmp_path / "n.pkl"), ada_state())], tmp_path / "model")


def test_feature_config_is_read_from_shapes(tmp_path) -> None:
    convert([write_nvidia(tmp_path / "n.pkl", ada_state())], tmp_path / "model")
    expected = GeneratorConfig(
        resolution=16,
        z_dim=8,
        w_dim=8,
        mapping_layers=2,
        channels={4: 8, 8: 8, 16: 4},
        conv_clamp=256.0,
        scaled_demodulation=False,
    )
    generator = lr.load_network(tmp_path / "model")
    assert isinstance(generator, StyleGAN2Generator)
    assert generator.config == expected

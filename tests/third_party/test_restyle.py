"""Sizes of the published encoders, from names and shapes; what `opts` must say."""

from __future__ import annotations

import json

import pytest
import torch
from meta_tensors import meta_state

from golden_set import ROOT
from latent_reenact.config import from_dict
from latent_reenact.errors import CorruptFileError
from latent_reenact.models import BodyConfig, EncoderConfig, StyleEncoder
from latent_reenact.models.build import describe_differences
from latent_reenact.third_party import restyle

RESNET34 = BodyConfig(depths=(3, 4, 6, 3))
EXPECTED = {
    "psp_ffhq_1024": EncoderConfig(kind="gradual", input_channels=3, head_width=512),
    "e4e_ffhq_1024": EncoderConfig(kind="progressive_gradual", input_channels=3, head_width=512),
    "restyle_psp_ir_1024": EncoderConfig(head_width=512),
    "restyle_psp_ir_64": EncoderConfig(head_width=512, n_styles=10),
    "restyle_e4e_ir_1024": EncoderConfig(kind="progressive_backbone", head_width=512),
    "restyle_e4e_ir_64": EncoderConfig(kind="progressive_backbone", head_width=512, n_styles=10),
    "restyle_psp_gradual_1024": EncoderConfig(kind="gradual", head_width=512),
    "restyle_psp_resnet34_256": EncoderConfig(trunk="resnet", head_width=512, n_styles=14, body=RESNET34),
    "restyle_e4e_resnet34_256": EncoderConfig(
        kind="progressive_backbone", trunk="resnet", head_width=512, n_styles=14, body=RESNET34
    ),
    "restyle_psp_resnet34gradual_256": EncoderConfig(
        kind="gradual", trunk="resnet", head_width=512, n_styles=14, body=RESNET34
    ),
}


def opts(case: str) -> dict:
    return json.loads((ROOT / case / "case.json").read_text())["config"]


@pytest.mark.parametrize("case", EXPECTED)
def test_feature_sizes_are_read_off_the_tensors(case) -> None:
    state = meta_state(case, "encoder.")
    config = from_dict(EncoderConfig, restyle.encoder_config(state, opts(case), "file"))
    assert config == EXPECTED[case]
    with torch.device("meta"):
        assert describe_differences(StyleEncoder(config), state) == []


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({}, "lacks opts"),
        ({"encoder_type": None}, "'None'"),
        ({"encoder_type": ["BackboneEncoder"]}, "expected one of"),
        ({"encoder_type": "BackboneEncoderUsingLastLayerIntoW"}, "expected one of"),
        ({"encoder_type": "GradualStyleEncoder"}, "without a pyramid"),
        ({"encoder_type": "ResNetBackboneEncoder"}, "irse trunk"),
    ],
)
def test_exception_opts(names, said) -> None:
    with pytest.raises(CorruptFileError, match=said):
        restyle.encoder_config(meta_state("restyle_psp_ir_64", "encoder."), names, "file")


def test_exception_masks_and_sketches() -> None:
    """pSp's networks that take label maps."""
    state = meta_state("psp_ffhq_1024", "encoder.")
    state["input_layer.0.weight"] = torch.empty(64, 19, 3, 3, device="meta")
    with pytest.raises(CorruptFileError, match="takes 19 channels"):
        restyle.encoder_config(state, opts("psp_ffhq_1024"), "file")


@pytest.mark.parametrize(("case", "starts"), [("psp_ffhq_1024", False), ("restyle_psp_ir_64", True)])
def test_feature_start_from_latent_avg(case, starts) -> None:
    """Without it pSp's encoder gives the whole latent; ReStyle's adds to the average whatever it says."""
    average = torch.ones(EXPECTED[case].n_styles, 512)
    tree = {"opts": {**opts(case), "start_from_latent_avg": False}, "latent_avg": average}
    inversion = restyle.networks(tree, meta_state(case), "file")["inversion"]
    assert bool(inversion.state["latent_avg"].any()) == starts


def test_exception_no_latent_avg() -> None:
    tree = {"opts": opts("restyle_psp_ir_64")}
    with pytest.raises(CorruptFileError, match="no latent_avg"):
        restyle.networks(tree, meta_state("restyle_psp_ir_64"), "file")

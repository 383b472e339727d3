"""The recipe of a ReStyle encoder: shards and a generator in, a model folder out."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from latent_reenact.config import from_dict, load_yaml, to_dict
from latent_reenact.errors import ConfigError, WeightsNotFoundError
from latent_reenact.models import (
    LPIPS,
    BodyConfig,
    IdentityEmbedder,
    IdentityEmbedderConfig,
    StyleEncoder,
    StyleGAN2Generator,
    load_networks,
    save_networks,
)
from latent_reenact.training.checkpoints import Checkpoints
from latent_reenact.training.pictures import ShardPictures, held_out_pictures
from latent_reenact.training.restyle import (
    ReStyleTrainingConfig,
    average_code,
    begin_with_body,
    begin_with_inversion,
    build_stage,
    train_restyle,
)
from latent_reenact.training.shards.format import Sample, write_shard
from latent_reenact.training.stage import Setup
from latent_reenact.training.stages.restyle import check_sizes

pytest.importorskip("webdataset")
CONFIGS = Path(__file__).parents[2] / "latent_reenact" / "training" / "configs"


def sample(person: str, frame: int) -> Sample:
    picture = io.BytesIO()
    Image.fromarray(tiny.picture(frame, 32)).save(picture, "PNG")
    return Sample(
        person=person,
        clip="a",
        frame=frame,
        picture=picture.getvalue(),
        suffix="png",
        time_s=0.0,
        landmarks=np.zeros((68, 2)),
        pose_deg=(0.0, 0.0, 0.0),
    )


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    """Shards, a generator and the losses' networks."""
    folder = tmp_path_factory.mktemp("parts")
    write_shard(folder / "data" / "train" / "00000.tar", [sample("anna", i) for i in range(12)])
    write_shard(folder / "data" / "val" / "00000.tar", [sample("berta", i) for i in range(12, 17)])
    torch.manual_seed(0)
    save_networks(folder / "generator", {"generator": tiny.networks().generator}, {"name": "g", "licence": "CC0-1.0"})
    save_networks(folder / "lpips", {"lpips": LPIPS()}, {"name": "lpips"})
    embedder = IdentityEmbedder(IdentityEmbedderConfig(input_size=16, embedding=8, body=tiny.BODY))
    save_networks(folder / "identity", {"identity": embedder}, {"name": "identity"})
    return folder


@pytest.fixture
def config(parts, tmp_path) -> ReStyleTrainingConfig:
    return from_dict(
        ReStyleTrainingConfig,
        {
            "name": "toy",
            "folder": str(tmp_path),
            "model": str(parts / "generator"),
            "data": {"folder": str(parts / "data"), "workers": 0, "held_out": 9},
            "estimators": {"lpips": str(parts / "lpips"), "identity": str(parts / "identity")},
            "stage": {
                "steps": 2,
                "encoder": {
                    "kind": "progressive_backbone",
                    "input_size": 32,
                    "n_styles": tiny.L,
                    "w_dim": tiny.D,
                    "body": to_dict(tiny.BODY),
                },
                "progressive_start": 1,
                "progressive_every": 1,
                "adversary": {"discriminator": {"w_dim": tiny.D, "pool": 4}, "r1_every": 2},
            },
            "loop": {"images": 8, "batch": 4},
            "run": {"accelerator": "cpu", "precision": "32-true"},
            "average_samples": 64,
        },
    )


def test_smoke(config, parts) -> None:
    path = train_restyle(config)
    networks = load_networks(path)
    pictures = held_out_pictures(config.data, 32)
    inversion = networks["inversion"]
    assert inversion.invert(pictures).shape == (5, tiny.L, tiny.D)
    assert inversion.steps == 2
    generator = load_networks(parts / "generator")["generator"]
    start = average_code(generator, 64)
    torch.testing.assert_close(inversion.latent_avg, start.expand(tiny.L, -1), atol=1e-3, rtol=1e-3)  # kept as halves
    assert '"licence": "CC0-1.0"' in (path / "config.json").read_text(encoding="utf-8")


def test_feature_a_run_in_two_parts_ends_as_one_in_one(config, tmp_path) -> None:
    """Encoder, adversary, its pool and both optimisers."""
    loop = replace(config.loop, flat=1.0, images=16)
    whole = replace(config, folder=str(tmp_path / "whole"), loop=loop)
    parts = replace(config, folder=str(tmp_path / "parts"), loop=loop)
    train_restyle(whole)
    train_restyle(replace(parts, loop=replace(loop, images=8)))
    train_restyle(parts)
    states = [Checkpoints(Path(c.folder) / "inversion").newest()[0] for c in (whole, parts)]
    assert {"module/pool.codes", "module/discriminator.layers.0.weight"} <= states[0].keys()
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["restyle-psp", "restyle-e4e"])
def test_feature_shipped_configs_fit_the_published_generator(name) -> None:
    config = load_yaml(ReStyleTrainingConfig, CONFIGS / f"{name}.yaml")
    with torch.device("meta"):
        check_sizes(config.stage, StyleGAN2Generator())
    assert config.stage.encoder.body == BodyConfig()
    assert config.stage.optimizer == type(config.stage)().optimizer
    assert config.loop.images % (config.loop.batch * 1000) == 0
    assert (config.stage.adversary is not None) == config.stage.encoder.is_progressive == (name == "restyle-e4e")


def test_feature_shards_go_on_where_the_run_stands(config, parts) -> None:
    shards, random = [parts / "data" / "train" / "00000.tar"], torch.Generator()
    whole, late = ShardPictures(shards, config.data, 16), ShardPictures(shards, config.data, 16)
    whole.start(Setup(batch=2, accumulate=2))
    batches = [whole.pictures(random, 2) for _ in range(6)]
    late.start(Setup(batch=2, accumulate=2, step=2))
    assert torch.equal(late.pictures(random, 2), batches[4])
    assert late.names()[0].startswith("anna/a/")
    assert late.counters() == {"truncated_shards": 0, "unreadable_samples": 0}
    assert batches[0].shape == (2, 3, 16, 16)


def test_feature_held_out_pictures_are_other_people_and_each_comes_once(config) -> None:
    pictures = held_out_pictures(config.data, 32)
    expected = {tiny.picture(i, 32).tobytes() for i in range(12, 17)}
    found = {np.ascontiguousarray(p.permute(1, 2, 0)).tobytes() for p in ((pictures + 1) * 127.5).round().byte()}
    assert found == expected


def test_feature_the_body_begins_as_the_identity_networks(config, parts) -> None:
    identity = load_networks(parts / "identity")["identity"]
    begun, fresh = build_stage(config), build_stage(replace(config, start_from_identity=False))
    weight = identity.get_parameter("body.0.res_layer.1.weight")
    assert torch.equal(begun.module.encoder.get_parameter("body.0.res_layer.1.weight"), weight)
    assert not torch.equal(fresh.module.encoder.get_parameter("body.0.res_layer.1.weight"), weight)


def test_feature_stem_and_body_begin_as_another_inversions(config, parts) -> None:
    first = train_restyle(config)
    stage = build_stage(replace(config, start_from=str(first)))
    trained, begun = load_networks(first)["inversion"].encoder, stage.module.encoder
    assert torch.equal(begun.input_layer[0].weight, trained.input_layer[0].weight)
    assert torch.equal(begun.body[0].res_layer[1].weight, trained.body[0].res_layer[1].weight)
    assert torch.equal(begun.styles[0].linear.weight, trained.styles[0].linear.weight)
    assert not begun.styles[1].linear.weight.any()
    other = replace(config.stage, encoder=replace(config.stage.encoder, head_width=3))
    anew = build_stage(replace(config, start_from=str(first), stage=other)).module.encoder
    assert torch.equal(anew.body[0].res_layer[1].weight, trained.body[0].res_layer[1].weight)
    assert not anew.styles[0].linear.weight.any()
    smaller = replace(config.stage.encoder, body=replace(tiny.BODY, depths=(1, 2, 1)))
    with pytest.raises(ConfigError, match=r"start_from: the inversion of .* has another body"):
        build_stage(replace(config, start_from=str(first), stage=replace(config.stage, encoder=smaller)))


def test_feature_the_embedded_models_e4e_config_fits_it() -> None:
    config = load_yaml(ReStyleTrainingConfig, CONFIGS / "restyle-e4e-builtin.yaml")
    networks = load_networks("builtin")
    check_sizes(config.stage, networks["generator"])
    begin_with_inversion(StyleEncoder(config.stage.encoder), "builtin")


def test_feature_average_code_is_the_mean_of_w_or_the_generators_own() -> None:
    generator = tiny.networks().generator
    z = torch.randn(4097, 8, generator=torch.Generator().manual_seed(5))
    assert (average_code(generator, 5000) - generator.mapping(z).mean(0)).abs().max() < 0.1
    assert torch.equal(average_code(generator, 5000), average_code(generator, 5000))
    assert average_code(generator, 0) is generator.mapping.w_avg


def test_exception_another_body(config) -> None:
    other = IdentityEmbedder(IdentityEmbedderConfig(input_size=16, body=replace(tiny.BODY, depths=(1, 2, 1))))
    with pytest.raises(ConfigError, match="set start_from_identity to false"):
        begin_with_body(build_stage(config).module.encoder, other)


def test_exception_networks_that_are_not_here(config) -> None:
    with pytest.raises(WeightsNotFoundError, match="models fetch nowhere-lpips"):
        build_stage(replace(config, estimators=replace(config.estimators, lpips="nowhere-lpips")))


def test_exception_a_model_of_another_kind(config, parts) -> None:
    with pytest.raises(ConfigError, match="expected a StyleGAN2Generator"):
        build_stage(replace(config, model=str(parts / "identity")))

"""Every published format, from the file as upstream writes it to upstream's numbers: write, convert, load, compare.

The weights are procedural (see golden_set), and the files are written by `upstream_files`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import latent_reenact as lr
from golden_set import Case, assert_close, assert_summary_close, img, vec
from latent_reenact.models import load_networks
from latent_reenact.models.convert import convert
from latent_reenact.models.identity import id_crop, identity_loss
from latent_reenact.models.restyle import face_pool
from upstream_files import write_nvidia

EXACT = {"rel_l2": 1e-5, "max_abs_over_std": 1e-3}
CODES = {"rel_l2": 1e-5, "max_abs_over_std": 2e-4}
LOOP_CODES = {"rel_l2": 2e-5, "max_abs_over_std": 2e-4}
LOOP_IMAGES = {"rel_l2": 1e-4, "max_abs_over_std": 2e-3}
AU_STEPS = {"backbone": (8, 64), "global_linear": (8, 32), "f_v0": (3, 16), "f_v1": (3, 16)}
AU_STEPS |= {"f_e0": (24, 32), "f_e1": (24, 32)}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Gone after the test: some of these files have a gigabyte."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def converted(folder: Path, case: Case, wrap: Callable[[dict], object], *, legacy: bool = False) -> Path:
    """The case's weights as a torch file, converted."""
    torch.save(wrap(case.state()), folder / "file.pt", _use_new_zipfile_serialization=not legacy)
    convert([folder / "file.pt"], folder / "model")
    (folder / "file.pt").unlink()
    return folder / "model"


def with_opts(case: Case) -> Callable[[dict], object]:
    """The layout of pSp, e4e and ReStyle."""

    def wrap(state: dict) -> object:
        average = state.pop("latent_avg")
        return {"state_dict": state, "latent_avg": average, "opts": dict(case.info["config"])}

    return wrap


@torch.no_grad()
def test_golden_ada_pkl(folder) -> None:
    case = Case("ada_pkl")
    state = {n.removeprefix("G_ema."): t for n, t in case.state().items() if n.startswith("G_ema.")}
    convert([write_nvidia(folder / "network-snapshot.pkl", state)], folder / "model")
    generator = lr.load_network(folder / "model")
    image = generator(vec("ada_pkl/z", (2, 64)), truncation_psi=0.7)
    assert_close(image, case["img_z_psi07_const"], **EXACT)
    assert_close(generator.synthesis(vec("ada_pkl/wplus", (2, 10, 64))), case["img_wplus_const"], **EXACT)


@pytest.mark.slow
@torch.no_grad()
def test_golden_ada_g1024(folder) -> None:
    case = Case("ada_g1024")
    convert([write_nvidia(folder / "ffhq.pkl", case.state())], folder / "model")
    generator = lr.load_network(folder / "model")
    z = vec("ada_g1024/z", (1, 512))
    assert_close(generator.mapping(z), case["w_psi1"], **EXACT)
    assert_close(generator.mapping(z, truncation_psi=0.7), case["w_psi07"], **EXACT)
    assert_summary_close(generator(z, truncation_psi=0.7), case, "img_z_psi07_const", **EXACT)
    image = generator.synthesis(vec("ada_g1024/wplus", (1, 18, 512)))
    assert_summary_close(image, case, "img_wplus_const", **EXACT)
    assert_close(face_pool(image, 256)[:, :, 8::16, 8::16], case["img_wplus_const_pool256_grid"], **EXACT)


@pytest.mark.slow
@torch.no_grad()
def test_golden_rosinality_1024(folder) -> None:
    case = Case("rosinality_1024")

    def wrap(state: dict) -> object:
        return {"latent_avg": state.pop("latent_avg"), "g_ema": state}

    generator = lr.load_network(converted(folder, case, wrap))
    z = vec("rosinality_1024/z", (1, 512))
    assert_close(generator.mapping(z), case["w"], **EXACT)
    assert_summary_close(generator.synthesis(vec("rosinality_1024/wplus", (1, 18, 512))), case, "img_wplus", **EXACT)
    w_plus = generator.map_to_w_plus(z, truncation_psi=0.7)
    assert_close(w_plus[:, 0], case["latent_z_trunc07"], **EXACT)
    assert_summary_close(generator.synthesis(w_plus), case, "img_z_trunc07", **EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["psp_ffhq_1024", "e4e_ffhq_1024"])
@torch.no_grad()
def test_golden_one_pass_encoders(folder, name) -> None:
    case = Case(name)
    networks = load_networks(converted(folder, case, with_opts(case)))
    inversion, generator = networks["inversion"], networks["generator"]
    x = img(f"{name}/x", (1, 3, 256, 256))
    assert_close(inversion.encoder(x), case["enc_codes"], **CODES)
    w_plus = inversion.invert(x)
    assert_close(w_plus, case["latent"], **CODES)
    assert_summary_close(face_pool(generator.synthesis(w_plus), 256), case, "img256", **EXACT)
    for stage, key in ((0, "enc_codes_WTraining"), (8, "enc_codes_Delta8Training")):
        if name.startswith("e4e"):
            inversion.encoder.progressive_stage = stage
            assert_close(inversion.encoder(x), case[key], **CODES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "restyle_psp_gradual_1024",
        "restyle_psp_resnet34_256",
        "restyle_e4e_resnet34_256",
        "restyle_psp_resnet34gradual_256",
    ],
)
@torch.no_grad()
def test_golden_restyle_step(folder, name) -> None:
    case = Case(name)
    networks = load_networks(converted(folder, case, with_opts(case)))
    inversion, generator = networks["inversion"], networks["generator"]
    x, y0 = (img(f"{name}/{part}", (1, 3, 256, 256)) for part in ("x", "y0"))
    assert_close(inversion.encoder(torch.cat([x, y0], 1)), case["enc_codes"], **LOOP_CODES)
    w_plus = inversion.step(x, y0, inversion.latent_avg[None])
    assert_close(w_plus, case["fwd_latent"], **LOOP_CODES)
    assert_summary_close(face_pool(generator.synthesis(w_plus), 256), case, "fwd_img256", **LOOP_IMAGES)
    if "enc_codes_stage_delta5" in case.outputs:
        inversion.encoder.progressive_stage = 5
        assert_close(inversion.encoder(torch.cat([x, y0], 1)), case["enc_codes_stage_delta5"], **LOOP_CODES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["restyle_psp_ir_1024", "restyle_e4e_ir_1024"])
@torch.no_grad()
def test_golden_restyle_loop(folder, name) -> None:
    case = Case(name)
    networks = load_networks(converted(folder, case, with_opts(case)))
    inversion, generator = networks["inversion"], networks["generator"]
    assert inversion.steps == 5
    x, y0 = (img(f"{name}/{part}", (1, 3, 256, 256)) for part in ("x", "y0"))
    assert_close(inversion.encoder(torch.cat([x, y0], 1)), case["enc_codes"], **LOOP_CODES)
    if "enc_codes_stage_delta5" in case.outputs:
        inversion.encoder.progressive_stage = 5
        assert_close(inversion.encoder(torch.cat([x, y0], 1)), case["enc_codes_stage_delta5"], **LOOP_CODES)
        inversion.encoder.progressive_stage = 17
    assert_summary_close(inversion.average_image(), case, "avg_image", **LOOP_IMAGES)
    history = inversion.trajectory(x)
    assert_close(torch.stack([history[i][0] for i in (0, 1, 4)]), case["loop.latents_b0"], **LOOP_CODES)
    for i, w_plus in enumerate(history):
        image = generator.synthesis(w_plus)
        assert_summary_close(image, case, f"loop.img_b0_it{i}", **LOOP_IMAGES)
    assert_summary_close(face_pool(image, 256), case, "loop.face_pool_b0_it4", **LOOP_IMAGES)


@pytest.mark.slow
@torch.no_grad()
def test_golden_jahoda_1024(folder) -> None:
    case = Case("jahoda_1024")
    networks = load_networks(
        converted(folder, case, lambda state: {"state_dict": state, "opts": {"output_size": 1024}})
    )
    motion = networks["motion_encoder"](img("jahoda_1024/driving", (2, 3, 256, 256)))
    assert_close(motion, case["motion"], **LOOP_CODES)
    w_plus = networks["mapper"](0.5 * vec("jahoda_1024/identity", (2, 18, 512)), motion)
    assert_close(w_plus, case["wplus"], **LOOP_CODES)
    image = networks["generator"].synthesis(w_plus)
    assert_summary_close(image, case, "img", **LOOP_IMAGES)
    assert_summary_close(face_pool(image, 256), case, "img256", **LOOP_IMAGES)


def estimator(folder: Path, case: Case, wrap: Callable[[dict], object] = dict, *, legacy: bool = False) -> nn.Module:
    return lr.load_network(converted(folder, case, wrap, legacy=legacy))


@torch.no_grad()
def test_golden_arcface(folder) -> None:
    case = Case("arcface_irse50")
    embedder = estimator(folder, case)
    x, y = (img(f"arcface_irse50/{name}", (2, 3, 256, 256)) for name in ("x256", "y256"))
    faces = img("arcface_irse50/x112", (2, 3, 112, 112))
    assert_close(embedder.raw(faces), case["prenorm_112"], rel_l2=1e-5)
    assert_close(embedder.embed(faces), case["embed_112"], rel_l2=1e-5)
    assert_close(id_crop(x)[:1, :, ::8, ::8], case["pooled_112"], rel_l2=1e-5)
    assert_close(embedder(x), case["embed_from_256"], rel_l2=1e-5)
    assert identity_loss(embedder, x, y).item() == pytest.approx(float(case["id_loss"]), abs=1e-5)


@pytest.mark.parametrize("with_counts", [True, False])
@torch.no_grad()
def test_golden_hopenet(folder, with_counts) -> None:
    case = Case("hopenet")

    def wrap(state: dict) -> object:
        return {n: t for n, t in state.items() if with_counts or not n.endswith("num_batches_tracked")}

    network = estimator(folder, case, wrap, legacy=True)
    images = img("hopenet/img", (2, 3, 224, 224))
    for logits, angle in zip(network.logits(images), ("yaw", "pitch", "roll"), strict=True):
        assert_close(logits, case[f"logits_{angle}"], rel_l2=1e-5)
    np.testing.assert_allclose(network(images).numpy(), case["deg"], atol=1e-3)


@pytest.mark.parametrize("name", ["lpips_alex", "lpips_vgg"])
@torch.no_grad()
def test_golden_lpips(folder, name) -> None:
    case = Case(name)
    with np.load(case.folder / "lin_weights.npz") as heads:
        torch.save({key: torch.from_numpy(heads[key]) for key in heads.files}, folder / "heads.pth")
    torch.save({**case.state(), "classifier.6.bias": torch.zeros(1000)}, folder / "trunk.pth")
    report = convert([folder / "trunk.pth", folder / "heads.pth"], folder / "model")
    assert report.left_out == {str(folder / "trunk.pth"): ("classifier.6.bias",)}
    distance = lr.load_network(folder / "model")
    shapes = {entry["name"]: entry["shape"] for entry in case.info["inputs"]}
    for i in range(3):
        a, b = (img(f"{name}/{part}{i}", shapes[f"{name}/{part}{i}"]) for part in "ab")
        b = (a + 0.1 * b).clamp(-1, 1) if i == 1 else b
        assert_close(distance(a, b), case[f"d{i}"], rel_l2=1e-5)
        assert_close(distance.layers(a, b)[0], case[f"d{i}_per_layer"], rel_l2=1e-5)


@pytest.mark.parametrize("stage", [1, 2])
@torch.no_grad()
def test_golden_opengraphau(folder, stage) -> None:
    case = Case(f"opengraphau_stage{stage}")
    detector = estimator(folder, case, lambda state: {"state_dict": {f"module.{n}": t for n, t in state.items()}})
    assert detector.config.stage == stage
    images = img(f"opengraphau_stage{stage}/img", (2, 3, 224, 224))
    for name, features in detector.features(images).items():
        rows, columns = AU_STEPS[name]
        assert_close(features[:, ::rows, ::columns], case[name], rel_l2=1e-5, what=name)
    np.testing.assert_allclose(detector(images).numpy(), case["pred"], atol=3e-6)

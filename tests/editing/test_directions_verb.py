"""`directions fit` and `directions apply`, on a model at toy size whose pictures a reader of noise measures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny
import torch

from latent_reenact.cli import main
from latent_reenact.editing import LatentDirection, calibrate, generator_draw, reader_estimator
from latent_reenact.editing.fitting import FitOptions, fit_direction, model_reader, sample_w_plus
from latent_reenact.errors import ConfigError, WeightsNotFoundError
from latent_reenact.media import read_image, read_provenance, write_image
from latent_reenact.models import BodyConfig, FaceReader, FaceReaderConfig, save_networks
from latent_reenact.systems import load

MEASURE = "yaw_deg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose encoder moves latents far enough to be told apart, and whose reader answers to the picture."""
    networks = {name: network for name, network in vars(tiny.networks()).items() if network is not None}
    torch.manual_seed(1)
    body = BodyConfig(widths=(4, 8), depths=(1, 1), se_reduction=2)
    reader = FaceReader(FaceReaderConfig(input_size=32, body=body, heat_stage=0, heat_width=4, bottleneck=8))
    torch.nn.init.normal_(reader.motion[2].weight)
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_networks(path, {**networks, "face_reader": reader}, tiny.ABOUT)
    return path


@pytest.fixture(scope="module")
def portrait(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "portrait.png"
    write_image(path, tiny.picture(size=32))
    return path


@pytest.fixture
def run(folder, capsys):
    def run(*words: object) -> tuple[int, str, str]:
        code = main([*map(str, words), "--model", str(folder), "--device", "cpu"])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("method", ["boundary", "difference", "component"])
def test_smoke_fit_and_apply(run, portrait, tmp_path, method) -> None:
    out, picture = tmp_path / "yaw.safetensors", tmp_path / "turned.png"
    code, text, _ = run("directions", "fit", MEASURE, "-o", out, "--method", method, "-n", 24, "--json")
    report = json.loads(text)
    assert (code, report["measure"]) == (0, MEASURE)
    low, high = report["range"]
    assert low < high
    direction = LatentDirection.load(out)
    assert direction.calibration.range == (low, high)
    change = 0.9 * (high if high > 0 else low)
    code, text, _ = run("directions", "apply", portrait, out, "--by", change, "-o", picture, "--aligned")
    assert code == 0
    assert str(picture) in text
    assert read_image(picture).shape == (32, 32, 3)
    assert read_provenance(picture).model == "tiny"


def test_feature_apply_moves_the_identitys_latent(run, folder, portrait, tmp_path) -> None:
    values = np.ones(tiny.D, np.float32)
    LatentDirection(name="x", values=values).save(tmp_path / "x.safetensors")
    np.save(tmp_path / "x.npy", np.tile(values, (tiny.L, 1)))
    reenactor = load(folder, device="cpu")
    person = reenactor.identity(portrait, aligned=True)
    expected = reenactor.identity_from_latent(person.w_plus + 0.5).picture
    person.save(tmp_path / "person.safetensors")
    for identity, direction in ((portrait, "x.safetensors"), (tmp_path / "person.safetensors", "x.npy")):
        out = tmp_path / "out.png"
        code, *_ = run("directions", "apply", identity, tmp_path / direction, "--by", 0.5, "-o", out, "--aligned")
        assert code == 0
        assert np.abs(read_image(out).astype(int) - expected).max() <= 1


def test_feature_published_directions_are_calibrated(run, folder, tmp_path) -> None:
    """Of several, the one that follows the measure is taken."""
    reenactor, reader = load(folder, device="cpu"), model_reader(folder)
    own = fit_direction(reenactor, reader, MEASURE, FitOptions(people=24)).direction
    axes = np.stack([np.eye(tiny.D)[0], own.values.mean(0)]).astype(np.float32)[:, None]
    np.savez(tmp_path / "pca.npz", lat_comp=axes, lat_stdev=np.ones(2, np.float32))
    code, text, error = run(
        *("directions", "fit", MEASURE, "--from", tmp_path / "pca.npz"),
        *("-o", tmp_path / "yaw.safetensors", "-n", 24, "--json"),
    )
    assert code == 0, error
    assert json.loads(text)["name"] in ("component-0", "component-1")
    assert LatentDirection.load(tmp_path / "yaw.safetensors").calibration.measure == MEASURE


def test_feature_scale_is_warned_of(run, portrait, tmp_path) -> None:
    direction = LatentDirection(name="x", values=np.ones(tiny.D), latent_std=1e-4)
    direction.save(tmp_path / "x.safetensors")
    code, _, error = run(
        "directions", "apply", portrait, tmp_path / "x.safetensors", "--by", 0.1, "-o", tmp_path / "a.png", "--aligned"
    )
    assert code == 0
    assert "warning: direction 'x' was found among latents" in error


def test_feature_random_faces_do_not_depend_on_the_batch(folder) -> None:
    inversion = load(folder, device="cpu").networks.inversion
    one, other = (sample_w_plus(inversion, 7, 3, batch=batch) for batch in (2, 7))
    np.testing.assert_allclose(one, other, atol=1e-4)
    assert not np.allclose(one, sample_w_plus(inversion, 7, 4))


def test_feature_what_is_asked_for_is_measured(folder) -> None:
    reenactor, reader = load(folder, device="cpu"), model_reader(folder)
    draw, estimator = generator_draw(reenactor.networks.generator), reader_estimator(reader, MEASURE)
    w_plus = sample_w_plus(reenactor.networks.inversion, 24)
    direction = fit_direction(reenactor, reader, MEASURE, FitOptions(people=24)).direction
    direction = calibrate(direction, w_plus, draw, estimator, measure=MEASURE, points=33)
    wanted = 0.5 * direction.calibration.range[1]
    before, after = (estimator(draw(torch.tensor(x))) for x in (w_plus, direction.apply(w_plus, wanted)))
    assert float((after - before).mean()) == pytest.approx(wanted, rel=0.2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fit", "wink", "-o", "{tmp}/x.safetensors"), "measure: got 'wink'"),
        (("fit", MEASURE, "-o", "{tmp}/x.png"), "expected .safetensors"),
        (("fit", MEASURE, "-o", "{tmp}/x.safetensors", "--from", "{tmp}/none.npy"), "none.npy"),
        (("apply", "{portrait}", "{tmp}/none.safetensors", "--by", "1", "-o", "{tmp}/x.png"), "none.safetensors"),
        (("apply", "{portrait}", "{tmp}/wide.npy", "--by", "1", "-o", "{tmp}/x.png", "--aligned"), "shape [9]"),
        (("apply", "{portrait}", "{tmp}/two.npz", "--by", "1", "-o", "{tmp}/x.png"), "holds 2 directions"),
    ],
)
def test_exception_bad_input(run, portrait, tmp_path, words, message) -> None:
    np.save(tmp_path / "wide.npy", np.ones(9))
    np.savez(tmp_path / "two.npz", lat_comp=np.ones((2, 1, tiny.D), np.float32), lat_stdev=np.ones(2, np.float32))
    code, _, error = run("directions", *(word.format(tmp=tmp_path, portrait=portrait) for word in words))
    assert code in (1, 2)
    assert message in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.glob("x.*"))


def test_exception_no_reader(tmp_path) -> None:
    save_networks(tmp_path / "bare", {"generator": tiny.networks().generator}, tiny.ABOUT)
    with pytest.raises(WeightsNotFoundError, match="face_reader"):
        model_reader(tmp_path / "bare")


def test_exception_options() -> None:
    with pytest.raises(ConfigError, match="at least 16"):
        FitOptions(people=3)

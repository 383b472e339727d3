"""Inverted identities on disk: made once, whole, by one process each, and found again by key."""

from __future__ import annotations

import pytest
import tiny
import torch
from safetensors.torch import save_file

from latent_reenact.errors import CorruptFileError
from latent_reenact.models.pixels import from_pixels
from latent_reenact.training import identities
from latent_reenact.training.identities import (
    IdentityCache,
    InversionCacheConfig,
    Portion,
    encoder_hash,
    invert_portions,
    part_path,
    shard_portion,
)

CONFIG = InversionCacheConfig(batch=2, picture_size=16)


def portion(name: str, count: int = 3, seed: int = 0) -> Portion:
    pictures = torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(seed))
    samples = [(f"{name}/c/{i:04d}", picture.to(torch.uint8)) for i, picture in enumerate(pictures)]
    return Portion(name, f"{name}{seed}", lambda: iter(samples))


@pytest.fixture(scope="module")
def restyle():
    return tiny.networks().inversion


def test_smoke_rows_are_what_the_encoder_gives(restyle, tmp_path) -> None:
    portions = [portion("a"), portion("b", 2, seed=1)]
    cache = IdentityCache(invert_portions(tmp_path, restyle, portions, CONFIG))
    assert len(cache) == 5
    samples = dict(sample for p in portions for sample in p.samples())
    keys = ["b/c/0001", "a/c/0002"]
    expected = restyle.invert(from_pixels(torch.stack([samples[key] for key in keys])))
    torch.testing.assert_close(cache.latents(keys), expected, atol=1e-5, rtol=1e-5)
    drawn = torch.nn.functional.adaptive_avg_pool2d(restyle.generator.synthesis(expected), (16, 16))
    torch.testing.assert_close(from_pixels(cache.pictures(keys)), drawn.clamp(-1, 1), atol=5e-3, rtol=0)


def test_shapes(restyle, tmp_path) -> None:
    cache = IdentityCache(invert_portions(tmp_path, restyle, [portion("a")], CONFIG))
    assert cache.latents(["a/c/0000"]).shape == (1, tiny.L, tiny.D)
    assert cache.latents(["a/c/0000"]).dtype == torch.float32
    assert cache.pictures(["a/c/0000"]).shape == (1, 3, 16, 16)
    assert cache.pictures(["a/c/0000"]).dtype == torch.uint8
    large = InversionCacheConfig(picture_size=256)
    cache = IdentityCache(invert_portions(tmp_path, restyle, [portion("a")], large))
    assert cache.pictures(["a/c/0000"]).shape == (1, 3, 32, 32)  # never enlarged


def test_feature_what_is_made_is_not_made_again(restyle, tmp_path) -> None:
    folder = invert_portions(tmp_path, restyle, [portion("a")], CONFIG)

    def refuse():
        raise AssertionError("read again")

    again = Portion("a", portion("a").fingerprint, refuse)
    assert invert_portions(tmp_path, restyle, [again, portion("b")], CONFIG) == folder
    assert len(IdentityCache(folder)) == 6


def test_feature_a_part_that_was_cut_off_is_made_again(restyle, tmp_path) -> None:
    folder = invert_portions(tmp_path, restyle, [portion("a")], CONFIG)
    path = part_path(folder, portion("a"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match="remove it"):
        IdentityCache(folder)
    invert_portions(tmp_path, restyle, [portion("a")], CONFIG)
    assert path.read_bytes() == whole


def test_feature_a_failed_part_leaves_nothing(restyle, tmp_path) -> None:
    def broken():
        yield from portion("a").samples()
        raise CorruptFileError("unreadable")

    with pytest.raises(CorruptFileError, match="unreadable"):
        invert_portions(tmp_path, restyle, [Portion("a", "x", broken)], CONFIG)
    assert not list(tmp_path.rglob("*part*"))


def test_feature_ranks_share_the_work(restyle, tmp_path) -> None:
    portions = [portion(name) for name in "abc"]
    folder = invert_portions(tmp_path, restyle, portions, CONFIG, rank=0, world_size=2)
    assert len(IdentityCache(folder)) == 6
    invert_portions(tmp_path, restyle, portions, CONFIG, rank=1, world_size=2)
    one = IdentityCache(folder, portions)
    alone = IdentityCache(invert_portions(tmp_path / "alone", restyle, portions, CONFIG), portions)
    keys = [key for p in portions for key, _ in p.samples()]
    assert torch.equal(one.latents(keys), alone.latents(keys))


def test_feature_another_encoder_has_another_folder(restyle, tmp_path) -> None:
    other = tiny.networks(seed=1).inversion
    assert encoder_hash(restyle, CONFIG) == encoder_hash(tiny.networks().inversion, CONFIG)
    assert encoder_hash(restyle, CONFIG) != encoder_hash(other, CONFIG)
    assert encoder_hash(restyle, CONFIG) != encoder_hash(restyle, InversionCacheConfig(steps=1, picture_size=16))
    first = invert_portions(tmp_path, restyle, [portion("a")], CONFIG)
    assert invert_portions(tmp_path, other, [portion("a")], CONFIG) != first


def test_feature_a_changed_shard_is_inverted_anew(tmp_path) -> None:
    path = tmp_path / "000.tar"
    path.write_bytes(b"one")
    before = shard_portion(path, lambda p: [])
    path.write_bytes(b"two")
    assert shard_portion(path, lambda p: []).fingerprint != before.fingerprint


def test_exception_unknown_key(restyle, tmp_path) -> None:
    cache = IdentityCache(invert_portions(tmp_path, restyle, [portion("a")], CONFIG))
    with pytest.raises(CorruptFileError, match="no inverted identity for 'b/c/0000'"):
        cache.latents(["b/c/0000"])
    assert "b/c/0000" not in cache


def test_exception_part_is_missing_or_of_another_kind(restyle, tmp_path) -> None:
    folder = invert_portions(tmp_path, restyle, [portion("a")], CONFIG)
    with pytest.raises(CorruptFileError, match="part-b"):
        IdentityCache(folder, [portion("a"), portion("b")])
    save_file({"x": torch.zeros(1)}, part_path(folder, portion("b")))
    with pytest.raises(CorruptFileError, match="part-b"):
        IdentityCache(folder)


def test_exception_inversion_that_is_not_finite(restyle, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(identities, "from_pixels", lambda pixels: pixels.float() * float("nan"))
    with pytest.raises(CorruptFileError, match="no finite latent among a/c/0000"):
        invert_portions(tmp_path, restyle, [portion("a")], CONFIG)

"""Configurations: what is right survives a round trip, what is wrong is named, and nothing else happens."""

from __future__ import annotations

import copy
import json
from importlib import resources
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from latent_reenact.config import from_dict, load_yaml, to_dict
from latent_reenact.errors import ConfigError
from latent_reenact.models import EncoderConfig, GeneratorConfig, MotionMapperConfig
from latent_reenact.training.recipe import RecipeConfig

BUILTIN = resources.files("latent_reenact.training") / "configs" / "builtin.yaml"
RECIPE: dict[str, Any] = yaml.safe_load(BUILTIN.read_text())
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)


def paths(value: Any, prefix: tuple = ()) -> list[tuple]:
    """Every key path of nested dictionaries."""
    if not isinstance(value, dict):
        return [prefix] if prefix else []
    return [prefix] * bool(prefix) + [p for key, inner in value.items() for p in paths(inner, (*prefix, key))]


def test_smoke_shipped_config() -> None:
    recipe = load_yaml(RecipeConfig, str(BUILTIN))
    assert recipe.generator.generator.resolution == 128
    assert recipe.generator.growth[64].loop.images > 0


@pytest.mark.parametrize("config", [GeneratorConfig(), EncoderConfig(), MotionMapperConfig()])
def test_feature_round_trip_through_json(config) -> None:
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config


def test_feature_integer_keys_survive_json() -> None:
    config = GeneratorConfig(resolution=8, channels={4: 2, 8: 2})
    assert from_dict(GeneratorConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_feature_base_is_what_a_config_is_laid_over(tmp_path) -> None:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(RECIPE))
    path = tmp_path / "mine.yaml"
    path.write_text("base: base.yaml\nname: mine\ngenerator: {growth: {64: {loop: {batch: 3}}}}\n")
    mine, theirs = load_yaml(RecipeConfig, path, ["data.portraits=7"]), load_yaml(RecipeConfig, str(BUILTIN))
    assert (mine.name, mine.data.portraits, mine.generator.growth[64].loop.batch) == ("mine", 7, 3)
    assert mine.generator.growth[64].loop.images == theirs.generator.growth[64].loop.images
    assert mine.motion == theirs.motion


def test_feature_evening_recipe_makes_the_same_networks() -> None:
    evening, whole = (load_yaml(RecipeConfig, str(BUILTIN.parent / name)) for name in ("builtin-evening.yaml", BUILTIN))
    assert evening.generator.generator == whole.generator.generator
    assert evening.motion.encoder == whole.motion.encoder
    assert evening.motion.mapper == whole.motion.mapper
    assert evening.inversion.encoder == whole.inversion.encoder
    assert evening.folder != whole.folder


@pytest.mark.parametrize("base", ["none.yaml", "chain.yaml", "list.yaml", "[1]"])
def test_exception_base_that_cannot_be_one(tmp_path, base) -> None:
    (tmp_path / "chain.yaml").write_text("base: list.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    (tmp_path / "c.yaml").write_text(f"base: {base}")
    with pytest.raises(ConfigError, match=r"c\.yaml: base|cannot read the config"):
        load_yaml(RecipeConfig, tmp_path / "c.yaml")


def test_feature_overrides(tmp_path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    recipe = load_yaml(RecipeConfig, path, ["data.portraits=7", "motion.loop.flat=0.5", "name=mine"])
    assert (recipe.data.portraits, recipe.motion.loop.flat, recipe.name) == (7, 0.5, "mine")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_exception_any_wrong_value_is_a_config_error(data) -> None:
    """One value anywhere in the recipe is replaced by anything: it is accepted or it is a ConfigError."""
    values = copy.deepcopy(RECIPE)
    *parents, leaf = data.draw(st.sampled_from(paths(RECIPE)))
    target = values
    for key in parents:
        target = target[key]
    target[leaf] = data.draw(ANYTHING)
    try:
        from_dict(RecipeConfig, values)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 (an error is allowed, not required)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolutoin": 64}, "did you mean 'resolution'"),
        ({"resolution": 100}, "power of two"),
        ({"resolution": "64"}, "expected int"),
        ({"resolution": True}, "expected int"),
        ({"conv_clamp": float("nan")}, "finite"),
        ({"channels": {"four": 3}}, "expected int"),
    ],
)
def test_exception_names_the_key_and_what_was_expected(change, message) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(GeneratorConfig, change)


@pytest.mark.parametrize("word", ["motion.loop.images=0", "motion.optimizer.lr=-1.0", "motion.loop.flat=1.5"])
def test_exception_training_out_of_range(word) -> None:
    with pytest.raises(ConfigError, match="expected"):
        load_yaml(RecipeConfig, str(BUILTIN), [word])


def test_exception_missing_values_are_named() -> None:
    with pytest.raises(ConfigError, match="missing name, folder"):
        from_dict(RecipeConfig, {k: v for k, v in RECIPE.items() if k not in ("name", "folder")})


@pytest.mark.parametrize("text", ["a: [", "\x00", "&a [*a]", "- 1", "[" * 5000, "!!python/object/apply:os.system [ls]"])
def test_exception_bad_yaml(tmp_path, text) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_yaml(RecipeConfig, path)


def test_exception_yaml_bomb(tmp_path) -> None:
    """Nine levels of ten aliases each: read without being unfolded, and refused."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="unknown key"):
        load_yaml(RecipeConfig, path)


@pytest.mark.parametrize("word", ["", "=3", "name", "name.x=3", "data.seed=[", "data.sede=1"])
def test_exception_bad_override(tmp_path, word) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    with pytest.raises(ConfigError):
        load_yaml(RecipeConfig, path, [word])


def test_exception_missing_file(tmp_path) -> None:
    with pytest.raises(ConfigError, match="give the path of a YAML file"):
        load_yaml(RecipeConfig, tmp_path / "nothing.yaml")


def test_feature_overrides_reach_under_numbers() -> None:
    changed = load_yaml(RecipeConfig, str(BUILTIN), ["generator.growth.64.loop.images=5"])
    assert changed.generator.growth[64].loop.images == 5
    assert changed.generator.growth[64].loop.flat == RECIPE["generator"]["growth"][64]["loop"]["flat"]
    assert list(changed.generator.growth) == list(RECIPE["generator"]["growth"])


def test_feature_numbers_with_an_exponent_and_no_point() -> None:
    assert load_yaml(RecipeConfig, str(BUILTIN), ["inversion.optimizer.lr=1e-4"]).inversion.optimizer.lr == 1e-4

"""The shape of the house: floors, packages, light imports, and a tree that holds what it should."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPO = Path(__file__).parent.parent
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
# Where each package of pyproject.toml begins in the tree.
ROOTS = {name: REPO / place for name, place in PROJECT["tool"]["setuptools"]["package-dir"].items()}

FLOORS = {
    **dict.fromkeys(["errors", "config", "custom_ops"], 0),
    **dict.fromkeys(["media", "weights", "face", "synthface", "samples", "third_party"], 1),
    **dict.fromkeys(["metrics", "models"], 2),
    **dict.fromkeys(["systems"], 3),
    **dict.fromkeys(["editing", "training", "evaluation"], 4),
    **dict.fromkeys(["cli", "webui"], 5),
    **dict.fromkeys(["__main__"], 6),
}
SIDEWAYS = {("config", "errors"), ("custom_ops", "errors"), ("face", "media"), ("cli", "webui")}

TOP_LEVEL = {"pyproject.toml", "latent_reenact", "third_party", "custom_ops", "notebooks", "tests", "app.py"}
PAPERS = {"docs", "LICENSE", "CITATION.cff", "constraints.txt"}
BUILT = {"build", "dist", "out", "runs", "__pycache__", "latent_reenact.egg-info"}

HEAVY = ["torch", "numpy", "scipy", "PIL", "cv2", "av", "dlib", "numba", "safetensors", "typer", "yaml"]
OPTIONAL = {
    "triton",
    "onnxruntime",
    "ray",
    *("gradio", "starlette", "matplotlib"),  # the app's, and two that Gradio brings or looks for
    *("psp", "training"),  # modules of the clones that `bench --against` is given
}  # looked for where they are used, and named in the error where they are missing
DISTRIBUTIONS = {
    **{"PIL": "pillow", "cv2": "opencv-python-headless", "dlib": "dlib-bin", "yaml": "pyyaml"},
    "lightning_fabric": "lightning-fabric",
}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for root, folder in ROOTS.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([root, *(parts[:-1] if parts[-1] == "__init__" else parts)])] = path
    return found


MODULES = modules()


def imports(name: str) -> Iterator[str]:
    """All a module imports, dotted: also inside functions, by `import_module("literal")`, as `latent_reenact.name`."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += [node.module] if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "latent_reenact":
            yield f"latent_reenact.{node.attr}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def room(dotted: str) -> str:
    """`latent_reenact.face.pose` -> `face`; the package itself -> ``."""
    return dotted.removeprefix("latent_reenact").lstrip(".").split(".")[0]


def is_ours(dotted: str) -> bool:
    return dotted.split(".")[0] in ("latent_reenact", "custom_ops", "third_party")


def run(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds the package where this one did."""
    return subprocess.run([sys.executable, *flags, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=300)


def test_smoke() -> None:
    assert {"latent_reenact", "latent_reenact.custom_ops.reference", "latent_reenact.face.pose"} <= MODULES.keys()
    assert "latent_reenact.errors.UsageError" in set(imports("latent_reenact.media.video_writer"))
    assert "latent_reenact.custom_ops.operators.upfirdn2d" in set(imports("latent_reenact.custom_ops"))


def test_feature_every_room_has_a_floor() -> None:
    assert {room(name) for name in MODULES} - {""} <= FLOORS.keys()


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"latent_reenact"}))
def test_feature_imports_go_down(name: str) -> None:
    here = room(name)
    for target in filter(is_ours, imports(name)):
        there = room(target)
        if there in (here, "", "__version__"):  # "": `import latent_reenact`, whose names are walked as used
            continue
        assert there in FLOORS, f"{name} imports {target}: import from the room that owns it"
        below = FLOORS[there] < FLOORS[here] or (here, there) in SIDEWAYS
        assert below, f"{name} (floor {FLOORS[here]}) imports {target} (floor {FLOORS[there]})"


def test_feature_custom_ops_need_torch_alone() -> None:
    foreign = {t for name in MODULES if room(name) == "custom_ops" for t in imports(name) if room(t) != "custom_ops"}
    allowed = {*sys.stdlib_module_names, "torch", "triton"}
    assert {t.split(".")[0] for t in foreign if room(t) != "errors"} <= allowed


def test_feature_dependencies_are_declared_and_used() -> None:
    """What is imported is declared, and what is declared is imported."""
    project = PROJECT["project"]
    declared = {requirement_name(r) for r in project["dependencies"]}
    trainers = declared | {requirement_name(r) for r in project["optional-dependencies"]["train"]}
    used = set()
    for name in MODULES:
        outside = {t.split(".")[0] for t in imports(name) if not is_ours(t)} - sys.stdlib_module_names
        needed = {DISTRIBUTIONS.get(n, n) for n in outside}
        allowed = trainers if room(name) in ("synthface", "training") else declared
        assert needed - OPTIONAL <= allowed, f"{name} imports what pyproject.toml does not declare for it"
        used |= needed
    found_otherwise = {"face_recognition_models", "tensorboard"}  # as data; through torch
    assert trainers - used <= found_otherwise, "declared, yet imported nowhere"


def requirement_name(requirement: str) -> str:
    return re.split(r"[\[<>=;~! ]", requirement)[0]


def test_feature_package_list_equals_the_tree() -> None:
    in_tree = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == in_tree
    for name, path in MODULES.items():
        assert (path.parent / "__init__.py").exists(), f"{name} lies outside every package"


def test_feature_package_data_is_shipped() -> None:
    patterns = {
        str(next(ROOTS[root] for root in sorted(ROOTS, key=len, reverse=True) if package.startswith(root)))
        + package.removeprefix(max((r for r in ROOTS if package.startswith(r)), key=len)).replace(".", "/")
        + "/"
        + pattern
        for package, names in PROJECT["tool"]["setuptools"]["package-data"].items()
        for pattern in names
    }
    for folder in ROOTS.values():
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts:
                assert any(fnmatch(str(path), p) for p in patterns), f"{path} would be missing from the wheel"


def test_feature_top_level() -> None:
    names = {path.name for path in REPO.iterdir() if not path.name.startswith(".") and path.suffix != ".md"}
    assert names - BUILT <= TOP_LEVEL | PAPERS
    assert {"latent_reenact", "custom_ops", "third_party", "tests", "pyproject.toml", "LICENSE"} <= names


def test_feature_names_of_test_files_are_unique() -> None:
    """The folders of tests are no packages: two files of one name cannot be collected together."""
    names = [path.name for path in (REPO / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)


def test_feature_import_is_light() -> None:
    code = f"""
import sys
import latent_reenact
heavy = [name for name in {HEAVY!r} if name in sys.modules]
assert not heavy, heavy
"""
    result = run(code, "-W", "error")
    assert result.returncode == 0, result.stderr
    assert not result.stdout + result.stderr


@pytest.mark.parametrize("name", ["custom_ops", "third_party"])
def test_exception_top_level_folder_is_not_a_package_of_its_own(name: str) -> None:
    result = run(f"import {name}")
    assert result.returncode == 1
    assert f"import this package as latent_reenact.{name}" in result.stderr


def test_feature_public_names() -> None:
    """The names users rely on: adding or removing one is an edit of public_names.json in the same change."""
    frozen = json.loads((Path(__file__).parent / "public_names.json").read_text(encoding="utf-8"))
    import latent_reenact
    from latent_reenact import errors

    assert sorted(latent_reenact.__all__) == frozen["latent_reenact"]
    assert sorted(n for n, v in vars(errors).items() if isinstance(v, type)) == frozen["latent_reenact.errors"]
    for name in frozen["latent_reenact"]:
        assert getattr(latent_reenact, name) is not None
    assert dir(latent_reenact) == frozen["latent_reenact"]
    with pytest.raises(AttributeError, match="nonsense"):
        latent_reenact.nonsense  # noqa: B018


def test_feature_every_module_imports_alone() -> None:
    """Each module first in an interpreter that knows nothing of ours, warnings being errors.

    One process loads the heavy foreign packages, and forks once for each module.
    """
    names = set(MODULES)
    if importlib.util.find_spec("triton") is None:  # its kernels, which nobody asks for then
        names -= {f"latent_reenact.custom_ops.{name}" for name in ("triton_ops", "styled_triton")}
    code = f"""
import os, sys, traceback
import torch, numpy, cv2, av, PIL.Image, dlib
names, failed = {sorted(names)!r}, []
for name in names:
    child = os.fork()
    if child == 0:
        try:
            __import__(name)
        except BaseException:
            print(name, file=sys.stderr)
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
sys.exit(f"cannot be imported alone: {{failed}}" if failed else 0)
"""
    result = run(code, "-W", "error")
    assert result.returncode == 0, result.stderr

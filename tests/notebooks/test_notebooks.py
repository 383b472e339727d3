"""The notebooks: both files of a pair agree, each runs, shows pictures, and leaves nothing behind.

python tests/notebooks/test_notebooks.py [NAME ...]        runs them and writes their .ipynb files anew, with outputs,
                                                           where they take no more than their time
"""

from __future__ import annotations

import base64
import io
import os
import resource
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image
from traitlets.config import Config

from latent_reenact.evaluation.pairs import draw_pairs
from latent_reenact.media import VideoReader, read_provenance

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = ("quick_start", "comparing_baselines", "random_identities", "directions")
CPU_LIMIT_S = 120  # of one core, for those who write them anew: on a CI machine seconds tell more of the machine
CELL_LIMIT_S = 900
MOST_BYTES = 300_000
PICTURES = ("image/png", "image/jpeg")


def read(name: str, suffix: str) -> NotebookNode:
    return jupytext.read(FOLDER / f"{name}{suffix}")


def run(notebook: NotebookNode, temporary: Path) -> float:
    """Execute a notebook in a process of its own whose temporary files go into `temporary`: seconds of CPU it took.

    Raises CellExecutionError where a cell fails, TimeoutError where one never ends.
    """
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as own:  # short, as the names of sockets have to be
        environment |= {"IPYTHONDIR": own}
        sockets = Config(KernelManager={"transport": "ipc", "connection_file": f"{own}/kernel.json"})
        place = {"metadata": {"path": str(FOLDER)}}
        client = NotebookClient(notebook, config=sockets, timeout=CELL_LIMIT_S, resources=place, record_timing=False)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        client.execute(env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def pictures(notebook: NotebookNode) -> list[np.ndarray]:
    """What it shows, uint8 [H, W, 3]."""
    shown = [data for cell in notebook.cells for output in cell.get("outputs", []) if (data := output.get("data"))]
    coded = [data[kind] for data in shown for kind in PICTURES if kind in data]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB")) for one in coded]


def without_pictures(notebook: NotebookNode) -> NotebookNode:
    """Its words: coded pictures may hold any of them by chance."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output["data"] = {kind: data for kind, data in output.get("data", {}).items() if kind not in PICTURES}
    return notebook


def files() -> set[Path]:
    return {path for path in FOLDER.rglob("*") if "__pycache__" not in path.parts}


# ---------------------------------------------------------------- what is in the repository


def test_smoke_four_pairs() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {*NAMES}
    assert {path.stem for path in FOLDER.glob("*.py")} == {*NAMES, "pictures"}


@pytest.mark.parametrize("name", NAMES)
def test_feature_pair_agrees(name: str) -> None:
    script, notebook = read(name, ".py"), read(name, ".ipynb")
    nbformat.validate(notebook)
    both = [[(cell.cell_type, cell.source) for cell in one.cells] for one in (script, notebook)]
    assert both[0] == both[1], "they differ: run python tests/notebooks/test_notebooks.py"


@pytest.mark.parametrize("name", NAMES)
def test_feature_what_is_committed(name: str) -> None:
    """Pictures for those who read it on the web, and nothing of the machine that drew them."""
    assert len((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")) < MOST_BYTES
    text = nbformat.writes(without_pictures(read(name, ".ipynb")))
    assert "widget-view" not in text
    for word in ("/tmp", "/home", "/root", "/work", "Traceback", "Warning:"):
        assert word not in text
    assert len(pictures(read(name, ".ipynb"))) >= 2


def test_feature_clips_have_their_answers() -> None:
    folder = FOLDER / "clips"
    people = [f"synthface-{i:04d}" for i in range(6)]
    pairs = draw_pairs({name: name for name in people}, "cross", len(people), seed=0)
    wanted = {*people, *(f"{pair.identity}_as_{pair.driving}" for pair in pairs)}
    assert {path.stem for path in folder.glob("*.mp4")} == wanted
    for name in wanted:
        path = folder / f"{name}.mp4"
        assert np.stack(list(VideoReader(path))).shape == (8, 128, 128, 3)
        assert read_provenance(path).model == "synthface"


# ---------------------------------------------------------------- running


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_feature_runs(name: str, tmp_path: Path) -> None:
    notebook, before = read(name, ".py"), files()
    assert run(notebook, tmp_path) > 1
    shown = pictures(notebook)
    assert shown
    assert all(min(one.shape[:2]) > 100 and one.std() > 5 for one in shown), "a picture is small or empty"
    assert files() == before
    assert not list(tmp_path.iterdir()), "temporary files stayed behind"


@pytest.mark.slow
def test_exception_a_bad_notebook_is_noticed(tmp_path: Path) -> None:
    """Of the runner itself: a cell that fails, and a file that stays."""
    leaves = "import tempfile; tempfile.mkdtemp()"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in (leaves, "1 / 0", "2")])
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        run(notebook, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    assert not pictures(notebook)


# ---------------------------------------------------------------- writing


def stored(notebook: NotebookNode) -> NotebookNode:
    """As committed: pictures as small as they can be, without widgets and films, the same on any machine."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_still(output)]
            for output in cell.outputs:
                _shrink(output.get("data", {}))
    return notebook


def _is_still(output: NotebookNode) -> bool:
    data = output.get("data", {})
    moving = "image/gif" in data or "data:video" in data.get("text/html", "")
    return not moving and "application/vnd.jupyter.widget-view+json" not in data


def _shrink(data: NotebookNode) -> None:
    """Photographs as JPEG, plots as PNG of 48 colours: whichever is smaller."""
    if "image/png" not in data:
        return
    image = Image.open(io.BytesIO(base64.b64decode(data.pop("image/png")))).convert("RGB")
    for kind, drawn, options in (
        ("jpeg", image, {"quality": 70}),
        ("png", image.quantize(48, dither=Image.Dither.NONE), {"optimize": True}),
    ):
        written = io.BytesIO()
        drawn.save(written, kind, **options)
        data[f"image/{kind}"] = base64.b64encode(written.getvalue()).decode()
    data.pop(max(PICTURES, key=lambda kind: len(data[kind])))


def write(name: str) -> None:
    notebook = read(name, ".py")
    with tempfile.TemporaryDirectory() as folder:
        seconds = run(notebook, Path(folder))
    if seconds > CPU_LIMIT_S:
        sys.exit(f"{name}: took {seconds:.0f} s of CPU, notebooks may take {CPU_LIMIT_S}; make it lighter")
    path = FOLDER / f"{name}.ipynb"
    nbformat.write(stored(notebook), path)
    print(f"{path.name}: {seconds:.0f} s of CPU, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or NAMES:
        write(chosen)
    sys.exit(0)

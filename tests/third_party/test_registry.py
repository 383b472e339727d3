"""What is published: every entry complete, and docs/published-models.md its equal.

python tests/third_party/test_registry.py        writes docs/published-models.md anew
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from latent_reenact.errors import ConfigError, WeightsNotFoundError
from latent_reenact.third_party import registry
from latent_reenact.third_party.registry import PublishedFile, PublishedModel, Registry, find, load_registry

DOCUMENT = Path(__file__).parents[2] / "docs" / "published-models.md"
HEAD = """# Published models

What `latent-reenact models fetch NAME` knows, from `third_party/registry.json`; this page is written by
`python tests/third_party/test_registry.py`. None of it comes with this package, and each licence is its authors'.

A model is downloaded, checked and converted; a file alone is downloaded and checked. Where only a browser gets a file
(Google Drive, OneDrive), `fetch` prints what to download, where to put it and what to run then. A hash that is not
known beforehand is recorded on first use in `files/hashes.json` and compared ever after. `--offline`, or
`LATENT_REENACT_OFFLINE=1`, makes no connection. Files are kept in `~/.cache/latent_reenact/files`, models in
`~/.cache/latent_reenact/models` (`$LATENT_REENACT_HOME`, with `files` beside it).
"""


def document() -> str:
    found = load_registry()
    models = [f"| `{m.name}` | {m.description} | {', '.join(f'`{n}`' for n in m.files)} |" for m in found.models]
    files = [
        f"| `{f.name}` | {f.purpose} | {f.licence}{'; **not for commercial use**' if f.non_commercial else ''} "
        f"| {f.size} | {f'by browser, from [its page]({f.page})' if f.needs_browser else f'[direct]({f.url})'} "
        f"| {known(f)} | {f.citation} |"
        for f in found.files
    ]
    return "\n".join(
        [
            HEAD,
            "## Models\n\n| name | what it is | files |\n|---|---|---|",
            *models,
            "\n## Files\n\n| name | what for | licence | size | how to get it | SHA-256 | cite |\n" + "|---" * 7 + "|",
            *files,
            "",
        ]
    )


def known(file: PublishedFile) -> str:
    if file.sha256 is not None:
        return f"`{file.sha256[:16]}…`"
    return f"begins `{file.sha256_prefix}`" if file.sha256_prefix else "on first use"


def test_smoke() -> None:
    model = find("jahoda-ffhq-1024")
    assert isinstance(model, PublishedModel)
    files = load_registry().files_of(model)
    assert [file.name for file in files] == ["best_model.pt", "restyle_psp_ffhq_encode.pt"]
    assert all(file.needs_browser and file.non_commercial for file in files)


def test_feature_every_entry_is_complete() -> None:
    found = load_registry()
    for file in found.files:
        assert file.licence, file.name
        assert file.purpose, file.name
        assert file.citation, file.name
        assert file.url is None or file.url.startswith("https://"), file.name
        assert not (file.sha256 and file.sha256_prefix), f"{file.name}: one of the two is enough"
    assert [file.name for file in found.files if "ffhq" in file.name and not file.non_commercial] == []


def test_feature_torchvision_hashes_are_those_in_the_names() -> None:
    files = [file for file in load_registry().files if (file.url or "").startswith("https://download.pytorch.org/")]
    assert len(files) == 5
    for file in files:
        assert (file.sha256 or file.sha256_prefix or "").startswith(file.name[-12:-4])


def test_feature_document_is_the_registry() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")
    assert written == document(), "if the registry was meant to change, run python tests/third_party/test_registry.py"


def test_exception_unknown_name() -> None:
    with pytest.raises(WeightsNotFoundError, match="did you mean 'jahoda-ffhq-1024'"):
        find("jahoda-ffhq")
    with pytest.raises(WeightsNotFoundError, match="models list --published"):
        find("xyz")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "../weights.pt"}, "name"),
        ({"unpack": "a/b"}, "unpack"),
        ({"url": "ftp://a.example/f"}, "url"),
        ({"page": "javascript:alert(1)"}, "page"),
        ({"sha256": "ab"}, "sha256"),
        ({"bytes": 0}, "bytes"),
    ],
)
def test_exception_bad_entry(change, says) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(load_registry().files[0], **change)


def test_exception_bad_registry(tmp_path, monkeypatch) -> None:
    good = json.loads(registry.REGISTRY.read_text(encoding="utf-8"))
    path = tmp_path / "registry.json"
    monkeypatch.setattr(registry, "REGISTRY", path)
    bad = {
        "cannot read": "{",
        "mapping": "[]",
        "did you mean 'sha256'": json.dumps({**good, "files": [{**good["files"][0], "sha265": ""}]}),
        "missing licence": json.dumps(
            {**good, "files": [{k: v for k, v in good["files"][0].items() if k != "licence"}]}
        ),
        "files that are not listed": json.dumps({**good, "files": good["files"][1:]}),
        "listed twice": json.dumps({**good, "files": good["files"] + good["files"][:1]}),
    }
    for says, text in bad.items():
        path.write_text(text)
        with pytest.raises(ConfigError, match=says):
            load_registry.__wrapped__()
    assert isinstance(load_registry(), Registry)


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
    sys.exit(0)

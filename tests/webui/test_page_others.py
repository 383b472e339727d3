"""The tabs Random people, Compare and Models, the ways between tabs, a phone, and the dark, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_process import AppProcess, stub
from fake_reenactor import SKIN
from test_page_reenact import assert_marked, downloaded, upload

from latent_reenact import samples
from latent_reenact.media import probe_video, read_image, write_image

pytestmark = pytest.mark.slow

Open = Callable[..., Any]


def people(app: AppProcess, open_page: Open) -> Any:
    page = open_page(app.url)
    page.get_by_role("tab", name="Random people").click()
    page.locator("#lr-people button.thumbnail-item").nth(11).wait_for()
    return page


def test_feature_same_seed_same_faces(app: AppProcess, open_page: Open, tmp_path: Path) -> None:
    page = people(app, open_page)
    pictures = []
    for number, seed in enumerate((7, 19, 7)):
        page.locator("#lr-seed input").fill(str(seed))
        page.locator("#lr-seed-show").click()
        page.locator("#lr-people .caption-label").first.get_by_text(str(seed), exact=True).wait_for()
        page.locator("#lr-people button.thumbnail-item").first.click()
        page.get_by_text(f"Person {seed} is chosen.").wait_for()
        folder = tmp_path / str(number)
        folder.mkdir()
        path = downloaded(page, "#lr-random-download", folder)
        assert_marked(path, "sample")
        pictures.append(read_image(path))
    assert (pictures[0] == pictures[2]).all()
    assert not (pictures[0] == pictures[1]).all()


def test_feature_random_person_goes_to_the_sliders(app: AppProcess, open_page: Open) -> None:
    page = people(app, open_page)
    page.locator("#lr-people button.thumbnail-item").nth(4).click()
    page.get_by_text("Person 5 is chosen.").wait_for()
    page.locator("#lr-use-pose").click()
    page.locator("#lr-pose-stage img[alt='Random person 5, drawn']").wait_for()


def test_feature_random_person_goes_to_reenact(app: AppProcess, open_page: Open) -> None:
    page = people(app, open_page)
    page.locator("#lr-people button.thumbnail-item").nth(1).click()
    page.get_by_text("Person 2 is chosen.").wait_for()
    page.locator("#lr-use-reenact").click()
    page.locator("#lr-identity img").wait_for()
    upload(page, "#lr-driving-picture", samples.path("driving.png"))
    page.locator("#lr-start").click()
    page.locator("#lr-result .lr-wipe").wait_for()
    page.locator("#lr-to-pose").click()
    page.locator("#lr-pose-stage img[alt='Random person 2, drawn']").wait_for()


def test_feature_compare(app: AppProcess, open_page: Open, tmp_path: Path) -> None:
    page = open_page(app.url)
    page.get_by_role("tab", name="Compare").click()
    page.locator("#lr-compare-go").click()
    page.locator(".lr-table").wait_for(timeout=240_000)
    names = page.locator(".lr-card figcaption").all_inner_texts()
    assert names[0] == "Driving"
    assert {"builtin", "linear-builtin"} <= set(names)
    cells = page.locator(".lr-table td").all_inner_texts()
    assert len(cells) == 8
    assert all(float(cell) >= 0 for cell in cells)
    path = downloaded(page, "#lr-compare-download", tmp_path)
    assert_marked(path, "compare")
    assert probe_video(path).frames == 50


def test_feature_models_and_licences(app: AppProcess, open_page: Open) -> None:
    page = open_page(app.url)
    page.get_by_role("tab", name="Models").click()
    text = page.locator("#lr-models").inner_text()
    assert "builtin" in text
    assert "Apache-2.0" in text
    assert "jahoda-ffhq-1024" in text
    assert "non-commercial" in text.lower()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_feature_phone(app: AppProcess, open_page: Open, scheme: str) -> None:
    """Nothing is wider than a phone, everything can be reached, and text stands out from what is behind it."""
    page = open_page(app.url, width=390, height=844, has_touch=True, color_scheme=scheme)
    page.get_by_role("button", name="The first portrait laughs").tap()
    page.locator("#lr-result .lr-wipe").wait_for()
    page.wait_for_function(
        "(() => { const r = document.querySelector('#lr-result .lr-stage').getBoundingClientRect();"
        " return r.top < innerHeight && r.bottom > 0; })()"
    )
    for tab in ("Pose and expression", "Random people", "Compare", "Models"):
        direct = page.get_by_role("tab", name=tab)
        if direct.count():
            direct.tap()
        else:
            page.get_by_label("More tabs").first.tap()
            page.locator(".lr-tabs .overflow-dropdown button").get_by_text(tab).first.tap()
        page.wait_for_timeout(700)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 391, f"{tab} is {wide} px wide"
    assert page.evaluate(CONTRAST) >= 4.5


CONTRAST = """() => {
  const light = (c) => { const v = c.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255)
    .map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
  const back = getComputedStyle(document.body).backgroundColor;
  const seen = [...document.querySelectorAll('.lr-note, .lr-head p, .lr-foot p')].filter((e) => e.offsetParent);
  return Math.min(...seen.map((e) => { const [a, b] = [light(getComputedStyle(e).color), light(back)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }));
}"""


def test_feature_nothing_from_outside_however_long(app: AppProcess, open_page: Open) -> None:
    """The panel for programs too; the fixture fails where a request leaves this machine."""
    page = open_page(app.url)
    page.get_by_text("Use via API").click()
    page.get_by_text("gradio_client").first.wait_for()
    page.wait_for_timeout(1500)


def test_exception_full_queue_is_said(open_page: Open, tmp_path: Path) -> None:
    picture = np.full((128, 128, 3), 30, np.uint8)
    picture[32:96, 32:96] = SKIN
    write_image(tmp_path / "face.png", picture, marks=None)
    with stub(limits={"waiting": 1}, delay_s=6.0) as app:
        pages = [open_page(app.url) for _ in range(3)]
        for page in pages:
            upload(page, "#lr-identity", tmp_path / "face.png")
            upload(page, "#lr-driving-picture", tmp_path / "face.png")
        for page in pages:
            page.locator("#lr-start").click()
            page.wait_for_timeout(700)
        pages[2].get_by_text("Many people are drawing just now").first.wait_for(timeout=8000)
        pages[0].locator("#lr-result .lr-wipe").wait_for()
        pages[1].locator("#lr-result .lr-wipe").wait_for()

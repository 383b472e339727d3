"""Draws what is on a desk: a person, sliders set, key-frames."""

from __future__ import annotations

import time

from latent_reenact.media import Provenance, write_image
from latent_reenact.webui import fragments
from latent_reenact.webui.session import Desk, Sitter
from latent_reenact.webui.sliders import changed, sliders_of
from latent_reenact.webui.studio import Studio


class Easel:
    """Draws what is on a desk. It knows the sliders' order, and holds nothing of anybody."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.sliders = sliders_of(studio.reenactor.controls)

    def open(self, desk: Desk, sitter: Sitter) -> None:
        """Lay a person on the desk, sliders where their picture has them. Raises Trouble."""
        own = self.studio.people.settings(sitter)
        desk.sitter, desk.own, desk.key_frames = sitter, own, []
        desk.before = self.studio.workspace.new_folder() / "before.jpg"
        marks = Provenance(model=self.studio.reenactor.name, operation="identity")
        write_image(desk.before, self.studio.people.read(sitter).picture, marks=marks)
        desk.history.start(self.start(desk))

    def values(self, desk: Desk) -> list[float]:
        now = desk.history.now
        return [now.get(s.name, s.shown(0.0)) for s in self.sliders]

    def move(self, desk: Desk, values: dict[str, float]) -> None:
        """Set sliders, all or some, as one step that can be taken back."""
        shown = {s.name: s.shown(values[s.name]) for s in self.sliders if s.name in values}
        desk.history.record({**desk.history.now, **shown}, time.monotonic())

    def moved(self, desk: Desk, settings: dict[str, float] | None = None) -> dict[str, float]:
        return changed(self.sliders, desk.own, settings or desk.history.now)

    def start(self, desk: Desk) -> dict[str, float]:
        """Where all sliders stand as pictured."""
        return {s.name: s.shown(desk.own[s.name]) for s in self.sliders}

    def drawn(self, desk: Desk, settings: dict[str, float] | None = None) -> str:
        """The person with sliders set, by default as they are now: a marked picture as a data URL. Raises Trouble."""
        marks = Provenance(model=self.studio.reenactor.name, operation="pose")
        return fragments.data_url(self.studio.render(desk.sitter, self.moved(desk, settings)), marks)

    def picture(self, desk: Desk) -> str:
        """The stage. Raises Trouble."""
        before = fragments.file_url(desk.before) if desk.before else None
        return fragments.picture(self.drawn(desk), f"{desk.sitter.title}, drawn", before)

"""Random identities."""

from __future__ import annotations

import numpy as np
import torch

from latent_reenact.errors import UsageError
from latent_reenact.models.pixels import to_pixels
from latent_reenact.systems import Identity, LatentReenactor, Reenactor


def sample_identity(
    reenactor: Reenactor, seed: int = 0, *, truncation_psi: float = 0.8, refine_steps: int | None = None
) -> Identity:
    """A person who does not exist: z -> picture -> inversion, never the raw w.

    The mapper knows the latents that the inversion gives; fed with w directly it draws artefacts
    (Jahoda 2023, section on random identities).

    Args:
        seed: 0 or more; the same seed gives the same person.
        truncation_psi: below 1 draws closer to the average face.
        refine_steps: of the inversion, which takes most of the time; by default as many as the model asks for.

    Raises:
        UsageError: a negative seed, or a system that reads people from clips.
    """
    portrait = draw_portrait(reenactor, seed, truncation_psi=truncation_psi)
    assert isinstance(reenactor, LatentReenactor)
    return reenactor.identity(portrait, aligned=True, refine_steps=refine_steps)


def draw_portrait(reenactor: Reenactor, seed: int = 0, *, truncation_psi: float = 0.8) -> np.ndarray:
    """The picture alone that `sample_identity` reads the person from, uint8 [R, R, 3]; arguments and errors are its."""
    if not isinstance(reenactor, LatentReenactor):
        raise UsageError(f"{reenactor.name} reads people from clips; random ones need a latent model, such as builtin")
    if seed < 0:
        raise UsageError(f"seed: got {seed}, expected 0 or more")
    generator = reenactor.networks.generator
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(1, generator.config.z_dim, generator=random).to(reenactor.device)
    with torch.inference_mode():
        image = generator(z, truncation_psi=truncation_psi)
    return to_pixels(image)[0]

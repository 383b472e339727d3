"""Random identities."""

from __future__ import annotations

import torch

from latent_reenact.errors import UsageError
from latent_reenact.models.pixels import to_pixels
from latent_reenact.systems import Identity, LatentReenactor, Reenactor


def sample_identity(reenactor: Reenactor, seed: int = 0, *, truncation_psi: float = 0.8) -> Identity:
    """A person who does not exist: z -> picture -> inversion, never the raw w.

    The mapper knows the latents that the inversion gives; fed with w directly it draws artefacts
    (Jahoda 2023, section on random identities).

    Args:
        seed: 0 or more; the same seed gives the same person.
        truncation_psi: below 1 draws closer to the average face.

    Raises:
        UsageError: a negative seed, or a system that reads people from clips.
    """
    if not isinstance(reenactor, LatentReenactor):
        raise UsageError(f"{reenactor.name} reads people from clips; random ones need a latent model, such as builtin")
    if seed < 0:
        raise UsageError(f"seed: got {seed}, expected 0 or more")
    generator = reenactor.networks.generator
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(1, generator.config.z_dim, generator=random).to(reenactor.device)
    with torch.inference_mode():
        image = generator(z, truncation_psi=truncation_psi)
    return reenactor.identity(to_pixels(image)[0], aligned=True)

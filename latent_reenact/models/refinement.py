"""Refined inversion: a few steps of optimisation from where an encoder ends.

The encoder gives the start and the optimisation the likeness (Zhu et al. 2016, arXiv 1609.03552, section 3.2;
Image2StyleGAN, arXiv 1904.03189). What is minimised over w_plus:

    pyramid(G(w_plus), picture) + a (1 - cos of identities) + b |w_plus - start|² + c |w_plus - its mean over layers|²

The last two keep w_plus where mapper and directions know their way. The first looks at the face more than round it.
An expression is the encoder's to read, whose latents the mapper has learnt to change: what the optimisation adds to it
comes back in every picture that is driven. Held directions, orthonormal rows q, take that out after each step:

    w_plus <- w_plus - sum over q of (q . mean over layers of (w_plus - start)) q
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latent_reenact.errors import ConfigError
from latent_reenact.models.fast_synthesis import has_bf16
from latent_reenact.models.identity import identity_loss
from latent_reenact.models.pyramid import pyramid_loss
from latent_reenact.models.stylegan2 import StyleGAN2Generator


@dataclass(frozen=True, kw_only=True)
class RefinementConfig:
    """How an inversion is refined. Squared distances in w are means over layers and coordinates."""

    steps: int = 60
    learning_rate: float = 0.08  # of Adam; warmed up over five steps, and down to zero from the middle on
    identity_weight: float = 1.0
    start_weight: float = 0.05
    layers_weight: float = 0.5
    face_weight: float = 4.0  # added to the weight of a pixel, 1, where an aligned picture has its face
    hold_expressions: bool = False  # leave them as the encoder read them; needs sliders with the table `drawn`

    def __post_init__(self) -> None:
        if self.steps < 0 or self.learning_rate <= 0:
            raise ConfigError(
                f"refinement: got {self.steps} steps at a rate of {self.learning_rate}, "
                "expected 0 or more steps at a rate above 0"
            )
        if self.face_weight < 0:
            raise ConfigError(f"refinement: got face_weight {self.face_weight}, expected 0 or more")


def refine(
    generator: StyleGAN2Generator,
    images: Tensor,
    start: Tensor,
    config: RefinementConfig,
    identity: nn.Module | None = None,
    held: Tensor | None = None,
) -> Tensor:
    """w_plus whose picture is nearer to `images` than that of `start`.

    Args:
        generator: frozen.
        images: [B, 3, R, R] in [-1, 1], at the generator's resolution.
        start: w_plus [B, L, D] of an encoder.
        identity: an embedder of aligned faces; without it that term is left out.
        held: directions in w [M, D], independent of each other, along which the mean over layers stays where it is.

    Returns:
        [B, L, D]; `start` where there are no steps.
    """
    start = start.detach().clone()
    half = images.device.type == "cpu" and has_bf16()
    weight = face_map(images.shape[-1], config.face_weight).to(images)
    basis = None if held is None else torch.linalg.qr(held.T.to(start))[0]  # [D, M]
    with torch.enable_grad():
        w_plus = start.clone().requires_grad_(True)
        adam = _Adam(w_plus)
        for step in range(config.steps):
            with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
                drawn = generator.synthesis(w_plus).float()
            loss = pyramid_loss(drawn, images, weight)
            if identity is not None:
                loss = loss + config.identity_weight * identity_loss(identity, drawn, images)
            loss = loss + config.start_weight * (w_plus - start).square().mean()
            loss = loss + config.layers_weight * (w_plus - w_plus.mean(1, keepdim=True)).square().mean()
            (gradient,) = torch.autograd.grad(loss * len(images), w_plus)  # each sample as if it were alone
            adam.step(gradient, config.learning_rate * _rate(step, config.steps))
            if basis is not None:
                w_plus.data -= ((w_plus.data - start).mean(1, keepdim=True) @ basis) @ basis.T
    return w_plus.detach()


def face_map(side: int, face_weight: float) -> Tensor:
    """[1, 1, side, side], mean 1: 1 + face_weight to 1, from the face to its surroundings.

    FFHQ's alignment puts all faces in about one place: an ellipse, drawn by eye, from above the brows to the chin.
    """
    at = (torch.arange(side) + 0.5) / side
    across, down = (at - 0.5) / 0.27, (at - 0.56) / 0.36
    distance = (across.square() + down[:, None].square()).sqrt()  # [side, side]; 1 on the ellipse
    weight = 1 + face_weight * torch.sigmoid(10 * (1 - distance))
    return (weight / weight.mean())[None, None]


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate: up over five steps, level, down to zero from the middle on."""
    return min(1.0, (step + 1) / 5) * min(1.0, 2 * (steps - step) / steps)


class _Adam:
    """Adam (arXiv 1412.6980, algorithm 1) on one tensor: `torch.optim` takes two seconds to import."""

    def __init__(self, x: Tensor, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.x, self.betas, self.count = x, betas, 0
        self.first, self.second = torch.zeros_like(x), torch.zeros_like(x)

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        self.count += 1
        (b1, b2), n = self.betas, self.count
        self.first.lerp_(gradient, 1 - b1)
        self.second.lerp_(gradient.square(), 1 - b2)
        self.x -= rate * (self.first / (1 - b1**n)) / ((self.second / (1 - b2**n)).sqrt() + 1e-8)

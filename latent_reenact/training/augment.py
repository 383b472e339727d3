"""Random changes to pictures, so that encoders trained on renders read photographs too.

`generator` lives on the CPU; pictures may be anywhere, and are changed where they are.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def jitter_colours(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Gain, offset and gamma per sample and channel. images [B, 3, H, W] in [-1, 1]."""
    b = len(images)
    unit = (images * 0.5 + 0.5).clamp(0, 1)
    gamma = torch.exp(_normal((b, 1, 1, 1), 0.35 * strength, generator))
    gain = torch.exp(
        _normal((b, 1, 1, 1), 0.2 * strength, generator) + _normal((b, 3, 1, 1), 0.1 * strength, generator)
    )
    offset = _normal((b, 3, 1, 1), 0.06 * strength, generator)
    gamma, gain, offset = (x.to(images.device) for x in (gamma, gain, offset))
    return (unit.pow(gamma) * gain + offset).clamp(0, 1) * 2 - 1


def jitter_frame(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Small shifts, scalings and rotations, as a face detector's errors make them; edges are reflected."""
    b = len(images)
    angle = _normal((b,), math.radians(2.0) * strength, generator)
    scale = torch.exp(_normal((b,), 0.03 * strength, generator))
    shift = _normal((b, 2), 0.025 * strength, generator)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(matrix.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def degrade(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Blur (down and up again) half of the batch, and add noise of a random amount per sample."""
    b, _, h, _ = images.shape
    small = int(h / (1 + strength * float(torch.rand([], generator=generator))))
    blurred = F.interpolate(
        F.interpolate(images, size=(small, small), mode="area"), size=images.shape[2:], mode="bilinear"
    )
    chosen = (torch.rand(b, 1, 1, 1, generator=generator) < 0.5).to(images.device)
    amount = (0.08 * strength * torch.rand(b, 1, 1, 1, generator=generator)).to(images.device)
    return torch.where(chosen, blurred, images) + amount * noise_like(images, generator)


def shade(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Multiply by a smooth random field: uneven light."""
    field = _normal((len(images), 1, 4, 4), 0.35 * strength, generator).to(images.device)
    field = F.interpolate(field, size=images.shape[2:], mode="bicubic", align_corners=True)
    return ((images * 0.5 + 0.5) * torch.exp(field)).clamp(0, 1) * 2 - 1


def cut_out(images: Tensor, generator: torch.Generator) -> Tensor:
    """Fill one random rectangle of half of the samples with a random colour: hands, hair, captions."""
    b, _, h, w = images.shape
    centre = torch.rand(b, 2, generator=generator).to(images.device)
    size = 0.08 + 0.2 * torch.rand(b, 2, generator=generator).to(images.device)
    y = (torch.arange(h, device=images.device) + 0.5)[None, :, None] / h
    x = (torch.arange(w, device=images.device) + 0.5)[None, None, :] / w
    inside = ((y - centre[:, :1, None]).abs() < size[:, :1, None] / 2) & (
        (x - centre[:, 1:, None]).abs() < size[:, 1:, None] / 2
    )
    inside &= (torch.rand(b, generator=generator) < 0.5).to(images.device)[:, None, None]
    colour = (torch.rand(b, 3, 1, 1, generator=generator) * 2 - 1).to(images.device)
    return torch.where(inside[:, None], colour, images)


def noise_like(images: Tensor, generator: torch.Generator) -> Tensor:
    """N(0, 1) of the pictures' shape, drawn on their device: a function of the generator's state alone."""
    if images.device.type == "cpu":
        return torch.randn(images.shape, generator=generator)
    seed = int(torch.randint(2**62, (), generator=generator))
    there = torch.Generator(images.device).manual_seed(seed)
    return torch.randn(images.shape, generator=there, device=images.device)


def _normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator) * std

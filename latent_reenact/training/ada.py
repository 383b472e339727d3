"""Adaptive discriminator augmentation (Karras et al. 2020, "Training Generative Adversarial Networks with Limited
Data", arXiv 2006.06676; its appendix B gives the transformations and their ranges).

Every transformation is applied with probability p to pictures on their way to the discriminator, real and drawn alike;
p follows from how sure the discriminator is of real pictures. All is linear in the pictures, so gradients of any order
pass. Positions: x to the right, y down, the picture is [-1, 1]².
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from latent_reenact.custom_ops import setup_filter, upfirdn2d
from latent_reenact.errors import ConfigError

Kind = Literal[
    "flip",
    "rotate90",
    "shift",
    "scale",
    "rotate",
    "stretch",
    "fractional_shift",
    "brightness",
    "contrast",
    "luma_flip",
    "hue",
    "saturation",
]
KINDS: tuple[Kind, ...] = get_args(Kind)  # blitting, geometry, colour: "bgc", in the order in which they are applied

# The low-pass filter of appendix B.3, wavelet sym6 (Daubechies 1992): orthogonal to its own shifts by two, so that
# doubling and halving with it gives back the picture exactly.
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
SYM6_PHASE = sum(k * tap for k, tap in enumerate(SYM6)) / sum(SYM6) - 5  # pixel i lies at 2 i + phase after doubling


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """What is done to the discriminator's pictures, and how often."""

    kinds: tuple[Kind, ...] = KINDS
    p: float = 0.0  # at the start; for good where there is no target
    target: float | None = 0.6  # wished mean of sign(D(real)) (section 3.1)
    ramp_images: int = 500_000  # real pictures in which p can go from 0 to 1
    every: int = 4  # steps between changes of p

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ConfigError(f"p: got {self.p}, expected a probability")
        if self.target is not None and not -1 < self.target < 1:
            raise ConfigError(f"target: got {self.target}, expected a mean sign, between -1 and 1")
        for name in ("ramp_images", "every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected at least 1")


class AdaptiveAugmentation(nn.Module):
    """The transformations and the control of p. All state lies in buffers, the same on every rank after each step."""

    p: Tensor  # []
    signs: Tensor  # [2]: sum and number of sign(D(real)) since p last changed, over all ranks
    step_signs: Tensor  # [2]: the same in this step, on this rank
    low_pass: Tensor  # [12]

    def __init__(self, config: AugmentationConfig | None = None) -> None:
        super().__init__()
        self.config = config or AugmentationConfig()
        self.register_buffer("p", torch.tensor(self.config.p))
        self.register_buffer("signs", torch.zeros(2))
        self.register_buffer("step_signs", torch.zeros(2), persistent=False)
        self.register_buffer("low_pass", setup_filter(SYM6), persistent=False)

    def forward(self, images: Tensor, random: torch.Generator) -> Tensor:
        """images [B, 3, R, R] in [-1, 1] -> the same shape; p = 0 gives them back untouched.

        Raises:
            ValueError: pictures that are not square, or have no three channels.
        """
        b, c, h, w = images.shape
        if c != 3 or h != w or h < 8:
            raise ValueError(f"images: got shape {list(images.shape)}, expected [B, 3, R, R] with R of 8 or more")
        draw = Draw(random, b, float(self.p), self.config.kinds)
        if draw.p == 0:
            return images
        images = blit(images, draw)
        motion, colour = geometric_matrix(draw), colour_matrix(draw).to(images)
        if not torch.equal(motion, torch.eye(3).expand_as(motion)):
            images = warp(images, torch.linalg.inv(motion).to(images), self.low_pass)
        return torch.einsum("bij,bjhw->bihw", colour[:, :3, :3], images) + colour[:, :3, 3, None, None]

    @torch.no_grad()
    def observe(self, real_logits: Tensor) -> None:
        """Count the discriminator's answers to augmented real pictures; what is not finite counts as neither."""
        signs = real_logits.float().nan_to_num(0.0).flatten(1).mean(1).sign()
        self.step_signs += torch.stack([signs.sum(), signs.new_tensor(len(signs))])

    @torch.no_grad()
    def finish_step(self, step: int) -> None:
        """Add up what all ranks observed, and on each `every`-th step move p towards the target (section 3.1)."""
        self.signs += sum_over_ranks(self.step_signs)
        self.step_signs.zero_()
        if self.config.target is None or (step + 1) % self.config.every or not self.signs[1]:
            return
        total, count = self.signs.unbind()
        direction = (total / count - self.config.target).sign()
        self.p.add_(direction * count / self.config.ramp_images).clamp_(0, 1)
        self.signs.zero_()


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of a tensor of all processes that train together; the tensor itself where there is one."""
    if not (dist.is_available() and dist.is_initialized()):
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


@dataclass(frozen=True)
class Draw:
    """Random numbers of one batch, on the CPU: the last axis is the picture."""

    random: torch.Generator
    batch: int
    p: float
    kinds: tuple[Kind, ...]

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """[*shape, B]"""
        return low + (high - low) * torch.rand(*shape, self.batch, generator=self.random)

    def normal(self, deviation: float, *shape: int) -> Tensor:
        """[*shape, B]"""
        return deviation * torch.randn(*shape, self.batch, generator=self.random)

    def integer(self, count: int) -> Tensor:
        return torch.randint(count, (self.batch,), generator=self.random)

    def sometimes(self, kind: Kind, values: Tensor, neutral: float, p: float | None = None) -> Tensor:
        """`values` [..., B] with probability p (by default the batch's), else `neutral`, picture by picture."""
        if kind not in self.kinds:
            return torch.full_like(values, neutral)
        chosen = torch.rand(self.batch, generator=self.random) < (self.p if p is None else p)
        return torch.where(chosen, values, neutral)


def blit(images: Tensor, draw: Draw) -> Tensor:
    """Mirror images, quarter turns and shifts by whole pixels of up to an eighth of the picture, all exact."""
    n = images.shape[-1]
    flip = draw.sometimes("flip", draw.integer(2), 0)
    turns = draw.sometimes("rotate90", draw.integer(4), 0)
    dx, dy = draw.sometimes("shift", (draw.uniform(-0.125, 0.125, 2) * n).round(), 0).long()
    column = torch.arange(n)  # from here on: where each pixel of the result comes from, last change first
    x, y = torch.broadcast_tensors(
        reflect(column - dx[:, None], n)[:, None, :], reflect(column - dy[:, None], n)[:, :, None]
    )  # [B, R, R]
    for turn in (1, 2, 3):
        turned = (turns >= turn)[:, None, None]
        x, y = torch.where(turned, y, x), torch.where(turned, n - 1 - x, y)
    x = torch.where(flip[:, None, None] > 0, n - 1 - x, x)
    return pick(images, x.to(images.device), y.to(images.device))


def geometric_matrix(draw: Draw) -> Tensor:
    """Scaling, rotation, stretching along any axis, rotation, fractional shift: [B, 3, 3] of homogeneous positions.

    The two rotations come with 1 - sqrt(1 - p) each, so that either comes with p.
    """
    p_rotation = 1 - math.sqrt(1 - draw.p)
    scale = draw.sometimes("scale", torch.exp2(draw.normal(0.2)), 1.0)
    before, after = (draw.sometimes("rotate", draw.uniform(-math.pi, math.pi), 0.0, p_rotation) for _ in range(2))
    stretch = draw.sometimes("stretch", torch.exp2(draw.normal(0.2)), 1.0)
    shift = torch.eye(3).repeat(draw.batch, 1, 1)
    shift[:, :2, 2] = draw.sometimes("fractional_shift", 2 * draw.normal(0.125, 2), 0.0).T
    return shift @ _rotation(after) @ _diagonal(stretch, 1 / stretch) @ _rotation(before) @ _diagonal(scale, scale)


def warp(images: Tensor, inverse: Tensor, low_pass: Tensor) -> Tensor:
    """Move pixels without aliasing: doubled, sampled, halved, with `low_pass` at both ends (appendix B.3).

    Outside, pictures go on as their own mirror images.

    Args:
        images: [B, C, R, R].
        inverse: [B, 3, 3], position in the result -> position in the picture.
        low_pass: [12] taps of `SYM6`.
    """
    n = images.shape[-1]
    double = upfirdn2d(F.pad(images, (6, 6, 6, 6), mode="reflect"), low_pass, up=2, gain=4)  # from pixel -3 to n + 3
    place = (torch.arange(-5, 2 * n + 5).to(images) - SYM6_PHASE) / 2  # in pixels of the result: what halving needs
    place = (2 * place + 1) / n - 1
    y, x = torch.meshgrid(place, place, indexing="ij")
    result = torch.stack([x, y, torch.ones_like(x)]).flatten(1)  # [3, P]
    x, y = ((inverse @ result)[:, :2] * n + n - 1).div(2).unflatten(2, (len(place), -1)).unbind(1)  # [B, R', R']
    x, y = (torch.where((u >= -3) & (u <= n + 2), u, reflect(u, n)) for u in (x, y))
    return upfirdn2d(
        sample_between(double, 2 * x + SYM6_PHASE + 6, 2 * y + SYM6_PHASE + 6), low_pass, down=2, flip_filter=True
    )


def colour_matrix(draw: Draw) -> Tensor:
    """Brightness, contrast, luma flip, hue, saturation: [B, 4, 4] of homogeneous RGB."""
    eye, grey = torch.eye(4), torch.tensor([1.0, 1.0, 1.0, 0.0]) / math.sqrt(3)
    along = torch.outer(grey, grey)  # projection on the axis of greys
    brightness = draw.sometimes("brightness", draw.normal(0.2), 0.0)
    contrast = draw.sometimes("contrast", torch.exp2(draw.normal(0.5)), 1.0)
    flip = draw.sometimes("luma_flip", draw.integer(2), 0)
    hue = draw.sometimes("hue", draw.uniform(-math.pi, math.pi), 0.0)
    saturation = draw.sometimes("saturation", torch.exp2(draw.normal(1.0)), 1.0)
    offset = eye.repeat(draw.batch, 1, 1)
    offset[:, :3, 3] = brightness[:, None]
    gain = torch.diag_embed(torch.stack([contrast, contrast, contrast, torch.ones_like(contrast)], 1))
    mirror = eye - 2 * along * flip[:, None, None]  # Householder's reflection: grey changes sign, colour stays
    colourful = along + (eye - along) * saturation[:, None, None]
    colourful[:, 3, 3] = 1.0
    return colourful @ _hue_rotation(hue) @ mirror @ gain @ offset


def reflect(position: Tensor, n: int) -> Tensor:
    """Any position, in pixels, back into [0, n - 1] by mirrors at the outermost pixels."""
    folded = position.remainder(2 * (n - 1))
    return torch.minimum(folded, 2 * (n - 1) - folded)


def pick(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """images [B, C, H, W] at whole pixels x, y [B, H', W'] -> [B, C, H', W']."""
    index = (y * images.shape[-1] + x).flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, index).unflatten(2, x.shape[1:])


def sample_between(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """images [B, C, H, W] at positions x, y [B, H', W'] inside, in pixels, bilinearly -> [B, C, H', W'].

    As four gathers, whose gradients of any order PyTorch knows on every device.
    """
    x0, y0 = (u.floor().clamp(0, size - 2) for u, size in ((x, images.shape[3]), (y, images.shape[2])))
    right, below = (x - x0)[:, None], (y - y0)[:, None]  # [B, 1, H', W'] in 0..1
    x0, y0 = x0.long(), y0.long()
    above_line = pick(images, x0, y0) * (1 - right) + pick(images, x0 + 1, y0) * right
    below_line = pick(images, x0, y0 + 1) * (1 - right) + pick(images, x0 + 1, y0 + 1) * right
    return above_line * (1 - below) + below_line * below


def _diagonal(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], 1))


def _rotation(angle_rad: Tensor) -> Tensor:
    """[B, 3, 3], clockwise on the screen."""
    matrix = torch.eye(3).repeat(len(angle_rad), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle_rad.cos()
    matrix[:, 1, 0] = angle_rad.sin()
    matrix[:, 0, 1] = -angle_rad.sin()
    return matrix


def _hue_rotation(angle_rad: Tensor) -> Tensor:
    """Rotation of RGB about the axis of greys (Rodrigues' formula), [B, 4, 4]."""
    axis = torch.full((3,), 1 / math.sqrt(3))
    cross = torch.linalg.cross(torch.eye(3), axis.expand(3, 3))  # cross @ v = axis x v
    cos, sin = angle_rad.cos()[:, None, None], angle_rad.sin()[:, None, None]
    matrix = torch.eye(4).repeat(len(angle_rad), 1, 1)
    matrix[:, :3, :3] = cos * torch.eye(3) + sin * cross + (1 - cos) * torch.outer(axis, axis)
    return matrix

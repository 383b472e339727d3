"""The method's losses (Jahoda and Čech 2025, arXiv 2504.13021, section 3; Jahoda's thesis of 2023).

    g_AA = G(M(E_m(driving_A) + E_i(identity_A)))     the self output, which should be driving_A
    g_AR = G(M(E_m(driving_A) + E_i(identity_R)))     the cross output: another person, R, moved by A

L2 and LPIPS compare g_AA with driving_A, on the whole picture and on a crop of the face; ID compares g_AR with the
picture of R's inverted identity; CosFace compares the motion that the outputs show with the one that drove them.

Legend: B batch, S side of the pictures compared, E embedding, L n_styles, N motion_dim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from latent_reenact.errors import ConfigError

Perceptual = Callable[[Tensor, Tensor], Tensor]  # a, b [B, 3, S, S] in [-1, 1] -> distances [B]
Embedder = Callable[[Tensor], Tensor]  # images [B, 3, S, S] in [-1, 1] -> unit vectors [B, E]

CROP_FRAME = 256  # side of the picture that the crop's rows and columns are counted in


@dataclass(frozen=True, kw_only=True)
class ReenactmentLossConfig:
    """Weights and crops; the defaults are those of the thesis's best model. A term of weight 0 is not computed."""

    l2: float = 0.0
    lpips: float = 0.05
    identity: float = 0.3
    cosface: float = 0.0
    l2_crop: float = 2.0
    lpips_crop: float = 0.3
    picture_size: int = 256  # larger pictures are average-pooled to this side before they are compared
    crop_rows: tuple[int, int] = (55, 243)  # of 256: the face without forehead and background
    crop_columns: tuple[int, int] = (32, 220)
    cosface_scale: float = 5.0  # a
    cosface_margin: float = 0.2  # b: the text's; the author's program has 2, which no cosine can keep

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in WEIGHTS}
        if min(weights.values()) < 0 or max(weights.values()) == 0:
            raise ConfigError(f"losses: got weights {weights}, expected none below 0 and at least one above")
        for name in ("crop_rows", "crop_columns"):
            first, end = getattr(self, name)
            if not 0 <= first < end <= CROP_FRAME:
                raise ConfigError(f"{name}: got {first}, {end}, expected 0 <= first < end <= {CROP_FRAME}")
        if self.picture_size < 1 or self.cosface_scale <= 0:
            raise ConfigError(
                f"picture_size {self.picture_size} and cosface_scale {self.cosface_scale}: expected more than 0"
            )

    @property
    def needs_cross(self) -> bool:
        """Whether any term looks at the cross output; where none does, it is not drawn."""
        return self.identity > 0 or self.cosface > 0

    @property
    def needs_self(self) -> bool:
        """Whether any term looks at the self output."""
        return max(self.l2, self.lpips, self.l2_crop, self.lpips_crop, self.cosface) > 0


WEIGHTS = tuple(f.name for f in fields(ReenactmentLossConfig))[:6]


@dataclass(frozen=True)
class Motions:
    """Motion codes [B, L, N] that CosFace compares."""

    self_output: Tensor  # z_AA
    cross_output: Tensor  # z_AR
    driving: Tensor  # z_A
    other: Tensor  # z_R, of R's own driving picture


def pooled(images: Tensor, size: int) -> Tensor:
    """images [B, 3, H, W] average-pooled to size × size where they are larger."""
    return F.adaptive_avg_pool2d(images, (size, size)) if images.shape[-1] > size else images


def face_crop(images: Tensor, config: ReenactmentLossConfig) -> Tensor:
    """The face of aligned pictures [B, 3, S, S]: 188 × 188 at S = 256, in proportion at other sizes."""
    scale = images.shape[-1] / CROP_FRAME
    (top, bottom), (left, right) = (
        (round(first * scale), round(end * scale)) for first, end in (config.crop_rows, config.crop_columns)
    )
    return images[..., top:bottom, left:right]


class ReenactmentLoss:
    """The weighted sum, and each term by its name.

    Args:
        config: weights and crops.
        perceptual: LPIPS, or another distance of pictures.
        embedder: ArcFace, or another network that tells people apart.
    """

    def __init__(self, config: ReenactmentLossConfig, perceptual: Perceptual, embedder: Embedder) -> None:
        self.config, self.perceptual, self.embedder = config, perceptual, embedder

    def __call__(
        self,
        self_output: Tensor | None,
        driving: Tensor,
        cross_output: Tensor | None,
        identity: Tensor,
        motions: Motions | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Pictures [B, 3, S, S] in [-1, 1] of any sides -> (loss, the terms before weighting, detached).

        Args:
            self_output, driving: g_AA and what it should be.
            cross_output, identity: g_AR and the picture of R's inverted identity.
            motions: needed where CosFace has a weight.

        `self_output` and `cross_output` may be None where no term looks at them.
        """
        terms: dict[str, Tensor] = {}
        if self_output is not None:
            terms |= self.reconstruction(self_output, driving)
        if self.config.identity > 0 and cross_output is not None:
            terms["identity"] = self.identity(cross_output, identity)
        if self.config.cosface > 0 and motions is not None:
            terms["cosface"] = cosface(motions, self.config.cosface_scale, self.config.cosface_margin)
        total = torch.stack([getattr(self.config, name) * term for name, term in terms.items()]).sum()
        return total, {name: term.detach() for name, term in terms.items()}

    def reconstruction(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """The terms that compare the self output with the driving picture, whole and cropped."""
        config, size = self.config, min(self.config.picture_size, output.shape[-1])
        if truth.shape[-1] < size:
            raise ConfigError(
                f"driving pictures: got a side of {truth.shape[-1]}, expected at least {size}, at which outputs are "
                "compared with them; prepare larger pictures or lower losses.picture_size"
            )
        output, truth = pooled(output, size), pooled(truth, size)  # [B, 3, S, S]
        cropped = face_crop(output, config), face_crop(truth, config)
        terms: dict[str, Callable[[], Tensor]] = {
            "l2": lambda: F.mse_loss(output, truth),
            "lpips": lambda: self.perceptual(output, truth).mean(),
            "l2_crop": lambda: F.mse_loss(*cropped),
            "lpips_crop": lambda: self.perceptual(*cropped).mean(),
        }
        return {name: term() for name, term in terms.items() if getattr(config, name) > 0}

    def identity(self, output: Tensor, identity: Tensor) -> Tensor:
        """Mean of 1 - <D(G(E_i(identity))), D(output)>; the picture of the identity gets no gradient."""
        size = self.config.picture_size
        with torch.no_grad():
            wanted = self.embedder(pooled(identity, size))  # [B, E]
        return 1 - (self.embedder(pooled(output, size)) * wanted).sum(1).mean()


def cosface(motions: Motions, scale: float = 5.0, margin: float = 0.2) -> Tensor:
    """Large margin cosine loss over motion codes (Wang et al. 2018, arXiv 1801.09414, equation 4).

    Positive pairs (z_AA, z_A) and (z_AR, z_A), negative pairs (z_AA, z_R) and (z_AR, z_R):

        mean over B of  sum over positives p of  -log( e^{a(p - b)} / (e^{a(p - b)} + sum over negatives n of e^{a n}) )

    with p, n the pairs' cosines over all styles at once. The margin is on the positives alone, as in CosFace: on
    both it would cancel.
    """
    wanted, other = motions.driving.flatten(1), motions.other.flatten(1)  # [B, L * N]
    outputs = [motions.self_output.flatten(1), motions.cross_output.flatten(1)]
    positives = [scale * (F.cosine_similarity(z, wanted) - margin) for z in outputs]  # [B] each
    negatives = [scale * F.cosine_similarity(z, other) for z in outputs]
    losses = [torch.logsumexp(torch.stack([p, *negatives]), dim=0) - p for p in positives]
    return torch.stack(losses).sum(0).mean()

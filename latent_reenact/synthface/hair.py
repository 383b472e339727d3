"""Hair and headgear: a shell of strands swept over the scalp from a pole, hanging locks, buns and pony-tails.

Strands start at the pole, run over the head along great circles to the hairline (or beyond it, for fringes), and are
lifted off the scalp by a thickness. A pole at the hairline makes swept-back and parted hair, one at the crown fringes.
Directions are unit vectors from `ANCHOR_CENTRE`; polar angles count from straight up, azimuths from straight ahead.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from latent_reenact.synthface.factors import Hair
from latent_reenact.synthface.geometry import Part, grid_part, unit
from latent_reenact.synthface.hair_styles import HAIR_STYLE_TABLE, HairStyle
from latent_reenact.synthface.mesh import ANCHOR_CENTRE, HAIR, HAT, smoothstep
from latent_reenact.synthface.raster import vertex_normals

N_STRANDS, N_STEPS, N_HANGING = 224, 30, 22
HAIR_SEED = 7  # one pattern of locks for everybody: the picture stays a function of the factors
OUTER_LAYER = 0.22  # distance of the loose layer from the shell

HAIRLINE_AZIMUTH_DEG = np.array([0, 15, 30, 45, 58, 70, 80, 90, 100, 112, 125, 150, 180.0])
HAIRLINE_POLAR_DEG = np.array([58, 58.5, 60, 65, 73, 84, 102, 108, 103, 112, 124, 132, 135.0])


def build_hair(anchors: np.ndarray, hair: Hair) -> list[Part]:
    """The parts of a person's hair or headgear, in the rest pose.

    anchors: float32 [96, 192, 3], the scalp over (polar, azimuth), as `Mesh.anchor_index` gives it.
    """
    if hair.style in ("bald", "buzz"):
        return []
    parts = _Shell(anchors, hair).parts()
    if hair.style == "bun":
        parts.append(_bun(hair))
    elif hair.style == "ponytail":
        parts.append(_ponytail(hair))
    return parts


class _Shell:
    """The swept shell of one head; arrays are [N_STRANDS, ...]."""

    def __init__(self, anchors: np.ndarray, hair: Hair) -> None:
        self.anchors, self.hair, self.style = anchors, hair, HAIR_STYLE_TABLE[hair.style]
        self.theta = np.linspace(-np.pi, np.pi, N_STRANDS)
        self.steps = np.linspace(0, 1, N_STEPS)  # along a strand, from the pole
        rng = np.random.default_rng(HAIR_SEED)
        self.uneven, self.locks, self.waves = (_closed_noise(rng, knots) for knots in (60, 46, 17))
        self.curl_phase = rng.uniform(0, 6, 2)
        self.axes = _pole_axes(self.style, hair.side)

    def parts(self) -> list[Part]:
        reach = self._reach()  # [S] angle of each strand's end from the pole
        angle = reach[:, None] * self.steps**0.9
        directions = self._directions(np.repeat(self.theta[:, None], N_STEPS, 1), angle)
        polar, azimuth = (
            np.arccos(np.clip(directions[..., 1], -1, 1)),
            np.arctan2(directions[..., 0], directions[..., 2]),
        )
        surface = _scalp(self.anchors, polar, azimuth)
        polar_deg, away_deg = np.degrees(polar), np.abs(np.degrees(azimuth))
        inside = np.clip(self._inner_hairline(away_deg) - polar_deg, 0, 60)
        thickness = self._thickness(polar_deg, away_deg, inside)
        outward = surface - ANCHOR_CENTRE
        outward = outward / np.linalg.norm(outward, axis=-1, keepdims=True)
        points = surface + outward * self._curled(thickness, angle)[..., None]
        points = self._headgear(points, outward)
        along = np.repeat(self.steps[None], N_STRANDS, 0)
        occlusion = self._occlusion(inside)
        if self.style.hanging:
            points, along, occlusion = self._hang(points, np.degrees(azimuth[:, -1]), reach, occlusion)
        return self._layers(points, along, occlusion)

    def _directions(self, theta: np.ndarray, angle: np.ndarray) -> np.ndarray:
        pole, front, side = self.axes
        sideways = np.cos(theta)[..., None] * front + np.sin(theta)[..., None] * side
        return np.cos(angle)[..., None] * pole + np.sin(angle)[..., None] * sideways

    def _reach(self) -> np.ndarray:
        """Where each strand first leaves the hairy region: angle from the pole [S]."""
        angles = np.radians(np.linspace(0, 165, 84))
        d = self._directions(np.repeat(self.theta[:, None], len(angles), 1), np.repeat(angles[None], N_STRANDS, 0))
        covered = self._outside_face(d) if self.style.hood else self._within_hairline(d)
        covered[:, 0] = True
        last = np.where(covered.all(1), len(angles) - 1, np.argmin(covered, 1) - 1).clip(1)
        reach = angles[last]
        reach = np.convolve(np.r_[reach[-3:-1], reach, reach[1:3]], np.ones(5) / 5, "valid")
        if self.style.uneven_fringe:
            reach = reach * (1 + 0.035 * self.uneven * smoothstep(0.2, 0.9, np.cos(self.theta)))
        return reach

    def _within_hairline(self, d: np.ndarray) -> np.ndarray:
        style = self.style
        polar_deg, azimuth_deg = (
            np.degrees(np.arccos(np.clip(d[..., 1], -1, 1))),
            np.degrees(np.arctan2(d[..., 0], d[..., 2])),
        )
        away_deg = np.abs(azimuth_deg)
        if style.hat:
            return polar_deg <= np.interp(away_deg, [0, 50, 90, 180], [69, 73, 90, 108.0])
        limit = np.interp(away_deg, HAIRLINE_AZIMUTH_DEG, HAIRLINE_POLAR_DEG)
        if style.fringe_deg:
            slant = 0.18 * np.sin(self.hair.side * azimuth_deg * 0.05) if self.hair.style == "pixie" else 0.0
            limit = limit + style.fringe_deg * smoothstep(72, 40, away_deg) * (1 + slant)
        if style.hanging:
            lower = np.interp(away_deg, [60, 68, 78, 100, 180], [66, 84, 104, 112, 130])
            limit = np.where(away_deg > 60, np.maximum(limit, lower), limit)
        return polar_deg <= limit

    @staticmethod
    def _outside_face(d: np.ndarray) -> np.ndarray:
        """A hood leaves a super-ellipse round the face open."""
        away_deg = np.degrees(np.arctan2(np.abs(d[..., 0]), d[..., 2]))
        above_deg = np.degrees(np.arcsin(np.clip(d[..., 1], -1, 1))) + 8.0
        height = np.where(above_deg > 0, 39.0, 49.0)
        return ~((away_deg / 59.0) ** 2.2 + (np.abs(above_deg) / height) ** 2.2 < 1)

    def _inner_hairline(self, away_deg: np.ndarray) -> np.ndarray:
        limit = np.interp(away_deg, HAIRLINE_AZIMUTH_DEG, HAIRLINE_POLAR_DEG)
        if self.style.hanging:
            limit = np.where(
                away_deg > 60, np.maximum(limit, np.interp(away_deg, [60, 80, 100], [70, 125, 140])), limit
            )
        return limit

    def _thickness(self, polar_deg: np.ndarray, away_deg: np.ndarray, inside: np.ndarray) -> np.ndarray:
        style = self.style
        at_sides = smoothstep(50, 95, polar_deg) * smoothstep(40, 80, away_deg)
        thickness = style.thickness * self.hair.volume * (1 - at_sides * (1 - style.sides))
        thickness = style.edge + (thickness - style.edge) * smoothstep(0, 22, inside)
        if style.fringe_deg:
            fringe = smoothstep(74, 50, away_deg) * smoothstep(20, 40, polar_deg)
            thickness = np.maximum(thickness, fringe * (1.0 - 0.45 * smoothstep(0.75, 1, self.steps)))
        if style.quiff:
            thickness = thickness + style.quiff * np.exp(-(((inside - 11) / 12.0) ** 2)) * smoothstep(70, 20, away_deg)
        if style.hanging:
            back = style.thickness * 0.75 * smoothstep(55, 95, polar_deg) * smoothstep(52, 80, away_deg) + style.edge
            ears = smoothstep(60, 84, polar_deg) * smoothstep(52, 66, away_deg) * smoothstep(150, 105, away_deg)
            thickness = np.maximum(np.maximum(thickness, back), 2.1 * ears)
        if style.hood:
            cheeks = smoothstep(35, 80, polar_deg) * smoothstep(165, 118, polar_deg) * smoothstep(42, 78, away_deg)
            thickness = np.maximum(thickness, 3.0 * cheeks)
        if not style.headgear:
            thickness = thickness * (
                1 + (0.10 * self.locks + 0.09 * self.waves)[:, None] * smoothstep(0, 0.5, self.steps)
            )
        return thickness

    def _curled(self, thickness: np.ndarray, angle: np.ndarray) -> np.ndarray:
        curl = self.style.curl
        if not curl:
            return thickness
        u, v = self.theta[:, None] * np.maximum(np.sin(angle), 0.12) * 7, angle * 7
        first, second = self.curl_phase
        bumps = np.sin(u * 1.3 + first + np.sin(v * 1.7)) * np.sin(v * 1.5 + second + np.sin(u * 1.1))
        bumps += 0.6 * np.sin(u * 2.9 + v * 0.7) * np.sin(v * 2.7 + 1)
        knots = np.sin(u * 2.6 + np.sin(v * 3.1) * 1.5 + second) * np.sin(v * 3.3 + np.sin(u * 2.2) * 1.5)
        return thickness * (1 + curl * 0.14 * bumps) + curl * 0.55 * knots

    def _headgear(self, points: np.ndarray, outward: np.ndarray) -> np.ndarray:
        s = self.steps
        if self.style.hood:
            points = gaussian_filter1d(gaussian_filter1d(points, 5, axis=0, mode="wrap"), 1.6, axis=1, mode="nearest")
            points[0] = points[-1] = (points[0] + points[-1]) / 2
            hem = 0.35 * np.exp(-(((s - 1) / 0.06) ** 2))
            folds = 0.10 * (self.waves[:, None] * np.sin(s * 9) + self.locks[:, None] * 0.4) * smoothstep(0, 0.3, s)
            points = points + outward * hem[:, None] + outward * folds[..., None]
        if self.style.hat:
            points = points + outward * (0.35 * smoothstep(0.80, 0.84, s))[:, None]  # the turned-up rim
            points[..., 1] += 0.9 * smoothstep(0.35, 0, s)
        return points

    def _occlusion(self, inside: np.ndarray) -> np.ndarray:
        if self.style.headgear:
            return np.ones_like(inside)
        occlusion = np.clip(0.35 + 0.65 * smoothstep(0, 18, inside), 0, 1)
        return np.maximum(occlusion, 0.8) if self.style.fringe_deg else occlusion

    def _hang(
        self, points: np.ndarray, end_azimuth_deg: np.ndarray, reach: np.ndarray, occlusion: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lengthen the strands beside and behind the face straight down: points, position along, occlusion."""
        style, away_deg = self.style, np.abs(end_azimuth_deg)
        hangs = smoothstep(60, 72, away_deg)[:, None]
        back = smoothstep(110, 170, away_deg)[:, None]
        length = style.hanging * self.hair.length * hangs * (1 + 0.05 * self.uneven[:, None])
        root, q = points[:, -1], np.linspace(0, 1, N_HANGING + 1)[None, 1:]
        drop = length * q
        low_start = np.maximum(0, 2.5 - root[:, 1])[:, None]  # nape strands start lower: bring the tips level
        drop = np.maximum(drop - low_start * q * hangs * 0.9, 0.02 * q)
        sideways = root[:, [0, 2]] - np.array([0, -1.0])
        sideways = sideways / np.linalg.norm(sideways, axis=1, keepdims=True)
        bulge = self._bulge(drop, q, back) * hangs
        z = root[:, None, 2] + sideways[:, 1:] * bulge - smoothstep(100, 62, away_deg)[:, None] * hangs * drop * 0.06
        locks = np.stack([root[:, None, 0] + sideways[:, :1] * bulge, root[:, None, 1] - drop, z], -1)
        share = (reach * 9)[:, None] / ((reach * 9)[:, None] + length + 1e-3)
        lower = share + length / ((reach * 9)[:, None] + length + 1e-3) * q
        shade = (0.8 * hangs + 0.2) * (1 - 0.25 * q * back)
        return (
            np.concatenate([points, locks], 1),
            np.concatenate([self.steps * share, lower], 1),
            np.concatenate([np.maximum(occlusion, hangs * 0.85), shade], 1),
        )

    def _bulge(self, drop: np.ndarray, q: np.ndarray, back: np.ndarray) -> np.ndarray:
        """Silhouette of hanging hair: out a little, in near the neck, out over the shoulders; waves."""
        style, locks, waves = self.style, self.locks[:, None], self.waves[:, None]
        bulge = style.flare * 6 * np.sin(q * np.pi * 0.9) * (1 - back * 0.6) - 0.9 * q**1.5 * (1 - 0.2 * back)
        if style.wavy:
            bulge = bulge + (0.55 + 0.3 * waves) * np.sin(drop * 1.05 + locks * 1.2 + waves * 1.5) * smoothstep(
                0, 0.3, q
            )
        elif self.hair.wave > 0.5:
            bulge = bulge + 0.22 * np.sin(drop * 0.8 + waves * 2) * smoothstep(0, 0.4, q)
        return bulge + 0.22 * waves * q

    def _layers(self, points: np.ndarray, along: np.ndarray, occlusion: np.ndarray) -> list[Part]:
        """The shell facing outwards and, for hair, a loose layer of strands over it (drawn first)."""
        n, m = points.shape[:2]
        attributes = np.zeros((n, m, 8), np.float32)
        attributes[..., 0] = ((self.theta + np.pi) / (2 * np.pi))[:, None]
        attributes[..., 1], attributes[..., 3], attributes[..., 4] = along, occlusion, self.locks[:, None] * 3
        if self.style.hat:
            attributes[..., 2] = self.steps > 0.82
        tangents = unit(np.gradient(points, axis=1))
        shell = _facing_out(grid_part(points, HAT if self.style.headgear else HAIR, attributes, tangents))
        if self.style.headgear:
            return [shell]
        normals = np.zeros((n * m, 3), np.float32)
        vertex_normals(shell.vertices, shell.triangles, normals)
        lift = OUTER_LAYER * (0.7 + 0.5 * self.style.thickness) * smoothstep(0.0, 0.35, along)
        lifted = points + normals.reshape(n, m, 3) * lift[..., None] + np.gradient(points, axis=0) * (0.6 * OUTER_LAYER)
        loose = attributes.copy()
        loose[..., 3] = np.minimum(1, loose[..., 3] + 0.1)
        loose[..., 4] += OUTER_LAYER * 37
        loose[..., 6] = 0.40  # how much of the layer is gaps
        outer = grid_part(lifted, HAIR, loose, tangents)
        return [replace(outer, triangles=shell.triangles), shell]


def _facing_out(part: Part) -> Part:
    """The part with its triangles turned, if need be, so that they face away from the head."""
    n, m = part.grid
    normals = np.zeros_like(part.vertices)
    vertex_normals(part.vertices, part.triangles, normals)
    outward = normals * (part.vertices - ANCHOR_CENTRE)
    if outward.reshape(n, m, 3)[:, 5:25].sum() > 0:
        return part
    return replace(part, triangles=np.ascontiguousarray(part.triangles[:, [0, 2, 1]]))


def _closed_noise(rng: np.random.Generator, knots: int) -> np.ndarray:
    """Smooth periodic noise over the strands [N_STRANDS]; the last strand is the first again."""
    values = rng.standard_normal(knots)
    x = np.arange(N_STRANDS - 1) / (N_STRANDS - 1) * knots
    i = x.astype(int)
    t = smoothstep(0, 1, x - i)
    noise = values[i % knots] * (1 - t) + values[(i + 1) % knots] * t
    return np.r_[noise, noise[:1]]


def _pole_axes(style: HairStyle, side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pole, and the directions at right angles to it: towards the front, and to the side."""
    sideways, forwards = np.radians(style.pole_deg[0] * side), np.radians(style.pole_deg[1])
    pole = np.array([np.sin(sideways), np.cos(sideways) * np.cos(forwards), np.cos(sideways) * np.sin(forwards)])
    pole /= np.linalg.norm(pole)
    front = np.array([0, 0, 1.0]) - pole * pole[2]
    front /= np.linalg.norm(front)
    return pole, front, np.cross(pole, front)


def _scalp(anchors: np.ndarray, polar: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Points on the scalp [..., 3] by bilinear look-up; angles in radians."""
    height, width = anchors.shape[:2]
    y, x = polar / np.pi * height - 0.5, (azimuth + np.pi) / (2 * np.pi) * width - 0.5
    y0, x0 = np.clip(np.floor(y).astype(int), 0, height - 1), np.floor(x).astype(int)
    v, u = np.clip(y - y0, 0, 1)[..., None], (x - x0)[..., None]
    y1, x0, x1 = np.clip(y0 + 1, 0, height - 1), x0 % width, (x0 + 1) % width
    upper = anchors[y0, x0] * (1 - u) + anchors[y0, x1] * u
    lower = anchors[y1, x0] * (1 - u) + anchors[y1, x1] * u
    return upper * (1 - v) + lower * v


def _bun(hair: Hair) -> Part:
    turn, q = np.linspace(-np.pi, np.pi, 40)[:, None], np.linspace(0.02, 1, 20)[None]
    radius = 2.9 * hair.volume
    ring = np.sin(q * np.pi) * radius
    height = np.broadcast_to(-np.cos(q * np.pi) * radius * 0.8, (40, 20))
    points = (
        np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], -1) + ANCHOR_CENTRE + np.array([0, 10.6, -3.0])
    )
    return _knot(points, q * 0.5, (turn + np.pi) / 6.283 * 0.5 + 0.3, strand_axis=0)


def _ponytail(hair: Hair) -> Part:
    turn, q = np.linspace(-np.pi, np.pi, 40)[:, None], np.linspace(0.02, 1, 20)
    width = 1.9 * np.sin(np.clip(q * 1.15 + 0.12, 0, 1) * np.pi) ** 0.6 + 0.25
    path = np.stack([hair.side * 4.5 * q**1.2, 2.5 * np.sin(q * 2.2) - 15 * q**1.6, -2.2 * np.sin(q * 2.5) + 2 * q], -1)
    ring = np.stack([np.cos(turn) * width, np.zeros((40, 20)), np.sin(turn) * width], -1)
    points = path + ring + ANCHOR_CENTRE + np.array([hair.side * 0.5, 7.5, -9.0])
    return _knot(points, (turn + np.pi) / 6.283 * 0.3, q[None], strand_axis=1)


def _knot(points: np.ndarray, around: np.ndarray, along: np.ndarray, strand_axis: int) -> Part:
    attributes = np.zeros((*points.shape[:2], 8), np.float32)
    attributes[..., 0], attributes[..., 1], attributes[..., 3] = around, along, 0.9
    return grid_part(points, HAIR, attributes, unit(np.gradient(points, axis=strand_axis)))

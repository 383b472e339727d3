"""How a model's pictures look beside true renders of the same portraits: error, faces, detail, distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latent_reenact.evaluation.judges import Judges, OutsideJudge
from latent_reenact.evaluation.report import Bar, Row
from latent_reenact.evaluation.sheets import Sheet
from latent_reenact.evaluation.world import Artist, Progress
from latent_reenact.metrics import GaussianFit, frechet_distance, laplacian_energy, psnr
from latent_reenact.metrics.sharpness import Box
from latent_reenact.synthface import LATENT_DIM, Factors, Portrait

FRONTAL_DEG = 30.0  # where dlib's frontal detector can be asked to find every face
BARS = {
    "psnr_db": Bar(at_least=28),
    "faces": Bar(at_least=0.97),
    "inner_error": Bar(at_most=0.03),
    "detail": Bar(at_least=0.7, at_most=1.3),
}
FRECHET_BAR = Bar(at_most=3)
FRECHET_ENOUGH = 5_000  # samples: with fewer, the fits' own error hides the difference, and every ratio comes near 1

_WORDS = {
    "psnr_db": "PSNR to the render, dB",
    "faces": f"dlib finds a face, yaw within {FRONTAL_DEG:g}°",
    "inner_error": "dlib's inner landmarks, distance from the render's / inter-ocular distance",
    "detail": "Laplacian energy of the face crop / the render's, constant noise",
}
_INNER = slice(17, 68)  # brows, nose, eyes, mouth: 51 points; the jaw's are not where dlib sees them
_HARD_HAIR = ("curly_short", "afro", "wavy_long", "long_fringe")


@dataclass(frozen=True)
class Looks:
    """Pictures beside the renders of the same portraits.

    psnr_db: mean over pictures. detail: Laplacian energy of the face crop over the renders': below 1 is blurred,
    above 1 noisy. faces, render_faces: share of frontal pictures, and of their renders, in which dlib finds a face.
    inner_error: mean distance of the 51 inner landmarks over the inter-ocular distance, where both were found.
    """

    psnr_db: float
    detail: float
    faces: float
    render_faces: float
    inner_error: float


def compare(judge: OutsideJudge, drawn: np.ndarray, portraits: Sequence[Portrait]) -> Looks:
    """drawn: uint8 [N, R, R, 3], the model's pictures of the same portraits, at least one of them frontal."""
    frontal = [i for i, portrait in enumerate(portraits) if abs(portrait.yaw_deg) <= FRONTAL_DEG]
    ours = [judge.find(drawn[i]) for i in frontal]
    theirs = [judge.find(portraits[i].image) for i in frontal]
    both = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    errors = [inner_error(a.landmarks, b.landmarks) for a, b in both]
    return Looks(
        psnr_db=mean_psnr(drawn, portraits),
        detail=detail_ratio(drawn, portraits),
        faces=float(np.mean([face is not None for face in ours])),
        render_faces=float(np.mean([face is not None for face in theirs])),
        inner_error=float(np.mean(errors)) if errors else float("nan"),
    )


def mean_psnr(drawn: np.ndarray, portraits: Sequence[Portrait]) -> float:
    """PSNR in dB to the renders, averaged over pictures."""
    return float(np.mean([psnr(a, p.image) for a, p in zip(drawn, portraits, strict=True)]))


def detail_ratio(drawn: np.ndarray, portraits: Sequence[Portrait]) -> float:
    """Mean Laplacian energy of the face crops over that of the renders' crops."""
    boxes = [face_box(portrait.landmarks) for portrait in portraits]
    ours = [laplacian_energy(image, box) for image, box in zip(drawn, boxes, strict=True)]
    theirs = [laplacian_energy(p.image, box) for p, box in zip(portraits, boxes, strict=True)]
    return float(np.mean(ours) / np.mean(theirs))


def face_box(landmarks: np.ndarray) -> Box:
    """(left, top, right, bottom) of landmarks [68, 2]: brows to chin, cheek to cheek."""
    (left, top), (right, bottom) = landmarks.min(0), landmarks.max(0)
    return float(left), float(top), float(right), float(bottom)


def inner_error(landmarks: np.ndarray, reference: np.ndarray) -> float:
    """Mean distance of the inner landmarks [68, 2] from the reference's, over its inter-ocular distance."""
    eyes = np.linalg.norm(reference[36:42].mean(0) - reference[42:48].mean(0))
    return float(np.linalg.norm(landmarks[_INNER] - reference[_INNER], axis=1).mean() / eyes)


def frechet_ratio(samples: np.ndarray, renders: np.ndarray, other_renders: np.ndarray) -> tuple[float, float, float]:
    """(distance of samples from renders, of two sets of renders, their ratio), of features [N, F] each."""
    fit = GaussianFit.of(renders)
    own, between = (frechet_distance(GaussianFit.of(features), fit) for features in (samples, other_renders))
    return own, between, own / between


# ---------------------------------------------------------------- a model's rows and pictures


def measure_looks(artist: Artist, judge: OutsideJudge, count: int, progress: Progress) -> tuple[list[Row], list[Sheet]]:
    """`count` portraits drawn from their true factors, and from the z that stands for them."""
    portraits: list[Portrait] = []
    for factors in artist.world.factors("looks", count):
        portraits.append(artist.world.render(factors))
        progress(len(portraits), count, "portraits")
    z = artist.world.latents("looks", count, artist.generator.config.z_dim)
    lines = {"render": np.stack([portrait.image for portrait in portraits])}
    rows = _factor_rows(artist, judge, portraits, lines)
    lines["from z"] = artist.from_latents(z)
    if z.shape[1] == LATENT_DIM:
        looks = compare(judge, lines["from z"], portraits)
        rows += _rows("z", "from z", looks, [])
    return rows, _sheets(portraits, lines)


def measure_frechet(artist: Artist, judges: Judges, count: int, progress: Progress) -> list[Row]:
    """`count` pictures from z against as many renders, in units of what two such sets of renders differ by.

    A second row has pictures from true factors in the place of those from z, where the model has a network for them:
    what is left there is the synthesis's own, the rest comes with the mapping from z.
    """
    z_dim, size = artist.generator.config.z_dim, 256
    features: dict[str, list[np.ndarray]] = {"z": [], "renders": [], "others": [], "factors": []}
    for start in range(0, count, size):
        n = min(size, count - start)
        one, two = (artist.world.factors("frechet", n, start + k * count) for k in (1, 2))  # other portraits than z's
        features["z"].append(judges.features(artist.from_latents(artist.world.latents("frechet", n, z_dim, start))))
        features["renders"].append(judges.features(artist.world.pictures(one)))
        features["others"].append(judges.features(artist.world.pictures(two)))
        if artist.factors is not None:
            features["factors"].append(judges.features(artist.from_factors(two)))
        progress(start + n, count, "samples")
    all_of = {name: np.concatenate(parts) for name, parts in features.items() if parts}
    bar = FRECHET_BAR if count >= FRECHET_ENOUGH else None
    rows = []
    for origin, key, words in (
        ("z", "frechet_ratio", "samples"),
        ("factors", "frechet_factors", "true factors' pictures"),
    ):
        if origin not in all_of:
            continue
        own, between, ratio = frechet_ratio(all_of[origin], all_of["renders"], all_of["others"])
        note = (
            "features are the judges' own (identity and face reader, last maps averaged), no Inception: "
            f"{own:.4g} from {origin}, {between:.4g} between two sets of renders, {count} pictures each, constant noise"
        )
        text = f"Fréchet distance of {words} from renders / of two sets of renders, judges' features"
        held = bar if origin == "z" else None
        rows.append(Row(key=f"looks.{key}", text=text, value=ratio, bar=held, ceiling=1.0, note=note))
    return rows


def _factor_rows(
    artist: Artist, judge: OutsideJudge, portraits: Sequence[Portrait], lines: dict[str, np.ndarray]
) -> list[Row]:
    if artist.factors is None:
        why = "the model has no network `factors`"
        return [
            Row(key=f"looks.{k}", text=f"true factors: {_WORDS[k]}", value=None, bar=BARS[k], note=why) for k in BARS
        ]
    factors = [portrait.factors for portrait in portraits]
    lines["from factors"] = drawn = artist.from_factors(factors)
    plain = artist.from_factors(factors, "none")
    rows = _rows("", "true factors", compare(judge, drawn, portraits), list(BARS))
    quiet = {"psnr_db": mean_psnr(plain, portraits), "detail": detail_ratio(plain, portraits)}
    words = {name: _WORDS[name].removesuffix(", constant noise") for name in quiet}
    return rows + [
        Row(key=f"looks.{name}_no_noise", text=f"true factors: {words[name]}, no noise", value=value)
        for name, value in quiet.items()
    ]


def _rows(route: str, words: str, looks: Looks, barred: Sequence[str]) -> list[Row]:
    ceilings = {"faces": looks.render_faces}
    return [
        Row(
            key=f"looks.{route}{'_' * bool(route)}{name}",
            text=f"{words}: {_WORDS[name]}",
            value=getattr(looks, name),
            bar=BARS[name] if name in barred else None,
            ceiling=ceilings.get(name),
        )
        for name in BARS
    ]


def _sheets(portraits: Sequence[Portrait], lines: dict[str, np.ndarray], width: int = 12) -> list[Sheet]:
    """The first portraits, and the first of those with glasses, curls, long hair or beards."""
    hard = [i for i, portrait in enumerate(portraits) if _is_hard(portrait.factors)]
    chosen = {"looks": list(range(len(portraits)))[:width], "looks_hard": hard[:width]}
    return [
        Sheet(name, tuple(lines), tuple([images[i] for i in index] for images in lines.values()))
        for name, index in chosen.items()
        if index
    ]


def _is_hard(factors: Factors) -> bool:
    identity = factors.identity
    return identity.glasses.style != "none" or identity.hair.style in _HARD_HAIR or identity.facial_hair.beard > 0.6

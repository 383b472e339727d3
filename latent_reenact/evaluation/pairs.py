"""Which clip drives which identity: drawn once by seed, written into a file, read back ever after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from latent_reenact.errors import ConfigError, UsageError
from latent_reenact.media import atomic_write_json

Protocol = Literal["cross", "self"]


@dataclass(frozen=True)
class Pair:
    """Names of two clips; in self-reenactment the same one twice."""

    identity: str
    driving: str


def draw_pairs(people: Mapping[str, str], protocol: Protocol, count: int, seed: int) -> list[Pair]:
    """Up to `count` pairs; fewer where there are not as many different ones.

    As many people as possible take part. In cross-reenactment the clips stand in a ring, each driving the one before
    it, so that every clip is once the identity and once drives; more pairs than clips take the next but one, and so on.

    Args:
        people: clip -> person.

    Raises:
        UsageError: no clips, or, for cross-reenactment, clips of one person only.
    """
    chosen = _spread(people, np.random.default_rng(seed))[:count]
    if protocol == "self":
        pairs = [Pair(name, name) for name in chosen]
    else:
        rounds = (
            Pair(name, chosen[(i + shift) % len(chosen)])
            for shift in range(1, len(chosen))
            for i, name in enumerate(chosen)
        )
        pairs = [pair for pair in rounds if people[pair.identity] != people[pair.driving]][:count]
    if not pairs:
        raise UsageError(
            f"got {len(people)} clips of {len({*people.values()})} people, expected clips of two people or more"
        )
    return pairs


def write_pairs(path: Path, pairs: list[Pair], protocol: Protocol, seed: int) -> None:
    """Raises OutputError."""
    listed = [[pair.identity, pair.driving] for pair in pairs]
    atomic_write_json(path, {"protocol": protocol, "seed": seed, "pairs": listed})


def read_pairs(path: str | Path, people: Mapping[str, str]) -> list[Pair]:
    """The pairs of a file: {"pairs": [[identity clip, driving clip], ...]}.

    Raises:
        ConfigError: no such list, or a clip that is not among `people`.
    """
    try:
        listed = json.loads(Path(path).read_text(encoding="utf-8"))["pairs"]
        pairs = [Pair(str(identity), str(driving)) for identity, driving in listed]
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = '{"pairs": [[clip, clip], ...]}'
        raise ConfigError(f"{path} is no list of pairs ({error!r}); expected {expected}") from None
    unknown = [name for pair in pairs for name in (pair.identity, pair.driving) if name not in people]
    if unknown or not pairs:
        what = f"the clip {unknown[0]!r}, which is not here" if unknown else "no pairs"
        raise ConfigError(f"{path} names {what}; expected pairs of {', '.join([*people][:3])}, ...")
    return pairs


def _spread(people: Mapping[str, str], random: np.random.Generator) -> list[str]:
    """All clips in random order, first one of each person, then a second one, ..."""
    clips: dict[str, list[str]] = {}
    for name in random.permutation(sorted(people)).tolist():
        clips.setdefault(people[name], []).append(name)
    depth = max(map(len, clips.values()), default=0)
    return [own[k] for k in range(depth) for own in clips.values() if k < len(own)]

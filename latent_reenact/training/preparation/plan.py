"""What a preparation will do, before it does it: shards, people, room on the disk; and the same carried out.

The unit of work is one shard: the people in it, all of them and nobody else. It is written whole or not at all, and
a later run of the same plan leaves it alone. Who is in which split, and which shard, depends on the data and the
settings only, never on the number of processes or on what was finished when.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from latent_reenact.config import to_dict
from latent_reenact.errors import ConfigError, OutputError, UsageError
from latent_reenact.media import atomic_write_json, clean_leftovers
from latent_reenact.media.shards import load_index_file, shard_files
from latent_reenact.training.preparation.cluster import Executor, executor
from latent_reenact.training.shards.format import SPLITS, clip_of, person_of

MANIFEST = "manifest.json"
_FAILURES_KEPT = 1000
_TAR_BYTES = 3 * 1024 + 10_240 / 500  # a sample's headers and padding, and its part of the archive's end

P = TypeVar("P")
Progress = Callable[[float, "float | None", str], None]


@dataclass(frozen=True)
class Unit(Generic[P]):
    """One shard to write.

    name: `train/00003.tar` below the output folder. samples: at most so many. digest: of all that decides its content.
    """

    name: str
    people: tuple[P, ...]
    samples: int
    digest: str

    @property
    def split(self) -> str:
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Plan(Generic[P]):
    """All the shards of one preparation.

    kind: "videos" or "synthetic". clips: to be read at most. sample_bytes: expected size of one sample.
    work: writes one unit's shard; it travels to other processes. warm_up: done once before them, in this one.
    """

    kind: str
    out: Path
    config: Any
    units: tuple[Unit[P], ...]
    clips: int
    sample_bytes: float
    work: Callable[[Unit[P]], None]
    warm_up: Callable[[], object] = lambda: None

    @property
    def samples(self) -> int:
        return sum(unit.samples for unit in self.units)

    @property
    def needed_bytes(self) -> int:
        """Of all shards, those that are there already too."""
        return round(self.samples * (self.sample_bytes + _TAR_BYTES))

    def summary(self) -> dict[str, Any]:
        """The plan in numbers; `free_bytes` is what the disk has now."""
        people = Counter(dict.fromkeys(SPLITS, 0))
        for unit in self.units:
            people[unit.split] += len(unit.people)
        missing = [unit for unit in self.units if not self.is_done(unit)]
        missing_bytes = round(sum(unit.samples for unit in missing) * (self.sample_bytes + _TAR_BYTES))
        free = _free_bytes(self.out)
        return {
            "kind": self.kind,
            "people": dict(people),
            "clips": self.clips,
            "samples": self.samples,
            "shards": len(self.units),
            "shards_done": len(self.units) - len(missing),
            "needed_bytes": self.needed_bytes,
            "missing_bytes": missing_bytes,
            "free_bytes": free,
            "fits": missing_bytes <= free,
        }

    def is_done(self, unit: Unit[P]) -> bool:
        """Whether the unit's shard is there. Raises UsageError where another plan's is."""
        path = self.out / unit.name
        index = load_index_file(path)
        if index is not None and index.get("unit") != unit.digest:
            raise UsageError(f"{path} was made from other data or settings; give another folder, or remove that one")
        return index is not None


def make_units(
    people: Sequence[P],
    name: Callable[[P], str],
    *,
    shares: tuple[float, float],
    per_shard: int,
    samples: Callable[[P], int],
    fingerprint: Any,
) -> tuple[Unit[P], ...]:
    """Deal people to splits by `name`, and those of a split to shards in the order given.

    fingerprint: what the content of a shard depends on beside its people.
    """
    split = split_people([name(person) for person in people], *shares)
    units: list[Unit[P]] = []
    for which in SPLITS:
        members = [person for person in people if split[name(person)] == which]
        for number, group in enumerate(_groups(members, per_shard)):
            digest = _digest(fingerprint, [repr(person) for person in group])
            units.append(Unit(f"{which}/{number:05d}.tar", group, sum(map(samples, group)), digest))
    return tuple(units)


def split_people(names: Iterable[str], val: float, test: float) -> dict[str, str]:
    """ "train", "val" or "test" for each name.

    Shares below 1 go by a hash of the name alone, so that nobody moves when people are added; from 1 on they are
    numbers of people: those with the smallest hashes.

    Raises:
        ConfigError: shares out of range, or nobody left to train on.
    """
    if not (val >= 0 and test >= 0) or (val < 1 and test < 1 and val + test >= 1):
        raise ConfigError(f"val, test: got {val:g} and {test:g}, expected shares that leave some people for training")
    ranked = sorted(set(names), key=_fraction)
    fractions = [_fraction(name) for name in ranked]
    tested = int(test) if test >= 1 else bisect_left(fractions, test)
    held_out = tested + int(val) if val >= 1 else max(tested, bisect_left(fractions, val + (test if test < 1 else 0)))
    if max(val, test) >= 1 and held_out >= len(ranked):
        raise ConfigError(
            f"val, test: got {val:g} and {test:g} of {len(ranked)} people, expected some left for training"
        )
    return {name: "test" if i < tested else "val" if i < held_out else "train" for i, name in enumerate(ranked)}


def carry_out(plan: Plan[P], run: Executor | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Write the shards that are not there yet, then the manifest.

    Args:
        run: where; all cores of this machine by default.
        progress: told of (shards done, of, "shards").

    Returns:
        The manifest: people, clips, samples and shards of each split, frames dropped by reason, unreadable files.

    Raises:
        OutputError: the disk is too small, checked first, or cannot be written.
        UsageError: the folder holds shards of another plan.
        InterruptedRunError: a process died; what is finished stays.
    """
    _check_folder(plan)
    waiting = [unit for unit in plan.units if not plan.is_done(unit)]
    done = len(plan.units) - len(waiting)
    if waiting:
        plan.warm_up()
    for _ in (run or executor())(plan.work, waiting):
        done += 1
        if progress:
            progress(done, len(plan.units), "shards")
    manifest = _manifest(plan)
    atomic_write_json(plan.out / MANIFEST, manifest)
    return manifest


def _check_folder(plan: Plan[P]) -> None:
    summary = plan.summary()
    if not summary["fits"]:
        raise OutputError(
            f"cannot write {plan.out}: about {summary['missing_bytes']:,} bytes needed, "
            f"{summary['free_bytes']:,} bytes free; free some space or choose another place"
        )
    known = {plan.out / unit.name for unit in plan.units}
    for split in SPLITS:
        clean_leftovers(plan.out / split)
        strangers = sorted(set(shard_files(plan.out / split)) - known)
        if strangers:
            raise UsageError(f"{strangers[0]} is not part of this plan; give another folder, or remove that file")


def _manifest(plan: Plan[P]) -> dict[str, Any]:
    """What all the shards together hold, from their indices."""
    splits: dict[str, dict[str, Any]] = {s: {"people": 0, "clips": 0, "samples": 0, "shards": []} for s in SPLITS}
    dropped: Counter[str] = Counter()
    failures: list[str] = []
    for unit in plan.units:
        index = load_index_file(plan.out / unit.name)
        assert index is not None, unit.name
        part = splits[unit.split]
        part["people"] += len({person_of(key) for key in index["keys"]})
        part["clips"] += len({clip_of(key) for key in index["keys"]})
        part["samples"] += index["samples"]
        part["shards"].append(unit.name)
        dropped.update(index["dropped"])
        failures += index["failures"]
    return {
        "format": 1,
        "kind": plan.kind,
        "config": to_dict(plan.config),
        "splits": splits,
        "dropped": dict(sorted(dropped.items())),
        "failures": failures[:_FAILURES_KEPT],
    }


def _groups(members: list[P], size: int) -> list[tuple[P, ...]]:
    """Runs of `size`; a last one of a single person joins the one before, since nobody could be its partner."""
    groups = [tuple(members[i : i + size]) for i in range(0, len(members), size)]
    if size > 1 and len(groups) > 1 and len(groups[-1]) == 1:
        groups[-2:] = [groups[-2] + groups[-1]]
    return groups


def _fraction(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _free_bytes(folder: Path) -> int:
    """Of the disk that will hold `folder`."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free

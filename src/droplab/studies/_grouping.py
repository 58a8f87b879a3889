"""Which replicas are trained together."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from droplab.recipe import Arm


@dataclasses.dataclass(frozen=True)
class Group:
    """Replicas that are trained together: some arms, each with the same seeds.

    Attributes:
        arms: Names of arms whose dropout is of one kind, and which do the same to the dropout that
            the model has already.
        seeds: Seeds.
    """

    arms: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def members(self) -> tuple[tuple[str, int], ...]:
        """(arm, seed) of every replica: all arms of a seed, then the next seed."""
        return tuple((arm, seed) for seed in self.seeds for arm in self.arms)

    def __str__(self) -> str:
        """The replica, or how many there are from which one on."""
        arm, seed = self.members[0]
        one, count = f"arm '{arm}', seed {seed}", len(self.members)
        return one if count == 1 else f"the {count} replicas from {one} on"

    def only(self, arms: Collection[str]) -> Group | None:
        """Return the group of those of its arms that go on; None if none does."""
        kept = tuple(arm for arm in self.arms if arm in arms)
        return Group(kept, self.seeds) if kept else None

    def halves(self) -> tuple[Group, Group] | None:
        """Return two groups with half of the replicas each; None if there is one replica."""
        if len(self.seeds) > 1:
            middle = len(self.seeds) // 2
            return (
                Group(self.arms, self.seeds[:middle]),
                Group(self.arms, self.seeds[middle:]),
            )
        if len(self.arms) > 1:
            middle = len(self.arms) // 2
            return Group(self.arms[:middle], self.seeds), Group(self.arms[middle:], self.seeds)
        return None

    def to_list(self) -> list[list[Any]]:
        """Return the group as plain data."""
        return [list(self.arms), list(self.seeds)]


def make_groups(
    arms: Sequence[Arm], seeds: Sequence[int], size: int, *, folds: bool = False
) -> tuple[Group, ...]:
    """Divide all pairs of an arm and a seed into groups of at most `size` replicas.

    All arms of a seed are kept together where they fit, since they share its batches.

    Args:
        arms: The arms.
        seeds: The seeds.
        size: How many replicas a group may have.
        folds: Whether each seed has examples of its own, so that no two are in one group.

    Example:
        >>> groups = make_groups([Arm("none"), Arm("half", {"fc2": 0.5})], range(5), 4)
        >>> [group.seeds for group in groups]
        [(0,), (1, 2), (3, 4)]
    """
    groups: list[Group] = []
    for same in alike(arms):
        for part in _parts(same, size):
            names = tuple(arm.name for arm in part)
            several = 1 if folds else max(1, size // len(names))
            groups += [Group(names, tuple(some)) for some in _parts(seeds, several)]
    return tuple(groups)


def alike(arms: Sequence[Arm]) -> list[list[Arm]]:
    """Arms that may be trained together: by what they do to the model's own rates, and by kind.

    Arms that add no dropout go with those of the first kind.
    """
    existing: dict[tuple[tuple[str, float], ...], list[Arm]] = {}
    for arm in arms:
        existing.setdefault(tuple(sorted(arm.existing.items())), []).append(arm)
    return [group for same in existing.values() for group in _by_kind(same)]


def _by_kind(arms: Sequence[Arm]) -> list[list[Arm]]:
    kinds: dict[str | None, list[Arm]] = {}
    for arm in arms:
        if arm.places:
            kinds.setdefault(arm.kind, []).append(arm)
    groups = list(kinds.values()) or [[]]
    groups[0] = [arm for arm in arms if arm in groups[0] or not arm.places]
    return groups


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Cut `items` into as few parts of at most `size` as can be, of nearly the same length."""
    count = -(-len(items) // size)
    for index in range(count):
        yield items[len(items) * index // count : len(items) * (index + 1) // count]


def stored_groups(plan: Mapping[str, Any]) -> tuple[Group, ...]:
    """Return the groups that a run's stored plan has; none if replicas are trained alone."""
    return tuple(Group(tuple(arms), tuple(seeds)) for arms, seeds in plan.get("groups", ()))

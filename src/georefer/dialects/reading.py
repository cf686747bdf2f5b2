"""What reading an answer gives: objects in scene pixels, and everything that was wrong with the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from georefer.geometry import Objects

ProblemKind = Literal[
    "too-long", "too-many", "unreadable", "wrong-count", "truncated", "not-a-number", "off-grammar",
    "not-integer", "swapped", "out-of-range", "empty-shape", "duplicate",
]  # fmt: skip

LOSSES: frozenset[str] = frozenset(
    {"too-long", "too-many", "unreadable", "wrong-count", "truncated", "not-a-number", "empty-shape"}
)
"""Problems by which something the model said was lost; the others were repaired."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an answer, and where: characters `start` to `end` of the text."""

    kind: ProblemKind
    start: int
    end: int
    message: str

    @property
    def is_loss(self) -> bool:
        return self.kind in LOSSES


@dataclass(frozen=True)
class Relation:
    """Subject, predicate, object: the ends are places in the Reading's objects."""

    subject: int
    predicate: str
    object: int


@dataclass(frozen=True)
class Reading:
    """What an answer says: objects in scene pixels, and everything that was repaired or lost on the way.

    `says_none` is true where the model explicitly answered that there is nothing. An answer that holds no
    object and does not say so is not `readable`; scores count it as wrong. `relations` are those of the few
    dialects that can say them. `spans` are the characters (start, end) of the text that say each object's shape, in
    many dialects its label as well.
    """

    text: str
    objects: Objects
    problems: tuple[Problem, ...] = ()
    says_none: bool = False
    relations: tuple[Relation, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def areas(self) -> Objects:
        """The objects without points and lines, which some families say beside each box; what box tasks score."""
        flat = {"point", "line"}
        if flat.isdisjoint(self.objects.kinds_N):
            return self.objects
        return self.objects[np.array([kind not in flat for kind in self.objects.kinds_N])]

    @property
    def readable(self) -> bool:
        return len(self.objects) > 0 or self.says_none

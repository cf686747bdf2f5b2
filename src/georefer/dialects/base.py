"""What a dialect is, and what reading an answer gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from georefer.geometry import Frame, Objects

MAX_TEXT = 100_000
"""Characters of one answer that are read; a model that babbles must not cost more than milliseconds."""

MAX_OBJECTS = 1_000
"""Shapes read from one answer; the rest is reported as lost."""

ProblemKind = Literal[
    "too-long", "too-many", "unreadable", "wrong-count", "truncated", "not-a-number",
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
class Reading:
    """What an answer says: objects in scene pixels, and everything that was repaired or lost on the way.

    `says_none` is true where the model explicitly answered that there is nothing. An answer that holds no
    object and does not say so is not `readable`; scores count it as wrong.
    """

    text: str
    objects: Objects
    problems: tuple[Problem, ...] = ()
    says_none: bool = False

    @property
    def readable(self) -> bool:
        return len(self.objects) > 0 or self.says_none


class Dialect(Protocol):
    """One family of models' way to say geometry in text.

    `write` raises ValueError on objects that the dialect cannot say (that is our mistake, found when a
    dataset is built); `read` never raises, whatever the text, never guesses another convention and does a
    bounded amount of work.
    """

    name: str

    def write(self, objects: Objects, frame: Frame, *, labelled: bool = True) -> str: ...

    def read(self, text: str, frame: Frame) -> Reading: ...

    def grammar(self) -> str: ...


NUMBER = r"[-+]?[0-9]{1,9}(?:\.[0-9]{1,9})?"
FLAT_LIST = re.compile(rf"\[\s*({NUMBER}(?:\s*,\s*{NUMBER}){{0,4095}})\s*,?\s*\]")
"""A flat bracket list of plain numbers; the bounded repeats keep matching linear in the text."""


@dataclass
class ListReader:
    """Bookkeeping while flat bracket lists of an answer become shapes; used by the list-like dialects."""

    text: str
    frame: Frame
    problems: list[Problem] = field(default_factory=list)

    def lists(self) -> Iterator[tuple[np.ndarray, re.Match[str]]]:
        """Every flat list as an array of numbers, in order; notes what is cut off or left out."""
        text = self.bounded()
        for count, match in enumerate(FLAT_LIST.finditer(text)):
            if count == MAX_OBJECTS:
                self.note("too-many", match.start(), len(text), f"only the first {MAX_OBJECTS} lists are read")
                return
            yield np.array(match[1].split(","), dtype=np.float64), match
        if (tail := text.rfind("[")) > text.rfind("]"):
            self.note("truncated", tail, len(text), "the last list has no closing bracket")

    def bounded(self) -> str:
        if len(self.text) > MAX_TEXT:
            self.note("too-long", MAX_TEXT, len(self.text), f"only the first {MAX_TEXT} characters are read")
        return self.text[:MAX_TEXT]

    def note(self, kind: ProblemKind, start: int, end: int, message: str) -> None:
        self.problems.append(Problem(kind, start, end, message))

    def clip(self, values: np.ndarray, match: re.Match[str]) -> np.ndarray:
        """Numbers (x, y, x, y, ...) clipped to the frame's range, with a note where that changed any."""
        top = np.tile([self.frame.numbers_x, self.frame.numbers_y], len(values) // 2)
        if not (values == np.floor(values)).all():
            self.note("not-integer", match.start(), match.end(), f"{match[0]} has fractions; integers expected")
        clipped = np.clip(values, 0, top)
        if not (clipped == values).all():
            self.note("out-of-range", match.start(), match.end(), f"{match[0]} was clipped to the image")
        return clipped

    def box(self, values_4: np.ndarray, match: re.Match[str]) -> np.ndarray | None:
        """Corner numbers put in order, or None (with a note) where they span no area."""
        low, high = np.minimum(values_4[:2], values_4[2:]), np.maximum(values_4[:2], values_4[2:])
        if (values_4[:2] > values_4[2:]).any():
            self.note("swapped", match.start(), match.end(), f"{match[0]} has its corners in another order")
        box_4 = np.concatenate([low, high])
        if (box_4[:2] == box_4[2:]).any():
            self.note("empty-shape", match.start(), match.end(), f"{match[0]} spans no area")
            return None
        return box_4


def is_repeated(seen: set[tuple], key: tuple, reader: ListReader, match: re.Match[str]) -> bool:
    """Whether a shape was said before in this answer; notes it and remembers the shape."""
    if key in seen:
        reader.note("duplicate", match.start(), match.end(), f"{match[0]} was said before")
        return True
    seen.add(key)
    return False


def boxes_to_numbers(boxes_N4: np.ndarray, frame: Frame) -> np.ndarray:
    """Scene-pixel boxes in the frame's numbers, as floats; not rounded."""
    return frame.to_numbers(np.asarray(boxes_N4).reshape(-1, 2)).reshape(-1, 4)


def boxes_from_numbers(numbers_N4: np.ndarray, frame: Frame) -> np.ndarray:
    """Inverse of `boxes_to_numbers`."""
    return frame.from_numbers(np.asarray(numbers_N4, dtype=np.float64).reshape(-1, 2)).reshape(-1, 4)


def widened(boxes_N4: np.ndarray, frame: Frame) -> np.ndarray:
    """Integer boxes within the frame's range, each at least one number wide and high."""
    top = np.array([frame.numbers_x, frame.numbers_y])
    low_N2 = np.clip(boxes_N4[:, :2], 0, top - 1)
    high_N2 = np.clip(np.maximum(boxes_N4[:, 2:], low_N2 + 1), 1, top)
    return np.concatenate([low_N2, high_N2], axis=1).astype(int)

"""Reader: what all dialects share when text becomes shapes; bounds, repairs, and a problem for each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import shapely

from georefer.dialects.plain import plain_objects
from georefer.dialects.reading import Problem, ProblemKind, Reading, Relation
from georefer.geometry import OBB, Frame, Kind, Objects
from georefer.geometry.repair import crossings, repaired

if TYPE_CHECKING:
    from georefer.dialects.base import Dialect

MAX_TEXT = 100_000
"""Characters of one answer that are read; a model that babbles must not cost more than milliseconds."""

MAX_OBJECTS = 1_000
"""Shapes read from one answer; the rest is reported as lost."""

MAX_NUMBERS = 4_096
"""Numbers in one list."""

NUMBER = r"[-+]?+[0-9]{1,9}+(?:\.[0-9]{1,9}+)?+"
NUMBERS = rf"{NUMBER}(?:\s*+,\s*+{NUMBER}){{0,{MAX_NUMBERS - 1}}}+"
FLAT_LIST = re.compile(rf"\[\s*+({NUMBERS})\s*+(?:,\s*+)?\]")
"""A flat bracket list of plain numbers; bounded repeats that give nothing back keep it linear."""

CLOSED_LIST = re.compile(r"\[[^\[\]0-9]{0,200}+[0-9][^\[\]]{0,40000}+\]")

MAX_REPAIRS, MAX_CROSSINGS, MAX_PAIRS = 50, 60, 150_000
"""Of all shapes in one answer whose rings cross themselves: the shapes, their crossings, and the pairs of edges looked
at to count these. GEOS needs 0.1 ms and more to repair one crossing."""

BOXES_WRITTEN_YXYX = [1, 0, 3, 2]
"""Index that turns y1, x1, y2, x2 into x1, y1, x2, y2 and back."""

_SEPARATORS = "\x1c\x1d\x1e\x1f"
"""White space to a regular expression, but not around a number to `float`."""


def _spaced(text: str) -> str:
    """The text, as long as before, with no white space that patterns and numbers disagree on."""
    for mark in _SEPARATORS:
        if mark in text:
            text = text.replace(mark, " ")
    return text


@dataclass(slots=True)
class Found:
    """A shape as it was said; `values` are numbers as printed, or a finished geometry of the scene ("made")."""

    kind: Kind
    label: str
    score: float
    form: Literal["hbb", "polygon", "point", "made"]
    values: Any
    start: int
    end: int
    parts: tuple[tuple[Sequence[float], tuple[Sequence[float], ...]], ...] = ()
    """Of a polygon: (exterior, holes) of each part; `values` is then empty."""


class Reader:
    """Takes shapes in the order in which a dialect finds them, and makes the Reading.

    Numbers are handed in as they stand in the text (0.25, not 25). The reader scales, clips, orders corners,
    drops what spans no area and what was said before, and notes each of these. Every method that takes a shape
    returns its place among the shapes found, or -1 once `MAX_OBJECTS` are there; places are for `relate`.
    """

    def __init__(self, dialect: Dialect, text: str, frame: Frame) -> None:
        self.dialect, self.frame, self.whole = dialect, frame, text
        self.text = _spaced(text[:MAX_TEXT])
        self.problems: list[Problem] = []
        self.says_none = False
        self._found: list[Found] = []
        self._relations: list[Relation] = []
        if len(text) > MAX_TEXT:
            self.note("too-long", MAX_TEXT, len(text), f"only the first {MAX_TEXT} characters are read")

    @property
    def full(self) -> bool:
        return len(self._found) >= MAX_OBJECTS

    def __len__(self) -> int:
        return len(self._found)

    def note(self, kind: ProblemKind, start: int, end: int, message: str) -> None:
        """A problem at characters start to end; endless ones are cut off at twice MAX_OBJECTS."""
        if len(self.problems) < 2 * MAX_OBJECTS:
            self.problems.append(Problem(kind, start, min(end, len(self.whole)), message))

    def quote(self, start: int, end: int) -> str:
        return self.text[start : min(end, start + 80)]

    # --- what a dialect hands in -------------------------------------------------------------------------

    def box(self, x1y1x2y2: Sequence[float], start: int, end: int, label: str = "", score: float | None = None) -> int:
        """A horizontal box by two corners."""
        return self._take(Found("hbb", label, nan if score is None else score, "hbb", x1y1x2y2, start, end))

    def polygon(
        self, xy: Sequence[float], start: int, end: int, label: str = "", holes: Sequence[Sequence[float]] = (),
        more: Sequence[tuple[Sequence[float], Sequence[Sequence[float]]]] = (),
    ) -> int:  # fmt: skip
        """An exterior ring x1, y1, x2, y2, ... (closed or not), the rings of its holes, and further such parts."""
        parts = []
        for ring, inner in ((xy, holes), *more):
            for count in map(len, (ring, *inner)):
                if count < 6 or count % 2:
                    self.wrong_count(start, end, count, "an even number from 6")
            if len(ring) >= 6 and len(ring) % 2 == 0:
                parts.append((ring, tuple(h for h in inner if len(h) >= 6 and len(h) % 2 == 0)))
        if not parts:
            return -1
        return self._take(Found("polygon", label, nan, "polygon", (), start, end, tuple(parts)))

    def point(self, xy: Sequence[float], start: int, end: int, label: str = "") -> int:
        return self._take(Found("point", label, nan, "point", xy, start, end))

    def shape(
        self, kind: Kind, geometry: shapely.Geometry, start: int, end: int, label: str = "",
        score: float | None = None,
    ) -> int:  # fmt: skip
        """A shape that the dialect has brought to scene pixels itself, such as a grid mask."""
        return self._take(Found(kind, label, nan if score is None else score, "made", geometry, start, end))

    def obb(self, obb: OBB, start: int, end: int, label: str = "") -> int:
        """An oriented box in scene pixels; one that sticks out of the scene is kept whole."""
        return self._take(Found("obb", label, nan, "made", obb.to_polygon(), start, end))

    def box_in_scene(self, x1y1x2y2: Sequence[float], start: int, end: int) -> np.ndarray | None:
        """A box's corners in scene pixels, repaired and noted as `box` does, for a shape that is told within it."""
        place = len(self._found)
        self._found.append(Found("hbb", "", nan, "hbb", x1y1x2y2, start, end))
        boxes_1, empty_1 = self._boxes([place])
        self._found.pop()
        return None if empty_1[0] else np.array(boxes_1[0].bounds)

    def relate(self, subject: int, predicate: str, object_: int) -> None:
        """A relation between two places; left out if either end was lost."""
        if subject >= 0 and object_ >= 0 and len(self._relations) < 10 * MAX_OBJECTS:
            self._relations.append(Relation(subject, predicate, object_))

    def wrong_count(self, start: int, end: int, found: int, expected: object) -> None:
        self.note("wrong-count", start, end, f"{self.quote(start, end)} has {found} numbers; {expected} expected")

    def flat_lists(self) -> Iterator[tuple[list[float], re.Match[str]]]:
        """Every flat bracket list of numbers, in order; notes a list that the end of the text cuts off."""
        read: set[int] = set()
        for match in FLAT_LIST.finditer(self.text):
            if self.full:
                self.too_many(match.start())
                return
            read.add(match.start())
            yield list(map(float, match[1].split(","))), match
        self.unread(read)
        self.open_tail("[", "]")

    def unread(self, read: set[int]) -> None:
        """Notes every closed list with a digit in it that does not begin at one of these places."""
        if self.text.count("[") == len(read):  # all of them do
            return
        for match in CLOSED_LIST.finditer(self.text):
            if match.start() not in read:
                quoted = self.quote(match.start(), match.end())
                self.note("not-a-number", match.start(), match.end(), f"{quoted} is no list of plain numbers")

    def open_tail(self, opening: str, closing: str) -> None:
        """Notes it where the last opening mark is not closed."""
        if (tail := self.text.rfind(opening)) > self.text.rfind(closing):
            self.note("truncated", tail, len(self.text), f"the last {opening!r} is not closed")

    def if_nothing(self, *words: str, start: int = 0) -> None:
        """Sets `says_none` where no shape was found and the text, from `start` on, is one of the words."""
        said = self.text[start : start + 200].strip().strip(".").lower()
        if not self._found and any(
            said == word.strip().strip(".").lower() for word in words or (self.dialect.nothing,)
        ):
            self.says_none = True

    # --- what comes out ----------------------------------------------------------------------------------

    def reading(self) -> Reading:
        """All shapes in scene pixels, in the order said."""
        if (objects := plain_objects(self._found, self.dialect.steps, self.frame)) is not None:
            self._verdict(True)
            spans = tuple([(f.start, f.end) for f in self._found])
            relations = tuple(dict.fromkeys(self._relations))
            return Reading(self.whole, objects, self._sorted_problems(), False, relations, spans)
        geometries_N, lost_N = self._geometries()
        kept = self._first_of_each(geometries_N, lost_N)
        self._verdict(bool(kept))
        found = [self._found[i] for i in kept]
        objects = Objects.of(
            geometries_N if len(kept) == len(geometries_N) else geometries_N[kept],
            [f.label for f in found], kind=[f.kind for f in found], scores=[f.score for f in found],
        )  # fmt: skip
        is_none = self.says_none and not kept
        spans = tuple([(f.start, f.end) for f in found])
        return Reading(self.whole, objects, self._sorted_problems(), is_none, self._kept_relations(kept), spans)

    def _sorted_problems(self) -> tuple[Problem, ...]:
        return tuple(sorted(self.problems, key=lambda p: (p.start, p.end))) if self.problems else ()

    def _kept_relations(self, kept: list[int]) -> tuple[Relation, ...]:
        if not self._relations:
            return ()
        place = {found: i for i, found in enumerate(kept)}
        relations = dict.fromkeys(
            Relation(place[r.subject], r.predicate, place[r.object])
            for r in self._relations
            if r.subject in place and r.object in place
        )
        return tuple(relations)

    def _take(self, found: Found) -> int:
        if len(self._found) >= MAX_OBJECTS:
            self.too_many(found.start)
            return -1
        self._found.append(found)
        return len(self._found) - 1

    def too_many(self, start: int) -> None:
        message = f"only the first {MAX_OBJECTS} shapes are read"
        if not any(p.message == message for p in self.problems):
            self.note("too-many", start, len(self.text), message)

    def _first_of_each(self, geometries_N: np.ndarray, lost_N: np.ndarray) -> list[int]:
        """Places of the shapes that are not lost and were not said before; each repetition is noted."""
        count, lost = len(lost_N), lost_N.tolist()
        # shapes in different bounds are different shapes, and bounds are had sooner than bytes
        raw = shapely.bounds(geometries_N).tobytes()
        if not any(lost) and len({raw[i : i + 32] for i in range(0, len(raw), 32)}) == count:
            return list(range(count))
        wkb = shapely.to_wkb(geometries_N).tolist()
        seen: set[tuple] = set()
        kept: list[int] = []
        for i, found in enumerate(self._found):
            if lost[i]:
                continue
            key = (found.kind, found.label, wkb[i])
            if key in seen:
                self.note("duplicate", found.start, found.end, f"{self.quote(found.start, found.end)} was said before")
                continue
            seen.add(key)
            kept.append(i)
        return kept

    def _verdict(self, any_kept: bool) -> None:
        if any(p.is_loss for p in self.problems):
            return
        if not any_kept and not self.says_none:
            self.note("unreadable", 0, len(self.text), f"neither a shape nor {self.dialect.nothing!r}")
        elif not self.problems and not self.dialect.strict.fullmatch(self.text):
            self.note("off-grammar", 0, len(self.text), "read, though it is not written as this dialect writes")

    def _geometries(self) -> tuple[np.ndarray, np.ndarray]:
        """Every shape found in scene pixels, and which of them are lost; all of one kind at a time."""
        forms = [f.form for f in self._found]
        if forms and forms.count("hbb") == len(forms):
            return self._boxes(range(len(forms)))
        geometries_N = np.empty(len(self._found), dtype=object)
        lost_N = np.zeros(len(self._found), dtype=bool)
        for form in dict.fromkeys(forms):
            index = [i for i, other in enumerate(forms) if other == form]
            if form == "hbb":
                geometries_N[index], lost_N[index] = self._boxes(index)
            elif form == "point":
                xy_N2 = self._in_scene(self._clipped(np.array([self._found[i].values for i in index]), index), index)
                geometries_N[index] = shapely.points(xy_N2)
            elif form == "polygon":
                geometries_N[index] = self._polygons(index)
            else:
                geometries_N[index] = [self._found[i].values for i in index]
        areas = [i for i, f in enumerate(self._found) if f.kind in ("polygon", "obb", "mask") and not lost_N[i]]
        if areas:
            lost_N[self._not_worth_repair(geometries_N, np.array(areas))] = True
            areas = [i for i in areas if not lost_N[i]]
            geometries_N[areas] = repaired(geometries_N[areas])
            for i in np.array(areas, dtype=int)[shapely.area(geometries_N[areas]) <= 0]:
                lost_N[i] = True
                self._empty(self._found[i])
        return geometries_N, lost_N

    def _not_worth_repair(self, geometries_N: np.ndarray, areas: np.ndarray) -> list[int]:
        """Areas whose rings cross each other so often that the answer is babble; each is noted."""
        bad = areas[~shapely.is_valid(geometries_N[areas])]
        edges = shapely.get_num_coordinates(geometries_N[bad]).astype(int)
        is_cheap = (np.arange(len(bad)) < MAX_REPAIRS) & (np.cumsum(edges**2) <= MAX_PAIRS)
        left, lost = MAX_CROSSINGS, []
        for i, cheap in zip(bad.tolist(), is_cheap.tolist(), strict=True):
            met = crossings(geometries_N[i], left) if cheap and left else left + 1
            if met <= left:
                left -= met
                continue
            start, end = self._found[i].start, self._found[i].end
            self.note("too-many", start, end, f"{self.quote(start, end)} crosses itself too often to be repaired")
            lost.append(i)
        return lost

    def _boxes(self, index: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        said_N4 = self._clipped(np.array([self._found[i].values for i in index], dtype=np.float64), index)
        swapped_N2 = said_N4[:, :2] > said_N4[:, 2:]
        if np.count_nonzero(swapped_N2):
            for row in np.flatnonzero(swapped_N2.any(axis=1)).tolist():
                found = self._found[index[row]]
                self.note(
                    "swapped", found.start, found.end,
                    f"{self.quote(found.start, found.end)} has its corners in another order",
                )  # fmt: skip
            said_N4 = np.sort(said_N4.reshape(-1, 2, 2), axis=1).reshape(-1, 4)
        boxes_N4 = self._in_scene(said_N4.reshape(-1, 2), index).reshape(-1, 4)
        x1_N, y1_N, x2_N, y2_N = boxes_N4.T
        empty_N = (x1_N >= x2_N) | (y1_N >= y2_N)
        for row in empty_N.nonzero()[0].tolist():
            self._empty(self._found[index[row]])
        return shapely.box(x1_N, y1_N, x2_N, y2_N), empty_N

    def _polygons(self, index: list[int]) -> np.ndarray:
        """Rings of all polygons at once; which ring belongs to which part of which polygon is kept by number."""
        owners: list[int] = []
        firsts: list[int] = []
        rings: list[Sequence[float]] = []
        for i in index:
            for exterior, holes in self._found[i].parts:
                firsts.append(len(rings))
                rings += [exterior, *holes]
                owners += [i] * (1 + len(holes))
        ring_P = np.repeat(np.arange(len(rings)), [len(ring) // 2 for ring in rings])
        flat_P2 = np.concatenate([np.asarray(ring, dtype=np.float64).reshape(-1, 2) for ring in rings])
        owner_P = np.array(owners)[ring_P]
        xy_P2 = self._in_scene(self._clipped(flat_P2, owner_P), owner_P)
        rings_R = shapely.linearrings(xy_P2, indices=ring_P)
        part_R = np.searchsorted(firsts, np.arange(len(rings)), side="right") - 1
        parts_Q = shapely.polygons(rings_R, indices=part_R)
        owner_Q = np.array(owners)[firsts]
        if len(parts_Q) == len(index):
            return parts_Q
        return np.array([shapely.multipolygons(parts_Q[owner_Q == i]) for i in index], dtype=object)

    def _clipped(self, said_NK: np.ndarray, owners: Sequence[int] | np.ndarray) -> np.ndarray:
        """Printed numbers (x, y, x, y, ...) as steps within the range, each repair noted once a shape."""
        steps = self.dialect.steps
        steps_NK = said_NK * 10**steps.decimals if steps.decimals else said_NK
        largest_K = np.array(steps.largest(self.frame) * (steps_NK.shape[1] // 2), dtype=np.float64)
        clipped_NK = np.minimum(np.maximum(steps_NK, 0.0), largest_K)
        are_whole = not steps.decimals and not steps.loose
        # what is whole and within the range, as nearly all is, comes out of both as it was
        if not np.count_nonzero((np.floor(clipped_NK) if are_whole else clipped_NK) != steps_NK):
            return clipped_NK
        owners = np.asarray(owners)
        for i in _once(owners[(said_NK != np.floor(said_NK)).any(axis=1)]) if are_whole else ():
            f = self._found[i]
            self.note("not-integer", f.start, f.end, f"{self.quote(f.start, f.end)} has fractions")
        self._note_clipped(owners[(clipped_NK != steps_NK).any(axis=1)])
        return clipped_NK

    def _in_scene(self, steps_N2: np.ndarray, owners: Sequence[int] | np.ndarray) -> np.ndarray:
        """Steps as scene pixels, clipped to the scene (a padded frame's numbers reach beyond it).

        `owners` may name fewer shapes than there are points, an even number of points each.
        """
        xy_N2 = self.dialect.steps.read(steps_N2, self.frame)
        inside_N2 = np.minimum(np.maximum(xy_N2, 0.0), (self.frame.scene_width, self.frame.scene_height))
        if not np.count_nonzero(inside_N2 != xy_N2):
            return inside_N2
        # half a step beyond the edge is rounding, not a mistake of the model
        beyond_N = (np.abs(xy_N2 - inside_N2) > self.dialect.steps.step_px(self.frame)).any(axis=1)
        if beyond_N.any():
            self._note_clipped(np.repeat(np.asarray(owners), len(xy_N2) // max(1, len(owners)))[beyond_N])
        return inside_N2

    def _note_clipped(self, owners: np.ndarray) -> None:
        for i in _once(owners):
            f = self._found[i]
            self.note("out-of-range", f.start, f.end, f"{self.quote(f.start, f.end)} was clipped to the image")

    def _empty(self, found: Found) -> None:
        self.note("empty-shape", found.start, found.end, f"{self.quote(found.start, found.end)} spans no area")


def _once(owners: np.ndarray) -> list[int]:
    return np.unique(owners).tolist() if len(owners) else []

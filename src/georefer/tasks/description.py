"""A scene in words: what is there, what stands out, and how many of each class lie where, all true of its objects.

The words are those that `georefer.scoring.captions` reads, so that every caption is proved before it is used: each
class named, counted and placed, and nothing said that is not so. A place is where the middles of bounding boxes lie:
quarters and halves of the image, and its centre, a third of the sides. A class whose name does not bend to grammar
("Fort, bunker, casemate") is listed with its number in brackets. Of a class of which more shows, or may, than is
known, the number is "at least" so many: that is no count, and neither is any number that an answer says of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import shapely

from georefer.geometry import Objects
from georefer.geometry.repair import repaired
from georefer.scoring import Row
from georefer.scoring.captions import grounded_row
from georefer.scoring.captions.claims import Place, read_claims
from georefer.scoring.captions.grounded import lies_in
from georefer.tasks.nouns import indefinite, is_plural, is_uncounted

IRREGULARS: Mapping[str, str] = MappingProxyType(
    {
        "aircraft": "aircraft", "child": "children", "leaf": "leaves", "man": "men", "person": "people",
        "sheep": "sheep", "wharf": "wharves", "woman": "women",
    }
)  # fmt: skip
"""Plurals of whole labels, or of their last words, that no rule makes."""

MAIN_MARGIN = 1.3
"""What takes up the most room has so many times the area of the next."""

MAX_IN_OVERVIEW = 6
"""Classes that the first sentence counts; of more it says how many there are."""

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_OPENINGS = ("The image shows", "This is a view of", "The view from above shows", "The scene holds")
_AWKWARD = re.compile(r"[^\w\s'’-]|\b(?:and|or|of|with)\b|[0-9]", re.IGNORECASE)
"""Signs, joining words and numbers."""

_NAMED: tuple[tuple[Place, str], ...] = (
    (Place(0, 0), "in the centre"),
    (Place(-1, -1), "in the upper left"), (Place(1, -1), "in the upper right"),
    (Place(-1, 1), "in the lower left"), (Place(1, 1), "in the lower right"),
    (Place(-1, None), "in the left half"), (Place(1, None), "in the right half"),
    (Place(None, -1), "in the upper half"), (Place(None, 1), "in the lower half"),
)  # fmt: skip
"""Places from the closest to the widest, as they are said."""

_QUARTERS, _HALVES = _NAMED[1:5], _NAMED[5:]


def describe(
    objects: Objects, size: tuple[int, int], rng: np.random.Generator, *,
    labels: Sequence[str] = (), irregulars: Mapping[str, str] = IRREGULARS,
    uncounted: Collection[str] = (), whole: bool = True,
) -> str:  # fmt: skip
    """A caption of two or more sentences; "" where there are no objects, or none could be proved.

    `size` is (width, height) in pixels. `labels` are all classes of the dataset, so that no word is taken for one
    that is meant by another; those of the objects are always among them. `rng` chooses the opening words. Of classes
    that are `uncounted` more may show than there are objects. Unless the objects are the `whole` of what shows,
    nothing is said of what takes up the most room or of how many kinds there are.
    """
    if not len(objects):
        return ""
    names = spoken_names([*labels, *objects.labels_N], irregulars)
    orders = (list(names.items()), list(names.items())[::-1])
    opening = _OPENINGS[int(rng.integers(len(_OPENINGS)))]
    for plain in (False, True):
        text = _Telling(objects, size, irregulars, plain, uncounted, whole).caption(opening)
        # either way round, so that no name is read as its class only because that class comes first
        if all(is_proved(claims_row(text, objects, size, dict(order), uncounted)) for order in orders):
            return text
    return ""


def describe_one(objects: Objects, size: tuple[int, int], names: Mapping[str, Sequence[str]]) -> str:
    """A caption of one object: its class, its place and how much of the image it takes up; "" if it is not proved."""
    label = str(objects.labels_N[0])
    noun = indefinite(spoken(label)) if bends(label) else spoken(label)
    room = shapely.intersection(repaired(objects.geometries_N), shapely.box(0, 0, *size))[0].area / (size[0] * size[1])
    share = _percent(room) if room >= 0.01 else "less than 1 %"
    told = f"{noun[0].upper()}{noun[1:]} {_place_of(middles(objects, size))}. It takes up {share} of the image."
    orders = (dict(names), dict(list(names.items())[::-1]))
    return told if all(is_proved(claims_row(told, objects, size, order, [label])) for order in orders) else ""


def is_proved(row: Row) -> bool:
    """Whether a caption names, counts and places every class, and says nothing that is not so."""
    complete = row["there"] == row["named_right"] == row["classes_placed"]
    complete &= row["classes_counted"] == row["there"] - row.get("uncounted", 0)
    return bool(complete and row["claims"] == row["claims_right"] and not row["denied"])


def claims_row(
    text: str, objects: Objects, size: tuple[int, int], names: Mapping[str, Sequence[str]],
    uncounted: Collection[str] = (),
) -> Row:  # fmt: skip
    """`grounded_row` without the numbers said of `uncounted` classes, with how many of these are there."""
    row = dict(grounded_row(text, objects, size, names))
    there = set(uncounted) & {str(label) for label in objects.labels_N}
    row["uncounted"] = len(there)
    claims = read_claims(text, names) if there else {}
    for label in there & claims.keys():
        middle_N2 = middles(objects.labelled(label), size)
        right = [said == {int(lies_in(place, middle_N2).sum())} for place, said in claims[label].counts.items()]
        row["classes_counted"] -= bool(right) and all(right)
        for column, number in (("counted", len(right)), ("count_right", sum(right))):
            row[column] -= number
            row["claims" if column == "counted" else "claims_right"] -= number
    return row


def middles(objects: Objects, size: tuple[int, int]) -> np.ndarray:
    """Middles (N, 2) of bounding boxes, as parts of the image's sides."""
    boxes_N4 = objects.hbb_N4
    return (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2 / np.array(size)


def spoken_names(labels: Sequence[str], irregulars: Mapping[str, str] = IRREGULARS) -> dict[str, tuple[str, ...]]:
    """Every class with the plural that its captions say, where it is not the regular one of its last word."""
    spelled = {label: plural(label, irregulars) for label in map(str, labels)}
    return {label: () if many == plural(label, {}) else (many,) for label, many in spelled.items()}


def bends(label: str) -> bool:
    """Whether a class's name bends to grammar: with an article, and in the plural."""
    said = spoken(label)
    return not (_AWKWARD.search(label) or is_plural(said) or is_uncounted(said))


def spoken(label: str) -> str:
    """A class as a caption says it: "storage_tank" in two words, and no capital but in names such as "A220"."""
    words = (label if " " in label else label.replace("-", " ")).replace("_", " ").split()
    return " ".join(word if any(c.isupper() or c.isdigit() for c in word[1:]) else word.lower() for word in words)


def plural(label: str, irregulars: Mapping[str, str] = IRREGULARS) -> str:
    """Several of a class: by the table, for the whole label or its last word, else by the rules of English."""
    said = spoken(label)
    if whole := irregulars.get(label) or irregulars.get(said):
        return whole
    before, blank, last = said.rpartition(" ")
    if last in irregulars:
        many = irregulars[last]
    elif last.endswith(("s", "x", "z", "ch", "sh")):
        many = f"{last}es"
    elif last.endswith("y") and last[-2:-1] not in set("aeiou"):
        many = f"{last[:-1]}ies"
    else:
        many = f"{last}s"
    return before + blank + many


class _Telling:
    """One scene's objects, told: `plain` puts the number of every class in brackets behind its name."""

    def __init__(
        self, objects: Objects, size: tuple[int, int], irregulars: Mapping[str, str], plain: bool,
        uncounted: Collection[str], whole: bool,
    ) -> None:  # fmt: skip
        self.labels_N, self.irregulars, self.plain = objects.labels_N.astype(str), irregulars, plain
        self.uncounted, self.whole = frozenset(uncounted), whole
        self.middle_N2 = middles(objects, size)
        image = shapely.box(0, 0, *size)
        shown_N = shapely.intersection(repaired(objects.geometries_N), image)
        self.room_N = shapely.area(shown_N) / image.area
        """Parts of the image that the objects take up."""
        room = {
            label: shapely.union_all(shown_N[self.labels_N == label]).area / image.area
            for label in np.unique(self.labels_N).tolist()
        }
        self.room = dict(sorted(room.items(), key=lambda entry: (-entry[1], entry[0])))
        """Those that the classes take up, the largest first."""

    def caption(self, opening: str) -> str:
        told = [self._overview(opening), self._main(), *map(self._where, self.room)]
        return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in told if sentence)

    # --- words -------------------------------------------------------------------------------------------

    def _bends(self, label: str) -> bool:
        return not self.plain and (bends(label) or label in self.irregulars)

    def _many(self, label: str) -> str:
        return plural(label, self.irregulars) if self._bends(label) else spoken(label)

    def _number_of(self, label: str, count: int) -> str:
        """As in "three ships", "at least three ships", or "fort, bunker, casemate (3)"."""
        bound = "at least " if label in self.uncounted else ""
        if not self._bends(label):
            return f"{spoken(label)} ({bound}{count})"
        return f"{bound}{_in_words(count)} {spoken(label) if count == 1 else self._many(label)}"

    def _all_of(self, label: str, count: int) -> str:
        """All objects of a class once more, where the first sentence has counted them."""
        if not self._bends(label) or not self._is_counted_first or label in self.uncounted:
            return self._number_of(label, count)
        if count == 1:
            return f"the {spoken(label)}"
        return f"both {self._many(label)}" if count == 2 else f"all {self._number_of(label, count)}"

    @property
    def _is_counted_first(self) -> bool:
        return len(self.room) <= MAX_IN_OVERVIEW

    # --- sentences ---------------------------------------------------------------------------------------

    def _overview(self, opening: str) -> str:
        counts = {label: int((self.labels_N == label).sum()) for label in self.room}
        if self._is_counted_first:
            return f"{opening} {_joined([self._number_of(label, count) for label, count in counts.items()])}"
        if not self.whole:
            return f"{opening} objects of many kinds"
        kinds = f"{opening} objects of {_in_words(len(counts))} kinds"
        label = max(counts, key=lambda name: counts[name])
        return f"{kinds}, most of them {self._many(label)}" if 2 * counts[label] > len(self.labels_N) else kinds

    def _main(self) -> str:
        """What takes up the most room: one object if it stands out, else a class; nothing where neither does."""
        if self.plain or len(self.labels_N) < 2 or not self.whole:
            return ""
        if (first := self._largest()) is not None:
            label, room = str(self.labels_N[first]), float(self.room_N[first])
            noun = indefinite(spoken(label)) if self._bends(label) else spoken(label)
            place = _place_of(self.middle_N2[[first]])
            where = f" {place}" if place else ""
            return f"the object that takes up the most room is {noun}{where}, with {_percent(room)} of the image"
        label, *others = self.room
        if not others or self.room[label] < max(MAIN_MARGIN * self.room[others[0]], 0.01):
            return ""
        return f"most room is taken up by {self._many(label)}, with {_percent(self.room[label])} of the image"

    def _largest(self) -> int | None:
        first, second = np.argsort(-self.room_N, kind="stable")[:2]
        stands_out = self.room_N[first] >= max(MAIN_MARGIN * self.room_N[second], 0.01)
        return int(first) if stands_out else None

    def _where(self, label: str) -> str:
        middle_N2 = self.middle_N2[self.labels_N == label]
        count = len(middle_N2)
        if words := _place_of(middle_N2):
            return f"{self._all_of(label, count)} {'is' if count == 1 else 'are'} {words}"
        quarters = [(int(lies_in(place, middle_N2).sum()), words) for place, words in _QUARTERS]
        if sum(number for number, _ in quarters) == count:
            # the most first
            some = [(n, words) for n, words in sorted(quarters, key=lambda q: -q[0]) if n]
            said = [f"{self._number_of(label, n)} {words}" for n, words in some]
            return f"there {'is' if some[0][0] == 1 else 'are'} {_joined(said)}"
        # some lie right on the lines between: only where most are is said
        number, words = max((int(lies_in(place, middle_N2).sum()), words) for place, words in _HALVES)
        others = "another" if count - number == 1 else "others"
        return f"{self._number_of(label, number)} {'is' if number == 1 else 'are'} {words}, and {others} elsewhere"


def _place_of(middle_N2: np.ndarray) -> str:
    """The closest place that holds all middles, in words; "" where there is none."""
    return next((words for place, words in _NAMED if lies_in(place, middle_N2).all()), "")


def _in_words(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


def _percent(part: float) -> str:
    return f"about {max(1, round(100 * part))} %"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"

"""What is surely true of one object of a chip, and of which other visible objects it may be true as well."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from georefer.building.phrases import wording
from georefer.building.phrases.view import View, said_value, to_bits
from georefer.tasks import nouns

POSITION_MARGIN = 0.06
"""A superlative of position needs this much of the chip side before the next object."""

PART_MARGIN = 0.05
"""A centre this near to the border of a part of the image, in chip sides, is neither in nor out."""

SIZE_MARGIN = 1.3
"""The largest object must have this many times the area of the next one."""

AREA_MARGIN = 1.5
"""An area is said where every rival's differs from it by this factor."""

NEIGHBOUR_MARGIN = 1.5
"""The neighbour meant must be this many times nearer than the next one of its kind, ..."""

NEIGHBOUR_STEP_PX = 4
"""... and by so many pixels; ..."""

NEIGHBOUR_REACH = 0.15
"""... and no farther than this much of the chip's longer side."""

NUMBER_MARGIN = 1.25
"""Numbers given as attributes are told apart by this factor."""

SLIP_LETTERS, SLIP_SHARE = 6, 0.85
"""Values of so many letters and more, so much of which is the same, may be one value that was misspelt."""

MOST_ANCHORS = 4
"""Of neighbours, the nearest few, and of relations the first few, are put into words."""

PARTS: Mapping[str, tuple[float, float, float, float]] = {
    "left half": (0, 0, 1 / 2, 1),
    "right half": (1 / 2, 0, 1, 1),
    "top half": (0, 0, 1, 1 / 2),
    "bottom half": (0, 1 / 2, 1, 1),
    "top left quarter": (0, 0, 1 / 2, 1 / 2),
    "top right quarter": (1 / 2, 0, 1, 1 / 2),
    "bottom left quarter": (0, 1 / 2, 1 / 2, 1),
    "bottom right quarter": (1 / 2, 1 / 2, 1, 1),
    "middle": (1 / 3, 1 / 3, 2 / 3, 2 / 3),
}
"""Parts of an image as (x1, y1, x2, y2) in its sides; the middle is the middle third both ways."""


@dataclass(frozen=True)
class Fact:
    """One thing that is surely true of the object meant.

    `said` is (kind, words ...) as it goes into the expression; `text` its words, or for an attribute its template.
    Facts that share a slot exclude each other in a phrase; so do a neighbour and a relation, for "the ship moored at a
    tank next to the crane" leaves open what is next to the crane. Bit j of `rivals` is set where it may be true of
    object j, or where j is not surely behind by what is compared; the bit of the object itself is always set.
    """

    said: tuple[str, ...]
    text: str
    slots: frozenset[str]
    rivals: int

    @property
    def kind(self) -> str:
        return self.said[0]


def class_fact(view: View, i: int, label: str) -> Fact:
    """Object i by its own class or one above it."""
    noun = wording.as_words(label)
    return Fact(("class", noun), noun, frozenset(), view.may_be(label) | 1 << i)


def facts_of(view: View, i: int, label: str, kinds: Collection[str]) -> list[Fact]:
    """All facts of the kinds wanted that go with object i called `label`, in the order in which phrases are listed."""
    makers = {
        "attribute": lambda: _attributes(view, i, label),
        "part": lambda: _parts(view, i),
        "area": lambda: _area(view, i),
        "position": lambda: _positions(view, i),
        "size": lambda: _sizes(view, i),
        "neighbour": lambda: _neighbours(view, i, label),
        "relation": lambda: _relations(view, i, label),
    }
    return [fact for kind, make in makers.items() if kind in kinds for fact in make()]


def _attributes(view: View, i: int, label: str) -> Iterator[Fact]:
    for name, value in view.values_N[i].items():
        text = view.described_as(wording.as_words(label))[i][name]
        rivals = may_have(view, name, value, wording.as_words(label))
        slots = {f"attribute {name}"}
        if not view.names_class(name):
            slots.add("noun")
            if not noun_is_own(view, name, text, rivals, view.may_be(label) | 1 << i):
                continue
        yield Fact(("attribute", name, said_value(value)), view.templates[name], frozenset(slots), rivals)


def may_have(view: View, name: str, value: Any, noun: str) -> int:
    """Objects that may have an attribute, as bits: one of which it is unknown, or that another describes likewise."""
    key = (name, value, noun)
    if key not in view.having:
        text = wording.filled(view.templates[name], said_value(value), noun)
        view.having[key] = to_bits(
            [
                name not in values or may_equal(values[name], value) or text in described.values()
                for values, described in zip(view.values_N, view.described_as(noun), strict=True)
            ]
        )
    return view.having[key]


def noun_is_own(view: View, name: str, text: str, rivals: int, called: int) -> bool:
    """Whether a noun that an attribute gives fits nothing but what may be called by the class that it stands for."""
    spoken = view.may_be_said(text)
    if noun := wording.fixed_noun(view.templates[name]):
        spoken |= view.may_be_said(noun) & rivals
    return not spoken & ~called


def _parts(view: View, i: int) -> Iterator[Fact]:
    for name in PARTS:
        depth_N = depth_in_part(view, name)
        if depth_N[i] >= PART_MARGIN:
            yield Fact(
                ("part", name), f"in the {name} of the image", frozenset({"part"}), to_bits(depth_N > -PART_MARGIN)
            )


def depth_in_part(view: View, name: str) -> np.ndarray:
    """How far objects lie inside a part, in chip sides, from those of its borders that are not the image's."""
    if name not in view.depths:
        x1, y1, x2, y2 = PARTS[name]
        x_N, y_N = (view.centre_N2 / np.array(view.size)).T
        borders = (x_N - x1, x1 > 0), (y_N - y1, y1 > 0), (x2 - x_N, x2 < 1), (y2 - y_N, y2 < 1)
        view.depths[name] = np.min([depth_N for depth_N, is_inner in borders if is_inner], axis=0)
    return view.depths[name]


def _area(view: View, i: int) -> Iterator[Fact]:
    if not view.gsd_m or view.is_cut_N[i] or not view.area_N[i]:
        return
    area_N = view.area_N * view.gsd_m**2
    said = float(f"{area_N[i]:.1e}")
    # of a cut object more may exist than shows
    rival_N = (area_N < said * AREA_MARGIN) & ((area_N > said / AREA_MARGIN) | view.is_cut_N)
    rival_N[i] = True
    number = f"{said:,.0f}" if said >= 10 else f"{said:g}"
    yield Fact(("area", number, "m²"), f"of about {number} m²", frozenset({"area"}), to_bits(rival_N))


def _positions(view: View, i: int) -> Iterator[Fact]:
    for axis, (low, high) in enumerate((("leftmost", "rightmost"), ("topmost", "bottommost"))):
        margin, at_N = POSITION_MARGIN * view.size[axis], view.centre_N2[:, axis]
        yield _superlative("position", low, i, at_N < at_N[i] + margin)
        yield _superlative("position", high, i, at_N > at_N[i] - margin)


def _sizes(view: View, i: int) -> Iterator[Fact]:
    # of a cut object the size is unknown, so it supports no statement about size
    if not view.is_cut_N[i]:
        area_N = view.area_N
        yield _superlative("size", "largest", i, (area_N * SIZE_MARGIN > area_N[i]) | view.is_cut_N)
        yield _superlative("size", "smallest", i, (area_N < area_N[i] * SIZE_MARGIN) | view.is_cut_N)


def _superlative(kind: str, word: str, i: int, rival_N: np.ndarray) -> Fact:
    slots = {"order", "area"} if kind == "size" else {"order"}
    return Fact((kind, word), word, frozenset(slots), to_bits(rival_N) | 1 << i)


def _neighbours(view: View, i: int, label: str) -> Iterator[Fact]:
    """Unique objects of another class, to which i is nearer than what is not a rival."""
    gap_N = view.gaps_N(i)
    near = [j for j in np.argsort(gap_N, kind="stable") if gap_N[j] <= NEIGHBOUR_REACH * max(view.size)]
    anchors = [(j, a) for j in near if not view.may_be(label) >> int(j) & 1 and (a := anchor_of(view, int(j)))]
    for j, (said, noun) in sorted(anchors[:MOST_ANCHORS], key=lambda pair: pair[0]):
        rival_N = view.gaps_N(j) < clearly_farther(gap_N[j])
        yield Fact(
            ("neighbour", *said), f"next to the {noun}", frozenset({"order", "beside"}), to_bits(rival_N) | 1 << i
        )


def anchor_of(view: View, j: int) -> tuple[tuple[str, ...], str] | None:
    """What is said of a landmark and the noun for it, where its class alone or one attribute tells it from all else."""
    if j not in view.anchors:
        view.anchors[j] = _anchor(view, j) if view.landmark_N[j] else None
    return view.anchors[j]


def _anchor(view: View, j: int) -> tuple[tuple[str, ...], str] | None:
    own = class_fact(view, j, view.label_N[j])
    if own.rivals == 1 << j:
        return own.said[1:], own.text
    for fact in _attributes(view, j, view.label_N[j]):
        if own.rivals & fact.rivals == 1 << j:
            return own.said[1:] + fact.said[1:], view.described_as(own.text)[j][fact.said[1]]
    return None


def _relations(view: View, i: int, label: str) -> Iterator[Fact]:
    ids = view.objects.ids_N
    found: dict[tuple[str, ...], Fact] = {}
    index = {id_: j for j, id_ in enumerate(ids[: view.targets])}
    own_names = [*map(wording.as_words, view.classes.sure(label)), *view.own_nouns(i)]
    for relation in view.relations:
        if len(found) >= MOST_ANCHORS:
            break
        j = index.get(relation.object)
        words = view.related(relation.predicate)
        if relation.subject != ids[i] or j is None or j == i or not words:
            continue
        anchor = anchor_of(view, j)
        own = wording.as_words(view.label_N[j])
        same = any(wording.may_be_called(own, name) for name in own_names)
        said, noun = anchor or ((own,), own)
        bearers = 1 << j if anchor else view.may_be(view.label_N[j])
        text = f"{words} the {noun}" if anchor else f"{words} {f'another {noun}' if same else nouns.indefinite(noun)}"
        key = ("relation", relation.predicate, *said)
        rivals = may_relate(view, relation.predicate, bearers) | _as_near(view, i, j, bearers)
        found.setdefault(key, Fact(key, text, frozenset({"beside"}), rivals | 1 << i))
    yield from found.values()


def may_relate(view: View, predicate: str, bearers: int) -> int:
    """Objects that may have this relation to one of `bearers`: known for targets alone."""
    hidden = ((1 << len(view)) - 1) ^ ((1 << view.targets) - 1)
    if bearers & hidden:
        return (1 << len(view)) - 1
    index = {id_: j for j, id_ in enumerate(view.objects.ids_N)}
    rivals = hidden
    known = {(r.subject, r.predicate, r.object) for r in view.relations} | view.unsure
    for subject, name, other in known:
        if name == predicate and subject in index and other in index and bearers >> index[other] & 1:
            rivals |= 1 << index[subject]
    return rivals


def _as_near(view: View, i: int, j: int, bearers: int) -> int:
    """Objects about as near to one of `bearers` as i is to j: a relation may have been missed by little."""
    limit = clearly_farther(view.gaps_N(i)[j])
    near_N = np.zeros(len(view), dtype=bool)
    for k in (k for k in range(len(view)) if bearers >> k & 1):
        is_near_N = view.gaps_N(k) < limit
        is_near_N[k] = False
        near_N |= is_near_N
    return to_bits(near_N)


def clearly_farther(gap: float) -> float:
    return max(NEIGHBOUR_MARGIN * gap, gap + NEIGHBOUR_STEP_PX)


def may_equal(a: Any, b: Any) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return _alike(*sorted((said_value(a).casefold(), said_value(b).casefold())))
    low, high = sorted((abs(a), abs(b)))
    return a == b or (a * b > 0 and high < NUMBER_MARGIN * low)


@lru_cache(4096)
def _alike(a: str, b: str) -> bool:
    """Whether two values are one, or long and so alike that one may be a slip of the pen, as "concerte"."""
    if a == b or min(len(a), len(b)) < SLIP_LETTERS or max(len(a), len(b)) > 100 or abs(len(a) - len(b)) > 2:
        return a == b
    return difflib.SequenceMatcher(None, a, b, autojunk=False).ratio() >= SLIP_SHARE

"""Phrases for several objects of a chip, or for none, where of every visible object it is sure whether it is meant.

Each condition is surely true of some objects, surely false of others, by the margin of its kind, and open for the
rest. A phrase is kept where, over all that is visible, nothing is left open: what fits is the answer, and where
nothing does the answer is none. Slivers count; one that surely fits ends the phrase, since nobody asks for slivers.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from georefer.building.mapping import Words
from georefer.building.phrases import wording
from georefer.building.phrases.facts import (
    MOST_ANCHORS,
    NEIGHBOUR_REACH,
    PART_MARGIN,
    PARTS,
    POSITION_MARGIN,
    SIZE_MARGIN,
    Fact,
    anchor_of,
    clearly_farther,
    depth_in_part,
    may_have,
    may_relate,
    noun_is_own,
)
from georefer.building.phrases.search import KINDS, PhraseSettings, make_view, phrase
from georefer.building.phrases.view import View, can_be_said, said_value, to_bits
from georefer.geometry import Objects
from georefer.scenes import SceneRelation
from georefer.tasks import GroupExpression, nouns

NEXT_TO = 0.05
"""What is this near, in chip sides, is surely next to something; what is NEIGHBOUR_REACH away surely not."""

MOST_VALUES = 12
"""Values of an attribute that are asked for where they may be absent, the most frequent of a class."""

MOST_FACTS = 2
"""Besides the class; more would be tried on every pair and triple for phrases that nobody says."""

_SUPERLATIVES = ("leftmost", "rightmost", "topmost", "bottommost"), ("largest", "smallest")

Values = Mapping[str, Mapping[str, tuple[Any, ...]]]
"""Class to attribute to values that objects of the class have."""


@dataclass(frozen=True)
class _Condition:
    """What may be asked of objects: those of which it is surely true, and those of which it may be, as bits."""

    fact: Fact
    sure: int
    may: int
    empty: bool = True
    """Whether it proves an absence, too."""


@dataclass(frozen=True)
class _Group:
    """A class with conditions that leave nothing open, and what fits, as bits. `count` goes with a superlative."""

    label: str
    facts: tuple[Fact, ...]
    members: int
    distractors: int
    count: int = 0

    @property
    def said(self) -> frozenset[tuple[str, ...]]:
        return frozenset(fact.said for fact in self.facts)

    @property
    def by(self) -> str:
        return max((fact.kind for fact in self.facts), key=KINDS.index, default="class")


def attribute_values(areas: Iterable[Objects], settings: PhraseSettings) -> Values:
    """The most frequent values of each class in whole areas, so that one that a chip lacks can be asked for."""
    counted: dict[str, dict[str, Counter[Any]]] = defaultdict(lambda: defaultdict(Counter))
    of_all = (zip(objects.labels_N, objects.attributes_N, strict=True) for objects in areas)
    for label, attributes in itertools.chain.from_iterable(of_all) if settings.groups else ():
        for name in settings.attributes:
            if can_be_said(value := attributes.get(name)):
                counted[str(label)][name][value] += 1
    return {
        label: {
            name: tuple(sorted(counts, key=lambda v: (-counts[v], said_value(v)))[:MOST_VALUES])
            for name, counts in names.items()
        }
        for label, names in counted.items()
    }


def group_expressions(
    targets: Objects,
    others: Objects,
    visible_N: np.ndarray,
    size: tuple[int, int],
    settings: PhraseSettings,
    *,
    relations: Sequence[SceneRelation] = (),
    unsure: Collection[tuple[str, str, str]] = (),
    above: Mapping[str, frozenset[str]] | None = None,
    words: Mapping[str, Words] | None = None,
    values: Values | None = None,
    rng: np.random.Generator | None = None,
) -> list[GroupExpression]:
    """At most `settings.groups` phrases for several targets or none; arguments are those of `expressions`.

    Any target may be a member, however little of it shows; landmarks show mostly. `values` are those that each class
    has anywhere; left out, those on the chip. `rng` is drawn from only where groups are asked for.
    """
    if not settings.groups:
        return []
    if rng is None:
        raise ValueError("groups are drawn at random, and no rng was given; hand over the scene's")
    view = make_view(targets, others, visible_N, size, settings, relations, unsure, None, above, words)
    several, empty = _candidates(view, settings, values or attribute_values([view.objects], settings))
    found: dict[str, GroupExpression] = {}
    for group in _drawn(several, empty, settings, rng):
        one = _worded(view, group, words or {}, rng)
        found.setdefault(one.text.casefold(), one)
    return list(found.values())


# --- what can be said ---------------------------------------------------------------------------------------


def _candidates(view: View, settings: PhraseSettings, values: Values) -> tuple[list[_Group], list[_Group]]:
    """All groups of several targets, and all that are surely empty; no condition of any is needless."""
    several: list[_Group] = []
    empty: list[_Group] = []
    asked = (1 << view.targets) - 1
    labels = {up for i in range(view.targets) for up in view.classes.upward(view.label_N[i], settings.levels)}
    for label in sorted(labels):
        if not wording.as_words(label):
            continue
        for group in _groups(view, label, settings, values):
            kind = several if group.members else empty
            is_asked = not group.members & ~asked and group.members.bit_count() != 1
            if is_asked and _by_settings(group, settings) and not any(_is_less(other, group) for other in kind):
                kind.append(group)
    return _told_apart(view, several), _told_apart(view, empty)


def _by_settings(group: _Group, settings: PhraseSettings) -> bool:
    return group.by in settings.kinds


def _is_less(one: _Group, group: _Group) -> bool:
    """Whether fewer conditions name the same objects."""
    return one.label == group.label and one.members == group.members and one.said < group.said


def _groups(view: View, label: str, settings: PhraseSettings, values: Values) -> Iterator[_Group]:
    """By the number of conditions, so that what is needless is seen to be."""
    sure, may = view.surely_is(label), view.may_be(label)
    distractors = may.bit_count()
    conditions = list(_conditions(view, label, settings, values))
    bases = []
    for count in range(min(settings.facts, MOST_FACTS) + 1):
        for chosen in itertools.combinations(conditions, count):
            slots = [slot for condition in chosen for slot in condition.fact.slots]
            if len(slots) != len(set(slots)):
                continue
            fits, may_fit = sure, may
            for condition in chosen:
                fits, may_fit = fits & condition.sure, may_fit & condition.may
            facts = tuple(condition.fact for condition in chosen)
            if fits != may_fit or (not fits and not (sure and all(c.empty for c in chosen))):
                continue
            yield _Group(label, facts, fits, distractors - fits.bit_count())
            if count < min(settings.facts, MOST_FACTS) and fits.bit_count() > 2:
                bases.append((facts, fits))
    for facts, fits in bases:
        for fact, number, members in _firsts(view, fits, settings.kinds):
            yield _Group(label, (*facts, fact), members, distractors - number, number)


def _conditions(view: View, label: str, settings: PhraseSettings, values: Values) -> Iterator[_Condition]:
    makers: Mapping[str, Callable[[], Iterator[_Condition]]] = {
        "attribute": lambda: _attributes(view, label, values),
        "part": lambda: _parts(view),
        "neighbour": lambda: _neighbours(view, label),
        "relation": lambda: _relations(view, label),
    }
    for kind, make in makers.items():
        if kind in settings.kinds:
            yield from make()


def _attributes(view: View, label: str, values: Values) -> Iterator[_Condition]:
    noun, is_sure = wording.as_words(label), view.surely_is(label)
    here = [values.get(one, {}) for one in sorted({*values, *view.label_N}) if label in view.classes.sure(one)]
    for name, template in view.templates.items():
        known = {said_value(v): v for known in here for v in known.get(name, ()) if can_be_said(v)}
        own = {said_value(v[name]): v[name] for j, v in enumerate(view.values_N) if is_sure >> j & 1 and name in v}
        for said, value in sorted({**own, **known}.items()):
            text = wording.filled(template, said, noun)
            may = may_have(view, name, value, noun)
            slots = {f"attribute {name}"}
            if not view.names_class(name):
                slots.add("noun")
                if not noun_is_own(view, name, text, may, view.may_be(label)):
                    continue
            sure = to_bits([name in v and said_value(v[name]).casefold() == said.casefold() for v in view.values_N])
            yield _Condition(Fact(("attribute", name, said), template, frozenset(slots), may), sure, may)


def _parts(view: View) -> Iterator[_Condition]:
    for name in PARTS:
        depth_N = depth_in_part(view, name)
        sure, may = to_bits(depth_N >= PART_MARGIN), to_bits(depth_N > -PART_MARGIN)
        fact = Fact(("part", name), f"in the {name} of the image", frozenset({"part"}), may)
        yield _Condition(fact, sure, may)


def _neighbours(view: View, label: str) -> Iterator[_Condition]:
    """What touches or nearly touches a landmark, by outlines; what is far from it, by boxes, surely does not."""
    side, shapes_N = max(view.size), view.objects.geometries_N
    for j, (said, noun) in _landmarks(view, label):
        sure = to_bits(shapely.distance(shapes_N, shapes_N[j]) <= NEXT_TO * side)
        may = to_bits(view.gaps_N(j) < NEIGHBOUR_REACH * side)
        fact = Fact(("neighbour", *said), f"next to the {noun}", frozenset({"order", "beside"}), may)
        yield _Condition(fact, sure & ~(1 << j), may & ~(1 << j))


def _landmarks(view: View, label: str) -> list[tuple[int, tuple[tuple[str, ...], str]]]:
    """Unique objects that are surely not of the class, a few."""
    free = [j for j in range(view.targets) if not view.may_be(label) >> j & 1]
    found = [(j, anchor) for j in free if (anchor := anchor_of(view, j))]
    return sorted(found, key=lambda pair: pair[1])[:MOST_ANCHORS]


def _relations(view: View, label: str) -> Iterator[_Condition]:
    """Only of several: a relation that was not found proves nothing of what nearly has it."""
    index = {str(id_): j for j, id_ in enumerate(view.objects.ids_N)}
    anchors = dict(_landmarks(view, label))
    held: dict[tuple[str, int], int] = defaultdict(int)
    for relation in view.relations:
        j = index.get(relation.object)
        if j in anchors and relation.subject in index:
            held[relation.predicate, j] |= 1 << index[relation.subject]
    for (predicate, j), sure in sorted(held.items()):
        words = view.related(predicate)
        said, noun = anchors[j]
        gap_N = view.gaps_N(j)
        farthest = max(gap_N[i] for i in range(len(view)) if sure >> i & 1)
        may = may_relate(view, predicate, 1 << j) | to_bits(gap_N < clearly_farther(farthest)) & ~(1 << j)
        if words:
            fact = Fact(("relation", predicate, *said), f"{words} the {noun}", frozenset({"beside"}), may)
            yield _Condition(fact, sure, may, empty=False)


def _firsts(view: View, fits: int, kinds: Collection[str]) -> Iterator[tuple[Fact, int, int]]:
    """The first two or three of some order among what fits, where the next one comes clearly after them."""
    member_M = np.array([i for i in range(len(view)) if fits >> i & 1])
    positions, sizes = _SUPERLATIVES
    for k, word in enumerate(positions if "position" in kinds else ()):
        axis, sign = divmod(k, 2)
        key_M = view.centre_N2[member_M, axis] * (1, -1)[sign]
        yield from _cuts("position", word, member_M, key_M, POSITION_MARGIN * view.size[axis])
    if "size" not in kinds or view.is_cut_N[member_M].any() or not view.area_N[member_M].all():
        return
    for word, sign in zip(sizes, (-1, 1), strict=True):
        yield from _cuts("size", word, member_M, sign * np.log(view.area_N[member_M]), float(np.log(SIZE_MARGIN)))


def _cuts(kind: str, word: str, member_M: np.ndarray, key_M: np.ndarray, margin: float) -> Iterator[Any]:
    order_M = np.argsort(key_M, kind="stable")
    for number in (2, 3):
        if number < len(order_M) and key_M[order_M[number]] - key_M[order_M[number - 1]] >= margin:
            slots = {"order", "area"} if kind == "size" else {"order"}
            members = sum(1 << int(i) for i in member_M[order_M[:number]])
            yield Fact((kind, word), f"{wording.NUMBERS[number]} {word}", frozenset(slots), members), number, members


def _told_apart(view: View, groups: list[_Group]) -> list[_Group]:
    """Leaves out what would be said of different objects in the same words."""
    meant = defaultdict(set)
    for group in groups:
        meant[_plain(group)].add(group.members)
    return [group for group in groups if len(meant[_plain(group)]) == 1]


def _plain(group: _Group) -> str:
    return phrase(wording.as_words(group.label), group.facts).casefold()


# --- what is said -------------------------------------------------------------------------------------------


def _drawn(
    several: list[_Group], empty: list[_Group], settings: PhraseSettings, rng: np.random.Generator
) -> list[_Group]:
    """So many of each, kinds alike often: few classes have many parts of the image to be in."""
    kinds: dict[bool, dict[str, list[_Group]]] = {False: defaultdict(list), True: defaultdict(list)}
    for is_empty, groups in ((False, several), (True, empty)):
        for group in groups:
            kinds[is_empty][group.by].append(group)
    chosen = []
    for wants_empty in rng.random(settings.groups) < settings.empty_groups:
        by = [kind for kind in KINDS if kinds[bool(wants_empty)].get(kind)]
        if by:
            left = kinds[bool(wants_empty)][by[rng.integers(len(by))]]
            chosen.append(left.pop(rng.integers(len(left))))
    return chosen


def _worded(view: View, group: _Group, words: Mapping[str, Words], rng: np.random.Generator) -> GroupExpression:
    """A group in words; whether a phrase is in the plural tells nothing of whether there is something."""
    noun = wording.as_words(group.label)
    known = words.get(group.label)
    nouns = wording.plural(noun, None if known is None else known.plural)
    number, ids = group.members.bit_count(), [str(id_) for id_ in view.objects.ids_N]
    in_plural, form = bool(number or rng.random() < 0.5), int(rng.integers(3))
    count: tuple[tuple[str, ...], ...] = (("count", wording.NUMBERS[group.count]),) if group.count else ()
    text = phrase(nouns if in_plural else noun, group.facts, pluralise=wording.plural if in_plural else None)
    if in_plural and not count and form == 1:
        text = f"all {text.removeprefix('the ')}"
    elif in_plural and not count and form == 2 and _can_be_counted(text, noun, number):
        count = (("count", wording.NUMBERS[number]),)
        text = f"the {wording.NUMBERS[number]} {text.removeprefix('the ')}"
    facts = (("class", noun, nouns) if in_plural else ("class", noun), *(fact.said for fact in group.facts), *count)
    members = tuple(ids[i] for i in range(len(ids)) if group.members >> i & 1)
    return GroupExpression(members, text, group.by, 1 + len(group.facts), group.distractors, facts)


def _can_be_counted(text: str, noun: str, number: int) -> bool:
    """Not "the two water", and not "the two 2 engined planes"."""
    has_word = 2 <= number < len(wording.NUMBERS)
    return has_word and not nouns.is_plural(noun) and wording.plural(noun) != noun and not text[4].isdigit()

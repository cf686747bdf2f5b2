"""The search for phrases: sets of facts from the smallest up, kept where they fit one object and no part does."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from georefer.building.mapping import Words
from georefer.building.phrases import wording
from georefer.building.phrases.facts import Fact, class_fact, facts_of
from georefer.building.phrases.view import Classes, View
from georefer.geometry import Objects
from georefer.scenes import SceneRelation
from georefer.tasks import Expression

KINDS = ("class", "attribute", "part", "area", "position", "size", "neighbour", "relation")
"""By what an object can be told from others; an expression goes by the last of these that it uses."""

MIN_VISIBLE = 0.7
"""Only objects of which this share shows are referred to."""


@dataclass(frozen=True)
class PhraseSettings:
    """How attributes are said: `roof_colour = "{value} roofed {label}"`, with the class name for `{label}`."""

    attributes: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("class", "attribute", "position", "size", "neighbour")
    """Any of class, attribute, part (of the image), area (in m²), position, size, neighbour and relation."""
    facts: int = 2
    """At most so many facts besides the class in one expression, up to 4."""
    per_object: int = 0
    """At most so many expressions of one object, drawn at random; 0 for all."""
    minimal: bool = True
    """Whether attributes that are not needed are left unsaid; all else that is not needed always is."""
    predicates: Mapping[str, str] = field(default_factory=dict)
    """How relations are said: `docked-at = "docked at"`; left out, by what they are
    named, as `georefer.tasks.predicates` says those of STAR; empty, not at all."""
    levels: int = 1
    """So many levels above its own class an object may be called by, with a taxonomy: a house is a building. More
    levels give words that nobody uses, such as "the construction"."""
    groups: int = 0
    """At most so many phrases of a scene for several objects or for none."""
    empty_groups: float = 0.25
    """Share of these that fit nothing, as far as there are such."""

    def __post_init__(self) -> None:
        if unknown := set(self.kinds) - set(KINDS):
            raise ValueError(f"unknown kinds of phrases {sorted(unknown)}; known: {', '.join(KINDS)}")
        if not 0 <= self.facts <= 4:
            raise ValueError(f"facts is {self.facts}; expected 0 to 4")
        if self.per_object < 0:
            raise ValueError(f"per_object is {self.per_object}; expected 0 (all) or more")
        if self.levels < 0 or self.groups < 0:
            raise ValueError(f"levels and groups are {self.levels} and {self.groups}; expected 0 or more")
        if not 0 <= self.empty_groups <= 1:
            raise ValueError(f"empty_groups is {self.empty_groups}; expected a share, 0 to 1")
        for template in self.attributes.values():
            wording.template_parts(template)


def expressions(
    targets: Objects,
    others: Objects,
    visible_N: np.ndarray,
    size: tuple[int, int],
    settings: PhraseSettings,
    *,
    relations: Sequence[SceneRelation] = (),
    unsure: Collection[tuple[str, str, str]] = (),
    gsd_m: float | None = None,
    above: Mapping[str, frozenset[str]] | None = None,
    words: Mapping[str, Words] | None = None,
    rng: np.random.Generator | None = None,
) -> list[Expression]:
    """All expressions for the targets of a chip of `size` = (width, height); `visible_N` belongs to `targets`.

    `relations` must be all there are among the targets; those that nearly hold are `unsure`, as (subject id,
    predicate, object id), and so is, for any relation, what is about as near as the two it is said of. `above`
    gives every class with all that it is a kind of (`scenes.taxonomy.all_above`): a car may be called a vehicle, and
    what is only known to be a vehicle may be a car. `words` are other names. `rng` is needed with `per_object`.
    """
    view = make_view(targets, others, visible_N, size, settings, relations, unsure, gsd_m, above, words)
    found = [_of_one(view, i, settings) for i in range(len(targets)) if visible_N[i] >= MIN_VISIBLE]
    unique = _without_doubles([e for of_one in found for e in of_one])
    return _drawn(unique, settings.per_object, rng)


def make_view(
    targets: Objects,
    others: Objects,
    visible_N: np.ndarray,
    size: tuple[int, int],
    settings: PhraseSettings,
    relations: Sequence[SceneRelation],
    unsure: Collection[tuple[str, str, str]],
    gsd_m: float | None,
    above: Mapping[str, frozenset[str]] | None,
    words: Mapping[str, Words] | None,
) -> View:
    columns = {
        name: np.concatenate([getattr(targets, name), getattr(others, name)]) for name in Objects.__dataclass_fields__
    }
    return View(
        Objects(**columns),
        len(targets),
        size,
        settings.attributes,
        gsd_m,
        Classes(above or {}, words or {}),
        tuple(relations),
        frozenset(unsure),
        settings.predicates,
        np.concatenate([visible_N >= MIN_VISIBLE, np.zeros(len(others), bool)]),
    )


def _of_one(view: View, i: int, settings: PhraseSettings) -> list[Expression]:
    """The expressions of object i by its class, then by those above it."""
    said: dict[str, Expression] = {}
    for label in view.classes.upward(view.label_N[i], settings.levels):
        for expression in _called(view, i, label, settings):
            said.setdefault(expression.text, expression)
    return list(said.values())


def _called(view: View, i: int, label: str, settings: PhraseSettings) -> list[Expression]:
    """Those by one class: by attributes in the order of the recipe, each with what follows it."""
    own = class_fact(view, i, label)
    if not own.text:
        return []
    facts = facts_of(view, i, label, settings.kinds)
    chosen = _proved(own, facts, 1 << i, settings)
    distractors = own.rivals.bit_count() - 1
    found = []
    for indices in sorted(chosen, key=lambda indices: _place(facts, indices)):
        used = [facts[k] for k in indices]
        by = max([own, *used], key=lambda fact: KINDS.index(fact.kind)).kind
        if by in settings.kinds:
            said = (own.said, *(fact.said for fact in used))
            id_ = str(view.objects.ids_N[i])
            found.append(Expression(id_, phrase(own.text, used), by, len(said), distractors, said))
    return found


def _proved(own: Fact, facts: list[Fact], only: int, settings: PhraseSettings) -> list[tuple[int, ...]]:
    """Sets of facts, as indices, whose rivals have the one object in common.

    One more fact never adds a rival, so a set all of whose parts were seen to leave rivals is minimal: sets come by
    size, and none that holds a proved one is kept.
    """
    proved: list[tuple[int, ...]] = []
    for count in range(settings.facts + 1):
        for indices in itertools.combinations(range(len(facts)), count):
            if any(_needless(facts, part, indices, settings.minimal) for part in proved):
                continue
            slots = [slot for k in indices for slot in facts[k].slots]
            if len(slots) != len(set(slots)):
                continue
            rivals = own.rivals
            for k in indices:
                rivals &= facts[k].rivals
            if rivals == only:
                proved.append(indices)
    return proved


def _needless(facts: list[Fact], part: tuple[int, ...], whole: tuple[int, ...], minimal: bool) -> bool:
    """Whether a proved part makes the whole say too much; attributes may be said without need where not `minimal`."""
    return set(part) <= set(whole) and (minimal or _place(facts, part)[0] == _place(facts, whole)[0])


def _place(facts: list[Fact], indices: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    attributes = tuple(k for k in indices if facts[k].kind == "attribute")
    return attributes, tuple(k for k in indices if facts[k].kind != "attribute")


def phrase(noun: str, used: Sequence[Fact], pluralise: Callable[[str], str] | None = None) -> str:
    """ "the largest red ship of about 120 m² in the left half of the image": the facts in the order of English.

    `noun` is the class; with `pluralise`, in the plural already, unlike nouns that attributes give in its place.
    """
    # a template without the class stands for it, so it is innermost; the first attribute of the recipe comes first
    inner = [fact for fact in used if "noun" in fact.slots]
    outer = [fact for fact in used if fact.kind == "attribute" and fact not in inner]
    for fact in inner:
        noun = wording.filled(fact.text, fact.said[2], noun)
        noun = pluralise(noun) if pluralise else noun
    # beside the class, for "a building with a tin roof of 20 m²" speaks of the roof
    noun = " ".join([noun, *(fact.text for fact in used if fact.kind == "area")])
    for fact in reversed(outer):
        noun = wording.filled(fact.text, fact.said[2], noun)
    before = [fact.text for fact in used if fact.kind in ("position", "size")]
    after = [fact.text for kind in ("relation", "neighbour", "part") for fact in used if fact.kind == kind]
    return " ".join(["the", *before, noun, *after])


def _without_doubles(found: list[Expression]) -> list[Expression]:
    """Leaves out what is said, of two objects, in the same words, as where two attributes are worded alike."""
    meant = defaultdict(set)
    for expression in found:
        meant[expression.text.casefold()].add(expression.object_id)
    return [expression for expression in found if len(meant[expression.text.casefold()]) == 1]


def _drawn(found: list[Expression], most: int, rng: np.random.Generator | None) -> list[Expression]:
    if not most:
        return found
    if rng is None:
        raise ValueError("per_object draws at random, and no rng was given; hand over the scene's")
    by_object = defaultdict(list)
    for k, expression in enumerate(found):
        by_object[expression.object_id].append(k)
    kept = {
        int(k) for ks in by_object.values() for k in (rng.choice(ks, most, replace=False) if len(ks) > most else ks)
    }
    return [expression for k, expression in enumerate(found) if k in kept]

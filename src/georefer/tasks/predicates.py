"""What is known of STAR's 58 predicates: which exclude each other, hold both ways, and between which classes they can.

Keyed by name, as the numbers differ between projects. The tables are ours; the classes are STAR's and a few of OSM's.
They say only what is certain: of a predicate or a class that they do not know nothing follows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from georefer.scenes import Scene, SceneRelation
from georefer.scenes.readers.star import CLASSES, PREDICATES, predicate_name
from georefer.scoring.graph import plain_name

ANTONYMS: Mapping[str, str] = MappingProxyType(
    {
        "co-storage with": "not co-storage with",
        "in the same parking with": "in the different parking with",
        "parking in the same apron with": "parking in the different apron with",
        "running along the same taxiway with": "running along the different taxiway with",
        "docking at the same dock with": "docking at the different dock with",
        "within same line of": "within different line of",
        "directly connected to": "indirectly connected to",
        "directly transmit electricity to": "indirectly transmit electricity to",
        "driving in the same direction with": "driving in the opposite direction with",
        "driving in the same lane with": "driving in the different lane with",
        "working on": "not working on",
        "parked alongside with": "not parked alongside with",
        "docked alongside with": "not docked alongside with",
        "run along": "not run along",
        "approach": "away from",
        "within safe distance of": "within danger distance of",
    }
)
"""The 16 pairs of opposites, each once."""

WORDS: Mapping[str, str] = MappingProxyType(
    {
        "not co-storage with": "not stored together with",
        "connect": "connected to",
        "parallelly parked on": "parked parallel to others on",
        "intersect": "intersecting",
        "co-storage with": "stored together with",
        "converge": "converging with",
        "parallelly docked at": "docked parallel to others at",
        "adjacent": "adjacent to",
        "within safe distance of": "at a safe distance from",
        "through": "running through",
        "approach": "approaching",
        "away from": "heading away from",
        "randomly parked on": "parked in no order on",
        "run along": "running along",
        "isolatedly parked on": "parked alone on",
        "randomly docked at": "docked in no order at",
        "drive off": "driving away from",
        "drive toward": "driving towards",
        "within danger distance of": "dangerously close to",
        "supply to": "supplying",
        "isolatedly docked at": "docked alone at",
        "pass across": "passing across",
        "not run along": "not running along",
        "slightly emit": "slightly emitting",
        "exhaust to": "exhausting",
        "violently emit": "violently emitting",
        "pass under": "passing under",
        "directly transmit electricity to": "transmitting electricity directly to",
        "indirectly transmit electricity to": "transmitting electricity indirectly to",
        "pass through": "passing through",
        "within same line of": "on the same line as",
        "within different line of": "on a different line from",
        "driving in the same direction with": "driving in the same direction as",
        "driving in the opposite direction with": "driving in the opposite direction to",
        "driving alongside with": "driving alongside",
        "driving in the same lane with": "driving in the same lane as",
        "driving in the different lane with": "driving in a different lane from",
        "parked alongside with": "parked alongside",
        "not parked alongside with": "not parked alongside",
        "in the same parking with": "in the same parking lot as",
        "in the different parking with": "in a different parking lot from",
        "parking in the same apron with": "parked on the same apron as",
        "parking in the different apron with": "parked on a different apron from",
        "running along the same taxiway with": "running along the same taxiway as",
        "running along the different taxiway with": "running along a different taxiway from",
        "running along the different runway with": "running along a different runway from",
        "docking at the same breakwater with": "docked at the same breakwater as",
        "docking at the same dock with": "docked at the same dock as",
        "docking at the different dock with": "docked at a different dock from",
        "docked alongside with": "docked alongside",
        "not docked alongside with": "not docked alongside",
    }
)
"""How predicates are said between two nouns, with "is" and without it, where their names are no English there."""

_EXCLUSIVE = (
    *(frozenset(pair) for pair in ANTONYMS.items()),
    frozenset(("parallelly parked on", "randomly parked on", "isolatedly parked on")),
    frozenset(("parallelly docked at", "randomly docked at", "isolatedly docked at")),
    frozenset(("slightly emit", "violently emit")),
    frozenset(("drive off", "drive toward")),
    frozenset(("over", "pass under")),
)

_ONE_WAY = frozenset(
    (
        "over", "pass under", "parallelly parked on", "randomly parked on", "isolatedly parked on",
        "incorrectly parked on", "parallelly docked at", "randomly docked at", "isolatedly docked at", "around",
        "through", "pass across", "pass through", "approach", "away from", "drive off", "drive toward", "supply to",
        "slightly emit", "exhaust to", "violently emit", "directly transmit electricity to",
        "indirectly transmit electricity to", "working on", "not working on", "run along", "not run along",
    )
)  # fmt: skip

_CARS = frozenset(("car", "truck", "engineering vehicle", "vehicle", "van", "bus"))
_PLANES = frozenset(("airplane", "plane", "helicopter"))
_SHIPS = frozenset(("boat", "ship", "vessel"))
_MOVING = _CARS | _PLANES | _SHIPS
_POWER = frozenset(("lattice tower", "substation", "genset", "wind mill", "power line", "pylon"))
_WORKING = frozenset(("crane", "tower crane", "engineering vehicle"))
_EMITTING = frozenset(("chimney", "cooling tower", "genset"))
_EMITTED = frozenset(("vapor", "smoke"))
_SPORTS = frozenset(
    ("ground track field", "soccer ball field", "basketball court", "tennis court", "baseball diamond", "stadium")
)
_KNOWN = (
    frozenset(map(plain_name, CLASSES)) | _MOVING | _POWER
    | frozenset(("building", "house", "pool", "swimming pool", "tree", "road", "tennis", "river", "lake"))
)  # fmt: skip
_QUAYS = frozenset(("dock", "breakwater", "ship lock"))
_GROUND = _KNOWN - _MOVING - _POWER - _WORKING - _EMITTING - _EMITTED

_ENDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    **dict.fromkeys(
        ("parallelly parked on", "randomly parked on", "isolatedly parked on", "incorrectly parked on"),
        (_CARS | _PLANES, _GROUND - _QUAYS),
    ),
    **dict.fromkeys(("parallelly docked at", "randomly docked at", "isolatedly docked at"), (_SHIPS, _QUAYS)),
    **dict.fromkeys(("drive off", "drive toward"), (_CARS | _PLANES, _KNOWN)),
    **dict.fromkeys(("approach", "away from"), (_MOVING, _KNOWN)),
    **dict.fromkeys(
        (
            "driving in the same direction with", "driving in the opposite direction with", "driving alongside with",
            "driving in the same lane with", "driving in the different lane with", "in the same parking with",
            "in the different parking with",
        ),
        (_CARS, _CARS),
    ),
    **dict.fromkeys(("parked alongside with", "not parked alongside with"), (_CARS | _PLANES, _CARS | _PLANES)),
    **dict.fromkeys(
        (
            "parking in the same apron with", "parking in the different apron with",
            "running along the same taxiway with", "running along the different taxiway with",
            "running along the different runway with",
        ),
        (_PLANES | _CARS, _PLANES | _CARS),
    ),
    **dict.fromkeys(
        (
            "docking at the same breakwater with", "docking at the same dock with",
            "docking at the different dock with", "docked alongside with", "not docked alongside with",
        ),
        (_SHIPS, _SHIPS),
    ),
    **dict.fromkeys(
        ("directly transmit electricity to", "indirectly transmit electricity to", "within same line of",
         "within different line of"),
        (_POWER, _POWER),
    ),
    **dict.fromkeys(("slightly emit", "violently emit", "exhaust to"), (_EMITTING, _EMITTED)),
    **dict.fromkeys(("working on", "not working on"), (_WORKING, _KNOWN - _SPORTS)),
    **dict.fromkeys(
        ("co-storage with", "not co-storage with"), (_KNOWN - _MOVING - _SPORTS, _KNOWN - _MOVING - _SPORTS)
    ),
}  # fmt: skip
"""Classes that a subject and an object can have; predicates whose ends may be almost anything are left out."""


def exclude_each_other(predicate: str, other: str) -> bool:
    """Whether two predicates cannot both hold between a subject and an object."""
    pair = {plain_name(predicate), plain_name(other)}
    return len(pair) == 2 and any(pair <= family for family in _EXCLUSIVE)


def in_words(predicate: str) -> str:
    """A predicate as it is said between two nouns: "the road running along the river"; unknown ones by their names."""
    known = predicate_name(predicate)
    return WORDS.get(known or "") or known or " ".join(re.split(r"[\s_-]+", predicate.strip()))


def rivals(predicate: str) -> list[str]:
    """The predicates that exclude this one."""
    return [name for name in PREDICATES if exclude_each_other(name, predicate)]


def cannot_hold(subject_label: str, predicate: str, object_label: str) -> bool:
    """Whether a predicate makes no sense between two classes; false where any of the three is unknown."""
    ends, labels = _ENDS.get(plain_name(predicate)), (plain_name(subject_label), plain_name(object_label))
    if ends is None or not _KNOWN.issuperset(labels):
        return False
    return any(label not in allowed for label, allowed in zip(labels, ends, strict=True))


def holds_both_ways(predicate: str) -> bool:
    """Whether a predicate of STAR says the same of object and subject ("adjacent"); false for unknown ones."""
    name = plain_name(predicate)
    return name in PREDICATES and name not in _ONE_WAY


def relations_of(scene: Scene) -> list[SceneRelation]:
    """The scene's relations between two different objects that it holds, each once."""
    ids = set(scene.objects.ids_N)
    found = {
        (r.subject, plain_name(r.predicate), r.object): r
        for r in scene.relations
        if r.subject != r.object and {r.subject, r.object} <= ids
    }
    return list(found.values())

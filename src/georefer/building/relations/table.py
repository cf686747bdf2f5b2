"""The 58 predicates of STAR: which rule of shapes gives each, what it needs, and which shapes alone cannot give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from georefer.scenes.readers.star import PREDICATES

Need = Literal["axes", "headings", "power lines", "metres"]

GROUPS = MappingProxyType(
    {
        "topology": "how areas and ways lie to each other",
        "container": "two objects on the same carrier, or on different ones",
        "beside": "two objects side by side",
        "arrangement": "how an object stands on its carrier",
        "distance": "how far apart two objects are on the ground",
        "heading": "where objects head, and in which lane",
        "network": "how towers hang together by power lines",
        "appearance": "what is seen in the image and not in the shapes",
    }
)


@dataclass(frozen=True)
class Relation:
    """One predicate: its rule in a line, and the pairs of roles (subject, object) it is looked for in by default.

    `reason` says why shapes cannot give it; such a one has no rule. Where `symmetric`, both directions are stated.
    """

    name: str
    group: str
    rule: str = ""
    pairs: tuple[tuple[str, str], ...] = ()
    needs: tuple[Need, ...] = ()
    symmetric: bool = False
    inverse: str | None = None
    antonym: str | None = None
    reason: str | None = None


_WAY_JOINS = (
    ("road", "road"), ("rail", "rail"), ("waterway", "waterway"), ("taxiway", "taxiway"), ("taxiway", "runway"),
    ("bridge", "road"), ("road", "bridge"), ("path", "road"), ("path", "path"),
)  # fmt: skip
_INTO = (
    ("taxiway", "apron"), ("boarding_bridge", "aircraft"), ("boarding_bridge", "terminal"), ("road", "junction"),
    ("bridge", "junction"), ("road", "parking"),
)  # fmt: skip
_CROSSINGS = (
    ("road", "road"), ("road", "rail"), ("taxiway", "taxiway"), ("taxiway", "runway"), ("runway", "runway"),
    ("road", "waterway"), ("rail", "rail"), ("path", "road"), ("path", "path"),
)  # fmt: skip
_UNDER = (("road", "bridge"), ("rail", "bridge"), ("waterway", "bridge"), ("road_vehicle", "bridge"),
          ("vessel", "bridge"), ("path", "bridge"))  # fmt: skip
_OVER = (
    *((below, above) for above, below in _UNDER),
    ("lifting", "vessel"), ("lifting", "dock"), ("lifting", "yard"), ("lifting", "site"), ("boarding_bridge", "apron"),
    ("plume", "stack"),
)  # fmt: skip
_NEIGHBOURS = (
    ("building", "building"), ("building", "road"), ("building", "parking"), ("building", "tree"),
    ("building", "water"), ("building", "field"), ("building", "vegetation"), ("building", "apron"),
    ("road", "parking"),
    ("road", "field"), ("road", "tree"), ("road", "water"), ("road", "vegetation"), ("parking", "parking"),
    ("field", "field"), ("field", "water"), ("apron", "taxiway"), ("apron", "apron"), ("dock", "dock"),
    ("dock", "yard"), ("yard", "yard"), ("building", "yard"), ("vegetation", "water"), ("stack", "stack"),
)  # fmt: skip
_ALONG = (
    ("road", "road"), ("road", "rail"), ("road", "waterway"), ("rail", "rail"), ("path", "road"), ("path", "waterway"),
    ("taxiway", "runway"), ("taxiway", "taxiway"), ("aircraft", "taxiway"), ("aircraft", "runway"),
)  # fmt: skip
_ON_STRIP = (("aircraft", "taxiway"), ("aircraft", "runway"))
_AROUND = (
    ("running_track", "pitch"), ("vegetation", "building"), ("vegetation", "water"), ("parking", "building"),
    ("road", "building"), ("road", "field"), ("road", "parking"), ("water", "building"),
)  # fmt: skip
_ACROSS = (("bridge", "waterway"), ("road", "waterway"), ("road", "rail"), ("rail", "waterway"),
           ("taxiway", "runway"), ("path", "road"), ("path", "rail"))  # fmt: skip
_THROUGH = (
    ("road", "parking"), ("road", "field"), ("road", "vegetation"), ("road", "site"), ("taxiway", "apron"),
    ("waterway", "field"), ("waterway", "vegetation"), ("path", "vegetation"), ("path", "field"), ("rail", "field"),
    ("road", "yard"),
)  # fmt: skip
_GATES = (("road_vehicle", "gate"), ("vessel", "lock"), ("road", "gate"), ("waterway", "lock"))
_CARS, _PLANES, _VESSELS = (("road_vehicle", "road_vehicle"),), (("aircraft", "aircraft"),), (("vessel", "vessel"),)
_STORED = (("stored", "stored"),)
_PARKED = (("road_vehicle", "parking"), ("aircraft", "apron"))
_DOCKED = (("vessel", "dock"), ("vessel", "breakwater"))
_REACHED = (("vessel", "dock"), ("vessel", "bridge"), ("vessel", "lock"), ("aircraft", "terminal"),
            ("aircraft", "runway"), ("aircraft", "apron"))  # fmt: skip
_DRIVEN = (("road_vehicle", "gate"), ("road_vehicle", "parking"), ("road_vehicle", "junction"),
           ("road_vehicle", "fuel"), ("road_vehicle", "bridge"))  # fmt: skip
_TOWERS = (("tower", "tower"),)
_TO_STATION = (("tower", "substation"), ("substation", "tower"))


def _pair(group: str, same: str, different: str, rules: tuple[str, str], pairs, **more) -> tuple[Relation, Relation]:
    """Two predicates that exclude each other, looked for in the same pairs."""
    one = Relation(same, group, rules[0], pairs, antonym=different, **more)
    return one, Relation(different, group, rules[1], pairs, antonym=same, **more)


def _carried(carrier: str, pairs, verb: str, **more) -> tuple[Relation, Relation]:
    rules = f"both centres on the same {carrier}", f"centres on different {carrier}s, not farther apart than a cap"
    return _pair("container", f"{verb} same {carrier} with", f"{verb} different {carrier} with", rules, pairs,
                 symmetric=True, **more)  # fmt: skip


def _seen(name: str, reason: str, antonym: str | None = None) -> Relation:
    return Relation(name, "appearance", antonym=antonym, reason=reason)


_BESIDE = "parallel, a gap of at most a width between, beside each other over half the shorter length"
_NOT_BESIDE = "the nearest one on the same carrier, and clearly turned, too far, or not side by side"
_TOPOLOGY = (
    Relation("over", "topology", "shares ground with what a bridge, crane or plume stands above", _OVER),
    Relation("connect", "topology", "one end of the way lies at the other, or two ends meet alone",
             (*_WAY_JOINS, *_INTO), ("axes",)),
    Relation("intersect", "topology", "the axes cross, away from the ends of both", _CROSSINGS, ("axes",), True),
    Relation("converge", "topology", "ends of both meet where at least three ways end", _WAY_JOINS, ("axes",), True),
    Relation("adjacent", "topology", "a small gap, nothing of either class in it, and hardly any common area",
             _NEIGHBOURS, ("metres",), True),
    Relation("through", "topology", "the axis enters the region and leaves it, not only over a corner", _THROUGH,
             ("axes",)),
    Relation("run along", "topology", "near, parallel, beside each other over half the shorter length", _ALONG,
             ("axes", "metres"), antonym="not run along"),
    Relation("not run along", "topology", "near, and clearly not parallel", _ON_STRIP, ("axes", "metres"),
             antonym="run along"),
    Relation("around", "topology", "seen from the centre of the object, most directions meet the subject", _AROUND),
    Relation("pass across", "topology", "the axes cross steeply, and the subject ends outside of the object", _ACROSS,
             ("axes",)),
    Relation("pass under", "topology", "the other way round of over, for ways, vehicles and vessels", _UNDER,
             inverse="over"),
    Relation("pass through", "topology", "shares ground with a gate or lock", _GATES),
)  # fmt: skip
_CONTAINER = (
    *_pair("container", "co-storage with", "not co-storage with",
           ("in the same yard, or without yards in a group without gaps", "in different yards, or groups apart"),
           _STORED, symmetric=True, needs=("metres",)),
    *_carried("parking", _CARS, "in the"), *_carried("apron", _PLANES, "parking in the"),
    *_carried("taxiway", _PLANES, "running along the"),
    Relation("running along the different runway with", "container",
             "centres on different runways, not turned across them", _PLANES, symmetric=True),
    Relation("docking at the same breakwater with", "container", "the same breakwater is nearest to both, and near",
             _VESSELS, ("metres",), True),
    *_pair("container", "docking at the same dock with", "docking at the different dock with",
           ("the same dock is nearest to both, and near", "different docks are nearest to them, and near"), _VESSELS,
           symmetric=True, needs=("metres",)),
)  # fmt: skip
_BESIDES = (
    Relation("driving alongside with", "beside", f"both on a road and off parkings; {_BESIDE}", _CARS, ("axes",), True),
    *_pair("beside", "parked alongside with", "not parked alongside with",
           (f"same parking or apron; {_BESIDE}", _NOT_BESIDE), (*_CARS, *_PLANES), symmetric=True, needs=("axes",)),
    *_pair("beside", "docked alongside with", "not docked alongside with",
           (f"same dock or breakwater; {_BESIDE}", _NOT_BESIDE), _VESSELS, symmetric=True, needs=("axes",)),
)  # fmt: skip
_AXES: tuple[Need, ...] = ("axes",)
_ARRANGEMENT = tuple(
    Relation(name, "arrangement", rule, pairs, needs)
    for verb, pairs in (("parked on", _PARKED), ("docked at", _DOCKED))
    for name, rule, needs in (
        (f"parallelly {verb}", "the nearest neighbours on the carrier stand parallel to it", _AXES),
        (f"randomly {verb}", "half of the nearest neighbours on the carrier are clearly turned", _AXES),
        (f"isolatedly {verb}", "no neighbour on the carrier within some of its lengths", ()),
    )
)
_TURNED = "points to the nearest place of the object, which is not farther than a cap"
_TURNED_AWAY = "points away from the nearest place of the object, which is not farther than a cap"
_RELATIONS = (
    *_TOPOLOGY, *_CONTAINER, *_BESIDES, *_ARRANGEMENT,
    Relation("incorrectly parked on", "arrangement", "a clear part of it lies across the edge of the parking",
             (("road_vehicle", "parking"),)),
    *_pair("distance", "within safe distance of", "within danger distance of",
           ("the gap is above the pair's danger distance, and below its safe one",
            "the gap is below the danger distance of the pair of roles"), (), symmetric=True, needs=("metres",)),
    *_pair("heading", "approach", "away from", (_TURNED, _TURNED_AWAY), _REACHED, needs=("headings", "metres")),
    Relation("drive off", "heading", _TURNED_AWAY, _DRIVEN, ("headings", "metres")),
    Relation("drive toward", "heading", _TURNED, _DRIVEN, ("headings", "metres")),
    *_pair("heading", "driving in the same direction with", "driving in the opposite direction with",
           ("both driving, near, headings alike", "both driving, near, headings opposite"), _CARS, symmetric=True,
           needs=("headings", "metres")),
    *_pair("heading", "driving in the same lane with", "driving in the different lane with",
           ("both driving, near, alike in heading, hardly any offset across it (or along one given lane)",
            "both driving, near, parallel, a lane or more apart across (or along different given lanes)"), _CARS,
           symmetric=True, needs=("headings", "metres")),
    *_pair("network", "directly transmit electricity to", "indirectly transmit electricity to",
           ("one power line leads from one to the other", "power lines lead there over other towers"), _TO_STATION,
           needs=("power lines",)),
    *_pair("network", "within same line of", "within different line of",
           ("both stand at one power line", "both stand at power lines, none of them in common, not far apart"),
           _TOWERS, symmetric=True, needs=("power lines",)),
    *_pair("network", "directly connected to", "indirectly connected to",
           ("neighbours on a power line", "power lines lead there over other towers"), _TOWERS, symmetric=True,
           needs=("power lines",)),
    _seen("supply to", "what a genset or tank feeds is not in the outlines"),
    *(_seen(name, "whether and how much smoke comes out shows only in the image")
      for name in ("slightly emit", "exhaust to", "violently emit")),
    _seen("working on", "whether a machine works shows only in the image", "not working on"),
    _seen("not working on", "whether a machine works shows only in the image", "working on"),
)  # fmt: skip

RELATIONS: Mapping[str, Relation] = MappingProxyType(
    {name: relation for name in PREDICATES for relation in _RELATIONS if relation.name == name}
)
"""By name, in the order of FIT-RS. `inverse` is stated in one place: of each `pass under` the `over` is stated too."""


def relations_page() -> str:
    """All of them, in Markdown."""
    lines = [
        "# Relations from geometry", "",
        "Written from the table in the code; a test holds this page to it. Of STAR's 58 predicates "
        f"{sum(r.reason is None for r in RELATIONS.values())} follow from shapes; each relation carries what was "
        "measured, and a pair nearer to a threshold than the margin gets none. Objects take part by *roles*; the "
        "pairs of roles shown are the defaults.", "",
    ]  # fmt: skip
    for group, title in GROUPS.items():
        members = [relation for relation in RELATIONS.values() if relation.group == group]
        lines += [f"## {group.capitalize()}: {title}", "", "| predicate | rule | needs | kind | pairs of roles |"]
        lines += ["|---|---|---|---|---|", *map(_row, members), ""]
    return "\n".join(lines)


def _row(relation: Relation) -> str:
    kind = ["both ways"] if relation.symmetric else []
    kind += [f"inverse of {relation.inverse}"] if relation.inverse else []
    kind += [f"excludes {relation.antonym}"] if relation.antonym else []
    pairs = ", ".join(f"{a}-{b}" for a, b in relation.pairs)
    rule = relation.rule or f"*not from shapes: {relation.reason}*"
    if relation.group == "distance":
        pairs = "as `distances` says"
    return f"| {relation.name} | {rule} | {', '.join(relation.needs)} | {'; '.join(kind)} | {pairs} |"

"""What a recipe says about relations: thresholds, what plays which role, and which roles may be related."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from georefer.building.relations.table import RELATIONS

ROLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # STAR's classes
        "airplane": ("aircraft",), "boat": ("vessel",), "ship": ("vessel",), "car": ("road_vehicle",),
        "truck": ("road_vehicle",), "engineering_vehicle": ("road_vehicle",), "taxiway": ("taxiway",),
        "runway": ("runway",), "apron": ("apron",), "boarding_bridge": ("boarding_bridge",),
        "terminal": ("terminal", "building"), "tank": ("stored",), "containment_vessel": ("stored",),
        "genset": ("stored",), "storehouse": ("building",), "gas_station": ("fuel", "building"),
        "goods_yard": ("yard",), "coal_yard": ("yard",), "dock": ("dock",), "breakwater": ("breakwater",),
        "car_parking": ("parking",), "truck_parking": ("parking",), "bridge": ("bridge",),
        "crane": ("lifting",), "tower_crane": ("lifting",), "cooling_tower": ("stack",), "chimney": ("stack",),
        "vapor": ("plume",), "smoke": ("plume",), "lattice_tower": ("tower",), "substation": ("substation",),
        "ship_lock": ("lock",), "toll_gate": ("gate",), "unfinished_building": ("site",),
        "foundation_pit": ("site",), "intersection": ("junction",), "roundabout": ("junction",),
        "ground_track_field": ("running_track",), "soccer_ball_field": ("pitch",), "basketball_court": ("pitch",),
        "tennis_court": ("pitch",), "baseball_diamond": ("pitch",), "cement_concrete_pavement": ("road",),
        # what layers made after OpenStreetMap are often called
        "building": ("building",), "house": ("building",), "road": ("road",), "street": ("road",),
        "highway": ("road",), "path": ("path",), "footway": ("path",), "track": ("path",), "railway": ("rail",),
        "rail": ("rail",), "parking": ("parking",), "tree": ("tree",), "forest": ("vegetation",),
        "wood": ("vegetation",), "grass": ("vegetation",), "park": ("vegetation",), "water": ("water",),
        "lake": ("water",), "pond": ("water",), "river": ("waterway",), "stream": ("waterway",),
        "canal": ("waterway",), "waterway": ("waterway",), "farmland": ("field",), "field": ("field",),
        "meadow": ("field",), "pitch": ("pitch",), "pier": ("dock",), "aircraft": ("aircraft",),
        "vehicle": ("road_vehicle",), "van": ("road_vehicle",), "bus": ("road_vehicle",), "yard": ("yard",),
        "storage_tank": ("stored",), "power_tower": ("tower",), "construction": ("site",), "aeroway": ("taxiway",),
    }
)  # fmt: skip
"""Roles of classes by name (lower case, `_` for spaces and hyphens). Every class also plays a role of its own name."""

_SEPARATORS = re.compile(r"[\s_-]+")


def class_key(label: str) -> str:
    """A class as the table of roles spells it."""
    return _SEPARATORS.sub("_", label.strip().lower())


@dataclass(frozen=True)
class DistanceRule:
    """How near is dangerous between two roles, and up to which distance it is worth saying that it is safe."""

    subject: str
    object: str
    danger_m: float
    safe_m: float

    def __post_init__(self) -> None:
        if not 0 < self.danger_m < self.safe_m < math.inf:
            raise ValueError(
                f"{self.subject}-{self.object} has danger_m {self.danger_m} and safe_m {self.safe_m}; "
                "expected 0 < danger_m < safe_m"
            )


DISTANCES = (
    DistanceRule("building", "fuel", 25, 100), DistanceRule("road_vehicle", "stored", 15, 60),
    DistanceRule("building", "stored", 30, 120), DistanceRule("site", "lifting", 20, 80),
    DistanceRule("vessel", "bridge", 20, 100), DistanceRule("building", "tower", 20, 80),
)  # fmt: skip
"""Orders of magnitude to start from; which distance is safe is for the user's own rules to say."""


@dataclass(frozen=True)
class RelationSettings:
    """Relations from geometry: lengths in metres, angles in degrees.

    A test `x <= t` holds where x <= t * (1 - margin) and fails where x >= t * (1 + margin); between the two nothing
    is said, neither the predicate nor its antonym.
    """

    margin: float = 0.1
    only: tuple[str, ...] = ()
    """Predicates looked for; left out: all that can be derived."""
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Roles of the user's own classes; replaces the ready ones of that class, an empty list takes it out."""
    allowed: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Pairs of roles (or classes) by predicate; replaces the ready ones of that predicate."""
    distances: tuple[DistanceRule, ...] = DISTANCES
    """Where several fit one pair, the first counts."""
    line_width_m: float = 4.0
    """Ground taken by an object given as a line or a point."""
    reach_m: float = 2.0
    """The end of a way is at another object; a tower stands at a power line."""
    adjacent_m: float = 3.0
    adjacent_overlap: float = 0.05
    """Share of the smaller one that two adjacent objects may have in common: outlines are drawn by hand."""
    along_m: float = 25.0
    parallel_deg: float = 15.0
    random_deg: float = 30.0
    steep_deg: float = 45.0
    overlap: float = 0.5
    """Common ground of what is over, through or across another, in squares of the narrower one's width."""
    around_m: float = 50.0
    surround: float = 0.75
    """Share of all directions in which the subject of `around` is met."""
    elongation: float = 1.2
    """Length by width from which a shape has an axis of its own."""
    pair_m: float = 100.0
    """Centres of two objects on carriers, same or different."""
    partners: int = 12
    """The nearest on the same carrier, and on different ones, that an object is related to."""
    dock_m: float = 10.0
    storage_m: float = 15.0
    """Gap between stored objects of one group."""
    beside_widths: float = 1.0
    """Gap between two side by side, in widths of the narrower one."""
    beside_share: float = 0.5
    neighbours: int = 3
    neighbour_lengths: float = 2.0
    """Gap up to which another is a neighbour on a carrier, in lengths of the object."""
    edge_share: float = 0.15
    """Part of a vehicle beyond the edge of its parking from which it stands wrongly."""
    heading_deg: float = 20.0
    heading_m: float = 150.0
    driving_m: float = 50.0
    lane_m: float = 3.5
    lanes: int = 4
    """Vehicles farther apart across than so many lanes are not compared by lane."""
    line_m: float = 500.0
    """Between towers that are compared by power line."""
    hops: int = 4
    """Power lines from tower to tower that an indirect connection goes over at most."""

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 0.5:
            raise ValueError(f"margin is {self.margin}; expected 0 to below 0.5")
        for name in (*self.only, *self.allowed):
            _check(name)
        if "within danger distance of" in self.allowed or "within safe distance of" in self.allowed:
            raise ValueError("allowed names a distance predicate, whose pairs belong in [[distances]]; move them there")
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name != "margin" and isinstance(value, int | float) and not 0 < value < math.inf:
                raise ValueError(f"{one.name} is {value}; expected a number above 0")

    def wants(self, predicate: str) -> bool:
        """Whether the predicate is looked for."""
        return not self.only or predicate in self.only

    def below(self, value, limit):
        """Whether values are at most a limit, by the margin."""
        return value <= limit * (1 - self.margin)

    def above(self, value, limit):
        """Whether values are at least a limit, by the margin."""
        return value >= limit * (1 + self.margin)

    def pairs(self, predicate: str) -> tuple[tuple[str, str], ...]:
        """Pairs of roles of a predicate, as keys."""
        if RELATIONS[predicate].group == "distance":
            return tuple((class_key(rule.subject), class_key(rule.object)) for rule in self.distances)
        pairs = self.allowed.get(predicate, RELATIONS[predicate].pairs)
        return tuple((class_key(a), class_key(b)) for a, b in pairs)


def _check(name: str) -> None:
    if name not in RELATIONS:
        raise ValueError(f"'{name}' is none of the predicates; see the page about relations for their spelling")
    if reason := RELATIONS[name].reason:
        raise ValueError(f"'{name}' cannot be derived from shapes: {reason}; leave it out")

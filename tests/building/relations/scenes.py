"""Small scenes to hand: boxes by centre, sides and heading, and what is found between "a" and "b"."""

from dataclasses import dataclass, field

import numpy as np
import shapely

from georefer.building.relations import Lines, RelationSettings, find_relations
from georefer.geometry import obb_polygons


def rectangle(x, y, length, width, heading=0.0):
    return obb_polygons(np.array([[x, y, length, width, heading]], dtype=float))[0]


@dataclass
class Table:
    """A scene by hand: id -> (class, shape), headings by id, and networks."""

    objects: dict
    headings: dict = field(default_factory=dict)
    power: list = field(default_factory=list)
    lanes: list = field(default_factory=list)

    def relations(self, settings=None):
        shapes = np.empty(len(self.objects), dtype=object)
        shapes[:] = [shape for _, shape in self.objects.values()]
        headings = [self.headings.get(id_, np.nan) for id_ in self.objects]
        labels = [label for label, _ in self.objects.values()]
        return find_relations(
            shapes, labels, list(self.objects), settings or RelationSettings(), headings, Lines(self.power, self.lanes)
        )

    def between(self, subject, object_):
        """Predicates from one to the other."""
        return {r.predicate for r in self.relations() if (r.subject, r.object) == (subject, object_)}


THEMES = (
    (),  # all classes
    ("car", "car", "car", "car", "parking", "toll_gate"),
    ("car", "car", "car", "road", "bridge", "gas_station", "tank", "goods_yard"),
    ("ship", "ship", "ship", "ship", "dock", "breakwater"),
    ("airplane", "airplane", "airplane", "airplane", "apron", "taxiway", "runway"),
    ("lattice_tower", "substation", "building", "crane", "tree"),
    ("car",),
)


def random_scene(seed, count=60, side=260.0, theme=None):
    """(shapes, classes, ids, headings): everything near everything, so that most predicates come up.

    The theme goes by the seed.
    """
    rng = np.random.default_rng(seed)
    kinds = {
        "building": (15, 10), "car": (4.5, 1.9), "road": (150, 7), "parking": (60, 40), "tree": (5, 5),
        "airplane": (30, 20), "apron": (120, 90), "ship": (40, 8), "dock": (90, 20), "tank": (12, 12),
        "bridge": (60, 10), "taxiway": (150, 25), "runway": (200, 40), "gas_station": (15, 12), "goods_yard": (50, 40),
        "lattice_tower": (6, 6), "toll_gate": (30, 12), "crane": (30, 12), "breakwater": (100, 10),
    }  # fmt: skip
    kinds["substation"] = (20, 20)
    labels = list(rng.choice(THEMES[seed % len(THEMES) if theme is None else theme] or list(kinds), count))
    sides = np.array([kinds[label] for label in labels]) * rng.uniform(0.8, 1.2, (count, 2))
    turns = rng.choice([0, 90, 35, 180], count) + rng.normal(0, 5, count)
    boxes = np.column_stack((rng.uniform(0, side, (count, 2)), sides, turns))
    headings = np.where(rng.random(count) < 0.3, np.nan, turns % 360)
    return obb_polygons(boxes), labels, [f"o{i}" for i in range(count)], headings


def random_lines(seed, shapes, labels):
    """Power lines from tower to tower, and in half of the scenes lanes."""
    rng = np.random.default_rng(seed + 1000)
    towers = [shape.centroid for shape, label in zip(shapes, labels, strict=True) if label == "lattice_tower"]
    power = [shapely.LineString(rng.choice(towers, 4, replace=False)) for _ in range(3)] if len(towers) >= 4 else []
    lanes = [shapely.LineString([(0, y), (260, y)]) for y in range(0, 260, 7)] if seed % 14 > 6 else []
    return Lines(power, lanes)

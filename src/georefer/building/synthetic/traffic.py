"""Vehicles on the carriageway and at the kerb, and the lines painted on roads."""

from __future__ import annotations

import numpy as np
import shapely
from shapely import STRtree
from shapely.geometry import LineString
from shapely.geometry.base import BaseGeometry

from georefer.building.synthetic.features import Feature, Look, Marking
from georefer.building.synthetic.harbour import along
from georefer.building.synthetic.network import Road
from georefer.building.synthetic.palette import pick
from georefer.building.synthetic.site import Site
from georefer.building.synthetic.things import VEHICLE_M, vehicle

WHITE = (216.0, 216.0, 210.0)
_HEADWAY_M = {"avenue": (14.0, 60.0), "main": (25.0, 110.0), "street": (60.0, 200.0)}


def drive(site: Site, roads: tuple[Road, ...], rng: np.random.Generator) -> None:
    """Traffic keeps right, ordered by road; kerbside parking on streets of housing."""
    for road, others in zip(roads, _meeting(roads, 5.0), strict=True):
        shapely.prepare(others)
        for back in (False, True):
            _lane(site, road, back, rng)
            if road.kind != "avenue":
                _kerb(site, road, back, others, rng)


def _meeting(roads: tuple[Road, ...], clear_m: float) -> list[BaseGeometry]:
    """For every road, the ground of the roads that meet it, widened on each side."""
    tree = STRtree([road.line for road in roads])
    ground = [road.line.buffer(road.width_m / 2 + clear_m) for road in roads]
    near = [sorted(tree.query(road.line, predicate="dwithin", distance=12.0).tolist()) for road in roads]
    return [shapely.union_all([ground[j] for j in found if j != i]) for i, found in enumerate(near)]


def _lane(site: Site, road: Road, back: bool, rng: np.random.Generator) -> None:
    s = rng.uniform(5, 40)
    offset = road.width_m * (0.25 if road.kind != "street" else 0.15)
    while s < road.line.length - 8:
        kind = pick(rng, list(VEHICLE_M), (10, 2, 1.5 if road.kind != "street" else 0.2, 0.5))
        pose = along(road.line, s, back).moved(0, offset + rng.normal(0, 0.12), rng.normal(0, 0.8))
        made = vehicle(rng, kind, pose)
        site.place("vehicles", made, site.extent, 1.5)
        s += made.look.length_m + rng.uniform(*_HEADWAY_M[road.kind])


def _kerb(site: Site, road: Road, back: bool, others: BaseGeometry, rng: np.random.Generator) -> None:
    """Cars parked parallel to the kerb, away from junctions."""
    if rng.random() < 0.4:
        return
    s, density = 12.0, rng.uniform(0.15, 0.6)
    while s < road.line.length - 12:
        s += rng.uniform(5.6, 6.4)
        if rng.random() > density:
            continue
        flip = 180 if rng.random() < 0.15 and road.kind == "street" else 0
        pose = along(road.line, s, back).moved(0, road.width_m / 2 - 1.05, rng.normal(0, 0.8) + flip)
        made = vehicle(rng, "car" if rng.random() < 0.9 else "van", pose)
        if not others.intersects(made.geometry):
            site.place("vehicles", made, site.extent, 0.3)


def mark_roads(site: Site, roads: tuple[Road, ...], rng: np.random.Generator) -> None:
    """Repairs, centre lines (broken on ordinary roads, double on avenues) and crossings; none inside junctions."""
    for road, junctions in zip(roads, _meeting(roads, 1.5), strict=True):
        _repairs(site, road, rng)
        for part in shapely.get_parts(road.line.difference(junctions)).tolist():
            if isinstance(part, LineString) and part.length > 30:
                _crossings(site, road, part, rng)
        for offset, width, dash in _LINES[road.kind]:
            line = road.line.offset_curve(offset) if offset else road.line
            for part in shapely.get_parts(line.difference(junctions)).tolist():
                if isinstance(part, LineString) and part.length > 4:
                    site.markings.append(Marking(part, width, WHITE, dash, 0.75))


def _repairs(site: Site, road: Road, rng: np.random.Generator) -> None:
    """Strips of newer or older asphalt, and the wear of wheels."""
    for _ in range(int(road.line.length / 45)):
        s, long = rng.uniform(4, road.line.length - 4), rng.uniform(3, 18)
        pose = along(road.line, s).moved(0, rng.uniform(-0.35, 0.35) * road.width_m)
        strip = LineString([pose.at(-long / 2, 0), pose.at(long / 2, 0)])
        tone = float(rng.choice([66, 150]))
        site.markings.append(Marking(strip, rng.uniform(0.8, 2.6), (tone, tone, tone), 0.0, rng.uniform(0.12, 0.3)))


def _crossings(site: Site, road: Road, part: LineString, rng: np.random.Generator) -> None:
    """A zebra crossing near an end of the stretch between two junctions."""
    for back in (False, True):
        if rng.random() > 0.35 or road.kind == "lane":
            continue
        pose = along(part, part.length - 2.6 if back else 2.6)
        for v in np.arange(-road.width_m / 2 + 0.6, road.width_m / 2 - 0.3, 1.0):
            stripe = LineString([pose.at(-1.4, float(v)), pose.at(1.4, float(v))])
            site.markings.append(Marking(stripe, 0.5, WHITE, 0.0, 0.8))


_LINES: dict[str, list[tuple[float, float, float]]] = {
    "avenue": [(-0.22, 0.13, 0.0), (0.22, 0.13, 0.0), (-3.2, 0.13, 3.0), (3.2, 0.13, 3.0)],
    "main": [(0.0, 0.14, 3.0)],
    "street": [],
    "lane": [],
}


def road_features(site: Site, roads: tuple[Road, ...]) -> None:
    for road in roads:
        for part in shapely.get_parts(road.line.intersection(site.extent)).tolist():
            if part.geom_type == "LineString" and part.length > 1:
                attributes = {
                    "kind": road.kind,
                    "width_m": road.width_m,
                    "surface": road.surface,
                    "length_m": round(part.length, 1),
                }
                site.add("roads", Feature(part, attributes, Look((0, 0, 0), width_m=road.width_m)))


def plant_avenues(roads: tuple[Road, ...], rng: np.random.Generator) -> np.ndarray:
    """Spots for street trees along the larger roads, as (x, y) rows."""
    spots = []
    for road in roads:
        if road.kind == "street" and rng.random() < 0.5:
            continue
        off = road.width_m / 2 + (2.2 if road.kind == "avenue" else 1.9)
        for s in np.arange(8, road.line.length - 8, rng.uniform(9, 15)):
            for back in (False, True):
                if rng.random() < 0.6:
                    spots.append(along(road.line, float(s), back).at(0, off))
    return np.asarray(spots).reshape(-1, 2)

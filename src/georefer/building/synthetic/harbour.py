"""A harbour: quays around a basin, piers with moored boats, sheds behind, and ships under way on the river."""

from __future__ import annotations

import numpy as np
from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from georefer.building.synthetic.features import Feature, Look
from georefer.building.synthetic.network import Harbour
from georefer.building.synthetic.outlines import Pose, heading_between, rectangle
from georefer.building.synthetic.palette import pick
from georefer.building.synthetic.parking import parking_lot
from georefer.building.synthetic.site import Site, cells, polygons
from georefer.building.synthetic.things import SHIP_M, ship
from georefer.building.synthetic.works import lorries, warehouse

_PIER_WIDE_M = {"small": 2.6, "large": 7.0}


def basin_of(harbour: Harbour) -> Polygon:
    deep = harbour.basin_long_m
    return rectangle(harbour.pose.moved(deep / 2, 0), deep, harbour.basin_wide_m)


def fill_harbour(site: Site, harbour: Harbour, land: BaseGeometry, rng: np.random.Generator) -> None:
    """Build on the land around the basin, put piers into it and moor ships along them."""
    basin = basin_of(harbour)
    for part in polygons(land.difference(basin)):
        site.pave(part, "concrete", rng.uniform(0.92, 1.02))
        for arm in _arms(harbour):
            for piece in polygons(arm.intersection(part.buffer(-2.0)), 200):
                _quayside(site, piece, rng)
    wide = harbour.basin_wide_m
    small_wide = wide * rng.uniform(0.36, 0.46)
    _marina(site, harbour, basin, -wide / 2 + 4, small_wide, rng)
    _commercial(site, harbour, basin, -wide / 2 + small_wide + 8, wide / 2 - 4, rng)


def _arms(harbour: Harbour) -> list[Polygon]:
    """The quays on the three sides of the basin, clear of its edge."""
    far, wide, clear = 200.0, harbour.basin_wide_m / 2 + 9.0, 9.0
    back = rectangle(harbour.pose.moved(-clear - far / 2, 0), far, 2 * wide + 2 * far)
    sides = [
        rectangle(harbour.pose.moved(far / 2, side * (wide + far / 2)), far + 2 * clear - 8, far) for side in (-1, 1)
    ]
    return [back, *sides]


def _quayside(site: Site, yard: Polygon, rng: np.random.Generator) -> None:
    for pose, long, deep in cells(yard, rng, (14, 24), (24, 52), 5.0):
        role = rng.random()
        if role < 0.62:
            warehouse(site, yard, pose, long, deep, rng)
        elif role < 0.82:
            parking_lot(site, pose, long, min(deep, 16), rng)
        else:
            lorries(site, yard, pose, long, deep, rng)


def _dock(site: Site, pose: Pose, long: float, wide: float, kind: str, basin: Polygon) -> None:
    shape = rectangle(pose, long, wide).intersection(basin.buffer(1.0))
    attributes = {"kind": kind, "length_m": round(long, 1), "width_m": round(wide, 1)}
    site.add("docks", Feature(shape, attributes, Look((168, 162, 150), 1.6, kind, pose, long, wide)))
    site.occupied.add(shape)


def _marina(site: Site, harbour: Harbour, basin: Polygon, left: float, wide: float, rng: np.random.Generator) -> None:
    """Narrow jetties with boats side by side, bow or stern to the jetty."""
    long = harbour.basin_long_m * 0.62
    v = left + 11
    while v < left + wide - 8:
        jetty = harbour.pose.moved(long / 2, v)
        _dock(site, jetty, long, _PIER_WIDE_M["small"], "jetty", basin)
        for side in (-1, 1):
            _berths(site, jetty, long, side, basin, rng)
        v += rng.uniform(31, 37)


def _berths(site: Site, jetty: Pose, long: float, side: int, basin: Polygon, rng: np.random.Generator) -> None:
    u = -long / 2 + 4
    while u < long / 2 - 2:
        kind = pick(rng, ["motorboat", "sailing boat", "fishing boat"], (4, 4, 0.7))
        (short, full), slim, _ = SHIP_M[kind]
        length = rng.uniform(short, min(full, 15.5))
        pitch = length / slim + rng.uniform(1.2, 2.6)
        if rng.random() < 0.5:
            berth = jetty.moved(
                u + pitch / 2,
                side * (_PIER_WIDE_M["small"] / 2 + 0.7 + length / 2),
                (90 if rng.random() < 0.6 else -90) + rng.normal(0, 1.5),
            )
            site.place("ships", ship(rng, kind, berth, length, "moored"), basin, 0.4)
        u += pitch


def _commercial(
    site: Site, harbour: Harbour, basin: Polygon, left: float, right: float, rng: np.random.Generator
) -> None:
    """One broad pier; ships lie along it and along the landward quay."""
    long = harbour.basin_long_m * 0.7
    middle = (left + right) / 2
    pier = harbour.pose.moved(long / 2, middle)
    _dock(site, pier, long, _PIER_WIDE_M["large"], "pier", basin)
    for side in (-1, 1):
        u = -long / 2 + 16
        while u < long / 2:
            kind = pick(rng, ["ferry", "barge", "cargo ship", "fishing boat"], (2, 2, 2, 3))
            (short, full), slim, _ = SHIP_M[kind]
            length = rng.uniform(short, full)
            berth = pier.moved(
                u + length / 2,
                side * (_PIER_WIDE_M["large"] / 2 + 0.9 + length / slim / 2),
                180 * (rng.random() < 0.5) + rng.normal(0, 0.5),
            )
            placed = site.place("ships", ship(rng, kind, berth, length, "moored"), basin, 0.8)
            u += length + 5 if placed else 6
    for v in np.arange(left + 6, right - 20, 24):
        kind = "fishing boat"
        berth = harbour.pose.moved(3.9, float(v) + 9, 90)
        site.place("ships", ship(rng, kind, berth, rng.uniform(15, 20), "moored"), basin, 0.8)


def sail(site: Site, river: Polygon, lanes: LineString, keep_off: BaseGeometry, rng: np.random.Generator) -> None:
    """Ships under way: on the river, keeping right, clear of bridges and basins; those that move leave a wake."""
    water = river.buffer(-6).difference(keep_off)
    s = rng.uniform(10, 60)
    while s < lanes.length:
        kind = pick(rng, ["motorboat", "sailing boat", "fishing boat", "barge", "cargo ship"], (5, 3, 3, 2, 1))
        (short, full), _, _ = SHIP_M[kind]
        length = rng.uniform(short, full)
        back = rng.random() < 0.5
        pose = along(lanes, s, back).moved(0, rng.uniform(6, 15), rng.normal(0, 2))
        site.place("ships", ship(rng, kind, pose, length, "under way"), water, 8.0)
        s += rng.uniform(28, 70) + length / 2


def along(line: LineString, s: float, back: bool = False) -> Pose:
    """The pose at a distance along a line, facing on (or back)."""
    a, b = line.interpolate(max(s - 1, 0)), line.interpolate(min(s + 1, line.length))
    here = line.interpolate(s)
    return Pose(here.x, here.y, (heading_between(a.x, a.y, b.x, b.y) + (180 if back else 0)) % 360)

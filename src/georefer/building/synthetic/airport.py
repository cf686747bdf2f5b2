"""An airfield: apron with parked planes, hangars behind it, taxiway and, where there is room, a runway."""

from __future__ import annotations

import numpy as np
from shapely.geometry import LineString, Polygon

from georefer.building.synthetic.buildings import building
from georefer.building.synthetic.features import Marking
from georefer.building.synthetic.outlines import Pose, rectangle
from georefer.building.synthetic.palette import pick
from georefer.building.synthetic.parking import parking_lot
from georefer.building.synthetic.site import Site, box_of
from georefer.building.synthetic.things import PLANE_M, Sapling, aeroplane, vehicle

YELLOW = (206.0, 176.0, 70.0)
WHITE = (222.0, 222.0, 218.0)
_HANGAR_DEEP_M = 30.0
_RUNWAY_M = 26.0


def fill_airport(site: Site, block: Polygon, rng: np.random.Generator, trees: list[Sapling]) -> None:
    """Strips across the block: hangars, apron with rows of stands, then grass with taxiway and runway."""
    site.pave(block, "meadow", 1.0)
    frame, long, wide = box_of(block)
    if rng.random() < 0.5:
        frame = frame.moved(0, 0, 180)
    v = -wide / 2 + 5
    if wide > 85:
        _hangars(site, block, frame, long, v, rng)
        v += _HANGAR_DEEP_M
    spare = wide / 2 - v
    runway = spare > 190 and long > 170
    apron = spare - 4 if not runway else spare - 84
    _apron(site, block, frame.moved(0, v + apron / 2), long, apron, rng)
    if runway:
        _runway(site, block, frame.moved(0, v + apron + 50), long, rng)


def _clip(site: Site, block: Polygon, shape: Polygon, material: str, tone: float) -> None:
    site.pave(shape.intersection(block.buffer(-2.5)), material, tone)


def _hangars(site: Site, block: Polygon, frame: Pose, long: float, v: float, rng: np.random.Generator) -> None:
    u = -long / 2 + 8
    strip = rectangle(frame.moved(0, v + _HANGAR_DEEP_M / 2), long, _HANGAR_DEEP_M)
    _clip(site, block, strip, "asphalt", 1.1)
    while u < long / 2 - 30:
        size = rng.uniform(24, 38)
        spot = frame.moved(u + size / 2, v + _HANGAR_DEEP_M / 2 - 1)
        if rng.random() < 0.8:
            made = building(
                rng,
                "hangar",
                spot,
                size,
                rng.uniform(20, 26),
                material="metal",
                form=pick(rng, ["barrel", "gable"], (3, 2)),
            )
            site.place("buildings", made, block, 3.0)
        elif block.contains(rectangle(spot, size, 16)):
            parking_lot(site, spot, size, 16, rng)
        u += size + 6


def _apron(site: Site, block: Polygon, centre: Pose, long: float, wide: float, rng: np.random.Generator) -> None:
    """Concrete slabs with rows of stands; small planes in the first row, larger ones behind."""
    _clip(site, block, rectangle(centre, long - 6, wide), "apron", rng.uniform(0.97, 1.05))
    kinds = ["light", "twin", "business", "regional", "airliner"]
    kinds = kinds[: 3 if wide < 95 else 4 if wide < 170 else 5]
    v = -wide / 2 + 3
    while v < wide / 2 - 12:
        kind = pick(rng, kinds, [3, 3, 3, 4, 4][: len(kinds)])
        (_, span), ratio, _ = PLANE_M[kind]
        deep = span * ratio + 4
        if v + deep > wide / 2:
            kinds = kinds[: kinds.index(kind)]
            if not kinds:
                break
            continue
        _stands(site, block, centre.moved(0, v + deep / 2), long, kind, span + rng.uniform(3, 7), rng)
        lane = rng.uniform(8, 13)
        _line(
            site,
            block,
            [centre.at(-long / 2, v + deep + lane / 2), centre.at(long / 2, v + deep + lane / 2)],
            0.25,
            YELLOW,
        )
        v += deep + lane


def _stands(
    site: Site, block: Polygon, row: Pose, long: float, kind: str, pitch: float, rng: np.random.Generator
) -> None:
    turn = 90 if rng.random() < 0.5 else -90
    inside = block.buffer(-3)
    for u in np.arange(-long / 2 + pitch / 2 + 4, long / 2 - pitch / 2, pitch):
        stand = row.moved(float(u), 0, turn)
        if rng.random() < 0.2:
            continue
        _line(site, block, [stand.at(-pitch * 0.5, 0), stand.at(pitch * 0.45, 0)], 0.2, YELLOW)
        skew = rng.normal(0, 2.0) if kind != "light" else rng.normal(0, 6.0)
        spot = stand.moved(rng.normal(0, 0.5), rng.normal(0, 0.4), skew)
        plane = aeroplane(rng, kind, spot)
        if site.place("planes", plane, inside, 1.0) and kind in ("regional", "airliner"):
            side = stand.moved(pitch * 0.2, pitch * 0.3, float(rng.choice([0, 90, 180])))
            site.place("vehicles", vehicle(rng, pick(rng, ["van", "truck", "car"]), side), inside, 0.8)


def _line(
    site: Site,
    block: Polygon,
    points: list[tuple[float, float]],
    width: float,
    rgb: tuple[float, float, float],
    dash: float = 0.0,
) -> None:
    inside = LineString(points).intersection(block.buffer(-3))
    if inside.geom_type == "LineString" and inside.length > 1:
        site.markings.append(Marking(inside, width, rgb, dash))


def _runway(site: Site, block: Polygon, centre: Pose, long: float, rng: np.random.Generator) -> None:
    _clip(site, block, rectangle(centre, long, _RUNWAY_M), "asphalt", 0.94)
    _clip(site, block, rectangle(centre.moved(0, -38), long, 11.0), "asphalt", 1.02)
    _line(site, block, [centre.at(-long / 2, -38), centre.at(long / 2, -38)], 0.3, YELLOW)
    for link in (-0.32, 0.3):
        _clip(site, block, rectangle(centre.moved(link * long, -30), 11.0, 46.0), "asphalt", 1.02)
    _line(site, block, [centre.at(-long / 2 + 34, 0), centre.at(long / 2 - 34, 0)], 0.6, WHITE, 12.0)
    for side in (-1, 1):
        edge = side * (_RUNWAY_M / 2 - 1)
        _line(site, block, [centre.at(-long / 2, edge), centre.at(long / 2, edge)], 0.5, WHITE)
        for stripe in np.arange(-10, 10.1, 2.5):
            u = side * (long / 2 - 20)
            _line(site, block, [centre.at(u - 8, float(stripe)), centre.at(u + 8, float(stripe))], 1.2, WHITE)

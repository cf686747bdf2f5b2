"""Sports grounds, schools and parks."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry import LineString, Polygon

from georefer.building.synthetic.buildings import building
from georefer.building.synthetic.features import Feature, Look, Marking
from georefer.building.synthetic.outlines import Pose, disc, rectangle
from georefer.building.synthetic.palette import COURT_RGB, pick
from georefer.building.synthetic.parking import parking_lot
from georefer.building.synthetic.site import Site, box_of, cells
from georefer.building.synthetic.things import Sapling, court, pool

WHITE = (226.0, 226.0, 222.0)


def fill_sports(site: Site, block: Polygon, rng: np.random.Generator, trees: list[Sapling]) -> None:
    """Tennis courts side by side, a football pitch where there is room, open-air pools, a club house."""
    site.pave(block, "lawn", rng.uniform(0.96, 1.04))
    pitch = _pitch(site, block, rng)
    club, courts = False, 0
    for pose, long, deep in cells(block.buffer(-3), rng, (34.6, 38), (17.5, 62), 4.0):
        if pitch is not None and pitch.intersects(rectangle(pose, long, deep)):
            continue
        role = rng.random()
        if courts and not club and long > 24:
            made = building(rng, "house", pose, min(long - 2, 20), 11, material="tile", form="hip")
            club = site.place("buildings", made, block, 2)
        elif not courts or role < 0.76:
            colour = pick(rng, list(COURT_RGB), (5, 3, 2))
            count = int((long + 1.5) // 18.5)
            for i in range(count):
                spot = pose.moved((i - (count - 1) / 2) * 18.5, 0, 90)
                courts += site.place("courts", court(rng, spot, colour), block, 1.5)
        elif role < 0.88:
            made = pool(rng, pose, min(25.0, long - 5), 12.5)
            site.pave(made.geometry.buffer(4, join_style="mitre").intersection(block), "paving", 1.1)
            site.place("pools", made, block, 2)
        else:
            parking_lot(site, pose, long, 16, rng)
    _rim(block, rng, trees)


def _pitch(site: Site, block: Polygon, rng: np.random.Generator) -> Polygon | None:
    """A striped football pitch in the middle of a large block."""
    frame, long, wide = box_of(block)
    if long < 130 or wide < 110:
        return None
    pose = frame.moved(long * 0.2, wide * 0.14)
    grass = rectangle(pose, 100, 66)
    if not block.contains(grass):
        return None
    site.pave(grass, "pitch", 1.0, pose.heading_deg)
    for u in (50, -50):
        _stripe(site, [pose.at(u, -33), pose.at(u, 33)])
        _stripe(site, [pose.at(u, -20), pose.at(u * 0.67, -20), pose.at(u * 0.67, 20), pose.at(u, 20)])
    for v in (-33, 33):
        _stripe(site, [pose.at(-50, v), pose.at(50, v)])
    _stripe(site, [pose.at(0, -33), pose.at(0, 33)])
    _stripe(site, list(disc(pose.x, pose.y, 9.15).exterior.coords))
    return grass.buffer(3)


def _stripe(site: Site, points: list[tuple[float, float]]) -> None:
    site.markings.append(Marking(LineString(points), 0.14, WHITE))


def _rim(block: Polygon, rng: np.random.Generator, trees: list[Sapling]) -> None:
    """A loose row of trees just inside the edge."""
    edge = block.buffer(-3.5).exterior if block.buffer(-3.5).geom_type == "Polygon" else block.exterior
    for s in np.arange(0, edge.length, 8.0):
        if rng.random() < 0.62:
            point = edge.interpolate(s + rng.uniform(-2, 2))
            trees.append(Sapling(point.x, point.y, rng.uniform(4, 7)))


def fill_school(site: Site, block: Polygon, rng: np.random.Generator, trees: list[Sapling]) -> None:
    """A school of several wings with a yard, courts beside it, and a car park."""
    site.pave(block, "lawn", 1.0)
    schools = 0
    for pose, long, deep in cells(block.buffer(-5), rng, (36, 40), (38, 64), 6.0):
        role = rng.random()
        if schools < 2 or role < 0.35:
            site.pave(rectangle(pose, long, deep), "asphalt", 1.15)
            shape = pick(rng, ["L-shaped", "courtyard", "rectangular"])
            made = building(
                rng,
                "school",
                pose,
                long - 6,
                deep - 6 if shape != "rectangular" else 16,
                material=pick(rng, ["concrete", "tile", "metal"]),
                storeys=int(rng.integers(2, 4)),
                form=pick(rng, ["flat", "hip"]),
                shape=shape,
            )
            schools += site.place("buildings", made, block, 3)
        elif role < 0.75:
            colour = pick(rng, list(COURT_RGB))
            for side in (-1, 1):
                site.place("courts", court(rng, pose.moved(side * 9.25, 0, 90), colour), block, 1.5)
        else:
            parking_lot(site, pose, long, 16, rng)
    _rim(block, rng, trees)


def fill_park(site: Site, block: Polygon, rng: np.random.Generator, trees: list[Sapling]) -> None:
    """Lawns, winding paths, a pond, groves of trees, a pavilion or two."""
    site.pave(block, "lawn", rng.uniform(0.92, 1.0))
    frame, long, wide = box_of(block)
    for _ in range(3):
        t = np.linspace(-0.55, 0.55, 24)
        bend = rng.uniform(-0.3, 0.3) * wide * np.sin(t * rng.uniform(3, 6) + rng.uniform(0, 6))
        turn = frame.moved(0, 0, rng.uniform(0, 180))
        path = LineString([turn.at(a * long, b) for a, b in zip(t, bend, strict=True)]).buffer(1.3)
        site.pave(path.intersection(block), "gravel", 1.08)
    pond(site, block, Pose(*frame.at(rng.uniform(-0.2, 0.2) * long, 0), 0), min(wide * 0.2, 30), rng)
    for _ in range(int(block.area / 3500) + 1):
        spot = frame.moved(rng.uniform(-0.45, 0.45) * long, rng.uniform(-0.45, 0.45) * wide, rng.uniform(0, 90))
        if rng.random() < 0.5:
            made = building(rng, "house", spot, rng.uniform(9, 14), rng.uniform(7, 9), material="tile", form="hip")
            site.place("buildings", made, block, 3)
        else:
            site.place("courts", court(rng, spot, pick(rng, list(COURT_RGB))), block, 3)
    grow(block, rng, trees, 9.5, (4.5, 10.0), share=0.75)


def pond(site: Site, block: Polygon, pose: Pose, radius_m: float, rng: np.random.Generator, kind: str = "pond") -> None:
    """A still water with a wavering shore."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    wave = np.ones_like(angle)
    for k in (1, 2, 3, 5):
        wave += rng.uniform(0.03, 0.16) * np.sin(k * angle + rng.uniform(0, 6))
    points = [
        pose.at(radius_m * w * np.cos(a) * 1.25, radius_m * w * np.sin(a) * 0.85)
        for a, w in zip(angle, wave, strict=True)
    ]
    shape = Polygon(points)
    if shape.is_valid and site.free(shape, block, 3.0):
        attributes = {"kind": kind, "area_m2": round(shape.area, 1)}
        site.add("water", Feature(shape, attributes, Look((64, 84, 82), form=kind)))
        site.occupied.add(shape)


def grow(
    block: Polygon,
    rng: np.random.Generator,
    trees: list[Sapling],
    spacing_m: float,
    crown_m: tuple[float, float],
    share: float = 1.0,
    conifers: float = 0.15,
) -> None:
    """Trees on a jittered grid all over a block."""
    west, north, east, south = block.bounds
    xs, ys = np.meshgrid(np.arange(west, east, spacing_m), np.arange(north, south, spacing_m))
    points = np.stack([xs.ravel(), ys.ravel()], axis=1) + rng.uniform(-0.45, 0.45, (xs.size, 2)) * spacing_m
    keep = shapely.contains_xy(block.buffer(-1.0), *points.T) & (rng.random(len(points)) < share)
    for x, y in points[keep]:
        kind = "conifer" if rng.random() < conifers else "broadleaf"
        trees.append(Sapling(float(x), float(y), float(rng.uniform(*crown_m)), kind))

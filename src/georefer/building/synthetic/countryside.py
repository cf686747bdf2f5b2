"""Farmland and woodland: fields with crops, farmsteads with barns and glasshouses, and trees without end."""

from __future__ import annotations

import numpy as np
from shapely.geometry import LineString, Polygon
from shapely.ops import split

from georefer.building.synthetic.buildings import building
from georefer.building.synthetic.features import Feature, Look
from georefer.building.synthetic.leisure import grow, pond
from georefer.building.synthetic.outlines import Pose, placed, rectangle
from georefer.building.synthetic.palette import CROP_RGB, pick, shade
from georefer.building.synthetic.site import Site, box_of, polygons
from georefer.building.synthetic.things import Sapling, pool, vehicle
from georefer.building.synthetic.works import silo_row

_YARD_M = 62.0


def fill_farmland(site: Site, block: Polygon, rng: np.random.Generator, trees: list[Sapling]) -> None:
    """Fields divided by hedgerows; farmsteads on their corners, so that no view is empty for long."""
    site.pave(block, "meadow", 0.98)
    for piece in _strips(block.buffer(-2.0), rng):
        frame, long, wide = box_of(piece)
        end = frame.moved((long / 2 - _YARD_M / 2 - 2) * (1 if rng.random() < 0.5 else -1), 0)
        yard = rectangle(end, _YARD_M, min(wide, 66)).intersection(piece)
        rest = piece
        if wide > 24 and yard.area > 900 and rng.random() < 0.85:
            _farmstead(site, polygons(yard)[0], rng, trees)
            rest = piece.difference(yard.buffer(1.5))
        for part in polygons(rest.buffer(-1.2), 250):
            _field(site, part, frame.heading_deg, rng)
        for s in np.arange(0, piece.exterior.length, 6.0):
            if rng.random() < 0.35:
                point = piece.exterior.interpolate(s)
                trees.append(Sapling(point.x, point.y, rng.uniform(3, 6.5)))


def _strips(shape: Polygon, rng: np.random.Generator) -> list[Polygon]:
    """Cut land lengthwise and across until the pieces are fields of about half a hectare to a hectare."""
    done: list[Polygon] = []
    todo = polygons(shape, 300)
    while todo:
        piece = todo.pop()
        frame, long, wide = box_of(piece)
        if long < 150 and wide < 78:
            done.append(piece)
            continue
        across = long > 150 and long > wide * 1.3
        pose = frame.moved(rng.uniform(-0.1, 0.1) * long, 0, 90) if across else frame
        line = LineString(placed(pose, [(-long, 0), (long, 0)]))
        parts = polygons(split(piece, line), 100)
        (todo if len(parts) > 1 else done).extend(parts)
    return done


def _field(site: Site, shape: Polygon, heading_deg: float, rng: np.random.Generator) -> None:
    crop = pick(rng, list(CROP_RGB), (4, 3, 3, 1, 2, 1.5, 2))
    colour, rgb = CROP_RGB[crop]
    attributes = {
        "crop": crop,
        "colour": colour,
        "area_m2": round(shape.area, 1),
        "heading_deg": round(heading_deg % 180, 1),
    }
    pose = Pose(shape.centroid.x, shape.centroid.y, heading_deg)
    site.add("fields", Feature(shape, attributes, Look(shade(rng, rgb, 0.06), form=crop, pose=pose)))


def _farmstead(site: Site, yard: Polygon, rng: np.random.Generator, trees: list[Sapling]) -> None:
    """A house, barns, sometimes glasshouses, silos and a tractor's trailer in a gravel yard."""
    site.pave(yard, "lawn", 0.96)
    site.pave(yard.buffer(-6), pick(rng, ["gravel", "soil"]), rng.uniform(0.9, 1.05))
    frame, long, wide = box_of(yard)
    if rng.random() < 0.35:
        _glasshouses(site, yard, frame, long, wide, rng)
    for _ in range(18):
        spot = frame.moved(
            rng.uniform(-0.42, 0.42) * long,
            rng.uniform(-0.42, 0.42) * wide,
            90 * int(rng.integers(2)) + rng.normal(0, 2),
        )
        made = building(
            rng,
            "barn",
            spot,
            rng.uniform(17, 32),
            rng.uniform(10, 15),
            form="gable",
            material=pick(rng, ["metal", "tile"]),
        )
        site.place("buildings", made, yard, 4)
        if sum(yard.contains(f.geometry) for f in site.features["buildings"][-4:]) >= 3:
            break
    for _ in range(6):
        spot = frame.moved(rng.uniform(-0.42, 0.42) * long, rng.uniform(-0.42, 0.42) * wide, 0)
        house = building(rng, "house", spot, rng.uniform(11, 15), 9, material="tile", form="gable", storeys=2)
        if site.place("buildings", house, yard, 3):
            break
    silo_row(site, yard, frame.moved(0, rng.uniform(-0.3, 0.3) * wide), int(rng.integers(1, 4)), rng)
    if rng.random() < 0.3:
        site.place("pools", pool(rng, frame.moved(-0.3 * long, 0.3 * wide), 9, 4.4), yard, 2)
    for _ in range(4):
        spot = frame.moved(rng.uniform(-0.4, 0.4) * long, rng.uniform(-0.4, 0.4) * wide, rng.uniform(0, 360))
        site.place("vehicles", vehicle(rng, pick(rng, ["truck", "van", "car"]), spot), yard, 1)
    grow(yard, rng, trees, 13, (4, 8), share=0.5)


def _glasshouses(site: Site, yard: Polygon, frame: Pose, long: float, wide: float, rng: np.random.Generator) -> None:
    for i in range(int(rng.integers(2, 5))):
        spot = frame.moved(-long / 2 + 10 + i * 11.5, 0, 90)
        made = building(rng, "greenhouse", spot, min(wide - 14, 40), 8.6, material="glass", form="glass")
        site.place("buildings", made, yard, 1.5)


def fill_woodland(site: Site, block: Polygon, rng: np.random.Generator, trees: list[Sapling]) -> None:
    """Dense trees with a clearing: a pond, a cottage, a barn."""
    site.pave(block, "forest floor", 1.0)
    frame, long, wide = box_of(block)
    clearing = Pose(*frame.at(rng.uniform(-0.25, 0.25) * long, rng.uniform(-0.2, 0.2) * wide), 0.0)
    open_ground = Polygon(
        placed(
            clearing,
            [
                (26 * np.cos(a) * rng.uniform(0.8, 1.2), 22 * np.sin(a))
                for a in np.linspace(0, 2 * np.pi, 14, endpoint=False)
            ],
        )
    )
    open_ground = open_ground.intersection(block)
    for part in polygons(open_ground, 200):
        site.pave(part, "meadow", 1.0)
        cottage = building(
            rng,
            pick(rng, ["house", "barn"]),
            clearing.moved(8, -4, rng.uniform(0, 180)),
            13,
            9,
            material="tile",
            form="gable",
        )
        site.place("buildings", cottage, part, 2)
        pond(site, part, clearing.moved(-10, 4), 8, rng)
    wood = block.difference(open_ground.buffer(-2))
    for part in polygons(wood):
        grow(part, rng, trees, 5.2, (4.2, 8.2), share=0.93, conifers=rng.uniform(0.1, 0.6))

"""Countable things other than buildings: tanks, planes, ships, vehicles, pools and courts, and single trees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from shapely.geometry import Point

from georefer.building.synthetic.features import Feature, Look
from georefer.building.synthetic.outlines import Pose, disc, hull, plane, rectangle
from georefer.building.synthetic.palette import (
    COURT_RGB,
    PLANE_RGB,
    SHIP_RGB,
    TANK_RGB,
    VEHICLE_RGB,
    VEHICLE_WEIGHT,
    pick,
    shade,
)

# kind: (length range, width range) in metres
VEHICLE_M = {
    "car": ((4.0, 4.8), (1.75, 1.95)),
    "van": ((5.2, 6.2), (2.0, 2.2)),
    "truck": ((9.0, 15.5), (2.5, 2.6)),
    "bus": ((11.5, 13.0), (2.5, 2.6)),
}
VEHICLE_HIGH_M = {"car": 1.5, "van": 2.4, "truck": 3.6, "bus": 3.1}
# kind: (wingspan range, length to wingspan, light)
PLANE_M = {
    "light": ((10.5, 12.5), 0.78, True),
    "twin": ((14.0, 18.0), 0.8, True),
    "business": ((17.0, 21.0), 1.02, False),
    "regional": ((25.0, 29.0), 1.08, False),
    "airliner": ((33.0, 36.0), 1.1, False),
}
# kind: (length range, length to width, blunt bow)
SHIP_M = {
    "motorboat": ((7.0, 13.0), 3.1, False),
    "sailing boat": ((9.0, 15.0), 3.3, False),
    "fishing boat": ((15.0, 25.0), 3.6, False),
    "ferry": ((34.0, 48.0), 3.8, False),
    "barge": ((45.0, 75.0), 6.2, True),
    "cargo ship": ((60.0, 95.0), 5.8, False),
}


def vehicle(rng: np.random.Generator, kind: str, pose: Pose) -> Feature:
    (short, long), (narrow, broad) = VEHICLE_M[kind]
    length, width = rng.uniform(short, long), rng.uniform(narrow, broad)
    weights = VEHICLE_WEIGHT if kind != "bus" else (3, 0, 0, 0, 2, 2, 1, 3)
    colour = pick(rng, list(VEHICLE_RGB), weights)
    attributes = {
        "kind": kind,
        "colour": colour,
        "heading_deg": round(pose.heading_deg % 360, 1),
        "length_m": round(length, 1),
        "width_m": round(width, 1),
    }
    look = Look(shade(rng, VEHICLE_RGB[colour], 0.03), VEHICLE_HIGH_M[kind], kind, pose, length, width)
    return Feature(rectangle(pose, length, width), attributes, look)


def tank(rng: np.random.Generator, x: float, y: float, diameter_m: float) -> Feature:
    colour = pick(rng, list(TANK_RGB), (6, 3, 1.3, 1.3, 1.2))
    height = float(np.clip(diameter_m * rng.uniform(0.45, 0.8), 4, 16))
    attributes = {"colour": colour, "diameter_m": round(diameter_m, 1), "height_m": round(height, 1)}
    form = "floating" if diameter_m > 16 and rng.random() < 0.5 else "cone"
    pose = Pose(x, y, float(rng.uniform(0, 360)))
    look = Look(shade(rng, TANK_RGB[colour], 0.03), height, form, pose, diameter_m, diameter_m)
    return Feature(disc(x, y, diameter_m / 2), attributes, look)


def aeroplane(rng: np.random.Generator, kind: str, pose: Pose) -> Feature:
    (small, large), ratio, light = PLANE_M[kind]
    span = rng.uniform(small, large)
    length = span * ratio * rng.uniform(0.97, 1.03)
    colour = pick(rng, list(PLANE_RGB), (6, 2, 1.2, 1.2, 0.8))
    attributes = {
        "kind": kind,
        "colour": colour,
        "heading_deg": round(pose.heading_deg % 360, 1),
        "wingspan_m": round(span, 1),
        "length_m": round(length, 1),
    }
    form = "propeller" if light else "jet"
    look = Look(shade(rng, PLANE_RGB[colour], 0.03), 0.12 * span + 0.8, form, pose, length, span)
    return Feature(plane(pose, span, length, light), attributes, look)


def ship(rng: np.random.Generator, kind: str, pose: Pose, length_m: float, state: str) -> Feature:
    _, slim, blunt = SHIP_M[kind]
    width = length_m / slim
    small = length_m < 16
    colour = pick(rng, list(SHIP_RGB), (7, 1, 1.6, 0.7, 0.6, 1, 0.7) if small else (1.5, 3, 2.5, 2, 2, 1.5, 1.5))
    attributes = {
        "kind": kind,
        "colour": colour,
        "heading_deg": round(pose.heading_deg % 360, 1),
        "length_m": round(length_m, 1),
        "width_m": round(width, 1),
        "state": state,
    }
    look = Look(
        shade(rng, SHIP_RGB[colour], 0.03),
        1.0 + length_m * 0.06,
        kind,
        pose,
        length_m,
        width,
        detail=int(rng.integers(2**31)),
    )
    return Feature(hull(pose, length_m, width, blunt), attributes, look)


def pool(rng: np.random.Generator, pose: Pose, length_m: float, width_m: float) -> Feature:
    round_one = rng.random() < 0.18
    shape = disc(pose.x, pose.y, width_m / 2) if round_one else rectangle(pose, length_m, width_m)
    length_m = width_m if round_one else length_m
    attributes = {
        "shape": "round" if round_one else "rectangular",
        "length_m": round(length_m, 1),
        "width_m": round(width_m, 1),
        "heading_deg": round(pose.heading_deg % 180, 1),
    }
    look = Look(shade(rng, (96, 182, 204), 0.05), 0.0, "pool", pose, length_m, width_m)
    return Feature(shape, attributes, look)


def court(rng: np.random.Generator, pose: Pose, colour: str) -> Feature:
    """A tennis court with its run-off: 34 by 16.5 metres of one colour."""
    attributes = {
        "sport": "tennis",
        "colour": colour,
        "heading_deg": round(pose.heading_deg % 180, 1),
        "length_m": 34.0,
        "width_m": 16.5,
    }
    look = Look(shade(rng, COURT_RGB[colour], 0.03), 0.0, "court", pose, 34.0, 16.5)
    return Feature(rectangle(pose, 34.0, 16.5), attributes, look)


@dataclass(frozen=True)
class Sapling:
    """A tree that would like to stand somewhere; greenery decides later whether it may."""

    x: float
    y: float
    crown_m: float
    kind: str = "broadleaf"


def tree(sapling: Sapling, rgb: tuple[float, float, float], detail: int) -> Feature:
    attributes = {"crown_m": round(sapling.crown_m, 1), "kind": sapling.kind}
    height = sapling.crown_m * (1.6 if sapling.kind == "conifer" else 1.0) + 2.0
    look = Look(
        rgb, height, sapling.kind, Pose(sapling.x, sapling.y, 0.0), sapling.crown_m, sapling.crown_m, detail=detail
    )
    return Feature(Point(sapling.x, sapling.y), attributes, look)

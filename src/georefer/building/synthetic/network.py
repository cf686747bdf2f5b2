"""The bones of an area: river, harbour, roads, and the blocks between them with their land use.

Roads are the cuts that divide the land, so every block is reached by one and every road leads to another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.affinity import rotate
from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import split

from georefer.building.synthetic.outlines import Pose, placed, rectangle
from georefer.building.synthetic.site import box_of, polygons

MARGIN_M = 30.0
RIVER_LEAST_SIDE_M = 480.0
_SIDEWALK_M = {"avenue": 3.0, "main": 2.4, "street": 1.6, "lane": 0.0}


@dataclass(frozen=True)
class Road:
    line: LineString
    kind: str
    width_m: float
    surface: str = "asphalt"

    def corridor(self) -> BaseGeometry:
        """Ground the road takes, with its pavements."""
        return self.line.buffer(self.width_m / 2 + _SIDEWALK_M[self.kind])


@dataclass(frozen=True)
class Block:
    """Land between roads and what it is used for."""

    shape: Polygon
    use: str


@dataclass(frozen=True)
class Harbour:
    """A basin open to the river; the pose stands at the middle of the landward quay, heading out to the river."""

    pose: Pose
    basin_long_m: float
    basin_wide_m: float
    land: Polygon


@dataclass(frozen=True)
class Network:
    roads: tuple[Road, ...]
    blocks: tuple[Block, ...]
    river: Polygon | None
    harbour: Harbour | None
    pavement: BaseGeometry  # all the ground roads take, corners rounded as kerbs are
    carriageway: BaseGeometry
    green: tuple[Polygon, ...] = ()


def plan(side_m: float, rng: np.random.Generator) -> Network:
    """Divide a square of land; deterministic in the generator's state."""
    world = shapely.box(-MARGIN_M, -MARGIN_M, side_m + MARGIN_M, side_m + MARGIN_M)
    if side_m < RIVER_LEAST_SIDE_M:
        return _inland(world, side_m, rng)
    return _turned(_riverside(world, side_m, rng), side_m, int(rng.integers(4)) * 90.0)


def _inland(world: Polygon, side_m: float, rng: np.random.Generator) -> Network:
    target = max(62.0, side_m / 2.1)
    quarters, roads = _divide(world, rng, target, target, "main", 8.0, jitter_deg=9.0)
    order = ["residential", "tank farm", "sports", "airport", "residential", "industrial", "apartments", "farmland"]
    quarters = sorted(quarters, key=lambda q: -q.intersection(shapely.box(0, 0, side_m, side_m)).area)
    start = int(rng.integers(4)) if side_m > 150 else 0
    uses = [order[(i + start) % len(order)] for i in range(len(quarters))]
    return _with_streets(list(zip(quarters, uses, strict=True)), roads, rng, None, None, ())


def _riverside(world: Polygon, side_m: float, rng: np.random.Generator) -> Network:
    width = float(np.clip(0.075 * side_m, 40, 115))
    left = bool(rng.integers(2))
    centre = _river_line(side_m, rng)
    river = centre.buffer(width / 2, cap_style="flat").intersection(world)
    harbour_x = side_m * (rng.uniform(0.27, 0.34) if left else rng.uniform(0.66, 0.73))
    harbour = _harbour(harbour_x, centre, width, side_m)
    reserve = river.buffer(13.0).union(harbour.land.buffer(4.0)).buffer(9).buffer(-18).buffer(9)
    banks = polygons(world.difference(reserve))
    roads = [
        Road(line, "main", 8.0) for line in _lines(reserve.boundary.intersection(world.buffer(-1))) if line.length > 40
    ]
    avenue_x = side_m * (rng.uniform(0.62, 0.7) if left else rng.uniform(0.3, 0.38))
    avenue = LineString(
        [(avenue_x + rng.uniform(-40, 40), -MARGIN_M), (avenue_x, side_m * 0.72), (avenue_x, side_m + MARGIN_M)]
    )
    roads.append(Road(avenue, "avenue", 13.0))
    target = float(np.clip(side_m / 3.9, 150, 270))
    quarters: list[Polygon] = []
    for bank in banks:
        for piece in polygons(split(bank, avenue), 400):
            parts, more = _divide(piece, rng, target, target, "main", 9.0, jitter_deg=8.0)
            quarters += parts
            roads += more
    green = tuple(polygons(reserve.difference(river).difference(harbour.land)))
    uses = _uses([q.intersection(shapely.box(0, 0, side_m, side_m)) for q in quarters], rng, side_m, harbour, centre)
    return _with_streets(list(zip(quarters, uses, strict=True)), roads, rng, river, harbour, green)


def _river_line(side_m: float, rng: np.random.Generator) -> LineString:
    x = np.linspace(-2 * MARGIN_M, side_m + 2 * MARGIN_M, 80)
    bend = rng.uniform(0.012, 0.024) * np.sin(x / side_m * rng.uniform(5, 8) + rng.uniform(0, 6))
    y = side_m * (rng.uniform(0.85, 0.88) + rng.uniform(-0.05, 0.05) * (x / side_m - 0.5) + bend)
    return LineString(np.stack([x, y], axis=1))


def _harbour(x: float, river: LineString, river_wide_m: float, side_m: float) -> Harbour:
    """A rectangular basin cut into the near bank of the river (which flows along the bottom)."""
    bank_y = river.interpolate(river.project(Point(x, river.coords[0][1]))).y - river_wide_m / 2
    wide = float(np.clip(0.3 * side_m, 140, 300))
    deep = float(np.clip(0.15 * side_m, 80, 150))
    quay = Pose(x, bank_y - deep, 180.0)
    land = rectangle(quay.moved((deep + river_wide_m / 2 - 42) / 2, 0), deep + river_wide_m / 2 + 42, wide + 76)
    water = river.buffer(river_wide_m / 2)
    return Harbour(quay, deep + 14, wide, polygons(land.difference(water))[0])


def _divide(
    shape: Polygon,
    rng: np.random.Generator,
    most_long_m: float,
    most_wide_m: float,
    kind: str,
    width_m: float,
    jitter_deg: float,
) -> tuple[list[Polygon], list[Road]]:
    """Cut land until no piece exceeds the given box; every cut becomes a road."""
    frame, long, wide = box_of(shape)
    if long <= most_long_m * 1.22 and wide <= most_wide_m * 1.22:
        return [shape], []
    lengthwise = wide > most_wide_m * 1.22 and long < most_long_m * 2
    line = _cut_line(frame, long, wide, lengthwise, rng, jitter_deg)
    pieces = polygons(split(shape, line), 60)
    if len(pieces) < 2:
        return [shape], []
    roads = [Road(part, kind, width_m) for part in _lines(line.intersection(shape)) if part.length > 15]
    done: list[Polygon] = []
    for piece in pieces:
        parts, more = _divide(piece, rng, most_long_m, most_wide_m, kind, width_m, jitter_deg)
        done += parts
        roads += more
    return done, roads


def _cut_line(
    frame: Pose, long: float, wide: float, lengthwise: bool, rng: np.random.Generator, jitter_deg: float
) -> LineString:
    """A slightly bent line across a box, near its middle."""
    across, reach = (wide, long) if lengthwise else (long, wide)
    shift = rng.uniform(-0.09, 0.09) * across
    turn = (0.0 if lengthwise else 90.0) + float(np.clip(rng.normal(0, jitter_deg / 2), -jitter_deg, jitter_deg))
    pose = frame.moved(0, shift, turn) if lengthwise else frame.moved(shift, 0, turn)
    t = np.linspace(-0.8, 0.8, 17) if abs(rng.normal()) > 0.7 else np.array([-0.8, 0.8])
    bend = rng.uniform(-0.05, 0.05) * reach * (1 - (2 * t) ** 2)
    return LineString(placed(pose, np.stack([t * (reach + 60), bend], axis=1)))


def _lines(shape: BaseGeometry) -> list[LineString]:
    merged = shapely.line_merge(shape)
    return [part for part in shapely.get_parts(merged).tolist() if part.geom_type == "LineString"]


def _uses(
    quarters: list[Polygon], rng: np.random.Generator, side_m: float, harbour: Harbour, river: LineString
) -> list[str]:
    """A land use for every quarter: first those that need a place of their own, then shares of the rest."""
    n = len(quarters)
    uses = [""] * n
    middle = Point(side_m / 2, side_m * 0.42)

    def give(use: str, count: int, cost: Callable[[Polygon], float]) -> None:
        left = sorted((i for i in range(n) if not uses[i]), key=lambda i: cost(quarters[i]))
        for i in left[:count]:
            uses[i] = use

    for i, quarter in enumerate(quarters):
        if quarter.centroid.y > river.interpolate(river.project(quarter.centroid)).y:
            uses[i] = "farmland" if rng.random() < 0.72 else "woodland"
    quay = Point(harbour.pose.x, harbour.pose.y)
    give("airport", max(1, round(n * 0.05)), lambda q: -_room(q) + (300 if q.distance(middle) < side_m / 6 else 0))
    give("centre", max(1, n // 60), lambda q: q.distance(middle) + float(rng.uniform(0, 30)))
    give("tank farm", max(1, round(n * 0.06)), lambda q: q.distance(quay))
    give("industrial", max(1, round(n * 0.08)), lambda q: q.distance(quay))
    give("sports", max(1, round(n * 0.05)), lambda q: float(rng.uniform()))
    give("apartments", max(1, round(n * 0.08)), lambda q: q.distance(middle) + float(rng.uniform(0, 90)))
    give("school", max(1, round(n * 0.03)), lambda q: float(rng.uniform()))
    give("farmland", round(n * 0.09), lambda q: -q.distance(middle) + float(rng.uniform(0, 60)))
    give("woodland", round(n * 0.03), lambda q: -q.distance(middle) + float(rng.uniform(0, 60)))
    give("park", max(1, round(n * 0.03)) if n > 12 else 0, lambda q: float(rng.uniform()))
    return [use or "residential" for use in uses]


def _room(quarter: Polygon) -> float:
    """Width of the quarter's box: room for an apron, in metres (less for ragged shapes)."""
    if quarter.area < 100:
        return 0.0
    _, long, wide = box_of(quarter)
    return min(wide, 260.0) * quarter.area / (long * wide)


_STREETS = {
    "residential": (150.0, 70.0, 6.0),
    "centre": (95.0, 70.0, 6.5),
    "apartments": (190.0, 110.0, 6.5),
    "industrial": (230.0, 130.0, 8.0),
}


def _with_streets(
    quarters: list[tuple[Polygon, str]],
    roads: list[Road],
    rng: np.random.Generator,
    river: Polygon | None,
    harbour: Harbour | None,
    green: tuple[Polygon, ...],
) -> Network:
    """Divide quarters into blocks where their use asks for it, then take the roads out of the blocks."""
    pieces: list[tuple[Polygon, str]] = []
    for quarter, use in quarters:
        if use not in _STREETS:
            pieces.append((quarter, use))
            continue
        long, wide, width = _STREETS[use]
        parts, more = _divide(quarter, rng, long, wide, "street", width, jitter_deg=5.0)
        pieces += [(part, use) for part in parts]
        roads = roads + more
    corridor = _rounded(shapely.union_all([road.corridor() for road in roads]))
    carriageway = _rounded(shapely.union_all([road.line.buffer(road.width_m / 2) for road in roads]))
    blocks = [Block(part, use) for piece, use in pieces for part in polygons(_without(piece, corridor), 120)]
    green = tuple(part for piece in green for part in polygons(_without(piece, corridor), 20))
    return Network(tuple(roads), tuple(blocks), river, harbour, corridor, carriageway, green)


def _without(piece: Polygon, corridor: BaseGeometry) -> BaseGeometry:
    """Land less the roads near it."""
    west, north, east, south = piece.bounds
    return piece.difference(shapely.clip_by_rect(corridor, west - 1, north - 1, east + 1, south + 1))


def _rounded(shape: BaseGeometry) -> BaseGeometry:
    return shape.buffer(3.5).buffer(-3.5)


def _turned(net: Network, side_m: float, angle_deg: float) -> Network:
    """The whole plan turned about the middle, so that the river may flow along any side."""

    def turn(shape: BaseGeometry) -> BaseGeometry:
        return rotate(shape, angle_deg, origin=(side_m / 2, side_m / 2))

    harbour = net.harbour
    if harbour:
        foot = turn(Point(harbour.pose.x, harbour.pose.y))
        pose = Pose(foot.x, foot.y, (harbour.pose.heading_deg + angle_deg) % 360)
        harbour = Harbour(pose, harbour.basin_long_m, harbour.basin_wide_m, turn(harbour.land))
    return Network(
        tuple(Road(turn(r.line), r.kind, r.width_m, r.surface) for r in net.roads),
        tuple(Block(turn(b.shape), b.use) for b in net.blocks),
        turn(net.river) if net.river is not None else None,
        harbour,
        turn(net.pavement),
        turn(net.carriageway),
        tuple(turn(g) for g in net.green),
    )

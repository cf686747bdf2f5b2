"""The ground being built on: collects features and keeps them off each other."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry
from shapely.prepared import PreparedGeometry, prep

from georefer.building.synthetic.features import LAYERS, Feature, Marking, Surface
from georefer.building.synthetic.outlines import Pose, heading_between, rectangle

_CELL_M = 24.0


class Occupancy:
    """Shapes taken so far, in a hash of square cells: the question "is this free" stays cheap as the area grows."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], list[BaseGeometry]] = defaultdict(list)

    def clear(self, shape: BaseGeometry, gap_m: float) -> bool:
        """Whether nothing stands nearer to the shape than the gap."""
        west, north, east, south = shape.bounds
        for other in self._near(west - gap_m, north - gap_m, east + gap_m, south + gap_m):
            if shapely.dwithin(shape, other, gap_m):
                return False
        return True

    def add(self, shape: BaseGeometry) -> None:
        for key in _keys(*shape.bounds):
            self._cells[key].append(shape)

    def _near(self, west: float, north: float, east: float, south: float) -> Iterator[BaseGeometry]:
        for key in _keys(west, north, east, south):
            for other in self._cells.get(key, ()):
                a, b, c, d = other.bounds
                if a <= east and c >= west and b <= south and d >= north:
                    yield other


def _keys(west: float, north: float, east: float, south: float) -> Iterator[tuple[int, int]]:
    for i in range(math.floor(west / _CELL_M), math.floor(east / _CELL_M) + 1):
        for j in range(math.floor(north / _CELL_M), math.floor(south / _CELL_M) + 1):
            yield i, j


class Site:
    """An area under construction."""

    def __init__(self, width_m: float, height_m: float) -> None:
        self.extent = shapely.box(0, 0, width_m, height_m)
        self.features: dict[str, list[Feature]] = {layer: [] for layer in LAYERS}
        self.surfaces: list[Surface] = []
        self.markings: list[Marking] = []
        self.occupied = Occupancy()

    def add(self, layer: str, feature: Feature) -> None:
        self.features[layer].append(feature)

    def free(self, shape: BaseGeometry, inside: BaseGeometry, gap_m: float) -> bool:
        """Whether a shape lies inside a block (and the area) and keeps its distance from all that stands."""
        return inside.contains(shape) and self.extent.contains(shape) and self.occupied.clear(shape, gap_m)

    def place(self, layer: str, feature: Feature, inside: BaseGeometry, gap_m: float = 1.0) -> bool:
        """Add a feature where it is free; says whether it was."""
        if not self.free(feature.geometry, inside, gap_m):
            return False
        self.add(layer, feature)
        self.occupied.add(feature.geometry)
        return True

    def pave(self, shape: BaseGeometry, material: str, tone: float = 1.0, heading_deg: float = 0.0) -> None:
        for part in polygons(shape):
            self.surfaces.append(Surface(part, material, tone, heading_deg))


def polygons(shape: BaseGeometry, least_m2: float = 1.0) -> list[Polygon]:
    """The polygons in any geometry that are worth keeping, largest first."""
    parts = [p for p in shapely.get_parts(shapely.make_valid(shape)).tolist() if p.geom_type == "Polygon"]
    return sorted((p for p in parts if p.area >= least_m2), key=lambda p: -p.area)


def box_of(shape: BaseGeometry) -> tuple[Pose, float, float]:
    """Smallest rotated rectangle: pose at its centre with the heading along its long side, length, width."""
    corners = shapely.get_coordinates(shape.minimum_rotated_rectangle)
    sides = np.hypot(*np.diff(corners[:3], axis=0).T)
    long = int(np.argmax(sides))
    (x0, y0), (x1, y1) = corners[long], corners[long + 1]
    centre = corners[:4].mean(axis=0)
    heading = heading_between(x0, y0, x1, y1) % 180.0
    return Pose(float(centre[0]), float(centre[1]), heading), float(sides[long]), float(sides[1 - long])


def cells(
    block: BaseGeometry,
    rng: np.random.Generator,
    depth_m: tuple[float, float],
    length_m: tuple[float, float],
    gap_m: float,
) -> Iterator[tuple[Pose, float, float]]:
    """Rows of rectangles that lie in a block, aligned with it: pose (heading along the row), length, depth."""
    if block.area < 1.0:
        return
    inner = prep(block.buffer(0.01))
    frame, long, wide = box_of(block)
    for rows in _rows(wide, depth_m, gap_m):
        found = [
            cell
            for v, room in rows
            for cell in _row(frame.moved(-long / 2, v), long, room, rng, depth_m, length_m, gap_m, inner)
        ]
        if found:
            yield from found
            return


def _rows(wide_m: float, depth_m: tuple[float, float], gap_m: float) -> Iterator[list[tuple[float, float]]]:
    """Ways to share a width evenly among rows (offset of the middle and depth of each), most rows first."""
    least, most = depth_m
    for count in range(max(1, round((wide_m + gap_m) / ((least + most) / 2 + gap_m))), 0, -1):
        pitch = (wide_m + gap_m) / count
        room = min(pitch - gap_m, most)
        if room >= least:
            yield [((i + 0.5) * pitch - (wide_m + gap_m) / 2, room) for i in range(count)]


def _row(
    start: Pose,
    long: float,
    room: float,
    rng: np.random.Generator,
    depth_m: tuple[float, float],
    length_m: tuple[float, float],
    gap_m: float,
    inner: PreparedGeometry,
) -> Iterator[tuple[Pose, float, float]]:
    deep = max(depth_m[0], room * rng.uniform(0.88, 1.0))
    u = 0.0
    while u <= long - length_m[0]:
        cell = _largest(start.moved(u, 0), (deep, depth_m[0]), _lengths(rng, length_m, long - u), inner)
        if cell is not None:
            yield cell
        u += cell[1] + gap_m if cell is not None else 3.0


def _lengths(rng: np.random.Generator, length_m: tuple[float, float], room_m: float) -> list[float]:
    """Lengths to try, longest first."""
    drawn = min(float(rng.uniform(*length_m)), room_m)
    return sorted({drawn, (drawn + length_m[0]) / 2, length_m[0]}, reverse=True)


def _largest(
    start: Pose, depths: tuple[float, float], lengths: list[float], inner: PreparedGeometry
) -> tuple[Pose, float, float] | None:
    """The first of the sizes whose rectangle, beginning at the pose or a little aside, lies inside."""
    for depth in depths:
        for length in lengths:
            for aside in (0.0, 1.5, -1.5):
                pose = start.moved(length / 2, aside)
                if inner.contains(rectangle(pose, length, depth)):
                    return pose, length, depth
    return None

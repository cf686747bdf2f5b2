"""Boxes as values. Polygons, points and lines are shapely geometries; a box needs names for its numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import shapely

Kind = Literal["hbb", "obb", "polygon", "point", "line"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class HBB:
    """A horizontal bounding box: outer edges in continuous pixels, origin top-left, y down."""

    x1: float
    y1: float
    x2: float
    y2: float

    def to_polygon(self) -> shapely.Polygon:
        return shapely.box(self.x1, self.y1, self.x2, self.y2)


@dataclass(frozen=True)
class OBB:
    """An oriented bounding box in continuous pixels (y down).

    `length` is the side along the heading and `width` the side across it. `heading_deg` is a full heading,
    0 <= heading < 360, measured clockwise on the screen from the +x axis to the side along `length`:
    0 points right, 90 points down. A shape without a front uses headings below 180 with length >= width.
    """

    cx: float
    cy: float
    length: float
    width: float
    heading_deg: float

    def to_polygon(self) -> shapely.Polygon:
        """Four corners, front-right first, then clockwise on the screen: the order keeps the heading."""
        angle = math.radians(self.heading_deg)
        along = np.array([math.cos(angle), math.sin(angle)]) * self.length / 2
        across = np.array([-math.sin(angle), math.cos(angle)]) * self.width / 2
        centre = np.array([self.cx, self.cy])
        return shapely.Polygon(
            [centre + along + across, centre - along + across, centre - along - across, centre + along - across]
        )

    @classmethod
    def from_polygon(cls, polygon: shapely.Polygon) -> OBB:
        """Inverse of `to_polygon`: reads the corner order, so length, width and heading come back."""
        a, b, c, d = np.asarray(polygon.exterior.coords)[:4]
        along, across = a - b, a - d
        centre = (a + b + c + d) / 4
        heading = math.degrees(math.atan2(along[1], along[0])) % 360
        return cls(*map(float, centre), float(np.hypot(*along)), float(np.hypot(*across)), heading)

    @classmethod
    def around(cls, geometry: shapely.Geometry) -> OBB:
        """The minimum-area rectangle around a shape: length >= width, heading in [0, 180)."""
        rectangle = shapely.minimum_rotated_rectangle(geometry)
        if rectangle.geom_type != "Polygon":  # a point or a straight line has no area
            return cls._degenerate(geometry)
        a, b, c, _ = np.asarray(rectangle.exterior.coords)[:4]
        first, second = b - a, c - b
        long, short = (first, second) if np.hypot(*first) >= np.hypot(*second) else (second, first)
        centre = (a + c) / 2
        heading = math.degrees(math.atan2(long[1], long[0])) % 180
        return cls(*map(float, centre), float(np.hypot(*long)), float(np.hypot(*short)), heading)

    @classmethod
    def _degenerate(cls, geometry: shapely.Geometry) -> OBB:
        x1, y1, x2, y2 = shapely.bounds(geometry)
        coords = shapely.get_coordinates(geometry)
        first, last = coords[0], coords[-1]
        heading = math.degrees(math.atan2(last[1] - first[1], last[0] - first[0])) % 180
        return cls((x1 + x2) / 2, (y1 + y2) / 2, math.hypot(x2 - x1, y2 - y1), 0.0, heading)

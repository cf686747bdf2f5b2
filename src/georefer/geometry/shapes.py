"""Boxes as values. Polygons, points and lines are shapely geometries; a box needs names for its numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import shapely

Kind = Literal["hbb", "obb", "polygon", "mask", "point", "line"]
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
        corners = [centre + along + across, centre - along + across, centre - along - across, centre + along - across]
        # closed here: shapely takes an equal last corner, as in a box without width, for the closing one
        return shapely.Polygon([*corners, corners[0]])

    @classmethod
    def from_polygon(cls, polygon: shapely.Polygon) -> OBB:
        """Inverse of `to_polygon`: reads the corner order, so length, width and heading come back."""
        a, b, c, d = np.asarray(polygon.exterior.coords)[:4]
        along, across = a - b, a - d
        centre = (a + b + c + d) / 4
        heading = math.degrees(math.atan2(along[1], along[0])) % 360
        return cls(float(centre[0]), float(centre[1]), float(np.hypot(*along)), float(np.hypot(*across)), heading)

    @classmethod
    def around(cls, geometry: shapely.Geometry) -> OBB:
        """The minimum-area rectangle around a shape: length >= width, heading in [0, 180).

        Exact: one side of it lies on an edge of the convex hull, so every edge is tried (GEOS' own function
        is off by 1e-7 relative, enough to let a corner stick out).
        """
        hull = shapely.convex_hull(geometry)
        corners_N2 = shapely.get_coordinates(hull)
        if hull.geom_type == "Point":
            return cls(float(corners_N2[0, 0]), float(corners_N2[0, 1]), 0.0, 0.0, 0.0)
        edges_M2 = np.diff(corners_N2, axis=0)
        edges_M2 = edges_M2[np.hypot(*edges_M2.T) > 0]
        along_M2 = edges_M2 / np.hypot(*edges_M2.T)[:, None]
        across_M2 = np.column_stack((-along_M2[:, 1], along_M2[:, 0]))
        # relative to the first corner, so that large coordinates lose no digits
        local_N2 = corners_N2 - corners_N2[0]
        u_MN, v_MN = along_M2 @ local_N2.T, across_M2 @ local_N2.T
        best = int(np.argmin(np.ptp(u_MN, axis=1) * np.ptp(v_MN, axis=1)))
        u_N, v_N = u_MN[best], v_MN[best]
        middle = (u_N.min() + u_N.max()) / 2 * along_M2[best] + (v_N.min() + v_N.max()) / 2 * across_M2[best]
        sides = sorted(((np.ptp(u_N), 0), (np.ptp(v_N), 1)), reverse=True)
        direction = (along_M2[best], across_M2[best])[sides[0][1]]
        heading = math.degrees(math.atan2(direction[1], direction[0])) % 180
        cx, cy = corners_N2[0] + middle
        return cls(float(cx), float(cy), float(sides[0][0]), float(sides[1][0]), heading)

"""Outlines of things seen from above, in local metres.

The local frame of an area has x to the east and y to the *south* from its top-left corner, so that metres
divided by the ground sampling distance are pixels. Headings are degrees clockwise from north.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from shapely.geometry import Polygon

CIRCLE_POINTS = 48

# Right half of each outline as (forward / length, right / half width), nose first.
_JET = [
    (0.5, 0.0),
    (0.485, 0.05),
    (0.45, 0.1),
    (0.12, 0.115),
    (-0.13, 1.0),
    (-0.19, 1.0),
    (-0.1, 0.12),
    (-0.36, 0.09),
    (-0.46, 0.37),
    (-0.5, 0.37),
    (-0.47, 0.04),
    (-0.5, 0.02),
]
_LIGHT = [
    (0.5, 0.03),
    (0.46, 0.09),
    (0.24, 0.1),
    (0.22, 1.0),
    (0.06, 1.0),
    (0.03, 0.1),
    (-0.36, 0.05),
    (-0.38, 0.36),
    (-0.48, 0.36),
    (-0.5, 0.03),
]
_HULL = [(0.5, 0.0), (0.46, 0.28), (0.4, 0.55), (0.3, 0.83), (0.17, 1.0), (-0.42, 1.0), (-0.5, 0.84)]
_BARGE = [(0.5, 0.42), (0.46, 0.85), (0.42, 1.0), (-0.46, 1.0), (-0.5, 0.8)]


@dataclass(frozen=True)
class Pose:
    """Where a thing stands and where its front points (metres, degrees clockwise from north)."""

    x: float
    y: float
    heading_deg: float

    def at(self, forward_m: float, right_m: float) -> tuple[float, float]:
        """The point so far ahead and so far to the right of this pose."""
        sin, cos = _sin_cos(self.heading_deg)
        return self.x + forward_m * sin + right_m * cos, self.y - forward_m * cos + right_m * sin

    def moved(self, forward_m: float, right_m: float, turn_deg: float = 0.0) -> Pose:
        x, y = self.at(forward_m, right_m)
        return Pose(x, y, (self.heading_deg + turn_deg) % 360.0)


ORIGIN = Pose(0.0, 0.0, 0.0)


def _sin_cos(heading_deg: float) -> tuple[float, float]:
    angle = math.radians(heading_deg)
    return math.sin(angle), math.cos(angle)


def heading_between(x0: float, y0: float, x1: float, y1: float) -> float:
    """Heading of the way from one point to another, 0 to 360 degrees."""
    return math.degrees(math.atan2(x1 - x0, y0 - y1)) % 360.0


def placed(pose: Pose, forward_right_N2: np.ndarray | list[tuple[float, float]]) -> np.ndarray:
    """Points given as (forward, right) metres of a pose, as (x, y) of the area; shape (N, 2)."""
    forward, right = np.asarray(forward_right_N2, dtype=float).T
    sin, cos = _sin_cos(pose.heading_deg)
    return np.stack([pose.x + forward * sin + right * cos, pose.y - forward * cos + right * sin], axis=1)


def rectangle(pose: Pose, length_m: float, width_m: float) -> Polygon:
    """A rectangle centred on the pose, its length along the heading."""
    a, b = length_m / 2, width_m / 2
    return Polygon(placed(pose, [(a, -b), (a, b), (-a, b), (-a, -b)]))


def disc(x: float, y: float, radius_m: float) -> Polygon:
    angle = np.linspace(0, 2 * np.pi, CIRCLE_POINTS, endpoint=False)
    return Polygon(np.stack([x + radius_m * np.cos(angle), y + radius_m * np.sin(angle)], axis=1))


def _mirrored(pose: Pose, right_half: list[tuple[float, float]], length_m: float, width_m: float) -> Polygon:
    half = np.asarray(right_half) * [length_m, width_m / 2]
    other = half[::-1] * [1, -1]
    keep = np.abs(other[:, 1]) > 1e-9
    return Polygon(placed(pose, np.concatenate([half, other[keep]])))


def plane(pose: Pose, span_m: float, length_m: float, light: bool) -> Polygon:
    """An aeroplane with wings and tailplane; `light` has the straight wings of a propeller plane."""
    return _mirrored(pose, _LIGHT if light else _JET, length_m, span_m)


def hull(pose: Pose, length_m: float, width_m: float, barge: bool = False) -> Polygon:
    """A ship with a pointed bow, or a barge with a blunt one."""
    return _mirrored(pose, _BARGE if barge else _HULL, length_m, width_m)

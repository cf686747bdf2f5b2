"""Shadows on the ground: every height swept away from the sun into one mask, so that shadows never add up."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import cv2
import numpy as np
import shapely

from georefer.building.synthetic.canvas import Canvas
from georefer.building.synthetic.features import Feature, Sun
from georefer.building.synthetic.roofs import sun_vector

_SUB = 2
_SHIFT = 5
SHADE = np.array([0.44, 0.48, 0.56], np.float32)  # what is left of the light: the sky's, which is blue


def reach_per_m(sun: Sun) -> np.ndarray:
    """Where the shadow of something one metre high ends: (x, y) metres."""
    towards = sun_vector(sun)
    return -towards[:2] / towards[2]


def shadow_mask(canvas: Canvas, things: Iterable[Feature], sun: Sun) -> np.ndarray:
    """Share of each pixel that lies in shadow; (H, W) float32."""
    height, width = canvas.pixels_HW3.shape[:2]
    mask = np.zeros((height * _SUB, width * _SUB), np.uint8)
    step = reach_per_m(sun)
    for thing in things:
        if thing.geometry.geom_type == "Point":
            _tree_shadow(canvas, mask, thing, step)
        else:
            _sweep(canvas, mask, thing, step * thing.look.height_m)
    small = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), 0.25 / canvas.gsd_m + 0.3).astype(np.float32) * np.float32(1 / 255)


def _to_mask(canvas: Canvas, points_N2: np.ndarray) -> np.ndarray:
    scaled = (points_N2 / canvas.gsd_m - [canvas.col, canvas.row]) * _SUB - 0.5
    return np.round(scaled * (1 << _SHIFT)).astype(np.int32)


def _sweep(canvas: Canvas, mask: np.ndarray, thing: Feature, reach: np.ndarray) -> None:
    """A footprint, its shadow's end, and the sides between."""
    shape = thing.geometry
    rings = [shapely.get_coordinates(ring) for ring in (shape.exterior, *shape.interiors)]
    cv2.fillPoly(mask, [_to_mask(canvas, ring) for ring in rings], 255, shift=_SHIFT)
    cv2.fillPoly(mask, [_to_mask(canvas, ring + reach) for ring in rings], 255, shift=_SHIFT)
    for ring in rings:
        for a, b in itertools.pairwise(ring):
            side = np.stack([a, b, b + reach, a + reach])
            cv2.fillConvexPoly(mask, _to_mask(canvas, side), 255, shift=_SHIFT)


def _tree_shadow(canvas: Canvas, mask: np.ndarray, thing: Feature, step: np.ndarray) -> None:
    look = thing.look
    foot = np.array([look.pose.x, look.pose.y])
    for share, size in ((0.35, 0.9), (0.6, 0.95), (0.8, 0.8)):
        centre = _to_mask(canvas, (foot + step * look.height_m * share)[None])[0]
        radius = int(look.length_m / 2 * size / canvas.gsd_m * _SUB * (1 << _SHIFT))
        cv2.circle(mask, (int(centre[0]), int(centre[1])), radius, 255, -1, shift=_SHIFT)


def cast(canvas: Canvas, mask_HW: np.ndarray, strength: float = 1.0) -> None:
    canvas.pixels_HW3[:] *= 1 - (mask_HW * np.float32(strength))[..., None] * (1 - SHADE)

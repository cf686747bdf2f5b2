"""Buildings: an outline, a roof made of wings, and attributes that say what one sees."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry import Polygon

from georefer.building.synthetic.features import Feature, Look, Wing
from georefer.building.synthetic.outlines import Pose, rectangle
from georefer.building.synthetic.palette import roof_colour

_STOREY_M = {
    "house": 2.9,
    "apartment block": 2.9,
    "warehouse": 8.0,
    "school": 3.6,
    "church": 14.0,
    "barn": 6.0,
    "greenhouse": 4.0,
    "hangar": 10.0,
}


def building(
    rng: np.random.Generator,
    function: str,
    pose: Pose,
    length_m: float,
    width_m: float,
    *,
    material: str,
    form: str,
    storeys: int = 1,
    shape: str = "rectangular",
) -> Feature:
    """A building whose outline, seen from above, is exactly its roof.

    `form` is gable, hip, flat, barrel or glass; `shape` rectangular, L-shaped, cross-shaped or courtyard.
    """
    outline, wings = _SHAPES[shape](pose, length_m, width_m, rng)
    colour, rgb = roof_colour(rng, material)
    height = storeys * _STOREY_M[function] * rng.uniform(0.94, 1.06) + (1.5 if form in ("gable", "hip") else 0.3)
    attributes = {
        "function": function,
        "roof_colour": colour,
        "roof_material": material,
        "shape": shape,
        "storeys": storeys,
        "height_m": round(float(height), 1),
        "heading_deg": round(pose.heading_deg % 180, 1),
        "length_m": round(length_m, 1),
        "width_m": round(width_m, 1),
        "area_m2": round(outline.area, 1),
    }
    look = Look(rgb, float(height), form, pose, length_m, width_m, wings, int(rng.integers(2**31)))
    return Feature(outline, attributes, look)


def _rectangular(pose: Pose, length: float, width: float, rng: np.random.Generator) -> tuple[Polygon, tuple[Wing, ...]]:
    return rectangle(pose, length, width), (Wing(pose, length, width),)


def _ell(pose: Pose, length: float, width: float, rng: np.random.Generator) -> tuple[Polygon, tuple[Wing, ...]]:
    """A main wing along the right side and a second wing at its front or rear end."""
    main_wide = width * rng.uniform(0.48, 0.58)
    side_wide = min(length * rng.uniform(0.36, 0.46), main_wide * 1.1)
    end = 1 if rng.random() < 0.5 else -1
    main = Wing(pose.moved(0, width / 2 - main_wide / 2), length, main_wide)
    foot = pose.moved(end * (length - side_wide) / 2, -main_wide / 4, 90)
    second = Wing(foot, width - main_wide / 2, side_wide)
    return _union([main, second]), (main, second)


def _cross(pose: Pose, length: float, width: float, rng: np.random.Generator) -> tuple[Polygon, tuple[Wing, ...]]:
    nave = Wing(pose, length, width * 0.52)
    transept = Wing(pose.moved(length * 0.18, 0, 90), width, width * 0.46)
    return _union([nave, transept]), (nave, transept)


def _courtyard(pose: Pose, length: float, width: float, rng: np.random.Generator) -> tuple[Polygon, tuple[Wing, ...]]:
    """Four wings around a court; the outline has a true hole."""
    deep = min(width, length) * rng.uniform(0.27, 0.32)
    hole = rectangle(pose, length - 2 * deep, width - 2 * deep)
    outline = Polygon(rectangle(pose, length, width).exterior.coords, [hole.exterior.coords])
    u, v = (length - deep) / 2, (width - deep) / 2
    wings = (
        Wing(pose.moved(0, v), length, deep),
        Wing(pose.moved(0, -v), length, deep),
        Wing(pose.moved(u, 0, 90), width, deep),
        Wing(pose.moved(-u, 0, 90), width, deep),
    )
    return outline, wings


def _union(wings: list[Wing]) -> Polygon:
    joined = shapely.union_all([rectangle(w.pose, w.length_m, w.width_m) for w in wings], grid_size=1e-6)
    return Polygon(joined.exterior)


_SHAPES = {"rectangular": _rectangular, "L-shaped": _ell, "cross-shaped": _cross, "courtyard": _courtyard}

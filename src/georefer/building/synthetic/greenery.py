"""Trees: many are proposed, those are planted that shade no roof, block no road and have room."""

from __future__ import annotations

import numpy as np
import shapely
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from georefer.building.synthetic.features import COUNTABLE
from georefer.building.synthetic.site import Site
from georefer.building.synthetic.things import Sapling, tree

CROWN_RGB = {"broadleaf": (86, 104, 58), "conifer": (58, 80, 56)}
_CLEAR_OF_ROAD_M = 0.9
_SQUARE_M = 100.0
_CROWDING = 0.36  # two trunks stand at least this share of their summed crown widths apart


def plant(
    site: Site, saplings: list[Sapling], carriageway: BaseGeometry, water: list[BaseGeometry], rng: np.random.Generator
) -> None:
    """Turn proposed trees into features; crowns keep clear of every countable thing, so truth stays visible."""
    x, y, crown = (np.array([getattr(s, name) for s in saplings], dtype=float) for name in ("x", "y", "crown_m"))
    spots = shapely.points(x, y)
    keep = shapely.contains_xy(site.extent, x, y)
    things = [f.geometry for layer in COUNTABLE for f in site.features[layer]]
    docks = [f.geometry for f in site.features["docks"]]
    keep &= ~_near(spots, things + docks, crown / 2 + 0.3)
    keep &= ~_near(spots, water, np.full(len(x), 1.0))
    keep &= ~_near(spots, _in_squares(carriageway), np.full(len(x), _CLEAR_OF_ROAD_M))
    keep &= ~_crowded(spots, crown, keep)
    for i in np.flatnonzero(keep):
        light = 1.0 + rng.normal(0, 0.09)
        warm = rng.normal(0, 5)
        red, green, blue = CROWN_RGB[saplings[i].kind]
        rgb = (red * light + warm, green * light + warm / 3, blue * light)
        site.add("trees", tree(saplings[i], rgb, int(rng.integers(2**31))))


def _in_squares(shape: BaseGeometry) -> list[BaseGeometry]:
    """A sprawling shape cut into squares: distance to a small piece is quick, to a net of all roads it is not."""
    west, north, east, south = shape.bounds
    pieces = [
        shapely.clip_by_rect(shape, x, y, x + _SQUARE_M, y + _SQUARE_M)
        for x in np.arange(west, east, _SQUARE_M)
        for y in np.arange(north, south, _SQUARE_M)
    ]
    return [piece for piece in pieces if not piece.is_empty]


def _near(spots: np.ndarray, shapes: list[BaseGeometry], reach_m: np.ndarray) -> np.ndarray:
    """For each spot, whether any shape lies within its reach."""
    near = np.zeros(len(spots), dtype=bool)
    if shapes and len(spots):
        near[STRtree(shapes).query(spots, predicate="dwithin", distance=reach_m)[0]] = True
    return near


def _crowded(spots: np.ndarray, crown_m: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Trees that must yield to an earlier neighbour; decided in order so that it does not depend on the index."""
    if not len(spots):
        return np.zeros(0, dtype=bool)
    first, second = STRtree(spots).query(spots, predicate="dwithin", distance=crown_m * 2 * _CROWDING + 4.0)
    pairs = (first > second) & alive[first] & alive[second]
    first, second = first[pairs], second[pairs]
    apart = shapely.distance(spots[first], spots[second])
    tight = apart < _CROWDING * (crown_m[first] + crown_m[second])
    out = np.zeros(len(spots), dtype=bool)
    for later, earlier in sorted(zip(first[tight].tolist(), second[tight].tolist(), strict=True)):
        if not out[earlier]:
            out[later] = True
    return out

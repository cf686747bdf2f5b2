"""Second thoughts: where a block came out empty, something that belongs there is added, so that no view is bare."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import shapely
from shapely.geometry import Polygon

from georefer.building.synthetic.buildings import building
from georefer.building.synthetic.features import Feature
from georefer.building.synthetic.outlines import Pose, disc
from georefer.building.synthetic.palette import COURT_RGB, pick
from georefer.building.synthetic.site import Site, box_of
from georefer.building.synthetic.things import court, pool, tank

_LONELY_M = 17.0  # a spot is empty if nothing stands so near
_AREA_PER_TRY_M2 = 350.0
_MOST_TRIES = 60

Maker = Callable[[np.random.Generator, Pose], Feature]


def _house(rng: np.random.Generator, pose: Pose) -> Feature:
    return building(
        rng,
        "house",
        pose,
        rng.uniform(9, 13),
        rng.uniform(7.5, 9),
        form="hip",
        storeys=2,
        material=pick(rng, ["tile", "slate"], (3, 1)),
    )


def _shed(rng: np.random.Generator, pose: Pose) -> Feature:
    return building(
        rng,
        "warehouse",
        pose,
        rng.uniform(14, 24),
        rng.uniform(9, 14),
        material="metal",
        form=pick(rng, ["gable", "flat"]),
    )


def _tank(rng: np.random.Generator, pose: Pose) -> Feature:
    return tank(rng, pose.x, pose.y, float(rng.uniform(7, 14)))


def _court(rng: np.random.Generator, pose: Pose) -> Feature:
    return court(rng, pose, pick(rng, list(COURT_RGB), (5, 3, 2)))


def _pool(rng: np.random.Generator, pose: Pose) -> Feature:
    return pool(rng, pose, rng.uniform(10, 16), rng.uniform(5, 8))


_MAKERS: dict[str, list[tuple[str, Maker]]] = {
    "residential": [("buildings", _house), ("buildings", _house), ("pools", _pool)],
    "apartments": [("pools", _pool), ("courts", _court)],
    "centre": [("buildings", _house)],
    "industrial": [("buildings", _shed), ("tanks", _tank)],
    "tank farm": [("tanks", _tank), ("buildings", _shed)],
    "sports": [("courts", _court), ("courts", _court), ("pools", _pool)],
    "school": [("courts", _court), ("buildings", _house)],
}


def infill(site: Site, block: Polygon, use: str, keep_off: list[Polygon], rng: np.random.Generator) -> None:
    """Try random spots of a block and build where nothing stands near and no ground of its own is taken."""
    makers = _MAKERS.get(use)
    inner = block.buffer(-2.5)
    if makers is None or inner.is_empty:
        return
    ground = shapely.union_all(keep_off)
    heading = box_of(block)[0].heading_deg
    west, north, east, south = inner.bounds
    for _ in range(min(_MOST_TRIES, int(block.area / _AREA_PER_TRY_M2) + 6)):
        x, y = float(rng.uniform(west, east)), float(rng.uniform(north, south))
        layer, make = makers[int(rng.integers(len(makers)))]
        made = make(rng, Pose(x, y, heading + 90.0 * int(rng.integers(2))))
        if not site.occupied.clear(disc(x, y, _LONELY_M), 0.0) or made.geometry.intersects(ground):
            continue
        if site.place(layer, made, inner, 3.0) and layer == "pools":
            site.pave(made.geometry.buffer(1.6, join_style="mitre"), "paving", 1.05)

"""Works: warehouses with their yards, and farms of storage tanks."""

from __future__ import annotations

import numpy as np
from shapely.geometry import Polygon

from georefer.building.synthetic.buildings import building
from georefer.building.synthetic.outlines import Pose, disc, rectangle
from georefer.building.synthetic.palette import pick
from georefer.building.synthetic.parking import parking_lot
from georefer.building.synthetic.site import Site, cells
from georefer.building.synthetic.things import Sapling, tank, vehicle


def fill_industrial(site: Site, block: Polygon, rng: np.random.Generator, trees: list[Sapling]) -> None:
    """Rows of warehouses of mixed size; between them car parks, lorries and a few tanks."""
    site.pave(block, "lawn", 0.94)
    site.pave(block.buffer(-4), pick(rng, ["concrete", "asphalt", "gravel"], (3, 3, 1)), rng.uniform(0.92, 1.06))
    for pose, long, deep in cells(block.buffer(-6.0), rng, (17, 36), (24, 58), 7.5):
        role = rng.random()
        if role < 0.66:
            warehouse(site, block, pose, long, deep, rng)
        elif role < 0.8:
            parking_lot(site, pose, long, min(deep, 17), rng)
        elif role < 0.9:
            tank_cell(site, block, pose, long, deep, rng)
        else:
            lorries(site, block, pose, long, deep, rng)


def warehouse(site: Site, block: Polygon, pose: Pose, long: float, deep: float, rng: np.random.Generator) -> None:
    shape = "L-shaped" if rng.random() < 0.14 else "rectangular"
    form = pick(rng, ["gable", "flat", "barrel"], (5, 4, 0.6)) if shape == "rectangular" else "flat"
    made = building(
        rng,
        "warehouse",
        pose,
        long,
        deep,
        material="metal" if rng.random() < 0.85 else "concrete",
        form=form,
        shape=shape,
    )
    site.place("buildings", made, block, 3.0)


def lorries(site: Site, block: Polygon, pose: Pose, long: float, deep: float, rng: np.random.Generator) -> None:
    """A row of parked lorries side by side."""
    for u in np.arange(-long / 2 + 2.5, long / 2 - 2, 4.2):
        if rng.random() < 0.6:
            spot = pose.moved(float(u), rng.normal(0, 0.3), (90 if rng.random() < 0.7 else -90) + rng.normal(0, 1))
            site.place("vehicles", vehicle(rng, "truck" if rng.random() < 0.8 else "van", spot), block, 0.6)


def fill_tank_farm(site: Site, block: Polygon, rng: np.random.Generator, trees: list[Sapling]) -> None:
    """Tanks of a size in each walled yard, a few sheds and a pump house."""
    site.pave(block, "dry lawn", 0.96)
    site.pave(block.buffer(-5), "gravel", rng.uniform(0.9, 1.0))
    for pose, long, deep in cells(block.buffer(-6.0), rng, (17, 40), (30, 76), 8.0):
        role = rng.random()
        if role < 0.78:
            tank_cell(site, block, pose, long, deep, rng)
        elif role < 0.93:
            warehouse(site, block, pose, min(long, 42), min(deep, 24), rng)
        else:
            lorries(site, block, pose, long, deep, rng)


def tank_cell(site: Site, block: Polygon, pose: Pose, long: float, deep: float, rng: np.random.Generator) -> None:
    """A grid of equal tanks inside a low wall."""
    rows = int(rng.integers(1, 4)) if deep > 26 else int(rng.integers(1, 3))
    pitch = (deep - 1.5) / rows
    size = min(pitch - 2.6, 30.0) * rng.uniform(0.82, 1.0)
    count = int((long - 1.5) // pitch)
    if size < 4.5 or count < 1:
        return
    yard = rectangle(pose, long, deep)
    site.pave(yard, "concrete", 1.08)
    site.pave(yard.buffer(-0.8, join_style="mitre"), pick(rng, ["concrete", "gravel", "soil"]), rng.uniform(0.88, 1.0))
    for i in range(count):
        for j in range(rows):
            if rng.random() < 0.12:
                continue
            x, y = pose.at((i - (count - 1) / 2) * pitch, (j - (rows - 1) / 2) * pitch)
            site.place("tanks", tank(rng, x, y, float(size)), block, 1.2)


def silo_row(site: Site, block: Polygon, pose: Pose, count: int, rng: np.random.Generator) -> None:
    size = rng.uniform(4.5, 7.0)
    for i in range(count):
        x, y = pose.at((i - count / 2) * (size + 1.5), 0)
        if block.contains(disc(x, y, size)):
            site.place("tanks", tank(rng, x, y, size), block, 1.0)

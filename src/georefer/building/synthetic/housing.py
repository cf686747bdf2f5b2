"""Housing: lots with houses along streets, slabs of flats, and an old centre with courtyards and a church."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import Polygon
from shapely.prepared import PreparedGeometry, prep

from georefer.building.synthetic.buildings import building
from georefer.building.synthetic.leisure import grow
from georefer.building.synthetic.outlines import Pose, disc, heading_between, rectangle
from georefer.building.synthetic.palette import pick
from georefer.building.synthetic.parking import parking_lot
from georefer.building.synthetic.site import Occupancy, Site, box_of, cells
from georefer.building.synthetic.things import Sapling, pool, vehicle


@dataclass(frozen=True)
class Suburb:
    """What the houses of one quarter have in common."""

    lot_wide_m: tuple[float, float]
    pool_share: float
    hedge_share: float


def suburb(rng: np.random.Generator) -> Suburb:
    narrow = rng.uniform(15.0, 18.5)
    return Suburb((narrow, narrow + rng.uniform(3, 6)), rng.uniform(0.22, 0.45), rng.uniform(0.4, 0.9))


def fill_residential(site: Site, block: Polygon, rng: np.random.Generator, trees: list[Sapling]) -> None:
    """Lots side by side along every edge of the block, each with its house."""
    style = suburb(rng)
    site.pave(block, "lawn", rng.uniform(0.94, 1.04))
    _, _, wide = box_of(block)
    depth = float(np.clip(wide / 2 - 0.3, 16.5, 31))
    taken, inner = Occupancy(), prep(block.buffer(1.6))
    for start, length in frontages(block):
        s = 0.4
        while s < length - style.lot_wide_m[0]:
            broad = min(rng.uniform(*style.lot_wide_m), length - s)
            deep = _deepest(start.moved(s + broad / 2, 0), broad, depth, inner, taken)
            if deep is None:
                s += 2.0
                continue
            lot = start.moved(s + broad / 2, deep / 2)
            taken.add(rectangle(lot, broad, deep))
            _lot(site, block, lot, broad, deep, style, rng, trees)
            s += broad
    grow(block.buffer(-2), rng, trees, 17.0, (3.0, 7.5), share=0.5)
    if box_of(block)[2] < 24:
        grow(block, rng, trees, 8.0, (4.0, 7.5), share=0.8)


def _deepest(front: Pose, broad: float, depth: float, inner: PreparedGeometry, taken: Occupancy) -> float | None:
    """How deep a lot may be from its street front: the full depth, or less where a neighbour comes close."""
    for share in (1.0, 0.88, 0.76, 0.66):
        deep = depth * share
        shape = rectangle(front.moved(0, deep / 2), broad, deep)
        if deep > 15.0 and inner.contains(shape) and taken.clear(shape.buffer(-0.4), 0.0):
            return deep
    return None


def frontages(block: Polygon) -> list[tuple[Pose, float]]:
    """The straight edges of a block, longest first: pose at the start, inside to the right; length in metres."""
    corners = shapely.get_coordinates(block.exterior.simplify(1.2))
    inner = prep(block)
    edges = []
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        length = float(np.hypot(x1 - x0, y1 - y0))
        if length < 12:
            continue
        pose = Pose(x0, y0, heading_between(x0, y0, x1, y1))
        if not _inside(inner, pose.at(length / 2, 1.0)):
            pose = Pose(x1, y1, heading_between(x1, y1, x0, y0))
        edges.append((pose, length))
    return sorted(edges, key=lambda edge: -edge[1])


def _inside(shape: PreparedGeometry, point: tuple[float, float]) -> bool:
    return bool(shape.contains(shapely.Point(point)))


def _lot(
    site: Site,
    block: Polygon,
    lot: Pose,
    broad: float,
    depth: float,
    style: Suburb,
    rng: np.random.Generator,
    trees: list[Sapling],
) -> None:
    """One house with its drive, garden, hedge, sometimes a pool. The street is on the lot's left."""
    site.pave(rectangle(lot, broad, depth), "lawn" if rng.random() < 0.9 else "dry lawn", rng.uniform(0.86, 1.12))
    setback, side = rng.uniform(3.5, 6.5), (1 if rng.random() < 0.5 else -1)
    long, wide = min(rng.uniform(9.5, 13.5), broad - 5.2), rng.uniform(7.8, 9.8)
    if rng.random() < 0.16:
        wide = rng.uniform(11.0, 13.0)
    pose = lot.moved(-side * (broad - long - 2.4) / 2, -depth / 2 + setback + wide / 2, 180 * (rng.random() < 0.5))
    shape = "L-shaped" if wide > 10.5 or rng.random() < 0.08 else "rectangular"
    material = pick(rng, ["tile", "slate", "metal"], (8, 1.6, 0.8))
    form = pick(rng, ["gable", "hip"], (3, 2)) if rng.random() < 0.93 else "flat"
    house = building(
        rng,
        "house",
        pose,
        long,
        wide,
        material="concrete" if form == "flat" else material,
        form=form,
        storeys=int(rng.integers(1, 3)),
        shape=shape,
    )
    if not site.place("buildings", house, block, 1.6):
        return
    _drive(site, block, lot, broad, depth, side, setback + rng.uniform(1, 5), rng)
    back = -depth / 2 + setback + wide
    site.pave(rectangle(lot.moved(-side * 2, back + 1.6), rng.uniform(4, 7), 3.2), "paving", rng.uniform(0.9, 1.05))
    room = depth / 2 - back
    if rng.random() < style.pool_share and room > 7.0:
        _garden_pool(site, block, lot.moved(rng.uniform(-2, 2), back + room * 0.5 + 0.6), rng)
    _hedges(site, lot, broad, depth, style, rng)
    for _ in range(int(rng.integers(1, 5))):
        x, y = lot.at(rng.uniform(-0.44, 0.44) * broad, rng.uniform(-0.2, 0.46) * depth)
        trees.append(Sapling(x, y, rng.uniform(2.6, 6.5), "conifer" if rng.random() < 0.2 else "broadleaf"))


def _drive(
    site: Site,
    block: Polygon,
    lot: Pose,
    broad: float,
    depth: float,
    side: int,
    length: float,
    rng: np.random.Generator,
) -> None:
    pose = lot.moved(side * (broad / 2 - 2.0), -depth / 2 + length / 2)
    site.pave(rectangle(pose, 3.0, length), pick(rng, ["paving", "gravel", "asphalt"]), rng.uniform(0.9, 1.08))
    if rng.random() < 0.6 and length > 5.2:
        car = pose.moved(
            rng.uniform(-0.2, 0.2), length / 2 - 2.7 - rng.uniform(0, length - 5.2), 90 if rng.random() < 0.7 else -90
        )
        site.place("vehicles", vehicle(rng, "car" if rng.random() < 0.88 else "van", car), block, 0.3)


def _garden_pool(site: Site, block: Polygon, pose: Pose, rng: np.random.Generator) -> None:
    long, wide = rng.uniform(6.0, 10.0), rng.uniform(3.2, 4.6)
    made = pool(rng, pose.moved(0, 0, 90 * (rng.random() < 0.25)), long, wide)
    if site.place("pools", made, block, 1.4):
        site.pave(made.geometry.buffer(1.1, join_style="mitre"), "paving", rng.uniform(0.98, 1.14))


def _hedges(site: Site, lot: Pose, broad: float, depth: float, style: Suburb, rng: np.random.Generator) -> None:
    if rng.random() < style.hedge_share:
        site.pave(rectangle(lot.moved(0, depth / 2 - 0.45), broad, 0.9), "hedge", rng.uniform(0.9, 1.1))
    if rng.random() < style.hedge_share:
        site.pave(rectangle(lot.moved(broad / 2 - 0.4, 3.0), 0.8, depth - 6), "hedge", rng.uniform(0.9, 1.1))


def fill_apartments(site: Site, block: Polygon, rng: np.random.Generator, trees: list[Sapling]) -> None:
    """Slabs among lawns, with car parks between them; now and then a pool."""
    site.pave(block, "lawn", rng.uniform(0.92, 1.02))
    for pose, long, deep in cells(block.buffer(-3.0), rng, (15, 19), (30, 56), 8.0):
        role = rng.random()
        if role < 0.68:
            slab = building(
                rng,
                "apartment block",
                pose,
                long - 4,
                min(deep, rng.uniform(12, 15)),
                material="concrete",
                form="flat",
                storeys=int(rng.integers(4, 9)),
                shape="L-shaped" if rng.random() < 0.1 and deep > 17 else "rectangular",
            )
            site.place("buildings", slab, block, 3.0)
        elif role < 0.9:
            parking_lot(site, pose, long - 3, deep, rng)
        else:
            made = pool(rng, pose, 16.0, 8.0)
            if site.place("pools", made, block, 2.0):
                site.pave(made.geometry.buffer(2.5, join_style="mitre"), "paving", 1.08)
    grow(block, rng, trees, 12.0, (4.0, 9.0), share=0.8)


def fill_centre(site: Site, block: Polygon, rng: np.random.Generator, trees: list[Sapling]) -> None:
    """Courtyard blocks and town houses wall to wall with squares; the church stands where it fits first."""
    site.pave(block, "paving", rng.uniform(0.9, 1.0))
    churches = [f for f in site.features["buildings"] if f.attributes["function"] == "church"]
    for pose, long, deep in cells(block.buffer(-1.0), rng, (19, 32), (19, 42), 4.5):
        if not any(disc(pose.x, pose.y, 400).contains(f.geometry) for f in churches) and long > 30:
            site.pave(rectangle(pose, long, deep), "gravel", 1.05)
            made = building(
                rng, "church", pose, min(long, 34), min(deep, 22), material="slate", form="gable", shape="cross-shaped"
            )
            churches.append(made)
        elif rng.random() < 0.7 and min(long, deep) > 21:
            made = building(
                rng,
                "apartment block",
                pose,
                long,
                deep,
                material=pick(rng, ["tile", "slate"], (3, 1)),
                form="gable",
                storeys=int(rng.integers(3, 6)),
                shape="courtyard",
            )
        else:
            made = building(
                rng,
                "apartment block",
                pose.moved(0, rng.uniform(-3, 3)),
                long,
                deep * 0.5,
                form="hip",
                material=pick(rng, ["tile", "slate"], (3, 1)),
                storeys=int(rng.integers(2, 5)),
            )
        site.place("buildings", made, block, 2.0)
    grow(block, rng, trees, 14.0, (4.0, 7.0), share=0.6)

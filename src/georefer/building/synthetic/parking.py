"""Car parks: a paved rectangle with bays on both sides of an aisle, some of them taken."""

from __future__ import annotations

import numpy as np
from shapely.geometry import LineString

from georefer.building.synthetic.features import Marking
from georefer.building.synthetic.outlines import Pose, rectangle
from georefer.building.synthetic.site import Site
from georefer.building.synthetic.things import vehicle

BAY_WIDE_M = 2.55
BAY_DEEP_M = 5.0
WHITE = (214.0, 214.0, 208.0)


def parking_lot(site: Site, pose: Pose, long_m: float, deep_m: float, rng: np.random.Generator) -> bool:
    """Bays along the long sides (needs 15 m of depth for two rows, 10 m for one); False where it is not free."""
    lot = rectangle(pose, long_m, deep_m)
    if not site.free(lot, site.extent, 0.5):
        return False
    site.pave(lot, "asphalt", rng.uniform(0.96, 1.12))
    fullness = rng.uniform(0.3, 0.85)
    for side in (-1, 1) if deep_m >= 14.5 else (-1,):
        _row(site, pose.moved(0, side * (deep_m / 2 - BAY_DEEP_M / 2 - 0.3), 0), long_m, side, fullness, rng)
    return True


def _row(site: Site, row: Pose, long_m: float, side: int, fullness: float, rng: np.random.Generator) -> None:
    count = int((long_m - 1.0) // BAY_WIDE_M)
    first = -count * BAY_WIDE_M / 2
    for i in range(count + 1):
        a, b = (row.at(first + i * BAY_WIDE_M, v) for v in (-BAY_DEEP_M / 2, BAY_DEEP_M / 2))
        site.markings.append(Marking(LineString([a, b]), 0.14, WHITE, strength=0.7))
    for i in range(count):
        if rng.random() > fullness:
            continue
        turn = (90 if rng.random() < 0.75 else -90) * side
        bay = row.moved(
            first + (i + 0.5) * BAY_WIDE_M + rng.normal(0, 0.08), rng.normal(0, 0.15), turn + rng.normal(0, 1.0)
        )
        site.place("vehicles", vehicle(rng, "car" if rng.random() < 0.92 else "van", bay), site.extent, 0.15)

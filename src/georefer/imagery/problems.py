"""What is wrong with the features of a layer: a kind, how many have it, and where a few of them lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

PLACES = 3
"""So many places of a kind of problem are named; enough to look at, few enough to read."""

KINDS = {
    "empty": "without geometry",
    "infinite": "with coordinates that are no numbers, dropped",
    "tangled": "too tangled to be repaired, dropped",
    "repaired": "crossing themselves, repaired",
    "height": "with heights (Z), dropped",
    "measure": "with measures (M), dropped",
    "swapped": "on the imagery only with x and y swapped",
    "other_crs": "on the imagery only in another coordinate reference system",
    "apart": "in a layer that does not meet the imagery",
    "mixed_types": "with attributes of mixed types",
    "duplicate": "of the same geometry and class as another, dropped",
    "unknown_value": "of values that the mapping does not know, dropped",
    "unlabelled": "without a known label, dropped",
    "several_classes": "that fit several classes equally well",
    "no_width": "as lines or points without a width, dropped",
}
"""Kinds of problems, and what is said of the features that have them."""


@dataclass(frozen=True)
class Problem:
    """One kind of fault of a layer: the number of features that have it, and where some lie.

    `detail` tells faults of a kind apart, such as the value that is not known; `places` name features by number and
    by longitude and latitude, so that they can be found in any viewer.
    """

    kind: str
    count: int
    places: tuple[str, ...] = ()
    detail: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of problem {self.kind!r}; known: {', '.join(KINDS)}")

    def __str__(self) -> str:
        """Such as "2 features crossing themselves, repaired (feature 7 at 85.52177, 27.63110)"."""
        said = f"{self.count} feature{'s' * (self.count != 1)} {KINDS[self.kind]}"
        said += f": {self.detail}" if self.detail else ""
        return f"{said} ({'; '.join(self.places)})" if self.places else said


def problem(kind: str, fids: Iterable, bounds_N4: np.ndarray | None, crs: CRS | None, detail: str = "") -> Problem:
    """A problem of features by number and bounds (N, 4) in `crs`; without bounds, places are numbers alone."""
    fids = list(fids)
    return Problem(kind, len(fids), named_places(fids[:PLACES], bounds_N4, crs), detail)


def added(one: Problem, more: Problem) -> Problem:
    """Two finds of the same fault as one: counts add up, places are the first ones."""
    return replace(one, count=one.count + more.count, places=(*one.places, *more.places)[:PLACES])


def named_places(fids: Iterable, bounds_N4: np.ndarray | None, crs: CRS | None) -> tuple[str, ...]:
    """ "feature 7 at 85.52177, 27.63110": longitude and latitude of the middle, left out where nobody knows."""
    fids = list(fids)
    if bounds_N4 is None or crs is None:
        return tuple(f"feature {fid}" for fid in fids)
    bounds_N4 = np.asarray(bounds_N4, dtype=np.float64).reshape(-1, 4)[: len(fids)]
    try:
        transformer = Transformer.from_crs(crs, CRS.from_epsg(4326), always_xy=True)
        lon_N, lat_N = transformer.transform(bounds_N4[:, ::2].mean(axis=1), bounds_N4[:, 1::2].mean(axis=1))
    except ProjError:
        return tuple(f"feature {fid}" for fid in fids)
    return tuple(
        f"feature {fid} at {lon:.5f}, {lat:.5f}" if np.isfinite(lon) and np.isfinite(lat) else f"feature {fid}"
        for fid, lon, lat in zip(fids, lon_N, lat_N, strict=True)
    )

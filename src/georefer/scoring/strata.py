"""Counts by the size of objects, in pixels of the image or in metres on the ground.

Small objects are where models differ, and a mean over all sizes is mostly the size of what a dataset holds. Metres
are known only where the image has a georeference or a stated ground sampling distance; elsewhere the stratum is
"unknown", which is reported and never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import shapely

from georefer.geometry import GeoGrid, Objects
from georefer.scoring.detection import SizeUnit, size_stratum
from georefer.scoring.greedy import IGNORED
from georefer.scoring.ratio import Row

COCO_EDGES_PX = (32.0, 96.0)
"""Sides of squares: an area of 32 x 32 px and more is medium, of 96 x 96 px and more large."""

GROUND_EDGES_M = (5.0, 20.0, 80.0)
"""Cars; houses, aircraft and boats; halls and ships; airfields and harbours. Ours: the field has no common ones."""


def object_areas(objects: Objects, unit: SizeUnit = "px", ground: GeoGrid | float | None = None) -> np.ndarray:
    """Area (N,) of each shape in squared pixels, or in square metres by the image's grid or its GSD in metres.

    NaN for metres without a georeference, and for points and lines. A grid is measured at the middle of the image.
    """
    area_N = shapely.area(objects.geometries_N)
    area_N = np.where(shapely.get_dimensions(objects.geometries_N) == 2, area_N, np.nan)
    return area_N if unit == "px" else area_N * _pixel_m2(ground)


def strata(
    objects: Objects, edges: Sequence[float] | None = None, unit: SizeUnit = "px", ground: GeoGrid | float | None = None
) -> np.ndarray:
    """Names (N,) of size classes, as `size_stratum`; `edges` default to COCO's for pixels and to ours for metres."""
    chosen = edges or (COCO_EDGES_PX if unit == "px" else GROUND_EDGES_M)
    return size_stratum(object_areas(objects, unit, ground), chosen, unit)


def stratum_rows(matched_P: np.ndarray, strata_P: np.ndarray, strata_T: np.ndarray) -> Mapping[str, Row]:
    """True and false positives and misses of one answer in each size class that it or the truth holds.

    A hit and a miss belong to the size of the truth, a false positive to its own. `matched_P` is the truth of each
    prediction, or negative; `IGNORED` ones are left out.
    """
    matched_P, strata_P, strata_T = np.asarray(matched_P, dtype=int), np.asarray(strata_P), np.asarray(strata_T)
    if len(matched_P) != len(strata_P):
        raise ValueError(f"{len(matched_P)} matches came with {len(strata_P)} strata; pass one for each prediction")
    found_T = np.zeros(len(strata_T), dtype=bool)
    found_T[matched_P[matched_P >= 0]] = True
    is_false_P = (matched_P < 0) & (matched_P != IGNORED)
    rows = {}
    for name in sorted({*strata_T.tolist(), *strata_P[is_false_P].tolist()}):
        hits, truths = float(found_T[strata_T == name].sum()), float((strata_T == name).sum())
        rows[str(name)] = {"tp": hits, "fp": float(is_false_P[strata_P == name].sum()), "fn": truths - hits}
    return rows


def _pixel_m2(ground: GeoGrid | float | None) -> float:
    if ground is None or (isinstance(ground, GeoGrid) and not ground.is_georeferenced):
        return np.nan
    if isinstance(ground, GeoGrid):
        across, down = ground.pixel_size_m
        return across * down
    if not (np.isfinite(ground) and ground > 0):
        raise ValueError(f"a ground sampling distance of {ground} m was given; pass one above 0, or None if unknown")
    return float(ground) ** 2

"""Targets: the features of an area become the objects of each chip, by declared and counted rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import shapely

from georefer.building.features import Features
from georefer.geometry import Objects, Window
from georefer.geometry.repair import areas_only


@dataclass(frozen=True)
class TargetSettings:
    """Which objects of a chip are asked about."""

    min_px: float = 6.0
    """Shorter side of the visible box, chip pixels."""
    min_visible: float = 0.25
    """Share of the object's area that lies inside the chip; an object that spans half the chip is kept anyway,
    since one larger than the chip can never show more."""


@dataclass(frozen=True, eq=False)
class ChipObjects:
    """What a chip shows: `targets` are asked about; `others` are visible, but too little of them is."""

    targets: Objects
    others: Objects
    visible_N: np.ndarray
    drops: Mapping[str, int]


def chip_objects(features: Features, window: Window, size: tuple[int, int], settings: TargetSettings) -> ChipObjects:
    """Objects of one window, clipped to it and scaled to a chip of `size` = (width, height) pixels."""
    near = np.sort(features.tree.query(shapely.box(*window.box), predicate="intersects"))
    found = features.objects[near]
    clipped_N = areas_only(shapely.intersection(found.geometries_N, shapely.box(*window.box)))
    scale = size[0] / window.width, size[1] / window.height
    inside = found.replaced(clipped_N).crop(window).scale(*scale)
    full_N = features.area_N[near]
    visible_N = np.divide(shapely.area(clipped_N), full_N, out=np.zeros(len(near)), where=full_N > 0)
    boxes_N4 = np.nan_to_num(inside.hbb_N4)
    sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
    spans_N = (sides_N2 >= np.array(size) / 2).any(axis=1)
    touches_N = shapely.area(clipped_N) > 0
    is_small_N = touches_N & (sides_N2.min(axis=1, initial=np.inf) < settings.min_px)
    is_cut_N = touches_N & ~is_small_N & ~spans_N & (visible_N < settings.min_visible)
    keep_N = touches_N & ~is_small_N & ~is_cut_N
    drops = {"smaller than min_px": int(is_small_N.sum()), "less visible than min_visible": int(is_cut_N.sum())}
    return ChipObjects(inside[keep_N], inside[touches_N & ~keep_N], visible_N[keep_N], drops)

"""Targets: the features of an area become the objects of each chip, by declared and counted rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import shapely

from georefer.building.features import Features
from georefer.geometry import Objects, Window
from georefer.geometry.repair import areas_only


@dataclass(frozen=True)
class TargetSettings:
    """Which objects of a chip are asked about; the others stay known as visible, with the rule that left them out."""

    min_px: float = 6.0
    """Shorter side of the visible box, chip pixels."""
    min_area_px: float = 0.0
    """Visible area, chip pixels."""
    min_area_m2: float = 0.0
    """Visible area on the ground; no rule where the imagery has no georeference."""
    min_visible: float = 0.25
    """Share of the object's area that lies inside the chip; an object that spans half the chip is kept anyway,
    since one larger than the chip can never show more. 1.0 leaves out whatever the border cuts."""
    margin_px: float = 0.0
    """Objects are left out where the middle of their visible box is nearer to the chip's border."""
    on_top: tuple[str, ...] = ()
    """Classes that hide what lies below them, such as "tree" or "bridge"."""
    max_hidden: float = 0.5
    """Share of an object's visible area that classes on top may hide."""
    min_imagery: float = 0.5
    """Share of an object's visible area that must hold imagery, rather than nodata."""


@dataclass(frozen=True, eq=False)
class ChipObjects:
    """What a chip shows: `targets` are asked about; `others` are visible, but by a rule each they are not."""

    targets: Objects
    others: Objects
    visible_N: np.ndarray
    """Share of each target that lies inside the chip."""
    rules_O: np.ndarray
    """What left each of the others out."""

    @property
    def drops(self) -> Mapping[str, int]:
        return Counter(self.rules_O.tolist())

    def without(self, is_out_N: np.ndarray, rule: str) -> ChipObjects:
        """With some targets moved to the others by one more rule."""
        if not is_out_N.any():
            return self
        columns = {
            name: np.concatenate([getattr(self.others, name), getattr(self.targets[is_out_N], name)])
            for name in Objects.__dataclass_fields__
        }
        rules_O = np.concatenate([self.rules_O, np.full(int(is_out_N.sum()), rule, dtype=object)])
        return ChipObjects(self.targets[~is_out_N], Objects(**columns), self.visible_N[~is_out_N], rules_O)


def chip_objects(
    features: Features, window: Window, size: tuple[int, int], settings: TargetSettings, gsd_m: float | None = None
) -> ChipObjects:
    """Objects of one window, clipped to it and scaled to a chip of `size` = (width, height) pixels of `gsd_m`."""
    near = np.sort(features.tree.query(shapely.box(*window.box), predicate="intersects"))
    found = features.objects[near]
    clipped_N = _clipped(found.geometries_N, window)
    area_N, full_N = shapely.area(clipped_N), features.area_N[near]
    scale = size[0] / window.width, size[1] / window.height
    corner = window.x, window.y
    inside = found.replaced(shapely.transform(clipped_N, lambda xy: (xy - corner) * scale))
    visible_N = np.divide(area_N, full_N, out=np.zeros(len(near)), where=full_N > 0)
    boxes_N4 = np.nan_to_num(inside.hbb_N4)
    sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
    middles_N2 = (boxes_N4[:, 2:] + boxes_N4[:, :2]) / 2
    nearest_N = np.minimum(middles_N2, np.array(size) - middles_N2).min(axis=1, initial=np.inf)
    area_px_N = area_N * (scale[0] * scale[1])
    spans_N = (sides_N2 >= np.array(size) / 2).any(axis=1)
    rules = {
        "smaller than min_px": sides_N2.min(axis=1, initial=np.inf) < settings.min_px,
        "smaller than min_area_px": area_px_N < settings.min_area_px,
        "smaller than min_area_m2": area_px_N * (gsd_m or 0) ** 2 < (settings.min_area_m2 if gsd_m else 0),
        "less visible than min_visible": ~spans_N & (visible_N < settings.min_visible),
        "within margin_px of the border": nearest_N < settings.margin_px,
        "hidden beyond max_hidden": _hidden(inside, settings) > settings.max_hidden,
    }
    names = np.array([*rules, ""], dtype=object)
    # the first rule that holds; the last name is of none
    rule_N = names[np.argmax([*rules.values(), np.ones(len(near), bool)], axis=0)]
    touches_N = area_N > 0
    keep_N = touches_N & (rule_N == "")
    others_N = touches_N & ~keep_N
    return ChipObjects(inside[keep_N], inside[others_N], visible_N[keep_N], rule_N[others_N])


def on_imagery(found: ChipObjects, valid_HW: np.ndarray, settings: TargetSettings) -> ChipObjects:
    """Without the targets that lie on too little imagery; `valid_HW` says where a chip's pixels hold some."""
    if valid_HW.all() or not len(found.targets):
        return found
    rows_P, columns_P = np.nonzero(~valid_HW)
    blank_N = np.array(
        [shapely.contains_xy(g, columns_P + 0.5, rows_P + 0.5).sum() for g in found.targets.geometries_N]
    )
    is_blank_N = blank_N > (1 - settings.min_imagery) * shapely.area(found.targets.geometries_N)
    return found.without(is_blank_N, "less imagery than min_imagery")


def _clipped(shapes_N: np.ndarray, window: Window) -> np.ndarray:
    """Areas within the window; most features lie wholly inside and stay as they are."""
    box_4 = np.array(window.box)
    bounds_N4 = shapely.bounds(shapes_N)
    cut_N = (bounds_N4[:, :2] < box_4[:2]).any(axis=1) | (bounds_N4[:, 2:] > box_4[2:]).any(axis=1)
    clipped_N = shapes_N.copy()
    clipped_N[cut_N] = areas_only(shapely.intersection(shapes_N[cut_N], shapely.box(*window.box)))
    return clipped_N


def _hidden(inside: Objects, settings: TargetSettings) -> np.ndarray:
    """Share of each object that lies below a class on top; nothing hides these themselves (N,)."""
    hidden_N = np.zeros(len(inside))
    if not settings.on_top:
        return hidden_N
    is_top_N = np.isin(inside.labels_N.astype(str), settings.on_top)
    if not is_top_N.any() or is_top_N.all():
        return hidden_N
    cover = shapely.union_all(inside.geometries_N[is_top_N])
    below_N = inside.geometries_N[~is_top_N]
    area_N = shapely.area(below_N)
    share_N = np.zeros(len(below_N))
    np.divide(shapely.area(shapely.intersection(below_N, cover)), area_N, out=share_N, where=area_N > 0)
    hidden_N[~is_top_N] = share_N
    return hidden_N

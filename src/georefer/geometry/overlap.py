"""How much shapes overlap: IoU, IoA and generalised IoU of every pair of kinds, vectorised.

`overlap` and `overlap_pairs` take shapes of any kinds and go the fastest exact way for each pair: plain arithmetic
for two horizontal boxes, `georefer.geometry.rotated` for oriented ones, `georefer.geometry.edges` for all else.
`hbb_iou` and `hbb_ioa` (and `obb_iou`, `obb_ioa`) are for those who hold numbers rather than shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import shapely

from georefer.geometry.edges import intersection_areas
from georefer.geometry.repair import repaired
from georefer.geometry.rotated import (
    LIMIT,
    as_rows,
    near_pairs,
    obb_from_polygons,
    obb_intersection_pairs,
    share,
)

Measure = Literal["iou", "ioa", "giou"]
"""iou: common area / area of both together. ioa: the part of the first inside the second. giou: IoU less the part of
the smallest convex shape around both that neither fills (of the smallest horizontal box, for two of them)."""

HBB_FEW = 1024
"""Pairs of boxes up to which one expression over all of them is faster than blocks."""

HBB_BLOCK = 32_768
"""Pairs of horizontal boxes in one go: the arrays of a block stay in the processor's second-level cache."""

FEW = 0.05
"""The part of all pairs below which looking up those that meet is faster than computing all."""

SMALLEST = np.finfo(np.float64).smallest_subnormal

HULL_BLOCK = 50_000
"""Pairs whose common hulls are built in one go: some 50 MB of geometries."""


# --- shapes of any kind ----------------------------------------------------------------------------------


def overlap(
    shapes_N: np.ndarray,
    shapes_M: np.ndarray,
    measure: Measure = "iou",
    *,
    kinds_N: Sequence[str] | str = "polygon",
    kinds_M: Sequence[str] | str = "polygon",
) -> np.ndarray:
    """The measure of every pair (N, M) of shapely geometries; pairs whose bounds do not meet cost next to nothing.

    Kinds ("hbb", "obb", "polygon", ...) are one for all or one for each. Two "hbb" are compared by their bounds;
    an "obb" that is no rectangle (four corners, but scaled along one axis) counts as the polygon that it is. Invalid
    rings are repaired, see `repaired`. IoU and IoA lie within [0, 1] and are 0 for what has no area: points, lines,
    empty or not finite shapes. Generalised IoU lies within [-1, 1]; it is 0 where both together span no area, and -1
    with an empty or not finite shape, which is nowhere.
    """
    first, second = Areas.of(shapes_N, kinds_N), Areas.of(shapes_M, kinds_M)
    known_measure(measure)
    if first.all_hbb and second.all_hbb:
        of_boxes = {"iou": hbb_iou, "ioa": hbb_ioa, "giou": hbb_giou}[measure]
        return of_boxes(shapely.bounds(first.shapes_N).reshape(-1, 4), shapely.bounds(second.shapes_N).reshape(-1, 4))
    result_NM = np.zeros((len(first), len(second)))
    if measure != "giou":
        n, m = near_pairs(first.boxes_N4, second.boxes_N4)
        result_NM[n, m] = first.measure_pairs(n, second, m, measure)
        return result_NM
    rows = max(1, HULL_BLOCK // max(1, len(second)))
    for start in range(0, len(first), rows):
        part_KM = result_NM[start : start + rows]
        n, m = (index.ravel() for index in np.indices(part_KM.shape))
        part_KM[:] = first.measure_pairs(n + start, second, m, measure).reshape(part_KM.shape)
    return result_NM


def overlap_pairs(
    shapes_P: np.ndarray,
    others_P: np.ndarray,
    measure: Measure = "iou",
    *,
    kinds_P: Sequence[str] | str = "polygon",
    other_kinds_P: Sequence[str] | str = "polygon",
) -> np.ndarray:
    """The measure (P,) of shapes one to one, otherwise as `overlap`."""
    first, second = Areas.of(shapes_P, kinds_P), Areas.of(others_P, other_kinds_P)
    if len(first) != len(second):
        raise ValueError(f"pairs need as many shapes as others, found {len(first)} and {len(second)}")
    rows = np.arange(len(first))
    return first.measure_pairs(rows, second, rows, known_measure(measure))


def known_measure(measure: Measure) -> Measure:
    if measure not in get_args(Measure):
        raise ValueError(f"unknown measure {measure!r}; known: {', '.join(get_args(Measure))}")
    return measure


@dataclass(frozen=True, eq=False)
class Areas:
    """N shapes made ready for many comparisons: each one's numbers are read once, and invalid ones repaired once.

    `nowhere_N` marks the empty ones and those with a number that is not finite; these stand as empty polygons, with
    bounds of no extent. `boxes_N4` are bounds, `hbb_N` says which shapes count as theirs. `obbs_N5` are NaN for
    shapes that are no rectangles.
    """

    shapes_N: np.ndarray
    boxes_N4: np.ndarray
    obbs_N5: np.ndarray
    hbb_N: np.ndarray
    nowhere_N: np.ndarray

    @classmethod
    def of(cls, shapes_N: np.ndarray, kinds_N: Sequence[str] | str) -> Areas:
        shapes_N = np.asarray(shapes_N, dtype=object).reshape(-1)
        kind_N = np.full(len(shapes_N), kinds_N) if isinstance(kinds_N, str) else np.array(kinds_N, dtype=str)
        if len(kind_N) != len(shapes_N):
            raise ValueError(f"{len(shapes_N)} shapes came with {len(kind_N)} kinds: give one for all or one for each")
        nowhere_N = _nowhere(shapes_N)
        if nowhere_N.any():
            shapes_N = np.where(nowhere_N, shapely.Polygon(), shapes_N)
        boxes_N4 = _finite_rows(shapely.bounds(shapes_N).reshape(-1, 4))
        hbb_N, obb_N = kind_N == "hbb", kind_N == "obb"
        obbs_N5 = np.full((len(shapes_N), 5), np.nan)
        obbs_N5[hbb_N] = _upright(boxes_N4[hbb_N])
        if obb_N.any():
            obbs_N5[obb_N] = obb_from_polygons(shapes_N[obb_N])
        return cls(shapes_N, boxes_N4, obbs_N5, hbb_N, nowhere_N)

    def __len__(self) -> int:
        return len(self.shapes_N)

    def __getitem__(self, index: np.ndarray) -> Areas:
        return Areas(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    @property
    def all_hbb(self) -> bool:
        return bool(self.hbb_N.all())

    @cached_property
    def rectangle_N(self) -> np.ndarray:
        """Which shapes are rectangles known by their numbers."""
        return ~np.isnan(self.obbs_N5[:, 0])

    @cached_property
    def polygons_N(self) -> np.ndarray:
        """The shapes as valid areas; what has no area is an empty polygon."""
        flat_N = shapely.get_dimensions(self.shapes_N) < 2
        return repaired(np.where(flat_N, shapely.Polygon(), self.shapes_N))

    @cached_property
    def area_N(self) -> np.ndarray:
        known_N = self.rectangle_N
        area_N = np.where(known_N, self.obbs_N5[:, 2] * self.obbs_N5[:, 3], 0.0)
        if not known_N.all():
            area_N[~known_N] = shapely.area(self.polygons_N[~known_N])
        return area_N

    def measure_pairs(self, n: np.ndarray, other: Areas, m: np.ndarray, measure: Measure) -> np.ndarray:
        """The measure (P,) of own rows `n` with rows `m` of another."""
        area_P, other_P = self.area_N[n], other.area_N[m]
        # rounding may make what is common a little larger than the smaller one
        inter_P = np.minimum(self.intersection_pairs(n, other, m), np.minimum(area_P, other_P))
        if measure == "ioa":
            return share(inter_P, area_P)
        union_P = area_P + other_P - inter_P
        iou_P = share(inter_P, union_P)
        if measure == "iou":
            return iou_P
        around_P = self._around_pairs(n, other, m)
        giou_P = iou_P - share(around_P - union_P, around_P)
        giou_P[self.nowhere_N[n] | other.nowhere_N[m]] = -1
        return giou_P

    def intersection_pairs(self, n: np.ndarray, other: Areas, m: np.ndarray) -> np.ndarray:
        """Common area (P,) of own rows `n` with rows `m` of another."""
        inter_P = np.zeros(len(n))
        upright_P = self.hbb_N[n] & other.hbb_N[m]
        turned_P = self.rectangle_N[n] & other.rectangle_N[m] & ~upright_P
        else_P = ~(upright_P | turned_P)
        if upright_P.any():
            inter_P[upright_P] = _hbb_inter_pairs(self.boxes_N4[n[upright_P]], other.boxes_N4[m[upright_P]])
        if turned_P.any():
            inter_P[turned_P] = obb_intersection_pairs(self.obbs_N5[n[turned_P]], other.obbs_N5[m[turned_P]])
        if else_P.any():
            inter_P[else_P] = intersection_areas(self.polygons_N[n[else_P]], other.polygons_N[m[else_P]])
        return inter_P

    def _around_pairs(self, n: np.ndarray, other: Areas, m: np.ndarray) -> np.ndarray:
        """Area (P,) of the smallest shape around each pair: a horizontal box for two of them, convex otherwise."""
        a_P4, b_P4 = self.boxes_N4[n], other.boxes_N4[m]
        around_P = np.prod(np.maximum(a_P4[:, 2:], b_P4[:, 2:]) - np.minimum(a_P4[:, :2], b_P4[:, :2]), axis=1)
        else_P = ~(self.hbb_N[n] & other.hbb_N[m])
        if else_P.any():
            both_P2 = np.column_stack((self._hulls_N[n[else_P]], other._hulls_N[m[else_P]]))
            around_P[else_P] = shapely.area(shapely.convex_hull(shapely.geometrycollections(both_P2)))
        return around_P

    @cached_property
    def _hulls_N(self) -> np.ndarray:
        return shapely.convex_hull(self.shapes_N)


def _bounds(shapes_N: np.ndarray) -> np.ndarray:
    """Bounds (N, 4); NaN for what is missing, empty or holds a number that is not finite."""
    boxes_N4 = shapely.bounds(shapes_N).reshape(-1, 4)
    if not np.isfinite(shapely.get_coordinates(shapes_N)).all():
        boxes_N4[_nowhere(shapes_N)] = np.nan
    return boxes_N4


def _nowhere(shapes_N: np.ndarray) -> np.ndarray:
    """Which shapes are missing, empty, or hold a number that is not finite (bounds leave out NaN without a word)."""
    xy_V2, owner_V = shapely.get_coordinates(shapes_N, return_index=True)
    nowhere_N = shapely.is_missing(shapes_N) | shapely.is_empty(shapes_N)
    nowhere_N[owner_V[~_finite(xy_V2)]] = True
    return nowhere_N


def polygon_iou(shapes_N: np.ndarray, shapes_M: np.ndarray) -> np.ndarray:
    """Pairwise IoU (N, M) of shapely areas by their true outlines, whatever their kinds: see `overlap`."""
    return overlap(shapes_N, shapes_M)


def polygon_iou_pairs(shapes_P: np.ndarray, others_P: np.ndarray) -> np.ndarray:
    """IoU (P,) of shapely areas one to one."""
    return overlap_pairs(shapes_P, others_P)


def shape_iou(shapes_N: np.ndarray, shapes_M: np.ndarray, *, as_boxes: bool) -> np.ndarray:
    """Pairwise IoU of shapes: of their bounds where `as_boxes`, of their true areas otherwise."""
    if as_boxes:
        count, both = len(shapes_N), [np.asarray(shapes, dtype=object) for shapes in (shapes_N, shapes_M)]
        boxes_4 = _finite_rows(_bounds(np.concatenate(both)))
        return _hbb_iou(boxes_4[:count], boxes_4[count:])
    return overlap(shapes_N, shapes_M)


# --- horizontal boxes as numbers -------------------------------------------------------------------------


def hbb_iou(boxes_N4: np.ndarray, boxes_M4: np.ndarray) -> np.ndarray:
    """Pairwise IoU (N, M) of boxes (x1, y1, x2, y2); 0 where both have no area or a number is not finite."""
    return _hbb_iou(_finite_rows(as_rows(boxes_N4, 4)), _finite_rows(as_rows(boxes_M4, 4)))


def _hbb_iou(a_N4: np.ndarray, b_M4: np.ndarray) -> np.ndarray:
    if len(a_N4) * len(b_M4) <= HBB_FEW:
        return _hbb_iou_of_few(a_N4, b_M4)
    # a union of nothing is the smallest number rather than 0: divided by it, 0 is the 0 that is meant
    area_N, area_M = np.maximum(_areas(a_N4), SMALLEST), _areas(b_M4)
    if _few_meet(a_N4, b_M4):
        iou_NM = np.zeros((len(a_N4), len(b_M4)))
        n, m = near_pairs(a_N4, b_M4)
        inter_P = _hbb_inter_pairs(a_N4[n], b_M4[m])
        iou_NM[n, m] = inter_P / (area_N[n] + area_M[m] - inter_P)
        return iou_NM
    iou_NM = np.empty((len(a_N4), len(b_M4)))
    for rows, inter_KM, spare_KM in _hbb_blocks(a_N4, b_M4):
        np.add(area_N[rows, None], area_M, out=spare_KM)
        spare_KM -= inter_KM
        # never above 1: the common area is at most either area, and subtraction rounds to the nearest
        np.divide(inter_KM, spare_KM, out=iou_NM[rows])
    return iou_NM


def _hbb_iou_of_few(a_N4: np.ndarray, b_M4: np.ndarray) -> np.ndarray:
    """The same in a few array operations: for the boxes of one answer the calls cost more than the numbers."""
    a_4N, b_4M = np.ascontiguousarray(a_N4.T), np.ascontiguousarray(b_M4.T)
    size_2N, size_2M = np.maximum(a_4N[2:] - a_4N[:2], 0.0), np.maximum(b_4M[2:] - b_4M[:2], 0.0)
    side_2NM = np.minimum(a_4N[2:, :, None], b_4M[2:, None]) - np.maximum(a_4N[:2, :, None], b_4M[:2, None])
    np.maximum(side_2NM, 0.0, out=side_2NM)
    inter_NM = side_2NM[0] * side_2NM[1]
    union_NM = np.maximum(size_2N[0] * size_2N[1], SMALLEST)[:, None] + size_2M[0] * size_2M[1] - inter_NM
    return inter_NM / union_NM


def hbb_ioa(boxes_N4: np.ndarray, boxes_M4: np.ndarray) -> np.ndarray:
    """Pairwise (N, M): the part of each box of N that lies inside each box of M."""
    a_N4, b_M4 = _finite_rows(as_rows(boxes_N4, 4)), _finite_rows(as_rows(boxes_M4, 4))
    ioa_NM = np.empty((len(a_N4), len(b_M4)))
    area_N = np.maximum(_areas(a_N4), SMALLEST)
    for rows, inter_KM, _ in _hbb_blocks(a_N4, b_M4):
        np.divide(inter_KM, area_N[rows, None], out=ioa_NM[rows])
    return ioa_NM


def hbb_giou(boxes_N4: np.ndarray, boxes_M4: np.ndarray) -> np.ndarray:
    """Pairwise generalised IoU (N, M), within [-1, 1], with the smallest horizontal box around both.

    0 where that box has no area, -1 where a number is not finite.
    """
    a_N4, b_M4 = _finite_rows(as_rows(boxes_N4, 4)), _finite_rows(as_rows(boxes_M4, 4))
    giou_NM = np.empty((len(a_N4), len(b_M4)))
    area_N, area_M = _areas(a_N4), _areas(b_M4)
    for rows, inter_KM, union_KM in _hbb_blocks(a_N4, b_M4):
        np.subtract(np.add(area_N[rows, None], area_M, out=union_KM), inter_KM, out=union_KM)
        a_K4 = a_N4[rows, None]
        around_KM = np.maximum(a_K4[..., 2], b_M4[:, 2]) - np.minimum(a_K4[..., 0], b_M4[:, 0])
        around_KM *= np.maximum(a_K4[..., 3], b_M4[:, 3]) - np.minimum(a_K4[..., 1], b_M4[:, 1])
        giou_NM[rows] = share(inter_KM, union_KM) - share(around_KM - union_KM, around_KM)
    giou_NM[~_finite(as_rows(boxes_N4, 4))] = -1
    giou_NM[:, ~_finite(as_rows(boxes_M4, 4))] = -1
    return giou_NM


def _few_meet(a_N4: np.ndarray, b_M4: np.ndarray) -> bool:
    """Whether a tree finds the pairs that meet in less time than all pairs take; judged by a few rows."""
    if len(a_N4) * len(b_M4) < 1 << 16:
        return False
    rows_4K1, b_4M = a_N4[:: -(-len(a_N4) // 16)].T[..., None], np.ascontiguousarray(b_M4.T)
    meet_KM = (rows_4K1[0] < b_4M[2]) & (b_4M[0] < rows_4K1[2]) & (rows_4K1[1] < b_4M[3]) & (b_4M[1] < rows_4K1[3])
    return bool(meet_KM.mean() < FEW)


def _hbb_blocks(a_N4: np.ndarray, b_M4: np.ndarray):
    """Rows, the common areas of these boxes with all others, and an array of that shape to work in; block by block."""
    size = max(1, HBB_BLOCK // max(1, len(b_M4)))
    inter_KM, high_KM, side_KM = np.empty((3, min(size, len(a_N4)), len(b_M4)))
    b_4M = np.ascontiguousarray(b_M4.T)
    for start in range(0, len(a_N4), size):
        a_K4 = a_N4[start : start + size]
        inter, high, side = (buffer[: len(a_K4)] for buffer in (inter_KM, high_KM, side_KM))
        for axis, out in ((0, inter), (1, side)):
            np.minimum(a_K4[:, axis + 2, None], b_4M[axis + 2], out=high)
            np.maximum(a_K4[:, axis, None], b_4M[axis], out=out)
            np.subtract(high, out, out=out)
            np.maximum(out, 0.0, out=out)
        inter *= side
        yield slice(start, start + len(a_K4)), inter, side


def _hbb_inter_pairs(a_P4: np.ndarray, b_P4: np.ndarray) -> np.ndarray:
    sides_P2 = np.minimum(a_P4[:, 2:], b_P4[:, 2:]) - np.maximum(a_P4[:, :2], b_P4[:, :2])
    return np.prod(np.maximum(sides_P2, 0.0), axis=1)


def _areas(boxes_N4: np.ndarray) -> np.ndarray:
    return np.clip(boxes_N4[:, 2] - boxes_N4[:, 0], 0, None) * np.clip(boxes_N4[:, 3] - boxes_N4[:, 1], 0, None)


def _finite_rows(boxes_N4: np.ndarray) -> np.ndarray:
    """Boxes with those of no extent at the origin whose numbers are NaN, infinite or absurd."""
    if np.abs(boxes_N4).max(initial=0.0) <= LIMIT:
        return boxes_N4
    return np.where(_finite(boxes_N4)[:, None], boxes_N4, 0.0)


def _finite(boxes_N4: np.ndarray) -> np.ndarray:
    return (np.abs(boxes_N4) <= LIMIT).all(axis=1)


def _upright(boxes_N4: np.ndarray) -> np.ndarray:
    """Horizontal boxes (x1, y1, x2, y2) as oriented ones with heading 0."""
    low_N2, high_N2 = boxes_N4[:, :2], boxes_N4[:, 2:]
    return np.column_stack(((low_N2 + high_N2) / 2, high_N2 - low_N2, np.zeros(len(boxes_N4))))

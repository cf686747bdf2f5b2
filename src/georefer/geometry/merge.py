"""One object out of many looks at it: what overlapping windows say of the same ground, put together.

Neighbouring windows share a strip. Two shapes are the same object where they agree on the strip that both
windows saw, or as wholes. Of the looks at an object those that saw it whole are trusted; pieces alone are
joined; a piece inside a shape that another window saw adds nothing. Shapes of one window are never merged:
who saw both at once said that they are two.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import shapely

from georefer.geometry.repair import repaired
from georefer.geometry.shapes import OBB, Kind

NEAR = 3.0
"""Times `touch_px`: a shape so near to an inner border in every window, and inside another, is a piece of it."""


@dataclass(frozen=True, eq=False)
class Looks:
    """N areas of one class in raster pixels, the window (x1, y1, x2, y2) that each was seen in, and scores.

    `raster_size` is (width, height): a border of a window is an inner one unless it is the raster's own.
    """

    geometries_N: np.ndarray
    windows_N4: np.ndarray
    raster_size: tuple[int, int]
    scores_N: np.ndarray

    def cut_N4(self, touch_px: float) -> np.ndarray:
        """Whether each shape reaches the left, top, right and bottom border of its window, where that is inner."""
        bounds_N4 = shapely.bounds(self.geometries_N).reshape(-1, 4)
        width, height = self.raster_size
        inner_N4 = (self.windows_N4 > 0) & (self.windows_N4 < (width, height, width, height))
        inward = np.array([1, 1, -1, -1])
        return inner_N4 & ((bounds_N4 - self.windows_N4) * inward <= touch_px)

    def __getitem__(self, index: np.ndarray) -> Looks:
        return Looks(self.geometries_N[index], self.windows_N4[index], self.raster_size, self.scores_N[index])


@dataclass(frozen=True)
class MergeRule:
    """When two looks are one object.

    `iou`: the agreement that makes two shapes one, on the ground that both windows saw or as a whole.
    `inside`: the part of a cut piece that must lie in another shape for the piece to be dropped.
    `touch_px`: how near to its window's border a shape counts as cut by it: about the error of an edge.
    """

    iou: float = 0.5
    inside: float = 0.6
    touch_px: float = 1.0


@dataclass(frozen=True, eq=False)
class Merged:
    """M objects in an order of their own that does not depend on the order of the looks.

    `members_M` holds the looks (row numbers) that each object was made of, `first_M` the one whose shape it
    has or, for a joined one, the first piece; `whole_M` is false for an object that no window saw whole;
    `scores_M` is the best score of the looks that were trusted, NaN where there is none.
    """

    geometries_M: np.ndarray
    scores_M: np.ndarray
    whole_M: np.ndarray
    first_M: np.ndarray
    members_M: tuple[np.ndarray, ...]

    def seen_M(self, windows_N4: np.ndarray) -> np.ndarray:
        """In how many windows each object was seen."""
        return np.array([len(np.unique(windows_N4[rows], axis=0)) for rows in self.members_M], dtype=int)


def merge_looks(looks: Looks, kind: Kind, rule: MergeRule | None = None) -> Merged:
    """Every object once. `kind` says what joined pieces become: a box, an oriented box or their union.

    Shapes without area meet nothing and come back as they are. The result is the same for any order of looks.
    """
    rule = rule or MergeRule()
    order_N = _canonical_order(looks)
    looks = _mended(looks[order_N])
    cut_N = np.any(looks.cut_N4(rule.touch_px), axis=1)
    groups = _agreeing_groups(looks, cut_N, rule)
    shapes, trusted = _shapes(groups, looks, cut_N, kind)
    # that a shape is a piece of another is seen even where its edge misses the border by more than usual
    near_N = np.any(looks.cut_N4(NEAR * rule.touch_px), axis=1)
    groups, kept = _without_pieces(groups, shapes, looks, near_N, rule)
    best = [float(np.nan if np.isnan(looks.scores_N[t]).all() else np.nanmax(looks.scores_N[t])) for t in trusted]
    return Merged(
        _column([shapes[k] for k in kept]),
        np.array([best[k] for k in kept], dtype=np.float64),
        np.array([not cut_N[trusted[k]].any() for k in kept], dtype=bool),
        np.array([order_N[trusted[k][0]] for k in kept], dtype=int),
        tuple(np.sort(order_N[groups[k]]) for k in kept),
    )


# --- which looks agree -----------------------------------------------------------------------------------


def _agreeing_groups(looks: Looks, cut_N: np.ndarray, rule: MergeRule) -> list[list[int]]:
    """Looks grouped into objects: best agreement first, one look a window, pieces inside what was seen whole."""
    window_N = np.unique(looks.windows_N4, axis=0, return_inverse=True)[1].reshape(-1)
    i, j = _near_pairs(looks, window_N, rule)
    everywhere_P4 = np.tile([-np.inf, -np.inf, np.inf, np.inf], (len(i), 1))
    inter, area_i, area_j = _areas_within(looks.geometries_N[i], looks.geometries_N[j], everywhere_P4)
    iou = _ratio(inter, area_i + area_j - inter)
    # a whole look knows where the object ends: a piece of it lies inside, another whole look is like it
    held = (cut_N[i] & (inter >= rule.inside * area_i)) | (cut_N[j] & (inter >= rule.inside * area_j))
    fitting = (iou >= rule.iou) | held
    agreement = np.maximum(iou, _shared_agreement(looks, i, j, rule))
    # stable, so that ties keep the canonical order
    ranked = np.argsort(-agreement, kind="stable")
    ranked = ranked[agreement[ranked] >= rule.iou]
    groups = _Groups(window_N, cut_N, set(zip(i[fitting].tolist(), j[fitting].tolist(), strict=True)))
    for n in ranked:
        groups.unite(int(i[n]), int(j[n]))
    return list(groups.members.values())


class _Groups:
    """Disjoint groups of looks; refuses unions that would make one object of two."""

    def __init__(self, window_N: np.ndarray, cut_N: np.ndarray, fitting: set[tuple[int, int]]):
        self.window_N, self.cut_N, self.fitting = window_N.tolist(), cut_N.tolist(), fitting
        self.group_N = list(range(len(cut_N)))
        self.members = {n: [n] for n in self.group_N}

    def unite(self, a: int, b: int) -> None:
        first, second = sorted((self.group_N[a], self.group_N[b]))
        if first == second or not self._compatible(self.members[first], self.members[second]):
            return
        for member in self.members[second]:
            self.group_N[member] = first
        self.members[first] = sorted(self.members[first] + self.members.pop(second))

    def _compatible(self, first: list[int], second: list[int]) -> bool:
        """No window twice; wholes alike pair by pair; pieces inside one of the wholes, if there is any."""
        if {self.window_N[n] for n in first} & {self.window_N[n] for n in second}:
            return False
        wholes_1, wholes_2 = ([n for n in group if not self.cut_N[n]] for group in (first, second))
        if wholes_1 and wholes_2:
            return all(self._fit(m, n) for m in wholes_1 for n in wholes_2)
        wholes, pieces = (wholes_1, second) if wholes_1 else (wholes_2, first)
        return not wholes or all(any(self._fit(piece, whole) for whole in wholes) for piece in pieces)

    def _fit(self, a: int, b: int) -> bool:
        return (min(a, b), max(a, b)) in self.fitting


def _near_pairs(looks: Looks, window_N: np.ndarray, rule: MergeRule) -> tuple[np.ndarray, np.ndarray]:
    """Pairs i < j of areas from different windows that overlap or nearly touch."""
    bounds_N4 = shapely.bounds(looks.geometries_N).reshape(-1, 4)
    grown_N = shapely.box(*(bounds_N4 + 2 * rule.touch_px * np.array([-1, -1, 1, 1])).T)
    i, j = shapely.STRtree(looks.geometries_N).query(grown_N)
    has_area_N = shapely.area(looks.geometries_N) > 0
    wanted = (i < j) & (window_N[i] != window_N[j]) & has_area_N[i] & has_area_N[j]
    order = np.lexsort((j[wanted], i[wanted]))
    return i[wanted][order], j[wanted][order]


def _shared_agreement(looks: Looks, i: np.ndarray, j: np.ndarray, rule: MergeRule) -> np.ndarray:
    """IoU of each pair on the ground that both windows saw; along the seam where they share next to none."""
    low = np.maximum(looks.windows_N4[i, :2], looks.windows_N4[j, :2])
    high = np.minimum(looks.windows_N4[i, 2:], looks.windows_N4[j, 2:])
    strip_P4 = np.hstack([np.minimum(low, high), high]).astype(np.float64)
    inter, area_i, area_j = _areas_within(looks.geometries_N[i], looks.geometries_N[j], strip_P4)
    iou = _ratio(inter, area_i + area_j - inter)
    extent = high - low
    cut_N4 = looks.cut_N4(rule.touch_px)
    for axis in (0, 1):
        narrow = np.abs(extent[:, axis]) <= 2 * rule.touch_px
        facing = (cut_N4[i, axis + 2] & cut_N4[j, axis]) | (cut_N4[j, axis + 2] & cut_N4[i, axis])
        along = _interval_iou(looks, i, j, 1 - axis)
        iou = np.where(narrow, np.where(facing, along, 0.0), iou)
    return iou


def _interval_iou(looks: Looks, i: np.ndarray, j: np.ndarray, axis: int) -> np.ndarray:
    bounds_N4 = shapely.bounds(looks.geometries_N)
    low_i, high_i, low_j, high_j = (
        bounds_N4[i, axis],
        bounds_N4[i, axis + 2],
        bounds_N4[j, axis],
        bounds_N4[j, axis + 2],
    )
    inter = np.clip(np.minimum(high_i, high_j) - np.maximum(low_i, low_j), 0, None)
    union = np.maximum(high_i, high_j) - np.minimum(low_i, low_j)
    return _ratio(inter, union)


Areas = tuple[np.ndarray, np.ndarray, np.ndarray]


def _areas_within(first_P: np.ndarray, second_P: np.ndarray, strip_P4: np.ndarray) -> Areas:
    """Areas of each pair's intersection, first and second shape, inside the pair's strip (x1, y1, x2, y2).

    Axis-aligned boxes, most of what models say, are reckoned without building shapes.
    """
    areas_3P = np.zeros((3, len(first_P)))
    plain = _is_box(first_P) & _is_box(second_P)
    bounds = shapely.bounds(first_P[plain]), shapely.bounds(second_P[plain])
    areas_3P[:, plain] = _box_areas_within(*bounds, strip_P4[plain])
    first_P, second_P, strip_P4 = first_P[~plain], second_P[~plain], strip_P4[~plain]
    if len(first_P) and np.isfinite(strip_P4).all():
        strips = shapely.box(*strip_P4.T)
        first_P, second_P = shapely.intersection(first_P, strips), shapely.intersection(second_P, strips)
    inter = shapely.area(shapely.intersection(first_P, second_P))
    areas_3P[:, ~plain] = inter, shapely.area(first_P), shapely.area(second_P)
    return areas_3P[0], areas_3P[1], areas_3P[2]


def _box_areas_within(first_P4: np.ndarray, second_P4: np.ndarray, strip_P4: np.ndarray) -> Areas:
    def clipped(box_P4: np.ndarray, by_P4: np.ndarray) -> np.ndarray:
        low = np.maximum(box_P4[:, :2], by_P4[:, :2])
        return np.hstack([low, np.maximum(low, np.minimum(box_P4[:, 2:], by_P4[:, 2:]))])

    def area(box_P4: np.ndarray) -> np.ndarray:
        return np.prod(box_P4[:, 2:] - box_P4[:, :2], axis=1)

    first_P4, second_P4 = clipped(first_P4, strip_P4), clipped(second_P4, strip_P4)
    return area(clipped(first_P4, second_P4)), area(first_P4), area(second_P4)


def _is_box(shapes_P: np.ndarray) -> np.ndarray:
    """Whether each shape fills its bounds."""
    bounds_P4 = shapely.bounds(shapes_P).reshape(-1, 4)
    full = np.prod(bounds_P4[:, 2:] - bounds_P4[:, :2], axis=1)
    return np.abs(shapely.area(shapes_P) - full) <= 1e-9 * full


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.where(whole > 0, whole, 1.0)


# --- what becomes of a group -----------------------------------------------------------------------------


def _shapes(
    groups: list[list[int]], looks: Looks, cut_N: np.ndarray, kind: Kind
) -> tuple[list[shapely.Geometry], list[np.ndarray]]:
    """The shape of every group and the looks it rests on: the best whole one, or all pieces joined."""
    shapes, trusted = [], []
    margin_N = _margin(looks)
    for members in map(np.array, groups):
        whole = members[~cut_N[members]]
        if len(whole) or len(members) == 1:
            candidates = whole if len(whole) else members
            score = np.nan_to_num(looks.scores_N[candidates], nan=-np.inf)
            # among equals the one farthest from its window's border had the most context
            ranked = candidates[np.lexsort((-margin_N[candidates], -score))]
            shapes.append(looks.geometries_N[ranked[0]])
            trusted.append(ranked)
        else:
            shapes.append(_joined(looks.geometries_N[members], kind))
            trusted.append(members)
    return shapes, trusted


def _joined(pieces: np.ndarray, kind: Kind) -> shapely.Geometry:
    if kind == "hbb":
        return shapely.box(*shapely.total_bounds(pieces))
    union = shapely.union_all(pieces)
    return OBB.around(union).to_polygon() if kind == "obb" else union


def _margin(looks: Looks) -> np.ndarray:
    """Distance of each shape's bounds from its window's nearest border, pixels."""
    inward = np.array([1, 1, -1, -1])
    return ((shapely.bounds(looks.geometries_N).reshape(-1, 4) - looks.windows_N4) * inward).min(axis=1)


def _without_pieces(
    groups: list[list[int]], shapes: list[shapely.Geometry], looks: Looks, near_N: np.ndarray, rule: MergeRule
) -> tuple[list[list[int]], list[int]]:
    """Groups with cut pieces handed to the shape that holds them, and the numbers of those that remain."""
    shapes_M = _column(shapes)
    areas = shapely.area(shapes_M)
    is_piece_M = np.array([near_N[members].all() for members in groups], dtype=bool)
    holders: dict[int, list[tuple[float, int]]] = defaultdict(list)
    # a shape seen whole holds pieces of any size: joined ones can be too large
    rank = [(not is_piece, area) for is_piece, area in zip(is_piece_M.tolist(), areas.tolist(), strict=True)]
    for piece, holder, part in _held(shapes_M, is_piece_M, rule):
        if rank[holder] > rank[piece] and _apart(groups[piece], groups[holder], looks):
            holders[piece].append((-part, holder))
    groups = [list(members) for members in groups]
    # lowest first: what a piece has taken over goes on with it
    for piece in sorted(holders, key=lambda k: (rank[k], k)):
        groups[min(holders[piece])[1]] += groups[piece]
    return groups, [k for k in range(len(groups)) if k not in holders]


def _held(shapes_M: np.ndarray, is_piece_M: np.ndarray, rule: MergeRule) -> list[tuple[int, int, float]]:
    """(piece, holder, part) where enough of a piece lies in another shape.

    Holders are grown by the border's tolerance: a sliver that a window caught of an object is no wider than
    the errors of both, and would else stay beside it.
    """
    pieces = np.flatnonzero(is_piece_M)
    grown_M = shapely.buffer(shapes_M, rule.touch_px, join_style="mitre")
    piece, holder = shapely.STRtree(grown_M).query(shapes_M[pieces])
    piece = pieces[piece]
    part = _ratio(shapely.area(shapely.intersection(shapes_M[piece], grown_M[holder])), shapely.area(shapes_M[piece]))
    enough = (part >= rule.inside) & (piece != holder)
    return list(zip(piece[enough].tolist(), holder[enough].tolist(), part[enough].tolist(), strict=True))


def _apart(first: list[int], second: list[int], looks: Looks) -> bool:
    """Whether no window said both: two shapes of one answer are two objects, however they lie."""
    seen = {tuple(looks.windows_N4[n]) for n in first}
    return not any(tuple(looks.windows_N4[n]) in seen for n in second)


# --- order -----------------------------------------------------------------------------------------------


def _canonical_order(looks: Looks) -> np.ndarray:
    """Rows by window, then shape, then score: equal for every order in which the looks came."""
    keys = zip(
        map(tuple, looks.windows_N4.tolist()),
        shapely.to_wkb(looks.geometries_N).tolist(),
        np.nan_to_num(looks.scores_N, nan=-1.0).tolist(),
        strict=True,
    )
    return np.array([n for n, _ in sorted(enumerate(keys), key=lambda item: item[1])], dtype=int)


def _mended(looks: Looks) -> Looks:
    return Looks(repaired(looks.geometries_N), looks.windows_N4, looks.raster_size, looks.scores_N)


def _column(values: list[shapely.Geometry]) -> np.ndarray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column

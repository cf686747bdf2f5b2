"""What GroundSet's scorers read in answers, for all rows of a table at once: shapes, and how each overlaps the truths.

Each way in which the published scorers depart from a strict one is a switch in `quirks`: with all of them on the
result is the published one, with none the strict one, so that a row's difference can be laid at one door.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import shapely

from georefer.geometry.edges import intersection_areas
from georefer.geometry.repair import is_repairable
from georefer.scoring.matching import match_optimal

SIDE_PX = 672
"""The square to which all shapes are scaled and clipped; overlap does not depend on it."""

THRESHOLD = 0.5
NEAR = 1e-9
"""Overlaps this near to the threshold or to each other are reckoned as the original does, whose rounding decides."""

MAX_RING = 1000
"""Corners of a ring that crosses itself which GEOS is asked to mend unseen; longer ones are counted first."""

_N = r"-?\d+(?:\.\d+)?"
_NUMBER = re.compile(_N)
_LIST = re.compile(rf"\[\s*+({_N}(?:\s*+,\s*+{_N})*+)\s*+\]")
_BRACES = re.compile(rf"\{{\s*+((?:<\s*+{_N}\s*+>\s*+)++)\}}")
_TURNED = re.compile(rf"\{{\s*+((?:<\s*+{_N}\s*+>\s*+)++\|\s*+<\s*+{_N}\s*+>)\s*+\}}")
_LOCATIONS = re.compile(r"((?:<loc\d+>\s*+){4})")
_CODES = re.compile(r"<seg\d+>\s*+<seg\d+>")
_MARKED = re.compile(r"\[[^\]\[]*\]|\{[^}{]*\}|(?:<loc\d+>\s*+){4}")


@dataclass(frozen=True)
class Scale:
    """How a model's numbers become parts of the image: divided, y first, or by the look of them.

    `turned` says what `{<a><b><c><d>|<angle>}` means: corners or middle and sides, turned; None ignores the angle.
    """

    divisor: float
    y_first: bool = False
    by_look: bool = False
    turned: Literal["corners", "middle"] | None = None


@dataclass(frozen=True, eq=False)
class Claims:
    """The lists of numbers in the texts of all rows, one after the other; `barred_K`: its last one is an angle."""

    row_K: np.ndarray
    count_K: np.ndarray
    barred_K: np.ndarray
    flat_V: np.ndarray

    def at(self, place_K: np.ndarray | int) -> np.ndarray:
        """The number at a place of each list, NaN where it has fewer."""
        index_K = np.cumsum(self.count_K) - self.count_K + place_K
        has_K = place_K < self.count_K
        return (
            np.where(has_K, self.flat_V[np.where(has_K, index_K, 0)], np.nan) if len(self.flat_V) else index_K * np.nan
        )

    def any_of(self, test_V: np.ndarray) -> np.ndarray:
        """Which lists have a number that passes a test."""
        owner_V = np.repeat(np.arange(len(self.row_K)), self.count_K)
        return np.bincount(owner_V, test_V, minlength=len(self.row_K)) > 0

    def divisors(self, scale: Scale, quirks: Collection[str]) -> np.ndarray:
        """What each list is divided by.

        By the look of it, per mille as soon as one number is whole. Strictly a convention belongs to a run: per mille
        where most lists go beyond 1.
        """
        count = len(self.row_K)
        if not scale.by_look:
            return np.full(count, scale.divisor)
        if "by-look" not in quirks:
            return np.full(count, 1000.0 if 2 * self.any_of(self.flat_V > 1).sum() > count else 1.0)
        whole_V = np.isfinite(self.flat_V) & (self.flat_V == np.floor(self.flat_V))
        return np.where(self.any_of(whole_V), scale.divisor, 1.0)


@dataclass(frozen=True, eq=False)
class Shapes:
    """Shapes of all rows, in row order. A plain box has no geometry (None), only bounds; a truth may be empty."""

    row_K: np.ndarray
    bounds_K4: np.ndarray
    shape_K: np.ndarray

    def those(self, kept_K: np.ndarray) -> Shapes:
        """Some of them, by a mask."""
        return Shapes(self.row_K[kept_K], self.bounds_K4[kept_K], self.shape_K[kept_K])

    def geometries(self, which_M: np.ndarray) -> np.ndarray:
        """The geometries of some, boxes made into polygons."""
        found_M = self.shape_K[which_M].copy()
        plain_M = shapely.is_missing(found_M)
        found_M[plain_M] = shapely.box(*self.bounds_K4[which_M][plain_M].T)
        return found_M

    def areas(self) -> np.ndarray:
        x1_K, y1_K, x2_K, y2_K = self.bounds_K4.T
        area_K = (x2_K - x1_K) * (y2_K - y1_K)
        other_K = ~shapely.is_missing(self.shape_K)
        area_K[other_K] = shapely.area(self.shape_K[other_K])
        return area_K


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Per row counts, and per prediction (in row order) its best IoU with any truth of its row.

    `best_T` is that of each truth with any prediction; as published it is not reckoned, and empty.
    """

    tp_R: np.ndarray
    predictions_R: np.ndarray
    truths_R: np.ndarray
    best_P: np.ndarray
    best_T: np.ndarray


# --- texts ------------------------------------------------------------------------------------------------


def claims(texts: Sequence[Any], segments: bool, quirks: Collection[str], *, truth: bool = False) -> Claims:
    """The lists of numbers that the scorer sees; truths are plain lists alone."""
    found: list[tuple[int, str, bool]] = []
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            continue
        if truth:
            found += [(row, m, False) for m in _LIST.findall(text)]
            continue
        if segments and _CODES.search(text):
            continue  # taken for mask codes, which need weights that were not at hand
        text = text.replace("(", "[").replace(")", "]")
        patterns = (_LIST, _LOCATIONS) if segments else (_LIST, _BRACES, _TURNED, _LOCATIONS)
        if "first-pattern" in quirks:
            for pattern in patterns:
                if matches := pattern.findall(text):
                    found += [(row, m, pattern is _TURNED) for m in matches]
                    break
        else:
            for mark in _MARKED.findall(text):
                found += [(row, m, p is _TURNED) for p in patterns for m in p.findall(mark)]
    row_K, barred_K = np.array([row for row, _, _ in found], dtype=int), np.array([b for _, _, b in found], dtype=bool)
    count_K, flat_V = _numbers([text for _, text, _ in found])
    return Claims(row_K, count_K, barred_K, flat_V)


def _numbers(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """How many numbers each text has, and all of them; in one go where all are plain lists, which most files are."""
    count_K = np.array([text.count(",") + 1 for text in texts], dtype=int)
    if texts and not any("<" in text for text in texts):
        with suppress(ValueError):  # digits of other scripts
            flat_V = np.fromstring(",".join(texts), sep=" , ")
            if len(flat_V) == count_K.sum():
                return count_K, flat_V
    lists = [_floats(text) for text in texts]
    return np.array([len(values) for values in lists], dtype=int), np.array([v for values in lists for v in values])


def _floats(text: str) -> list[float]:
    try:
        return [float(v) for v in text.split(",")]
    except ValueError:
        return [float(v) for v in _NUMBER.findall(text)]


# --- boxes ------------------------------------------------------------------------------------------------


def boxes(found: Claims, scale: Scale | None, rec: bool, quirks: Collection[str]) -> tuple[Shapes, np.ndarray]:
    """Claims as boxes within the square, and the rows of those that are none or leave nothing (one entry each).

    `scale` is None for truths. REC takes exactly four numbers, the others swallow a fifth.
    """
    truth, scale = scale is None, scale or Scale(1)
    turned_K = found.barred_K & (scale.turned is not None)
    count_K = found.count_K - turned_K
    is_box_K = count_K == 4
    if not rec and ("fifth" in quirks or truth):
        is_box_K |= (count_K > 4) if scale.y_first else (count_K == 5)
    parts_K4 = np.stack([found.at(place) for place in range(4)], axis=-1) / found.divisors(scale, quirks)[:, None]
    parts_K4[~is_box_K] = np.nan  # a truth that is no box still counts as one
    angle_K = np.where(turned_K, found.at(found.count_K - 1), np.nan)
    kept_K = is_box_K | truth
    shapes, lost_K = _clipped_boxes(found.row_K[kept_K], parts_K4[kept_K], angle_K[kept_K], scale, truth)
    return shapes, np.concatenate([found.row_K[~kept_K], found.row_K[kept_K][lost_K]])


def _clipped_boxes(
    row_K: np.ndarray, parts_K4: np.ndarray, angle_K: np.ndarray, scale: Scale, truth: bool
) -> tuple[Shapes, np.ndarray]:
    """What is left of boxes in the square, and which of them leave nothing; a truth that does is kept, empty.

    An angle is NaN where none was said.
    """
    if scale.y_first:
        parts_K4 = parts_K4[:, [1, 0, 3, 2]]
    barred_K, angle_K = ~np.isnan(angle_K), np.where(np.isnan(angle_K), 0.0, angle_K)
    with np.errstate(over="ignore", invalid="ignore"):
        px_K4 = parts_K4 * SIDE_PX
        if scale.turned == "middle":
            half_K2 = px_K4[:, 2:] / 2
            around_K4 = np.concatenate([px_K4[:, :2] - half_K2, px_K4[:, :2] + half_K2], axis=1)
            px_K4 = np.where(barred_K[:, None], around_K4, px_K4)
    lost_K = ~(np.isfinite(px_K4).all(axis=1) & np.isfinite(angle_K))
    px_K4, angle_K = np.where(lost_K[:, None], 0.0, px_K4), np.where(lost_K, 0.0, angle_K)
    low_K2, high_K2 = np.minimum(px_K4[:, :2], px_K4[:, 2:]), np.maximum(px_K4[:, :2], px_K4[:, 2:])
    bounds_K4 = np.concatenate([np.clip(low_K2, 0, SIDE_PX), np.clip(high_K2, 0, SIDE_PX)], axis=1)
    shape_K = np.full(len(row_K), None, dtype=object)
    # what has no area is asked of GEOS, which keeps some lines and points on the edge and drops others
    thin_K = (bounds_K4[:, :2] >= bounds_K4[:, 2:]).any(axis=1) & (angle_K == 0)
    turned_K = angle_K != 0
    shape_K[thin_K] = shapely.box(*np.concatenate([low_K2, high_K2], axis=1)[thin_K].T)
    shape_K[turned_K] = _turned(px_K4[turned_K], angle_K[turned_K])
    special_K = (thin_K | turned_K) & ~lost_K
    shape_K[special_K] = shapely.intersection(shape_K[special_K], shapely.box(0, 0, SIDE_PX, SIDE_PX))
    lost_K |= special_K & shapely.is_empty(shape_K)
    shape_K[lost_K] = shapely.Polygon()
    bounds_K4[special_K] = shapely.bounds(shape_K[special_K])
    bounds_K4[lost_K] = np.nan
    kept_K = np.ones_like(lost_K) if truth else ~lost_K
    return Shapes(row_K[kept_K], bounds_K4[kept_K], shape_K[kept_K]), lost_K


def _turned(px_K4: np.ndarray, angle_K: np.ndarray) -> np.ndarray:
    """Boxes turned about their middle by degrees, clockwise on the screen."""
    middle_K2, half_K2 = (px_K4[:, :2] + px_K4[:, 2:]) / 2, (px_K4[:, 2:] - px_K4[:, :2]) / 2
    cos_K, sin_K = np.cos(np.deg2rad(angle_K)), np.sin(np.deg2rad(angle_K))
    corners_K42 = half_K2[:, None] * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    x_K4, y_K4 = corners_K42[..., 0], corners_K42[..., 1]
    turned_K42 = np.stack(
        [x_K4 * cos_K[:, None] - y_K4 * sin_K[:, None], x_K4 * sin_K[:, None] + y_K4 * cos_K[:, None]], axis=-1
    )
    return shapely.polygons(turned_K42 + middle_K2[:, None])


# --- outlines ---------------------------------------------------------------------------------------------


def outlines(found: Claims, scale: Scale | None, quirks: Collection[str]) -> tuple[Shapes, np.ndarray]:
    """Claims as outlines x1, y1, ...; four numbers are a box. Returns also the rows of those that are none."""
    truth, scale = scale is None, scale or Scale(1)
    shape_K = _within(_polygons(found, found.divisors(scale, quirks), scale.y_first), quirks)
    lost_K = shapely.is_missing(shape_K)
    shape_K[lost_K] = shapely.Polygon()
    kept_K = np.ones_like(lost_K) if truth else ~lost_K
    shapes = Shapes(found.row_K[kept_K], shapely.bounds(shape_K[kept_K]).reshape(-1, 4), shape_K[kept_K])
    return shapes, found.row_K[lost_K]


BOX_RING = np.array([[2, 1], [2, 3], [0, 3], [0, 1], [2, 1]])
"""Places of x and y of a closed ring in a list of four numbers."""


def _polygons(found: Claims, divisor_K: np.ndarray, y_first: bool) -> np.ndarray:
    """Lists as polygons in pixels, None for those too short or endless; an odd number at the end is dropped.

    With `y_first`, the first four numbers are taken for a box, whatever was said.
    """
    box_K = found.count_K >= 4 if y_first else found.count_K == 4
    ring_K = ~box_K & (found.count_K >= 6) & (not y_first)
    points_K = np.where(box_K, len(BOX_RING), np.where(ring_K, found.count_K // 2 + 1, 0))
    owner_N = np.repeat(np.arange(len(points_K)), points_K)
    place_N = np.arange(len(owner_N)) - np.repeat(np.cumsum(points_K) - points_K, points_K)
    first_N = (np.cumsum(found.count_K) - found.count_K)[owner_N]
    # the last point is the first again
    along_N2 = 2 * (place_N % np.maximum(points_K - 1, 1)[owner_N])[:, None] + [0, 1]
    corner_N2 = BOX_RING[np.minimum(place_N, len(BOX_RING) - 1)] ^ int(y_first)
    index_N2 = first_N[:, None] + np.where(box_K[owner_N][:, None], corner_N2, along_N2)
    with np.errstate(over="ignore"):
        xy_N2 = found.flat_V[index_N2] / divisor_K[owner_N][:, None] * SIDE_PX
    endless_K = np.bincount(owner_N, ~np.isfinite(xy_N2).all(axis=1), minlength=len(points_K)) > 0
    good_K = (points_K > 0) & ~endless_K
    shape_K = np.full(len(points_K), None, dtype=object)
    if good_K.any():
        ring_N = (np.cumsum(good_K) - 1)[owner_N]
        keep_N = good_K[owner_N]
        shape_K[good_K] = shapely.polygons(shapely.linearrings(xy_N2[keep_N], indices=ring_N[keep_N]))
    return shape_K


def _within(shape_K: np.ndarray, quirks: Collection[str]) -> np.ndarray:
    """Outlines within the square, None for what lies outside it.

    One that crosses itself keeps what buffer(0) keeps, unclipped ("one-lobe"); strictly, all that it encloses.
    One that would take GEOS seconds is given up.
    """
    shape_K = shape_K.copy()
    is_K = ~shapely.is_missing(shape_K)
    bad_K = is_K & ~shapely.is_valid(shape_K)
    for k in np.flatnonzero(bad_K):
        if shapely.get_num_coordinates(shape_K[k]) > MAX_RING and not is_repairable(shape_K[k]):
            shape_K[k], is_K[k], bad_K[k] = None, False, False
    if "one-lobe" in quirks:
        shape_K[bad_K] = shapely.buffer(shape_K[bad_K], 0)
        clip_K = is_K & ~bad_K
    else:
        shape_K[bad_K] = shapely.make_valid(shape_K[bad_K])
        clip_K = is_K
    bounds_K4 = shapely.bounds(shape_K)
    out_K = clip_K & ~((bounds_K4[:, :2] >= 0) & (bounds_K4[:, 2:] <= SIDE_PX)).all(axis=1)
    shape_K[out_K] = shapely.intersection(shape_K[out_K], shapely.box(0, 0, SIDE_PX, SIDE_PX))
    shape_K[clip_K & shapely.is_empty(shape_K)] = None
    return shape_K


# --- overlap ----------------------------------------------------------------------------------------------


def overlaps(found: Shapes, true: Shapes, rows: int, quirks: Collection[str]) -> Overlaps:
    """Matches of every row's predictions with its truths.

    As published ("own-best") each prediction looks at its one best truth, the first of equals, and a truth counts
    once; strictly as many pairs count as can be made.
    """
    predictions_R = np.bincount(found.row_K, minlength=rows)
    truths_R = np.bincount(true.row_K, minlength=rows)
    width_P = truths_R[found.row_K]  # pairs of each prediction, one after the other
    start_P = np.cumsum(width_P) - width_P
    p_I = np.repeat(np.arange(len(found.row_K)), width_P)
    first_R = np.cumsum(truths_R) - truths_R
    t_I = np.arange(len(p_I)) - start_P[p_I] + first_R[found.row_K[p_I]]
    iou_I = _pair_iou(found, true, p_I, t_I, "own-best" in quirks)
    best_P, best_T = np.zeros(len(found.row_K)), np.zeros(0)
    np.maximum.at(best_P, p_I, iou_I)
    if "own-best" in quirks:
        is_best_I = np.flatnonzero((iou_I == best_P[p_I]) & (best_P[p_I] >= THRESHOLD))
        _, once = np.unique(p_I[is_best_I], return_index=True)
        taken = np.unique(t_I[is_best_I][once])
        tp_R = np.bincount(true.row_K[taken], minlength=rows)
    else:
        best_T = np.zeros(len(true.row_K))
        np.maximum.at(best_T, t_I, iou_I)
        tp_R = np.zeros(rows, dtype=int)
        pair_R = predictions_R * truths_R
        ends_R = np.cumsum(pair_R)
        for row in np.flatnonzero(pair_R):
            iou_PT = iou_I[ends_R[row] - pair_R[row] : ends_R[row]].reshape(predictions_R[row], truths_R[row])
            tp_R[row] = (match_optimal(iou_PT, THRESHOLD) >= 0).sum()
    return Overlaps(tp_R, predictions_R, truths_R, best_P, best_T)


def _pair_iou(found: Shapes, true: Shapes, p_I: np.ndarray, t_I: np.ndarray, best_only: bool) -> np.ndarray:
    """IoU of each pair; with `best_only`, 0 for pairs whose bounds show that the prediction has a better truth."""
    a_I4, b_I4 = found.bounds_K4[p_I], true.bounds_K4[t_I]
    with np.errstate(invalid="ignore"):
        side_I2 = np.minimum(a_I4[:, 2:], b_I4[:, 2:]) - np.maximum(a_I4[:, :2], b_I4[:, :2])
        meets_I = (side_I2 > 0).all(axis=1)
    plain_I = shapely.is_missing(found.shape_K[p_I]) & shapely.is_missing(true.shape_K[t_I])
    area_I, area2_I = found.areas()[p_I], true.areas()[t_I]
    most_I = np.minimum(np.minimum(area_I, area2_I), np.where(meets_I, side_I2[:, 0] * side_I2[:, 1], 0.0))
    bound_I = np.zeros(len(p_I))
    np.divide(most_I, area_I + area2_I - most_I, out=bound_I, where=most_I > 0)
    iou_I = np.where(plain_I, bound_I, 0.0)
    hard = np.flatnonzero((bound_I > 0) & ~plain_I)
    best_P = np.zeros(len(found.row_K))
    for some in _rounds(hard, p_I, bound_I) if best_only else [hard]:
        some = some[bound_I[some] > best_P[p_I[some]] - NEAR]
        inter_M = intersection_areas(found.geometries(p_I[some]), true.geometries(t_I[some]))
        iou_I[some] = inter_M / (area_I[some] + area2_I[some] - inter_M)
        np.maximum.at(best_P, p_I[some], iou_I[some])
    near = np.flatnonzero(_is_near(iou_I, p_I, len(found.row_K)))
    if len(near):
        a_N, b_N = found.geometries(p_I[near]), true.geometries(t_I[near])
        iou_I[near] = shapely.area(shapely.intersection(a_N, b_N)) / shapely.area(shapely.union(a_N, b_N))
    return iou_I


def _rounds(pairs: np.ndarray, p_I: np.ndarray, bound_I: np.ndarray) -> list[np.ndarray]:
    """Pairs in rounds: each prediction's most promising one first."""
    ordered = pairs[np.lexsort((-bound_I[pairs], p_I[pairs]))]
    _, first, count = np.unique(p_I[ordered], return_index=True, return_counts=True)
    rank = np.arange(len(ordered)) - np.repeat(first, count)
    return [ordered[rank == r] for r in range(count.max(initial=0))]


def _is_near(iou_I: np.ndarray, p_I: np.ndarray, predictions: int) -> np.ndarray:
    """Overlaps at which the last digit decides: at the threshold, or where a prediction has two best truths."""
    best_P = np.zeros(predictions)
    np.maximum.at(best_P, p_I, iou_I)
    top_I = (iou_I > best_P[p_I] - NEAR) & (iou_I >= THRESHOLD - NEAR)
    rivals_I = np.bincount(p_I[top_I], minlength=predictions)[p_I] > 1 if predictions else top_I
    return (abs(iou_I - THRESHOLD) < NEAR) | (top_I & rivals_I)

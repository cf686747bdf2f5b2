"""Areas that simple polygons share, summed over pairs of their edges: for many small outlines faster than GEOS.

A polygon is the signed sum of the strips under its edges. So the area shared by two is the sum, over each edge of one
and each of the other, of the area under the lower of both, with the product of their signs. That integral has a closed
form, needs no sorting and no special cases (touching, shared and collinear edges cancel), and vectorises. The formula
is ours; its cost is the product of the numbers of corners, so large outlines go to GEOS.
"""

from __future__ import annotations

import numpy as np
import shapely

MAX_EDGE_PAIRS = 700
"""Edge pairs of one pair of polygons up to which the sum is used; near it GEOS takes as long."""

BLOCK = 1 << 14
"""Edge pairs in memory at once: what a core's cache holds; sixteen times as many take twice as long."""


def intersection_areas(a_M: np.ndarray, b_M: np.ndarray) -> np.ndarray:
    """The area that each pair of valid areas shares, to some 1e-13 of the larger one; 0 for points and lines.

    Polygons with holes, several parts or many corners are given to GEOS.
    """
    a_M, b_M = (np.asarray(v, dtype=object) for v in (a_M, b_M))
    area_M = np.zeros(len(a_M))
    count_M = shapely.get_num_coordinates(a_M) * shapely.get_num_coordinates(b_M)
    simple_M = _is_simple(a_M) & _is_simple(b_M) & (count_M <= MAX_EDGE_PAIRS)
    rest = np.flatnonzero(~simple_M)
    area_M[rest] = shapely.area(shapely.intersection(a_M[rest], b_M[rest]))
    start = 0
    some = np.flatnonzero(simple_M)
    ends_S = np.cumsum(count_M[some])
    while start < len(some):
        done = ends_S[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends_S, done + BLOCK, side="right")))
        block = some[start:stop]
        area_M[block] = _shared(a_M[block], b_M[block])
        start = stop
    return area_M


def _is_simple(shapes_M: np.ndarray) -> np.ndarray:
    one_M = shapely.get_type_id(shapes_M) == shapely.GeometryType.POLYGON
    return one_M & (shapely.get_num_interior_rings(shapes_M) == 0) & ~shapely.is_empty(shapes_M)


def _shared(a_M: np.ndarray, b_M: np.ndarray) -> np.ndarray:
    # reckoned from a corner of each pair, so that no digits are lost to where the image lies
    origin_M2 = shapely.bounds(b_M)[:, :2]
    a_E4, sign_E, first_M, count_M = _edges(a_M, b_M, origin_M2)
    b_F4, sign_F, first2_M, count2_M = _edges(b_M, a_M, origin_M2)
    pairs_M = count_M * count2_M
    pair_K = np.repeat(np.arange(len(a_M)), pairs_M)
    place_K = np.arange(len(pair_K)) - np.repeat(np.cumsum(pairs_M) - pairs_M, pairs_M)
    row_K, column_K = np.divmod(place_K, count2_M[pair_K])
    i_K, j_K = first_M[pair_K] + row_K, first2_M[pair_K] + column_K
    left_K = np.maximum(a_E4[i_K, 0], b_F4[j_K, 0])
    right_K = np.minimum(a_E4[i_K, 2], b_F4[j_K, 2])
    over_K = right_K > left_K
    pair_K, i_K, j_K, left_K, right_K = (v[over_K] for v in (pair_K, i_K, j_K, left_K, right_K))
    a_left_K, a_right_K = _heights(a_E4[i_K], left_K, right_K)
    b_left_K, b_right_K = _heights(b_F4[j_K], left_K, right_K)
    under_K = (a_left_K + a_right_K + b_left_K + b_right_K - _gap(a_left_K - b_left_K, a_right_K - b_right_K)) / 4
    signed_K = under_K * (right_K - left_K) * sign_E[i_K] * sign_F[j_K]
    return np.maximum(np.bincount(pair_K, signed_K, minlength=len(a_M)), 0.0)


def _edges(
    shapes_M: np.ndarray, other_M: np.ndarray, origin_M2: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Edges (left x, its y, right x, its y), signs that make every polygon positive, and where each one's edges lie.

    Without the edges that add nothing: those beside the other polygon, and those under it, whose strips the other's
    edges take away as often as they add them.
    """
    xy_P2, shape_P = shapely.get_coordinates(shapes_M, return_index=True)
    xy_P2 = xy_P2 - origin_M2[shape_P]
    inner_P = shape_P[:-1] == shape_P[1:]
    from_E2, to_E2, shape_E = xy_P2[:-1][inner_P], xy_P2[1:][inner_P], shape_P[:-1][inner_P]
    swap_E = from_E2[:, 0] > to_E2[:, 0]
    edge_E4 = np.where(swap_E[:, None], np.hstack([to_E2, from_E2]), np.hstack([from_E2, to_E2]))
    turn_E = np.where(swap_E, -1.0, 1.0)
    under_E = turn_E * (edge_E4[:, 2] - edge_E4[:, 0]) * (edge_E4[:, 1] + edge_E4[:, 3])
    positive_M = np.where(np.bincount(shape_E, under_E, minlength=len(shapes_M)) < 0, -1.0, 1.0)
    x1_E, y1_E, x2_E, _ = (shapely.bounds(other_M) - np.tile(origin_M2, 2))[shape_E].T
    adds_E = (edge_E4[:, 2] > x1_E) & (edge_E4[:, 0] < x2_E) & (np.maximum(edge_E4[:, 1], edge_E4[:, 3]) > y1_E)
    adds_E &= edge_E4[:, 0] < edge_E4[:, 2]
    count_M = np.bincount(shape_E[adds_E], minlength=len(shapes_M))
    signs_E = (turn_E * positive_M[shape_E])[adds_E]
    return edge_E4[adds_E], signs_E, np.cumsum(count_M) - count_M, count_M


def _heights(edge_K4: np.ndarray, left_K: np.ndarray, right_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y of edges at two places within them; none is vertical."""
    slope_K = (edge_K4[:, 3] - edge_K4[:, 1]) / (edge_K4[:, 2] - edge_K4[:, 0])
    return edge_K4[:, 1] + slope_K * (left_K - edge_K4[:, 0]), edge_K4[:, 1] + slope_K * (right_K - edge_K4[:, 0])


def _gap(left_K: np.ndarray, right_K: np.ndarray) -> np.ndarray:
    """Twice the mean of |d| between two places, d being linear: with a change of sign it is two triangles."""
    size_K = np.abs(left_K) + np.abs(right_K)
    crossed_K = left_K * right_K < 0
    gap_K = size_K.copy()
    np.divide(left_K**2 + right_K**2, size_K, out=gap_K, where=crossed_K)
    return gap_K

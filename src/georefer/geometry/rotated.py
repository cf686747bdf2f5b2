"""Oriented boxes as rows of numbers: their corners, and how much they overlap, exactly and in bulk.

Libraries that build the overlap polygon of two oriented boxes must decide which corners of it are the same point, and
nearly identical boxes make them decide wrongly: an overlap of 0, or of more than 1. Here no polygon is built. One box
is laid along the axes; the area of the other one inside it is a sum over that one's four edges, each the exact
integral of a clipped straight line. Every term alone is continuous in the inputs, so nothing can come out torn.

The layout is (cx, cy, length, width, heading_deg): continuous pixels with y down, `length` along the heading, degrees
clockwise on the screen. Any angle is understood, and a negative side counts by its size. Other conventions are
turned into this one by `georefer.geometry.angles`.
"""

from __future__ import annotations

import numpy as np
import shapely

BLOCK = 4096
"""Pairs in one go: some twenty arrays of this length fit a processor's second-level cache."""

LIMIT = 1e50
"""Numbers beyond this, and NaN, make a box one that overlaps nothing: their products would not be finite."""

FLAT = 1e-100
"""Stands for the sine and cosine of a right angle, so that a slope is a number; its edge then has no extent."""


def obb_iou(boxes_N5: np.ndarray, boxes_M5: np.ndarray) -> np.ndarray:
    """Pairwise IoU (N, M), within [0, 1]; 0 where both boxes have no area, or a number is not finite."""
    return _pairwise(boxes_N5, boxes_M5, obb_iou_pairs)


def obb_ioa(boxes_N5: np.ndarray, boxes_M5: np.ndarray) -> np.ndarray:
    """Pairwise (N, M): the part of each box of N that lies inside each box of M."""
    return _pairwise(boxes_N5, boxes_M5, obb_ioa_pairs)


def obb_iou_pairs(boxes_P5: np.ndarray, others_P5: np.ndarray) -> np.ndarray:
    """IoU (P,) of boxes one to one, otherwise as `obb_iou`."""
    inter_P, area_P, other_P = _overlaps(boxes_P5, others_P5)
    return share(inter_P, area_P + other_P - inter_P)


def obb_ioa_pairs(boxes_P5: np.ndarray, others_P5: np.ndarray) -> np.ndarray:
    """The part (P,) of each first box that lies inside its second one."""
    inter_P, area_P, _ = _overlaps(boxes_P5, others_P5)
    return share(inter_P, area_P)


def obb_intersection_pairs(boxes_P5: np.ndarray, others_P5: np.ndarray) -> np.ndarray:
    """Common area (P,) of boxes one to one, in squared units of the input."""
    return _overlaps(boxes_P5, others_P5)[0]


def share(part_P: np.ndarray, whole_P: np.ndarray) -> np.ndarray:
    """part / whole within [0, 1], and 0 where there is no whole."""
    ratio_P = np.zeros(np.shape(whole_P))
    np.divide(part_P, whole_P, out=ratio_P, where=whole_P > 0)
    return np.clip(ratio_P, 0.0, 1.0, out=ratio_P)


# --- boxes, corners and polygons -------------------------------------------------------------------------


def obb_bounds(boxes_N5: np.ndarray) -> np.ndarray:
    """Horizontal bounds (N, 4) as (x1, y1, x2, y2)."""
    x_N, y_N, half_length_N, half_width_N, angle_N = _reduced(boxes_N5)
    cos_N, sin_N = np.cos(np.radians(angle_N)), np.abs(np.sin(np.radians(angle_N)))
    half_x_N, half_y_N = half_length_N * cos_N + half_width_N * sin_N, half_length_N * sin_N + half_width_N * cos_N
    return np.column_stack((x_N - half_x_N, y_N - half_y_N, x_N + half_x_N, y_N + half_y_N))


def obb_corners(boxes_N5: np.ndarray) -> np.ndarray:
    """Corners (N, 4, 2), front-right first, then clockwise on the screen, as `OBB.to_polygon` orders them."""
    boxes_N5 = as_rows(boxes_N5, 5)
    quarters_N = np.rint(boxes_N5[:, 4] / 90)
    # whole quarter turns are done by swapping, so that a box along the axes has corners without rounding
    angle_N = np.radians(boxes_N5[:, 4] - 90 * quarters_N)
    cos_N, sin_N = np.cos(angle_N), np.sin(angle_N)
    turns_42 = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    to_x_N, to_y_N = turns_42[np.nan_to_num(quarters_N % 4).astype(int)].T
    along_N2 = np.column_stack((to_x_N * cos_N - to_y_N * sin_N, to_x_N * sin_N + to_y_N * cos_N))
    across_N2 = np.column_stack((-along_N2[:, 1], along_N2[:, 0])) * boxes_N5[:, 3:4] / 2
    along_N2 *= boxes_N5[:, 2:3] / 2
    around = (along_N2 + across_N2, across_N2 - along_N2, -along_N2 - across_N2, along_N2 - across_N2)
    return boxes_N5[:, None, :2] + np.stack(around, axis=1)


def obb_polygons(boxes_N5: np.ndarray) -> np.ndarray:
    """Shapely polygons (N,) of boxes; `obb_from_polygons` is the inverse."""
    corners_N42 = obb_corners(boxes_N5)
    # closed here: of a box without width shapely would take the last corner, which is the first, for the closing one
    return shapely.polygons(np.concatenate((corners_N42, corners_N42[:, :1]), axis=1))


def obb_from_polygons(polygons_N: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
    """Boxes (N, 5) of shapely polygons with corners in the order of `obb_corners`; 0 <= heading < 360.

    A row is NaN where the polygon is no rectangle: another number of corners, holes, another order, or corners
    that are off by more than `tolerance` of the longer side.
    """
    polygons_N = np.asarray(polygons_N, dtype=object).reshape(-1)
    boxes_N5 = np.full((len(polygons_N), 5), np.nan)
    four_N = (shapely.get_type_id(polygons_N) == shapely.GeometryType.POLYGON) & (
        shapely.get_num_coordinates(polygons_N) == 5
    )
    corners_P42 = shapely.get_coordinates(polygons_N[four_N]).reshape(-1, 5, 2)[:, :4]
    finite_P = (np.abs(corners_P42) <= LIMIT).all(axis=(1, 2))
    corners_P42, four_N[four_N] = corners_P42[finite_P], finite_P
    # relative to the first corner, so that large coordinates lose no digits
    local_P42 = corners_P42 - corners_P42[:, :1]
    along_P2 = (local_P42[:, 0] - local_P42[:, 1] + local_P42[:, 3] - local_P42[:, 2]) / 2
    across_P2 = (local_P42[:, 0] - local_P42[:, 3] + local_P42[:, 1] - local_P42[:, 2]) / 2
    length_P, width_P = np.hypot(*along_P2.T), np.hypot(*across_P2.T)
    # the longer side knows the direction best, and a side of length 0 knows none
    by_length_P = length_P >= width_P
    front_P2 = np.where(by_length_P[:, None], along_P2, np.column_stack((across_P2[:, 1], -across_P2[:, 0])))
    heading_P = np.degrees(np.arctan2(front_P2[:, 1], front_P2[:, 0])) % 360
    heading_P[heading_P >= 360] = 0.0  # the remainder of -1e-20 rounds to 360
    middle_P2 = corners_P42[:, 0] + local_P42.mean(axis=1)
    found_P5 = np.column_stack((middle_P2, length_P, width_P, heading_P))
    off_P = np.abs(obb_corners(found_P5) - corners_P42).max(axis=(1, 2))
    rounding_P = 8 * np.finfo(np.float64).eps * np.abs(corners_P42).max(axis=(1, 2))
    found_P5[~(off_P <= tolerance * np.maximum(length_P, width_P) + rounding_P)] = np.nan
    boxes_N5[four_N] = found_P5
    return boxes_N5


def as_rows(boxes: np.ndarray, numbers: int) -> np.ndarray:
    """Boxes as float64 (N, numbers), an empty list included; other shapes are refused."""
    rows = np.asarray(boxes, dtype=np.float64)
    if rows.size == 0:
        return rows.reshape(0, numbers)
    if rows.ndim != 2 or rows.shape[1] != numbers:
        raise ValueError(f"boxes must be an array (N, {numbers}), found shape {rows.shape}: give one row for each box")
    return rows


def near_pairs(bounds_N4: np.ndarray, bounds_M4: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows n and m of all pairs whose bounds (x1, y1, x2, y2) meet or touch, in no particular order."""
    if len(bounds_N4) == 0 or len(bounds_M4) == 0:
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    n, m = shapely.STRtree(shapely.box(*bounds_M4.T)).query(shapely.box(*bounds_N4.T))
    return n, m


# --- common area -----------------------------------------------------------------------------------------


def _pairwise(boxes_N5: np.ndarray, boxes_M5: np.ndarray, measure_pairs) -> np.ndarray:
    boxes_N5, boxes_M5 = as_rows(boxes_N5, 5), as_rows(boxes_M5, 5)
    result_NM = np.zeros((len(boxes_N5), len(boxes_M5)))
    n, m = near_pairs(obb_bounds(boxes_N5), obb_bounds(boxes_M5))
    result_NM[n, m] = measure_pairs(boxes_N5[n], boxes_M5[m])
    return result_NM


def _overlaps(boxes_P5: np.ndarray, others_P5: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Common area of each pair, and the area of each box."""
    boxes_P5, others_P5 = as_rows(boxes_P5, 5), as_rows(others_P5, 5)
    if len(boxes_P5) != len(others_P5):
        raise ValueError(f"pairs need as many boxes as others, found {len(boxes_P5)} and {len(others_P5)}")
    result_3P = np.empty((3, len(boxes_P5)))
    for start in range(0, len(boxes_P5), BLOCK):
        rows = slice(start, start + BLOCK)
        inter_K, area_K, other_K = result_3P[:, rows]
        a_5K, b_5K = _reduced(boxes_P5[rows]), _reduced(others_P5[rows])
        np.multiply(a_5K[2] * 4, a_5K[3], out=area_K)
        np.multiply(b_5K[2] * 4, b_5K[3], out=other_K)
        # in the frame of the smaller one the coordinates of the overlap are small, and their rounding errors too;
        # and the result is the same in either order
        swapped_K = area_K > other_K
        a_5K[:, swapped_K], b_5K[:, swapped_K] = b_5K[:, swapped_K], a_5K[:, swapped_K]
        inter_K[:] = _common_area(a_5K, b_5K)
        np.minimum(inter_K, area_K, out=inter_K)
        np.minimum(inter_K, other_K, out=inter_K)
    return result_3P[0], result_3P[1], result_3P[2]


def _reduced(boxes_K5: np.ndarray) -> np.ndarray:
    """The same rectangles as (5, K) columns: centre, half sides without sign, and an angle within 45 degrees.

    A rectangle turned by a quarter is itself with its sides swapped. The remainder is taken in degrees, where it
    has no rounding error, so that 90 degrees are exactly upright.
    """
    boxes_5K = np.array(as_rows(boxes_K5, 5).T, order="C")
    if not (np.abs(boxes_5K) <= LIMIT).all():
        boxes_5K[:, ~(np.abs(boxes_5K) <= LIMIT).all(axis=0)] = 0.0
    sides_2K, angle_K = boxes_5K[2:4], boxes_5K[4]
    np.abs(sides_2K, out=sides_2K)
    sides_2K *= 0.5
    if (np.abs(angle_K) > 1e6).any():
        np.fmod(angle_K, 360, out=angle_K)  # slower, but exact for angles of any size
    quarters_K = np.rint(angle_K * (1 / 90))
    angle_K -= 90 * quarters_K
    odd_K = quarters_K % 2 != 0
    sides_2K[:, odd_K] = sides_2K[::-1, odd_K]
    return boxes_5K


def _common_area(a_5K: np.ndarray, b_5K: np.ndarray) -> np.ndarray:
    """Common area (K,) of reduced boxes.

    In the frame of A the box A is |x| <= a1, |y| <= a2. B is mirrored so that its turn is between 0 and 90 degrees:
    its corners from left to right are then left, top or bottom (y is largest at the "top"), and right. Its upper
    boundary rises from left to top and falls to right; the lower one falls from left to bottom and rises to right.
    """
    a1_K, a2_K, b1_K, b2_K = *a_5K[2:4], *b_5K[2:4]
    # centres are subtracted before anything is turned: large coordinates lose no digits
    away_2K = b_5K[:2] - a_5K[:2]
    angle_K = np.radians(a_5K[4])
    cos_K, sin_K = np.cos(angle_K), np.sin(angle_K)
    x_K, y_K = away_2K[0] * cos_K + away_2K[1] * sin_K, away_2K[1] * cos_K - away_2K[0] * sin_K
    turn_K = b_5K[4] - a_5K[4]
    y_K *= np.copysign(1.0, turn_K)
    np.abs(turn_K, out=turn_K)
    # sine and cosine are exact at 0 and at 90
    sin_K, cos_K = np.sin(np.radians(turn_K)), np.sin(np.radians(90 - turn_K))
    # half extents of B along x and y, as far as they come from its length and from its width
    length_x_K, length_y_K, width_x_K, width_y_K = b1_K * cos_K, b1_K * sin_K, b2_K * sin_K, b2_K * cos_K

    corners_x_4K = np.empty((4, len(x_K)))  # left, top, bottom, right
    corners_y_4K = np.empty((4, len(x_K)))
    np.subtract(length_x_K, width_x_K, out=corners_x_4K[1])
    np.add(length_x_K, width_x_K, out=corners_x_4K[3])
    np.add(length_y_K, width_y_K, out=corners_y_4K[1])
    np.subtract(length_y_K, width_y_K, out=corners_y_4K[3])
    meet_K = np.abs(x_K) < a1_K + corners_x_4K[3]
    meet_K &= np.abs(y_K) < a2_K + corners_y_4K[1]
    np.negative(corners_x_4K[3:0:-2], out=corners_x_4K[0:4:2])
    np.negative(corners_y_4K[3:0:-2], out=corners_y_4K[0:4:2])
    corners_x_4K += x_K
    corners_y_4K += y_K
    # apart along a side of B: the sum below would be 0 only up to rounding
    meet_K &= np.abs(x_K * cos_K + y_K * sin_K) < b1_K + a1_K * cos_K + a2_K * sin_K
    meet_K &= np.abs(y_K * cos_K - x_K * sin_K) < b2_K + a1_K * sin_K + a2_K * cos_K

    # what lies left or right of A is cut off; the height of a cut end follows from the slope of its edge
    clipped_x_4K = np.maximum(corners_x_4K, -a1_K)
    np.minimum(clipped_x_4K, a1_K, out=clipped_x_4K)
    np.subtract(clipped_x_4K, corners_x_4K, out=corners_x_4K)
    np.maximum(sin_K, FLAT, out=sin_K)
    np.maximum(cos_K, FLAT, out=cos_K)
    rising_4K = corners_x_4K * (sin_K / cos_K)
    rising_4K += corners_y_4K
    falling_4K = np.multiply(corners_x_4K, cos_K / sin_K, out=corners_x_4K)
    np.subtract(corners_y_4K, falling_4K, out=falling_4K)
    rising_2K = _clamped_integral(rising_4K[0::2], rising_4K[1::2], clipped_x_4K[1::2] - clipped_x_4K[0::2], a2_K)
    falling_2K = _clamped_integral(falling_4K[:2], falling_4K[2:], clipped_x_4K[2:] - clipped_x_4K[:2], a2_K)
    # upper boundary less lower one
    area_K = rising_2K[0] - rising_2K[1]
    area_K += falling_2K[1] - falling_2K[0]
    area_K *= meet_K
    return np.maximum(area_K, 0.0, out=area_K)


def _clamped_integral(y1_2K: np.ndarray, y2_2K: np.ndarray, dx_2K: np.ndarray, limit_K: np.ndarray) -> np.ndarray:
    """Integral over dx of a line from y1 to y2 whose values are clamped to [-limit, limit].

    With clamped ends c1, c2 the mean is (c1 + c2)/2, moved towards the end whose excess is larger:
    + (c2 - c1)/2 * ((y1 + y2) - (c1 + c2)) / (y2 - y1). The last quotient never exceeds 1, so the product is safe
    where y1 and y2 are nearly the same.
    """
    c1_2K = np.minimum(np.maximum(y1_2K, -limit_K), limit_K)
    c2_2K = np.minimum(np.maximum(y2_2K, -limit_K), limit_K)
    twice_2K = c1_2K + c2_2K
    excess_2K = y1_2K + y2_2K
    excess_2K -= twice_2K
    np.subtract(c2_2K, c1_2K, out=c2_2K)
    excess_2K *= c2_2K
    rise_2K = np.subtract(y2_2K, y1_2K, out=c1_2K)
    rise_2K += 1e-300  # for a level line: 0 / 1e-300 is the 0 that is meant
    excess_2K /= rise_2K
    twice_2K += excess_2K
    twice_2K *= dx_2K
    twice_2K *= 0.5
    return twice_2K

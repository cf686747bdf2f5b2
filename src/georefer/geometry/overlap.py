"""How much shapes overlap: IoU and IoA, vectorised, always within [0, 1]."""

from __future__ import annotations

import numpy as np
import shapely


def hbb_iou(boxes_N4: np.ndarray, boxes_M4: np.ndarray) -> np.ndarray:
    """Pairwise IoU (N, M) of boxes (x1, y1, x2, y2); 0 where both boxes have no area."""
    inter_NM, area_N, area_M = _hbb_intersection(boxes_N4, boxes_M4)
    return _ratio(inter_NM, area_N[:, None] + area_M[None, :] - inter_NM)


def hbb_ioa(boxes_N4: np.ndarray, boxes_M4: np.ndarray) -> np.ndarray:
    """Pairwise (N, M): the part of each box of N that lies inside each box of M."""
    inter_NM, area_N, _ = _hbb_intersection(boxes_N4, boxes_M4)
    return _ratio(inter_NM, np.broadcast_to(area_N[:, None], inter_NM.shape))


def polygon_iou(shapes_N: np.ndarray, shapes_M: np.ndarray) -> np.ndarray:
    """Pairwise IoU (N, M) of shapely areas; pairs whose bounds do not meet cost nothing.

    Invalid rings are repaired first, see `repaired`. Shapes without area give 0.
    """
    shapes_N, shapes_M = repaired(shapes_N), repaired(shapes_M)
    iou_NM = np.zeros((len(shapes_N), len(shapes_M)))
    if iou_NM.size == 0:
        return iou_NM
    n, m = shapely.STRtree(shapes_M).query(shapes_N)
    if len(n) == 0:
        return iou_NM
    inter = shapely.area(shapely.intersection(shapes_N[n], shapes_M[m]))
    union = shapely.area(shapes_N)[n] + shapely.area(shapes_M)[m] - inter
    iou_NM[n, m] = _ratio(inter, union)
    return iou_NM


def shape_iou(shapes_N: np.ndarray, shapes_M: np.ndarray, *, as_boxes: bool) -> np.ndarray:
    """Pairwise IoU of shapes: of their bounds where `as_boxes`, of their true areas otherwise."""
    if as_boxes:
        return hbb_iou(shapely.bounds(shapes_N).reshape(-1, 4), shapely.bounds(shapes_M).reshape(-1, 4))
    return polygon_iou(shapes_N, shapes_M)


def repaired(shapes_N: np.ndarray) -> np.ndarray:
    """Shapes with every invalid one made valid by GEOS' line-work method; valid ones are returned as they are.

    The one policy of this project for self-crossing rings: every lobe that the lines enclose an odd number of
    times counts (both lobes of a bow-tie), and parts without area are left out.
    """
    shapes_N = np.asarray(shapes_N, dtype=object)
    bad_N = ~shapely.is_valid(shapes_N)
    if not bad_N.any():
        return shapes_N
    mended_N = shapes_N.copy()
    mended_N[bad_N] = areas_only(shapely.make_valid(shapes_N[bad_N]))
    return mended_N


def areas_only(shapes_N: np.ndarray) -> np.ndarray:
    """The polygonal parts of shapes; repair and clipping leave lines and points where edges only touch."""
    shapes_N = np.asarray(shapes_N, dtype=object).copy()
    flat_N = shapely.get_dimensions(shapes_N) < 2
    shapes_N[flat_N] = shapely.Polygon()
    mixed_N = shapely.get_type_id(shapes_N) == shapely.GeometryType.GEOMETRYCOLLECTION
    for i in np.flatnonzero(mixed_N):
        parts = shapely.get_parts(shapely.get_parts(shapes_N[i]))
        shapes_N[i] = shapely.multipolygons(parts[shapely.get_dimensions(parts) == 2])
    return shapes_N


def _hbb_intersection(boxes_N4: np.ndarray, boxes_M4: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a_N4 = np.asarray(boxes_N4, dtype=np.float64).reshape(-1, 4)
    b_M4 = np.asarray(boxes_M4, dtype=np.float64).reshape(-1, 4)
    width_NM = np.minimum(a_N4[:, None, 2], b_M4[None, :, 2]) - np.maximum(a_N4[:, None, 0], b_M4[None, :, 0])
    height_NM = np.minimum(a_N4[:, None, 3], b_M4[None, :, 3]) - np.maximum(a_N4[:, None, 1], b_M4[None, :, 1])
    inter_NM = np.clip(width_NM, 0, None) * np.clip(height_NM, 0, None)
    return inter_NM, _areas(a_N4), _areas(b_M4)


def _areas(boxes_N4: np.ndarray) -> np.ndarray:
    return np.clip(boxes_N4[:, 2] - boxes_N4[:, 0], 0, None) * np.clip(boxes_N4[:, 3] - boxes_N4[:, 1], 0, None)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    safe = np.where(whole > 0, whole, 1.0)
    return np.clip(np.where(whole > 0, part / safe, 0.0), 0.0, 1.0)

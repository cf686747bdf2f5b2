"""What counts as an area: the one policy for rings that cross themselves, and what repairing them would cost."""

from __future__ import annotations

import numpy as np
import shapely

MAX_CROSSINGS = 300
"""Of one shape of a file: some 30 ms of repair; outlines that people or models draw cross themselves a few times."""

PAIRWISE, BLOCK = 500, 64
"""Edges that are all compared with each other in one go, and those looked up together where there are more."""


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


def is_repairable(shape: shapely.Geometry) -> bool:
    """Whether `repaired` takes well under a second: rings of a file from anywhere are kept only then."""
    return bool(shape.is_valid) or crossings(shape, MAX_CROSSINGS) <= MAX_CROSSINGS


def crossings(shape: shapely.Geometry, most: int) -> int:
    """How often the edges of an area meet other than as neighbours in a ring; more than `most` once that is certain.

    Repair costs GEOS some 0.1 ms a crossing and grows faster than that: a ring of 100 points strewn at random takes
    0.4 s, one of 400 points 26 s. Whoever repairs shapes that a stranger made asks here first.
    """
    points_P2, ring_P = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(shape)), return_index=True)
    is_edge_P = ring_P[:-1] == ring_P[1:]
    a_E2, b_E2 = points_P2[:-1][is_edge_P], points_P2[1:][is_edge_P]
    if len(a_E2) > PAIRWISE:
        return _crossings_by_tree(shapely.linestrings(np.stack([a_E2, b_E2], axis=1)), most)
    along_E2 = b_E2 - a_E2
    # the sides on which each edge sees the ends of every other; edges meet where each sees the other's ends apart
    from_a_EE, from_b_EE = (_cross(along_E2[:, None], end_E2[None] - a_E2[:, None]) for end_E2 in (a_E2, b_E2))
    apart_EE = from_a_EE * from_b_EE <= 0
    near_EE = (np.minimum(a_E2, b_E2)[:, None] <= np.maximum(a_E2, b_E2)[None]).all(axis=2)
    meets_EE = apart_EE & apart_EE.T & near_EE & near_EE.T
    # neighbours in a ring always meet, and so does every edge with itself
    return max(0, (int(meets_EE.sum()) - 3 * len(a_E2)) // 2)


def _crossings_by_tree(edges_E: np.ndarray, most: int) -> int:
    """The same for many edges; stops at the block in which there are too many."""
    tree, met = shapely.STRtree(edges_E), 0
    for start in range(0, len(edges_E), BLOCK):
        block = edges_E[start : start + BLOCK]
        met += tree.query(block, predicate="intersects").shape[1] - 3 * len(block)
        if met > 2 * most:
            return most + 1
    return max(0, met // 2)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]

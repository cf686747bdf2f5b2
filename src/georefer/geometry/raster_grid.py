"""Between shapes and grids of cells: exact coverage, cells by their centre, and the outline of set cells.

A grid divides a box (x1, y1, x2, y2) into `rows` x `columns` equal cells; `grid_RC` holds row 0 at y1 and
column 0 at x1, as in images. Everything works edge by edge in numpy: no shapely call per cell.
"""

from __future__ import annotations

from itertools import chain
from typing import Literal

import numpy as np
import shapely

from georefer.geometry.repair import repaired

Pooling = float | Literal["any"]

SNAP = 1e-12
"""Coverage this close to 0 or 1 is exactly that: what is left when signed areas cancel must not look covered."""

FARTHEST = 1 << 40
"""Cells between a grid and a corner of a shape; farther away, doubles no longer tell one cell from the next."""

MAX_CELLS = 1 << 28
"""Cells of one result; a grid is meant to be coarse, and a mistyped size must not take the machine's memory."""


def coverage(geometry: shapely.Geometry, box_4: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """The part of each cell that an area covers: (rows, columns) in [0, 1], exact to 1e-12."""
    return coverages(np.array([geometry], dtype=object), np.asarray(box_4, dtype=np.float64)[None], columns, rows)[0]


def coverages(geometries_N: np.ndarray, boxes_N4: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """`coverage` of many shapes, each in a box of its own: (N, rows, columns).

    Every edge is cut at the lines of the grid. A piece that climbs dy inside a cell adds to that cell the area
    to its right, and dy to every cell further right; over a closed ring the signed sums are the covered areas.
    Invalid shapes are repaired first (see `overlap.repaired`); lines and points cover nothing.
    """
    geometries_N = np.asarray(geometries_N, dtype=object)
    count = len(geometries_N)
    _check_grid(boxes_N4, columns, rows, count)
    edges = _edges(geometries_N, boxes_N4, columns, rows)
    shape_P, x_P2, y_P2 = _cut_at_lines(*edges, columns, rows)
    row_P = np.floor(y_P2.mean(axis=1)).astype(np.int64)
    inside_P = (row_P >= 0) & (row_P < rows)
    # left of the box a piece shades whole rows; right of it, nothing that we keep
    middle_P = np.clip(x_P2[inside_P].mean(axis=1), 0, columns)
    column_P = np.floor(middle_P).astype(np.int64)
    climb_P = np.diff(y_P2[inside_P], axis=1)[:, 0]
    right_P = (middle_P - column_P) * climb_P
    width = columns + 2
    place_P = (shape_P[inside_P] * rows + row_P[inside_P]) * width + column_P
    size = count * rows * width
    steps = np.bincount(place_P, climb_P - right_P, size) + np.bincount(place_P + 1, right_P, size)
    cover_NRC = np.cumsum(steps.reshape(count, rows, width), axis=2)[:, :, :columns]
    cover_NRC[cover_NRC < SNAP] = 0.0
    cover_NRC[cover_NRC > 1 - SNAP] = 1.0
    return cover_NRC


def pooled(cover_RC: np.ndarray, threshold: Pooling = 0.5, *, keep_one: bool = True) -> np.ndarray:
    """Set cells (bool) of coverage: those covered to `threshold` at least, or at all ("any", GeoGround's rule).

    One half is our own rule: area is kept on average, where "any" swells every object by half a cell on each
    side. With `keep_one` an object that reaches no threshold sets the cell that it covers best, the first of
    several: an object never vanishes. Takes (..., rows, columns).
    """
    cover_RC = np.asarray(cover_RC, dtype=np.float64)
    # a little slack, so that half a cell is half a cell wherever the object lies
    set_RC = cover_RC > 0 if threshold == "any" else cover_RC >= max(float(threshold) - 1e-9, SNAP)
    if keep_one and cover_RC.size:
        cells = cover_RC.shape[-2] * cover_RC.shape[-1]
        cover_NK, set_NK = cover_RC.reshape(-1, cells), set_RC.reshape(-1, cells)
        lost_L = np.flatnonzero(~set_NK.any(axis=1) & (cover_NK > 0).any(axis=1))
        set_NK[lost_L, cover_NK[lost_L].argmax(axis=1)] = True
    return set_RC


def centre_cells(geometry: shapely.Geometry, box_4: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """Cells whose centre is inside ("nearest", Text4Seg's rule): (rows, columns) bool; small objects can vanish."""
    box_14 = np.asarray(box_4, dtype=np.float64)[None]
    _check_grid(box_14, columns, rows, 1)
    edges = _edges(np.array([geometry], dtype=object), box_14, columns, rows)
    column_K, start_K, end_K = centre_runs(edges, columns, rows)
    # +1 where a run starts, -1 where it ends, summed down the column
    steps = np.bincount(column_K * (rows + 1) + start_K, minlength=columns * (rows + 1)).astype(np.int64)
    steps -= np.bincount(column_K * (rows + 1) + end_K, minlength=columns * (rows + 1))
    return np.cumsum(steps.reshape(columns, rows + 1), axis=1)[:, :rows].T > 0


def pixel_runs(geometry: shapely.Geometry, width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels whose centre is inside, as (column, first row, end row) of each run, sorted, none empty."""
    box_14 = np.array([[0.0, 0.0, width, height]])
    edges = _edges(np.array([geometry], dtype=object), box_14, width, height)
    return centre_runs(edges, width, height)


def centre_runs(edges: tuple, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs down each column of cells whose centre lies between an odd and an even crossing of the edges.

    A centre exactly on an edge belongs to the shape on its right or below it, so that shapes that share an
    edge share no pixel and leave no gap.
    """
    _, x_E2, y_E2 = edges
    swap_E1 = (x_E2[:, :1] > x_E2[:, 1:]).repeat(2, axis=1)
    # always from left to right: both neighbours of a shared edge compute the same crossing
    x_E2, y_E2 = np.where(swap_E1, x_E2[:, ::-1], x_E2), np.where(swap_E1, y_E2[:, ::-1], y_E2)
    first_E, end_E = np.clip(np.ceil(x_E2 - 0.5), 0, columns).astype(np.int64).T
    edge_K, column_K = ranges(first_E, end_E)
    (x0_K, x1_K), (y0_K, y1_K) = x_E2[edge_K].T, y_E2[edge_K].T
    part_K = (column_K + 0.5 - x0_K) / (x1_K - x0_K)
    crossing_K = y0_K + part_K * (y1_K - y0_K)
    row_K = np.clip(np.ceil(crossing_K - 0.5), 0, rows).astype(np.int64)
    # ceil and clip keep the order of crossings, so sorting the whole numbers pairs them as well
    cell_K = np.sort(column_K * (rows + 1) + row_K)
    start_K, end_K = cell_K[::2], cell_K[1::2]
    some_K = start_K < end_K
    start_K, end_K = start_K[some_K], end_K[some_K]
    column_K = start_K // (rows + 1)
    return column_K, start_K - column_K * (rows + 1), end_K - column_K * (rows + 1)


# --- set cells to shapes ---------------------------------------------------------------------------------


def grid_to_geometry(grid_RC: np.ndarray, box_4: np.ndarray) -> shapely.Geometry:
    """The union of set cells as a valid Polygon or MultiPolygon; an empty Polygon where none is set.

    Cells that meet at a corner only are not joined. Corners are where the outline turns, nothing else.
    """
    grid_RC = np.asarray(grid_RC)
    if grid_RC.ndim != 2:
        raise ValueError(f"a grid of shape {grid_RC.shape} was given; pass one of shape (rows, columns)")
    rows, columns = grid_RC.shape
    padded = np.zeros((rows + 2, columns + 2), dtype=bool)
    padded[1:-1, 1:-1] = grid_RC
    down, across = padded[1:] ^ padded[:-1], padded[:-1, 1:] ^ padded[:-1, :-1]
    odd = down[:, 1:] ^ down[:, :-1]
    # differing up and down as well as left and right: two set cells that meet at this corner only
    cross = down[:, 1:] & across & ~odd
    y_K, x_K = odd.nonzero()
    rising_K = None
    if cross.any():
        y_D, x_D = cross.nonzero()
        rising_D = padded[:-1, 1:][y_D, x_D]
        rising_K = np.concatenate((np.zeros(len(x_K), dtype=bool), rising_D, rising_D))
        y_K, x_K = np.concatenate((y_K, y_D, y_D)), np.concatenate((x_K, x_D, x_D))
    return outline(x_K, y_K, rising_K, padded[1:, 1:][y_K, x_K], box_4, columns, rows)


def outline(
    x_K: np.ndarray,
    y_K: np.ndarray,
    rising_K: np.ndarray | None,
    set_K: np.ndarray,
    box_4: np.ndarray,
    columns: int,
    rows: int,
) -> shapely.Geometry:
    """The area whose boundary turns at these corners of cells (whole numbers, in any order).

    Along every line of the grid the corners pair up, first with second, third with fourth: those are the
    edges. A corner where two set cells meet diagonally is given twice, and `rising_K` (None where there is no
    such corner) marks those whose set cells lie bottom left and top right, so that their edges are paired
    around the set cells too. `set_K`: whether the cell to the lower right of the corner is set.
    """
    if not len(x_K):
        return shapely.Polygon()
    key_K = x_K * (rows + 1) + y_K
    down_K = np.argsort(key_K, kind="stable")
    if rising_K is None:
        along_K = np.argsort(y_K * (columns + 1) + x_K, kind="stable")
    else:
        # of two equal corners the first has the edge above; which one has the edge on the left, says `rising`
        rank_K = np.empty(len(x_K), dtype=np.int64)
        rank_K[down_K] = np.arange(len(x_K))
        along_K = np.lexsort((np.where(rising_K, -rank_K, rank_K), x_K, y_K))
    partner_K = _partners(down_K)
    rings = _loops(partner_K.tolist(), _partners(along_K).tolist())
    if rising_K is not None:
        keys = key_K.tolist()
        rings = [simple for ring in rings for simple in _simple_loops(ring, keys)]
    return _area_of(rings, x_K, y_K, set_K, np.asarray(box_4, dtype=np.float64), columns, rows)


def _partners(order_K: np.ndarray) -> np.ndarray:
    partner_K = np.empty(len(order_K), dtype=np.int64)
    partner_K[order_K[::2]] = order_K[1::2]
    partner_K[order_K[1::2]] = order_K[::2]
    return partner_K


def _loops(down: list[int], along: list[int]) -> list[list[int]]:
    """Rings of corner numbers: from each corner along its column line, then along the row line found there."""
    seen = bytearray(len(down))
    rings: list[list[int]] = []
    for first in range(len(down)):
        if seen[first]:
            continue
        ring: list[int] = []
        i = first
        while not seen[i]:
            other = down[i]
            seen[i] = seen[other] = 1
            ring += (i, other)
            i = along[other]
        rings.append(ring)
    return rings


def _simple_loops(ring: list[int], keys: list[int]) -> list[list[int]]:
    """A ring that touches itself, taken apart where it does: two rings may touch, one must not touch itself."""
    rings: list[list[int]] = []
    open_ring: list[int] = []
    place: dict[int, int] = {}
    for i in ring:
        start = place.get(keys[i])
        if start is None:
            place[keys[i]] = len(open_ring)
            open_ring.append(i)
        else:
            rings.append(open_ring[start:])
            for j in open_ring[start + 1 :]:
                del place[keys[j]]
            del open_ring[start + 1 :]
    return [*rings, open_ring]


def _area_of(rings: list[list[int]], x_K, y_K, set_K, box_4: np.ndarray, columns: int, rows: int) -> shapely.Geometry:
    """Simple rings to a polygon or several: shells with the holes that lie directly in them."""
    corner_K = np.fromiter(chain.from_iterable(rings), dtype=np.int64)
    xs_K, ys_K = x_K[corner_K], y_K[corner_K]
    xy_K2 = np.empty((len(corner_K), 2))
    xy_K2[:, 0] = _on_lines(xs_K, box_4[0], box_4[2], columns)
    xy_K2[:, 1] = _on_lines(ys_K, box_4[1], box_4[3], rows)
    if len(rings) == 1:
        return shapely.polygons(shapely.linearrings(xy_K2))
    lengths_L = np.array([len(ring) for ring in rings])
    rings_L = shapely.linearrings(xy_K2, indices=np.repeat(np.arange(len(rings)), lengths_L))
    # the cell to the lower right of a ring's leftmost, then topmost corner is inside the ring
    start_L = np.cumsum(lengths_L) - lengths_L
    key_K = xs_K * (rows + 1) + ys_K
    low_L = np.minimum.reduceat(key_K, start_L)
    # that corner was given twice where rings touch; both say the same of their lower right cell
    order_K = np.argsort(key_K, kind="stable")
    is_shell_L = set_K[corner_K[order_K[np.searchsorted(key_K, low_L, sorter=order_K)]]]
    shells_S, holes_H = rings_L[is_shell_L], rings_L[~is_shell_L]
    owner_H = np.zeros(len(holes_H), dtype=np.int64)
    if len(shells_S) > 1 and len(holes_H):
        # the cell to the left of that corner is set: it belongs to the smallest shell around it
        x_H, y_H = np.divmod(low_L[~is_shell_L], rows + 1)
        x_H, y_H = _on_lines(x_H - 0.5, box_4[0], box_4[2], columns), _on_lines(y_H + 0.5, box_4[1], box_4[3], rows)
        filled_S = shapely.polygons(shells_S)
        hole_Q, shell_Q = shapely.STRtree(filled_S).query(shapely.points(x_H, y_H), predicate="within")
        largest_first_Q = np.argsort(-shapely.area(filled_S)[shell_Q], kind="stable")
        owner_H[hole_Q[largest_first_Q]] = shell_Q[largest_first_Q]
    owner_L = np.concatenate((np.arange(len(shells_S)), owner_H))
    order_L = np.argsort(owner_L, kind="stable")  # stable: the shell stays in front of its holes
    parts_S = shapely.polygons(np.concatenate((shells_S, holes_H))[order_L], indices=owner_L[order_L])
    return parts_S[0] if len(parts_S) == 1 else shapely.multipolygons(parts_S)


def _on_lines(line_K: np.ndarray, low: float, high: float, count: int) -> np.ndarray:
    # written so that the outer lines are exactly the box, and whole boxes give whole numbers
    return (low * (count - line_K) + high * line_K) / count


# --- edges -----------------------------------------------------------------------------------------------


def _check_grid(boxes_N4: np.ndarray, columns: int, rows: int, count: int) -> None:
    boxes_N4 = np.asarray(boxes_N4, dtype=np.float64)
    if columns < 1 or rows < 1 or count * (columns + 2) * rows > MAX_CELLS:
        raise ValueError(
            f"{count} grids of {columns} x {rows} cells were asked for; 1 to {MAX_CELLS} cells are possible"
        )
    if boxes_N4.shape != (count, 4) or not np.isfinite(boxes_N4).all() or (boxes_N4[:, :2] >= boxes_N4[:, 2:]).any():
        raise ValueError("a grid needs boxes x1, y1, x2, y2 with x1 < x2 and y1 < y2, one for each shape")


def _edges(geometries_N, boxes_N4, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges of all rings in cell units: shape (E,), x (E, 2), y (E, 2); area on the right counts positive.

    Shells are turned one way and holes the other, whatever the order of their corners was.
    """
    if not np.isfinite(shapely.get_coordinates(geometries_N)).all():
        raise ValueError("a shape has coordinates that are not finite numbers; repair or drop it")
    parts_P, shape_P = shapely.get_parts(repaired(geometries_N), return_index=True)
    areal_P = shapely.get_dimensions(parts_P) == 2
    parts_P, shape_P = parts_P[areal_P], shape_P[areal_P]
    # exterior_cw=False is anticlockwise with y up, clockwise on the screen: down on the right, up on the left
    rings_R, part_R = shapely.get_rings(shapely.orient_polygons(parts_P, exterior_cw=True), return_index=True)
    xy_K2, ring_K = shapely.get_coordinates(rings_R, return_index=True)
    boxes_N4 = np.asarray(boxes_N4, dtype=np.float64)
    shape_K = shape_P[part_R[ring_K]] if len(ring_K) else np.zeros(0, dtype=np.int64)
    low_K2, high_K2 = boxes_N4[shape_K, :2], boxes_N4[shape_K, 2:]
    cells_K2 = (xy_K2 - low_K2) / (high_K2 - low_K2) * (columns, rows)
    if np.abs(cells_K2).max(initial=0) > FARTHEST:
        raise ValueError(f"a shape reaches more than {FARTHEST} cells away from its grid; check its CRS and units")
    same_E = ring_K[1:] == ring_K[:-1]
    xy_E22 = np.stack((cells_K2[:-1], cells_K2[1:]), axis=2)[same_E]
    return shape_K[1:][same_E], xy_E22[:, 0], xy_E22[:, 1]


def _cut_at_lines(shape_E, x_E2, y_E2, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges cut into pieces that lie in one cell each: shape (P,), x (P, 2), y (P, 2)."""
    edges, parts = [np.arange(len(shape_E))], [np.zeros(len(shape_E))]
    places = [np.stack((x_E2[:, 0], y_E2[:, 0]))]
    for axis, (ends_E2, count) in enumerate(((x_E2, columns), (y_E2, rows))):
        first_E = np.clip(np.floor(ends_E2.min(axis=1)) + 1, 0, count + 1).astype(np.int64)
        end_E = np.clip(np.ceil(ends_E2.max(axis=1)), 0, count + 1).astype(np.int64)
        edge_K, line_K = ranges(first_E, end_E)
        part_K = (line_K - ends_E2[edge_K, 0]) / (ends_E2[edge_K, 1] - ends_E2[edge_K, 0])
        other_E2 = y_E2 if axis == 0 else x_E2
        other_K = other_E2[edge_K, 0] * (1 - part_K) + other_E2[edge_K, 1] * part_K
        # on a line exactly, however far away the ends of the edge are
        places.append(np.stack((line_K, other_K) if axis == 0 else (other_K, line_K)))
        edges.append(edge_K)
        parts.append(part_K)
    edge_P, part_P = np.concatenate(edges), np.concatenate(parts)
    order_P = np.lexsort((part_P, edge_P))
    edge_P, place_2P = edge_P[order_P], np.concatenate(places, axis=1)[:, order_P]
    # each piece ends where the next one of its edge starts, the last one where the edge ends
    last_P = np.append(edge_P[1:] != edge_P[:-1], True)[: len(edge_P)]
    end_2P = np.where(last_P, np.stack((x_E2[edge_P, 1], y_E2[edge_P, 1])), np.roll(place_2P, -1, axis=1))
    return shape_E[edge_P], np.stack((place_2P[0], end_2P[0]), axis=1), np.stack((place_2P[1], end_2P[1]), axis=1)


def ranges(first_E: np.ndarray, end_E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every whole number of [first, end) of each edge: edge (K,), number (K,)."""
    count_E = np.maximum(end_E - first_E, 0)
    edge_K = np.repeat(np.arange(len(count_E)), count_E)
    offset_E = np.cumsum(count_E) - count_E
    return edge_K, np.arange(len(edge_K)) - (offset_E - first_E)[edge_K]

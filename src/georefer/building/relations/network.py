"""How towers and substations hang together: along the given power lines, from stop to stop."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely

from georefer.building.relations.view import Found, View


def network(view: View) -> Iterator[Found]:
    """The group of networks; nothing without power lines."""
    lines_L = np.asarray(view.lines.power_L, dtype=object)
    rows = np.flatnonzero(view.has("tower") | view.has("substation"))
    if not len(lines_L) or not len(rows):
        return
    settings = view.settings
    reach_m = settings.reach_m * (1 + settings.margin)
    at_K, line_K = shapely.STRtree(lines_L).query(view.areas_N[rows], predicate="dwithin", distance=reach_m)
    stop_K = rows[at_K]
    sure_K = settings.below(shapely.distance(view.areas_N[stop_K], lines_L[line_K]), settings.reach_m)
    unsure_N = np.zeros(len(view), dtype=bool)
    unsure_N[stop_K[~sure_K]] = True
    # a stop that may or may not belong to a line would also decide who its neighbours are: the line is left out
    clear_K = ~np.isin(line_K, line_K[~sure_K])
    stop_K, line_K = stop_K[clear_K], line_K[clear_K]
    along_K = shapely.line_locate_point(lines_L[line_K], shapely.points(view.centre_N2[stop_K]))
    order = np.lexsort((stop_K, along_K, line_K))
    stop_K, line_K = stop_K[order], line_K[order]
    next_K = np.flatnonzero(line_K[1:] == line_K[:-1])
    yield from _hops(view, np.stack((stop_K[next_K], stop_K[next_K + 1])))
    yield from _lines(view, stop_K, line_K, unsure_N)


def _hops(view: View, edges_2E: np.ndarray) -> Iterator[Found]:
    """One line from stop to stop is direct; the least number of more is indirect, up to the cap."""
    beside: dict[int, set[int]] = {}
    for a, b in edges_2E.T.tolist():
        if a != b:
            beside.setdefault(a, set()).add(b)
            beside.setdefault(b, set()).add(a)
    found: list[tuple[int, int, int]] = []
    for start in sorted(beside):
        seen, rim = {start}, {start}
        for hops in range(1, view.settings.hops + 1):
            rim = {stop for one in rim for stop in beside[one]} - seen
            seen |= rim
            found += [(start, stop, hops) for stop in rim]
    i_P, j_P, hops_P = np.array(sorted(found), dtype=int).reshape(-1, 3).T
    for kind, is_kind_P in (("directly", hops_P == 1), ("indirectly", hops_P > 1)):
        for predicate in (f"{kind} transmit electricity to", f"{kind} connected to"):
            keep_P = is_kind_P & view.allowed(predicate, i_P, j_P)
            yield Found(predicate, i_P[keep_P], j_P[keep_P], {"hops": hops_P[keep_P]})


def _lines(view: View, stop_K: np.ndarray, line_K: np.ndarray, unsure_N: np.ndarray) -> Iterator[Found]:
    settings = view.settings
    lines_of: dict[int, set[int]] = {}
    for stop, line in zip(stop_K.tolist(), line_K.tolist(), strict=True):
        lines_of.setdefault(stop, set()).add(line)
    same, different = "within same line of", "within different line of"
    i_P, j_P = view.near(same, settings.line_m)
    away_P = np.linalg.norm(view.centre_N2[i_P] - view.centre_N2[j_P], axis=1)
    common_P = np.array([len(lines_of.get(i, set()) & lines_of.get(j, set())) for i, j in zip(i_P, j_P, strict=True)])
    stands_P = np.isin(i_P, stop_K) & np.isin(j_P, stop_K)
    apart_P = stands_P & (common_P == 0) & ~unsure_N[i_P] & ~unsure_N[j_P]
    apart_P &= view.allowed(different, i_P, j_P) & settings.below(away_P, settings.line_m)
    for predicate, keep_P in ((same, common_P > 0), (different, apart_P)):
        yield Found(predicate, i_P[keep_P], j_P[keep_P], {"distance_m": away_P[keep_P]})

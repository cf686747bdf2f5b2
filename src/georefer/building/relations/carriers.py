"""Objects on carriers: who is on which, on the same or on different ones, side by side, and how they stand there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from georefer.building.relations.topology import side_by_side
from georefer.building.relations.view import Found, View, axial_turn, clear_nearest

NONE, UNSURE = -1, -2
"""In place of a carrier's row: on none; too near to an edge, or to a second one, to say."""

ROADS = ("road", "bridge", "junction", "gate")


def carriers(view: View) -> Iterator[Found]:
    """The groups container, beside and arrangement."""
    cars, planes = view.members("in the same parking with"), view.members("parking in the same apron with")
    vessels = view.members("docking at the same dock with")
    parked_N, stood_N = on_carrier(view, cars, ("parking",)), on_carrier(view, planes, ("apron",))
    yield from _same_or_not(view, cars, parked_N, "in the {} parking with")
    yield from _same_or_not(view, planes, stood_N, "parking in the {} apron with")
    taxiing_N, rolling_N = (_unturned(view, on_carrier(view, planes, (role,))) for role in ("taxiway", "runway"))
    yield from _same_or_not(view, planes, taxiing_N, "running along the {} taxiway with")
    yield from _same_or_not(view, planes, rolling_N, "running along the {} runway with", ("different",))
    docked_N = at_carrier(view, vessels, ("dock",))
    yield from _same_or_not(view, vessels, docked_N, "docking at the {} dock with")
    moored_N = at_carrier(view, vessels, ("breakwater",))
    yield from _same_or_not(view, vessels, moored_N, "docking at the {} breakwater with", ("same",))
    yield from _storage(view)
    yield from _beside(view, "parked alongside with", ((cars, parked_N), (planes, stood_N)))
    vessel_berths = ((vessels, docked_N), (vessels, moored_N))
    yield from _beside(view, "docked alongside with", vessel_berths)
    moving_N = driving(view, parked_N)
    yield from _beside(view, "driving alongside with", ((np.flatnonzero(moving_N >= 0), moving_N),))
    for rows, at_N in ((cars, parked_N), (planes, stood_N)):
        yield from _arrangement(view, rows, at_N, "parked on")
    for rows, at_N in vessel_berths:
        yield from _arrangement(view, rows, at_N, "docked at")
    yield _incorrectly(view)


# --- who is where -------------------------------------------------------------------------------------------


def on_carrier(view: View, rows: np.ndarray, roles: tuple[str, ...]) -> np.ndarray:
    """Row of the carrier (N,) that the centre of each of `rows` lies in, the smallest if in several."""
    at_N = np.full(len(view), NONE)
    carrier_C = np.flatnonzero(np.logical_or.reduce([view.has(role) for role in roles]))
    if not len(carrier_C) or not len(rows):
        return at_N
    # the largest first, so that the smallest is written last
    carrier_C = carrier_C[np.lexsort((-carrier_C, -shapely.area(view.areas_N[carrier_C])))]
    centre_R = shapely.points(view.centre_N2[rows])
    slack_R = view.settings.margin * np.maximum(view.width_N[rows], 1e-9)
    found_R, found_C = shapely.STRtree(view.areas_N[carrier_C]).query(centre_R, predicate="dwithin", distance=slack_R)
    order = np.argsort(found_C, kind="stable")
    r_K, c_K = found_R[order], carrier_C[found_C[order]]
    other_K = rows[r_K] != c_K
    r_K, c_K = r_K[other_K], c_K[other_K]
    sure_K = shapely.distance(centre_R[r_K], shapely.boundary(view.areas_N[c_K])) >= slack_R[r_K]
    at_N[rows[r_K]] = np.where(sure_K, c_K, UNSURE)
    return at_N


def at_carrier(view: View, rows: np.ndarray, roles: tuple[str, ...]) -> np.ndarray:
    """Row of the carrier (N,) nearest to each of `rows`, if it is near, and clearly nearer than any other."""
    settings, at_N = view.settings, np.full(len(view), NONE)
    carrier_C = np.flatnonzero(np.logical_or.reduce([view.has(role) for role in roles]))
    if not len(carrier_C) or not len(rows):
        return at_N
    reach_m = settings.dock_m * (1 + settings.margin)
    tree = shapely.STRtree(view.areas_N[carrier_C])
    r_K, c_K = tree.query(view.areas_N[rows], predicate="dwithin", distance=reach_m)
    i_K, c_K = rows[r_K], carrier_C[c_K]
    i_K, c_K = i_K[i_K != c_K], c_K[i_K != c_K]
    gap_K = view.gap(i_K, c_K)
    i_P, c_P, gap_P, clear_P = clear_nearest(i_K, c_K, gap_K, settings.margin * settings.dock_m)
    at_N[i_P] = np.where(clear_P & settings.below(gap_P, settings.dock_m), c_P, UNSURE)
    return at_N


def _unturned(view: View, at_N: np.ndarray) -> np.ndarray:
    """Carriers without those on them whose axis is known and not along the carrier's."""
    on = np.flatnonzero(at_N >= 0)
    turned = ~view.settings.below(np.nan_to_num(view.turn(on, at_N[on])), view.settings.parallel_deg)
    at_N = at_N.copy()
    at_N[on[turned]] = NONE
    return at_N


def driving(view: View, parked_N: np.ndarray) -> np.ndarray:
    """0 for vehicles (N,) off parkings and, where the scene has any roads or lanes at all, on one; else NONE."""
    rows = view.members("driving alongside with")
    moving_N = np.full(len(view), NONE)
    rows = rows[parked_N[rows] == NONE]
    roads_N = np.logical_or.reduce([view.has(role) for role in ROADS])
    if roads_N.any():
        rows = rows[on_carrier(view, rows, ROADS)[rows] >= 0]
    moving_N[rows] = 0
    return moving_N


# --- same or different --------------------------------------------------------------------------------------


def _same_or_not(view: View, rows, at_N, name: str, which=("same", "different")) -> Iterator[Found]:
    for kind in which:
        predicate = name.format(kind)
        yield _pairs(view, predicate, *view.partners(rows, at_N, view.settings.partners, kind == "same"))


def _pairs(view: View, predicate: str, i_P: np.ndarray, j_P: np.ndarray) -> Found:
    allowed_P = view.allowed(predicate, i_P, j_P)
    away_P = np.linalg.norm(view.centre_N2[i_P] - view.centre_N2[j_P], axis=1)
    allowed_P &= view.settings.below(away_P, view.settings.pair_m)
    return Found(predicate, i_P[allowed_P], j_P[allowed_P], {"distance_m": away_P[allowed_P]})


def _storage(view: View) -> Iterator[Found]:
    """Yards where there are any under stored things; the others by groups without gaps."""
    rows = view.members("co-storage with", "not co-storage with")
    at_N = on_carrier(view, rows, ("yard",))
    yield from _named(view, rows, at_N, ("co-storage with", True), ("not co-storage with", False))
    free = rows[at_N[rows] == NONE]
    # groups by a gap that is surely small for the one, by one that is surely large for the other
    for predicate, factor, same in (
        ("co-storage with", 1 - view.settings.margin, True),
        ("not co-storage with", 1 + view.settings.margin, False),
    ):
        yield from _named(view, free, _groups(view, free, view.settings.storage_m * factor), (predicate, same))


def _named(view: View, rows, at_N, *predicates: tuple[str, bool]) -> Iterator[Found]:
    for predicate, same in predicates:
        yield _pairs(view, predicate, *view.partners(rows, at_N, view.settings.partners, same))


def _groups(view: View, rows: np.ndarray, gap_m: float) -> np.ndarray:
    """Number of the group (N,) of objects between which there is no larger gap; NONE for all others."""
    at_N = np.full(len(view), NONE)
    if len(rows):
        areas = view.areas_N[rows]
        a, b = shapely.STRtree(areas).query(areas, predicate="dwithin", distance=gap_m)
        at_N[rows] = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(len(rows),) * 2))[1]
    return at_N


# --- side by side -------------------------------------------------------------------------------------------


def _beside(view: View, predicate: str, kinds) -> Iterator[Found]:
    """Neighbours that pass the test, and of the nearest ones those that clearly fail it, if "not" can be said."""
    settings = view.settings
    for rows, at_N in kinds:
        rows = rows[at_N[rows] >= 0]
        i_P, j_P = view.partners(rows, at_N, settings.partners, True)
        allowed_P = view.allowed(predicate, i_P, j_P)
        i_P, j_P = i_P[allowed_P], j_P[allowed_P]
        turn_P = view.turn(i_P, j_P)
        gap_P, share_P = side_by_side(view, i_P, j_P)
        widths_P = gap_P / np.maximum(np.minimum(view.width_N[i_P], view.width_N[j_P]), 1e-9)
        tests = ((turn_P, settings.parallel_deg), (widths_P, settings.beside_widths))
        passes_P = settings.above(share_P, settings.beside_share)
        fails_P = settings.below(share_P, settings.beside_share)
        for value_P, limit in tests:
            passes_P &= settings.below(value_P, limit)
            fails_P |= settings.above(value_P, limit)
        evidence = {"gap_m": gap_P, "angle_deg": turn_P, "gap_widths": widths_P, "overlap": share_P}
        yield _picked(predicate, i_P, j_P, evidence, passes_P)
        if predicate != "driving alongside with":
            fails_P &= ~np.isnan(turn_P) & _is_nearest(view, rows, at_N, i_P, j_P)
            fails_P &= view.allowed(f"not {predicate}", i_P, j_P)
            yield _picked(f"not {predicate}", i_P, j_P, evidence, fails_P)


def _is_nearest(view: View, rows: np.ndarray, at_N: np.ndarray, i_P: np.ndarray, j_P: np.ndarray) -> np.ndarray:
    """Which pairs (i < j) are of one object and the one nearest to it on the same carrier."""
    nearest = view.partners(rows, at_N, 1, True)
    known = np.sort(nearest[0] * len(view) + nearest[1])
    return np.isin(i_P * len(view) + j_P, known)


def _picked(predicate: str, i_P, j_P, evidence, keep_P) -> Found:
    return Found(predicate, i_P[keep_P], j_P[keep_P], {key: value[keep_P] for key, value in evidence.items()})


# --- how they stand -----------------------------------------------------------------------------------------


def _arrangement(view: View, rows: np.ndarray, at_N: np.ndarray, verb: str) -> Iterator[Found]:
    """By the axes of the nearest neighbours on the carrier: alike, turned, or none of them near."""
    settings = view.settings
    rows = rows[at_N[rows] >= 0]
    nearest = _neighbours(view, rows, at_N)
    known = nearest >= 0
    gap = np.full(nearest.shape, np.inf)
    i_Q, k_Q = np.nonzero(known)
    gap[i_Q, k_Q] = view.gap(rows[i_Q], nearest[i_Q, k_Q])
    lengths = gap / np.maximum(view.length_N[rows], 1e-9)[:, None]
    close = settings.below(lengths, settings.neighbour_lengths)
    turn = axial_turn(view.axis_deg_N[rows][:, None], view.axis_deg_N[nearest])
    turn[~close] = np.nan
    seen = ~np.isnan(turn)
    worst = np.where(seen, turn, -np.inf).max(axis=1, initial=-np.inf)
    alike = seen.any(axis=1) & settings.below(worst, settings.parallel_deg)
    turned = (settings.above(turn, settings.random_deg) & seen).sum(axis=1)
    random = (turned > 0) & (2 * turned >= seen.sum(axis=1)) & ~alike
    # centres order the neighbours; the nearest outline is therefore looked for among all of them
    least = lengths.min(axis=1, initial=np.inf)
    alone = settings.above(least, settings.neighbour_lengths)
    for name, holds, evidence in (
        ("parallelly", alike, {"angle_deg": worst, "neighbours": seen.sum(axis=1)}),
        ("randomly", random, {"angle_deg": worst, "neighbours": seen.sum(axis=1)}),
        ("isolatedly", alone, {"gap_m": gap.min(axis=1, initial=np.inf)}),
    ):
        predicate = f"{name} {verb}"
        holds = holds & view.allowed(predicate, rows, at_N[rows])
        yield _picked(predicate, rows, at_N[rows], evidence, holds)


def _neighbours(view: View, rows: np.ndarray, at_N: np.ndarray) -> np.ndarray:
    """Rows (R, K) of the K nearest others on the same carrier by centre; NONE where there are fewer."""
    most = view.settings.neighbours
    nearest = np.full((len(rows), most), NONE)
    order = np.argsort(at_N[rows], kind="stable")
    for place in np.split(order, np.flatnonzero(np.diff(at_N[rows][order])) + 1):
        if len(place) > 1:
            centres = view.centre_N2[rows[place]]
            count = min(most + 1, len(place))
            found = cKDTree(centres).query(centres, k=np.arange(1, count + 1))[1]
            # itself is usually first, but not where two lie in one place
            itself = found == np.arange(len(place))[:, None]
            itself[~itself.any(axis=1), -1] = True
            nearest[place, : count - 1] = rows[place][found[~itself].reshape(len(place), count - 1)]
    return nearest


def _incorrectly(view: View) -> Found:
    """A clear part beyond the edge of the parking that the larger part is on."""
    settings, predicate = view.settings, "incorrectly parked on"
    i_P, j_P = view.near(predicate)
    area_P = np.maximum(shapely.area(view.areas_N[i_P]), 1e-9)
    share_P = view.common_m2(i_P, j_P) / area_P
    # what lies in any other parking is not beyond an edge
    total_N = np.bincount(i_P, share_P, minlength=len(view))
    keep_P = settings.above(share_P, 0.5) & settings.above(1 - total_N[i_P], settings.edge_share)
    return Found(predicate, i_P[keep_P], j_P[keep_P], {"overlap": share_P[keep_P]})

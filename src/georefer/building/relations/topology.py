"""How areas and ways lie to each other: above, beside, around, along, across, through, and meeting at their ends."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely

from georefer.building.relations.view import Found, View, axial_turn

RAYS = 72
"""Directions looked into from a centre."""

BLOCK = 512
"""Centres whose rays are in memory at once."""


def topology(view: View) -> Iterator[Found]:
    """All of the group; each predicate from its own candidate pairs."""
    yield from (_over(view), _under(view), _pass_through(view), _adjacent(view), _around(view))
    yield from (_along(view, "run along"), _along(view, "not run along"))
    yield from (_crossing(view, "intersect"), _crossing(view, "pass across"), _through(view))
    yield from (_connect(view), _converge(view))


# --- common ground ------------------------------------------------------------------------------------------


def _shared(view: View, predicate: str, i_P: np.ndarray, j_P: np.ndarray) -> Found:
    """Pairs with enough common ground; measured in squares of the narrower one's width, so that length is no matter."""
    common_P = view.common_m2(i_P, j_P)
    narrow_P = np.minimum(view.width_N[i_P], view.width_N[j_P])
    share_P = common_P / np.maximum(narrow_P**2, 1e-9)
    keep_P = view.settings.above(share_P, view.settings.overlap)
    return Found(
        predicate, i_P[keep_P], j_P[keep_P], {"overlap_m2": common_P[keep_P], "overlap_widths": share_P[keep_P]}
    )


def _over(view: View) -> Found:
    return _shared(view, "over", *view.near("over"))


def _pass_through(view: View) -> Found:
    return _shared(view, "pass through", *view.near("pass through"))


def _under(view: View) -> Found:
    """Of the pairs of `over`, so that none is without its inverse, whatever the table allows."""
    i_P, j_P = view.near("pass under")
    keep_P = view.allowed("over", j_P, i_P)
    return _shared(view, "pass under", i_P[keep_P], j_P[keep_P])


# --- near each other ----------------------------------------------------------------------------------------


def _adjacent(view: View) -> Found:
    settings = view.settings
    i_P, j_P = view.near("adjacent", settings.adjacent_m)
    gap_P, common_P = view.gap(i_P, j_P), view.common_m2(i_P, j_P)
    area_N = shapely.area(view.areas_N)
    share_P = common_P / np.maximum(np.minimum(area_N[i_P], area_N[j_P]), 1e-9)
    keep_P = settings.below(gap_P, settings.adjacent_m) & settings.below(share_P, settings.adjacent_overlap)
    at = np.flatnonzero(keep_P)
    at = at[~_is_hidden(view, i_P[at], j_P[at])]
    return Found("adjacent", i_P[at], j_P[at], {"gap_m": gap_P[at], "overlap": share_P[at]})


def _is_hidden(view: View, i_P: np.ndarray, j_P: np.ndarray) -> np.ndarray:
    """Whether a third object, of the class of either, lies across the shortest way from one to the other."""
    sight_P = shapely.shortest_line(view.areas_N[i_P], view.areas_N[j_P])
    members = view.members("adjacent")
    pair_K, k_K = shapely.STRtree(view.areas_N[members]).query(sight_P, predicate="crosses")
    k_K = members[k_K]
    alike_K = (view.labels_N[k_K] == view.labels_N[i_P[pair_K]]) | (view.labels_N[k_K] == view.labels_N[j_P[pair_K]])
    alike_K &= (k_K != i_P[pair_K]) & (k_K != j_P[pair_K])
    hidden_P = np.zeros(len(i_P), dtype=bool)
    hidden_P[pair_K[alike_K]] = True
    return hidden_P


def _along(view: View, predicate: str) -> Found:
    settings = view.settings
    i_P, j_P = view.near(predicate, settings.along_m)
    gap_P, turn_P = view.gap(i_P, j_P), view.turn(i_P, j_P)
    keep_P = settings.below(gap_P, settings.along_m)
    if predicate == "run along":
        keep_P &= settings.below(turn_P, settings.parallel_deg)
    else:
        keep_P &= settings.above(turn_P, settings.parallel_deg)
    i_P, j_P, gap_P, turn_P = i_P[keep_P], j_P[keep_P], gap_P[keep_P], turn_P[keep_P]
    evidence = {"gap_m": gap_P, "angle_deg": turn_P}
    if predicate != "run along":
        return Found(predicate, i_P, j_P, evidence)
    _, share_P = side_by_side(view, i_P, j_P)
    keep_P = settings.above(share_P, settings.beside_share)
    evidence["overlap"] = share_P
    return Found(predicate, i_P[keep_P], j_P[keep_P], {key: value[keep_P] for key, value in evidence.items()})


def side_by_side(view: View, i_P: np.ndarray, j_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Across their mean axis the gap (metres), along it the common part of the shorter extent; the same both ways."""
    one_P, two_P = (np.radians(2 * view.axis_deg_N[rows]) for rows in (i_P, j_P))
    mean_P = np.arctan2(np.sin(one_P) + np.sin(two_P), np.cos(one_P) + np.cos(two_P)) / 2
    along_P2 = np.stack((np.cos(mean_P), np.sin(mean_P)), axis=1)
    across_P2 = np.stack((-along_P2[:, 1], along_P2[:, 0]), axis=1)
    # from the middle of the pair, so that large coordinates lose no digits
    origin_P2 = (view.centre_N2[i_P] + view.centre_N2[j_P]) / 2
    spans = []
    for rows in (i_P, j_P):
        local_P42 = view.corners_N42[rows] - origin_P2[:, None]
        for direction_P2 in (along_P2, across_P2):
            place_P4 = (local_P42 * direction_P2[:, None]).sum(axis=2)
            spans.append((place_P4.min(axis=1), place_P4.max(axis=1)))
    (a1_P, a2_P), (c1_P, c2_P), (b1_P, b2_P), (d1_P, d2_P) = spans
    shorter_P = np.maximum(np.minimum(a2_P - a1_P, b2_P - b1_P), 1e-9)
    share_P = np.clip((np.minimum(a2_P, b2_P) - np.maximum(a1_P, b1_P)) / shorter_P, 0, 1)
    return np.maximum(np.maximum(c1_P, d1_P) - np.minimum(c2_P, d2_P), 0), share_P


def _around(view: View) -> Found:
    i_P, j_P = view.near("around", view.settings.around_m)
    x_P, y_P = view.centre_N2[j_P].T
    x1_P, y1_P, x2_P, y2_P = shapely.bounds(view.areas_N[i_P]).T
    inside_P = (x1_P < x_P) & (x_P < x2_P) & (y1_P < y_P) & (y_P < y2_P)
    i_P, j_P = i_P[inside_P], j_P[inside_P]
    reach_P = np.hypot(x2_P - x1_P, y2_P - y1_P)[inside_P]
    share_P = np.zeros(len(i_P))
    for start in range(0, len(i_P), BLOCK):
        rows = slice(start, start + BLOCK)
        share_P[rows] = _surround(view.areas_N[i_P[rows]], view.centre_N2[j_P[rows]], reach_P[rows])
    keep_P = view.settings.above(share_P, view.settings.surround) | (share_P == 1)
    return Found("around", i_P[keep_P], j_P[keep_P], {"surround": share_P[keep_P]})


def _surround(areas_K: np.ndarray, centre_K2: np.ndarray, reach_K: np.ndarray) -> np.ndarray:
    """Share of the directions from a place in which an area is met."""
    angle_R = 2 * np.pi * np.arange(RAYS) / RAYS
    ray_R2 = np.stack((np.cos(angle_R), np.sin(angle_R)), axis=1)
    from_KR2 = np.repeat(centre_K2[:, None], RAYS, axis=1)
    to_KR2 = from_KR2 + reach_K[:, None, None] * ray_R2
    shapely.prepare(areas_K)
    return shapely.intersects(areas_K[:, None], shapely.linestrings(np.stack((from_KR2, to_KR2), axis=2))).mean(axis=1)


# --- ways and their ends ------------------------------------------------------------------------------------


def _end_gaps(view: View, i_P: np.ndarray, j_P: np.ndarray) -> np.ndarray:
    """Metres (P, 2) from the ends of i to the ground of j; NaN without ends."""
    ends_P22 = view.ends_N22[i_P]
    known_P = ~np.isnan(ends_P22).any(axis=(1, 2))
    gaps_P2 = np.full((len(i_P), 2), np.nan)
    points_K2 = shapely.points(ends_P22[known_P])
    gaps_P2[known_P] = shapely.distance(points_K2, view.areas_N[j_P[known_P]][:, None])
    return gaps_P2


def _crossing(view: View, predicate: str) -> Found:
    """Ways that cross: for `intersect` away from the ends of both, for `pass across` steeply, ending outside."""
    settings = view.settings
    i_P, j_P = view.near(predicate)
    crossed_P = shapely.intersects(view.ways_N[i_P], view.ways_N[j_P])
    i_P, j_P = i_P[crossed_P], j_P[crossed_P]
    turn_P = _turn_at(view, i_P, j_P)
    ends_P = _end_gaps(view, i_P, j_P).min(axis=1)
    if predicate == "intersect":
        ends_P = np.minimum(ends_P, _end_gaps(view, j_P, i_P).min(axis=1))
        keep_P = settings.above(turn_P, settings.parallel_deg)
    else:
        keep_P = settings.above(turn_P, settings.steep_deg)
    keep_P &= settings.above(ends_P, settings.reach_m)
    return Found(predicate, i_P[keep_P], j_P[keep_P], {"angle_deg": turn_P[keep_P], "end_gap_m": ends_P[keep_P]})


def _turn_at(view: View, i_P: np.ndarray, j_P: np.ndarray) -> np.ndarray:
    """Degrees (0-90) between two ways where they cross, or are nearest to each other."""
    line_P = shapely.shortest_line(view.ways_N[i_P], view.ways_N[j_P])
    points_P2 = shapely.get_point(line_P, 0), shapely.get_point(line_P, 1)
    courses = [_course(view, rows, at_P) for rows, at_P in zip((i_P, j_P), points_P2, strict=True)]
    return axial_turn(*courses)


def _course(view: View, rows: np.ndarray, at_P: np.ndarray) -> np.ndarray:
    """Direction of a way near a point of it, degrees."""
    ways_P, step = view.ways_N[rows], view.settings.reach_m
    place_P = shapely.line_locate_point(ways_P, at_P)
    length_P = shapely.length(ways_P)
    ahead_P = shapely.line_interpolate_point(ways_P, np.minimum(place_P + step, length_P))
    back_P = shapely.line_interpolate_point(ways_P, np.maximum(place_P - step, 0))
    dx_P, dy_P = shapely.get_x(ahead_P) - shapely.get_x(back_P), shapely.get_y(ahead_P) - shapely.get_y(back_P)
    return np.degrees(np.arctan2(dy_P, dx_P))


def _through(view: View) -> Found:
    settings = view.settings
    i_P, j_P = view.near("through")
    ends_P = _end_gaps(view, i_P, j_P).min(axis=1)
    keep_P = settings.above(ends_P, settings.reach_m)
    i_P, j_P, ends_P = i_P[keep_P], j_P[keep_P], ends_P[keep_P]
    inside_P = shapely.length(shapely.intersection(view.ways_N[i_P], view.areas_N[j_P]))
    share_P = inside_P / np.maximum(view.width_N[j_P], 1e-9)
    keep_P = settings.above(share_P, settings.overlap)
    evidence = {"inside_m": inside_P, "inside_widths": share_P, "end_gap_m": ends_P}
    return Found("through", i_P[keep_P], j_P[keep_P], {key: value[keep_P] for key, value in evidence.items()})


def _connect(view: View) -> Found:
    """One end of i at j, the other not; where ends of both meet, only if no third one ends there."""
    settings = view.settings
    i_P, j_P = view.near("connect", settings.reach_m)
    mine_P2, theirs_P2 = _end_gaps(view, i_P, j_P), _end_gaps(view, j_P, i_P)
    keep_P = settings.below(mine_P2.min(axis=1), settings.reach_m)
    keep_P &= settings.above(mine_P2.max(axis=1), settings.reach_m)
    meets_P, alone_P, _ = _junctions(view, i_P, j_P)
    # beside an area there is no other end; NaN says so
    aside_P = ~(theirs_P2.min(axis=1) < settings.reach_m * (1 + settings.margin))
    keep_P &= aside_P | (meets_P & alone_P)
    i_P, j_P, gap_P = i_P[keep_P], j_P[keep_P], mine_P2.min(axis=1)[keep_P]
    return Found("connect", i_P, j_P, {"gap_m": gap_P})


def _converge(view: View) -> Found:
    i_P, j_P = view.near("converge", view.settings.reach_m)
    meets_P, alone_P, degree_P = _junctions(view, i_P, j_P)
    keep_P = meets_P & ~alone_P & (degree_P >= 3)
    i_P, j_P = i_P[keep_P], j_P[keep_P]
    evidence = {"gap_m": view.gap(i_P, j_P), "angle_deg": _turn_at(view, i_P, j_P), "degree": degree_P[keep_P]}
    return Found("converge", i_P, j_P, evidence)


def _junctions(view: View, i_P: np.ndarray, j_P: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether ends of both meet, whether no third way ends there, and how many do (0 where that is unsure)."""
    settings, ends_N22 = view.settings, view.ends_N22
    half_P = np.maximum(view.width_N[i_P], view.width_N[j_P]) / 2
    # an end of a wide way is anywhere across it
    reach_P = settings.reach_m + np.where(view.is_line_N[i_P] & view.is_line_N[j_P], 0, half_P)
    away_P22 = np.linalg.norm(ends_N22[i_P][:, :, None] - ends_N22[j_P][:, None], axis=3)
    away_P4 = np.where(np.isnan(away_P22), np.inf, away_P22).reshape(-1, 4)
    nearest_P = away_P4.argmin(axis=1) if len(away_P4) else np.zeros(0, dtype=int)
    meets_P = settings.below(away_P4.min(axis=1, initial=np.inf), reach_P)
    joins_N = view.members("connect", "converge")
    joins_N = joins_N[~np.isnan(ends_N22[joins_N]).any(axis=(1, 2))]
    degree_P = np.zeros(len(i_P), dtype=int)
    at = np.flatnonzero(meets_P)
    if not len(at):
        return meets_P, degree_P == 2, degree_P
    node_K2 = (ends_N22[i_P[at], nearest_P[at] // 2] + ends_N22[j_P[at], nearest_P[at] % 2]) / 2
    tree = shapely.STRtree(shapely.points(ends_N22[joins_N].reshape(-1, 2)))
    counts = []
    for factor in (1 - settings.margin, 1 + settings.margin):
        node_Q, end_Q = tree.query(
            shapely.points(node_K2), predicate="dwithin", distance=np.atleast_1d(reach_P[at] * factor)
        )
        ways = np.unique(np.stack((node_Q, joins_N[end_Q // 2])), axis=1)
        counts.append(np.bincount(ways[0], minlength=len(at)))
    degree_P[at] = np.where(counts[0] == counts[1], counts[0], 0)
    return meets_P, degree_P == 2, degree_P

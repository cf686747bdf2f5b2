"""How far apart objects are, where they head, and in which lane they drive."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely

from georefer.building.relations.carriers import driving, on_carrier
from georefer.building.relations.settings import class_key
from georefer.building.relations.view import Found, View, axial_turn, clear_nearest, heading_turn


def distances(view: View) -> Iterator[Found]:
    """Safe and dangerous by the table of the settings; where several rules fit a pair, the first counts."""
    settings = view.settings
    if not settings.distances:
        return
    name = "within safe distance of"
    i_P, j_P = view.near(name, max(rule.safe_m for rule in settings.distances))
    danger_P, safe_P = np.full(len(i_P), np.nan), np.full(len(i_P), np.nan)
    for rule in reversed(settings.distances):
        a_N, b_N = view.has(class_key(rule.subject)), view.has(class_key(rule.object))
        fits_P = (a_N[i_P] & b_N[j_P]) | (b_N[i_P] & a_N[j_P])
        danger_P[fits_P], safe_P[fits_P] = rule.danger_m, rule.safe_m
    gap_P = view.gap(i_P, j_P)
    evidence = {"gap_m": gap_P, "danger_m": danger_P, "safe_m": safe_P}
    is_safe_P = settings.above(gap_P, danger_P) & settings.below(gap_P, safe_P)
    for predicate, keep_P in ((name, is_safe_P), ("within danger distance of", settings.below(gap_P, danger_P))):
        yield Found(predicate, i_P[keep_P], j_P[keep_P], {key: value[keep_P] for key, value in evidence.items()})


def headings(view: View) -> Iterator[Found]:
    """The group of headings and lanes; nothing without headings."""
    if np.isnan(view.heading_N).all():
        return
    for toward, away in (("approach", "away from"), ("drive toward", "drive off")):
        yield _pointing(view, toward, ahead=True)
        yield _pointing(view, away, ahead=False)
    cars = view.members("in the same parking with")
    moving_N = driving(view, on_carrier(view, cars, ("parking",)))
    i_P, j_P = view.near("driving in the same direction with", view.settings.driving_m)
    keep_P = (moving_N[i_P] >= 0) & (moving_N[j_P] >= 0)
    keep_P &= ~np.isnan(view.heading_N[i_P]) & ~np.isnan(view.heading_N[j_P])
    i_P, j_P = i_P[keep_P], j_P[keep_P]
    away_P = np.linalg.norm(view.centre_N2[i_P] - view.centre_N2[j_P], axis=1)
    near_P = view.settings.below(away_P, view.settings.driving_m)
    i_P, j_P, away_P = i_P[near_P], j_P[near_P], away_P[near_P]
    yield from _directions(view, i_P, j_P, away_P)
    yield from _given_lanes(view, i_P, j_P) if len(view.lines.lanes_L) else _lanes(view, i_P, j_P)


def _pointing(view: View, predicate: str, ahead: bool) -> Found:
    settings = view.settings
    i_P, j_P = view.near(predicate, settings.heading_m)
    headed_P = ~np.isnan(view.heading_N[i_P])
    i_P, j_P = i_P[headed_P], j_P[headed_P]
    gap_P = view.gap(i_P, j_P)
    line_P = shapely.shortest_line(shapely.points(view.centre_N2[i_P]), view.areas_N[j_P])
    to_P2 = shapely.get_coordinates(line_P).reshape(-1, 2, 2)
    bearing_P = np.degrees(np.arctan2(*(to_P2[:, 1] - to_P2[:, 0]).T[::-1]))
    turn_P = heading_turn(view.heading_N[i_P], bearing_P)
    off_P = turn_P if ahead else 180 - turn_P
    # what touches it is at it, and neither comes nor goes
    keep_P = settings.below(off_P, settings.heading_deg) & settings.below(gap_P, settings.heading_m) & (gap_P > 0)
    return Found(predicate, i_P[keep_P], j_P[keep_P], {"angle_deg": turn_P[keep_P], "gap_m": gap_P[keep_P]})


def _directions(view: View, i_P: np.ndarray, j_P: np.ndarray, away_P: np.ndarray) -> Iterator[Found]:
    turn_P = heading_turn(view.heading_N[i_P], view.heading_N[j_P])
    for kind, off_P in (("same", turn_P), ("opposite", 180 - turn_P)):
        keep_P = view.settings.below(off_P, view.settings.parallel_deg)
        evidence = {"angle_deg": turn_P[keep_P], "distance_m": away_P[keep_P]}
        yield Found(f"driving in the {kind} direction with", i_P[keep_P], j_P[keep_P], evidence)


def _lanes(view: View, i_P: np.ndarray, j_P: np.ndarray) -> Iterator[Found]:
    """By the offset across the mean heading; oncoming traffic is never in the same lane."""
    settings = view.settings
    turn_P = heading_turn(view.heading_N[i_P], view.heading_N[j_P])
    parallel_P = settings.below(axial_turn(view.heading_N[i_P], view.heading_N[j_P]), settings.parallel_deg)
    one_P, two_P = (np.radians(2 * view.heading_N[rows]) for rows in (i_P, j_P))
    mean_P = np.arctan2(np.sin(one_P) + np.sin(two_P), np.cos(one_P) + np.cos(two_P)) / 2
    dx_P, dy_P = (view.centre_N2[j_P] - view.centre_N2[i_P]).T
    offset_P = np.abs(dy_P * np.cos(mean_P) - dx_P * np.sin(mean_P))
    alike_P = turn_P < 90
    same_P = parallel_P & alike_P & settings.below(offset_P, settings.lane_m / 2)
    # between half a lane and a whole one nobody knows without the markings
    other_P = parallel_P & settings.below(offset_P, settings.lane_m * settings.lanes)
    other_P &= offset_P >= settings.lane_m * (1 - settings.margin)
    yield from _lane_pairs(i_P, j_P, same_P, other_P, {"offset_m": offset_P, "angle_deg": turn_P})


def _given_lanes(view: View, i_P: np.ndarray, j_P: np.ndarray) -> Iterator[Found]:
    """By the nearest of the given middle lines, if it is within half a lane and clearly the nearest."""
    settings, lanes_L = view.settings, np.asarray(view.lines.lanes_L, dtype=object)
    rows = np.unique(np.concatenate((i_P, j_P)))
    lane_N, offset_N = np.full(len(view), -1), np.full(len(view), np.nan)
    centres = shapely.points(view.centre_N2[rows])
    at_K, lane_K = shapely.STRtree(lanes_L).query(centres, predicate="dwithin", distance=settings.lane_m)
    away_K = shapely.distance(centres[at_K], lanes_L[lane_K])
    car_Q, lane_Q, away_Q, clear_Q = clear_nearest(rows[at_K], lane_K, away_K, settings.margin * settings.lane_m)
    sure_Q = clear_Q & settings.below(away_Q, settings.lane_m / 2)
    lane_N[car_Q[sure_Q]], offset_N[car_Q[sure_Q]] = lane_Q[sure_Q], away_Q[sure_Q]
    known_P = (lane_N[i_P] >= 0) & (lane_N[j_P] >= 0)
    i_P, j_P = i_P[known_P], j_P[known_P]
    offset_P = np.maximum(offset_N[i_P], offset_N[j_P])
    same_P = lane_N[i_P] == lane_N[j_P]
    evidence = {"lane_offset_m": offset_P, "angle_deg": heading_turn(view.heading_N[i_P], view.heading_N[j_P])}
    yield from _lane_pairs(i_P, j_P, same_P, ~same_P, evidence)


def _lane_pairs(i_P, j_P, same_P, other_P, evidence) -> Iterator[Found]:
    for kind, keep_P in (("same", same_P), ("different", other_P)):
        rows = {key: value[keep_P] for key, value in evidence.items()}
        yield Found(f"driving in the {kind} lane with", i_P[keep_P], j_P[keep_P], rows)

"""The objects of a scene as arrays that all rules work on, and the pairs that are near enough to be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import shapely
from scipy.spatial import cKDTree

from georefer.building.relations.settings import ROLES, RelationSettings, class_key
from georefer.building.relations.table import RELATIONS
from georefer.errors import InputError
from georefer.geometry.edges import intersection_areas
from georefer.geometry.repair import is_repairable, repaired

MAX_PAIRS = 5_000_000
"""Pairs of one predicate: beyond it nearly everything is near everything, and the settings are wrong."""

STRAIGHT = 0.9
"""Distance between the ends of a line that has one direction, in its lengths."""

MAX_NEAREST = 512
"""Neighbours among which partners on carriers are looked for."""


@dataclass(frozen=True, eq=False)
class Found:
    """Pairs for which a predicate holds, by row; evidence as columns."""

    predicate: str
    subject_P: np.ndarray
    object_P: np.ndarray
    evidence: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Lines:
    """Networks given beside the objects, as arrays of line strings in the same coordinates."""

    power_L: Sequence[shapely.LineString] | np.ndarray = ()
    lanes_L: Sequence[shapely.LineString] | np.ndarray = ()
    """Middle lines of lanes, each in the direction of travel."""


@dataclass(frozen=True, eq=False)
class View:
    """Usable objects only (areas, lines and points, repaired); `row_N` says which rows of the input they are.

    `heading_N` and `axis_deg_N` are from +x towards +y, NaN where unknown. `ends_N22` are the two ends of a line, or of
    the middle line of an area's least rectangle.
    """

    shapes_N: np.ndarray
    row_N: np.ndarray
    labels_N: np.ndarray
    heading_N: np.ndarray
    settings: RelationSettings
    lines: Lines

    def __len__(self) -> int:
        return len(self.shapes_N)

    @cached_property
    def is_line_N(self) -> np.ndarray:
        return shapely.get_dimensions(self.shapes_N) == 1

    @cached_property
    def areas_N(self) -> np.ndarray:
        """Shapes with ground to stand on: lines and points get the width of the settings."""
        areas_N = self.shapes_N.copy()
        flat_N = shapely.get_dimensions(areas_N) < 2
        areas_N[flat_N] = shapely.buffer(areas_N[flat_N], self.settings.line_width_m / 2, cap_style="flat")
        point_N = shapely.get_dimensions(self.shapes_N) == 0
        areas_N[point_N] = shapely.buffer(self.shapes_N[point_N], self.settings.line_width_m / 2)
        return areas_N

    @cached_property
    def corners_N42(self) -> np.ndarray:
        """Corners of the least rectangle around each area, in turn."""
        boxes_N = shapely.oriented_envelope(self.areas_N)
        found_N = shapely.get_num_coordinates(boxes_N) == 5
        corners_N42 = np.repeat(self.centre_N2[:, None], 4, axis=1)
        corners_N42[found_N] = shapely.get_coordinates(boxes_N[found_N]).reshape(-1, 5, 2)[:, :4]
        return corners_N42

    @cached_property
    def _sides(self) -> tuple[np.ndarray, np.ndarray]:
        """Vector of the longer side, and of the other."""
        one_N2 = self.corners_N42[:, 1] - self.corners_N42[:, 0]
        two_N2 = self.corners_N42[:, 2] - self.corners_N42[:, 1]
        long_N = (np.hypot(*one_N2.T) >= np.hypot(*two_N2.T))[:, None]
        return np.where(long_N, one_N2, two_N2), np.where(long_N, two_N2, one_N2)

    @cached_property
    def length_N(self) -> np.ndarray:
        return np.where(self.is_line_N, shapely.length(self.shapes_N), np.hypot(*self._sides[0].T))

    @cached_property
    def width_N(self) -> np.ndarray:
        return np.where(self.is_line_N, self.settings.line_width_m, np.hypot(*self._sides[1].T))

    @cached_property
    def centre_N2(self) -> np.ndarray:
        return shapely.get_coordinates(shapely.centroid(self.areas_N)).reshape(-1, 2)

    @cached_property
    def axis_deg_N(self) -> np.ndarray:
        """The heading if there is one, else the longer side of shapes that are clearly longer than wide.

        A line has an axis where it is nearly as long as its ends are apart: an L or a U runs in no one direction.
        """
        long_N2, short_N2 = self._sides
        least = self.settings.elongation * (1 + self.settings.margin)
        has_N = np.hypot(*long_N2.T) >= np.maximum(least * np.hypot(*short_N2.T), 1e-9)
        line = np.flatnonzero(self.is_line_N)
        ends_L = shapely.get_point(self.shapes_N[line], 0), shapely.get_point(self.shapes_N[line], -1)
        apart_L = np.nan_to_num(shapely.distance(*ends_L))
        has_N[line] &= apart_L >= STRAIGHT * shapely.length(self.shapes_N[line])
        own_N = np.where(has_N, np.degrees(np.arctan2(long_N2[:, 1], long_N2[:, 0])), np.nan)
        return np.where(np.isnan(self.heading_N), own_N, self.heading_N) % 180

    @cached_property
    def ends_N22(self) -> np.ndarray:
        long_N2 = self._sides[0]
        middle_N2 = self.corners_N42.mean(axis=1)
        ends_N22 = np.stack((middle_N2 - long_N2 / 2, middle_N2 + long_N2 / 2), axis=1)
        line_N = shapely.get_type_id(self.shapes_N) == shapely.GeometryType.LINESTRING
        for side, place in ((0, 0), (1, -1)):
            ends_N22[line_N, side] = shapely.get_coordinates(shapely.get_point(self.shapes_N[line_N], place))
        ends_N22[np.isnan(self.axis_deg_N) & ~line_N] = np.nan
        return ends_N22

    @cached_property
    def ways_N(self) -> np.ndarray:
        """The line itself, or the middle line of the rectangle; None where a shape has no axis."""
        known_N = ~np.isnan(self.ends_N22).any(axis=(1, 2))
        ways_N = np.full(len(self), None, dtype=object)
        ways_N[known_N] = shapely.linestrings(self.ends_N22[known_N])
        line_N = shapely.get_type_id(self.shapes_N) == shapely.GeometryType.LINESTRING
        ways_N[line_N] = self.shapes_N[line_N]
        return ways_N

    @cached_property
    def roles(self) -> Mapping[str, np.ndarray]:
        """Which objects (N,) play a role."""
        own = {class_key(label): roles for label, roles in self.settings.roles.items()}
        roles: dict[str, np.ndarray] = {}
        keys_N = np.array([class_key(label) for label in self.labels_N], dtype=object)
        for key in dict.fromkeys(keys_N):
            mine_N = keys_N == key
            played = own.get(key, ROLES.get(key, ()))
            # a class taken out by an empty list plays no role, its own included
            names = () if own.get(key) == () else (key, *map(class_key, played))
            for name in dict.fromkeys(names):
                roles[name] = roles.get(name, False) | mine_N
        return roles

    def has(self, role: str) -> np.ndarray:
        """Which objects (N,) play this role."""
        return self.roles.get(role, np.zeros(len(self), dtype=bool))

    def allowed(self, predicate: str, i_P: np.ndarray, j_P: np.ndarray) -> np.ndarray:
        """Which pairs the table lets be related; of a symmetric predicate in either order."""
        allowed_P = np.zeros(len(i_P), dtype=bool)
        for a, b in self.settings.pairs(predicate):
            allowed_P |= self.has(a)[i_P] & self.has(b)[j_P]
            if RELATIONS[predicate].symmetric:
                allowed_P |= self.has(b)[i_P] & self.has(a)[j_P]
        return allowed_P

    def members(self, *predicates: str) -> np.ndarray:
        """Rows of the objects that take part in predicates between objects of one kind."""
        names = {role for one in predicates for pair in self.settings.pairs(one) for role in pair}
        taking_N = np.zeros(len(self), dtype=bool)
        for role in names:
            taking_N |= self.has(role)
        return np.flatnonzero(taking_N)

    def near(self, predicate: str, distance_m: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Allowed pairs whose areas are not farther apart than this; i < j where the predicate is symmetric."""
        pairs = list(self._near(predicate, distance_m))
        i_P, j_P = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), dtype=int)
        order = np.lexsort((j_P, i_P))
        return i_P[order], j_P[order]

    def _near(self, predicate: str, distance_m: float) -> Iterator[np.ndarray]:
        symmetric, pairs = RELATIONS[predicate].symmetric, self.settings.pairs(predicate)
        pairs = (*pairs, *((b, a) for a, b in pairs)) if symmetric else pairs
        targets: dict[str, np.ndarray] = {}
        for a, b in pairs:
            targets[a] = targets.get(a, False) | self.has(b)
        count = 0
        for subjects_N, objects_N in self._distinct(targets):
            tree = shapely.STRtree(self.areas_N[objects_N])
            for rows in np.array_split(np.flatnonzero(subjects_N), max(1, subjects_N.sum() // 1024)):
                found_2P = tree.query(self.areas_N[rows], predicate="dwithin", distance=distance_m)
                found_2P = np.stack((rows[found_2P[0]], np.flatnonzero(objects_N)[found_2P[1]]))
                found_2P = found_2P[:, found_2P[0] < found_2P[1] if symmetric else found_2P[0] != found_2P[1]]
                if (count := count + found_2P.shape[1]) > MAX_PAIRS:
                    raise InputError(
                        f"more than {MAX_PAIRS:,} pairs lie within {distance_m:g} m for '{predicate}'; expected far "
                        "fewer: lower the distance, allow fewer roles, or give metres"
                    )
                yield found_2P

    def _distinct(self, targets: Mapping[str, np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(subjects, objects) such that no pair comes twice, though an object may play several roles."""
        names = list(targets)
        if not len(self) or not names:
            return
        plays_NR = np.stack([self.has(name) for name in names], axis=1)
        kinds_K, kind_N = np.unique(plays_NR, axis=0, return_inverse=True)
        for kind, plays_R in enumerate(kinds_K):
            if plays_R.any():
                wanted = [targets[name] for name, plays in zip(names, plays_R, strict=True) if plays]
                if (objects_N := np.logical_or.reduce(wanted)).any():
                    yield kind_N.reshape(-1) == kind, objects_N

    def gap(self, i_P: np.ndarray, j_P: np.ndarray) -> np.ndarray:
        """Metres between two areas."""
        return shapely.distance(self.areas_N[i_P], self.areas_N[j_P])

    def common_m2(self, i_P: np.ndarray, j_P: np.ndarray) -> np.ndarray:
        """Square metres that two areas share."""
        return intersection_areas(self.areas_N[i_P], self.areas_N[j_P])

    def turn(self, i_P: np.ndarray, j_P: np.ndarray) -> np.ndarray:
        """Degrees (0-90) between two axes; NaN where one is unknown."""
        return axial_turn(self.axis_deg_N[i_P], self.axis_deg_N[j_P])

    def partners(self, rows: np.ndarray, group_N: np.ndarray, most: int, same: bool) -> np.ndarray:
        """Pairs (2, P) of rows, i < j, where one is among the `most` nearest of the other on the same carrier.

        `group_N` says on which carrier an object is, -1 for none; `same=False`: the nearest on any other carrier.
        """
        rows = rows[group_N[rows] >= 0]
        left, found, count = rows, [np.zeros((2, 0), dtype=int)], most + 1
        if len(rows) < 2:
            return found[0]
        tree = cKDTree(self.centre_N2[rows])
        while len(left):
            count = min(count, len(rows), MAX_NEAREST)
            away_LK, place_LK = tree.query(
                self.centre_N2[left], k=np.arange(1, count + 1), distance_upper_bound=self.settings.pair_m
            )
            ok_LK = np.isfinite(away_LK)
            other_LK = rows[np.minimum(place_LK, len(rows) - 1)]
            fits_LK = ok_LK & (other_LK != left[:, None])
            fits_LK &= (group_N[other_LK] == group_N[left][:, None]) == same
            enough_L = (fits_LK.sum(axis=1) >= most) | ~ok_LK.all(axis=1) | (count in (len(rows), MAX_NEAREST))
            fits_LK &= (np.cumsum(fits_LK, axis=1) <= most) & enough_L[:, None]
            at, to = np.nonzero(fits_LK)
            found.append(np.stack((left[at], other_LK[at, to])))
            left, count = left[~enough_L], count * 4
        return np.unique(np.sort(np.concatenate(found, axis=1), axis=0), axis=1)


def axial_turn(a_P: np.ndarray, b_P: np.ndarray) -> np.ndarray:
    """Degrees (0-90) between axes, which have no front."""
    return np.abs((np.asarray(a_P) - b_P + 90) % 180 - 90)


def heading_turn(a_P: np.ndarray, b_P: np.ndarray) -> np.ndarray:
    """Degrees (0-180) between headings."""
    return np.abs((np.asarray(a_P) - b_P + 180) % 360 - 180)


def clear_nearest(i_K: np.ndarray, j_K: np.ndarray, gap_K: np.ndarray, step: float):
    """Of pairs: each i once, the j nearest to it, its gap, and whether the next one is farther by `step`."""
    order = np.lexsort((j_K, gap_K, i_K))
    i_K, j_K, gap_K = i_K[order], j_K[order], gap_K[order]
    first_K = np.ones(len(i_K), dtype=bool)
    first_K[1:] = i_K[1:] != i_K[:-1]
    next_K = np.full(len(i_K), np.inf)
    next_K[:-1] = np.where(first_K[1:], np.inf, gap_K[1:])
    return i_K[first_K], j_K[first_K], gap_K[first_K], (next_K - gap_K)[first_K] >= step


def view_of(geometries_N, labels_N, headings_N, settings: RelationSettings, lines: Lines) -> View:
    """Leaves out what is empty, None, not finite, or too tangled to be repaired in bounded time."""
    shapes_N = np.asarray(geometries_N, dtype=object)
    kept_N = shapely.is_geometry(shapes_N)
    kept_N[kept_N] = ~shapely.is_empty(shapes_N[kept_N])
    kept_N[kept_N] = np.isfinite(shapely.bounds(shapes_N[kept_N])).all(axis=1)
    broken_N = kept_N & ~shapely.is_valid(shapes_N) & (shapely.get_dimensions(shapes_N) == 2)
    kept_N[broken_N] = [is_repairable(shape) for shape in shapes_N[broken_N]]
    rows = np.flatnonzero(kept_N)
    clean_M = shapely.force_2d(shapes_N[rows])
    area_M = shapely.get_dimensions(clean_M) == 2
    clean_M[area_M] = repaired(clean_M[area_M])
    whole_M = ~shapely.is_empty(clean_M) & shapely.is_valid(clean_M)
    rows, clean_M = rows[whole_M], clean_M[whole_M]
    headings_M = np.asarray(headings_N, dtype=float)[rows] % 360
    return View(clean_M, rows, np.asarray(labels_N, dtype=object)[rows], headings_M, settings, lines)

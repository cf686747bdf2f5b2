"""Registration: how far the labels of an area lie from what the imagery shows, region by region.

Labels drawn over other imagery lie beside their objects here by some metres, and a model learns the error. The offset
is estimated and reported; it is never applied, because whoever owns the map decides which of the two is wrong.

How: for every region, the outlines of its features are laid over the imagery at every shift up to `max_shift_m`. A
shift scores by how well the directions of the image's edges agree with those of the outlines there (the cosine of twice
the angle between them, weighted by the local contrast: texture without direction adds nothing, and neither side of an
edge need be the brighter one). The best shift counts where resampled features find it too, where no other place scores
nearly as well and where it lies within the range that was searched; otherwise the region has no estimate, and says why.
Single features whose own outline fits far better somewhere else are listed too: a few hundred points can err, so these
are candidates for a person to look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import shapely
from pyproj import Geod

from georefer.geometry import GeoGrid, Window
from georefer.imagery.raster import Imagery

MAX_RADIUS_PX = 32
"""Shifts are searched to so many pixels; for longer ones the imagery is read at a coarser scale."""

MAX_REGION_PX = 2048
"""Longer side of what is read of a region at once: memory stays bounded whatever the recipe says."""

RESAMPLES = 100
_POINT_STEP_PX = 1.5
_LEAST_RANGE = 0.02
"""Range of an outline's scores below which there is nothing under it that could agree."""
_LEAST_ALONE = 0.1
"""Score from which a single outline can be said to fit."""
_FLAT_LEVELS = 4.0
"""Grey levels of contrast below which an edge is noise."""


@dataclass(frozen=True)
class RegistrationSettings:
    """How the offset between labels and imagery is looked for. Lengths are pixels where there is no georeference."""

    region_m: float = 150.0
    """Side of the regions; each gets an offset of its own."""
    max_shift_m: float = 8.0
    """The farthest shift that is tried."""
    tolerance_m: float = 1.0
    """Estimates from resampled features may differ by this much and still agree (at least two pixels)."""
    min_features: int = 8
    """Regions with fewer features have no estimate."""
    max_features: int = 200
    """Features of a region that are used; of more, so many spread over all."""
    min_agreement: float = 0.8
    """Share of the resamplings that must find the same shift."""
    max_rival: float = 0.85
    """Regions in which another place scores more than this share of the best one have no estimate."""
    most_regions: int = 400
    """Of an area with more regions, so many spread over it are looked at."""

    def __post_init__(self) -> None:
        if min(self.region_m, self.max_shift_m, self.tolerance_m) <= 0:
            raise ValueError("region_m, max_shift_m and tolerance_m are lengths; expected values above 0")
        if self.region_m < 2 * self.max_shift_m:
            raise ValueError(f"region_m is {self.region_m:g}; expected at least twice max_shift_m")
        if not 2 <= self.min_features <= self.max_features:
            raise ValueError("min_features must be at least 2 and at most max_features")


@dataclass(frozen=True)
class Beside:
    """A feature that fits the imagery far better elsewhere: its place among the geometries, and the way there."""

    index: int
    shift_px: tuple[float, float]
    """(right, down) in the imagery's pixels."""


@dataclass(frozen=True)
class RegionOffset:
    """Where the labels of one region would have to move to lie on what the imagery shows.

    `shift_px` is (right, down) in the imagery's own pixels, `shift_m` true (east, north) in metres; both are None where
    there is no estimate, and `reason` says why ("" where there is one). `agreement` is the share of resamplings of
    the features that find the same shift, `rival` the score of the best other place relative to the best one;
    both are NaN where nothing was searched.
    """

    window: Window
    features: int
    shift_px: tuple[float, float] | None
    shift_m: tuple[float, float] | None
    agreement: float
    rival: float
    reason: str = ""
    beside: tuple[Beside, ...] = ()
    """Features that lie differently from the others of the region."""

    @property
    def length_m(self) -> float | None:
        """Length of the shift on the ground (in pixels without a georeference)."""
        return None if self.shift_m is None else float(np.hypot(*self.shift_m))

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest, rounded to what they can mean."""
        return {
            "window_px": list(self.window.box),
            "features": self.features,
            "right_down_px": None if self.shift_px is None else [round(v, 2) for v in self.shift_px],
            "east_north_m": None if self.shift_m is None else [round(v, 3) for v in self.shift_m],
            "agreement": None if np.isnan(self.agreement) else round(self.agreement, 3),
            "rival": None if np.isnan(self.rival) else round(self.rival, 3),
            "reason": self.reason,
            "beside": [{"feature": b.index, "right_down_px": list(b.shift_px)} for b in self.beside],
        }


def estimate_offsets(
    imagery: Imagery,
    geometries_N: np.ndarray,
    settings: RegistrationSettings | None = None,
    windows: Sequence[Window] | None = None,
) -> list[RegionOffset]:
    """The offset of every region (`region_windows`, unless given) that holds features, row by row.

    `geometries_N` are shapes in the imagery's pixels (`Features.objects.geometries_N`); areas are compared by their
    outlines, lines as they are, points not at all. A feature belongs to the region in which its centroid lies.
    Deterministic. Nothing is changed.
    """
    settings = settings or RegistrationSettings()
    shapes_N = np.asarray(geometries_N, dtype=object)
    scale, tree = _Scale.of(imagery.grid, settings), shapely.STRtree(shapes_N)
    return [
        _estimate(imagery, window, tree, index_F, scale, settings)
        for window, index_F in _regions(windows or region_windows(imagery.grid, settings), shapes_N)
    ]


def region_windows(grid: GeoGrid, settings: RegistrationSettings) -> list[Window]:
    """Regions of about equal size, row by row; at most `most_regions` of them, spread over the area."""
    lengths = zip((grid.width, grid.height), _Scale.of(grid, settings).region, strict=True)
    edges_x, edges_y = (_edges(length, side) for length, side in lengths)
    columns, count = len(edges_x) - 1, (len(edges_x) - 1) * (len(edges_y) - 1)
    found = []
    for place in np.unique(np.linspace(0, count - 1, min(count, settings.most_regions)).round().astype(int)).tolist():
        row, column = divmod(place, columns)
        (x1, x2), (y1, y2) = edges_x[column : column + 2], edges_y[row : row + 2]
        found.append(Window(x1, y1, x2 - x1, y2 - y1))
    return found


@dataclass(frozen=True)
class _Scale:
    """Lengths of the settings in pixels: of the imagery for regions, of the working scale for shifts."""

    region: tuple[int, int]
    radius: tuple[int, int]
    tolerance: float
    factor: int
    """Imagery pixels per working pixel."""

    @classmethod
    def of(cls, grid: GeoGrid, settings: RegistrationSettings) -> _Scale:
        size_m = grid.pixel_size_m if grid.is_georeferenced else (1.0, 1.0)
        longest = max(settings.max_shift_m / s for s in size_m)
        factor = max(1, int(np.ceil(longest / MAX_RADIUS_PX)))
        limit = MAX_REGION_PX * factor
        region = [min(limit, max(1, round(settings.region_m / s))) for s in size_m]
        radius = [max(2, int(np.ceil(settings.max_shift_m / s / factor))) for s in size_m]
        tolerance = max(2.0, settings.tolerance_m / max(size_m) / factor)
        return cls((region[0], region[1]), (radius[0], radius[1]), tolerance, factor)


def _regions(windows: Sequence[Window], shapes_N: np.ndarray) -> Iterator[tuple[Window, np.ndarray]]:
    """Regions with the places of the shapes whose middles lie there; empty regions are left out."""
    usable_K = np.flatnonzero((shapely.get_dimensions(shapes_N) > 0) & ~shapely.is_empty(shapes_N))
    middles_K = shapely.centroid(shapes_N[usable_K])
    tree, middle_K2 = shapely.STRtree(middles_K), shapely.get_coordinates(middles_K)
    for window in windows:
        near_F = np.sort(tree.query(shapely.box(*window.box)))
        # a middle on the border of two belongs to the one that begins there
        inside_F = ((middle_K2[near_F] >= (window.x, window.y)) & (middle_K2[near_F] < window.box[2:])).all(axis=1)
        if inside_F.any():
            yield window, usable_K[near_F[inside_F]]


def _edges(length: int, side: int) -> list[int]:
    count = max(1, round(length / side))
    return [round(i * length / count) for i in range(count + 1)]


def _estimate(
    imagery: Imagery, window: Window, tree: shapely.STRtree, index_F: np.ndarray, scale: _Scale,
    settings: RegistrationSettings,
) -> RegionOffset:  # fmt: skip
    count = len(index_F)
    if count < settings.min_features:
        return RegionOffset(window, count, None, None, np.nan, np.nan, "too few features")
    if count > settings.max_features:
        index_F = index_F[np.linspace(0, count - 1, settings.max_features).round().astype(int)]
    scores_FDD, seen_F = _scores(imagery, window, tree.geometries[index_F], scale)
    used_F = ~np.isnan(scores_FDD[:, 0, 0])
    used = int(used_F.sum())
    if used < settings.min_features:
        return RegionOffset(window, used, None, None, np.nan, np.nan, "too little texture under the features")
    index_F, scores_FDD, seen_F = index_F[used_F], scores_FDD[used_F], seen_F[used_F]
    best, agreement, rival = _best_shift(scores_FDD, scale)
    if best is None:
        reason = "the best shift lies at the edge of the search; raise max_shift_m"
    elif agreement < settings.min_agreement:
        reason = "the features do not agree on a shift"
    else:
        reason = "another shift fits nearly as well" if rival > settings.max_rival else ""
    if best is None or reason:
        return RegionOffset(window, used, None, None, agreement, rival, reason)
    shift_px = best[0] * scale.factor, best[1] * scale.factor
    shift_m = _ground(imagery.grid, window, shift_px)
    # what fits where another label lies already fits its roof, and has most likely none of its own that shows
    beside = tuple(b for b in _beside(scores_FDD, index_F, seen_F, best, scale) if not _is_taken(tree, b))
    return RegionOffset(window, used, shift_px, shift_m, agreement, rival, "", beside)


# --- agreement of outlines and image edges ------------------------------------------------------------------


def _scores(imagery: Imagery, window: Window, shapes_N: np.ndarray, scale: _Scale) -> tuple[np.ndarray, np.ndarray]:
    """Score of every shift (feature, down, right) in working pixels, and the share of each outline that is seen.

    NaN for features on flat ground or hardly on the imagery.
    """
    factor, (radius_x, radius_y) = scale.factor, scale.radius
    # outlines run over the edge of their region by as much as half of it
    pad_x, pad_y = (
        side // 2 // factor + radius + 4
        for side, radius in zip((window.width, window.height), scale.radius, strict=True)
    )
    width, height = -(-window.width // factor) + 2 * pad_x, -(-window.height // factor) + 2 * pad_y
    x, y = window.x - pad_x * factor, window.y - pad_y * factor
    pixels = imagery.read(Window(x, y, width * factor, height * factor), (width, height))
    edges_HW2 = edge_directions(pixels.image_HW3, pixels.valid_HW)
    scores_FDD = np.full((len(shapes_N), 2 * radius_y + 1, 2 * radius_x + 1), np.nan, dtype=np.float32)
    seen_F = np.zeros(len(shapes_N))
    for place, shape in enumerate(shapes_N):
        xy_P2, direction_P2 = outline_points(shape, np.array((x, y)), factor)
        low, high = (radius_x + 2, radius_y + 2), (width - radius_x - 3, height - radius_y - 3)
        inside_P = ((xy_P2 >= low) & (xy_P2 < high)).all(axis=1)
        if inside_P.sum() < 4:
            continue
        column_P, row_P = xy_P2[inside_P].astype(int).T
        seen_F[place] = pixels.valid_HW[row_P, column_P].sum() / len(xy_P2)
        score_DD = _matched(edges_HW2, xy_P2[inside_P], direction_P2[inside_P], scale.radius) / inside_P.sum()
        if seen_F[place] > 0.25 and np.ptp(score_DD) > _LEAST_RANGE:
            scores_FDD[place] = score_DD
    return scores_FDD, seen_F


def _matched(edges_HW2: np.ndarray, xy_P2: np.ndarray, direction_P2: np.ndarray, radius: tuple[int, int]) -> np.ndarray:
    """Sum over an outline's points of the agreement with the edges there, for every shift within `radius`."""
    x, y = np.floor(xy_P2.min(axis=0) - 0.5).astype(int)
    drawn_hw2 = _drawn(xy_P2 - (x, y), direction_P2)
    height, width = drawn_hw2.shape[:2]
    rows = slice(y - radius[1], y + radius[1] + height)
    columns = slice(x - radius[0], x + radius[0] + width)
    channels = (cv2.matchTemplate(edges_HW2[rows, columns, c], drawn_hw2[..., c], cv2.TM_CCORR) for c in (0, 1))
    return np.sum(list(channels), axis=0)


def edge_directions(image_HW3: np.ndarray, valid_HW: np.ndarray) -> np.ndarray:
    """Direction of the image's edges as (cos, sin) of twice the angle of their normal, (height, width, 2).

    The length of the vector is the contrast relative to the surroundings, 0 to 1, of the band in which it is largest.
    Zero on flat ground and around pixels that are not valid.
    """
    smooth_HW3 = cv2.GaussianBlur(image_HW3, (0, 0), 1.0).astype(np.float32)
    gx_HW3, gy_HW3 = (cv2.Scharr(smooth_HW3, cv2.CV_32F, *order) / 32 for order in ((1, 0), (0, 1)))
    strength_HW3 = np.hypot(gx_HW3, gy_HW3)
    band_HW1 = strength_HW3.argmax(axis=2)[..., None]
    gx_HW, gy_HW, strength_HW = (
        np.take_along_axis(a, band_HW1, axis=2)[..., 0] for a in (gx_HW3, gy_HW3, strength_HW3)
    )
    usual_HW = cv2.blur(strength_HW, (31, 31))
    contrast_HW = strength_HW / (strength_HW + usual_HW + _FLAT_LEVELS)
    contrast_HW *= cv2.erode(valid_HW.astype(np.uint8), np.ones((7, 7), np.uint8))
    squared_HW = np.maximum(strength_HW**2, 1e-6)
    cos_HW, sin_HW = (gx_HW**2 - gy_HW**2) / squared_HW, 2 * gx_HW * gy_HW / squared_HW
    # digitised corners are off by a pixel or so, and so may be the agreement
    return cv2.GaussianBlur(np.dstack((cos_HW * contrast_HW, sin_HW * contrast_HW)), (0, 0), 1.0)


def outline_points(shape: shapely.Geometry, origin: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Points along a shape in working pixels from `origin`, and (cos, sin) of twice the angle of the normal there."""
    lines = shapely.get_parts(shapely.boundary(shape) if shapely.get_dimensions(shape) == 2 else shape)
    starts, ends = [np.zeros((0, 2))], [np.zeros((0, 2))]
    for line in lines:
        xy_V2 = (shapely.get_coordinates(line) - origin) / factor
        starts.append(xy_V2[:-1])
        ends.append(xy_V2[1:])
    start_S2, step_S2 = np.concatenate(starts), np.concatenate(ends) - np.concatenate(starts)
    length_S = np.hypot(*step_S2.T)
    count_S = np.minimum(np.ceil(length_S / _POINT_STEP_PX), 2000).astype(int)
    which_P = np.repeat(np.arange(len(count_S)), count_S)
    place_P = np.arange(len(which_P)) - np.repeat(np.cumsum(count_S) - count_S, count_S)
    share_P = (place_P + 0.5) / count_S[which_P]
    twice_P = 2 * (np.arctan2(step_S2[which_P, 1], step_S2[which_P, 0]) + np.pi / 2)
    points_P2 = start_S2[which_P] + step_S2[which_P] * share_P[:, None]
    return points_P2, np.column_stack((np.cos(twice_P), np.sin(twice_P)))


def _drawn(xy_P2: np.ndarray, direction_P2: np.ndarray) -> np.ndarray:
    """Points as a small picture of directions, each over the four pixels around it: no shift has a bias."""
    centred_P2 = xy_P2 - 0.5
    corner_P2 = np.floor(centred_P2).astype(int)
    right_P, down_P = (centred_P2 - corner_P2).T
    width, height = corner_P2.max(axis=0) + 2
    drawn_hw2 = np.zeros((height, width, 2), dtype=np.float32)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        share_P = (right_P if dx else 1 - right_P) * (down_P if dy else 1 - down_P)
        np.add.at(drawn_hw2, (corner_P2[:, 1] + dy, corner_P2[:, 0] + dx), direction_P2 * share_P[:, None])
    return np.ascontiguousarray(drawn_hw2)


# --- from scores to a shift ---------------------------------------------------------------------------------


def _best_shift(scores_FDD: np.ndarray, scale: _Scale) -> tuple[tuple[float, float] | None, float, float]:
    """(right, down) in working pixels or None at the edge, agreement of resamplings, score of the best rival."""
    count, height, width = scores_FDD.shape
    flat_FS = scores_FDD.reshape(count, -1)
    # long walls are many points of one opinion, so every feature has one vote of its mean
    total_S = flat_FS.mean(axis=0)
    row, column = divmod(int(total_S.argmax()), width)
    weights_RF = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES) / count
    rows_R, columns_R = np.divmod((weights_RF @ flat_FS).argmax(axis=1), width)
    agreement = float((np.hypot(rows_R - row, columns_R - column) <= scale.tolerance).mean())
    rival = _rival(total_S.reshape(height, width), row, column, scale.tolerance)
    if not (0 < row < height - 1 and 0 < column < width - 1):
        return None, agreement, rival
    total_DD = total_S.reshape(height, width)
    right = column - width // 2 + _vertex(total_DD[row, column - 1 : column + 2])
    down = row - height // 2 + _vertex(total_DD[row - 1 : row + 2, column])
    return (right, down), agreement, rival


def _beside(
    scores_FDD: np.ndarray, index_F: np.ndarray, seen_F: np.ndarray, usual: tuple[float, float], scale: _Scale
) -> tuple[Beside, ...]:
    """Features, wholly seen, whose best place is another than the usual one, clearly better, and without a rival."""
    height, width = scores_FDD.shape[1:]
    rows_DD, columns_DD = np.indices((height, width))
    away_DD = np.hypot(columns_DD - width // 2 - usual[0], rows_DD - height // 2 - usual[1]) > scale.tolerance
    found = []
    for index, score_DD, seen in zip(index_F, scores_FDD, seen_F, strict=True):
        row, column = divmod(int(score_DD.argmax()), width)
        best, here = score_DD[row, column], score_DD[~away_DD].max(initial=0.0)
        if seen < 0.95 or not away_DD[row, column] or best < _LEAST_ALONE or here > 0.6 * best:
            continue
        if _rival(score_DD, row, column, scale.tolerance) <= 0.8:
            right, down = (column - width // 2) * scale.factor, (row - height // 2) * scale.factor
            found.append(Beside(int(index), (float(right), float(down))))
    return tuple(found)


def _is_taken(tree: shapely.STRtree, one: Beside) -> bool:
    """Whether other areas cover a tenth of the place to which a feature would move."""
    there = shapely.buffer(shapely.transform(tree.geometries[one.index], lambda xy: xy + one.shift_px), 0)
    others = [tree.geometries[i] for i in tree.query(there) if i != one.index]
    shared = shapely.area(shapely.intersection(shapely.buffer(others, 0), there)).sum() if others else 0.0
    return bool(shared > 0.1 * there.area)


def _rival(total_DD: np.ndarray, row: int, column: int, tolerance: float) -> float:
    """The best local maximum away from the best one, as a share of it; heights are above the usual score."""
    usual = float(np.median(total_DD))
    peaks_DD = total_DD == cv2.dilate(total_DD.astype(np.float64), np.ones((5, 5), np.uint8))
    rows_DD, columns_DD = np.indices(total_DD.shape)
    away_DD = np.hypot(rows_DD - row, columns_DD - column) > 2 * tolerance
    others = total_DD[peaks_DD & away_DD]
    height = float(total_DD[row, column]) - usual
    return float(max(0.0, others.max(initial=usual) - usual) / height) if height > 0 else 1.0


def _vertex(three: np.ndarray) -> float:
    """Where the parabola through three neighbours has its top, from the middle one, in steps."""
    left, middle, right = map(float, three)
    bend = left - 2 * middle + right
    return 0.0 if bend >= 0 else float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))


def _ground(grid: GeoGrid, window: Window, shift_px: Sequence[float]) -> tuple[float, float]:
    """A shift at the middle of a window in metres (east, north); without a georeference in pixels (right, up)."""
    if not grid.is_georeferenced:
        return shift_px[0], -shift_px[1]
    middle = np.array([window.x + window.width / 2, window.y + window.height / 2])
    (lon, lon_to), (lat, lat_to) = grid.pixel_to_lonlat(np.array([middle, middle + shift_px])).T
    azimuth, _, length = Geod(ellps="WGS84").inv(lon, lat, lon_to, lat_to)
    return float(length * np.sin(np.radians(azimuth))), float(length * np.cos(np.radians(azimuth)))

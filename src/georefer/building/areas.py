"""Areas: the imagery of a recipe as one lattice, or as many that lie apart, each with its layers and its chips."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import shapely
from pyproj import Geod

from georefer.building.chips import ChipPlan, SplitSettings, chip_window_px, plan_chips
from georefer.building.features import Features, read_features
from georefer.building.layers import LayerSettings
from georefer.building.recipe import BuildSettings
from georefer.errors import ConfigError
from georefer.geometry import GeoGrid, Objects, Window
from georefer.imagery.lattice import find_files
from georefer.imagery.raster import Imagery, open_imagery

MOST_IN_MEMORY = 10_000
"""Features of one area of many that are kept in memory rather than on disk."""


@dataclass(frozen=True, eq=False)
class Area:
    """One lattice of imagery; `name` is empty where a recipe has one area."""

    name: str
    imagery: Imagery
    layers: tuple[LayerSettings, ...]

    def features(self, *, strict: bool) -> Features:
        """What its layers hold; an area may have none where others do."""
        if not self.name:
            return read_features(self.layers, self.imagery.grid, strict=strict)
        there = [layer for layer in self.layers if layer.path is None or layer.path.exists()]
        if there:
            found = read_features(there, self.imagery.grid, strict=strict, may_be_empty=True)
            # of thousands of areas each would keep a file open
            return found.in_memory() if len(found) <= MOST_IN_MEMORY else found
        return Features.of(Objects.none())


@contextmanager
def open_areas(settings: BuildSettings) -> Iterator[tuple[Area, ...]]:
    """The areas of a recipe in the order of their files, closed at the end."""
    with ExitStack() as stack:
        groups: list[list[str | Path]] = [list(settings.imagery)]
        if settings.apart:
            groups = [[path] for path in find_files(list(settings.imagery))]
        names = _names([Path(group[0]) for group in groups]) if settings.apart else [""]
        areas = []
        for name, group in zip(names, groups, strict=True):
            imagery = stack.enter_context(open_imagery(group, bands=settings.bands, stretch=settings.stretch or "auto"))
            areas.append(Area(name, imagery, tuple(_of_area(layer, name) for layer in settings.layers)))
        yield tuple(areas)


def _names(paths: Sequence[Path]) -> list[str]:
    """What files are called without their ending; where that names two, all with their folder: "2017-plot_1"."""
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}-{path.stem}" for path in paths]
    if doubles := [name for name, count in Counter(names).items() if count > 1]:
        raise ConfigError(f"two rasters are named {doubles[0]}, which names scenes of areas apart; rename one")
    return names


def plan_areas(settings: BuildSettings, areas: Sequence[Area], features: Sequence[Features]) -> tuple[ChipPlan, ...]:
    """Where chips lie in each area, so that training and test chips share no ground.

    Areas that overlap are held out together, or each keeps its training chips away from the blocks of the others.
    """
    grids = [area.imagery.grid for area in areas]
    is_test = _held_out_areas(settings, areas) if settings.split.by == "area" else [None] * len(areas)
    plans = [
        plan_chips(
            grid, chip_window_px(grid, settings.chip_px, settings.gsd_m), settings.split, settings.place, settings.seed,
            found.bounds_N4 if settings.place.by == "objects" else None, held_out=held_out,
            imagery_F4=area.imagery.file_boxes_N4,
        )
        for area, grid, found, held_out in zip(areas, grids, features, is_test, strict=True)
    ]  # fmt: skip
    if settings.split.by == "block":
        buffer_m = settings.split.buffer_m
        for one, other in touching(grids, buffer_m):
            for to, of in ((one, other), (other, one)):
                plans[to] = _clear_of(plans[to], grids[to], plans[of].test_blocks, grids[of], buffer_m)
    return tuple(plans)


def _clear_of(
    plan: ChipPlan, grid: GeoGrid, blocks: Sequence[Window], grid_of_blocks: GeoGrid, buffer_m: float
) -> ChipPlan:
    """A plan without the training chips that come too near to what is held out of another area."""
    reach_px = max(buffer_m / min(grid.pixel_size_m), 1e-6)
    held_out = shapely.union_all([_outline(grid, block.box, grid_of_blocks) for block in blocks])
    near_N = shapely.distance(shapely.box(*plan.train.boxes_N4.T), held_out) < reach_px
    return replace(plan, train=plan.train[~near_N], unused=plan.unused + int(near_N.sum()))


def touching(grids: Sequence[GeoGrid], distance_m: float) -> list[tuple[int, int]]:
    """Pairs of grids whose ground lies nearer than a distance; grids without a CRS lie nowhere.

    Outlines are compared in longitude and latitude with the distance in degrees of their own place: rather a pair
    too many than one too few.
    """
    placed = [i for i, grid in enumerate(grids) if grid.is_georeferenced]
    boxes_N4 = np.array([_lonlat_box(grids[i], distance_m) for i in placed]).reshape(-1, 4)
    tree = shapely.STRtree(shapely.box(*boxes_N4.T))
    one_P, other_P = tree.query(shapely.box(*boxes_N4.T), predicate="intersects")
    return sorted(
        (placed[a], placed[b])
        for a, b in zip(one_P.tolist(), other_P.tolist(), strict=True)
        if a < b and _near(grids[placed[a]], grids[placed[b]], distance_m)
    )


def _near(one: GeoGrid, other: GeoGrid, distance_m: float) -> bool:
    """Whether the outlines come nearer than a distance, in pixels of the first."""
    shape = _outline(one, (0, 0, other.width, other.height), other)
    reach_px = distance_m / min(one.pixel_size_m)
    return bool(shapely.box(0, 0, one.width, one.height).distance(shape) < max(reach_px, 1e-6))


def _outline(grid: GeoGrid, box: tuple[float, float, float, float], of: GeoGrid) -> shapely.Polygon:
    """A box of pixels of one grid in the pixels of another."""
    x1, y1, x2, y2 = box
    # straight edges of one CRS are bent in another, so the outline has points along them
    edge_N = np.linspace(0, 1, 17)[:-1]
    corners_52 = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)], dtype=float)
    ring_N2 = np.concatenate([a + edge_N[:, None] * (b - a) for a, b in pairwise(corners_52)])
    return shapely.Polygon(grid.lonlat_to_pixel(of.pixel_to_lonlat(ring_N2)))


def _lonlat_box(grid: GeoGrid, distance_m: float) -> tuple[float, float, float, float]:
    edge = np.linspace(0, 1, 9)
    across, down = np.meshgrid(edge * grid.width, edge * grid.height)
    lon_N, lat_N = grid.pixel_to_lonlat(np.column_stack([across.ravel(), down.ravel()])).T
    lon, lat = float(lon_N.mean()), float(lat_N.mean())
    reach = distance_m + 1.0
    east = abs(Geod(ellps="WGS84").fwd(lon, lat, 90, reach)[0] - lon)
    north = reach / 110_000
    return lon_N.min() - east, lat_N.min() - north, lon_N.max() + east, lat_N.max() + north


def _held_out_areas(settings: BuildSettings, areas: Sequence[Area]) -> list[bool]:
    """Which areas are tested on: those named, or a share; areas that share ground go together."""
    group_N = list(range(len(areas)))
    for one, other in touching([area.imagery.grid for area in areas], settings.split.buffer_m):
        old, new = group_N[other], group_N[one]
        group_N = [new if group == old else group for group in group_N]
    groups = sorted(set(group_N))
    split = settings.split
    if split.test_areas:
        named = [any(fnmatch.fnmatchcase(area.name, p) for p in split.test_areas) for area in areas]
        chosen = {group for group, is_named in zip(group_N, named, strict=True) if is_named}
    else:
        chosen = _share_of(groups, split, settings.seed)
    if not chosen or len(chosen) == len(groups):
        raise ConfigError(
            f"{len(chosen)} of {len(groups)} areas that share no ground would be held out where at least one is "
            "expected, and one for training; correct split.test_areas, or bring more areas"
        )
    return [group in chosen for group in group_N]


def _share_of(groups: list[int], split: SplitSettings, seed: int) -> set[int]:
    if not 0 < split.test < 1:
        raise ConfigError(f"split.test is {split.test}; expected a share between 0 and 1, such as 0.25")
    count = min(max(1, round(split.test * len(groups))), max(1, len(groups) - 1))
    return set(np.random.default_rng(seed).choice(groups, count, replace=False).tolist())


def _of_area(layer: LayerSettings, name: str) -> LayerSettings:
    if not name or layer.path is None:
        return layer
    # one name for the layer of all areas, so that their counts add up
    called = layer.called or layer.layer or layer.label or layer.path.stem
    return replace(layer, path=Path(str(layer.path).replace("{name}", name)), called=called)

"""Relations of an area: its features on the ground in metres, with the headings and lines that a recipe brings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from pyproj import Geod

from georefer.building.columns import number_of
from georefer.building.relations import Lines, RelationIndex, RelationSettings, find_relations
from georefer.errors import ConfigError
from georefer.geometry import GeoGrid, Objects
from georefer.imagery.vector import read_layer


@dataclass(frozen=True)
class LineSettings:
    """A layer of lines that are not objects themselves."""

    path: Path
    layer: str | None = None
    crs: str | None = None


@dataclass(frozen=True)
class EvidenceSettings:
    """What some relations need beside the shapes of objects."""

    heading_from: str = ""
    """Attribute with the direction an object points to, degrees clockwise from north; name it in the `attributes` of
    its layer too."""
    power_lines: LineSettings | None = None
    lanes: LineSettings | None = None
    """Middle lines of lanes, each drawn in the direction of travel."""


def relations_of(
    objects: Objects, grid: GeoGrid, settings: RelationSettings, evidence: EvidenceSettings,
    drawn_N: np.ndarray | None = None,
) -> RelationIndex:  # fmt: skip
    """What the objects of a whole area, in its pixels, are to each other, before any chip cuts them.

    `drawn_N` are their shapes before lines and points were given a width: a bent road has an axis, its area has none.
    ConfigError where the area has no size in metres, or no object a heading although the recipe names where they are.
    """
    if not grid.is_georeferenced:
        raise ConfigError(
            "relations are measured in metres, which imagery without a CRS has not; leave [relations] out"
        )
    size_m = np.array(grid.pixel_size_m)
    lines = Lines(_lines(evidence.power_lines, grid, size_m), _lines(evidence.lanes, grid, size_m))
    headings_N = _headings(objects, grid, evidence.heading_from, size_m) if evidence.heading_from else None
    shapes_N = objects.geometries_N if drawn_N is None else drawn_N
    metres_N = shapely.transform(shapes_N, lambda xy: xy * size_m)
    return RelationIndex(find_relations(metres_N, objects.labels_N, objects.ids_N, settings, headings_N, lines))


def _headings(objects: Objects, grid: GeoGrid, name: str, size_m: np.ndarray) -> np.ndarray:
    """Degrees from +x towards +y on the image (N,), NaN where an object has none."""
    said = [number_of(str(o.attributes[name])) if name in o.attributes else None for o in objects]
    compass_N = np.array([np.nan if value is None else value for value in said], dtype=float)
    if len(objects) and np.isnan(compass_N).all():
        raise ConfigError(
            f"no object has a number as its attribute {name}, from which evidence.heading_from takes headings; "
            "name it in the attributes of a layer"
        )
    known_N = ~np.isnan(compass_N)
    middle_K2 = shapely.get_coordinates(shapely.centroid(objects.geometries_N[known_N]))
    lon_K, lat_K = grid.pixel_to_lonlat(middle_K2).T
    to_lon_K, to_lat_K, _ = Geod(ellps="WGS84").fwd(lon_K, lat_K, compass_N[known_N], np.full(len(lon_K), 10.0))
    step_K2 = (grid.lonlat_to_pixel(np.column_stack([to_lon_K, to_lat_K])) - middle_K2) * size_m
    headings_N = np.full(len(objects), np.nan)
    headings_N[known_N] = np.degrees(np.arctan2(step_K2[:, 1], step_K2[:, 0])) % 360
    return headings_N


def _lines(settings: LineSettings | None, grid: GeoGrid, size_m: np.ndarray) -> np.ndarray:
    if settings is None:
        return np.empty(0, dtype=object)
    read = read_layer(settings.path, layer=settings.layer, grid=grid, crs=settings.crs, must_meet=False)
    parts_L = shapely.get_parts(np.asarray(read.frame.geometry.values, dtype=object))
    lines_L = parts_L[shapely.get_type_id(parts_L) == shapely.GeometryType.LINESTRING]
    return shapely.transform(grid.geometry_to_pixel(lines_L), lambda xy: xy * size_m)

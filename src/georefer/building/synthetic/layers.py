"""From local metres to map layers: one table per kind, every feature with a stable id."""

from __future__ import annotations

import geopandas as gpd
import shapely
from affine import Affine
from pyproj import CRS

from georefer.building.synthetic.features import LAYERS, Feature, Layout
from georefer.geometry import GeoGrid

CRS_CODE = 2154  # Lambert-93: metres, north up
_ORIGIN = (350_000.0, 6_600_000.0)  # in the plains of western France, where such a place could be
_STRIDE_M = 5_000.0
_SINGULAR = {layer: layer[:-1] for layer in LAYERS} | {"water": "water"}


def grid_of(seed: int, size: int, gsd_m: float) -> GeoGrid:
    """Where an area lies: each seed has a place of its own, so areas of several seeds do not overlap."""
    west = _ORIGIN[0] + _STRIDE_M * (seed % 60)
    north = _ORIGIN[1] + _STRIDE_M * (seed // 60 % 40)
    transform = Affine.translation(west, north) @ Affine.scale(gsd_m, -gsd_m)
    return GeoGrid(CRS.from_epsg(CRS_CODE), transform, size, size)


def layers_of(layout: Layout, grid: GeoGrid) -> dict[str, gpd.GeoDataFrame]:
    """Every layer as a table in the grid's CRS; ids count from 0 in the order of the layout."""
    return {layer: _table(layer, layout.features[layer], grid) for layer in LAYERS}


def _table(layer: str, features: tuple[Feature, ...], grid: GeoGrid) -> gpd.GeoDataFrame:
    west, north = grid.transform.c, grid.transform.f
    shapes = shapely.transform([f.geometry for f in features], lambda xy_N2: xy_N2 * [1, -1] + [west, north])
    columns: dict[str, list] = {"id": [f"{_SINGULAR[layer]}-{i:04d}" for i in range(len(features))]}
    for name in features[0].attributes if features else ():
        columns[name] = [f.attributes[name] for f in features]
    return gpd.GeoDataFrame(columns, geometry=list(shapes), crs=grid.crs)

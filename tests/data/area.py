"""A small georeferenced area with vector layers, for tests of building and everything after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from affine import Affine
from pyproj import CRS

from georefer.building.chips import SplitSettings
from georefer.building.layers import LayerSettings
from georefer.building.phrases import PhraseSettings
from georefer.building.recipe import AskSettings, BuildSettings
from georefer.geometry import GeoGrid
from georefer.imagery.write import write_layers, write_raster

COLOURS = {"red": (200, 40, 40), "blue": (40, 60, 200), "white": (235, 235, 235)}


def make_area(folder: Path, *, side: int = 512, crs: str = "EPSG:2154", seed: int = 0) -> GeoGrid:
    """`image.tif` and `layers.gpkg` (layers "houses", "pools", "roads") of `side` x `side` pixels of half a metre."""
    grid = GeoGrid(CRS(crs), Affine(0.5, 0, 650_000, 0, -0.5, 6_860_000), side, side)
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), (90, 130, 70), dtype=np.uint8)
    houses, pools = [], []
    for y in range(8, side - 40, 40):
        for x in range(8, side - 40, 40):
            colour = rng.choice(list(COLOURS))
            image[y : y + 20, x : x + 24] = COLOURS[colour]
            houses.append((shapely.box(x, y, x + 24, y + 20), colour))
            if rng.random() < 0.3:
                image[y + 24 : y + 34, x : x + 10] = (60, 200, 220)
                pools.append(shapely.box(x, y + 24, x + 10, y + 34))
    shapes = grid.geometry_to_world(np.array([h[0] for h in houses], dtype=object))
    layers = {
        "houses": geopandas.GeoDataFrame({"roof": [h[1] for h in houses]}, geometry=shapes, crs=grid.crs),
        "pools": geopandas.GeoDataFrame(geometry=grid.geometry_to_world(np.array(pools, dtype=object)), crs=grid.crs),
        "roads": geopandas.GeoDataFrame(
            {"kind": ["street"]},
            geometry=[grid.geometry_to_world(shapely.LineString([(0, 4), (side, 4)]))],
            crs=grid.crs,
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_raster(folder / "image.tif", grid, 3, "uint8", [(0, 0, image)])
    write_layers(folder / "layers.gpkg", layers)
    return grid


def small_recipe(folder: Path, **changes: Any) -> BuildSettings:
    """A build recipe for `make_area(folder)`."""
    layers = folder / "layers.gpkg"
    settings = BuildSettings(
        imagery=(folder / "image.tif",),
        layers=(
            LayerSettings(layers, "houses", label="house", attributes=("roof",)),
            LayerSettings(layers, "pools", label="pool"),
        ),
        chip_px=64,
        split=SplitSettings(block_m=64, test=0.25, buffer_m=4),
        phrases=PhraseSettings({"roof": "{value} roofed {label}"}),
        ask=AskSettings(absent=1),
    )
    return replace(settings, **changes)

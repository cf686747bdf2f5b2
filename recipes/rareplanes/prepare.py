"""Makes blank rasters of the ground that RarePlanes' vectors cover, for questions that need no image.

python recipes/rareplanes/prepare.py DATA OUT, where DATA is the folder of the GeoJSON files. Each layer gets a grey
raster of 0.3 m in its own UTM zone, with one name for both, and a layer in which numbers are words as people say them.
"""

import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
from affine import Affine
from pyproj import CRS

from georefer.geometry import GeoGrid
from georefer.imagery.write import write_layers, write_raster

GSD_M, MARGIN_M, BLOCK_PX = 0.3, 30.0, 512
ENGINES = {0: "no engine", 1: "one engine", 2: "two engines", 3: "three engines", 4: "four engines"}


def prepare(data: Path, out: Path) -> dict[str, int]:
    """Writes OUT/<name>.tif and OUT/<name>.gpkg for every GeoJSON of DATA; returns the planes of each."""
    out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for path in sorted(data.glob("*.geojson")):
        planes = gpd.read_file(path)
        planes = planes.to_crs(planes.estimate_utm_crs())
        west, south, east, north = planes.total_bounds + MARGIN_M * np.array([-1, -1, 1, 1])
        width, height = (int(np.ceil(length / GSD_M)) for length in (east - west, north - south))
        grid = GeoGrid(CRS(planes.crs), Affine(GSD_M, 0, west, 0, -GSD_M, north), width, height)
        write_raster(out / f"{path.stem}.tif", grid, 1, "uint8", _grey(width, height), overviews=False)
        planes["engines"] = planes["engines"].map(ENGINES)
        write_layers(out / f"{path.stem}.gpkg", {"planes": planes})
        counts[path.stem] = len(planes)
    return counts


def _grey(width: int, height: int):
    for row in range(0, height, BLOCK_PX):
        for column in range(0, width, BLOCK_PX):
            shape = min(BLOCK_PX, height - row), min(BLOCK_PX, width - column)
            yield row, column, np.full(shape, 128, dtype=np.uint8)


if __name__ == "__main__":
    for name, count in prepare(Path(sys.argv[1]), Path(sys.argv[2])).items():
        print(f"{count} planes of {name}")

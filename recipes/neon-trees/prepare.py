"""Turns the boxes of NEON's plots, Pascal VOC in pixels, into one GeoPackage a plot, as `build.toml` reads them.

python recipes/neon-trees/prepare.py DATA OUT, where DATA is the folder of the sites. The boxes run from 1 to 400 in
pictures of 400 pixels: pixels counted from 1, the last one included, as VOC's development kit has it. One plot leaves
the class of its boxes empty; all boxes are trees.
"""

import sys
from pathlib import Path

import geopandas as gpd

from georefer.imagery.raster import open_imagery
from georefer.imagery.write import write_layers
from georefer.scenes import interchange

SITES = ("HARV", "OSBS", "SJER-2017", "SJER-2018", "TEAK")


def prepare(data: Path, out: Path) -> int:
    """Writes OUT/<site>-<plot>.gpkg for every plot, and returns the number of boxes; what is dropped is said."""
    out.mkdir(parents=True, exist_ok=True)
    total = 0
    for site in SITES:
        found = interchange.read("voc", data / site, unnamed="Tree")
        for plot in found:
            with open_imagery(data / site / plot.file_name) as imagery:
                grid = imagery.grid
            boxes = gpd.GeoDataFrame(
                {"label": plot.objects.labels_N}, geometry=plot.objects.to_world(grid), crs=grid.crs
            )
            write_layers(out / f"{site}-{Path(plot.file_name).stem}.gpkg", {"trees": boxes})
            total += len(boxes)
        for reason, count in found.account.dropped.counts.items():
            print(f"{site}: {count} dropped, {reason}")
    return total


if __name__ == "__main__":
    print(f"{prepare(Path(sys.argv[1]), Path(sys.argv[2]))} boxes written to {sys.argv[2]}")

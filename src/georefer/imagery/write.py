"""Writing rasters, vector layers and pictures: a file appears under its name only once it is whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import geopandas as gpd
import numpy as np
import pyogrio
import rasterio
import shapely
from rasterio.enums import Resampling
from rasterio.windows import Window

from georefer.errors import InputError
from georefer.geometry import GeoGrid
from georefer.runlog import written_beside

TILE_PX = 512
_LEAST_OVERVIEW_PX = 256
_FIXED_DATE = "2000-01-01T00:00:00.000Z"  # GeoPackage stamps its tables; a fixed stamp keeps files reproducible


def write_raster(
    path: Path,
    grid: GeoGrid,
    bands: int,
    dtype: str | np.dtype,
    blocks: Iterable[tuple[int, int, np.ndarray]],
    *,
    nodata: float | None = None,
    compress: str = "deflate",
    overviews: bool = True,
) -> None:
    """Stream blocks (row, col, array HWC or HW) into a tiled GeoTIFF with overviews inside.

    Blocks aligned to 512 pixels are written without being read back; memory stays at one block and GDAL's
    cache. `compress` is a GDAL name: "deflate" and "zstd" keep every value, "jpeg" (8-bit RGB only) is a
    tenth of the size and not exact.
    """
    with written_beside(path) as beside:
        with rasterio.open(beside, "w", **_profile(grid, bands, np.dtype(dtype), nodata, compress)) as target:
            for row, col, block in blocks:
                planes = np.moveaxis(np.atleast_3d(block), 2, 0)
                target.write(planes, window=Window(col, row, planes.shape[2], planes.shape[1]))
        if overviews:
            _add_overviews(beside, grid, np.dtype(dtype))


def _profile(grid: GeoGrid, bands: int, dtype: np.dtype, nodata: float | None, compress: str) -> dict:
    profile = {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": bands,
        "dtype": dtype.name,
        "tiled": True,
        "blockxsize": TILE_PX,
        "blockysize": TILE_PX,
        "compress": compress,
        "BIGTIFF": "IF_SAFER",
        "interleave": "pixel",
    }
    if grid.crs is not None:
        profile |= {"crs": rasterio.crs.CRS.from_wkt(grid.crs.to_wkt()), "transform": grid.transform}
    if nodata is not None:
        profile["nodata"] = nodata
    if compress.lower() in ("deflate", "zstd", "lzw"):
        profile["predictor"] = 3 if dtype.kind == "f" else 2
    if compress.lower() == "jpeg":
        profile |= {"photometric": "YCBCR", "JPEG_QUALITY": 92}
    if bands == 3 and compress.lower() != "jpeg":
        profile["photometric"] = "RGB"
    return profile


def _add_overviews(path: Path, grid: GeoGrid, dtype: np.dtype) -> None:
    """Halve until the smallest side is about a screen; averages for measured values, nearest for labels."""
    factors, factor = [], 2
    while max(grid.width, grid.height) / factor >= _LEAST_OVERVIEW_PX:
        factors.append(factor)
        factor *= 2
    if factors:
        with rasterio.open(path, "r+") as target:
            labels = dtype.kind in "iu" and dtype.itemsize > 2
            target.build_overviews(factors, Resampling.nearest if labels else Resampling.average)


def write_layers(path: Path, layers: Mapping[str, gpd.GeoDataFrame]) -> None:
    """Several layers into one GeoPackage, in the order given; equal input gives equal bytes."""
    date = "OGR_CURRENT_DATE"
    before = pyogrio.get_gdal_config_option(date)
    pyogrio.set_gdal_config_options({date: _FIXED_DATE})
    try:
        with written_beside(path) as beside:
            for name, frame in layers.items():
                kind = None if len(frame) else "Unknown"
                pyogrio.write_dataframe(frame, beside, layer=name, driver="GPKG", geometry_type=kind)
    finally:
        pyogrio.set_gdal_config_options({date: before})


def write_geojson(path: Path, frame: gpd.GeoDataFrame) -> None:
    """RFC 7946 GeoJSON: longitude and latitude on WGS84, outer rings anticlockwise, cut at the antimeridian.

    Coordinates have seven decimals, about a centimetre. Features without geometry stay, as null.
    """
    if frame.crs is None:
        raise InputError(
            f"cannot write {path.name}: the features have no CRS, GeoJSON needs longitude and latitude; "
            "set the CRS of the data first"
        )
    lonlat = frame.to_crs(4326)
    # PROJ answers infinity outside a projection's domain, and GDAL would write such rings as empty ones
    if not np.isfinite(shapely.get_coordinates(lonlat.geometry.values)).all():
        raise InputError(
            f"cannot write {path.name}: coordinates outside the domain of {frame.crs.name} were found where places on "
            "the ground are expected; correct the CRS of the data"
        )
    with written_beside(path) as beside:
        # the layer's name stands in the file, and would be that of the file beside
        pyogrio.write_dataframe(lonlat, beside, driver="GeoJSON", layer=path.stem, RFC7946="YES")


def write_png(path: Path, image: np.ndarray) -> None:
    """An 8-bit grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4) picture."""
    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}.get(image.shape[2] if image.ndim == 3 else 1)
    ok, data = cv2.imencode(".png", image if order is None else cv2.cvtColor(image, order))
    if not ok:
        raise InputError(f"cannot write {path.name} as PNG: {image.dtype} of shape {image.shape} is no 8-bit picture")
    with written_beside(path) as beside:
        beside.write_bytes(data.tobytes())

"""Layers of vector features, brought onto the grid of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import shapely
from pyogrio.errors import CRSError as OGRCRSError
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, GeometryError
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from georefer.errors import VectorError
from georefer.geometry import GeoGrid
from georefer.geometry.repair import repaired
from georefer.imagery import geoparquet

_OGR_ERRORS = (DataSourceError, DataLayerError, FeatureError, GeometryError, OGRCRSError, UnicodeError, ValueError)


@dataclass(frozen=True, eq=False)
class LayerRead:
    """The features of a layer that meet an image, in the CRS of its grid, and what became of the others.

    `frame` keeps all columns and is indexed by feature number (`fid`). `read` counts the features of the
    layer; `empty` those without geometry, `repaired` the kept ones that crossed themselves, `outside` those
    that do not meet the image. `read == empty + outside + len(frame)`.
    """

    frame: geopandas.GeoDataFrame
    layer: str
    read: int
    empty: int
    repaired: int
    outside: int

    def counts(self) -> dict[str, int]:
        """Plain numbers for manifests and reports."""
        return {
            "read": self.read, "empty": self.empty, "repaired": self.repaired,
            "outside": self.outside, "kept": len(self.frame),
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Source:
    """A layer before its features are read: where it lies and what it holds."""

    path: Path
    layer: str
    crs: CRS
    fids_N: np.ndarray
    bounds_N4: np.ndarray

    @property
    def has_shape_N(self) -> np.ndarray:
        # OGR gives no bounds for a missing geometry and zeros for an empty one
        return np.isfinite(self.bounds_N4).all(axis=1) & self.bounds_N4.any(axis=1)


def read_layer(path: str | Path, *, layer: str | None = None, grid: GeoGrid, crs: str | None = None) -> LayerRead:
    """The features of a layer that meet the footprint of `grid`, in its CRS, flat and valid.

    `layer` may be left out where the file has one; `crs` says what the coordinates are where the file does
    not. Only the image's surroundings are read. Features are kept whole, also where they run over the edge.
    VectorError says what is wrong with the layer, and never comes for single bad features, which are counted.
    A layer without any feature is no error: there may be no ship in this harbour.
    """
    if grid.crs is None:
        raise VectorError(
            f"the imagery has no coordinate reference system where {path} is to be laid over it; "
            "assign one with  gdal_edit.py -a_srs EPSG:<code> -a_ullr ..."
        )
    source = _describe(Path(path), layer, crs)
    bbox = _search_bounds(grid, source.crs)
    frame = _read(source, bbox)
    frame, mended = _flat_and_valid(frame)
    frame = _reprojected(frame.set_crs(source.crs, allow_override=True), grid.crs, source.path)
    kept = frame[shapely.intersects(frame.geometry.values, grid.footprint)]
    if len(source.fids_N) and not len(kept):
        raise VectorError(_apart(source, grid))
    empty_N = ~source.has_shape_N & ~np.isin(source.fids_N, kept.index)
    count, empty = len(empty_N), int(empty_N.sum()) + int(frame.geometry.is_empty.sum())
    return LayerRead(kept, source.layer, count, empty, int(mended[kept.index].sum()), count - empty - len(kept))


def layers(path: str | Path) -> list[str]:
    """Names of the layers with geometry in a file."""
    path = Path(path)
    if not path.exists():
        raise VectorError(f"there is no file {path} where a vector layer is expected; check the path")
    if _is_geoparquet(path):
        geoparquet.geoparquet_info(path)
        return [path.stem]
    try:
        return [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    except _OGR_ERRORS as error:
        raise _unreadable(path, error) from error


def _describe(path: Path, layer: str | None, crs: str | None) -> _Source:
    name = _choose(path, layers(path), layer)
    if _is_geoparquet(path):
        own_crs: Any = geoparquet.geoparquet_info(path).crs
        bounds_N4 = geoparquet.read_bounds(path)
        fids_N = np.arange(len(bounds_N4))
    else:
        try:
            own_crs = pyogrio.read_info(path, layer=name)["crs"]
            fids_N, bounds_4N = pyogrio.read_bounds(path, layer=name)
        except _OGR_ERRORS as error:
            raise _unreadable(path, error) from error
        bounds_N4 = bounds_4N.T
    where = f"layer '{name}' of {path}"
    source = _Source(path, name, _crs(own_crs or crs, where), fids_N, bounds_N4)
    if len(fids_N) and not source.has_shape_N.any():
        raise VectorError(
            f"{where} holds {len(fids_N)} features, none of them with a geometry, where shapes are expected; "
            "export the layer again"
        )
    return source


def _choose(path: Path, found: list[str], layer: str | None) -> str:
    if not found:
        raise VectorError(f"{path} holds no layer with geometry where one is expected; name a file with features")
    if layer is None and len(found) == 1:
        return found[0]
    if layer is None:
        raise VectorError(f"{path} holds {len(found)} layers where one is expected; choose among {', '.join(found)}")
    if layer not in found:
        raise VectorError(f"{path} has no layer '{layer}'; choose among {', '.join(found)}")
    return layer


def _crs(text: str | CRS | None, where: str) -> CRS:
    if not text:
        raise VectorError(
            f"{where} has no coordinate reference system where one is expected; "
            "add its .prj file, or say what the coordinates are with crs='EPSG:<code>'"
        )
    try:
        return CRS.from_user_input(text)
    except ProjError as error:
        raise VectorError(
            f"{where} has a coordinate reference system that PROJ cannot read ({error}); assign an EPSG code"
        ) from error


def _search_bounds(grid: GeoGrid, crs: CRS) -> tuple[float, float, float, float]:
    """Bounds of the footprint in the layer's CRS; the outline is densified because straight edges bend."""
    outline = _outline(grid)
    x1, y1, x2, y2 = _transformed(outline, grid.crs, crs).bounds
    margin = 1e-3 * max(x2 - x1, y2 - y1)
    return x1 - margin, y1 - margin, x2 + margin, y2 + margin


def _outline(grid: GeoGrid):
    box = shapely.box(0, 0, grid.width, grid.height)
    return grid.geometry_to_world(shapely.segmentize(box, max(grid.width, grid.height) / 16))


def _transformed(geometry, before: CRS | None, after: CRS):
    if before == after:
        return geometry
    transformer = Transformer.from_crs(before, after, always_xy=True)
    return shapely.transform(geometry, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))


def _read(source: _Source, bbox: tuple[float, float, float, float]) -> geopandas.GeoDataFrame:
    if _is_geoparquet(source.path):
        frame = geoparquet.read_geoparquet(source.path, bbox=bbox).rename_axis("fid")
        if frame.geometry.name != "geometry":
            frame = frame.drop(columns="geometry", errors="ignore").rename_geometry("geometry")
    else:
        try:
            frame = pyogrio.read_dataframe(source.path, layer=source.layer, bbox=bbox, fid_as_index=True)
        except _OGR_ERRORS as error:
            raise _unreadable(source.path, error) from error
    return frame[~(frame.geometry.isna() | frame.geometry.is_empty)]


def _is_geoparquet(path: Path) -> bool:
    # GDAL reads Parquet too, but few of its builds have that driver
    return path.suffix.lower() in geoparquet.ENDINGS


def _flat_and_valid(frame: geopandas.GeoDataFrame) -> tuple[geopandas.GeoDataFrame, Any]:
    """Without Z and M, self-crossing areas repaired; and which features were (a boolean Series)."""
    flat = shapely.force_2d(frame.geometry.values)
    mended = frame.geometry.isna().copy()
    mended[:] = ~shapely.is_valid(flat)
    return frame.set_geometry(geopandas.GeoSeries(repaired(flat), index=frame.index, crs=frame.crs)), mended


def _reprojected(frame: geopandas.GeoDataFrame, crs: CRS, path: Path) -> geopandas.GeoDataFrame:
    try:
        return frame.to_crs(crs)
    except ProjError as error:
        raise VectorError(
            f"{path} cannot be brought from {frame.crs.name} to the imagery's {crs.name} ({error}); "
            "check that both say the truth about their coordinates"
        ) from error


def _apart(source: _Source, grid: GeoGrid) -> str:
    assert grid.crs is not None
    shapes_N4 = source.bounds_N4[source.has_shape_N]
    layer = shapely.box(*shapes_N4[:, :2].min(axis=0), *shapes_N4[:, 2:].max(axis=0))
    return (
        f"layer '{source.layer}' of {source.path} lies at {_lonlat(layer, source.crs)} where features over the "
        f"imagery at {_lonlat(_outline(grid), grid.crs)} are expected; "
        "give the layer of this area, or correct the coordinate reference system of either"
    )


def _lonlat(geometry, crs: CRS) -> str:
    x1, y1, x2, y2 = _transformed(geometry, crs, CRS.from_epsg(4326)).bounds
    return f"longitude {x1:.5f} to {x2:.5f}, latitude {y1:.5f} to {y2:.5f}"


def _unreadable(path: Path, error: Exception) -> VectorError:
    return VectorError(
        f"{path} was found where a vector layer is expected, but GDAL cannot read it ({error}); "
        "name a GeoPackage, GeoJSON, GeoParquet, shapefile or the like, or fetch it again if it was cut off"
    )

"""Layers of vector features, brought onto the grid of an image."""

from __future__ import annotations

import re
import warnings
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
from georefer.geometry.repair import is_repairable, repaired
from georefer.imagery import geoparquet
from georefer.imagery.problems import PLACES, Problem, problem

_OGR_ERRORS = (DataSourceError, DataLayerError, FeatureError, GeometryError, OGRCRSError, UnicodeError, ValueError)


@dataclass(frozen=True, eq=False)
class LayerRead:
    """The features of a layer that meet an image, in the CRS of its grid, and what became of the others.

    `frame` keeps all columns and is indexed by feature number (`fid`). `read` counts the features of the
    layer; `empty` those without geometry, `repaired` the kept ones that crossed themselves, `broken` those that
    cannot be repaired, `outside` those that do not meet the image.
    `read == empty + broken + outside + len(frame)`. `problems` says what was wrong, with places.
    """

    frame: geopandas.GeoDataFrame
    layer: str
    read: int
    empty: int
    repaired: int
    outside: int
    broken: int = 0
    problems: tuple[Problem, ...] = ()
    apart: str = ""
    """One sentence where no feature meets the image, else nothing."""

    def counts(self) -> dict[str, int]:
        """Plain numbers for manifests and reports."""
        return {
            "read": self.read, "empty": self.empty, "repaired": self.repaired, "outside": self.outside,
            **({"broken": self.broken} if self.broken else {}), "kept": len(self.frame),
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Source:
    """A layer before its features are read: where it lies and what it holds."""

    path: Path | str
    layer: str
    crs: CRS
    fids_N: np.ndarray
    bounds_N4: np.ndarray
    is_measured: bool

    @property
    def has_shape_N(self) -> np.ndarray:
        # OGR gives no bounds for a missing geometry and zeros for an empty one
        return np.isfinite(self.bounds_N4).all(axis=1) & self.bounds_N4.any(axis=1)


def read_layer(
    path: str | Path, *, layer: str | None = None, grid: GeoGrid, crs: str | None = None, must_meet: bool = True
) -> LayerRead:
    """The features of a layer that meet the footprint of `grid`, in its CRS, flat and valid.

    `path` is a file, or the connection string of a database ("PG:dbname=..."), which needs a GDAL with that driver.
    `layer` may be left out where the file has one; `crs` says what the coordinates are where the file does
    not. Only the image's surroundings are read. Features are kept whole, also where they run over the edge.
    VectorError says what is wrong with the layer, and never comes for single bad features, which are counted;
    without `must_meet` it does not come for a layer that lies elsewhere either.
    A layer without any feature is no error: there may be no ship in this harbour.
    """
    if grid.crs is None:
        raise VectorError(
            f"the imagery has no coordinate reference system where {_shown(path)} is to be laid over it; "
            "assign one with  gdal_edit.py -a_srs EPSG:<code> -a_ullr ..."
        )
    source = _describe(_located(path), layer, crs)
    frame = _read(source, _search_bounds(grid, source.crs)).set_crs(source.crs, allow_override=True)
    frame, broken = _without_broken(frame)
    frame, flattened, mended = _flat_and_valid(frame, source.is_measured)
    frame = _reprojected(frame, grid.crs, source.path)
    kept = frame[shapely.intersects(frame.geometry.values, grid.footprint)]
    broken_fids = [fid for _, fids, _ in broken for fid in fids]
    seen_N = np.isin(source.fids_N, kept.index) | np.isin(source.fids_N, broken_fids)
    emptied = frame.index[frame.geometry.is_empty]
    empty_N = ~source.has_shape_N & ~seen_N
    count, empty = len(empty_N), int(empty_N.sum()) + len(emptied)
    outside_N = source.has_shape_N & ~seen_N & ~np.isin(source.fids_N, emptied)
    strayed = _strayed(source, outside_N, grid)
    apart = _apart(source, grid, strayed) if outside_N.any() and not len(kept) else ""
    if apart and must_meet:
        raise VectorError(apart)
    found = [
        problem("empty", [*source.fids_N[empty_N], *emptied], None, None),
        *(problem(kind, fids, bounds_N4, source.crs) for kind, fids, bounds_N4 in broken),
        *(
            problem(kind, hit.index, hit.geometry[:PLACES].bounds, grid.crs)
            for kind, fids in (("repaired", mended), *flattened)
            for hit in [kept[kept.index.isin(fids)]]
        ),
        *strayed,
        problem("apart", source.fids_N if apart else [], source.bounds_N4, source.crs),
    ]
    repaired_count = sum(p.count for p in found if p.kind == "repaired")
    outside = count - empty - len(broken_fids) - len(kept)
    problems = tuple(p for p in found if p.count)
    return LayerRead(kept, source.layer, count, empty, repaired_count, outside, len(broken_fids), problems, apart)


def layers(path: str | Path) -> list[str]:
    """Names of the layers with geometry in a file or database."""
    path = _located(path)
    if isinstance(path, Path) and not path.exists():
        raise VectorError(f"there is no file {path} where a vector layer is expected; check the path")
    if _is_geoparquet(path):
        geoparquet.geoparquet_info(path)
        return [Path(path).stem]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about M, which is counted elsewhere
            return [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    except _OGR_ERRORS as error:
        raise _unreadable(path, error) from error


def _located(path: str | Path) -> str | Path:
    """A path as such, a connection string as text; refused where this GDAL cannot connect."""
    if not is_connection(path):
        return Path(path)
    if "PostgreSQL" not in pyogrio.list_drivers():
        raise VectorError(
            f"the database '{_shown(path)}' is named where this GDAL has no PostgreSQL driver; export the layers with "
            "ogr2ogr -f GPKG layers.gpkg '<connection>', or install a GDAL that has it and build pyogrio on it"
        )
    return str(path)


def is_connection(path: str | Path) -> bool:
    """Whether `path` is the connection string of a PostGIS database rather than a file."""
    return isinstance(path, str) and path.lower().startswith(("pg:", "postgresql://", "postgres://"))


def _shown(path: str | Path) -> str:
    """A path as messages may show it: without a password."""
    hidden = re.sub(r"(?i)(password\s*=\s*)('[^']*'|\S+)", r"\1***", str(path))
    return re.sub(r"(//[^:/@\s]+:)[^@\s]*@", r"\1***@", hidden)


def _describe(path: Path | str, layer: str | None, crs: str | None) -> _Source:
    name = _choose(path, layers(path), layer)
    measured = False
    if _is_geoparquet(path):
        own_crs: Any = geoparquet.geoparquet_info(path).crs
        bounds_N4 = geoparquet.read_bounds(path)
        fids_N = np.arange(len(bounds_N4))
    else:
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                own_crs = pyogrio.read_info(path, layer=name)["crs"]
            # pyogrio drops M by itself, and says so of the layer only
            measured = any("easured" in str(warning.message) for warning in said)
            fids_N, bounds_4N = pyogrio.read_bounds(path, layer=name)
        except _OGR_ERRORS as error:
            raise _unreadable(path, error) from error
        bounds_N4 = bounds_4N.T
    where = f"layer '{name}' of {_shown(path)}"
    source = _Source(path, name, _crs(own_crs or crs, where, bounds_N4), fids_N, bounds_N4, measured)
    if len(fids_N) and not source.has_shape_N.any():
        raise VectorError(
            f"{where} holds {len(fids_N)} features, none of them with a geometry, where shapes are expected; "
            "export the layer again"
        )
    return source


def _choose(path: Path | str, found: list[str], layer: str | None) -> str:
    if not found:
        raise VectorError(
            f"{_shown(path)} holds no layer with geometry where one is expected; name a file with features"
        )
    if layer is None and len(found) == 1:
        return found[0]
    if layer is None:
        raise VectorError(
            f"{_shown(path)} holds {len(found)} layers where one is expected; choose among {', '.join(found)}"
        )
    if layer not in found:
        raise VectorError(f"{_shown(path)} has no layer '{layer}'; choose among {', '.join(found)}")
    return layer


def _crs(text: str | CRS | None, where: str, bounds_N4: np.ndarray) -> CRS:
    if not text:
        lies = ""
        if len(bounds_N4):
            low, high = np.nanmin(bounds_N4[:, :2], axis=0), np.nanmax(bounds_N4[:, 2:], axis=0)
            lies = f" (its {len(bounds_N4)} features lie at x {low[0]:.6g} to {high[0]:.6g}, y {low[1]:.6g} to "
            lies += f"{high[1]:.6g})"
        raise VectorError(
            f"{where} has no coordinate reference system where one is expected{lies}; "
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
            with warnings.catch_warnings():
                # about M and about columns of mixed types: both are counted elsewhere
                warnings.simplefilter("ignore")
                frame = pyogrio.read_dataframe(source.path, layer=source.layer, bbox=bbox, fid_as_index=True)
        except _OGR_ERRORS as error:
            raise _unreadable(source.path, error) from error
    return frame[~(frame.geometry.isna() | frame.geometry.is_empty)]


def _is_geoparquet(path: Path | str) -> bool:
    # GDAL reads Parquet too, but few of its builds have that driver
    return isinstance(path, Path) and path.suffix.lower() in geoparquet.ENDINGS


def _without_broken(frame: geopandas.GeoDataFrame) -> tuple[geopandas.GeoDataFrame, list[tuple[str, list, Any]]]:
    """Leaves out what repair would fail at or never end with; kind, numbers and bounds of what was left out."""
    shapes_N = np.asarray(frame.geometry.values, dtype=object)
    points_P3, owner_P = shapely.get_coordinates(shapes_N, return_index=True)
    is_infinite_N = np.zeros(len(frame), dtype=bool)
    is_infinite_N[owner_P[~np.isfinite(points_P3).all(axis=1)]] = True
    is_tangled_N = ~is_infinite_N & ~shapely.is_valid(shapes_N)
    is_tangled_N[is_tangled_N] = [not is_repairable(shape) for shape in shapely.force_2d(shapes_N[is_tangled_N])]
    broken = [
        ("infinite", list(frame.index[is_infinite_N]), None),
        ("tangled", list(frame.index[is_tangled_N]), shapely.bounds(shapes_N[is_tangled_N])),
    ]
    return frame[~(is_infinite_N | is_tangled_N)], broken


def _flat_and_valid(
    frame: geopandas.GeoDataFrame, is_measured: bool
) -> tuple[geopandas.GeoDataFrame, list[tuple[str, Any]], Any]:
    """Without Z and M, self-crossing areas repaired; and the numbers of the features that had which."""
    shapes_N = np.asarray(frame.geometry.values, dtype=object)
    has_m_N = shapely.has_m(shapes_N) | is_measured
    flattened = [("height", frame.index[shapely.has_z(shapes_N)]), ("measure", frame.index[has_m_N])]
    flat_N = shapely.force_2d(shapes_N)
    mended = frame.index[~shapely.is_valid(flat_N)]
    valid = geopandas.GeoSeries(repaired(flat_N), index=frame.index, crs=frame.crs)
    return frame.set_geometry(valid), flattened, mended


def _reprojected(frame: geopandas.GeoDataFrame, crs: CRS, path: Path | str) -> geopandas.GeoDataFrame:
    try:
        return frame.to_crs(crs)
    except ProjError as error:
        raise VectorError(
            f"{_shown(path)} cannot be brought from {frame.crs.name} to the imagery's {crs.name} ({error}); "
            "check that both say the truth about their coordinates"
        ) from error


def _strayed(source: _Source, outside_N: np.ndarray, grid: GeoGrid) -> list[Problem]:
    """Features away from the imagery that would lie on it if their coordinates meant something else.

    Each is told under the first meaning that fits. None of these is applied: that is for a person to decide.
    """
    assert grid.crs is not None
    lonlat = CRS.from_epsg(4326)
    others = [crs for k, crs in enumerate((lonlat, grid.crs)) if crs != source.crs and (not k or crs != lonlat)]
    left = np.flatnonzero(outside_N)
    found = []
    for crs, swapped in [(source.crs, True), *((crs, swapped) for crs in others for swapped in (False, True))]:
        bounds_M4 = source.bounds_N4[left][:, [1, 0, 3, 2]] if swapped else source.bounds_N4[left]
        middle_M2 = (bounds_M4[:, :2] + bounds_M4[:, 2:]) / 2
        x1, y1, x2, y2 = _search_bounds(grid, crs)
        fits_M = ((middle_M2 >= (x1, y1)) & (middle_M2 <= (x2, y2))).all(axis=1)
        detail = f"read as {crs.to_string()[:40]}{' with x and y swapped' if swapped else ''}"
        kind, said = ("swapped", "") if crs == source.crs else ("other_crs", detail)
        found.append(problem(kind, source.fids_N[left[fits_M]], bounds_M4[fits_M], crs, said))
        left = left[~fits_M]
    return [p for p in found if p.count]


def _apart(source: _Source, grid: GeoGrid, strayed: list[Problem]) -> str:
    assert grid.crs is not None
    shapes_N4 = source.bounds_N4[source.has_shape_N]
    layer = shapely.box(*shapes_N4[:, :2].min(axis=0), *shapes_N4[:, 2:].max(axis=0))
    hint = f"{strayed[0]}, so " if strayed else ""
    return (
        f"layer '{source.layer}' of {_shown(source.path)} lies at {_lonlat(layer, source.crs)} where features over the "
        f"imagery at {_lonlat(_outline(grid), grid.crs)} are expected; "
        f"{hint}give the layer of this area, or correct the coordinate reference system of either"
    )


def _lonlat(geometry, crs: CRS) -> str:
    x1, y1, x2, y2 = _transformed(geometry, crs, CRS.from_epsg(4326)).bounds
    return f"longitude {x1:.5f} to {x2:.5f}, latitude {y1:.5f} to {y2:.5f}"


def _unreadable(path: Path | str, error: Exception) -> VectorError:
    return VectorError(
        f"{_shown(path)} was found where a vector layer is expected, but GDAL cannot read it ({_shown(str(error))}); "
        "name a GeoPackage, GeoJSON, GeoParquet, shapefile or the like, or fetch it again if it was cut off"
    )

"""Layers of vector features, brought onto the grid of an image."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import shapely
from pyogrio.errors import CRSError as OGRCRSError
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, GeometryError
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from georefer.errors import VectorError
from georefer.geometry import GeoGrid
from georefer.geometry.repair import is_repairable, repaired
from georefer.imagery import geoparquet, postgis
from georefer.imagery.batches import Batch, batches, is_geoparquet
from georefer.imagery.postgis import is_connection, shown
from georefer.imagery.problems import PLACES, Problem, added, problem

_OGR_ERRORS = (DataSourceError, DataLayerError, FeatureError, GeometryError, OGRCRSError, UnicodeError, ValueError)


@dataclass(frozen=True, eq=False)
class LayerRead:
    """The features of a layer that meet an image, in the CRS of its grid, and what became of the others.

    `frame` keeps all columns and is indexed by feature number (`fid`). `read` counts the features of the
    layer; `empty` those without geometry, `repaired` the kept ones that crossed themselves, `broken` those that
    cannot be repaired, `outside` those that do not meet the image.
    `read == empty + broken + outside + len(frame)`, but for a `LayerReader`, which gives its features before.
    `problems` says what was wrong, with places.
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
            **({"broken": self.broken} if self.broken else {}),
            "kept": self.read - self.empty - self.broken - self.outside,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Source:
    """A layer before its features are read: where it lies and what its coordinates mean."""

    path: Path | str
    layer: str
    crs: CRS
    is_measured: bool

    @property
    def where(self) -> str:
        return f"layer '{self.layer}' of {shown(self.path)}"


def read_layer(
    path: str | Path, *, layer: str | None = None, grid: GeoGrid, crs: str | None = None, must_meet: bool = True
) -> LayerRead:
    """The features of a layer that meet the footprint of `grid`, in its CRS, flat and valid.

    `path` is a file, or the connection string of a PostGIS database ("PG:dbname=..."), where `layer` is
    "schema.table". `layer` may be left out where there is one; `crs` says what the coordinates are where the file
    does not. Features are kept whole, also where they run over the edge. VectorError says what is wrong with the
    layer, and never comes for single bad features, which are counted; without `must_meet` it does not come for a
    layer that lies elsewhere either. A layer without any feature is no error: there may be no ship in this harbour.
    """
    reader = LayerReader(path, layer=layer, grid=grid, crs=crs)
    frames = list(reader)
    filled = [frame for frame in frames if len(frame)] or frames[:1]
    read = replace(reader.result(), frame=pd.concat(filled) if len(filled) > 1 else filled[0])
    if read.apart and must_meet:
        raise VectorError(read.apart)
    return read


class LayerReader:
    """A layer as `read_layer` gives it, by tables of bounded size: iterate once, then ask for the `result`."""

    def __init__(self, path: str | Path, *, layer: str | None = None, grid: GeoGrid, crs: str | None = None) -> None:
        if grid.crs is None:
            raise VectorError(
                f"the imagery has no coordinate reference system where {shown(path)} is to be laid over it; "
                "assign one with  gdal_edit.py -a_srs EPSG:<code> -a_ullr ..."
            )
        self._source = _describe(_located(path), layer, crs)
        self._grid = grid
        self._empty_frame: geopandas.GeoDataFrame | None = None
        self._read = self._missing = self._empty = self._broken = self._kept = 0
        self._outside = False
        self._problems: list[Problem] = []
        self._bounds_4 = np.array([np.inf, np.inf, -np.inf, -np.inf])

    @property
    def layer(self) -> str:
        """The name of the layer, also where it was left out."""
        return self._source.layer

    def __iter__(self) -> Iterator[geopandas.GeoDataFrame]:
        source = self._source
        for fids_N, bounds_N4, frame in _read(source.path, source.layer, _search_bounds(self._grid, source.crs)):
            kept = self._keep(fids_N, bounds_N4, frame)
            if len(kept) or self._empty_frame is None:
                self._empty_frame = kept.iloc[:0]
                yield kept

    def result(self) -> LayerRead:
        """What became of all features, with a frame of none; VectorError where none has a geometry."""
        assert self._empty_frame is not None
        if self._read and self._missing == self._read:
            raise VectorError(
                f"{self._source.where} holds {self._read} features, none of them with a geometry, where shapes are "
                "expected; export the layer again"
            )
        is_apart = self._outside and not self._kept
        problems = [one for one in self._problems if one.count and (is_apart or one.kind != "apart")]
        strayed = [one for one in problems if one.kind in ("swapped", "other_crs")]
        apart = _apart(self._source, self._bounds_4, self._grid, strayed) if is_apart else ""
        repaired_count = sum(one.count for one in problems if one.kind == "repaired")
        outside = self._read - self._empty - self._broken - self._kept
        return LayerRead(
            self._empty_frame, self._source.layer, self._read, self._empty, repaired_count, outside, self._broken,
            tuple(problems), apart,
        )  # fmt: skip

    def _keep(self, fids_N: np.ndarray, bounds_N4: np.ndarray, frame: geopandas.GeoDataFrame):
        """The features of a batch that meet the imagery; the others are counted."""
        source, grid = self._source, self._grid
        assert grid.crs is not None
        frame = _named(frame).set_crs(source.crs, allow_override=True)
        frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
        frame, broken = _without_broken(frame)
        frame, flattened, mended = _flat_and_valid(frame, source.is_measured)
        frame = _reprojected(frame, grid.crs, source.path)
        kept = frame[shapely.intersects(frame.geometry.values, grid.footprint)]
        broken_fids = [fid for _, fids, _ in broken for fid in fids]
        # OGR gives no bounds for a missing geometry and zeros for an empty one
        has_shape_N = np.isfinite(bounds_N4).all(axis=1) & bounds_N4.any(axis=1)
        seen_N = np.isin(fids_N, kept.index) | np.isin(fids_N, broken_fids)
        emptied = frame.index[frame.geometry.is_empty]
        empty_N = ~has_shape_N & ~seen_N
        outside_N = has_shape_N & ~seen_N & ~np.isin(fids_N, emptied)
        self._tell([
            problem("empty", [*fids_N[empty_N], *emptied], None, None),
            *(problem(kind, fids, part_N4, source.crs) for kind, fids, part_N4 in broken),
            *(
                problem(kind, hit.index, hit.geometry[:PLACES].bounds, grid.crs)
                for kind, fids in (("repaired", mended), *flattened)
                for hit in [kept[kept.index.isin(fids)]]
            ),
            *_strayed(source.crs, fids_N, bounds_N4, outside_N, grid),
            problem("apart", fids_N, bounds_N4, source.crs),
        ])  # fmt: skip
        self._read += len(fids_N)
        self._missing += int((~has_shape_N).sum())
        self._empty += int(empty_N.sum()) + len(emptied)
        self._broken += len(broken_fids)
        self._kept += len(kept)
        self._outside |= bool(outside_N.any())
        if has_shape_N.any():
            low_2, high_2 = bounds_N4[has_shape_N, :2].min(axis=0), bounds_N4[has_shape_N, 2:].max(axis=0)
            self._bounds_4 = np.hstack([np.minimum(self._bounds_4[:2], low_2), np.maximum(self._bounds_4[2:], high_2)])
        return kept

    def _tell(self, found: list[Problem]) -> None:
        """Adds the problems of a batch, kind by kind: every batch looks for the same."""
        before = self._problems or [replace(one, count=0, places=()) for one in found]
        self._problems = [added(one, more) for one, more in zip(before, found, strict=True)]


def layers(path: str | Path) -> list[str]:
    """Names of the layers with geometry in a file or database."""
    path = _located(path)
    if isinstance(path, Path) and not path.exists():
        raise VectorError(f"there is no file {path} where a vector layer is expected; check the path")
    if isinstance(path, str):
        return postgis.tables(path)
    if is_geoparquet(path):
        geoparquet.geoparquet_info(path)
        return [path.stem]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about M, which is counted elsewhere
            return [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    except _OGR_ERRORS as error:
        raise _unreadable(path, error) from error


def _located(path: str | Path) -> str | Path:
    """A path as such, a connection string as text."""
    return str(path) if is_connection(path) else Path(path)


def _describe(path: Path | str, layer: str | None, crs: str | None) -> _Source:
    name = _choose(path, layers(path), layer)
    measured = False
    if isinstance(path, str):
        own_crs: Any = postgis.crs_of(path, name)
    elif is_geoparquet(path):
        own_crs = geoparquet.geoparquet_info(path).crs
    else:
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                info = pyogrio.read_info(path, layer=name)
        except _OGR_ERRORS as error:
            raise _unreadable(path, error) from error
        # pyogrio drops M by itself, and says so of the layer only
        measured = any("easured" in str(warning.message) for warning in said)
        if info["driver"] == "OGR_VRT" and path.suffix.lower() != ".vrt":
            raise VectorError(
                f"{path} names other files where features are expected, and is not followed; give those files"
            )
        own_crs = info["crs"]
    return _Source(path, name, _crs(own_crs or crs, path, name), measured)


def _choose(path: Path | str, found: list[str], layer: str | None) -> str:
    if not found:
        raise VectorError(
            f"{shown(path)} holds no layer with geometry where one is expected; name a file with features"
        )
    if layer is None and len(found) == 1:
        return found[0]
    if is_connection(path) and f"public.{layer}" in found:
        return f"public.{layer}"
    if layer is None:
        raise VectorError(
            f"{shown(path)} holds {len(found)} layers where one is expected; choose among {', '.join(found)}"
        )
    if layer not in found:
        raise VectorError(f"{shown(path)} has no layer '{layer}'; choose among {', '.join(found)}")
    return layer


def _crs(text: str | CRS | None, path: Path | str, layer: str) -> CRS:
    where = f"layer '{layer}' of {shown(path)}"
    if not text:
        raise VectorError(
            f"{where} has no coordinate reference system where one is expected{_lies(path, layer)}; "
            "add its .prj file, or say what the coordinates are with crs='EPSG:<code>'"
        )
    try:
        return CRS.from_user_input(text)
    except ProjError as error:
        raise VectorError(
            f"{where} has a coordinate reference system that PROJ cannot read ({error}); assign an EPSG code"
        ) from error


def _lies(path: Path | str, layer: str) -> str:
    """Where the features of a layer without CRS are, which tells a person what their coordinates mean."""
    everywhere = (-np.inf, -np.inf, np.inf, np.inf)
    bounds_N4 = np.concatenate([part_N4 for _, part_N4, _ in _read(path, layer, everywhere)])
    if not len(bounds_N4) or not np.isfinite(bounds_N4).any():
        return ""
    low, high = np.nanmin(bounds_N4[:, :2], axis=0), np.nanmax(bounds_N4[:, 2:], axis=0)
    return f" (its {len(bounds_N4)} features lie at x {low[0]:.6g} to {high[0]:.6g}, y {low[1]:.6g} to {high[1]:.6g})"


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


def _read(path: Path | str, layer: str, bbox: geoparquet.Bounds) -> Iterator[Batch]:
    """Batches, with errors that name the file."""
    reading = batches(path, layer, bbox)
    while True:
        try:
            batch = next(reading, None)
        except VectorError:
            raise
        except _OGR_ERRORS as error:
            raise _unreadable(path, error) from error
        if batch is None:
            return
        yield batch


def _named(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """With the geometry under the name "geometry", whatever the file calls it."""
    if frame.geometry.name == "geometry":
        return frame
    return frame.drop(columns="geometry", errors="ignore").rename_geometry("geometry")


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
            f"{shown(path)} cannot be brought from {frame.crs.name} to the imagery's {crs.name} ({error}); "
            "check that both say the truth about their coordinates"
        ) from error


def _strayed(
    own: CRS, fids_N: np.ndarray, bounds_N4: np.ndarray, outside_N: np.ndarray, grid: GeoGrid
) -> list[Problem]:
    """Features away from the imagery that would lie on it if their coordinates meant something else.

    Each is told under the first meaning that fits; all meanings are there, with counts of 0 too. None of
    these is applied: that is for a person to decide.
    """
    assert grid.crs is not None
    lonlat = CRS.from_epsg(4326)
    others = [crs for k, crs in enumerate((lonlat, grid.crs)) if crs != own and (not k or crs != lonlat)]
    left = np.flatnonzero(outside_N)
    found = []
    for crs, swapped in [(own, True), *((crs, swapped) for crs in others for swapped in (False, True))]:
        bounds_M4 = bounds_N4[left][:, [1, 0, 3, 2]] if swapped else bounds_N4[left]
        middle_M2 = (bounds_M4[:, :2] + bounds_M4[:, 2:]) / 2
        x1, y1, x2, y2 = _search_bounds(grid, crs)
        fits_M = ((middle_M2 >= (x1, y1)) & (middle_M2 <= (x2, y2))).all(axis=1)
        detail = f"read as {crs.to_string()[:40]}{' with x and y swapped' if swapped else ''}"
        kind, said = ("swapped", "") if crs == own else ("other_crs", detail)
        found.append(problem(kind, fids_N[left[fits_M]], bounds_M4[fits_M], crs, said))
        left = left[~fits_M]
    return found


def _apart(source: _Source, bounds_4: np.ndarray, grid: GeoGrid, strayed: list[Problem]) -> str:
    assert grid.crs is not None
    layer = shapely.box(*bounds_4)
    hint = f"{strayed[0]}, so " if strayed else ""
    return (
        f"{source.where} lies at {_lonlat(layer, source.crs)} where features over the "
        f"imagery at {_lonlat(_outline(grid), grid.crs)} are expected; "
        f"{hint}give the layer of this area, or correct the coordinate reference system of either"
    )


def _lonlat(geometry, crs: CRS) -> str:
    x1, y1, x2, y2 = _transformed(geometry, crs, CRS.from_epsg(4326)).bounds
    return f"longitude {x1:.5f} to {x2:.5f}, latitude {y1:.5f} to {y2:.5f}"


def _unreadable(path: Path | str, error: Exception) -> VectorError:
    return VectorError(
        f"{shown(path)} was found where a vector layer is expected, but GDAL cannot read it ({shown(str(error))}); "
        "name a GeoPackage, GeoJSON, GeoParquet, shapefile or the like, or fetch it again if it was cut off"
    )

"""Layers of features by batches, so that memory does not grow with them.

GeoPackage is read by ranges of feature numbers, GeoParquet by row groups, PostGIS by a cursor of the server,
shapefiles and FlatGeobuf by position. Any other format comes as one batch: GDAL itself holds most of them (GeoJSON)
in memory as a whole, so for a country export them to one of those.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio

from georefer.imagery import geoparquet, postgis
from georefer.imagery.geoparquet import Bounds

BATCH = 20_000
"""Features at a time."""

Batch = tuple[np.ndarray, np.ndarray, geopandas.GeoDataFrame]
"""Numbers (N,) and bounds (N, 4) of all features of a batch, NaN or zeros where one has no shape, and a table, by
feature number, of those whose bounds meet what is searched."""

_BY_POSITION = ("ESRI Shapefile", "FlatGeobuf")


def is_geoparquet(path: Path | str) -> bool:
    """Whether a file is read as GeoParquet; GDAL reads it too, but few of its builds have that driver."""
    return isinstance(path, Path) and path.suffix.lower() in geoparquet.ENDINGS


def batches(path: Path | str, layer: str, bbox: Bounds) -> Iterator[Batch]:
    """All features of a layer in the order of their numbers; at least one batch. Errors are those of the readers."""
    if isinstance(path, str):
        return postgis.batches(path, layer, bbox, BATCH)
    if is_geoparquet(path):
        return geoparquet.batches(path, bbox, BATCH)
    return _of_ogr(path, layer, bbox)


def _of_ogr(path: Path, layer: str, bbox: Bounds) -> Iterator[Batch]:
    info = _quiet(pyogrio.read_info, path, layer=layer)
    whole = {"layer": layer}
    if info["driver"] == "GPKG" and info["fid_column"]:
        chosen = _by_number(path, whole, info["fid_column"].replace('"', '""'))
    elif info["driver"] in _BY_POSITION:
        chosen = _by_position(path, whole)
    else:
        fids_N, bounds_4N = _quiet(pyogrio.read_bounds, path, **whole)
        yield fids_N, bounds_4N.T, _quiet(pyogrio.read_dataframe, path, **whole, bbox=bbox, fid_as_index=True)
        return
    columns = [name for name, kind in zip(info["fields"], info["dtypes"], strict=True) if kind.startswith("int")]
    for fids_N, bounds_N4, options in chosen:
        near_N = meets(bounds_N4, bbox)
        # a batch with nothing near still says what the columns are
        options = options if near_N.any() else {**whole, "max_features": 1}
        frame = _quiet(pyogrio.read_dataframe, path, **options, fid_as_index=True)
        frame = _with_whole_numbers(frame.loc[fids_N[near_N]] if near_N.any() else frame.iloc[:0], columns)
        yield fids_N, bounds_N4, frame


def _by_number(path: Path, whole: dict[str, Any], column: str) -> Iterator[tuple[np.ndarray, np.ndarray, Any]]:
    where = f'"{column}" > {-(2**63)}'
    is_first = True
    while True:
        fids_N, bounds_4N = _quiet(pyogrio.read_bounds, path, **whole, where=where, max_features=BATCH)
        if len(fids_N) or is_first:
            last = f' AND "{column}" <= {fids_N[-1]}' if len(fids_N) else ""
            yield fids_N, bounds_4N.T, {**whole, "where": where + last}
        if len(fids_N) < BATCH:
            return
        where, is_first = f'"{column}" > {fids_N[-1]}', False


def _by_position(path: Path, whole: dict[str, Any]) -> Iterator[tuple[np.ndarray, np.ndarray, Any]]:
    start = 0
    while True:
        part = {**whole, "skip_features": start, "max_features": BATCH}
        fids_N, bounds_4N = _quiet(pyogrio.read_bounds, path, **part)
        if len(fids_N) or not start:
            yield fids_N, bounds_4N.T, part
        if len(fids_N) < BATCH:
            return
        start += BATCH


def _quiet(read: Callable[..., Any], path: Path, **options: Any) -> Any:
    """Without warnings about M and about columns of mixed types: both are counted elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(path, **options)


def meets(bounds_N4: np.ndarray, bbox: Bounds) -> np.ndarray:
    """Which bounds share a point with the box; coordinates that are no numbers could be anywhere."""
    x1, y1, x2, y2 = bbox
    within_N = (bounds_N4[:, 0] <= x2) & (bounds_N4[:, 1] <= y2) & (bounds_N4[:, 2] >= x1) & (bounds_N4[:, 3] >= y1)
    return within_N | ~np.isfinite(bounds_N4).all(axis=1)


def _with_whole_numbers(frame: geopandas.GeoDataFrame, columns: list[str]) -> geopandas.GeoDataFrame:
    """Whole numbers beside missing ones become floats in some batches and not in others; here they stay whole."""
    for name in columns:
        if frame[name].dtype.kind == "f":
            values_N = frame[name].to_numpy()
            whole_N = np.empty(len(frame), dtype=object)
            whole_N[:] = [None if value != value else int(value) for value in values_N.tolist()]
            frame = frame.assign(**{name: whole_N})
    return frame

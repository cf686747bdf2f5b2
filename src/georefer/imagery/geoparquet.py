"""GeoParquet 1.1: vector layers in Parquet that can be searched by place without reading all of them.

Source: geoparquet.org/releases/v1.1.0 (the specification and its JSON schema). A file holds geometry as WKB,
its CRS as PROJJSON, and beside it a struct column `bbox` (xmin, ymin, xmax, ymax) that the metadata names as the
geometry's `covering`: Parquet's own statistics of that column say where each row group lies. That helps only
where neighbours share a row group, so features are sorted along a Hilbert curve before they are written.

Coordinates are (x, y) whatever order the CRS names its axes in. A file whose metadata leaves `crs` out is in
longitude and latitude (OGC:CRS84); `crs: null` means that nobody knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from pyproj import CRS
from pyproj.exceptions import ProjError

from georefer.errors import InputError, VectorError
from georefer.runlog import written_beside

ENDINGS = (".parquet", ".geoparquet")
VERSION = "1.1.0"
ROWS_PER_GROUP = 5_000
_EDGES = ("xmin", "ymin", "xmax", "ymax")

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class GeoParquetInfo:
    """What the metadata of a file says: CRS (None: unknown), the geometry column, where its bounds stand, rows.

    `covering` holds the paths of the columns of xmin, ymin, xmax and ymax, or None where the file has none.
    """

    crs: CRS | None
    geometry: str
    covering: tuple[str, ...] | None
    rows: int


def write_geoparquet(path: str | Path, frame: gpd.GeoDataFrame, *, rows_per_group: int = ROWS_PER_GROUP) -> None:
    """All features of a frame, in an order that keeps neighbours together; the index is not kept.

    Outer rings are turned anticlockwise (x right, y up) as the metadata says. The same frame gives the same bytes.
    """
    path = Path(path)
    if frame.columns.duplicated().any() or "bbox" in frame.columns:
        raise InputError(f"cannot write {path.name}: a column 'bbox' or two of one name were found; rename them")
    shapes_N = shapely.orient_polygons(np.asarray(frame.geometry.values, dtype=object))
    if not np.isfinite(shapely.get_coordinates(shapes_N)).all() or shapely.has_m(shapes_N).any():
        raise InputError(f"cannot write {path.name}: coordinates that are infinite or have M were found; correct them")
    order_N = _hilbert_order(shapes_N)
    frame, shapes_N = frame.iloc[order_N], shapes_N[order_N]
    try:
        table = pa.Table.from_pandas(pd.DataFrame(frame.drop(columns=frame.geometry.name)), preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise InputError(f"cannot write {path.name}: Parquet wants one type a column ({error}); make it one") from error
    name = str(frame.geometry.name)
    # put together here: a table without columns has no length to append to
    columns = [*table.columns, pa.array(shapely.to_wkb(shapes_N, flavor="iso"), pa.binary()), _bbox_column(shapes_N)]
    table = pa.Table.from_arrays(columns, names=[*table.column_names, name, "bbox"])
    content = {"version": VERSION, "primary_column": name, "columns": {name: _column(shapes_N, frame.crs)}}
    # pandas' own note would have readers look for an index and types that are not these
    table = table.replace_schema_metadata({"geo": json.dumps(content, allow_nan=False)})
    with written_beside(path) as beside:
        # sizes of pages and groups alone let a reader skip; statistics are on by default
        pq.write_table(table, beside, row_group_size=rows_per_group, compression="zstd")


def read_geoparquet(path: str | Path, *, bbox: Bounds | None = None) -> gpd.GeoDataFrame:
    """The features whose bounds meet `bbox` (x1, y1, x2, y2 in the file's CRS), or all; indexed by row number.

    Row groups that lie elsewhere are not read. Geometry that is no WKB becomes None.
    """
    path = Path(path)
    info = geoparquet_info(path)
    with _opened(path) as file:
        names = [name for name in file.schema_arrow.names if info.covering is None or name != _root(info.covering)]
        starts = np.cumsum([0] + [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)])
        parts = []
        for group in range(file.num_row_groups):
            if bbox is not None and _elsewhere(file.metadata.row_group(group), info.covering, bbox):
                continue
            table = _read_group(file, path, group, names)
            shapes_N = shapely.from_wkb(table.column(info.geometry).to_numpy(), on_invalid="ignore")
            rest = table.drop_columns(info.geometry).to_pandas(ignore_metadata=True)
            rest.index = pd.RangeIndex(starts[group], starts[group + 1])
            parts.append(_near(_placed(rest, info, shapes_N), bbox))
        if not parts:
            nothing = file.schema_arrow.empty_table().select(names).drop_columns(info.geometry)
            parts.append(_placed(nothing.to_pandas(ignore_metadata=True), info, np.empty(0, dtype=object)))
    return pd.concat(parts) if len(parts) > 1 else parts[0]


def batches(path: Path, bbox: Bounds, size: int) -> Iterator[tuple[np.ndarray, np.ndarray, gpd.GeoDataFrame]]:
    """As `batches.batches`; of row groups that lie elsewhere only the covering's bounds are read."""
    info = geoparquet_info(path)
    with _opened(path) as file:
        names = [name for name in file.schema_arrow.names if info.covering is None or name != _root(info.covering)]
        nothing = file.schema_arrow.empty_table().select(names).drop_columns(info.geometry)
        empty = _placed(nothing.to_pandas(ignore_metadata=True), info, np.empty(0, dtype=object)).rename_axis("fid")
        yield np.empty(0, dtype=np.int64), np.empty((0, 4)), empty
        start = 0
        for group in range(file.num_row_groups):
            if info.covering is not None and _elsewhere(file.metadata.row_group(group), info.covering, bbox):
                bounds_N4 = _covering_bounds(_read_group(file, path, group, list(info.covering)), info.covering)
                yield np.arange(start, start + len(bounds_N4)), bounds_N4, empty
                start += len(bounds_N4)
                continue
            for part in _read_batches(file, path, group, names, size):
                shapes_N = shapely.from_wkb(part.column(info.geometry).to_numpy(), on_invalid="ignore")
                rest = part.drop_columns(info.geometry).to_pandas(ignore_metadata=True, integer_object_nulls=True)
                rest.index = pd.RangeIndex(start, start + len(rest), name="fid")
                start += len(rest)
                yield rest.index.to_numpy(), shapely.bounds(shapes_N).reshape(-1, 4), _placed(rest, info, shapes_N)


def read_bounds(path: str | Path) -> np.ndarray:
    """Bounds (N, 4) of every feature by row, NaN where there is none; from the covering where the file has one.

    A covering may be rounded outwards (it is float32 in some files): good for searching, not for measuring.
    """
    path = Path(path)
    info = geoparquet_info(path)
    with _opened(path) as file:
        if info.covering is None:
            parts = [
                shapely.bounds(
                    shapely.from_wkb(
                        _read_group(file, path, k, [info.geometry]).column(0).to_numpy(), on_invalid="ignore"
                    )
                )
                for k in range(file.num_row_groups)
            ]
            return np.concatenate([np.empty((0, 4)), *(part.reshape(-1, 4) for part in parts)])
        return _covering_bounds(file.read(columns=list(info.covering)), info.covering)


def geoparquet_info(path: str | Path) -> GeoParquetInfo:
    """The metadata of a file, checked against what its columns are; VectorError says what does not fit."""
    path = Path(path)
    with _opened(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    try:
        geo = json.loads((schema.metadata or {})[b"geo"])
        name = geo["primary_column"]
        column = geo["columns"][name]
        encoding, crs = column["encoding"], column.get("crs", "OGC:CRS84")
        covering = _covering(column.get("covering"), schema)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise VectorError(
            f"{path} is Parquet without usable 'geo' metadata ({type(error).__name__}: {error}) where GeoParquet is "
            "expected; export it again as GeoParquet 1.1"
        ) from error
    if encoding != "WKB":
        raise VectorError(
            f"{path} has geometry encoded as {str(encoding)[:50]!r} where WKB is expected; export it as WKB"
        )
    if name not in schema.names or not _is_binary(schema.field(name).type):
        raise VectorError(
            f"{path} has no binary column {str(name)[:50]!r} where its geometry is expected; export it again"
        )
    try:
        return GeoParquetInfo(None if crs is None else CRS.from_user_input(crs), name, covering, rows)
    except ProjError as error:
        raise VectorError(f"{path} has a CRS that PROJ cannot read ({error}); assign an EPSG code") from error


# --- writing --------------------------------------------------------------------------------------------------


def _column(shapes_N: np.ndarray, crs: CRS | None) -> dict[str, Any]:
    """The metadata of the geometry column."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": _types(shapes_N),
        "crs": None if crs is None else crs.to_json_dict(),
        "orientation": "counterclockwise",
        "edges": "planar",
        "covering": {"bbox": {edge: ["bbox", edge] for edge in _EDGES}},
    }
    flat = not shapely.has_z(shapes_N).any()
    xyz_N3 = shapely.get_coordinates(shapes_N, include_z=True)[:, : 2 if flat else 3]
    if np.isfinite(xyz_N3).any(axis=0).all() and len(xyz_N3):
        column["bbox"] = [*np.nanmin(xyz_N3, axis=0).tolist(), *np.nanmax(xyz_N3, axis=0).tolist()]
    return column


def _types(shapes_N: np.ndarray) -> list[str]:
    there = [shape for shape in shapes_N if shape is not None]
    return sorted(
        {shape.geom_type.replace("LinearRing", "LineString") + (" Z" if shape.has_z else "") for shape in there}
    )


def _bbox_column(shapes_N: np.ndarray) -> pa.StructArray:
    """Bounds as a struct of doubles; missing as a whole where a shape has none, since NaN would spoil statistics."""
    bounds_N4 = shapely.bounds(shapes_N).reshape(-1, 4)
    none_N = ~np.isfinite(bounds_N4).all(axis=1)
    edges = [pa.array(bounds_N4[:, k], pa.float64(), mask=none_N) for k in range(4)]
    return pa.StructArray.from_arrays(edges, names=list(_EDGES), mask=pa.array(none_N))


def _hilbert_order(shapes_N: np.ndarray) -> np.ndarray:
    """Row numbers along a Hilbert curve over the middles of the shapes; equal places and missing shapes as given."""
    bounds_N4 = shapely.bounds(shapes_N).reshape(-1, 4)
    has_N = np.isfinite(bounds_N4).all(axis=1)
    middles_N2 = (bounds_N4[:, :2] + bounds_N4[:, 2:]) / 2
    key_N = np.full(len(shapes_N), np.iinfo(np.int64).max)
    if has_N.any():
        low_2 = middles_N2[has_N].min(axis=0)
        # one scale for both axes, so that cells are square on the ground
        span = float(np.ptp(middles_N2[has_N], axis=0).max()) or 1.0
        cells_N2 = ((middles_N2[has_N] - low_2) / span * 0xFFFF).astype(np.int64)
        key_N[has_N] = _hilbert_keys(cells_N2, 16)
    return np.argsort(key_N, kind="stable")


def _hilbert_keys(cells_N2: np.ndarray, bits: int) -> np.ndarray:
    """Place along the Hilbert curve of cells (x, y) of a grid with 2**bits a side."""
    x, y = cells_N2[:, 0].copy(), cells_N2[:, 1].copy()
    key = np.zeros(len(x), dtype=np.int64)
    for bit in range(bits - 1, -1, -1):
        side = 1 << bit
        right, up = (x & side) > 0, (y & side) > 0
        # the quadrants in the order the curve visits them
        key += side * side * ((3 * right.astype(np.int64)) ^ up)
        x, y = x & (side - 1), y & (side - 1)
        # the curve inside the lower quadrants is mirrored at a diagonal
        flip, turn = ~up & right, ~up
        x, y = np.where(flip, side - 1 - x, x), np.where(flip, side - 1 - y, y)
        x, y = np.where(turn, y, x), np.where(turn, x, y)
    return key


# --- reading --------------------------------------------------------------------------------------------------


def _opened(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise VectorError(f"there is no file {path} where a vector layer is expected; check the path")
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise VectorError(f"{path} is no readable Parquet ({error}); fetch it again if it was cut off") from error


def _read_group(file: pq.ParquetFile, path: Path, group: int, names: list[str]) -> pa.Table:
    try:
        return file.read_row_group(group, columns=names)
    except (pa.ArrowException, OSError) as error:
        raise VectorError(f"{path} is damaged in row group {group} ({error}); fetch it again") from error


def _read_batches(file: pq.ParquetFile, path: Path, group: int, names: list[str], size: int) -> Iterator[pa.Table]:
    try:
        for batch in file.iter_batches(size, row_groups=[group], columns=names):
            yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise VectorError(f"{path} is damaged in row group {group} ({error}); fetch it again") from error


def _covering_bounds(table: pa.Table, covering: tuple[str, ...]) -> np.ndarray:
    """Bounds (N, 4) from the columns of a covering, NaN where there are none."""
    columns = []
    for edge in covering:
        outer, inner = edge.split(".", 1)
        struct = table.column(outer).combine_chunks()
        columns.append(pc.struct_field(struct, inner).to_numpy(zero_copy_only=False))
    return np.column_stack(columns).astype(np.float64)


def _covering(covering: Any, schema: pa.Schema) -> tuple[str, ...] | None:
    """Column paths of xmin, ymin, xmax and ymax; None where there is no covering or its columns are not there."""
    if not covering:
        return None
    paths = [covering["bbox"][edge] for edge in _EDGES]
    for outer, inner in paths:
        struct = schema.field(outer).type if outer in schema.names else None
        if struct is None or not pa.types.is_struct(struct) or struct.get_field_index(inner) < 0:
            return None
        if not pa.types.is_floating(struct.field(inner).type):
            return None
    return tuple(f"{outer}.{inner}" for outer, inner in paths)


def _placed(rest: pd.DataFrame, info: GeoParquetInfo, shapes_N: np.ndarray) -> gpd.GeoDataFrame:
    rest[info.geometry] = gpd.GeoSeries(shapes_N, index=rest.index, crs=info.crs)
    return gpd.GeoDataFrame(rest, geometry=info.geometry)


def _near(frame: gpd.GeoDataFrame, bbox: Bounds | None) -> gpd.GeoDataFrame:
    """The features whose bounds meet the box; those of a missing shape are NaN, which meets nothing."""
    if bbox is None:
        return frame
    bounds_N4 = shapely.bounds(np.asarray(frame.geometry.values, dtype=object)).reshape(-1, 4)
    x1, y1, x2, y2 = bbox
    near_N = (bounds_N4[:, 0] <= x2) & (bounds_N4[:, 1] <= y2) & (bounds_N4[:, 2] >= x1) & (bounds_N4[:, 3] >= y1)
    return frame[near_N]


def _elsewhere(group: Any, covering: tuple[str, ...] | None, bbox: Bounds) -> bool:
    """Whether the statistics of a row group prove that nothing in it meets the box."""
    if covering is None:
        return False
    columns = {group.column(k).path_in_schema: group.column(k) for k in range(group.num_columns)}
    found: list[Any] = [columns[edge].statistics if edge in columns else None for edge in covering]
    if any(one is None or not one.has_min_max for one in found):
        return False
    xmin, ymin, xmax, ymax = found
    x1, y1, x2, y2 = bbox
    return bool(xmin.min > x2 or ymin.min > y2 or xmax.max < x1 or ymax.max < y1)


def _root(covering: tuple[str, ...]) -> str:
    return covering[0].split(".", 1)[0]


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

"""PostGIS: tables of features read through psycopg, since common builds of GDAL come without its driver.

A connection string is "PG:" and what libpq understands ("PG:dbname=area host=db"), or "postgresql://...". Users and
passwords come from libpq's own places (PGUSER, PGPASSWORD, the password file). Sessions are read-only; the box that is
searched goes to the server, and rows come by a cursor of the server.
"""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
from pyproj import CRS
from pyproj.exceptions import ProjError

from georefer.errors import MissingExtra, VectorError
from georefer.imagery.geoparquet import Bounds

CONNECT_S = 10
_NUMBERS = ("fid", "id", "gid", "ogc_fid", "objectid")
_EDGES = ("ST_XMin", "ST_YMin", "ST_XMax", "ST_YMax")
_INTEGERS = ("int2", "int4", "int8")

_TABLES = """
SELECT f_table_schema, f_table_name, f_geometry_column FROM geometry_columns
WHERE has_table_privilege(format('%I.%I', f_table_schema, f_table_name), 'SELECT') ORDER BY 1, 2, 3
"""
_COLUMNS = """
SELECT a.attname, t.typname, EXISTS (
  SELECT 1 FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND i.indkey::int2[] = ARRAY[a.attnum])
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = format('%%I.%%I', %s::text, %s::text)::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_CRS = """
SELECT s.auth_name, s.auth_srid, s.srtext, g.srid FROM geometry_columns g LEFT JOIN spatial_ref_sys s USING (srid)
WHERE (g.f_table_schema, g.f_table_name, g.f_geometry_column) = (%s, %s, %s)
"""


@dataclass(frozen=True)
class Table:
    """A table or view with one geometry column."""

    schema: str
    name: str
    geometry: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def tables(connection: str) -> list[str]:
    """Names of the tables with geometry that may be read, "schema.table"."""
    with closing(_connected(connection)) as database:
        return list(dict.fromkeys(str(table) for table in _tables(database, connection)))


def crs_of(connection: str, layer: str) -> CRS | None:
    """The CRS of a table; None where it does not say."""
    with closing(_connected(connection)) as database:
        table = _table(database, connection, layer)
        row = database.execute(_CRS, (table.schema, table.name, table.geometry)).fetchone()
    if row is None or not row[3]:
        return None
    try:
        return CRS.from_user_input(f"{row[0]}:{row[1]}" if row[0] else row[2])
    except ProjError:
        return CRS.from_wkt(row[2]) if row[2] else None


def batches(connection: str, layer: str, bbox: Bounds, size: int) -> Iterator[Any]:
    """As `batches.batches`: features that meet the box with all columns, then bounds alone of the others."""
    from psycopg import Error, sql

    with closing(_connected(connection)) as database:
        table = _table(database, connection, layer)
        number, columns = _columns(database, table)
        shape = sql.Identifier(table.geometry)
        # NULL && box is NULL: such rows are among the others, without bounds
        near = sql.SQL("coalesce({} && ST_MakeEnvelope(%s, %s, %s, %s, ST_SRID({})), false)").format(shape, shape)
        names = [number, *columns]
        wanted = sql.SQL(", ").join(map(sql.Identifier, names))
        source = sql.SQL("FROM {} WHERE {}").format(sql.Identifier(table.schema, table.name), near)
        others = sql.SQL("FROM {} WHERE NOT {}").format(sql.Identifier(table.schema, table.name), near)
        order = sql.SQL("ORDER BY {}").format(sql.Identifier(number))
        edges = sql.SQL(", ").join(sql.SQL(f"{edge}({{}})").format(shape) for edge in _EDGES)
        query = sql.SQL("SELECT ST_AsBinary(ST_CurveToLine({})), {} {} {}").format(shape, wanted, source, order)
        other = sql.SQL("SELECT {}, {} {} {}").format(sql.Identifier(number), edges, others, order)
        empty = _frame([], names)
        try:
            yield np.empty(0, dtype=np.int64), np.empty((0, 4)), empty
            for rows in _rows(database, query, bbox, size):
                frame = _frame(rows, names)
                yield frame.index.to_numpy(), shapely.bounds(frame.geometry.values).reshape(-1, 4), frame
            for rows in _rows(database, other, bbox, size):
                bounds_N4 = np.array([row[1:] for row in rows], dtype=np.float64)
                yield np.array([row[0] for row in rows], dtype=np.int64), bounds_N4, empty
        except Error as error:
            raise _refused(connection, error) from error


def is_connection(path: str | Path) -> bool:
    """Whether `path` is the connection string of a PostGIS database rather than a file."""
    return isinstance(path, str) and path.lower().startswith(("pg:", "postgresql://", "postgres://"))


def shown(path: str | Path) -> str:
    """A path or connection string as messages may show it: without a password."""
    hidden = re.sub(r"(?i)(password\s*=\s*)('[^']*'|\S+)", r"\1***", str(path))
    return re.sub(r"(//[^:/@\s]+:)[^@\s]*@", r"\1***@", hidden)


def _connected(connection: str) -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise MissingExtra("reading from PostGIS", "postgis") from error
    text = connection[3:] if connection[:3].lower() == "pg:" else connection
    try:
        database = psycopg.connect(text, connect_timeout=CONNECT_S)
    except psycopg.Error as error:
        raise _refused(connection, error) from error
    database.read_only = True
    return database


def _tables(database: Any, connection: str) -> list[Table]:
    from psycopg import Error

    try:
        return [Table(*row) for row in database.execute(_TABLES).fetchall()]
    except Error as error:
        raise _refused(connection, error) from error


def _table(database: Any, connection: str, layer: str) -> Table:
    """The table of a name given by `tables`; its first geometry column where it has several."""
    return next(table for table in _tables(database, connection) if str(table) == layer)


def _columns(database: Any, table: Table) -> tuple[str, list[str]]:
    """The column that numbers the features, and the others but geometry."""
    rows = database.execute(_COLUMNS, (table.schema, table.name)).fetchall()
    whole = [name for name, kind, _ in rows if kind in _INTEGERS]
    keys = [name for name, kind, is_key in rows if is_key and kind in _INTEGERS]
    keys += [name for name in _NUMBERS if name in whole]
    if not keys:
        raise VectorError(
            f"table '{table}' has no whole-number primary key (nor a column {', '.join(_NUMBERS)}) where features "
            "need a number that stays; add one, or read a view that has it"
        )
    return keys[0], [name for name, kind, _ in rows if kind not in ("geometry", "geography", "raster", "bytea")]


def _rows(database: Any, query: Any, bbox: Bounds, size: int) -> Iterator[list[tuple]]:
    with database.cursor(name="georefer") as cursor:
        cursor.execute(query, bbox)
        while rows := cursor.fetchmany(size):
            yield rows


def _frame(rows: list[tuple], names: list[str]) -> geopandas.GeoDataFrame:
    """Rows of (WKB, number, columns...) as a table by number."""
    shapes_N = shapely.from_wkb([row[0] for row in rows], on_invalid="ignore")
    index = pd.Index([row[1] for row in rows], dtype=np.int64, name="fid")
    if not index.is_unique:
        raise VectorError(
            f"the column '{names[0]}' repeats {index[index.duplicated()][0]} where each feature needs its own number; "
            "give the table a primary key"
        )
    columns = {
        name: np.array([*(_plain(row[place]) for row in rows), None], dtype=object)[:-1]
        for place, name in enumerate(names[1:], 2)
    }
    return geopandas.GeoDataFrame(columns, index=index, geometry=shapes_N)


def _plain(value: Any) -> Any:
    """Numbers and text as other formats give them."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


def _refused(connection: str, error: Exception) -> VectorError:
    said = " ".join(shown(str(error)).split())[:300]
    return VectorError(
        f"the database '{shown(connection)}' does not give its features ({said}); check that it runs, has PostGIS, and "
        "that PGUSER and PGPASSWORD may read it"
    )

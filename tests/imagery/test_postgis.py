"""PostGIS against a server that the test starts; skipped where PostgreSQL with PostGIS or psycopg is not installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from georefer.errors import MissingExtra, VectorError
from georefer.geometry import GeoGrid
from georefer.imagery import batches, postgis
from georefer.imagery.vector import layers, read_layer

try:
    import psycopg
except ImportError:
    psycopg = None

GRID = GeoGrid(CRS("EPSG:32645"), Affine(1, 0, 400_000, 0, -1, 3_000_000), 100, 100)
NEEDS_PSYCOPG = pytest.mark.skipif(psycopg is None, reason="psycopg is not installed; the extra 'postgis' brings it")
SERVERS = [*sorted(Path("/usr/lib/postgresql").glob("*/bin")), Path("/usr/local/bin")]


def programs() -> Path | None:
    found = shutil.which("initdb")
    return Path(found).parent if found else next((p for p in reversed(SERVERS) if (p / "initdb").exists()), None)


@pytest.fixture(scope="module")
def connection():
    """ "PG:..." of an empty database with PostGIS."""
    programs_at = programs()
    if psycopg is None or programs_at is None:
        pytest.skip("psycopg or PostgreSQL is not installed")
    as_user = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        names = [user.pw_name for user in pwd.getpwall()]
        if "postgres" not in names:
            pytest.skip("there is no user postgres to run the server")
        as_user = {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path has to be short
    try:
        if as_user:
            shutil.chown(folder, "postgres")

        def run(program: str, *options: str) -> None:
            command = [str(programs_at / program), *options]
            subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=60, **as_user)

        run("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "tester", "--no-sync", "-E", "UTF8", "--locale=C")
        settings = f"-k {folder} -c listen_addresses='' -c fsync=off -c shared_buffers=16MB -c max_connections=8"
        run("pg_ctl", "-D", f"{folder}/data", "-o", settings, "-l", f"{folder}/log", "-w", "start")
        try:
            text = f"host={folder} dbname=postgres user=tester"
            with psycopg.connect(text, autocommit=True) as database:
                if not database.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'postgis'").fetchone():
                    pytest.skip("PostGIS is not installed")
                database.execute("CREATE EXTENSION postgis")
            yield f"PG:{text}"
        finally:
            run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def filled(connection):
    """Schema "my town" with the table "Roofs": two on the imagery, one away, one without geometry."""
    with psycopg.connect(connection[3:], autocommit=True) as database:
        database.execute('DROP SCHEMA IF EXISTS "my town" CASCADE')
        database.execute('CREATE SCHEMA "my town"')
        database.execute(
            'CREATE TABLE "my town"."Roofs" '
            '(gid serial PRIMARY KEY, "of what" text, height numeric, storeys int, seen date, '
            "geom geometry(Geometry, 32645))"
        )
        rows = [
            ("tin", 3.5, 2, "2024-05-01", shapely.box(400_010, 2_999_980, 400_020, 2_999_990)),
            ("tile", None, None, None, shapely.box(400_050, 2_999_950, 400_060, 2_999_960)),
            ("straw", 1, 1, None, shapely.box(500_000, 2_999_950, 500_010, 2_999_960)),
            (None, None, None, None, None),
        ]
        for *values, shape in rows:
            wkb = None if shape is None else shape.wkb
            database.execute(
                'INSERT INTO "my town"."Roofs" ("of what", height, storeys, seen, geom) '
                "VALUES (%s, %s, %s, %s, ST_GeomFromWKB(%s, 32645))",
                (*values, wkb),
            )
        yield connection, database


@pytest.mark.parametrize("size", [50_000, 1])
def test_a_table_is_read_like_a_file(filled, size, monkeypatch):
    connection, _ = filled
    monkeypatch.setattr(batches, "BATCH", size)
    assert layers(connection) == ["my town.Roofs"]
    read = read_layer(connection, layer="my town.Roofs", grid=GRID)
    assert read.counts() == {"read": 4, "empty": 1, "repaired": 0, "outside": 1, "kept": 2}
    assert list(read.frame.index) == [1, 2] and read.frame.crs == GRID.crs
    assert read.frame["of what"].tolist() == ["tin", "tile"]
    assert read.frame["height"].tolist() == [3.5, None] and read.frame["storeys"].tolist() == [2, None]
    assert read.frame["seen"].iloc[0] == "2024-05-01" and read.frame["seen"].isna().iloc[1]
    assert np.allclose(read.frame.geometry.iloc[0].bounds, (400_010, 2_999_980, 400_020, 2_999_990))


def test_another_crs_is_followed_and_the_search_is_the_servers(filled):
    connection, database = filled
    database.execute(
        'CREATE TABLE "my town".lonlat AS SELECT gid AS id, '
        'ST_Transform(geom, 4326)::geometry(Geometry, 4326) AS shape FROM "my town"."Roofs"'
    )
    read = read_layer(connection, layer="my town.lonlat", grid=GRID)
    assert read.counts()["kept"] == 2 and read.outside == 1
    found = list(postgis.batches(connection, "my town.lonlat", (0, 0, 1, 1), 10))
    assert sum(len(frame) for _, _, frame in found) == 0 and sum(len(fids_N) for fids_N, _, _ in found) == 4


def test_tables_of_public_need_no_schema_and_curves_become_lines(filled):
    connection, database = filled
    database.execute("DROP TABLE IF EXISTS pools")
    database.execute("CREATE TABLE pools (id int PRIMARY KEY, geom geometry(CurvePolygon, 32645))")
    ring = "400010 2999990, 400015 2999995, 400020 2999990, 400015 2999985, 400010 2999990"
    database.execute(f"INSERT INTO pools VALUES (7, 'SRID=32645;CURVEPOLYGON(CIRCULARSTRING({ring}))')")
    read = read_layer(connection, layer="pools", grid=GRID)
    assert list(read.frame.index) == [7] and abs(read.frame.area.iloc[0] - np.pi * 25) < 0.5


def test_names_are_quoted(filled):
    connection, database = filled
    name = 'x"; DROP TABLE "my town"."Roofs"; --'
    quoted = name.replace('"', '""')
    database.execute(f'CREATE TABLE "my town"."{quoted}" AS SELECT * FROM "my town"."Roofs"')
    assert read_layer(connection, layer=f"my town.{name}", grid=GRID).counts()["kept"] == 2
    assert "my town.Roofs" in layers(connection)


def test_what_cannot_be_read_is_said(filled):
    connection, database = filled
    database.execute('CREATE TABLE "my town".loose AS SELECT geom FROM "my town"."Roofs"')
    with pytest.raises(VectorError, match="no whole-number primary key"):
        read_layer(connection, layer="my town.loose", grid=GRID)
    with pytest.raises(VectorError, match="has no layer 'nothing'; choose among"):
        read_layer(connection, layer="nothing", grid=GRID)
    with pytest.raises(VectorError, match=r"does not give its features \(.*no_such"):
        layers(connection.replace("dbname=postgres", "dbname=no_such"))


@NEEDS_PSYCOPG
@pytest.mark.parametrize(
    "connection",
    [
        "PG:host=/nowhere dbname=x password=hunter2",
        "postgresql://me:hunter2@localhost:1/x",
        "pg:host=/nowhere dbname=x password='hunter2 x'",
        "PG:dbname=x nonsense=hunter2x password=hunter2",
    ],
)
def test_a_database_that_is_not_there_keeps_its_password(connection):
    with pytest.raises(VectorError, match="does not give its features") as error:
        read_layer(connection, layer="roofs", grid=GRID)
    assert "hunter2" not in str(error.value).replace("hunter2x", "") and "x" in str(error.value)


def test_without_psycopg_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r"georefer\[postgis\]"):
        layers("PG:dbname=x")

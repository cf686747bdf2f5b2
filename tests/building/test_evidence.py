"""Headings and lines from attributes and layers become relations on the ground."""

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from georefer.building.evidence import EvidenceSettings, LineSettings, relations_of
from georefer.building.relations import RelationSettings
from georefer.errors import ConfigError
from georefer.geometry import GeoGrid, Objects
from georefer.imagery.write import write_layers

GRIDS = {
    "metres": GeoGrid(CRS("EPSG:32631"), Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000), 800, 800),
    # pixels are half as wide as high on the ground here, and north is up all the same
    "degrees": GeoGrid(CRS("EPSG:4326"), Affine(4e-6, 0, 3.0, 0, -4e-6, 60.0), 800, 800),
    # the picture's x axis points south
    "turned": GeoGrid(CRS("EPSG:32631"), Affine(0, -0.5, 500_400, -0.5, 0, 5_000_000), 800, 800),
}


def scene(grid, compass):
    """A ship 40 m north of a dock, pointing as it says."""
    size = np.array(grid.pixel_size_m)
    turned = grid.transform.b != 0
    down = np.array([1, 0]) if turned else np.array([0, 1])
    ship, dock = (np.array([400.0, 400.0]) + down * metres / size for metres in (0, 50))
    half = [np.array([2, 4]) / size, np.array([40, 8]) / size]
    half = [h[::-1] * size[::-1] / size if turned else h for h in half]
    boxes = [shapely.box(*(c - h), *(c + h)) for c, h in zip((ship, dock), half, strict=True)]
    return Objects.of(boxes, ["ship", "dock"], ids=["s", "d"], attributes=[{"bow": compass}, {}])


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize(
    "compass, predicate",
    [(180, "approach"), ("180", "approach"), (0, "away from"), (90, None), (185, "approach"), (355, "away from")],
)
def test_compass_headings_are_directions_on_the_image(grid, compass, predicate):
    evidence = EvidenceSettings(heading_from="bow")
    found = relations_of(scene(grid, compass), grid, RelationSettings(), evidence).tile(["s", "d"])
    said = {r.predicate for r in found if r.predicate in ("approach", "away from")}
    assert said == ({predicate} if predicate else set())


def test_without_headings_nothing_is_said_of_directions():
    found = relations_of(scene(GRIDS["metres"], 180), GRIDS["metres"], RelationSettings(), EvidenceSettings())
    assert not {r.predicate for r in found.tile(["s", "d"])} & {"approach", "away from"}


def test_power_lines_of_a_layer_connect_towers(tmp_path):
    grid = GRIDS["metres"]
    towers = [shapely.box(x, 98, x + 4, 102) for x in (50, 150, 250)]
    objects = Objects.of(towers, ["power tower"] * 3, ids=["a", "b", "c"])
    line = grid.geometry_to_world(shapely.LineString([(40, 100), (270, 100)]))
    write_layers(tmp_path / "net.gpkg", {"lines": geopandas.GeoDataFrame(geometry=[line], crs=grid.crs)})
    evidence = EvidenceSettings(power_lines=LineSettings(tmp_path / "net.gpkg", "lines"))
    with_lines = relations_of(objects, grid, RelationSettings(), evidence).tile(["a", "b", "c"])
    without = relations_of(objects, grid, RelationSettings(), EvidenceSettings()).tile(["a", "b", "c"])
    assert len(with_lines) > len(without) == 0
    assert all(r.evidence for r in with_lines)


@pytest.mark.parametrize(
    "grid, evidence, message",
    [
        (GRIDS["metres"], EvidenceSettings(heading_from="course"), "no object has a number as its attribute course"),
        (GeoGrid.none(800, 800), EvidenceSettings(), "measured in metres"),
    ],
)
def test_what_cannot_be_measured_is_refused(grid, evidence, message):
    with pytest.raises(ConfigError, match=message):
        relations_of(scene(GRIDS["metres"], 0), grid, RelationSettings(), evidence)

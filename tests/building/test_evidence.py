"""Headings and lines from attributes and layers become relations on the ground."""

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from georefer.building.evidence import EvidenceSettings, LineSettings, relations_of
from georefer.building.features import read_features
from georefer.building.layers import LayerSettings
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


def test_a_bent_road_is_its_line_and_not_the_area_of_its_width(tmp_path):
    """By its area an L runs along what lies beside its longer arm, and no end of it lies at another road."""
    grid = GRIDS["metres"]
    bent = shapely.LineString([(10, 10), (60, 10), (60, 30)])
    others = [shapely.LineString([(14, 20), (56, 20)]), shapely.LineString([(60, 30), (60, 90)])]
    shapes_N = grid.geometry_to_world(np.array([bent, *others], dtype=object))
    write_layers(tmp_path / "net.gpkg", {"roads": geopandas.GeoDataFrame({"id": list("abc")}, geometry=shapes_N,
                                                                          crs=grid.crs)})  # fmt: skip
    found = read_features([LayerSettings(tmp_path / "net.gpkg", label="road", buffer_m=1.0)], grid)
    for some in (found, found.in_memory()):  # on disk, and one of many small areas
        assert shapely.equals_exact(some.drawn_N, [bent, *others], 1e-6).all()
        near = some.near(np.array([[50, 60, 70, 62]]))  # what a part of the chips gets
        assert near.objects.ids_N.tolist() == ["0/c"] and shapely.equals_exact(near.drawn_N, others[1:], 1e-6).all()
        assert (shapely.get_dimensions(some.objects.geometries_N) == 2).all()

    def said(drawn_N):
        told = relations_of(found.objects, grid, RelationSettings(), EvidenceSettings(), drawn_N)
        return {(r.subject[-1], r.predicate, r.object[-1]) for r in told.tile(found.objects.ids_N)}

    assert ("a", "connect", "c") in said(found.drawn_N) and ("a", "connect", "c") not in said(None)
    assert ("a", "run along", "b") not in said(found.drawn_N) and ("a", "run along", "b") in said(None)


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

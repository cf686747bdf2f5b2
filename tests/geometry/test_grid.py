import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from georefer.geometry import GeoGrid, Objects, Window, turn_image

LAMBERT = GeoGrid(CRS("EPSG:2154"), Affine(0.2, 0, 650_000, 0, -0.2, 6_860_000), 500, 400)
# Banepa's tiles: degrees, and not the same number of them along x and y
NEPAL = GeoGrid(CRS("EPSG:4326"), Affine(1.341e-6, 0, 85.52, 0, -1.188e-6, 27.63), 512, 512)
MERCATOR = GeoGrid(CRS("EPSG:3857"), Affine(0.5972, 0, 3_600_000, 0, -0.5972, 6_000_000), 256, 256)
US_FEET = GeoGrid(CRS("EPSG:2263"), Affine(1, 0, 1_000_000, 0, -1, 200_000), 100, 100)


@pytest.mark.parametrize("grid", [LAMBERT, NEPAL, MERCATOR, US_FEET, GeoGrid.none(30, 20)])
def test_pixel_to_world_and_back(grid):
    xy = np.array([[0, 0], [1.5, 2.25], [grid.width, grid.height]])
    assert np.allclose(grid.world_to_pixel(grid.pixel_to_world(xy)), xy, atol=1e-5)


@pytest.mark.parametrize(
    "grid, gsd_m",
    [
        (LAMBERT, 0.2),  # the projection's scale factor stays below 0.1 %
        (NEPAL, 0.132),  # degrees measured on the ellipsoid, both axes
        (MERCATOR, 0.5972 * np.cos(np.radians(47.4))),  # web Mercator stretches with latitude
        (US_FEET, 0.3048),  # the unit is a foot
    ],
)
def test_gsd_is_in_metres_on_the_ground(grid, gsd_m):
    assert grid.gsd_m == pytest.approx(gsd_m, rel=0.01)


def test_a_grid_without_crs_claims_no_metres():
    grid = GeoGrid.none(10, 10)
    assert grid.gsd_m is None and not grid.is_georeferenced
    with pytest.raises(ValueError, match="without CRS"):
        grid.pixel_to_lonlat(np.zeros((1, 2)))


def test_lonlat_is_in_that_order():
    lon, lat = NEPAL.pixel_to_lonlat(np.array([[0.0, 0.0]]))[0]
    assert (lon, lat) == pytest.approx((85.52, 27.63))


def test_crop_and_resize_keep_the_ground():
    part = LAMBERT.crop(Window(100, 50, 200, 100)).resize(50, 25)
    assert np.allclose(part.pixel_to_world([[0, 0], [50, 25]]), LAMBERT.pixel_to_world([[100, 50], [300, 150]]))
    assert part.gsd_m == pytest.approx(0.8, rel=0.01)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_turned_pixels_objects_and_grid_stay_together(quarters, mirror):
    image = np.arange(60).reshape(6, 10, 1)
    grid = GeoGrid(CRS("EPSG:2154"), Affine(0.5, 0, 1000, 0, -0.5, 2000), 10, 6)
    spot = Objects.of([shapely.box(2, 1, 3, 2)], ["x"])  # exactly the pixel of column 2, row 1
    turned, moved = turn_image(image, quarters, mirror), spot.turn(10, 6, quarters, mirror)
    x1, y1, x2, y2 = moved.hbb_N4[0]
    assert turned[round(y1) : round(y2), round(x1) : round(x2)].ravel().tolist() == [image[1, 2, 0]]
    turned_grid = grid.turn(quarters, mirror)
    assert (turned_grid.height, turned_grid.width) == turned.shape[:2]
    assert turned_grid.geometry_to_world(moved.geometries_N[0]).equals(grid.geometry_to_world(spot.geometries_N[0]))


def test_footprint_is_the_outline_in_the_crs():
    assert LAMBERT.footprint.bounds == pytest.approx((650_000, 6_859_920, 650_100, 6_860_000))

"""The offset between labels and imagery: known shifts are found, and nothing is said where nothing can be known."""

import json
import re

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from georefer.building.registration import RegionOffset, RegistrationSettings, estimate_offsets, region_windows
from georefer.building.registration_report import describe, picture, summary
from georefer.building.synthetic import synthesize
from georefer.geometry import GeoGrid, Window
from georefer.imagery.raster import open_imagery
from georefer.imagery.vector import read_layer
from georefer.imagery.write import write_raster

# images without a place on the ground are a case here, not an accident
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SETTINGS = RegistrationSettings(region_m=100, max_shift_m=6)


def moved(shapes_N, right, down):
    return shapely.transform(shapes_N, lambda xy: xy + np.array((right, down)))


def layer_of(imagery, path, layer=None):
    frame = read_layer(path, layer=layer, grid=imagery.grid).frame
    return imagery.grid.geometry_to_pixel(np.asarray(frame.geometry.values, dtype=object))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A synthetic area of 205 m and its buildings in pixels."""
    area = synthesize(tmp_path_factory.mktemp("synthetic") / "area", seed=3, size=1024, gsd_m=0.2)
    imagery = open_imagery(area.image)
    return imagery, layer_of(imagery, area.layers, "buildings")


@pytest.mark.parametrize(
    "shift",
    [
        (0, 0),  # true to the pixel
        (9, -5),  # 1.8 m and 1 m
        (-3.4, 12.6),  # between pixels
        (-22, 18),  # 5.7 m, near the end of the search
    ],
)
def test_a_known_shift_of_synthetic_labels_is_found_within_a_pixel(place, shift):
    imagery, buildings_N = place
    found = estimate_offsets(imagery, moved(buildings_N, *shift), SETTINGS)
    known = [o for o in found if o.shift_px is not None]
    assert known
    for offset in known:
        assert np.abs(np.add(offset.shift_px, shift)).max() < 1, offset
        # a pixel has 0.2 m; the rows of this projection lie some degrees off true east
        assert offset.shift_m == pytest.approx((offset.shift_px[0] * 0.2, -offset.shift_px[1] * 0.2), abs=0.3)
        assert offset.length_m == pytest.approx(0.2 * np.hypot(*offset.shift_px), rel=0.01)
        assert offset.reason == "" and offset.agreement >= 0.8


def test_labels_that_have_nothing_to_do_with_the_imagery_get_no_estimate(place):
    imagery, buildings_N = place
    rng = np.random.default_rng(0)
    turn = np.array([[0.8, 0.6], [-0.6, 0.8]])
    turned = [shapely.transform(b, lambda xy: (xy - xy.mean(0)) @ turn + rng.uniform(50, 950, 2)) for b in buildings_N]
    found = estimate_offsets(imagery, np.array(turned), SETTINGS)
    assert len(found) == 4 and all(o.shift_px is None and o.reason for o in found)


def drawn(folder, boxes, *, side=300, grid=None, noise=0.0):
    """An image with grey rectangles, opened."""
    image = np.full((side, side, 3), 90, dtype=np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 180
    image = np.clip(image + np.random.default_rng(0).normal(0, noise, image.shape), 0, 255).astype(np.uint8)
    write_raster(folder / "image.tif", grid or GeoGrid.none(side, side), 3, "uint8", [(0, 0, image)], overviews=False)
    return open_imagery(folder / "image.tif")


def scattered(count=12, side=300):
    """Boxes that do not touch, in no regular order."""
    rng = np.random.default_rng(1)
    cells = [(x, y) for x in range(20, side - 60, 60) for y in range(20, side - 60, 60)]
    chosen = rng.permutation(cells)[:count]
    return [(x + a, y + b, x + a + c, y + b + d) for (x, y), (a, b, c, d) in zip(
        chosen.tolist(), rng.integers((0, 0, 14, 14), (12, 12, 30, 30), (count, 4)).tolist(), strict=True)]  # fmt: skip


SMALL = RegistrationSettings(region_m=300, max_shift_m=12)


@pytest.mark.parametrize(
    ("boxes", "noise", "labels", "reason"),
    [
        (scattered(), 2, scattered()[:7], "too few features"),
        ([], 0, scattered(), "too little texture"),  # a flat image
        ([], 1, scattered(), "too little texture|do not agree|as well"),  # only the sensor's noise
        (scattered(), 2, [(x + 60, y, z + 60, w) for x, y, z, w in scattered()], "edge|agree|as well"),  # out of reach
        (
            [(x, 0, x + 5, 300) for x in range(0, 300, 10)],
            2,
            [(x, 40, x + 5, 200) for x in range(60, 220, 20)],
            "as well|agree|edge",
        ),  # stripes fit wherever they are moved by their distance
    ],
)
def test_where_nothing_can_be_known_it_says_why(tmp_path, boxes, noise, labels, reason):
    imagery = drawn(tmp_path, boxes, noise=noise)
    (found,) = estimate_offsets(imagery, shapely.box(*np.array(labels, dtype=float).T), SMALL)
    assert found.shift_px is None and found.shift_m is None and found.length_m is None
    assert re.search(reason, found.reason)


def test_one_feature_beside_its_place_is_named(tmp_path):
    boxes = scattered(16)
    shapes_N = shapely.box(*np.array(boxes, dtype=float).T)
    shapes_N[5] = moved(shapes_N[5], 8, -6)
    (found,) = estimate_offsets(drawn(tmp_path, boxes, noise=3), moved(shapes_N, 2, 1), SMALL)
    assert found.shift_px == pytest.approx((-2, -1), abs=0.5)
    (beside,) = found.beside
    assert beside.index == 5
    assert beside.shift_px == pytest.approx((-10, 5), abs=1)


def test_a_roof_that_is_gone_is_not_sought_on_its_neighbour(tmp_path):
    """Two alike: without a label of its own, the one that stands would be the place of the one that does not."""
    standing, gone = (100, 100, 124, 118), (128, 100, 152, 118)
    boxes = [b for b in scattered(16) if shapely.box(*b).distance(shapely.box(100, 100, 152, 118)) > 6]
    imagery = drawn(tmp_path, [*boxes, standing], noise=3)
    settings = RegistrationSettings(region_m=300, max_shift_m=30)
    labels_N = shapely.box(*np.array([*boxes, gone], dtype=float).T)
    (alone,) = estimate_offsets(imagery, labels_N, settings)
    assert [(b.index, b.shift_px) for b in alone.beside] == [(len(boxes), pytest.approx((-28, 0), abs=1))]
    (both,) = estimate_offsets(imagery, np.append(labels_N, shapely.box(*standing)), settings)
    assert both.beside == ()


def test_long_searches_use_a_coarser_scale(tmp_path):
    boxes = [(3 * x1, 3 * y1, 3 * x2, 3 * y2) for x1, y1, x2, y2 in scattered()]
    imagery = drawn(tmp_path, boxes, side=900, noise=3)
    shapes_N = moved(shapely.box(*np.array(boxes, dtype=float).T), -50, 31)
    (found,) = estimate_offsets(imagery, shapes_N, RegistrationSettings(region_m=900, max_shift_m=90))
    assert found.shift_px == pytest.approx((50, -31), abs=1.5)  # half a pixel of the coarser scale


def test_east_and_north_are_of_the_ground_whatever_way_the_image_lies(tmp_path):
    # the first column runs north to south: x of the image is south, y is west
    turned = GeoGrid(CRS("EPSG:32633"), Affine(0, -0.5, 500_000, -0.5, 0, 5_000_000), 300, 300)
    boxes = scattered()
    imagery = drawn(tmp_path, boxes, grid=turned, noise=3)
    settings = RegistrationSettings(region_m=150, max_shift_m=6)
    (found,) = estimate_offsets(imagery, moved(shapely.box(*np.array(boxes, dtype=float).T), 4, 0), settings)
    assert found.shift_px == pytest.approx((-4, 0), abs=0.3)
    assert found.shift_m == pytest.approx((0, 2), abs=0.15)
    assert found.length_m == pytest.approx(2, abs=0.15)


def test_points_empty_shapes_and_what_lies_outside_are_left_out(tmp_path):
    boxes = scattered()
    shapes_N = np.array([*shapely.box(*np.array(boxes, dtype=float).T), shapely.Point(9, 9), shapely.Polygon(),
                         shapely.box(-500, -500, -400, -400), shapely.LineString([(0, 0), (300, 0)])])  # fmt: skip
    (found,) = estimate_offsets(drawn(tmp_path, boxes, noise=3), shapes_N, SMALL)
    assert found.features == 12 and found.shift_px == pytest.approx((0, 0), abs=0.3)
    assert estimate_offsets(open_imagery(tmp_path / "image.tif"), np.array([], dtype=object), SMALL) == []


def test_the_report_is_json_a_sentence_and_a_picture(place):
    imagery, buildings_N = place
    shapes_N = moved(buildings_N, 10, 0)
    found = [*estimate_offsets(imagery, shapes_N, SETTINGS),
             RegionOffset(Window(0, 0, 99, 99), 1, None, None, np.nan, np.nan, "too few features")]  # fmt: skip
    values = json.loads(json.dumps(describe(found), allow_nan=False))
    assert values["median_east_north_m"] == pytest.approx([-2, 0], abs=0.2)
    assert values["regions"] == len(values["by_region"]) == len(found) > values["estimated"] > 0
    assert values["by_region"][-1]["reason"] == "too few features" and values["by_region"][-1]["agreement"] is None
    assert re.search(r"2\.0\d m .*-[12]\.\d+ m east", summary(found)) and "Nothing was moved" in summary(found)
    assert "no estimate" in summary(found[-1:])
    shown = picture(imagery, shapes_N, found, 512)
    assert shown.shape == (512, 512, 3) and shown.dtype == np.uint8
    assert (shown == (255, 70, 70)).all(axis=2).sum() > 50  # red arrows
    assert (picture(imagery, buildings_N, [], 512) == (255, 70, 70)).all(axis=2).sum() == 0


def test_the_same_input_gives_the_same_estimate(place):
    imagery, buildings_N = place
    assert estimate_offsets(imagery, buildings_N, SETTINGS) == estimate_offsets(imagery, buildings_N, SETTINGS)


@pytest.mark.parametrize(
    ("side_px", "most", "count"),
    [
        (250, 400, 4),  # all of them, of a size that fills the area
        (2000, 400, 400),  # as many as there may be
        (2100, 400, 400),  # of 441
        (60_000, 400, 400),  # of a country
        (1000, 7, 7),
        (1000, 1, 1),
    ],
)
def test_of_many_regions_so_many_are_looked_at_spread_over_the_area(side_px, most, count):
    grid = GeoGrid(CRS("EPSG:32631"), Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000), side_px, side_px)
    settings = RegistrationSettings(region_m=50, most_regions=most)
    assert RegistrationSettings().most_regions == 400
    windows = region_windows(grid, settings)
    boxes_N4 = np.array([window.box for window in windows])
    assert len(windows) == len({tuple(box) for box in boxes_N4.tolist()}) == count
    assert boxes_N4.min() >= 0 and boxes_N4.max() <= side_px
    assert all(90 <= side <= 126 for window in windows for side in (window.width, window.height))
    if (side_px // 100) ** 2 <= most:
        assert sum(window.width * window.height for window in windows) == side_px**2
    elif most > 100:  # every quarter has its share
        right_N, low_N = (boxes_N4[:, :2] >= side_px / 2).T
        for quarter_N in (right_N & low_N, right_N & ~low_N, ~right_N & low_N, ~right_N & ~low_N):
            assert 0.2 < quarter_N.mean() < 0.3


def test_only_the_regions_asked_for_are_looked_at(tmp_path):
    boxes = scattered()
    imagery, shapes_N = drawn(tmp_path, boxes, noise=3), shapely.box(*np.array(boxes, dtype=float).T)
    settings = RegistrationSettings(region_m=75, max_shift_m=12, min_features=2, most_regions=3)
    windows = region_windows(imagery.grid, settings)
    own = estimate_offsets(imagery, shapes_N, settings)
    assert 1 <= len(own) <= 3 and {o.window for o in own} <= set(windows)
    assert [o.window for o in estimate_offsets(imagery, shapes_N, settings, windows[:1])] == windows[:1]


@pytest.mark.parametrize(
    "values", [{"region_m": 0}, {"region_m": 10, "max_shift_m": 8}, {"min_features": 1}, {"max_features": 3}]
)
def test_settings_that_cannot_be_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        RegistrationSettings(**values)


# --- real places --------------------------------------------------------------------------------------------


def web_tiles(shared_data, name):
    folder = shared_data / "oam-osm-buildings" / name
    imagery = open_imagery(folder / "*-19.png")
    return imagery, layer_of(imagery, folder / "labels.geojson")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("kampala", set()),
        # two foundations so overgrown that they show less than the field's furrows; both lie where they are drawn
        ("zanzibar", {22, 128}),
    ],
)
def test_osm_buildings_lie_on_the_web_tiles_they_were_drawn_from(shared_data, name, listed):
    imagery, buildings_N = web_tiles(shared_data, name)
    known = [o for o in estimate_offsets(imagery, buildings_N) if o.length_m is not None]
    assert len(known) >= 5 and max(o.length_m for o in known) < 0.3
    assert {b.index for o in known for b in o.beside} <= listed


@pytest.mark.shared
def test_a_shifted_part_of_a_real_map_is_found(shared_data):
    """The south of Zanzibar's labels 3 m east and 2 m south of their roofs; the north as it is."""
    imagery, buildings_N = web_tiles(shared_data, "zanzibar")
    pixel_m = imagery.grid.pixel_size_m[0]
    is_south_N = shapely.get_coordinates(shapely.centroid(buildings_N))[:, 1] > 5000
    right_down = np.array((3, 2)) / pixel_m
    shapes_N = np.where(is_south_N, moved(buildings_N, *right_down), buildings_N)
    known = [o for o in estimate_offsets(imagery, shapes_N) if o.shift_m is not None]
    south = [o.shift_m for o in known if o.window.y > 5000]
    assert len(south) == 4 and np.abs(np.array(south) - (-3, 2)).max() < 0.3
    assert max(o.length_m for o in known if o.window.y < 5000) < 0.3


@pytest.mark.shared
def test_single_shifted_buildings_of_a_real_map_are_named(shared_data):
    """A tenth of the labels beside their roofs: most are found, each with the way back."""
    imagery, buildings_N = web_tiles(shared_data, "zanzibar")
    right_down = np.array((3, 2)) / imagery.grid.pixel_size_m[0]
    chosen = np.random.default_rng(0).choice(len(buildings_N), 20, replace=False)
    shapes_N = buildings_N.copy()
    shapes_N[chosen] = moved(buildings_N[chosen], *right_down)
    beside = {b.index: b.shift_px for o in estimate_offsets(imagery, shapes_N) for b in o.beside}
    found = set(beside) & set(chosen.tolist())
    assert len(found) >= 12 and set(beside) - found <= {22, 128}
    assert all(np.abs(beside[i] + right_down).max() < 3 for i in found)


@pytest.mark.shared
def test_off_nadir_outlines_lie_beside_the_roofs(shared_data):
    folder = shared_data / "spacenet-samples" / "atlanta-buildings"
    imagery = open_imagery(folder / "sample_geotiff.tif", bands=(1,))
    outlines_N = layer_of(imagery, folder / "geotiff_labels.geojson")
    known = [o for o in estimate_offsets(imagery, outlines_N, RegistrationSettings(region_m=225)) if o.shift_m]
    assert len(known) == 3
    for offset in known:
        assert 0.6 < offset.length_m < 1.5 and offset.shift_m[0] < -0.5 and offset.shift_m[1] < -0.2

"""Outlines beside the image's edges move onto them, and no others do."""

import cv2
import geopandas
import numpy as np
import pytest
import shapely
from shapely import affinity

from georefer.building.synthetic import synthesize
from georefer.geometry import HBB, OBB, Objects, Window, polygon_iou
from georefer.imagery.raster import open_imagery
from georefer.inference.snapping import SnapRefiner, SnapSettings

SNAP = SnapRefiner()
HOUSE = OBB(60, 55, 50, 30, 25).to_polygon()
ELL = shapely.Polygon([(20, 20), (80, 20), (80, 45), (50, 45), (50, 85), (20, 85)])
YARD = shapely.Polygon(shapely.box(20, 20, 90, 90).exterior, [shapely.box(40, 40, 70, 70).exterior])
CIRCLE = shapely.Point(60, 60).buffer(30)
PAIR = shapely.union_all([shapely.box(10, 15, 50, 60), shapely.box(60, 30, 100, 95)])


def painted(shape, size=(120, 120), noise=6.0):
    """A picture of a bright shape on dark ground, edges soft over a pixel, with grain."""
    scale = 8
    fine = np.full((size[1] * scale, size[0] * scale, 3), (70, 90, 60), np.uint8)
    for part in shapely.get_parts(shape):
        rings = [np.rint(np.asarray(r.coords) * scale - 0.5).astype(np.int32) for r in (part.exterior, *part.interiors)]
        cv2.fillPoly(fine, rings, (190, 170, 160))
    image_HW3 = cv2.resize(fine, size, interpolation=cv2.INTER_AREA).astype(float)
    grain = np.random.default_rng(0).normal(0, noise, image_HW3.shape)
    return (image_HW3 + grain).clip(0, 255).astype(np.uint8)


def snapped(image_HW3, shape, kind="polygon", snap=SNAP):
    found = snap(image_HW3, Objects.of([shape], ["house"], kind=kind))
    return found.geometries_N[0], found.attributes_N[0]


def iou(one, other):
    return float(polygon_iou(np.array([one]), np.array([other]))[0, 0])


@pytest.mark.parametrize("shift", [(3, 0), (-2, 2), (0, -4), (2.5, -1.5), (-3, -2.5)])
@pytest.mark.parametrize(
    ("truth", "kind"),
    [
        (HOUSE, "polygon"),
        (HOUSE, "obb"),
        (shapely.box(30, 40, 90, 85), "polygon"),
        (ELL, "polygon"),
        (YARD, "polygon"),  # the ring of the hole moves too
        (PAIR, "polygon"),  # two parts
    ],
)
def test_a_shifted_outline_moves_back(truth, kind, shift):
    start = affinity.translate(truth, *shift)
    found, attributes = snapped(painted(truth), start, kind)
    assert attributes["refined_by"] == "snap"
    assert attributes["support"][1] > 1.4 * attributes["support"][0]
    assert iou(found, truth) > 0.97 > iou(start, truth)


def test_a_box_needs_more_than_an_outline():
    """Sides of a box lie on edges only where the thing is upright; all four must be off and come right."""
    truth, image_HW3 = shapely.box(30, 40, 90, 85), painted(shapely.box(30, 40, 90, 85))
    found, attributes = snapped(image_HW3, affinity.translate(truth, 3, -3), "hbb")
    assert attributes["refined_by"] == "snap"
    assert iou(found, truth) > 0.97
    assert "kept_because" in snapped(image_HW3, affinity.translate(truth, 3, 0), "hbb")[1]
    around = shapely.box(*HOUSE.bounds)
    for way in [(3, -3), (-2, 3), (4, 0)]:  # a turned house touches its box in four points
        assert "kept_because" in snapped(painted(HOUSE), affinity.translate(around, *way), "hbb")[1]


def test_an_outline_of_short_edges_moves_as_a_whole():
    start = affinity.translate(CIRCLE, 3, -2)
    found, _ = snapped(painted(CIRCLE), start)
    shift_C2 = shapely.get_coordinates(found) - shapely.get_coordinates(start)
    assert np.allclose(shift_C2, (-3, 2), atol=0.6)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (HBB(27, 42, 92, 82).to_polygon(), "hbb"),  # each side off by another amount
        (OBB(62, 56, 47, 34, 25).to_polygon(), "obb"),
        (affinity.translate(ELL.buffer(1.4, join_style="mitre"), 2, -1.5), "polygon"),
    ],
)
def test_every_edge_moves_by_itself(start, kind):
    truth = {"hbb": shapely.box(30, 40, 90, 85), "obb": HOUSE, "polygon": ELL}[kind]
    found, _ = snapped(painted(truth), start, kind)
    assert iou(found, truth) > max(0.945, iou(start, truth) + 0.05)


def test_boxes_stay_boxes():
    upright, _ = snapped(painted(shapely.box(30, 40, 90, 85)), shapely.box(27, 37, 87, 82), "hbb")
    assert upright.equals_exact(shapely.box(*upright.bounds), 1e-6)
    front_left = OBB(62, 57, 50, 30, 205).to_polygon()  # heading the other way: the first corner says so
    turned, _ = snapped(painted(HOUSE), front_left, "obb")
    box = OBB.from_polygon(turned)
    assert box.heading_deg == pytest.approx(205, abs=1e-4)
    assert turned.equals_exact(box.to_polygon(), 1e-4)


def test_a_right_outline_stays():
    for truth in (HOUSE, ELL, YARD):
        found, attributes = snapped(painted(truth), truth)
        assert found is truth
        assert "clearly better" in attributes["kept_because"]


def test_nothing_moves_where_there_is_no_edge():
    for image_HW3 in (np.full((120, 120, 3), 128, np.uint8), painted(HOUSE, noise=0)[::-1].copy() // 60 * 10):
        found, attributes = snapped(image_HW3, shapely.box(80, 3, 110, 20))
        assert "no edge" in attributes["kept_because"]
        assert found.equals(shapely.box(80, 3, 110, 20))


def test_no_corner_moves_beyond_reach():
    """Whatever the image shows and however little is asked of a move."""
    rng = np.random.default_rng(5)
    greedy = SnapSettings(reach_px=3, bend_px=9, least_gain=0, least_box_gain=0, least_support=0, cost=0)
    image_HW3 = cv2.GaussianBlur(rng.integers(0, 256, (120, 120, 3), dtype=np.uint8), (0, 0), 1)
    taken = 0
    for kind, shape in [("polygon", HOUSE), ("obb", HOUSE), ("hbb", shapely.box(20, 20, 60, 90)), ("polygon", ELL),
                        ("polygon", YARD), ("polygon", CIRCLE)]:  # fmt: skip
        found, attributes = snapped(image_HW3, shape, kind, SnapRefiner(greedy))
        far = np.hypot(*(shapely.get_coordinates(found) - shapely.get_coordinates(shape)).T)
        taken += "refined_by" in attributes
        assert far.max() <= 3 + 1e-6
        assert found.is_valid
    assert taken >= 4


def test_edges_along_the_border_of_the_image_stay():
    """A window has cut the house: its left side is the window's, not the house's."""
    truth = shapely.box(0, 30, 60, 90)
    found, attributes = snapped(painted(truth), shapely.box(0, 33, 63, 93))
    assert attributes["refined_by"] == "snap"
    assert found.bounds[0] == 0
    assert iou(found, truth) > 0.97
    whole, attributes = snapped(painted(truth), shapely.box(0, 0, 120, 120))
    assert "cuts it all around" in attributes["kept_because"]
    assert whole.equals(shapely.box(0, 0, 120, 120))


def test_what_has_no_straight_edges_is_kept():
    ragged = shapely.Point(60, 60).buffer(30, quad_segs=300)
    shapes = [HOUSE, shapely.Point(3, 3), shapely.LineString([(0, 0), (9, 9)]), ragged, shapely.Polygon()]
    kinds = ["mask", "point", "line", "polygon", "polygon"]
    objects = Objects.of(shapes, ["a"] * 5, kind=kinds, scores=[0.1, 0.2, 0.3, 0.4, 0.5])
    found = SNAP(painted(HOUSE), objects)
    assert all("kept_because" in a for a in found.attributes_N)
    assert list(found.geometries_N) == shapes
    assert list(found.kinds_N) == kinds
    assert np.array_equal(found.scores_N, objects.scores_N)
    assert len(SNAP(painted(HOUSE), Objects.none())) == 0


def test_settings_out_of_range_are_refused():
    for wrong in ({"reach_px": 0}, {"reach_px": 100}, {"cost": -1}, {"blur_px": 0}):
        with pytest.raises(ValueError, match="out of range"):
            SnapSettings(**wrong)


def test_buildings_of_a_synthetic_area_move_back(tmp_path):
    """Shifted by 2 to 4 pixels in any direction: more than two thirds of what is missing to the truth is won."""
    area = synthesize(tmp_path / "area", seed=3, size=768, gsd_m=0.3)
    with open_imagery([area.image]) as imagery:
        image_HW3, grid = imagery.read(Window(0, 0, 768, 768)).image_HW3, imagery.grid
    truth_N = grid.geometry_to_pixel(geopandas.read_file(area.layers, layer="buildings").geometry.to_numpy())
    bounds_N4 = shapely.bounds(truth_N)
    truth_N = truth_N[(bounds_N4 > 8).all(axis=1) & (bounds_N4 < 760).all(axis=1)]
    rng = np.random.default_rng(0)
    ways_N, far_N = rng.uniform(0, 2 * np.pi, len(truth_N)), rng.uniform(2, 4, len(truth_N))
    moved = [
        affinity.translate(shape, far * np.cos(way), far * np.sin(way))
        for shape, way, far in zip(truth_N, ways_N, far_N, strict=True)
    ]
    found = SNAP(image_HW3, Objects.of(moved, ["building"] * len(moved)))
    before, after = (np.mean(list(map(iou, truth_N, some))) for some in (moved, found.geometries_N))
    right = SNAP(image_HW3, Objects.of(truth_N, ["building"] * len(moved)))
    print(f"{len(moved)} buildings: mean IoU {before:.3f} shifted, {after:.3f} snapped")
    assert len(moved) >= 10
    assert 1 - after < (1 - before) / 3
    assert np.mean(list(map(iou, truth_N, right.geometries_N))) > 0.99

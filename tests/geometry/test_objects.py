import numpy as np
import pytest
import shapely

from georefer.geometry import HBB, OBB, Objects, Window

THREE = Objects.of(
    [shapely.box(0, 0, 10, 5), shapely.Polygon([(0, 0), (8, 0), (0, 8)]), shapely.box(5, 5, 9, 9)],
    ["building", "pond", "building"],
    kind=["hbb", "polygon", "hbb"],
    ids=["a", "b", "c"],
    scores=[0.9, None, 0.2],
    attributes=[{"roof": "red"}, {}, {}],
)


def test_objects_filter_like_an_array():
    assert list(THREE[THREE.labels_N == "building"].ids_N) == ["a", "c"]
    assert list(THREE[[2, 0]].ids_N) == ["c", "a"]
    assert list(THREE[1:].ids_N) == ["b", "c"]
    assert len(THREE[0]) == 1
    assert list(THREE.labelled("pond").ids_N) == ["b"]
    assert list(THREE.with_ids(["c", "a"]).ids_N) == ["c", "a"]


def test_iterating_gives_values_with_none_for_no_score():
    first, second, _ = THREE
    assert (first.id, first.score, first.attributes) == ("a", 0.9, {"roof": "red"})
    assert second.score is None


def test_transformations_return_new_values():
    moved = THREE.crop(Window(2, 3, 10, 10)).scale(2, 1)
    assert moved.hbb_N4[0].tolist() == [-4, -3, 16, 2]
    assert THREE.hbb_N4[0].tolist() == [0, 0, 10, 5]


def test_conversions_between_kinds():
    assert THREE.to_hbb().geometries_N[1].equals(shapely.box(0, 0, 8, 8))
    assert set(THREE.to_obb().kinds_N) == {"obb"}
    assert THREE.to_obb().geometries_N[1].area == pytest.approx(64)


def test_none_is_usable_everywhere():
    none = Objects.none()
    assert none.hbb_N4.shape == (0, 4) and len(none.to_hbb()) == 0 and len(none[[]]) == 0
    assert len(Objects.concat([none, THREE])) == 3


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"ids": ["a"]}, "lengths"),
        ({"ids": ["a", "a"]}, "unique"),
        ({"kind": "circle"}, "unknown kinds"),
    ],
)
def test_wrong_columns_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        Objects.of([shapely.box(0, 0, 1, 1)] * 2, ["x", "y"], **columns)


@pytest.mark.parametrize("heading_deg", [0, 30, 90, 135, 200, 359])
def test_an_obb_keeps_its_heading_through_its_polygon(heading_deg):
    box = OBB(5, 7, 4, 9, heading_deg)
    back = OBB.from_polygon(box.to_polygon())
    assert (back.cx, back.cy, back.length, back.width) == pytest.approx((5, 7, 4, 9))
    assert (back.heading_deg - heading_deg + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)


def test_heading_is_clockwise_on_the_screen():
    front_right, *_ = np.asarray(OBB(0, 0, 10, 2, 90).to_polygon().exterior.coords)
    assert front_right == pytest.approx([-1, 5])  # the front is at the bottom, its right-hand corner to the left


@pytest.mark.parametrize("heading_deg", [0, 17, 90, 163])
def test_the_obb_around_a_rotated_box_is_that_box(heading_deg):
    around = OBB.around(OBB(50, 40, 20, 6, heading_deg).to_polygon())
    assert (around.length, around.width) == pytest.approx((20, 6))
    assert (around.heading_deg - heading_deg + 90) % 180 - 90 == pytest.approx(0, abs=1e-6)


def test_the_obb_around_a_line_has_no_width():
    around = OBB.around(shapely.LineString([(0, 0), (3, 4)]))
    assert (around.length, around.width) == pytest.approx((5, 0), abs=1e-12)


def test_hbb_to_polygon():
    assert HBB(1, 2, 3, 4).to_polygon().bounds == (1, 2, 3, 4)


@pytest.mark.shared
def test_minimum_area_rectangles_equal_the_reference(golden):
    import gzip
    import json

    lines = gzip.decompress((golden / "geometry" / "min_area_rect.jsonl.gz").read_bytes()).splitlines()
    rows = [json.loads(line) for line in lines]
    checked = 0
    for row in rows:
        if row["short"] > 0:
            box = OBB.around(shapely.MultiPoint(row["points"]))
            assert box.length * box.width == pytest.approx(row["area"], rel=1e-9), row["id"]
            checked += 1
    assert checked > 400


def test_shapes_become_other_kinds():
    bow = shapely.Polygon([(0, 0), (30, 0), (30, 30), (20, 30), (20, 10), (10, 10), (10, 30), (0, 30)])
    shapes = Objects.of([bow, shapely.box(1, 1, 3.4, 3.6)], ["arch", "box"], kind=["polygon", "hbb"])
    points = shapes.to_point()
    assert list(points.kinds_N) == ["point", "point"]
    assert shapely.contains(shapes.geometries_N, points.geometries_N).all()  # an arch's centroid is outside it
    masks = shapes.to_mask(40, 40)
    assert list(masks.kinds_N) == ["mask", "mask"]
    assert [g.bounds for g in masks.geometries_N] == [(0, 0, 30, 30), (1, 1, 3, 4)]  # pixels with centres inside
    assert list(shapes.to_polygon().kinds_N) == ["polygon", "polygon"]
    with pytest.raises(ValueError, match="point objects have no area"):
        points.to_polygon()
    assert len(Objects.none().to_mask(5, 5)) == len(Objects.none().to_point()) == 0


def test_a_box_without_width_keeps_its_corners():
    flat = OBB(5, 5, 8, 0, 30).to_polygon()
    assert len(shapely.get_coordinates(flat)) == 5
    assert OBB.from_polygon(flat).length == pytest.approx(8)

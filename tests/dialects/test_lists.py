"""The dialects of flat bracket lists, our own and GroundSet's: repairs, labels, every kind of shape."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from georefer.dialects import DIALECTS
from georefer.dialects.georefer import GeoreferDialect
from georefer.geometry import OBB, Frame, Objects
from georefer.geometry.raster_grid import grid_to_geometry

FRAME = Frame.resize((640, 480), (336, 336))
OWN = DIALECTS["georefer"]

# one row per repair: the answer, the boxes read (in numbers of the frame), the problem named
REPAIRS = [
    ("[30, 40, 10, 20]", [[10, 20, 30, 40]], "swapped"),
    ("[10, 20, 30, 2000]", [[10, 20, 30, 1000]], "out-of-range"),
    ("[10.5, 20, 30, 40]", [[10.5, 20, 30, 40]], "not-integer"),
    ("[10, 20, 30, 40] [10, 20, 30, 40]", [[10, 20, 30, 40]], "duplicate"),
    ("[10, 20, 30, 40] [50, 60", [[10, 20, 30, 40]], "truncated"),
    ("[10, 20, 30, 40] [1, 2, 3]", [[10, 20, 30, 40]], "wrong-count"),
    ("[10, 20, 30, 40] [5, 5, 5, 9]", [[10, 20, 30, 40]], "empty-shape"),
    ("[10,20,30,40,]", [[10, 20, 30, 40]], "off-grammar"),
    ("[[10, 20, 30, 40]]", [[10, 20, 30, 40]], "off-grammar"),
]


@pytest.mark.parametrize("name", ["georefer", "groundset"])
@pytest.mark.parametrize("text, boxes, kind", REPAIRS, ids=[r[2] for r in REPAIRS])
def test_repairs_are_named_and_placed(name, text, boxes, kind):
    reading = DIALECTS[name].read(text, FRAME)
    assert np.allclose(reading.objects.hbb_N4, np.array(boxes) * np.tile(FRAME.step_px, 2))
    problem = next(p for p in reading.problems if p.kind == kind)
    assert text[problem.start : problem.end].startswith("[")


def test_a_label_is_said_once():
    objects = Objects.from_hbb(
        np.array([[0, 0, 64, 48], [64, 0, 128, 48], [0, 48, 64, 96]]), ["a b", "c, d (e)", "a b"]
    )
    text = OWN.write(objects, FRAME)
    assert text == "a b [0, 0, 100, 100] [0, 100, 100, 200]; c, d (e) [100, 0, 200, 100]"
    assert list(OWN.read(text, FRAME).objects.labels_N) == ["a b", "a b", "c, d (e)"]


def test_a_box_never_vanishes():
    speck = Objects.from_hbb(np.array([[639.9, 479.9, 640, 480]]), [""])
    assert OWN.write(speck, FRAME, labelled=False) == "[999, 999, 1000, 1000]"


@pytest.mark.parametrize("label", ["a]b", "x;y", " pad", "", "a{b"])
def test_labels_that_could_not_be_read_back_are_refused(label):
    with pytest.raises(ValueError, match="label"):
        OWN.write(Objects.from_hbb(np.array([[0, 0, 9, 9]]), [label]), FRAME)


ELL = (20, 13, 60, 16, 60, 53, 40, 53, 40, 80, 20, 80)
RINGS = {
    "georefer": f"{list(ELL)} -[24, 27, 34, 27, 30, 40]",
    "groundset": str(list(ELL)),
    "florence-2": f"<poly>{''.join(f'<loc_{n}>' for n in ELL)}</poly>",
    "rex-omni": "".join(f"<{n}>" for n in ELL),
}


@pytest.mark.parametrize("name", RINGS)
@pytest.mark.parametrize("turned", [1, -1], ids=["as drawn", "backwards"])
@pytest.mark.parametrize("first", range(6))
def test_an_outline_has_one_text(name, first, turned):
    """What its source began with, and which way round, is nothing that a model could learn from the image."""
    ell = np.array([(20.3, 13.2), (60.3, 16.2), (60.3, 53.2), (40.3, 53.2), (40.3, 80.2), (20.3, 80.2)])
    hole = np.array([(24.3, 27.2), (34.3, 27.2), (30.3, 40.2)])
    frame = Frame.resize((1000, 1000), (1000, 1000))
    drawn = shapely.Polygon(np.roll(ell, -first, axis=0)[::turned], [hole[::turned]])
    assert RINGS[name] in DIALECTS[name].write(Objects.of([drawn], ["x"]), frame, labelled=False)


def test_an_oriented_box_has_its_own_mark():
    box = Objects.of([OBB(320, 240, 100, 40, 210).to_polygon()], ["plane"], kind="obb")
    text = OWN.write(box, FRAME)
    assert text == "plane [500, 500, 156, 62 @ 210]"  # sides in numbers of the longer side, 0.64 px each
    back = OWN.read(text, FRAME).objects
    obb = OBB.from_polygon(back.geometries_N[0])
    assert (obb.cx, obb.cy, obb.heading_deg) == (320, 240, pytest.approx(210))
    assert (obb.length, obb.width) == (pytest.approx(99.84), pytest.approx(39.68))
    # five numbers without the mark are no oriented box: nothing is guessed
    assert [p.kind for p in OWN.read("[500, 500, 156, 62, 210]", FRAME).problems] == ["wrong-count"]


@given(
    st.floats(0.2, 0.8), st.floats(0.2, 0.8), st.floats(5, 200), st.floats(5, 200), st.floats(0, 359.99),
    st.tuples(st.integers(200, 3000), st.integers(200, 3000)),
)  # fmt: skip
def test_oriented_boxes_come_back_within_half_a_step(cx, cy, length, width, heading, size):
    frame = Frame.resize(size, size)
    obb = OBB(cx * size[0], cy * size[1], length, width, heading)
    said = OWN.write(Objects.of([obb.to_polygon()], ["x"], kind="obb"), frame)
    back = OBB.from_polygon(OWN.read(said, frame).objects.geometries_N[0])
    half_x, half_y = OWN.steps.error_px(frame)
    half = max(half_x, half_y) + 1e-6
    assert abs(back.cx - obb.cx) <= half_x + 1e-6 and abs(back.cy - obb.cy) <= half_y + 1e-6
    assert abs(back.length - length) <= half and abs(back.width - width) <= half
    assert abs((back.heading_deg - heading + 180) % 360 - 180) <= 0.5 + 1e-6


def test_holes_and_parts_have_marks():
    yard = shapely.box(64, 48, 320, 240).difference(shapely.box(128, 96, 192, 144))
    both = shapely.union_all([yard, shapely.box(448, 336, 512, 384)])
    text = OWN.write(Objects.of([both], ["block"]), FRAME)
    assert text.count("-[") == 1 and text.count("+[") == 1
    reading = OWN.read(text, FRAME)
    assert len(reading.objects) == 1 and not reading.problems
    assert reading.objects.geometries_N[0].symmetric_difference(both).area < 1e-6


def test_a_polygon_keeps_to_its_budget():
    disc = shapely.Point(320, 240).buffer(150, quad_segs=64)
    text = OWN.write(Objects.of([disc], ["tank"]), FRAME)
    assert text.count(",") <= 2 * 64
    back = OWN.read(text, FRAME).objects.geometries_N[0]
    assert back.intersection(disc).area / back.union(disc).area > 0.98
    crumbs = shapely.union_all(
        [shapely.box(i % 9 * 60, i // 9 * 60, i % 9 * 60 + 50, i // 9 * 60 + 50) for i in range(60)]
    )
    assert OWN.write(Objects.of([crumbs], ["crumbs"]), FRAME).count(",") <= 2 * 64


def test_a_polygon_never_vanishes():
    speck = shapely.Polygon([(100, 100), (100.1, 100), (100.1, 100.1)])
    reading = OWN.read(OWN.write(Objects.of([speck], ["x"]), FRAME), FRAME)
    assert list(reading.objects.kinds_N) == ["polygon"]


def test_groundset_floors_and_writes_rings():
    frame = Frame.resize((1000, 1000), (672, 672))
    ring = Objects.of([shapely.Polygon([(10.9, 10.9), (50, 10.9), (50, 60.2)])], ["Pond"])
    box = Objects.from_hbb(np.array([[0.99, 1.01, 999.99, 1000]]), ["Pond"])
    dialect = DIALECTS["groundset"]
    assert dialect.write(ring, frame) == "[10, 10, 50, 10, 50, 60]"
    assert dialect.write(box, frame) == "[0, 1, 999, 1000]"
    back = dialect.read("[10, 10, 50, 10, 50, 60], [0, 1, 999, 1000]", frame).objects
    assert list(back.kinds_N) == ["polygon", "hbb"]
    assert back.geometries_N[0].area == pytest.approx(1000)


def test_groundset_cannot_say_two_rings():
    two = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(5, 5, 6, 6)])
    with pytest.raises(ValueError, match="one ring"):
        DIALECTS["groundset"].write(Objects.of([two], ["x"]), FRAME)


# --- masks: a grid inside the box -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["georefer", "georefer-tokens"])
@pytest.mark.parametrize("cells", [8, 16, 32])
def test_a_mask_comes_back_cell_by_cell(name, cells):
    dialect = GeoreferDialect(name, cells=cells, tokens=name.endswith("tokens"))
    frame = Frame.resize((1000, 1000), (1000, 1000))
    box_4, grid = (
        np.array([100.0, 200, 100 + 8 * cells, 200 + 4 * cells]),
        np.random.default_rng(0).random((cells, cells)) < 0.6,
    )
    grid[[0, -1]] = grid[:, [0, -1]] = True
    mask = grid_to_geometry(grid, box_4)
    text = dialect.write(Objects.of([mask], ["roof"], kind="mask"), frame)
    reading = DIALECTS[name].read(text, frame)  # the size of the grid stands in the text
    assert not reading.problems and list(reading.objects.kinds_N) == ["mask"]
    assert reading.objects.geometries_N[0].symmetric_difference(mask).area < 1e-6


def test_equal_rows_of_a_mask_cost_one_mark():
    square = Objects.of([shapely.box(100, 100, 420, 420)], ["roof"], kind="mask")
    assert OWN.write(square, Frame.resize((1000, 1000), (1000, 1000))) == "roof [100, 100, 420, 420]{16: 0/=15}"


# the grid said, and the problem that names what is wrong with it
BROKEN_MASKS = [
    ("[10, 20, 110, 120]{16: 0/=15", "truncated"),
    ("[10, 20, 110, 120]{16: 0/=99999999}", "too-many"),
    ("[10, 20, 110, 120]{99: 0/=98}", "unreadable"),
    ("[10, 20, 110, 120]{0/=15}", "unreadable"),
    ("[10, 20, 110, 120]{16: ./=15}", "empty-shape"),
    ("[10, 20, 110, 120]{16: 0/=3}", "truncated"),
    ("[110, 20, 10, 120]{16: 0/=15}", "swapped"),
    ("[10, 20, 110, 2000]{16: 0/=15}", "out-of-range"),
    ("[10, 20, 10, 120]{16: 0/=15}", "empty-shape"),
    ("[10, 20, 110, 120, 30, 40]{16: 0/=15}", "wrong-count"),
    ("[10, 20, 110, 120]{16: <m0><m16><m=><what>}", "unreadable"),
]


@pytest.mark.parametrize("text, kind", BROKEN_MASKS)
def test_broken_masks_are_named(text, kind):
    reading = OWN.read(text, FRAME)
    assert kind in {p.kind for p in reading.problems}, reading.problems
    assert all(0 <= p.start <= p.end <= len(text) for p in reading.problems)


@pytest.mark.parametrize("settings", [{"cells": 4}, {"cells": 64}, {"points": 3}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="8 to 32 cells"):
        GeoreferDialect(**settings)


@pytest.mark.parametrize("name", ["georefer", "groundset"])
def test_rings_of_babble_are_given_up_and_said_so(name):
    """GEOS would need minutes to repair 2,000 points strewn at random; a bow-tie is repaired."""
    rng = np.random.default_rng(0)
    bow_tie = "[0, 0, 900, 900, 900, 0, 0, 900]"
    for points in (60, 2000):
        reading = DIALECTS[name].read(f"{bow_tie} {rng.integers(0, 1000, 2 * points).tolist()}", FRAME)
        assert len(reading.objects) == 1 and reading.objects.geometries_N[0].area > 0
        assert "too-many" in {p.kind for p in reading.problems}


@pytest.mark.parametrize("name", ["georefer", "groundset"])
def test_a_damaged_list_is_named_beside_a_good_one(name):
    reading = DIALECTS[name].read("[10, 20, 30, 40] [1, 2, x, 4]", FRAME)
    assert [(p.kind, p.start) for p in reading.problems] == [("not-a-number", 17)] and len(reading.objects) == 1

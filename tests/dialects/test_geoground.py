"""GeoGround: boxes in per mille, oriented boxes in percent of the width, masks in cells."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from tests.dialects.promises import (
    check_nothing_breaks_it,
    check_own_words,
    golden_rows,
    kinds_of_problems,
    same_corners,
)

from georefer.dialects.geoground import GeoGroundDialect, marked
from georefer.geometry import OBB, Frame, Objects
from georefer.geometry.angles import CONVENTIONS, to_convention
from georefer.geometry.raster_grid import coverage, grid_to_geometry
from georefer.geometry.rotated import obb_from_polygons, obb_iou_pairs

GEOGROUND = GeoGroundDialect()
FRAME = Frame.resize((800, 600), (336, 336))
sizes = st.tuples(st.integers(64, 4000), st.integers(64, 4000))
unit = st.floats(0, 1)


def one(geometry, kind):
    return Objects.of([geometry], ["x"], kind=kind)


# --- golden ----------------------------------------------------------------------------------------------


def test_golden_boxes(golden):
    rows = list(golden_rows(golden, "geoground-hbb"))
    for row, expected, frame in rows:
        reading = GEOGROUND.read(row["text"], frame)
        assert np.abs(reading.objects.hbb_N4 - expected["boxes"]).max() <= 1e-9 and not reading.problems
    assert len(rows) == 10


def test_golden_oriented_boxes(golden):
    rows = list(golden_rows(golden, "geoground-obb"))
    for row, expected, frame in rows:
        reading = GEOGROUND.read(row["text"], frame)
        assert same_corners(reading.objects.geometries_N[0], expected["corners"]) and not reading.problems
    assert len(rows) == 10


def test_golden_masks(golden):
    rows = list(golden_rows(golden, "geoground-mask"))
    for row, expected, frame in rows:
        reading = GEOGROUND.read(row["text"], frame)
        grid_RC = np.array(expected["grid"])
        assert not reading.problems and reading.says_none == (not grid_RC.any())
        area = shapely.union_all(reading.objects.geometries_N) if len(reading.objects) else shapely.Polygon()
        assert np.array_equal(coverage(area, (0, 0, *frame.size), *grid_RC.shape), grid_RC)
    assert len(rows) == 6


# --- round trips -----------------------------------------------------------------------------------------


@given(size=sizes, corners=st.lists(st.tuples(unit, unit, unit, unit), max_size=6))
def test_boxes_come_back_within_one_step(size, corners):
    frame = Frame.resize(size, (336, 336))
    boxes_N4 = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]).reshape(-1, 4)
    boxes_N4 = boxes_N4[(boxes_N4[:, 2:] - boxes_N4[:, :2] > 0.003).all(axis=1)] * np.tile(size, 2)
    text = GEOGROUND.write(Objects.from_hbb(boxes_N4, ["x"] * len(boxes_N4)), frame)
    assert GEOGROUND.strict.fullmatch(text)
    reading = GEOGROUND.read(text, frame)
    assert kinds_of_problems(reading) <= {"duplicate"}
    error_4 = np.tile(GEOGROUND.steps.error_px(frame), 2)
    for box in boxes_N4:
        moved_N4 = (box - reading.objects.hbb_N4) / error_4
        assert ((moved_N4 >= -1e-6) & (moved_N4 < 1 + 1e-6)).all(axis=1).any()


@given(size=sizes, at=st.tuples(unit, unit), sides=st.tuples(st.floats(0.03, 0.9), st.floats(0.03, 0.9)),
       heading=st.floats(0, 359))  # fmt: skip
def test_oriented_boxes_come_back_within_the_bound(size, at, sides, heading):
    """Centre up and left by one step of its side at most, sides shorter by one of the width, angle nearer to 0."""
    frame = Frame.resize(size, (336, 336))
    obb = OBB(at[0] * size[0], at[1] * size[1], sides[0] * size[0], sides[1] * size[0], heading)
    reading = GEOGROUND.read(GEOGROUND.write(one(obb.to_polygon(), "obb"), frame), frame)
    assert not reading.problems
    said_N5 = to_convention(np.array([[obb.cx, obb.cy, obb.length, obb.width, heading]]), CONVENTIONS["le90"])
    back_N5 = to_convention(obb_from_polygons(reading.objects.geometries_N), CONVENTIONS["le90"])
    lost = (said_N5 - back_N5)[0] / (size[0] / 100, size[1] / 100, size[0] / 100, size[0] / 100, 1)
    assert (lost[:4] >= -1e-6).all() and (lost[:4] <= 1 + 1e-6).all()
    if back_N5[0, 2] > back_N5[0, 3] * (1 + 1e-9):  # which side of a square is the long one, is anybody's guess
        turn = (lost[4] + 90) % 180 - 90
        assert -1 - 1e-6 < turn < 1 + 1e-6
        assert abs(turn) < 1e-6 or np.sign(turn) == np.sign(said_N5[0, 4]) or abs(said_N5[0, 4]) > 89


@pytest.mark.parametrize("cells", [16, 24, 32])
@given(at=st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)), sides=st.tuples(st.floats(2, 500), st.floats(2, 300)),
       heading=st.floats(0, 180))  # fmt: skip
def test_masks_cover_their_object_and_no_cell_beyond(cells, at, sides, heading):
    dialect = GeoGroundDialect(cells)
    area = OBB(at[0] * 800, at[1] * 600, *sides, heading).to_polygon()
    text = dialect.write(one(area, "mask"), FRAME)
    assert dialect.strict.fullmatch(text) and text.count(";") == cells
    reading = dialect.read(text, FRAME)
    assert not reading.problems and dialect.write(reading.objects, FRAME) == text
    back = reading.objects.geometries_N[0]
    inside = area.intersection(shapely.box(0, 0, 800, 600))
    assert inside.difference(back).area < 1e-6
    assert back.difference(inside.buffer(1.001 * np.hypot(800 / cells, 600 / cells))).area < 1e-6


def test_all_kinds_in_one_answer():
    cells = grid_to_geometry(np.eye(16, dtype=bool), (0, 0, 800, 600))
    objects = Objects.of(
        [shapely.box(80, 60, 160, 120), shapely.box(0, 0, 8, 6), OBB(120, 390, 120, 112, 30).to_polygon(), cells],
        ["x"] * 4, kind=["hbb", "hbb", "obb", "mask"],
    )  # fmt: skip
    text = GEOGROUND.write(objects, FRAME)
    assert text.startswith(
        "<box>[[100, 100, 200, 200], [0, 0, 10, 10]]</box> <obb>[[15, 65, 15, 14, 30]]</obb> <seg>1 *1"
    )
    reading = check_own_words(GEOGROUND, objects, FRAME)
    assert list(reading.objects.kinds_N) == ["hbb", "hbb", "obb", "mask"]
    assert reading.objects.geometries_N[3].equals(cells)
    assert GEOGROUND.write(reading.objects, FRAME) == text
    assert GEOGROUND.write(objects[[0, 2, 1]], FRAME).count("<box>") == 2


# --- the traps -------------------------------------------------------------------------------------------


def test_both_sides_count_along_the_width():
    """The vector with which a third party reproduced the published numbers."""
    frame = Frame.resize((4000, 2250), (336, 336))
    bounds = GEOGROUND.read("<obb>[[15,65,15,14,0]]</obb>", frame).objects.hbb_N4[0]
    assert bounds == pytest.approx([300, 1182.5, 900, 1742.5])
    # taller than the image is wide: cut to the width
    tall = Frame.resize((200, 800), (336, 336))
    pole = one(OBB(100, 400, 600, 40, 90).to_polygon(), "obb")
    assert GEOGROUND.write(pole, tall) == "<obb>[[50, 50, 100, 20, -90]]</obb>"


@pytest.mark.parametrize("heading, length, width, said", [
    (30, 200, 100, "25, 12, 30"), (150, 200, 100, "25, 12, -30"), (90, 200, 100, "25, 12, -90"),
    (0, 100, 200, "25, 12, -90"), (-0.9, 200, 100, "25, 12, 0"), (89.9, 200, 100, "25, 12, 89"),
    (210.5, 200, 100, "25, 12, 30"),
])  # fmt: skip
def test_angles_are_le90_truncated_towards_zero(heading, length, width, said):
    obb = one(OBB(400, 300, length, width, heading).to_polygon(), "obb")
    assert GEOGROUND.write(obb, FRAME) == f"<obb>[[50, 50, {said}]]</obb>"


def test_any_order_of_sides_is_the_same_box():
    a, b = (
        obb_from_polygons(GEOGROUND.read(f"<obb>[[50,50,{said}]]</obb>", FRAME).objects.geometries_N)
        for said in ("20,10,30", "10,20,-60")
    )
    assert np.allclose(a, b) and a[0, 2] > a[0, 3]


def test_what_truncation_loses():
    assert (
        GEOGROUND.write(Objects.from_hbb([[400.1, 300.1, 400.2, 300.2]], ["x"]), FRAME)
        == "<box>[[500, 500, 500, 500]]</box>"
    )
    small = one(OBB(400, 300, 7, 5, 30).to_polygon(), "obb")
    assert kinds_of_problems(GEOGROUND.read(GEOGROUND.write(small, FRAME), FRAME)) == {"empty-shape"}
    speck = one(shapely.box(401, 301, 402, 302), "mask")
    assert len(check_own_words(GEOGROUND, speck, FRAME).objects) == 1


def test_a_box_beyond_the_edge_stays_whole():
    ship = OBB(32, 300, 160, 80, 0)
    reading = check_own_words(GEOGROUND, one(ship.to_polygon(), "obb"), FRAME)
    back_N5 = obb_from_polygons(reading.objects.geometries_N)
    assert obb_iou_pairs(back_N5, np.array([[32, 300, 160, 80, 0]]))[0] > 0.99
    assert reading.objects.hbb_N4[0, 0] < 0


def test_padding_is_part_of_the_grid_but_not_of_the_scene():
    frame = Frame.square_padded((800, 400), 336)
    everything = one(shapely.box(0, 0, 800, 400), "mask")
    text = GEOGROUND.write(everything, frame)
    assert text.count("1 *16") == 8
    assert GEOGROUND.read(text, frame).objects.geometries_N[0].equals(shapely.box(0, 0, 800, 400))
    whole = "<seg>" + "1 *16; " * 15 + "1 *16;</seg>"
    assert GEOGROUND.read(whole, frame).objects.geometries_N[0].equals(shapely.box(0, 0, 800, 400))


REPAIRS = [
    ("<box>[[30, 20, 10, 40]]</box>", 1, {"swapped"}),
    ("<box>[[30, 20, 40, 1040]]</box>", 1, {"out-of-range"}),
    ("<box>[[30, 20, 40]]</box>", 0, {"wrong-count"}),
    ("<box>[[30, 20, 40, 50, 6]]</box>", 0, {"wrong-count"}),
    ("<box>[[30, x20, 40, 50]]</box>", 0, {"not-a-number"}),
    ("<box>30, 20, 40, 50</box>", 0, {"unreadable"}),
    ("<BOX> [[30 ,20,40, 50]] </BOX>", 1, {"off-grammar"}),
    ("[[30, 20, 40, 50]]</box>", 1, {"off-grammar"}),
    ("[[30, 20, 40, 50]]", 0, {"unreadable"}),
    ("<ref>[[30, 20, 40, 50]]</ref>", 0, {"unreadable"}),
    ("<box>[[30, 20, 40, 50], [60, 7", 1, {"truncated"}),
    ("<box>[[30, 20, 40, 50], [30, 20, 40, 50]]</box>", 1, {"duplicate"}),
    ("<obb>[[30, 20, 40, 50]]</obb>", 0, {"wrong-count"}),
    ("<obb>[[30, 20, 40, 50, 120]]</obb>", 1, {"out-of-range"}),
    ("<obb>[[30, 20, -4, 50, 12]]</obb>", 0, {"out-of-range", "empty-shape"}),
    ("<obb>[[30.5, 20, 40, 50, 12]]</obb>", 1, {"not-integer"}),
    ("<obb>[[30, 20, 0, 50, 12]]</obb>", 0, {"empty-shape"}),
    ("<seg>0 *2; 0 *1, 1 *1;</seg>", 1, set()),
    ("<seg>0 *2; 0 *1, 1 *1</seg>", 1, {"off-grammar"}),
    ("<seg>0 *2; 0 *1, 1 *1;", 1, {"truncated"}),
    ("<seg>0 *2; 0 *2;</seg> <box>[[30, 20, 40, 50]]</box>", 1, {"empty-shape"}),
    ("<seg>a house</seg>", 0, {"not-a-number", "truncated", "unreadable"}),
]


@pytest.mark.parametrize("text, count, kinds", REPAIRS, ids=[r[0] for r in REPAIRS])
def test_repairs(text, count, kinds):
    reading = GEOGROUND.read(text, FRAME)
    assert (len(reading.objects), kinds_of_problems(reading)) == (count, kinds)


def test_rows_of_a_mask_are_repaired_and_counted():
    whole = GEOGROUND.read("<seg>0 *4; 1 *4; 0 *4; 0 *4;</seg>", FRAME).objects.geometries_N[0]
    for text, kind in [
        ("<seg>0 *4; 1 *4; 0 *4;</seg>", "truncated"), ("<seg>0 *4; 1 *4; 0 *4; 0 *3;</seg>", "wrong-count"),
        ("<seg>0 *4; 1 *9; 0 *4; 0 *4;</seg>", "wrong-count"), ("<seg>0 *4; 1 *4; 0 *4", "truncated"),
    ]:  # fmt: skip
        reading = GEOGROUND.read(text, FRAME)
        assert kind in kinds_of_problems(reading) and reading.objects.geometries_N[0].equals(whole), text
    # cut off within its first row: the columns are the dialect's
    first = GEOGROUND.read("<seg>1 *8, 0 *3", FRAME)
    assert first.objects.hbb_N4[0] == pytest.approx([0, 0, 400, 37.5])


def test_a_question_is_marked():
    assert marked("the red car") == "<ref>the red car</ref>"
    for bad in ("", " ", "a <b>"):
        with pytest.raises(ValueError, match="expression"):
            marked(bad)


def test_nothing_breaks_it():
    check_own_words(GEOGROUND, Objects.none(), FRAME)
    texts = [
        "<box>[[155, 143, 250, 238], [906, 47, 1000, 141]]</box> <obb>[[15, 65, 15, 14, -30]]</obb>",
        GEOGROUND.write(one(OBB(330, 240, 160, 48, 30).to_polygon(), "mask"), FRAME), "<seg>0,0;0,1</seg>", "None",
    ]  # fmt: skip
    check_nothing_breaks_it(GEOGROUND, texts, FRAME)


def test_hostile_text_is_quick():
    for text in (
        "<seg>" * 200_000, "<box>[[1" + " " * 10**6, "<box>" + "[1,2,3,4]" * 100_000, "<seg>1 *99999999;" * 60_000,
        "<obb>[[1,2,3,4,5]]</obb>" * 40_000, "<seg>" + "0 *1, 1 *1, " * 80_000, "< " * 500_000, "</seg>" * 160_000,
    ):  # fmt: skip
        reading = GEOGROUND.read(text, FRAME)
        assert any(p.is_loss for p in reading.problems)

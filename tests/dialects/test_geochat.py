"""GeoChat's and VRSBench's braces."""

import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.dialects.promises import (
    check_nothing_breaks_it,
    check_own_words,
    golden_rows,
    kinds_of_problems,
    same_corners,
)  # fmt: skip

from georefer.dialects.geochat import GeoChatDialect, VRSBenchDialect
from georefer.geometry import OBB, Frame, Objects
from georefer.geometry.rotated import obb_from_polygons, obb_iou_pairs

CLOCKWISE, COUNTER, VRSBENCH = GeoChatDialect(True), GeoChatDialect(False), VRSBenchDialect()
FRAME = Frame.resize((800, 600), (504, 504))
both = pytest.mark.parametrize("dialect", [CLOCKWISE, COUNTER], ids=lambda d: d.name)
unit = st.floats(0, 1)


@both
def test_geochat_golden(golden, dialect):
    way = "clockwise_on_screen" if dialect is CLOCKWISE else "counter_clockwise_on_screen"
    count = 0
    for row, expected, frame in golden_rows(golden, "geochat"):
        reading = dialect.read(row["text"], frame)
        assert not reading.problems
        if expected["corners"] is None:
            assert list(reading.objects.kinds_N) == ["hbb"]
            assert np.abs(reading.objects.hbb_N4 - expected["boxes"]).max() <= 1e-9
        else:
            for geometry, corners in zip(reading.objects.geometries_N, expected["corners"][way], strict=True):
                assert same_corners(geometry, corners)
        assert set(reading.objects.labels_N) == {row["text"][3 : row["text"].index("</p>")]}
        count += 1
    assert count == 10


def test_vrsbench_golden(golden):
    rows = list(golden_rows(golden, "vrsbench-hbb"))
    for row, expected, frame in rows:
        reading = VRSBENCH.read(row["text"], frame)
        assert np.abs(reading.objects.hbb_N4 - expected["boxes"]).max() <= 1e-9 and not reading.problems
    assert len(rows) == 10


@both
@given(
    size=st.tuples(st.integers(64, 4000), st.integers(64, 4000)),
    at=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)), sides=st.tuples(st.floats(0.03, 0.4), st.floats(0.03, 0.4)),
    heading=st.floats(0, 180),
)  # fmt: skip
def test_oriented_boxes_come_back_within_the_bound(dialect, size, at, sides, heading):
    """Edges before turning are rounded, each by half a step at most; the angle is rounded to degrees."""
    frame = Frame.resize(size, (504, 504))
    obb = OBB(at[0] * size[0], at[1] * size[1], sides[0] * min(size), sides[1] * min(size), heading)
    step_2 = np.array(dialect.steps.step_px(frame))
    assume(min(obb.length, obb.width) > step_2.max())
    objects = Objects.of([obb.to_polygon()], ["ship"], kind="obb")
    back = obb_from_polygons(check_own_words(dialect, objects, frame).objects.geometries_N)[0]
    assert (np.abs(back[:2] - (obb.cx, obb.cy)) <= step_2 / 2 + 1e-6).all()
    # a side lies along x or along y before turning, and is off by one step of that axis at most
    ways = [
        (
            abs(back[2] - (obb.length, obb.width)[s]),
            abs(back[3] - (obb.width, obb.length)[s]),
            back[4] - heading - 90 * s,
        )
        for s in (0, 1)
    ]
    assert any(
        max(dl, dw) <= step_2.max() + 1e-6 and abs((turn + 90) % 180 - 90) <= 0.5 + 1e-6 for dl, dw, turn in ways
    )


@given(st.lists(st.tuples(unit, unit, unit, unit), max_size=6))
@pytest.mark.parametrize("dialect", [CLOCKWISE, VRSBENCH], ids=lambda d: d.name)
def test_boxes_come_back_within_the_bound(dialect, corners):
    boxes_N4 = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]).reshape(-1, 4)
    boxes_N4 = np.unique(np.round(boxes_N4 * [800, 600, 800, 600], 1), axis=0)
    boxes_N4 = boxes_N4[(boxes_N4[:, 2:] - boxes_N4[:, :2] > 2 * np.array(dialect.steps.step_px(FRAME))).all(axis=1)]
    text = dialect.write(Objects.from_hbb(boxes_N4, ["a b"] * len(boxes_N4)), FRAME)
    assert dialect.strict.fullmatch(text)
    reading = dialect.read(text, FRAME)
    assert kinds_of_problems(reading) <= {"duplicate"} and reading.says_none == (not len(boxes_N4))
    error_4 = np.tile(dialect.steps.error_px(FRAME), 2)
    for box in boxes_N4:
        assert ((np.abs(reading.objects.hbb_N4 - box) / error_4).max(axis=1) <= 1 + 1e-9).any()


def test_the_exact_words():
    ships = [OBB(400, 300, 80, 40, 30).to_polygon(), OBB(200, 300, 80, 40, 120).to_polygon(), shapely.box(8, 6, 80, 60)]
    objects = Objects.of(ships, ["ship", "ship", "small vehicle"], kind=["obb", "obb", "hbb"])
    text = "<p>ship</p> {<45><47><55><53>|<30>}<delim>{<22><43><28><57>|<30>} <p>small vehicle</p> {<1><1><10><10>}"
    assert CLOCKWISE.write(objects, FRAME) == text
    reading = check_own_words(CLOCKWISE, objects, FRAME)
    assert list(reading.objects.labels_N) == ["ship", "ship", "small vehicle"]
    assert CLOCKWISE.write(reading.objects, FRAME) == text
    assert COUNTER.write(objects[:1], FRAME, labelled=False) == "{<48><43><52><57>|<60>}"
    assert VRSBENCH.write(objects.to_hbb()[2:], FRAME) == "{<1><1><10><10>}"


def test_the_two_directions_disagree_and_neither_is_guessed():
    text = "<p>ship</p> {<40><40><60><50>|<30>}"
    a, b = (obb_from_polygons(d.read(text, FRAME).objects.geometries_N) for d in (CLOCKWISE, COUNTER))
    assert a[0, 4] == pytest.approx(30) and b[0, 4] == pytest.approx(150)
    assert obb_iou_pairs(a, b)[0] < 0.6


def test_a_box_at_the_edge_is_said_the_other_way_round():
    """Upright and long at the left edge: before turning by 85 degrees it would reach out of the image."""
    ship = Objects.of([OBB(20, 300, 200, 30, 85).to_polygon()], ["ship"], kind="obb")
    assert CLOCKWISE.write(ship, FRAME) == "<p>ship</p> {<1><33><4><67>|<-5>}"
    back = obb_from_polygons(check_own_words(CLOCKWISE, ship, FRAME).objects.geometries_N)
    assert obb_iou_pairs(back, np.array([[20, 300, 200, 30, 85]]))[0] > 0.7
    # half of it outside: cut off, as the numbers end at the image
    ship = Objects.of([OBB(0, 300, 200, 60, 0).to_polygon()], ["ship"], kind="obb")
    assert CLOCKWISE.write(ship, FRAME, labelled=False) == "{<0><45><12><55>|<0>}"


def test_floored_numbers_lose_small_boxes():
    speck = Objects.from_hbb([[401, 301, 405, 304]], ["x"])
    assert VRSBENCH.write(speck, FRAME) == "{<50><50><50><50>}"
    assert kinds_of_problems(VRSBENCH.read("{<50><50><50><50>}", FRAME)) == {"empty-shape"}
    assert len(CLOCKWISE.read(CLOCKWISE.write(speck, FRAME), FRAME).objects) == 1


REPAIRS = [
    ("<p>ship</p> {<60><50><40><40>|<0>}", 1, "swapped"),
    ("<p>ship</p> {<40><40><60><150>|<0>}", 1, "out-of-range"),
    ("<p>ship</p> {<40><40><60><50>|<270>}", 1, "out-of-range"),
    ("<p>ship</p> {<40.5><40><60><50>|<10>}", 1, "not-integer"),
    ("<p>ship</p> { <40> <40> <60> <50> | <10> }", 1, "off-grammar"),
    ("<p>ship</p> {40, 40, 60, 50|10}", 1, "off-grammar"),
    ("<p>ship</p> {<40><40><60><50>|<10>", 1, "truncated"),
    ("<p>ship</p> {<40><40><60><50>|<1", 0, "truncated"),
    ("<p>ship</p> {<40><40><60><50>", 0, "truncated"),
    ("<p>ship</p> {<40><40><60>}", 0, "wrong-count"),
    ("<p>ship</p> {<40><x><60><50>}", 0, "not-a-number"),
    ("<p>ship</p> {<40><40><40><50>|<10>}", 0, "empty-shape"),
    ("{<40><40><60><50>|<10>} {<40><40><60><50>|<10>}", 1, "duplicate"),
    ("[40, 40, 60, 50]", 0, "unreadable"),
]


@both
@pytest.mark.parametrize("text, count, kind", REPAIRS, ids=[r[0] for r in REPAIRS])
def test_repairs(dialect, text, count, kind):
    reading = dialect.read(text, FRAME)
    assert (len(reading.objects), kinds_of_problems(reading)) == (count, {kind})


def test_angles_are_no_words_of_vrsbench():
    assert kinds_of_problems(VRSBENCH.read("{<40><40><60><50>|<10>}", FRAME)) == {"wrong-count"}


@pytest.mark.parametrize("label", ["", " ship", "a<b", "a{b", "a\nb"])
def test_labels_that_cannot_be_read_back_are_refused(label):
    with pytest.raises(ValueError, match="label"):
        CLOCKWISE.write(Objects.from_hbb([[0, 0, 80, 60]], [label]), FRAME)


@pytest.mark.parametrize("dialect", [CLOCKWISE, COUNTER, VRSBENCH], ids=lambda d: d.name)
def test_nothing_breaks_it(dialect):
    check_own_words(dialect, Objects.none(), FRAME)
    many = "<p>ship</p> {<63><60><65><96>}<delim>{<19><76><30><98>} {<54><10><70><16>}"
    turned = many.replace("}", "|<-31>}")
    check_nothing_breaks_it(dialect, [many, many if dialect is VRSBENCH else turned, dialect.nothing], FRAME)


@both
def test_hostile_text_is_quick(dialect):
    boxes = "".join(f"{{<{i % 90}><{i // 90}><{i % 90 + 2}><99>|<{i % 80}>}}" for i in range(4000))
    for text in ("{" * 10**6, "{<1>" * 250_000, "<p>" * 330_000, "{1" + " " * 10**6, boxes):
        reading = dialect.read(text, FRAME)
        assert any(p.is_loss for p in reading.problems)

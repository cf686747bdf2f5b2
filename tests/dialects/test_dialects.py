"""What every dialect in the table promises: round trip within its step, and no text that breaks the reader."""

import random
import time

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from georefer.dialects import DIALECTS
from georefer.dialects.base import LOSSES, MAX_OBJECTS
from georefer.geometry import Frame, Objects

FRAME = Frame.resize((640, 480), (336, 336))
names = pytest.mark.parametrize("name", sorted(DIALECTS))
sizes = st.tuples(st.integers(16, 4000), st.integers(16, 4000))
unit = st.floats(0, 1)


@st.composite
def boxes_in_frames(draw):
    width, height = draw(sizes)
    frame = Frame.resize((width, height), (336, 336), draw(st.sampled_from([100, 128, 1000])))
    corners = draw(st.lists(st.tuples(unit, unit, unit, unit), min_size=0, max_size=8))
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]).reshape(-1, 4)
    return frame, boxes * [width, height, width, height]


@names
@given(case=boxes_in_frames())
def test_boxes_come_back_within_one_step(name, case):
    frame, boxes_N4 = case
    dialect = DIALECTS[name]
    reading = dialect.read(dialect.write(Objects.from_hbb(boxes_N4, ["x"] * len(boxes_N4)), frame), frame)
    assert reading.says_none == (len(boxes_N4) == 0)
    # equal boxes are said once, and boxes thinner than a step may be lost by dialects that floor
    sides_N = (boxes_N4[:, 2:] - boxes_N4[:, :2]) / frame.step_px
    for box in boxes_N4[(sides_N > 1).all(axis=1)]:
        nearest = np.abs(reading.objects.hbb_N4 - box).max(axis=0) if len(reading.objects) == 1 else None
        distances = np.abs(reading.objects.hbb_N4 - box) / np.tile(frame.step_px, 2)
        assert distances.max(axis=1).min() <= 1 + 1e-6, (box, nearest)


@names
def test_nothing_is_said_and_read(name):
    dialect = DIALECTS[name]
    reading = dialect.read(dialect.write(Objects.none(), FRAME), FRAME)
    assert reading.says_none and reading.readable and not reading.problems


BABBLE = {
    "empty": "",
    "prose": "I am sorry, I cannot see a building.",
    "prose with numbers": "about 3 buildings, at 10 and 20",
    "three numbers": "[1, 2, 3]",
    "cut off": "[10, 20, 30",
    "words in a list": "[ten, 20, 30, 40]",
    "not a number": "[nan, inf, 1e9, 4]",
    "a megabyte of brackets": "[" * 1_000_000,
    "a megabyte of starts": "[1, " * 250_000,
    "a megabyte of numbers": "[" + "1, " * 333_000,
    "huge factor": "1 *99999999",
    "huge number": "[1, 2, 3, " + "9" * 100_000 + "]",
    "nul bytes": "\x00[1, 2\x00, 3, 4]",
    "digits of other scripts": "[١, ٢, ٣, ٤]",
}


@names
@pytest.mark.parametrize("text", BABBLE.values(), ids=BABBLE)
def test_babble_is_unreadable_and_quick(name, text):
    started = time.perf_counter()
    reading = DIALECTS[name].read(text, FRAME)
    assert time.perf_counter() - started < 1  # a hang, not a benchmark: see benchmarks/
    assert not reading.readable
    assert any(p.kind in LOSSES for p in reading.problems)
    assert all(0 <= p.start <= p.end <= len(text) for p in reading.problems)


@names
def test_endless_lists_are_bounded(name):
    text = " ".join(f"[{i % 900}, {i // 900}, {i % 900 + 50}, {i // 900 + 50}]" for i in range(5000))
    reading = DIALECTS[name].read(text, FRAME)
    assert len(reading.objects) == MAX_OBJECTS
    assert "too-many" in {p.kind for p in reading.problems}


@names
@settings(max_examples=300)
@given(text=st.text(alphabet="[]0123456789, .;-none building\n{}()<>", max_size=200))
def test_no_text_raises(name, text):
    reading = DIALECTS[name].read(text, FRAME)
    boxes_N4 = reading.objects.hbb_N4
    assert (boxes_N4 >= 0).all() and (boxes_N4 <= [640, 480, 640, 480]).all()
    assert (boxes_N4[:, :2] < boxes_N4[:, 2:]).all()


@names
def test_any_prefix_and_any_damage_of_an_answer_is_read(name):
    dialect, rng = DIALECTS[name], random.Random(0)
    objects = Objects.from_hbb(np.array([[10, 20, 110, 220], [300, 50, 420, 99]]), ["pond", "pond"])
    text = dialect.write(objects, FRAME)
    for end in range(len(text)):
        assert len(dialect.read(text[:end], FRAME).objects) <= 2
    for _ in range(2000):
        place = rng.randrange(len(text))
        dialect.read(text[:place] + rng.choice("[]0,; x") + text[place + 1 :], FRAME)


# one row per repair: the answer, the boxes read (in numbers of the frame), the problem named
REPAIRS = [
    ("[30, 40, 10, 20]", [[10, 20, 30, 40]], "swapped"),
    ("[10, 20, 30, 2000]", [[10, 20, 30, 1000]], "out-of-range"),
    ("[10.5, 20, 30, 40]", [[10.5, 20, 30, 40]], "not-integer"),
    ("[10, 20, 30, 40] [10, 20, 30, 40]", [[10, 20, 30, 40]], "duplicate"),
    ("[10, 20, 30, 40] [50, 60", [[10, 20, 30, 40]], "truncated"),
    ("[10, 20, 30, 40] [1, 2, 3]", [[10, 20, 30, 40]], "wrong-count"),
    ("[10, 20, 30, 40] [5, 5, 5, 9]", [[10, 20, 30, 40]], "empty-shape"),
]


@names
@pytest.mark.parametrize("text, boxes, kind", REPAIRS, ids=[r[2] for r in REPAIRS])
def test_repairs_are_named_and_placed(name, text, boxes, kind):
    reading = DIALECTS[name].read(text, FRAME)
    expected = np.array(boxes) * np.tile(FRAME.step_px, 2)
    assert np.allclose(reading.objects.hbb_N4, expected)
    assert kind in {p.kind for p in reading.problems}
    problem = next(p for p in reading.problems if p.kind == kind)
    assert text[problem.start : problem.end].startswith("[")


def test_own_dialect_says_a_label_once():
    objects = Objects.from_hbb(
        np.array([[0, 0, 64, 48], [64, 0, 128, 48], [0, 48, 64, 96]]), ["a b", "c, d (e)", "a b"]
    )
    text = DIALECTS["georefer"].write(objects, FRAME)
    assert text == "a b [0, 0, 100, 100] [0, 100, 100, 200]; c, d (e) [100, 0, 200, 100]"
    assert list(DIALECTS["georefer"].read(text, FRAME).objects.labels_N) == ["a b", "a b", "c, d (e)"]


def test_own_dialect_never_makes_a_box_vanish():
    speck = Objects.from_hbb(np.array([[639.9, 479.9, 640, 480]]), [""])
    assert DIALECTS["georefer"].write(speck, FRAME, labelled=False) == "[999, 999, 1000, 1000]"


@pytest.mark.parametrize("label", ["a]b", "x;y", " pad", ""])
def test_own_dialect_refuses_labels_it_could_not_read_back(label):
    with pytest.raises(ValueError, match="label"):
        DIALECTS["georefer"].write(Objects.from_hbb(np.array([[0, 0, 9, 9]]), [label]), FRAME)


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

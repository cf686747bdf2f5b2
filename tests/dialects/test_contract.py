"""What every dialect in the table promises: round trip within its step, and no text that breaks the reader."""

import random

import lark
import numpy as np
import pytest
import shapely
from benchmarks.fuzz import answers, mutated
from hypothesis import given, settings
from hypothesis import strategies as st

from georefer.dialects import DIALECTS
from georefer.dialects.reader import MAX_OBJECTS
from georefer.dialects.reading import LOSSES
from georefer.dialects.reference import example, kinds_of
from georefer.geometry import OBB, Frame, Objects, polygon_iou

FRAME = Frame.resize((640, 480), (336, 336))
names = pytest.mark.parametrize("name", sorted(DIALECTS))
boxed = pytest.mark.parametrize("name", sorted(name for name, d in DIALECTS.items() if "hbb" in d.kinds))
said = pytest.mark.parametrize("name, kind", [(name, kind) for name, d in DIALECTS.items() for kind in kinds_of(d)])
sizes = st.tuples(st.integers(16, 4000), st.integers(16, 4000))
unit = st.floats(0, 1)


@st.composite
def boxes_in_frames(draw):
    width, height = draw(sizes)
    made = draw(st.sampled_from([Frame.resize, Frame.letterbox, lambda s, _: Frame.square_padded(s, 336)]))
    corners = draw(st.lists(st.tuples(unit, unit, unit, unit), min_size=0, max_size=8))
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]).reshape(-1, 4)
    return made((width, height), (336, 448)), boxes * [width, height, width, height]


@boxed
@given(case=boxes_in_frames())
def test_boxes_come_back_within_the_stated_bound(name, case):
    frame, boxes_N4 = case
    dialect = DIALECTS[name]
    reading = dialect.read(dialect.write(Objects.from_hbb(boxes_N4, ["x"] * len(boxes_N4)), frame), frame)
    assert reading.says_none == (len(boxes_N4) == 0)
    step_4, error_4 = (np.tile(of(frame), 2) for of in (dialect.steps.step_px, dialect.steps.error_px))
    # equal boxes are said once, and boxes thinner than a step are widened, or lost by dialects that floor
    thick_N = (boxes_N4[:, 2:] - boxes_N4[:, :2] > 2.1 * step_4[:2]).all(axis=1)
    for box in boxes_N4[thick_N]:
        distance = (np.abs(reading.objects.hbb_N4 - box) / error_4).max(axis=1).min()
        assert distance <= 1 + 1e-6, (dialect.name, box, distance)


@said
def test_an_example_of_each_kind_comes_back(name, kind):
    dialect, one = DIALECTS[name], example(kind)
    frame = dialect.frame_for((800, 600))
    text = dialect.write(one, frame)
    reading = dialect.read(text, frame)
    assert not reading.problems and list(reading.objects.kinds_N)[:1] == [kind]
    assert not dialect.labelled or list(reading.objects.labels_N)[:1] == ["ship"]
    if kind == "point":
        assert shapely.distance(reading.objects.geometries_N[0], one.geometries_N[0]) < 2
    if kind == "mask" and dialect.name.startswith("georefer"):
        # the grid lies in a box, and the box of its set cells may be smaller
        again = dialect.read(dialect.write(reading.objects, frame), frame).objects
        assert polygon_iou(reading.objects.geometries_N, again.geometries_N)[0, 0] > 0.8
    else:
        # what was read is said the same way again: reading loses nothing
        assert dialect.write(reading.objects, frame) == text


@said
def test_what_is_written_fits_the_grammar_and_the_strict_pattern(name, kind):
    dialect, one = DIALECTS[name], example(kind)
    frame = dialect.frame_for((800, 600))
    moved = one.replaced(shapely.transform(one.geometries_N, lambda xy: np.add(xy, (55, 40))))
    grammar = lark.Lark(dialect.grammar())
    for objects in (one, Objects.concat([one, moved]), Objects.none()):
        text = dialect.write(objects, frame)
        assert dialect.strict.fullmatch(text), text
        grammar.parse(text)


@names
def test_nothing_is_said_and_read(name):
    dialect = DIALECTS[name]
    reading = dialect.read(dialect.write(Objects.none(), FRAME), FRAME)
    assert reading.says_none and reading.readable and not reading.problems


@names
def test_a_kind_without_words_is_refused(name):
    line = Objects.of([shapely.LineString([(0, 0), (9, 9)])], ["road"], kind="line")
    with pytest.raises(ValueError, match=f"{name} says .*, not line"):
        DIALECTS[name].write(line, FRAME)


BABBLE = {
    "empty": "",
    "prose": "I am sorry, I cannot see a building.",
    "prose with numbers": "about 3 buildings, at 10 and 20",
    "three numbers": "[1, 2, 3]",
    "cut off": "[10, 20, 30",
    "words in a list": "[ten, 20, 30, 40]",
    "not a number": "[nan, inf, 1e9, 4]",
    "a megabyte of brackets": "[" * 1_000_000,
    "a megabyte of braces": "{" * 1_000_000,
    "a megabyte of lesser signs": "<" * 1_000_000,
    "a megabyte of starts": "[1, " * 250_000,
    "a megabyte of keys": '{"bbox_2d": [' * 77_000,
    "a megabyte of quotes": "'" * 500_000 + '"' * 500_000,
    "a megabyte of backslashes": '"' + "\\" * 1_000_000,
    "a megabyte of spaces": " " * 1_000_000,
    "a megabyte of tags": "<box><obb><seg>" * 66_000,
    "a megabyte of digits": "1" * 1_000_000,
    "a megabyte of numbers": "[" + "1, " * 333_000,
    "huge factor": "1 *99999999",
    "huge number": "[1, 2, 3, " + "9" * 100_000 + "]",
    "digits of other scripts": "[١, ٢, ٣, ٤]",
    "a lone surrogate": "\ud800 [",
}


@names
@pytest.mark.parametrize("text", BABBLE.values(), ids=BABBLE)
def test_babble_is_unreadable_and_quick(name, text):
    reading = DIALECTS[name].read(text, FRAME)
    assert not reading.readable
    assert any(p.kind in LOSSES for p in reading.problems)
    assert all(0 <= p.start <= p.end <= len(text) for p in reading.problems)


@boxed
def test_endless_answers_are_bounded(name):
    frame = Frame.resize((3000, 3000), (3000, 3000))
    i_N = np.arange(4000)
    boxes_N4 = np.stack([i_N % 70 * 40, i_N // 70 * 40, i_N % 70 * 40 + 39, i_N // 70 * 40 + 39], axis=1)
    dialect = DIALECTS[name]
    text = dialect.write(Objects.from_hbb(boxes_N4, ["x"] * 4000), frame)
    reading = dialect.read(text, frame)
    assert len(reading.objects) <= MAX_OBJECTS
    assert {"too-many", "too-long"} & {p.kind for p in reading.problems}


@names
@settings(max_examples=200)
@given(text=st.text(alphabet="[]0123456789, .;-+@*=/|<>none building\n{}()\"':loc_ptxyb", max_size=200))
def test_no_text_raises(name, text):
    check_sane(DIALECTS[name].read(text, FRAME), text)


@names
@pytest.mark.parametrize(
    "odd", [chr(code) for code in (0x1C, 0x1F, 0x0B, 0x85, 0xA0, 0x2003, 0x200B, 0x661, 0xFF11, 0xD800)]
)
def test_no_odd_letter_anywhere_in_an_answer_raises(name, odd):
    """Patterns, `float` and `str.strip` differ in what they take for white space and for digits."""
    dialect = DIALECTS[name]
    frame = dialect.frame_for((800, 600))
    for kind in kinds_of(dialect):
        text = dialect.write(example(kind), frame)
        for place in range(0, len(text) + 1, 1 + len(text) // 200):
            for end in (place, place + 1):
                check_sane(dialect.read(text[:place] + odd + text[end:], frame), text[:place] + odd + text[end:])


@names
def test_any_prefix_of_an_answer_is_read(name):
    dialect = DIALECTS[name]
    frame = dialect.frame_for((800, 600))
    for text in answers(dialect, random.Random(0)):
        # a ring of babble, given up when whole, may be worth repairing when it is cut off
        read = dialect.read(text, frame)
        whole = len(read.objects) + sum(p.kind == "too-many" for p in read.problems)
        for end in range(0, len(text), 1 + len(text) // 400):
            reading = dialect.read(text[:end], frame)
            check_sane(reading, text[:end])
            assert len(reading.objects) <= whole


@names
def test_damaged_answers_are_read(name):
    """A small part of what benchmarks/fuzz.py does a million times."""
    dialect, rng = DIALECTS[name], random.Random(1)
    frame = dialect.frame_for((640, 480))
    texts = answers(dialect, rng)
    for _ in range(400):
        text = mutated(rng.choice(texts), rng)
        check_sane(dialect.read(text, frame), text)


def check_sane(reading, text):
    """Shapes are finite and, but for oriented boxes, within the scene; problems lie within the text."""
    frame_boxes_N4 = reading.objects.hbb_N4[reading.objects.kinds_N != "obb"]
    assert np.isfinite(reading.objects.hbb_N4).all()
    assert (frame_boxes_N4 >= -1e-6).all() and (frame_boxes_N4 <= [800.001, 600.001, 800.001, 600.001]).all()
    areas_N = shapely.area(reading.objects.geometries_N)
    assert (areas_N[reading.objects.kinds_N != "point"] > 0).all()
    assert all(0 <= p.start <= p.end <= len(text) for p in reading.problems)
    assert reading.readable or any(p.is_loss for p in reading.problems)
    assert all(0 <= end < len(reading.objects) for r in reading.relations for end in (r.subject, r.object))


@st.composite
def scenes_of_shapes(draw):
    """A scene size and up to five shapes of one kind well inside it: (cx, cy, length, width, heading) each."""
    size = draw(st.tuples(st.integers(100, 3000), st.integers(100, 3000)))
    one = st.tuples(
        st.floats(0.3, 0.7), st.floats(0.3, 0.7), st.floats(0.03, 0.25), st.floats(0.03, 0.25), st.floats(0, 360)
    )
    short = min(size)
    return size, [
        OBB(x * size[0], y * size[1], a * short, b * short, heading % 360)
        for x, y, a, b, heading in draw(st.lists(one, min_size=1, max_size=5))
    ]


@said
@settings(max_examples=40)
@given(case=scenes_of_shapes())
def test_what_was_read_is_said_and_read_alike(name, kind, case):
    """The second round changes nothing: all that a dialect cannot keep is lost in the first."""
    size, boxes = case
    dialect = DIALECTS[name]
    frame = dialect.frame_for(size)
    shapes = {
        "hbb": lambda b: shapely.box(*b.to_polygon().bounds),
        "point": lambda b: shapely.Point(b.cx, b.cy),
    }.get(kind, OBB.to_polygon)
    objects = Objects.of([shapes(b) for b in boxes], ["ship"] * len(boxes), kind=kind)
    first = dialect.read(dialect.write(objects, frame), frame)
    assert {p.kind for p in first.problems} <= {"duplicate", "empty-shape"}
    if (name.startswith("georefer") and kind == "mask") or not len(first.objects):
        return  # its grid lies in a box that shrinks to the set cells
    again = dialect.read(dialect.write(first.objects, frame), frame)
    assert len(again.objects) <= len(first.objects)
    # an upright box has two names where the angle has a range of 90 degrees, and its sides change places with them
    step = max((dialect.turned_steps or dialect.steps).step_px(frame)) if kind == "obb" else 1e-6 * max(size)
    for shape in first.objects.geometries_N:
        assert shapely.hausdorff_distance(again.objects.geometries_N, shape).min() <= step, (shape, again.objects)

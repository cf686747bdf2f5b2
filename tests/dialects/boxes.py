"""Checks shared by the tests of the families that say boxes: golden rows, round trips, hostile texts."""

from dataclasses import replace

import numpy as np
import shapely
from hypothesis import strategies as st
from tests.dialects.promises import check_nothing_breaks_it, check_own_words, golden_rows, kinds_of_problems

from georefer.geometry import Frame, Objects

SHIPS = Objects.from_hbb(
    np.array([[64.0, 48, 320, 240], [320, 96, 512, 432], [128, 240, 256, 384]]), ["ship", "ship", "small car"]
)
FRAME = Frame.resize((640, 480), (336, 336))
unit = st.floats(0, 1)


def check_golden_boxes(golden, dialect, *names, padded=False):
    """Every row is read as the reference reads it, corners sorted and clipped to the scene; gives the count of rows."""
    count = 0
    for row, expected, frame in golden_rows(golden, *names or (dialect.name,)):
        size = (row["width"], row["height"])
        frame = Frame.square_padded(size, 336) if padded else frame
        reading = dialect.read(row["text"], frame)
        said_N4 = np.array(expected["boxes"]).reshape(-1, 4)
        low_N2, high_N2 = np.minimum(said_N4[:, :2], said_N4[:, 2:]), np.maximum(said_N4[:, :2], said_N4[:, 2:])
        boxes_N4 = np.clip(np.concatenate([low_N2, high_N2], axis=1), 0, np.tile(size, 2))
        assert reading.objects.hbb_N4.shape == boxes_N4.shape, row
        assert np.abs(reading.objects.hbb_N4 - boxes_N4).max(initial=0) <= 1e-9, row
        if expected["labels"]:
            assert list(reading.objects.labels_N) == expected["labels"], row
        kinds = kinds_of_problems(reading)
        assert ("swapped" in kinds) == ("wrong order" in expected["note"]), (row, reading.problems)
        assert ("truncated" in kinds) == ("missing" in expected["note"]), (row, reading.problems)
        usual = "wrong order" not in expected["note"] and "missing" not in expected["note"]
        assert not usual or kinds <= {"off-grammar", "out-of-range"}, (row, reading.problems)
        count += 1
    return count


@st.composite
def boxes_in_scenes(draw, least=0.0):
    """(scene size, boxes in its pixels); `least` is the least side as a share of the longer side."""
    size = np.array([draw(st.integers(16, 4000)), draw(st.integers(16, 4000))])
    corners = draw(st.lists(st.tuples(unit, unit, unit, unit), min_size=1, max_size=6))
    boxes_N4 = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]) * np.tile(size, 2)
    sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
    return tuple(size.tolist()), boxes_N4[(sides_N2 >= least * size.max()).all(axis=1)]


def check_round_trip(dialect, scene_size, boxes_N4):
    """Boxes come back within the stated bound (a step more where they are widened), those that floor only if thick."""
    frame = dialect.frame_for(scene_size)
    labels = [f"a {i}" for i in range(len(boxes_N4))]
    reading = dialect.read(dialect.write(Objects.from_hbb(boxes_N4, labels), frame), frame)
    step_4, error_4 = (np.tile(of(frame), 2) for of in (dialect.steps.step_px, dialect.steps.error_px))
    thick_N = ((boxes_N4[:, 2:] - boxes_N4[:, :2]) > 1.01 * step_4[:2]).all(axis=1)
    back = dict(zip(reading.objects.labels_N, reading.objects.hbb_N4, strict=True)) if dialect.labelled else None
    for i in np.flatnonzero(thick_N):
        distances_N4 = np.abs((reading.objects.hbb_N4 if back is None else back[f"a {i}"][None]) - boxes_N4[i])
        assert (distances_N4 <= error_4 * (1 + 1e-6) + 1e-9).all(axis=1).any(), (dialect.name, i, boxes_N4[i])
    # a box too thin to be said may be widened into the padding at the scene's edge
    assert {p.kind for p in reading.problems} <= (
        {"duplicate"} if thick_N.all() else {"empty-shape", "duplicate", "out-of-range"}
    )


def check_promises(dialect, objects=SHIPS, frame=None):
    """Own words are strict and come back, nothing is said and read, no prefix or damage raises."""
    frame = frame or dialect.frame_for((640, 480))
    reading = check_own_words(dialect, objects, frame)
    assert len(reading.objects) == len(objects)
    assert not dialect.labelled or sorted(reading.objects.labels_N) == sorted(objects.labels_N)
    assert dialect.write(reading.objects, frame) == dialect.write(objects, frame)
    assert dialect.strict.fullmatch(dialect.write(objects, frame, labelled=False))
    bare = dialect.read(dialect.write(objects, frame, labelled=False), frame)
    assert not bare.problems and len(bare.objects) == len(objects) and set(bare.objects.labels_N) == {""}
    check_own_words(dialect, Objects.none(), frame)
    many = Objects.concat([objects, shifted(objects)])
    check_nothing_breaks_it(dialect, [dialect.write(o, frame) for o in (objects, many, Objects.none())], frame)
    check_hostile(dialect, dialect.write(objects, frame))


def shifted(objects):
    moved = objects.replaced(shapely.transform(objects.geometries_N, lambda xy: xy * 0.7 + 11))
    return replace(moved, ids_N=np.array([f"m{i}" for i in range(len(objects))], dtype=object))


def check_hostile(dialect, text):
    """A megabyte of anything takes milliseconds: repeated marks, marks with endless blanks, the answer repeated."""
    pieces = [
        "[",
        "[1, ",
        "[1" + " " * 300_000 + "x",
        "[" + "1, " * 300_000,
        "<",
        "< ",
        "<a",
        " " * 300_000,
        "1" * 300_000,
    ]
    third = max(1, len(text) // 3)
    pieces += [
        text,
        text[:third],
        text[third:],
        text[: 2 * third] + " " * 100_000,
        " " * 50_000 + text,
        text[:-1],
        text[1:],
    ]
    pieces += [text[:end] for end in range(1, min(60, len(text)), 7)]
    for piece in pieces:
        # as long as is read at all, and much longer
        for length in (99_000, 1_000_000):
            dialect.read(piece * (length // len(piece) + 1), FRAME)  # unbounded work would hang here

"""What the tests of single families share: every dialect's promises, checked on objects of the family's own."""

import gzip
import json
import random

import lark
import numpy as np
from benchmarks.fuzz import mutated

from georefer.dialects.reading import LOSSES
from georefer.geometry import Frame


def golden_rows(golden, *names):
    """(row, what the reference reads from it, frame) of the dialects named."""
    folder = golden / "dialects"
    expected = json.loads(gzip.decompress((folder / "expected.json.gz").read_bytes()))["rows"]
    by_id = {row["id"]: row for row in expected} if isinstance(expected, list) else expected
    for line in (folder / "dialects.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["dialect"] in names:
            size = (row["width"], row["height"])
            yield row, by_id.get(row["id"], by_id.get(str(row["id"]))), Frame.resize(size, size)


def corners_of(polygon):
    """Corners in an order of their own, so that two rectangles compare."""
    corners_42 = np.asarray(polygon.exterior.coords)[:4] if hasattr(polygon, "exterior") else np.asarray(polygon)
    turn_4 = np.arctan2(*(corners_42 - corners_42.mean(axis=0)).T[::-1])
    corners_42 = corners_42[np.argsort(turn_4)]
    return corners_42


def same_corners(polygon, corners, tolerance=1e-9):
    a_42, b_42 = corners_of(polygon), corners_of(corners)
    # the first corner may lie on either side of the cut of arctan2
    return any(np.abs(a_42 - np.roll(b_42, k, axis=0)).max() <= tolerance for k in range(4))


def check_own_words(dialect, objects, frame, text=None):
    """What is written is strict, fits the grammar, and is read without a problem and without loss."""
    text = dialect.write(objects, frame) if text is None else text
    assert dialect.strict.fullmatch(text), text
    lark.Lark(dialect.grammar()).parse(text)
    reading = dialect.read(text, frame)
    assert not reading.problems, (text, reading.problems)
    assert reading.says_none == (not len(objects))
    return reading


def check_nothing_breaks_it(dialect, texts, frame, mutations=500):
    """Prefixes and damaged texts never raise, and what is lost is said."""
    rng = random.Random(3)
    for text in texts:
        whole = len(dialect.read(text, frame).objects)
        for end in range(0, len(text), 1 + len(text) // 300):
            reading = dialect.read(text[:end], frame)
            _check_sane(reading)
            assert len(reading.objects) <= whole
    for _ in range(mutations):
        _check_sane(dialect.read(mutated(rng.choice(texts), rng), frame))


def _check_sane(reading):
    assert np.isfinite(reading.objects.hbb_N4).all()
    assert reading.readable or any(p.kind in LOSSES for p in reading.problems)
    assert all(0 <= p.start <= p.end <= len(reading.text) for p in reading.problems)


def kinds_of_problems(reading):
    return {p.kind for p in reading.problems}

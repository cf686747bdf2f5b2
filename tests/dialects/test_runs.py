import gzip
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from georefer.dialects.grid_reader import MAX_PROBLEMS
from georefer.dialects.reading import ProblemKind
from georefer.dialects.runs import (
    MASK_TOKENS,
    CompactRuns,
    GeoGroundRuns,
    Text4SegRuns,
    from_tokens,
    to_tokens,
)

GEOGROUND, COMPACT, TEXT4SEG = GeoGroundRuns(), CompactRuns(), Text4SegRuns(["others", "red car", "hut, old; wide"])
CODECS = {"geoground": GEOGROUND, "compact": COMPACT, "text4seg": TEXT4SEG}
sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))
grids = sizes.flatmap(lambda size: arrays(bool, size))
EXAMPLE = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_the_published_example():
    text = "0 *4; 0 *1, 1 *2, 0 *1; 0 *4; 0 *4;"
    assert GEOGROUND.write(EXAMPLE) == text
    for said in (text, text.replace("; ", ";"), "0,0,0,0;0,1,1,0;0,0,0,0;0,0,0,0"):
        grid, problems = GEOGROUND.read(said)
        assert (grid == EXAMPLE).all() and problems == []
    assert TEXT4SEG.write(EXAMPLE[:2]) == "others *4\n others *1| red car *2| others *1\n"


def test_the_compact_form():
    assert COMPACT.write(EXAMPLE) == "=/1 2/./="
    assert COMPACT.write(np.ones((5, 4))) == "0/=4"
    assert COMPACT.write(np.zeros((5, 4))) == "=5"
    assert COMPACT.write(np.eye(3)) == "0 1/1 1/2"
    for said in (".", "4", "0 0 4", "=", "2 0 2"):  # one row, said otherwise
        assert not COMPACT.read(said, (1, 4))[0].any() and COMPACT.read(said, (1, 4))[1] == []
    assert to_tokens(EXAMPLE) == ["<m=>", "<m1>", "<m2>", "<m1>", "<m4>", "<m=>"]
    assert len(MASK_TOKENS) == len(set(MASK_TOKENS)) == 34


@pytest.mark.shared
def test_recorded_masks_of_geoground(golden):
    rows = [json.loads(line) for line in (golden / "dialects" / "dialects.jsonl").read_text().splitlines()]
    with gzip.open(golden / "dialects" / "expected.json.gz") as file:
        expected = json.load(file)["rows"]
    by_id = expected if isinstance(expected, dict) else {str(row["id"]): row for row in expected}
    rows = [row for row in rows if row["dialect"] == "geoground-mask"]
    assert rows
    for row in rows:
        grid, _ = GEOGROUND.read(re.sub(r"</?seg>", "", row["text"]))
        assert grid.tolist() == by_id[str(row["id"])]["grid"], row["id"]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@settings(deadline=None)
@given(grid=grids)
def test_what_is_written_is_read(codec, grid):
    text = codec.write(grid)
    read, problems = codec.read(text, grid.shape)
    assert (read == grid).all() and read.shape == grid.shape and problems == []
    assert codec.write(read) == text
    if codec is not COMPACT:
        assert (codec.read(text)[0] == grid).all()


@settings(deadline=None)
@given(grids)
def test_tokens_come_back(grid):
    read, problems = from_tokens(to_tokens(grid), grid.shape)
    assert (read == grid).all() and problems == []


@settings(deadline=None)
@given(st.integers(5, 9).flatmap(lambda n: sizes.flatmap(lambda size: arrays(bool, (n, *size)))), st.integers(0, 4))
def test_many_at_once_are_as_one_by_one(many, bad):
    texts = GEOGROUND.write_many(many)
    assert texts == [GEOGROUND.write(grid) for grid in many]
    texts[bad] = texts[bad][:-3] + " |; 5"
    read, problems = GEOGROUND.read_many(texts, many.shape[1:])
    assert [p == [] for p in problems] == [i != bad for i in range(len(many))]
    for i, grid in enumerate(many):
        if i != bad:
            assert (read[i] == grid).all()
    none, no_problems = GEOGROUND.read_many([], (4, 4))
    assert len(none) == 0 and no_problems == [] and GEOGROUND.write_many(np.zeros((0, 4, 4))) == []


def test_rows_of_one_text_do_not_stand_in_for_those_of_another():
    long, short = "0 *2; 1 *2; 1 *2;", "0 *2;"
    read, problems = GEOGROUND.read_many([long, short], (2, 2))
    assert read[0].tolist() == [[0, 0], [1, 1]] and read[1].tolist() == [[0, 0], [0, 0]]
    assert problems[0][0][0] == "too-many" and problems[1][0][0] == "truncated"


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@settings(deadline=None)
@given(grid=grids, cut=st.integers(0, 400))
def test_a_cut_off_text_keeps_its_whole_rows(codec, grid, cut):
    text = codec.write(grid)
    prefix = text[:cut]
    read, problems = codec.read(prefix, grid.shape)
    if read is None:
        assert problems[-1][0] == "unreadable"
        return
    separator = {"geoground": ";", "compact": "/", "text4seg": "\n"}[next(k for k, c in CODECS.items() if c is codec)]
    whole = sum(int(row[1:] or 1) if row[:1] == "=" else 1 for row in prefix.split(separator)[:-1])
    assert (read[:whole] == grid[:whole]).all()
    if codec is not COMPACT:  # the last row of a compact text may be complete in itself
        assert not read[whole + 1 :].any()


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@settings(deadline=None, max_examples=200)
@given(data=st.data(), grid=grids)
def test_no_text_makes_reading_raise(codec, data, grid):
    text = codec.write(grid)
    start, end = sorted((data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))))
    said = text[:start] + data.draw(st.text(alphabet="01 *,;|/=.-+\n²٣xr", max_size=12)) + text[end:]
    for size in (grid.shape, None)[: 1 if codec is COMPACT else 2]:
        read, problems = codec.read(said, size)
        assert len(problems) <= MAX_PROBLEMS + 3
        assert all(kind in ProblemKind.__args__ and 0 <= a <= b <= len(said) for kind, a, b, _ in problems)
        if read is not None and size is not None:
            assert read.shape == size and read.dtype == np.uint8
    tokens = data.draw(st.lists(st.sampled_from([*MASK_TOKENS[:5], "<x>", ""]), max_size=30))
    read, problems = from_tokens(tokens, grid.shape)
    assert read is None or read.shape == grid.shape


@pytest.mark.parametrize(
    "codec, text, kind",
    [
        (GEOGROUND, "0 *4; 0 *3; 0 *4; 0 *4;", "wrong-count"),
        (GEOGROUND, "0 *4; 0 *5; 0 *4; 0 *4;", "wrong-count"),
        (GEOGROUND, "0 *4; 0 *4; 0 *4; 0 *4; 0 *4;", "too-many"),
        (GEOGROUND, "0 *4; 0 *4; 0 *4;", "truncated"),
        (GEOGROUND, "0 *4; 0 *4; 0 *4; 0 *", "not-a-number"),
        (GEOGROUND, "0 *4; 0 *4; 0 *4; 7 *4;", "out-of-range"),
        (GEOGROUND, "0 *4; 0 *4; 0 *4; 0 *4, 1 *-4;", "out-of-range"),
        (GEOGROUND, "no mask here", "unreadable"),
        (TEXT4SEG, "others *4\n others *4\n others *4\n blue car *4\n", "unreadable"),
        (TEXT4SEG, "others *4\n others *4\n others *4\n others\n", "unreadable"),
        (COMPACT, "=9", "too-many"),
        (COMPACT, "1 2/x/./=", "not-a-number"),
        (COMPACT, "9/=3", "wrong-count"),
        (COMPACT, "", "unreadable"),
    ],
)
def test_every_repair_is_reported(codec, text, kind):
    grid, problems = codec.read(text, (4, 4))
    assert kind in {problem[0] for problem in problems}
    assert grid is None or grid.shape == (4, 4)


@pytest.mark.parametrize(
    "text",
    [
        "1 *99999999", "0 *1, " * 170_000, "0 *4; " * 170_000, "0,1;" * 250_000, "1" * 1_000_000, "1 *" + "9" * 999_999,
        " " * 1_000_000, "others *99999999| " * 60_000, "others *1\n" * 100_000, "*" * 1_000_000, "=" * 1_000_000,
        "=/" * 500_000, "3 " * 500_000, "1 *1; " + " " * 1_000_000, "| " * 500_000, "\n" * 1_000_000, "-1 " * 300_000,
    ],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_a_megabyte_is_read_within_bounds(text):
    for codec in CODECS.values():
        grid, problems = codec.read(text, (64, 64))
        assert (grid is None or grid.shape == (64, 64)) and len(problems) <= MAX_PROBLEMS + 3


def test_endless_tokens_are_cut():
    for tokens in (["<m0>"] * 500_000, ["<m=>"] * 500_000, ["<m32>"] * 500_000, ["?"] * 500_000):
        grid, problems = from_tokens(tokens, (32, 32))
        assert problems and (grid is None or grid.shape == (32, 32))


def test_what_cannot_be_said_is_refused():
    for label in ("a|b", "a *2", "a\nb", " a", ""):
        with pytest.raises(ValueError, match="rename"):
            Text4SegRuns(["others", label])
    with pytest.raises(ValueError, match="different"):
        Text4SegRuns(["others", "others"])
    with pytest.raises(ValueError, match="beyond"):
        TEXT4SEG.write(np.full((2, 2), 3))
    for codec in CODECS.values():
        with pytest.raises(ValueError, match="can be written"):
            codec.write(np.zeros((65, 4)))
        with pytest.raises(ValueError, match="can be read"):
            codec.read("0", (65, 4))
    with pytest.raises(ValueError, match="tokens can say"):
        to_tokens(np.zeros((4, 33)))


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_the_grammar_takes_what_is_written(codec):
    lark = pytest.importorskip("lark")
    grammar = lark.Lark(codec.grammar(), parser="lalr")
    rng = np.random.default_rng(0)
    for grid in (EXAMPLE, np.ones((64, 64)), np.zeros((9, 9)), rng.random((20, 64)) < 0.5, rng.random((16, 30)) < 0.1):
        grammar.parse(codec.write(np.asarray(grid, dtype=np.uint8)))


def test_grids_are_free_to_be_changed():
    grid, _ = GEOGROUND.read(GEOGROUND.write(EXAMPLE), (4, 4))
    grid[:] = 1
    assert (GEOGROUND.read(GEOGROUND.write(EXAMPLE), (4, 4))[0] == EXAMPLE).all()

"""Plain rows are read in one go; what comes out is what their tokens say one by one."""

from __future__ import annotations

import pytest

from georefer.dialects import DIALECTS
from georefer.dialects.jsonish import MAX_TOKENS, Item, items
from georefer.dialects.reader import MAX_OBJECTS, Reader

ROW = '{"bbox_2d": [1, 2, 30, 40], "label": "ship"}'
BARE = '{"bbox_2d": [5, 6, 70, 80]}'


def read(text: str) -> tuple[list[Item], list[str]]:
    dialect = DIALECTS["qwen3-vl"]
    reader = Reader(dialect, text, dialect.frame_for((1000, 1000)))
    return items(reader), [problem.kind for problem in reader.problems]


def spelt(text: str) -> str:
    """The same text in which no row is plain: too many spaces follow its brace."""
    return text.replace('{"', "{" + " " * 10 + '"')


@pytest.mark.parametrize(
    "text",
    [
        f"[{ROW}, {BARE}, {ROW}]",
        f"[{ROW},{BARE} ,\n\t{ROW},]",  # as models space it, and one comma too many
        f"{ROW}, {BARE}",  # in no list
        f"[{ROW} {BARE}; {ROW}]",  # no comma between
        f'{{"rows": [{ROW}, {BARE}], "count": 2}}',  # within another
        f'{{"a": {ROW}, "b": {BARE}, {ROW}, "c": 1}}',  # where keys should stand
        "[" * 12 + f"{ROW}, {BARE}" + "]" * 12,  # deeper than is kept
        f'[{ROW}, {{"bbox_2d": [1, 2, 3.5, 4]}}, {ROW}, "{ROW}"]',  # between others
        f"[{ROW}, {BARE}, {ROW[:20]}",  # cut off
        '[{"label": [1, 2], "label": "ship"}, {"label": [3, 4]}]',  # the first of two equal keys counts
        f"[{', '.join([BARE] * (MAX_OBJECTS + 9))}]",  # more than is taken
    ],
)
def test_plain_rows_are_as_those_read_token_by_token(text):
    plain, problems = read(text)
    said, said_problems = read(spelt(text))
    assert [(item.fields, item.complete) for item in plain] == [(item.fields, item.complete) for item in said]
    assert problems == said_problems


def test_rows_stand_where_they_were_said():
    found, problems = read(f"boxes: [{ROW},  {BARE}]")
    assert [(item.start, item.end) for item in found] == [(8, 8 + len(ROW)), (11 + len(ROW), 11 + len(ROW + BARE))]
    assert not problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # the row after the limit is the last one looked at
        ("[" + ",".join(['{"b":[1,2]}'] * 3000) + "]", 2 * MAX_OBJECTS + 1),
        # "[", then tokens that say nothing, then a row each two tokens
        ("[" + "," * (MAX_TOKENS - 4) + ",".join(['{"b":[1,2]}'] * 9), 2),
        ("[" + "," * (MAX_TOKENS - 5) + ",".join(['{"b":[1,2]}'] * 9), 2),
        ("[" + "," * (MAX_TOKENS - 6) + ",".join(['{"b":[1,2]}'] * 9), 3),
    ],
)
def test_limits_hold_within_a_run_of_rows(text, expected):
    found, problems = read(text)
    assert len(found) == expected
    assert problems == ["truncated", "too-many"]

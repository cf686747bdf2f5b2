"""What all dialects share: repetitions, lists that are no lists, repairs in the order in which they were made."""

from __future__ import annotations

import pytest

from georefer.dialects import DIALECTS
from georefer.geometry import Frame

GEOREFER = DIALECTS["georefer"]
FRAME = Frame.resize((1000, 1000), (1000, 1000))


@pytest.mark.parametrize(
    ("text", "kinds", "problems"),
    [
        ("ship [0, 0, 9, 9] [0, 0, 9, 8]", ["hbb", "hbb"], []),
        ("ship [0, 0, 9, 9] [0, 0, 9, 9]", ["hbb"], ["duplicate"]),
        # two halves of one square are different shapes in the same bounds
        ("ship [0, 0, 9, 0, 9, 9] [0, 0, 9, 9, 0, 9]", ["polygon", "polygon"], []),
        # a box and the polygon of its corners are different answers
        ("ship [0, 0, 9, 9] [9, 0, 9, 9, 0, 9, 0, 0]", ["hbb", "polygon"], []),
        # different numbers that clipping makes one
        ("ship [0, 0, 1200, 9] [0, 0, 1300, 9]", ["hbb"], ["out-of-range", "out-of-range", "duplicate"]),
        # of one shape the repairs stand in the order in which they were made
        ("ship [1200.5, 0, 9, 9]", ["hbb"], ["not-integer", "out-of-range", "swapped"]),
        ("ship [0, 0, 9, 9] [1, 1, 5, 5] [1, 1, 5, x]", ["hbb", "hbb"], ["not-a-number"]),
        ("ship [[0, 0, 9, 9]]", ["hbb"], ["off-grammar"]),
        ("ship [0, 0, 9, 9]{ [5] }", [], ["unreadable", "not-a-number"]),
        ("ship [5, 5, 5, 9] [0, 0, 9, 9]", ["hbb"], ["empty-shape"]),
    ],
)
def test_what_is_kept_and_what_is_noted(text, kinds, problems):
    reading = GEOREFER.read(text, FRAME)
    assert reading.objects.kinds_N.tolist() == kinds
    assert [problem.kind for problem in reading.problems] == problems

"""What may be picked: the class that a question is about."""

import pytest

from georefer.building.picks import class_of
from georefer.scenes import Question


@pytest.mark.parametrize(
    ("params", "answer_ids", "answer_text", "expected"),
    [
        ({"expression": "it"}, ("0",), None, "pool"),  # by its answer
        ({"label": "pool"}, ("0", "2"), None, "pool"),  # several of one class
        ({"label": "pool"}, ("0", "1"), None, None),  # of several classes
        ({"label": "tree"}, (), None, None),  # absent
        ({"label": "pool"}, (), "yes", "pool"),  # in words
        ({"label": "tree"}, (), "no", None),  # absent, in words
        ({"label": ["pool"]}, (), "yes", None),  # no name of a class
        ({"question": "how many?"}, (), "3", None),
    ],
)
def test_the_class_of_a_question(params, answer_ids, answer_text, expected):
    question = Question("q", "s", "t", params, answer_ids, answer_text)
    assert class_of(question, {"0": "pool", "1": "tank", "2": "pool"}) == expected

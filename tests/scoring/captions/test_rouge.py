"""ROUGE-L of captions: the longest common words against the plain table, and the rules of pycocoevalcap."""

import random

import pytest

from georefer.errors import InputError
from georefer.scoring.captions.rouge import BETA, common_subsequence, rouge_l


def table(a, b):
    """The length of the longest common subsequence as textbooks have it."""
    rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            rows[i + 1][j + 1] = rows[i][j] + 1 if x == y else max(rows[i][j + 1], rows[i + 1][j])
    return rows[-1][-1]


def test_common_subsequence_equals_the_table():
    rng = random.Random(0)
    for _ in range(300):
        a, b = (rng.choices("abcd", k=rng.randint(0, 70)) for _ in "ab")
        assert common_subsequence(a, b) == table(a, b)


def f(precision, recall):
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


@pytest.mark.parametrize(
    "caption, references, score",
    [
        ("a b c", ["a b c"], 1),
        ("a x c", ["a b c d"], f(2 / 3, 2 / 4)),
        ("c b a", ["a b c"], f(1 / 3, 1 / 3)),  # in order
        ("a", ["b"], 0),
        ("a b", ["a b c d", "a"], f(1, 1)),  # precision of the first, recall of the second
        ("", ["a"], 0),
        ("a", [""], 0),
        ("", [""], 1),  # one empty word is all of one empty word
        ("a  b", ["a b"], f(2 / 3, 1)),  # so are two blanks
        ("a\xa0b", ["a b"], 0),  # a no-break space is within a word
    ],
)
def test_rules(caption, references, score):
    whole, each = rouge_l([caption], [references])
    assert whole == each[0] == pytest.approx(score)


def test_the_corpus_is_the_mean():
    assert rouge_l(["a", "b"], [["a"], ["c"]])[0] == 0.5
    with pytest.raises(InputError, match="the caption 'a'"):
        rouge_l(["a"], [[]])
    with pytest.raises(ValueError, match="1 captions"):
        rouge_l(["a"], [])

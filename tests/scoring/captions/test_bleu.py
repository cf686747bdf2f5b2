"""BLEU of captions against pycocoevalcap's values, and its rules on a few words."""

import numpy as np
import pytest

from georefer.errors import InputError
from georefer.scoring.captions.bleu import SMALL, TINY, bleu
from georefer.scoring.captions.packages import best_rouge_scores, rouge_scores, sacrebleu_scores


def one(caption, *references):
    return bleu([caption], [references])[0]


def near(*counts, short=1.0):
    """BLEU-1..4 of (hits, n-grams) of each order."""
    product, values = 1.0, []
    for order, (hits, grams) in enumerate(counts, 1):
        product *= (hits + TINY) / (grams + SMALL)
        values.append(short * product ** (1 / order))
    return pytest.approx(values, rel=1e-9, abs=0)


@pytest.mark.parametrize(
    "caption, references, expected",
    [
        ("a b c d e", ["a b c d e"], near((5, 5), (4, 4), (3, 3), (2, 2))),
        ("a b x d", ["a b c d"], near((3, 4), (1, 3), (0, 2), (0, 1))),
        ("a a a a", ["a b a c"], near((2, 4), (0, 3), (0, 2), (0, 1))),  # no more hits than the reference has
        ("a b", ["a c", "d b"], near((2, 2), (0, 1), (0, 0), (0, 0))),  # hits of several references
        ("a b c", ["a b c d e"], near((3, 3), (2, 2), (1, 1), (0, 0), short=np.exp(1 - 5 / 3))),
        ("a b c", ["a b c d e f", "x y"], near((3, 3), (2, 2), (1, 1), (0, 0))),  # the closest has two words
        ("a b c", ["x x", "a b c x"], near((3, 3), (2, 2), (1, 1), (0, 0))),  # equally close: the shorter
        ("A", ["a"], near((0, 1), (0, 0), (0, 0), (0, 0))),  # words are taken as they are
    ],
)
def test_rules(caption, references, expected):
    assert one(caption, *references) == expected


def test_nothing_said_and_nothing_asked():
    assert one("", "a b") == [0, 0, 0, 0]
    # what pycocoevalcap gives for a word and an empty reference: precisions of nearly nothing
    whole, each = bleu(["a b"], [[""]])
    assert whole == pytest.approx(
        [4.999999997500001e-16, 7.071067806562174e-16, 7.937005255872507e-13, 2.659147947475314e-11], abs=1e-20
    )
    assert each[:, 0].tolist() == whole
    assert all(np.isnan(bleu([], [])[0]))


def test_the_corpus_is_the_sum_of_counts():
    whole, each = bleu(["a b c", "x"], [["a b c"], ["y"]])
    assert whole[0] == pytest.approx(3 / 4) and each[0].tolist() == pytest.approx([1, 0])
    assert whole != pytest.approx(each.mean(axis=1).tolist())


@pytest.mark.parametrize("references", [[[]], ["a"], [None]])
def test_a_caption_without_references_is_refused(references):
    with pytest.raises(InputError, match="caption number 0"):
        bleu(["a"], references)
    with pytest.raises(ValueError, match="1 captions"):
        bleu(["a"], [])


def test_packages_where_they_are_installed():
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    found = sacrebleu_scores(["a small\nroad here", "a"], [["a small road here"], ["b"]])
    assert found["sentence"] == pytest.approx([100, 0]) and found["sys_len"] == found["ref_len"] == 5
    assert rouge_scores(["a b"], ["a c d"])["rouge1"] == [pytest.approx([1 / 2, 1 / 3, 2 / 5])]
    assert best_rouge_scores(["roads"], [["b", "road"]], stem=True) == {"rouge1": [1], "rougeL": [1]}

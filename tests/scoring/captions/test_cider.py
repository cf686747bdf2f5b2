"""CIDEr of captions: its formula by hand, saved document frequencies, and one image alone."""

import numpy as np
import pytest

from georefer.errors import InputError
from georefer.scoring.captions.cider import SIGMA, DocumentFrequencies, cider

CAPTIONS = ["a b", "a c", "d"]
REFERENCES = [["a b", "a b b"], ["c"], ["d e"]]


def test_formula_by_hand():
    whole, each = cider(CAPTIONS, REFERENCES)
    # second image: "a" and "c" are each in one image of three, so both weigh log 3; one order of four is shared
    cosine = 1 / np.sqrt(2)
    penalty = np.exp(-((1 - 0) ** 2) / (2 * SIGMA**2))  # lengths are pairs of words: 1 and 0
    assert each[1] == pytest.approx(10 * cosine / 4 * penalty)
    # first image: equal to one reference; of the other "a b b" it has a (1 of 1), b (1 of 2) and the pair a b
    ones = (1 + 2 * 1) / (np.sqrt(2) * np.sqrt(5))
    pairs = 1 / np.sqrt(2)
    assert each[0] == pytest.approx(10 / 4 * (2 + (ones + pairs) * penalty) / 2)
    assert whole == pytest.approx(each.mean())


def test_no_ngram_counts_more_than_the_reference_has():
    spam, once = (cider([text, "x"], [["a b c"], ["y"]])[1][0] for text in ("a a a", "a b b"))
    assert spam == pytest.approx(10 / 4 * 3 / (3 * np.sqrt(3)) / 3)  # one of three
    assert once > spam


def test_what_all_images_have_weighs_nothing():
    assert cider(["the road", "the sea"], [["the"], ["the"]])[1].tolist() == [0, 0]
    assert cider(["a b c d"], [["a b c d"]])[0] == 0  # one image
    assert cider(["a b c d"], [["a b c d"]], alike=True)[0] == pytest.approx(10)


def test_saved_frequencies():
    saved = DocumentFrequencies.of(REFERENCES)
    assert saved.documents == 3 and saved.images == {
        "a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "a b": 1, "b b": 1, "d e": 1, "a b b": 1,
    }  # fmt: skip
    assert cider(CAPTIONS, REFERENCES, saved)[1].tolist() == pytest.approx(cider(CAPTIONS, REFERENCES)[1].tolist())
    # with them a subset, and even one image, scores as in the whole set
    assert cider(CAPTIONS[:1], REFERENCES[:1], saved)[1][0] == pytest.approx(cider(CAPTIONS, REFERENCES)[1][0])
    common = DocumentFrequencies(100, {"d": 50, "d e": 1})
    assert cider(["d"], [["d e"]], common)[0] < cider(["d"], [["d e"]], saved)[0]


def test_empty_texts():
    assert cider(["", "a"], [["a"], [""]])[1].tolist() == [0, 0]
    assert cider([""], [[""]])[0] == 0
    assert np.isnan(cider([], [])[0])
    with pytest.raises(InputError, match="caption number 1"):
        cider(["a", "b"], [["a"], []])

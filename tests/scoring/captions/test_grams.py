"""N-grams of many texts at once against counting them one by one."""

import random
from collections import Counter

import numpy as np

from georefer.scoring.captions.grams import ORDERS, corpus_of, looked_up


def counted(text, order):
    words = text.split()
    return Counter(" ".join(words[start : start + order]) for start in range(len(words) - order + 1))


def test_counts_are_those_of_a_loop():
    rng = random.Random(0)
    texts = [[" ".join(rng.choices("abc", k=rng.randint(0, 7))) for _ in range(4)] for _ in range(40)]
    corpus = corpus_of([said for said, *_ in texts], [true for _, *true in texts])
    flat = [text for _, *true in texts for text in true]
    assert corpus.owner_R.tolist() == [n // 3 for n in range(120)]
    assert corpus.reference_length_R.tolist() == [len(text.split()) for text in flat]
    for order in range(1, ORDERS + 1):
        spelled = corpus.spelled(order)
        assert len(set(spelled)) == len(spelled)
        for grams, given in (
            (corpus.captions[order - 1], [said for said, *_ in texts]),
            (corpus.references[order - 1], flat),
        ):
            found = [Counter[str]() for _ in given]
            for text, gram, count in zip(grams.text_E, grams.gram_E, grams.count_E, strict=True):
                found[text][spelled[gram]] += int(count)
            assert found == [counted(text, order) for text in given]
            assert (np.diff(grams.keys(np.arange(len(given)))) > 0).all()  # sorted, each once


def test_no_words_at_all():
    corpus = corpus_of(["", ""], [[""], ["", " "]])
    assert [grams.kinds for grams in corpus.captions] == [0] * ORDERS
    assert corpus.spelled(1) == []


def test_keys_are_looked_up():
    place_B, found_B = looked_up(np.array([2, 5, 9]), np.array([5, 1, 9, 10]))
    assert found_B.tolist() == [True, False, True, False] and place_B[found_B].tolist() == [1, 2]
    assert looked_up(np.array([], dtype=int), np.array([3]))[1].tolist() == [False]

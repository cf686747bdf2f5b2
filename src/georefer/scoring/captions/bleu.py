"""BLEU-1 to BLEU-4 of captions as COCO caption evaluation has it: per corpus and per caption, closest reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from georefer.scoring.captions.grams import ORDERS, Corpus, corpus_of, looked_up

SMALL, TINY = 1e-9, 1e-15
"""pycocoevalcap adds these below and above the line: BLEU-4 without a common 4-gram is nearly 0, and 0/0 is 0."""


def bleu(captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[list[float], np.ndarray]:
    """BLEU-1..4 of the corpus, and of each caption (4, N), of texts that are words between blanks.

    Papineni et al. 2002, with the two constants of pycocoevalcap 1.2. The reference length is that of the closest
    reference, of two equally close the shorter. InputError where a caption comes without a reference.
    """
    return bleu_of(corpus_of(captions, references))


def bleu_of(corpus: Corpus) -> tuple[list[float], np.ndarray]:
    """`bleu` of counted n-grams, so that several measures can share them."""
    length_N = corpus.caption_length_N
    if not len(length_N):
        return [float("nan")] * ORDERS, np.zeros((ORDERS, 0))
    guess_4N = np.maximum(length_N - np.arange(ORDERS)[:, None], 0)
    right_4N = np.array([_clipped(corpus, order) for order in range(ORDERS)])
    reference_N = _closest(corpus)
    whole = _scores(right_4N.sum(axis=1), guess_4N.sum(axis=1), length_N.sum(), reference_N.sum())
    return whole.tolist(), _scores(right_4N, guess_4N, length_N, reference_N)


def _clipped(corpus: Corpus, order: int) -> np.ndarray:
    """Of each caption (N) the n-grams that a reference has too, each as often as in the reference that has it most."""
    said, true = corpus.captions[order], corpus.references[order]
    keys_E = said.keys(np.arange(len(corpus.caption_length_N)))
    place_F, found_F = looked_up(keys_E, true.keys(corpus.owner_R))
    most_E = np.zeros(len(keys_E), dtype=np.int64)
    np.maximum.at(most_E, place_F[found_F], true.count_E[found_F])
    return np.bincount(said.text_E, np.minimum(said.count_E, most_E), len(corpus.caption_length_N))


def _closest(corpus: Corpus) -> np.ndarray:
    length_R, owner_R = corpus.reference_length_R, corpus.owner_R
    apart_R = np.abs(length_R - corpus.caption_length_N[owner_R])
    order_R = np.lexsort((length_R, apart_R, owner_R))
    return length_R[order_R[np.searchsorted(owner_R, np.arange(len(corpus.caption_length_N)))]]


def _scores(right_4X: np.ndarray, guess_4X: np.ndarray, length_X: np.ndarray, reference_X: np.ndarray) -> np.ndarray:
    """BLEU of each order: geometric means of precisions, times the penalty of what is too short."""
    product_4X = np.cumprod((right_4X + TINY) / (guess_4X + SMALL), axis=0)
    roots_4 = 1 / np.arange(1, ORDERS + 1).reshape(-1, *[1] * (product_4X.ndim - 1))
    ratio_X = (length_X + TINY) / (reference_X + SMALL)
    return product_4X**roots_4 * np.exp(np.minimum(0, 1 - 1 / ratio_X))

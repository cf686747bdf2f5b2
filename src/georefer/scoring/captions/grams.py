"""N-grams of many texts at once, as arrays: what BLEU and CIDEr both count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas

from georefer.errors import InputError

ORDERS = 4
"""N-grams of one to four words, as both measures take them."""


@dataclass(frozen=True)
class Grams:
    """Which n-grams of one order texts hold: E entries (text, n-gram, how often), by text, then by n-gram.

    N-grams are numbered from 0 below `kinds`, alike in captions and references of one `Corpus`. `first_K` is the
    place, among all words of the corpus, at which each kind begins first.
    """

    text_E: np.ndarray
    gram_E: np.ndarray
    count_E: np.ndarray
    first_K: np.ndarray

    @property
    def kinds(self) -> int:
        return len(self.first_K)

    def keys(self, owner_T: np.ndarray) -> np.ndarray:
        """A number (E) for each entry's pair of the text's owner and n-gram."""
        return owner_T[self.text_E] * self.kinds + self.gram_E


@dataclass(frozen=True)
class Corpus:
    """Captions and the references of each, as numbers of words in order, and their n-grams by order from 1 on.

    `owner_R` is the caption to which a reference belongs, rising; lengths are in words.
    """

    captions: tuple[Grams, ...]
    references: tuple[Grams, ...]
    caption_length_N: np.ndarray
    reference_length_R: np.ndarray
    owner_R: np.ndarray
    word_P: np.ndarray
    vocabulary: tuple[str, ...]

    def spelled(self, order: int) -> list[str]:
        """Each kind of n-gram as its words joined by blanks."""
        words = [self.vocabulary[number] for number in self.word_P.tolist()]
        return [" ".join(words[first : first + order]) for first in self.captions[order - 1].first_K.tolist()]


def corpus_of(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Corpus:
    """N-grams of texts that are words between blanks; InputError where a caption comes without a reference."""
    if len(captions) != len(references):
        raise ValueError(f"{len(captions)} captions came with references of {len(references)}; give them for each")
    for number, texts in enumerate(references):
        if isinstance(texts, str) or not texts:
            raise InputError(
                f"caption number {number} came with {texts!r}, where a list of one or more references was expected; "
                "leave the caption out, or put a single reference into a list"
            )
    owner_R = np.repeat(np.arange(len(captions)), [len(texts) for texts in references])
    split = [text.split() for text in chain(captions, chain.from_iterable(references))]
    length_T = np.array([len(words) for words in split], dtype=np.int64)
    words = list(chain.from_iterable(split))
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    word_P = np.fromiter(map(vocabulary.__getitem__, words), dtype=np.int64, count=len(words))
    orders = _counted(word_P, np.repeat(np.arange(len(split)), length_T), len(captions))
    return Corpus(
        tuple(said for said, _ in orders), tuple(true for _, true in orders),
        length_T[: len(captions)], length_T[len(captions) :], owner_R, word_P, tuple(vocabulary),
    )  # fmt: skip


def _counted(word_P: np.ndarray, text_P: np.ndarray, captions: int) -> list[tuple[Grams, Grams]]:
    """Of each order the n-grams of the captions, which are the first texts, and of the other texts."""
    counted = []
    place_Q, key_Q, gram_Q = np.arange(len(word_P)), word_P, word_P
    for order in range(1, ORDERS + 1):
        if order > 1:  # the n-grams of one word less that are followed by another word of their text
            longer_Q = place_Q + order - 1 < len(word_P)
            longer_Q[longer_Q] = text_P[place_Q[longer_Q] + order - 1] == text_P[place_Q[longer_Q]]
            place_Q, gram_Q = place_Q[longer_Q], gram_Q[longer_Q]
            key_Q = gram_Q * (word_P.max(initial=0) + 1) + word_P[place_Q + order - 1]
        gram_Q, _ = pandas.factorize(key_Q)  # numbered as they come up; by hash, where numpy sorts
        first_K = np.flatnonzero(np.diff(np.maximum.accumulate(gram_Q), prepend=-1)) if len(gram_Q) else gram_Q
        pair_E, count_E = np.unique(text_P[place_Q] * max(1, len(first_K)) + gram_Q, return_counts=True)
        text_E, gram_E = np.divmod(pair_E, max(1, len(first_K)))
        border = int(np.searchsorted(text_E, captions))
        both = [(text_E[:border], slice(border)), (text_E[border:] - captions, slice(border, None))]
        said, true = (Grams(text, gram_E[part], count_E[part], place_Q[first_K]) for text, part in both)
        counted.append((said, true))
    return counted


def looked_up(keys_A: np.ndarray, keys_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each key in B its place in A, which is sorted and has each key once, and whether it is there."""
    place_B = np.searchsorted(keys_A, keys_B)
    place_B[place_B == len(keys_A)] = 0
    found_B = keys_A[place_B] == keys_B if len(keys_A) else np.zeros(len(keys_B), dtype=bool)
    return place_B, found_B

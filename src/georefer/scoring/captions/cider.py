"""CIDEr of captions: n-grams that the references share, weighted by how rare they are among the images' references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from georefer.scoring.captions.grams import ORDERS, Corpus, Grams, corpus_of, looked_up

SIGMA = 6.0
"""The spread of lengths, in words, of the penalty for captions longer or shorter than a reference."""


@dataclass(frozen=True)
class DocumentFrequencies:
    """In how many of `documents` images some reference has an n-gram: `images[n-gram]`, its words joined by blanks.

    CIDEr by the references at hand changes with the set that is scored; saved frequencies make sets comparable.
    """

    documents: int
    images: Mapping[str, int]

    @classmethod
    def of(cls, references: Sequence[Sequence[str]]) -> DocumentFrequencies:
        """Of the references of each image, as words between blanks."""
        corpus = corpus_of([""] * len(references), references)
        images: dict[str, int] = {}
        for order in range(ORDERS):
            counts = _images(corpus, order).tolist()
            images.update(zip(corpus.spelled(order + 1), counts, strict=True))
        return cls(len(references), images)


def cider(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    frequencies: DocumentFrequencies | None = None,
    *,
    alike: bool = False,
) -> tuple[float, np.ndarray]:
    """CIDEr-D of the corpus and of each caption (N), 0 to 10, of texts that are words between blanks.

    Vedantam et al. 2015 with the clipping of pycocoevalcap 1.2, whose length is the number of word pairs. Without
    `frequencies` they are those of these references: a single image then scores 0, as all its n-grams are in every
    document. With `alike` all n-grams weigh 1. InputError where a caption comes without a reference.
    """
    return cider_of(corpus_of(captions, references), frequencies, alike=alike)


def cider_of(
    corpus: Corpus, frequencies: DocumentFrequencies | None = None, *, alike: bool = False
) -> tuple[float, np.ndarray]:
    """`cider` of counted n-grams, so that several measures can share them."""
    count = len(corpus.caption_length_N)
    if not count:
        return float("nan"), np.zeros(0)
    total_R = np.zeros(len(corpus.owner_R))
    for order in range(ORDERS):
        weight_K = np.ones(corpus.captions[order].kinds) if alike else _weights(corpus, order, frequencies)
        total_R += _cosines(corpus, order, weight_K)
    pairs_N, pairs_R = (np.maximum(n - 1, 0) for n in (corpus.caption_length_N, corpus.reference_length_R))
    total_R *= np.exp(-((pairs_N[corpus.owner_R] - pairs_R) ** 2) / (2 * SIGMA**2))
    scores_N = 10 / ORDERS * np.bincount(corpus.owner_R, total_R, count) / np.bincount(corpus.owner_R, minlength=count)
    return float(scores_N.mean()), scores_N


def _images(corpus: Corpus, order: int) -> np.ndarray:
    """Of each kind of n-gram (K) in the references of how many captions it is."""
    true = corpus.references[order]
    keys_F = np.sort(true.keys(corpus.owner_R))
    once = keys_F[np.diff(keys_F, prepend=-1) != 0]  # several times faster than np.unique, which hashes
    return np.bincount(once % max(1, true.kinds), minlength=true.kinds)


def _weights(corpus: Corpus, order: int, frequencies: DocumentFrequencies | None) -> np.ndarray:
    if frequencies is None:
        documents, images_K = len(corpus.caption_length_N), _images(corpus, order)
    else:
        documents = frequencies.documents
        images_K = np.array([frequencies.images.get(text, 0) for text in corpus.spelled(order + 1)], dtype=np.int64)
    return np.log(documents) - np.log(np.maximum(images_K, 1))


def _cosines(corpus: Corpus, order: int, weight_K: np.ndarray) -> np.ndarray:
    """Of each reference (R) its cosine with the caption, no n-gram counting more than the reference has of it."""
    said, true = corpus.captions[order], corpus.references[order]
    said_E, true_F = said.count_E * weight_K[said.gram_E], true.count_E * weight_K[true.gram_E]
    place_F, found_F = looked_up(said.keys(np.arange(len(corpus.caption_length_N))), true.keys(corpus.owner_R))
    shared_F = np.zeros(len(true_F))
    shared_F[found_F] = np.minimum(said_E[place_F[found_F]], true_F[found_F]) * true_F[found_F]
    dot_R = np.bincount(true.text_E, shared_F, len(corpus.owner_R))
    norm_R = _norms(said, said_E, len(corpus.caption_length_N))[corpus.owner_R] * _norms(true, true_F, len(dot_R))
    return np.divide(dot_R, norm_R, out=np.zeros(len(norm_R)), where=norm_R != 0)


def _norms(grams: Grams, value_E: np.ndarray, texts: int) -> np.ndarray:
    return np.sqrt(np.bincount(grams.text_E, value_E**2, texts))

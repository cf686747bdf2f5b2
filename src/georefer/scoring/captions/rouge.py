"""ROUGE-L of captions as COCO caption evaluation has it: the longest words in common, in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from georefer.errors import InputError

BETA = 1.2
"""Weight of recall over precision."""


def rouge_l(captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, np.ndarray]:
    """Mean ROUGE-L and that of each caption (N), of texts that are words with one blank between them.

    Lin 2004 as in pycocoevalcap 1.2: the best precision and the best recall, be it of different references. There
    an empty text is one empty word, so that an empty caption has all of an empty reference; so it is here. InputError
    where a caption comes without a reference.
    """
    if len(captions) != len(references):
        raise ValueError(f"{len(captions)} captions came with references of {len(references)}; give them for each")
    scores_N = np.array([_score(said, true) for said, true in zip(captions, references, strict=True)], dtype=np.float64)
    return float(scores_N.mean()) if len(scores_N) else float("nan"), scores_N


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest sequence that is in both, maybe with others between.

    Bit-parallel (Hyyrö 2004): a row of the usual table is the bits of one integer.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(a)) - 1
    row = full
    for word in b:
        here = row & places.get(word, 0)
        row = (row + here | row - here) & full
    return len(a) - row.bit_count()


def _score(caption: str, references: Sequence[str]) -> float:
    if isinstance(references, str) or not references:
        raise InputError(
            f"the caption {caption[:60]!r} came with {references!r}, where a list of one or more references was "
            "expected; leave the caption out, or put a single reference into a list"
        )
    said = caption.split(" ")
    precision = recall = 0.0
    for reference in references:
        true = reference.split(" ")
        common = common_subsequence(said, true)
        precision, recall = max(precision, common / len(said)), max(recall, common / len(true))
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision) if precision and recall else 0.0

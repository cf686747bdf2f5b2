"""METEOR 1.5 for English, as COCO's caption evaluation runs it, without Java.

Equal to `java -jar meteor-1.5.jar - - -stdio -l en -norm`: the words of meteor_words, the matches of meteor_match, the
search of meteor_align, and the formula of Denkowski and Lavie, "Meteor Universal" (WMT 2014), with its parameters for
English. The corpus' score is that of the summed counts, not the mean of the captions' scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from georefer.errors import InputError
from georefer.scoring.captions.meteor_align import align
from georefer.scoring.captions.meteor_match import Match, Sentence, matches_of
from georefer.scoring.captions.meteor_resources import MeteorResources

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
WEIGHTS = (1.0, 0.6, 0.8, 0.6)
"""Of words matched as they are, by stem, as synonyms, as paraphrases."""

# Places of the counts that a caption and its best reference give, pairs of (caption, reference)
_LENGTH, _FUNCTION_WORDS, _CONTENT, _FUNCTION, _CHUNKS = 0, 2, 4, 12, 20
_COUNTS = 21


def meteor(
    captions: Sequence[str], references: Sequence[Sequence[str]], resources: MeteorResources | None = None
) -> tuple[float, np.ndarray]:
    """The corpus' score and the score of each caption against the reference that fits it best, all from 0 to 1.

    Texts are those that COCO's tokenizer gives, words with blanks between; METEOR then tokenises and lowers them once
    more. "|||" parts a reference in two and is dropped from a caption, as in COCO's pipe to Java; a line break, which
    breaks that pipe, is a blank here, and words beyond the 1,000th of a text are not read. Resources are those of the
    installed pycocoevalcap if none are given (MissingExtra without it).
    """
    if len(captions) != len(references):
        raise InputError(f"{len(captions)} captions and {len(references)} lists of references were given; match them")
    if not captions:
        return 0.0, np.zeros(0)
    known = MeteorResources.load() if resources is None else resources
    counts_NC = np.array([_best(*pair, known) for pair in zip(captions, references, strict=True)], float)
    scores_N = np.array([_score(counts) for counts in counts_NC.tolist()])
    # a caption that is its reference has one chunk on its own and none in the sum
    perfect_N = np.array([_is_perfect(counts) for counts in counts_NC.tolist()])
    counts_NC[perfect_N, _CHUNKS] = 0
    return _score(counts_NC.sum(0).tolist()), scores_N


def _best(caption: str, references: Sequence[str], resources: MeteorResources) -> list[int]:
    """The counts against the reference with the highest score, the first of equal ones."""
    text = caption.replace("|||", "").replace("  ", " ")
    texts = " ||| ".join(references).split("|||")
    read = partial(Sentence.of, resources=resources)
    hypothesis = read(text)
    return max((_counts(hypothesis, read(reference)) for reference in texts), key=_score)


def _counts(caption: Sentence, reference: Sentence) -> list[int]:
    matches = align(matches_of(caption, reference), len(caption.words))
    counts = [0] * _COUNTS
    for side, sentence in enumerate((caption, reference)):
        counts[_LENGTH + side] = len(sentence.words)
        counts[_FUNCTION_WORDS + side] = sum(word.is_function for word in sentence.words)
    for match in matches:
        here = caption.words[match.caption_start : match.caption_start + match.caption_length]
        there = reference.words[match.start : match.start + match.length]
        for side, words in enumerate((here, there)):
            for word in words:
                counts[(_FUNCTION if word.is_function else _CONTENT) + 2 * match.stage + side] += 1
    counts[_CHUNKS] = _chunks(matches)
    return counts


def _chunks(matches: Sequence[Match]) -> int:
    """Runs of matches that follow each other without a gap in the caption and in the reference."""
    ends = [(match.start + match.length, match.caption_start + match.caption_length) for match in matches]
    starts = [(match.start, match.caption_start) for match in matches]
    return len(matches) and 1 + sum(end != start for end, start in zip(ends, starts[1:], strict=False))


def _matched(counts: Sequence[float], side: int) -> float:
    return sum(counts[_CONTENT + side : _CHUNKS : 2])


def _is_perfect(counts: Sequence[float]) -> bool:
    return counts[_CHUNKS] == 1 and all(_matched(counts, side) == counts[_LENGTH + side] for side in (0, 1))


def _score(counts: Sequence[float]) -> float:
    precision, recall = (_share(counts, side) for side in (0, 1))
    if not precision or not recall:
        return 0.0
    mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
    matched = (_matched(counts, 0) + _matched(counts, 1)) / 2
    fragmentation = 0.0 if _is_perfect(counts) else counts[_CHUNKS] / matched
    return max(0.0, mean * (1 - GAMMA * fragmentation**BETA))


def _share(counts: Sequence[float], side: int) -> float:
    """Weighted matches over weighted words of the caption (precision) or the reference (recall)."""
    functions = counts[_FUNCTION_WORDS + side]
    words = DELTA * (counts[_LENGTH + side] - functions) + (1 - DELTA) * functions
    matched = 0.0
    # added one by one in the original's order: two references may score the same but for rounding
    for first, share in ((_CONTENT, DELTA), (_FUNCTION, 1 - DELTA)):
        for stage, weight in enumerate(WEIGHTS):
            matched += counts[first + 2 * stage + side] * weight * share
    return matched / words if words else 0.0

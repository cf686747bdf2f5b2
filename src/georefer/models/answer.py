"""An answer as text that still knows its tokens: where each stands in it, and how sure the model was of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from georefer.models.decoding import Said
from georefer.models.speaking import Speech


@dataclass(frozen=True)
class Answer:
    """Text that a model said, and its tokens.

    `spans` are the characters (start, end) of each token, which join without gaps and cover the text; empty for a
    token that adds no character of its own. `ids`, `logprobs` and `stopped` are those of `Said`.
    """

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    spans: tuple[tuple[int, int], ...]
    stopped: Literal["end", "length"]


def answer_of(speech: Speech, said: Said) -> Answer:
    """What was said, as text."""
    text = speech.answer(said.ids)
    ends = _ends(speech, said.ids, text)
    return Answer(text, said.ids, said.logprobs, tuple(zip([0, *ends], ends, strict=False)), said.stopped)


def _ends(speech: Speech, ids: Sequence[int], text: str) -> list[int]:
    """Characters of the text up to the end of each token."""
    if not ids:
        return []
    first = speech.answer(ids[:1])
    # most tokens read the same wherever they stand
    pieces = {token: speech.answer((ids[0], token)).removeprefix(first) for token in set(ids)}
    said = [first, *(pieces[token] for token in ids[1:])]
    if "".join(said) == text:
        return list(accumulate(map(len, said)))
    # bytes of one letter in several tokens: a beginning of the answer reads as far as it is the same
    ends = [_alike(speech.answer(ids[:n]), text) for n in range(1, len(ids))]
    return list(accumulate([*ends, len(text)], max))


def _alike(one: str, other: str) -> int:
    """Characters up to where two texts part."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))

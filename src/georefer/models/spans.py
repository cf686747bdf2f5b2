"""Where the tokens of a served answer stand in it: servers tell them as pieces of text or bytes, without places.

OpenAI's own service and SGLang tell the bytes of each token, which joined are the answer. vLLM decodes every token
alone, so that spaces between words and letters of several tokens are lost and special tokens are told that the answer
leaves out; there the pieces are looked up in the answer one behind the other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

_SPECIAL = re.compile(r"<[^<>\s]{1,40}>|\[[A-Z_]{1,40}\]")
"""A token that servers leave out of the answer."""
_FAR = 16
"""Characters that unreadable tokens may stand for."""


@dataclass(frozen=True)
class Told:
    """An answer of a server, and of each of its tokens where it `ends` in the text and how sure the model was.

    Both are empty where the server told no tokens, or some that do not join to the text.
    """

    text: str
    ends: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """Characters (start, end) of each token; empty for one that adds no character of its own."""
        return tuple(pairwise((0, *self.ends)))


def told(text: str, scores: Any) -> Told:
    """The text with what `logprobs` of a choice of OpenAI's chat completions (untrusted JSON) tells of its tokens."""
    try:
        rows = scores["content"]
        logprobs = tuple(min(round(float(row["logprob"]), 6), 0.0) for row in rows)
        pieces = [str(row["token"]) for row in rows]
        data = [_bytes(row) for row in rows]
    except (TypeError, KeyError, ValueError, AttributeError):
        return Told(text)
    ends = _by_bytes(text, data)
    if ends is None:
        ends = _by_pieces(text, pieces)
    if not ends or not all(map(math.isfinite, logprobs)):
        return Told(text)
    return Told(text, tuple(ends), logprobs)


def _bytes(row: Any) -> bytes:
    said = row.get("bytes")
    return bytes(said) if isinstance(said, list) else str(row["token"]).encode()


def _by_bytes(text: str, data: Sequence[bytes]) -> list[int] | None:
    """Ends of tokens whose bytes are those of the text, space around it and what follows it apart; or None.

    A letter of several tokens belongs to the last of them.
    """
    joined, whole = b"".join(data), text.encode()
    # an answer may have been stripped
    start = (len(joined) - len(joined.lstrip())) - (len(whole) - len(whole.lstrip()))
    if start < 0 or not joined.startswith(whole, start):
        return None
    ends_T = np.array(list(accumulate(map(len, data)))) - start
    begins_C = np.flatnonzero((np.frombuffer(whole, np.uint8) & 0xC0) != 0x80)
    ends_C = np.append(begins_C[1:], len(whole)) if len(whole) else begins_C
    ends: list[int] = np.searchsorted(ends_C, ends_T, side="right").tolist()
    return ends


def _by_pieces(text: str, pieces: Sequence[str]) -> list[int] | None:
    """Ends of tokens found in the text one behind the other, space before a token being its own; None where not."""
    ends, at, last, is_unreadable = [], 0, len(text.rstrip()), False
    for piece in pieces:
        word = piece.replace("\u2581", " ").strip()
        if word and "\ufffd" not in word:
            ahead = text[at : at + _FAR + len(word)]
            found = ahead.find(word)
            before = ahead[: max(found, 0)]
            if found >= 0 and (is_unreadable or not before.strip()):
                at, is_unreadable = at + found + len(word), False
            elif at < last and not is_unreadable and not _SPECIAL.fullmatch(word):
                return None
        is_unreadable = is_unreadable or "\ufffd" in word
        ends.append(at)
    return ends if at >= last or (is_unreadable and last - at <= _FAR) else None

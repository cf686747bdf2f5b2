"""Which matches METEOR 1.5 keeps: a search from left to right through the reference with a beam of 40.

Each word of a caption and a reference is used once at most. Wanted are, in this order, many matched words, few chunks
(runs of matches that are neighbours on both sides) and short ways between matched places (Denkowski and Lavie 2014).
The search differs from that sentence in three points, which its scores depend on:

- Only equal words count in full; others count half and are rounded down, so a word that matches by stem or as a
  synonym counts nothing, and a paraphrase counts half its words.
- The way of a match is added to the path that goes on from there without it, not to the one that takes it.
- Of equally good paths the one that was found first stays first, and only 40 go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from georefer.scoring.captions.meteor_match import EXACT, Match

BEAM = 40

# The order of paths as one number, less is better: matched words count most, then chunks, then the way. With a thousand
# words in a text, all ways that a path can have been charged stay below 2^36, and chunks below 2^12.
_CHUNK = 1 << 36
_WORD = 1 << 48
_NOWHERE = -1

# A path as a bare tuple, as there are thousands to a sentence: its order; the words of the caption that it uses, as
# bits; the end in the caption of the match just before, or _NOWHERE after a gap; the first word of the reference that
# is free; its matches, last one first: (match, (match before, ...)).
_Path = tuple[int, int, int, int, tuple | None]
_order = itemgetter(0)


class _Option(NamedTuple):
    """A match as the search needs it."""

    gain: int
    bits: int
    start: int
    end: int
    free_from: int
    way: int
    match: Match


def align(matches: Sequence[Sequence[Match]], caption_length: int) -> list[Match]:
    """The matches kept, by their place in the reference; `matches` as `matches_of` gives them."""
    certain = _certain(matches, caption_length)
    paths: list[_Path] = [(0, 0, _NOWHERE, 0, None)]
    for place, candidates in enumerate(matches):
        paths.sort(key=_order)
        options = [_option(match) for match in candidates]
        paths = _step(paths[:BEAM], place, options, place in certain)
    paths.sort(key=_order)
    best = min(paths[:BEAM], key=lambda path: path[0] + _CHUNK * (path[2] != _NOWHERE))
    kept, chain = [], best[4]
    while chain:
        match, chain = chain
        kept.append(match)
    return kept[::-1]


def _certain(matches: Sequence[Sequence[Match]], caption_length: int) -> set[int]:
    """Places in the reference where the one match shares no word with any other: every path takes it."""
    covered, caption_covered = [0] * len(matches), [0] * caption_length
    for match in (match for candidates in matches for match in candidates):
        for place in range(match.start, match.start + match.length):
            covered[place] += 1
        for place in range(match.caption_start, match.caption_start + match.caption_length):
            caption_covered[place] += 1
    return {
        match.start
        for match in (candidates[0] for candidates in matches if len(candidates) == 1)
        if max(covered[match.start : match.start + match.length]) == 1
        and max(caption_covered[match.caption_start : match.caption_start + match.caption_length]) == 1
    }


def _option(match: Match) -> _Option:
    start, length = match.caption_start, match.caption_length
    words = match.length + length if match.stage == EXACT else match.length // 2 + length // 2
    bits = ((1 << length) - 1) << start
    way = abs(match.start - start)
    return _Option(-_WORD * words, bits, start, start + length, match.start + match.length, way, match)


def _step(paths: Sequence[_Path], place: int, options: Sequence[_Option], certain: bool) -> list[_Path]:
    """The paths one word further: each with every match that it can take here, then without any."""
    following = []
    for path in paths:
        order, used, last_end, free_from, chain = path
        if place < free_from:
            following.append(path)
            continue
        for gain, bits, start, end, next_free, way, match in options:
            if used & bits:
                continue
            taken = order + gain if last_end in (_NOWHERE, start) else order + gain + _CHUNK
            order += way
            following.append((taken, used | bits, end, next_free, (match, chain)))
        if not certain:
            order += 0 if last_end == _NOWHERE else _CHUNK
            following.append((order, used, _NOWHERE, place + 1, chain))
    return following

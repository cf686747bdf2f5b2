"""Every match that METEOR 1.5 sees between a caption and a reference: same word, stem, synonym set, or paraphrase."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np

from georefer.scoring.captions.meteor_resources import MeteorResources, Word, phrase_keys
from georefer.scoring.captions.meteor_words import words_of

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)

_Thing = TypeVar("_Thing")


class Match(NamedTuple):
    """Words of the reference from `start` that stand for words of the caption from `caption_start`."""

    start: int
    length: int
    caption_start: int
    caption_length: int
    stage: int


class Phrase(NamedTuple):
    """A run of words: its place, its length and its key in the table of paraphrases."""

    start: int
    length: int
    key: int


@dataclass(frozen=True, eq=False)
class Sentence:
    """A text read once, however many it is compared with."""

    texts: tuple[str, ...]
    words: tuple[Word, ...]
    resources: MeteorResources

    @classmethod
    def of(cls, text: str, resources: MeteorResources) -> Sentence:
        texts = words_of(text, resources.abbreviations)
        return cls(tuple(texts), tuple(map(resources.word, texts)), resources)

    @cached_property
    def keys(self) -> list[int]:
        return [word.key for word in self.words]

    @cached_property
    def phrases(self) -> list[Phrase]:
        """Runs of words that are not longer than the table's, by place and then length."""
        longest, count = self.resources.paraphrases.longest, len(self.texts)
        spans = [(start, end) for start in range(count) for end in range(start + 1, min(start + longest, count) + 1)]
        keys = phrase_keys([" ".join(self.texts[start:end]).encode("utf-8", "surrogatepass") for start, end in spans])
        return [Phrase(start, end - start, key) for (start, end), key in zip(spans, keys.tolist(), strict=True)]

    @cached_property
    def phrases_of_key(self) -> dict[int, list[Phrase]]:
        return _grouped(self.phrases, [phrase.key for phrase in self.phrases])

    @cached_property
    def paraphrased(self) -> list[tuple[Phrase, dict[int, int]]]:
        """Phrases that have paraphrases, each with {paraphrase: its rank}."""
        keys_N = np.array([phrase.key for phrase in self.phrases], np.int64)
        return [(self.phrases[place], ranks) for place, ranks in self.resources.paraphrases.ranks(keys_N)]


def matches_of(caption: Sentence, reference: Sentence) -> list[list[Match]]:
    """Matches by the word of the reference where they start, in the order in which METEOR's search tries them.

    A pair of words may match more than once (by stem and as synonyms). Equal sentences match word by word only.
    """
    matches: list[list[Match]] = [[] for _ in reference.words]
    found = [_single(caption, reference, EXACT)]
    if caption.keys != reference.keys:
        found += [_single(caption, reference, STEM), _synonyms(caption, reference)]
        found += [_paraphrases_of_reference(caption, reference), _paraphrases_of_caption(caption, reference)]
    for group in found:
        for match in group:
            matches[match.start].append(match)
    return matches


def _single(caption: Sentence, reference: Sentence, stage: int) -> Iterator[Match]:
    """Equal words, or different words of one stem."""
    keys = [word.key if stage == EXACT else word.stem_key for word in caption.words]
    places_of = _grouped(range(len(keys)), keys)
    for start, word in enumerate(reference.words):
        for place in places_of.get(word.key if stage == EXACT else word.stem_key, ()):
            if stage == EXACT or caption.words[place].key != word.key:
                yield Match(start, 1, place, 1, stage)


def _synonyms(caption: Sentence, reference: Sentence) -> Iterator[Match]:
    """Different words that share a synonym set."""
    candidates = [(place, word) for place, word in enumerate(caption.words) if word.synsets]
    for start, word in enumerate(reference.words):
        if word.synsets:
            for place, other in candidates:
                if other.key != word.key and not word.synsets.isdisjoint(other.synsets):
                    yield Match(start, 1, place, 1, SYNONYM)


def _paraphrases_of_reference(caption: Sentence, reference: Sentence) -> Iterator[Match]:
    for phrase, other in _paraphrased(reference, caption):
        yield Match(phrase.start, phrase.length, other.start, other.length, PARAPHRASE)


def _paraphrases_of_caption(caption: Sentence, reference: Sentence) -> Iterator[Match]:
    for phrase, other in _paraphrased(caption, reference):
        yield Match(other.start, other.length, phrase.start, phrase.length, PARAPHRASE)


def _paraphrased(sentence: Sentence, other: Sentence) -> Iterator[tuple[Phrase, Phrase]]:
    """Phrases of a sentence with paraphrases of theirs in the other: by place, length, rank and place there."""
    there = other.phrases_of_key
    for phrase, ranks in sentence.paraphrased:
        if common := ranks.keys() & there.keys():
            for key in sorted(common, key=ranks.__getitem__):
                for paraphrase in there[key]:
                    yield phrase, paraphrase


def _grouped(things: Iterable[_Thing], keys: Iterable[int]) -> dict[int, list[_Thing]]:
    groups: dict[int, list[_Thing]] = {}
    for key, thing in zip(keys, things, strict=True):
        groups.setdefault(key, []).append(thing)
    return groups

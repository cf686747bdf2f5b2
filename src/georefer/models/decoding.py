"""Greedy answers of any family, several tokens a pass: questions share their image, and what is sure is drafted.

A pass gives each question the tokens that it said last and a draft of the next ones. The scores behind every token of
the draft tell what would have been said there, and the draft is kept as far as it is that. So neither drafts nor the
company of other questions change an answer; a wrong draft only costs its part of a pass. Tokens that a grammar
forces are drafts that are always right, but for a model that would spell the same text in other tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from georefer.models.families.base import Family, ImageFeatures
from georefer.models.packed import Prefix
from georefer.models.shared_rows import Chunk, SharedRows

Draft = Callable[[Sequence[int]], Sequence[int]]
"""Ids said so far to ids that may come next: a guess, of any length, that is checked."""

MAX_DRAFT = 24
"""Tokens of a guess that are looked at: a pass over so many costs about two of a single one."""


class Constraint(Protocol):
    """What an answer may be, and how much of it is said: one object an answer."""

    @property
    def may_end(self) -> bool: ...

    @property
    def must_end(self) -> bool: ...

    def takes(self, token: int) -> bool:
        """Whether this token may come next; if so, it is said."""
        ...

    def allowed_V(self, size: int) -> Tensor:
        """Bool (V,) on the CPU: the tokens that may come next, without those that end an answer."""
        ...

    def forced(self) -> list[int]:
        """Ids that must come next, as the tokenizer would write them."""
        ...


@dataclass(frozen=True)
class Said:
    """An answer in tokens, the ending one left out.

    `logprobs` are natural logarithms of the model's own probabilities, before any constraint. `stopped` is "length"
    where the tokens ran out before the answer was whole, or the vocabulary has none that could follow.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: Literal["end", "length"]


@dataclass(frozen=True, eq=False)
class Question:
    """Ids behind the prefix of image number `image`, and what is known of the answer."""

    ids: Sequence[int]
    image: int
    constraint: Constraint | None = None
    draft: Draft | None = None


@torch.inference_mode()
def greedy_answers(
    family: Family,
    images: Sequence[np.ndarray],
    prefixes: Sequence[Prefix],
    questions: Sequence[Question],
    *,
    end_ids: frozenset[int],
    max_new_tokens: int,
    rows_at_once: int,
) -> list[Said]:
    """What the model says to each question, as it would alone.

    Each image is encoded and attended once. More questions than `rows_at_once` are answered in turns.
    """
    if not questions:
        return []
    features = family.image_features(family.pixels(images))
    if prefixes[0].takes_question:
        return _apart(family, features, prefixes, questions, end_ids, max_new_tokens, rows_at_once)
    rows = SharedRows(family, features, prefixes)
    said: list[Said] = []
    for start in range(0, len(questions), rows_at_once):
        rows.forget()
        turn = questions[start : start + rows_at_once]
        speakers = [_Speaker(q, n, end_ids, max_new_tokens, list(q.ids)) for n, q in enumerate(turn, start=1)]
        said += _all_said(rows, speakers)
    return said


def _apart(
    family: Family,
    features: ImageFeatures,
    prefixes: Sequence[Prefix],
    questions: Sequence[Question],
    end_ids: frozenset[int],
    max_new_tokens: int,
    rows_at_once: int,
) -> list[Said]:
    """The same where the question belongs to the prefix: a row for each."""
    said: list[Said] = []
    for start in range(0, len(questions), rows_at_once):
        turn = [replace(q, image=n) for n, q in enumerate(questions[start : start + rows_at_once])]
        images = [q.image for q in questions[start : start + rows_at_once]]
        shown, asked = features.of(images), [prefixes[i].asked(q.ids) for i, q in zip(images, turn, strict=True)]
        if family.is_encoder_decoder:
            said += family.said(shown, asked, [q.constraint for q in turn], end_ids, max_new_tokens)
        else:
            speakers = [_Speaker(q, 1, end_ids, max_new_tokens, []) for q in turn]
            said += _all_said(SharedRows(family, shown, asked), speakers)
    return said


def _all_said(rows: SharedRows, speakers: Sequence[_Speaker]) -> list[Said]:
    while going := [speaker for speaker in speakers if not speaker.stopped]:
        _step(rows, going)
    return [speaker.result for speaker in speakers]


def _step(rows: SharedRows, speakers: Sequence[_Speaker]) -> None:
    chunks = [speaker.next_chunk() for speaker in speakers]
    hidden = [
        # a question that belongs to the prefix has been read with it
        h if speaker.pending else torch.cat([rows.ends[speaker.question.image], h])
        for h, speaker in zip(rows.feed(chunks), speakers, strict=True)
    ]
    scored = [len(speaker.drafted) + 1 for speaker in speakers]
    scores_NV = rows.family.logits(torch.cat([h[-n:] for h, n in zip(hidden, scored, strict=True)])).float()
    highest_N, best_N = scores_NV.max(dim=-1)
    sums_N = scores_NV.logsumexp(dim=-1)
    first = 0
    best, logprobs = best_N.tolist(), (highest_N - sums_N).tolist()
    for speaker, count in zip(speakers, scored, strict=True):
        part = slice(first, first + count)
        speaker.hear(best[part], logprobs[part], scores_NV[part], sums_N[part])
        first = part.stop
        if speaker.stopped:
            rows.hide(speaker.question.image, speaker.number)
        elif speaker.wrong:
            rows.hide(speaker.question.image, speaker.number, speaker.place)


@dataclass(eq=False)
class _Speaker:
    """One answer while it is said; `place` is how many tokens, question included, are rightly in the cache."""

    question: Question
    number: int
    end_ids: frozenset[int]
    most: int
    pending: list[int]
    place: int = 0
    drafted: list[int] = field(default_factory=list)
    wrong: int = 0
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stopped: Literal["", "end", "length"] = ""

    def __post_init__(self) -> None:
        if self.most <= 0:
            self.stopped = "length"

    @property
    def result(self) -> Said:
        return Said(tuple(self.ids), tuple(self.logprobs), self.stopped or "length")

    def next_chunk(self) -> Chunk:
        self.drafted = self._draft()
        return Chunk(self.question.image, self.number, self.place, [*self.pending, *self.drafted])

    def _draft(self) -> list[int]:
        """What is forced, then what is guessed; no more than may still be said before the token that is heard."""
        constraint, guess = self.question.constraint, self.question.draft
        made = constraint.forced() if constraint else []
        if guess and (room := MAX_DRAFT - len(made)) > 0:
            made = [*made, *list(guess([*self.ids, *made]))[:room]]
        return made[: self.most - len(self.ids) - 1]

    def hear(self, best: Sequence[int], logprobs: Sequence[float], scores_NV: Tensor, sums_N: Tensor) -> None:
        """Take the scores behind the last pending token and behind each drafted one, as far as the draft is right."""
        right = 0
        for n, (token, logprob) in enumerate(zip(best, logprobs, strict=True)):
            chosen = self._chosen(token, scores_NV[n])
            if self.stopped:
                break
            self.ids.append(chosen)
            self.logprobs.append(logprob if chosen == token else float(scores_NV[n, chosen] - sums_N[n]))
            if len(self.ids) == self.most:
                self.stopped = "length"
            if n == len(self.drafted) or chosen != self.drafted[n]:
                break
            right += 1
        if self.stopped != "end" and self.question.constraint and self.question.constraint.must_end:
            self.stopped = "end"
        self.place += len(self.pending) + right
        self.wrong = len(self.drafted) - right
        self.pending = self.ids[-1:]

    def _chosen(self, token: int, scores_V: Tensor) -> int:
        """The best token that may come next; sets `stopped` where that is the end of the answer."""
        constraint, ends = self.question.constraint, token in self.end_ids
        if constraint is None or (constraint.may_end if ends else constraint.takes(token)):
            self.stopped = "end" if ends else ""
            return token
        allowed_V = constraint.allowed_V(len(scores_V))
        if constraint.may_end:
            allowed_V[list(self.end_ids)] = True
        best = int(scores_V.masked_fill(~allowed_V.to(scores_V.device), -torch.inf).argmax())
        if best in self.end_ids:
            self.stopped = "end"
        # a vocabulary that lacks a letter cannot go on: the answer stays a beginning
        elif not allowed_V[best] or not constraint.takes(best):
            self.stopped = "length"
        return best

"""Which questions a step learns from, and in which micro-batches: decided by numbers alone, before anything is loaded.

A step's questions follow from (seed, step) and nothing else: a run resumes anywhere without replaying, and is the same
on any number of processes. Only then they are cut into micro-batches of like lengths, dealt to the processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from georefer.errors import DatasetError
from georefer.tasks import BOX, OBB_FORM, OUTLINE, TASKS
from georefer.tasks.detection import Detection
from georefer.tasks.given import Given
from georefer.tasks.phrase import Phrase
from georefer.tasks.rec import REC

_WEIGHTED, _SHUFFLED, _ORDERED = 1, 2, 3
"""Streams of random numbers that have nothing to do with each other."""


@dataclass(frozen=True)
class BatchSettings:
    """How many images and questions make a step, and how many tokens are in memory at once.

    With the order "weights" each step draws images by the sum of their questions' weights, and of each image
    `questions_per_image` without replacement by their weights, so that a question comes as often as it weighs. With
    "epochs" every question comes once in a pass over the data, images in a new order each; a question of weight 2
    twice, one of weight 0 never. `tokens_at_once` bounds rows x longest row of a micro-batch, padding included.
    """

    images_per_step: int = 16
    questions_per_image: int = 8
    tokens_at_once: int = 32_768
    order: Literal["epochs", "weights"] = "weights"

    def __post_init__(self) -> None:
        for name in ("images_per_step", "questions_per_image", "tokens_at_once"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")


@dataclass(frozen=True, eq=False)
class Costs:
    """Tokens of E examples, each an image's prefix (`prefix_E`) with its questions.

    Questions stand one example after another: those of example e are `start_E1[e]` to `start_E1[e + 1]` of the
    `length_Q` tokens of their segments and the `weight_Q` by which they are drawn.
    """

    prefix_E: np.ndarray
    start_E1: np.ndarray
    length_Q: np.ndarray
    weight_Q: np.ndarray

    @classmethod
    def of(
        cls, prefixes: Sequence[int], lengths: Sequence[Sequence[int]], weights: Sequence[Sequence[float]] | None = None
    ) -> Costs:
        """From one list an example; weights are 1 where they are left out."""
        weights = [[1.0] * len(some) for some in lengths] if weights is None else weights
        if len({len(prefixes), len(lengths), len(weights)}) != 1 or any(
            len(a) != len(b) for a, b in zip(lengths, weights, strict=True)
        ):
            raise ValueError("prefixes, lengths and weights are of different examples")
        start_E1 = np.concatenate([[0], np.cumsum([len(some) for some in lengths])]).astype(np.int64)
        flat_Q, weight_Q = (np.array([v for some in many for v in some]) for many in (lengths, weights))
        return cls(np.array(prefixes, np.int64), start_E1, flat_Q.astype(np.int64), weight_Q.astype(np.float64))


@dataclass(frozen=True)
class Piece:
    """One image and those of its questions (by their numbers within the example) that are learned together."""

    example: int
    questions: tuple[int, ...]


MicroBatch = tuple[Piece, ...]
"""Pieces that go through the model at once, each a row."""


class Batches:
    """All steps of a run; `at` gives any of them."""

    def __init__(self, costs: Costs, settings: BatchSettings, seed: int) -> None:
        self.costs, self.settings, self.seed = costs, settings, seed
        self._check()
        self._example_Q = np.repeat(np.arange(len(costs.prefix_E)), np.diff(costs.start_E1))
        self._weight_E = np.bincount(self._example_Q, costs.weight_Q, len(costs.prefix_E))
        self._members = [np.flatnonzero(costs.weight_Q > n) for n in range(int(costs.weight_Q.max()))]
        """Of each round of an epoch, the questions: a second one for those of weight 2."""
        if settings.order == "epochs":
            self._pieces_in_epoch = sum(len(self._chunks(members_M)) for members_M in self._members)
            # an epoch is shuffled as a whole, once for all its steps
            self._epoch = lru_cache(maxsize=2)(self._shuffled)

    @property
    def steps_in_epoch(self) -> float:
        """Steps of one pass; with the order "weights", until about as many questions were drawn as there are."""
        if self.settings.order == "epochs":
            return self._pieces_in_epoch / self.images
        of_E = np.bincount(self._example_Q[self.costs.weight_Q > 0], minlength=len(self._weight_E))
        asked_E = np.minimum(of_E, self.settings.questions_per_image)
        return float(of_E.sum() / (self._weight_E @ asked_E / self._weight_E.sum() * self.images))

    @property
    def images(self) -> int:
        """Of one step: fewer than the setting only where the data hold fewer."""
        held = self._pieces_in_epoch if self.settings.order == "epochs" else int((self._weight_E > 0).sum())
        return min(self.settings.images_per_step, held)

    def at(self, step: int) -> tuple[Piece, ...]:
        """The questions of a step, counted from 0."""
        return self._by_epochs(step) if self.settings.order == "epochs" else self._by_weights(step)

    def micro_batches(self, step: int, world: int = 1) -> list[list[MicroBatch | None]]:
        """The step's questions for each of `world` processes, as many micro-batches for each; None where one is idle.

        The processes have about equal work. An image whose questions are too many tokens to be held at once is
        shown again for the rest of them.
        """
        most = self.settings.tokens_at_once
        pieces = [part for piece in self.at(step) for part in self._within(piece, most)]
        tokens_P = np.array([self.tokens(piece) for piece in pieces], dtype=np.int64)
        runs = like_lengths(tokens_P, most, world)
        work_M = np.array([len(run) * tokens_P[run].max() for run in runs], dtype=np.int64)
        shares = deal(work_M, world)
        made = [[tuple(pieces[i] for i in runs[m]) for m in share] for share in shares]
        longest = max(map(len, made))
        return [[*some, *[None] * (longest - len(some))] for some in made]

    def tokens(self, piece: Piece) -> int:
        """Of its row."""
        start = self.costs.start_E1[piece.example]
        return int(self.costs.prefix_E[piece.example] + self.costs.length_Q[start + np.array(piece.questions)].sum())

    def padding(self, batches: Sequence[Sequence[MicroBatch | None]]) -> float:
        """The part of what is computed that is padding."""
        rows = [[self.tokens(piece) for piece in micro] for some in batches for micro in some if micro]
        held = sum(len(micro) * max(micro) for micro in rows)
        return 1 - sum(map(sum, rows)) / held

    # --- what is drawn ----------------------------------------------------------------------------------------

    def _by_weights(self, step: int) -> tuple[Piece, ...]:
        rng = np.random.default_rng([self.seed, _WEIGHTED, step])
        start_E1, pieces = self.costs.start_E1, []
        for example in _drawn(self._weight_E, self.images, rng).tolist():
            weight_S = self.costs.weight_Q[start_E1[example] : start_E1[example + 1]]
            questions = _drawn(weight_S, self.settings.questions_per_image, rng)
            pieces.append(Piece(example, tuple(questions.tolist())))
        return tuple(pieces)

    def _by_epochs(self, step: int) -> tuple[Piece, ...]:
        count = self.images
        found = []
        for place in range(step * count, (step + 1) * count):
            epoch, number = divmod(place, self._pieces_in_epoch)
            ordered_Q, chunks_C2 = self._epoch(epoch)
            first, last = chunks_C2[number]
            members = ordered_Q[first:last]
            example = int(self._example_Q[members[0]])
            found.append(Piece(example, tuple((members - self.costs.start_E1[example]).tolist())))
        return tuple(found)

    def _shuffled(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Questions of an epoch, those learned together side by side, and where each of these chunks lies, in order."""
        ordered, chunks, offset = [], [], 0
        for round_, members_M in enumerate(self._members):
            rng = np.random.default_rng([self.seed, _SHUFFLED, epoch, round_])
            # those of an example stay together, in a new order
            ordered.append(members_M[np.lexsort((rng.random(len(members_M)), self._example_Q[members_M]))])
            chunks.append(self._chunks(members_M) + offset)
            offset += len(members_M)
        chunks_C2 = np.concatenate(chunks)
        rng = np.random.default_rng([self.seed, _ORDERED, epoch])
        return np.concatenate(ordered), chunks_C2[rng.permutation(len(chunks_C2))]

    def _chunks(self, members_M: np.ndarray) -> np.ndarray:
        """From where to where in a round the questions learned together stand, (C, 2); evenly many of an example."""
        count_E = np.bincount(self._example_Q[members_M], minlength=len(self.costs.prefix_E))
        chunks_E = -(-count_E // self.settings.questions_per_image)
        owner_C = np.repeat(np.arange(len(count_E)), chunks_E)
        number_C = np.arange(len(owner_C)) - np.repeat(np.cumsum(chunks_E) - chunks_E, chunks_E)
        first_C = (np.cumsum(count_E) - count_E)[owner_C]
        ends_C2 = (number_C[:, None] + [0, 1]) * count_E[owner_C, None] // chunks_E[owner_C, None]
        return first_C[:, None] + ends_C2

    def _within(self, piece: Piece, most: int) -> list[Piece]:
        """The piece, or as few parts of it as are no longer than `most` tokens each."""
        if self.tokens(piece) <= most:
            return [piece]
        parts: list[list[int]] = []
        for question in piece.questions:
            if parts and self.tokens(Piece(piece.example, (*parts[-1], question))) <= most:
                parts[-1].append(question)
            else:
                parts.append([question])
        return [Piece(piece.example, tuple(part)) for part in parts]

    # --- what cannot be ---------------------------------------------------------------------------------------

    def _check(self) -> None:
        costs, most = self.costs, self.settings.tokens_at_once
        if not (costs.weight_Q > 0).any():
            raise DatasetError("no question has a weight above 0 where at least one is expected; change task_weights")
        if (costs.weight_Q < 0).any() or not np.isfinite(costs.weight_Q).all():
            raise ValueError("a weight is negative or no number; give 0 or more")
        if self.settings.order == "epochs" and (costs.weight_Q % 1).any():
            raise ValueError("a weight is no whole number, so that a pass has no questions; give the order 'weights'")
        alone_Q = np.repeat(costs.prefix_E, np.diff(costs.start_E1)) + costs.length_Q
        if (longest := int(alone_Q[costs.weight_Q > 0].max())) > most:
            raise DatasetError(
                f"an image with one question takes {longest} tokens where tokens_at_once is {most}; "
                "raise it, or lower the tokens that a question may have"
            )


def _drawn(weight_N: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `count` of N without replacement, each next one by the weights of those left; never one of weight 0."""
    # the earliest of N alarms that ring at these rates (Efraimidis and Spirakis)
    with np.errstate(divide="ignore"):
        alarm_N = rng.standard_exponential(len(weight_N)) / weight_N
    count = min(count, int((weight_N > 0).sum()))
    first_C = np.argpartition(alarm_N, count - 1)[:count]
    return first_C[np.lexsort((first_C, alarm_N[first_C]))]


# --- lengths ---------------------------------------------------------------------------------------------------


def like_lengths(tokens_P: np.ndarray, most: int, world: int = 1) -> list[np.ndarray]:
    """Rows of P lengths put together with those of like length, each set at most `most` tokens, padding included.

    As few sets as can be, then as many more as make their number a multiple of `world`, if there are rows for that;
    with that number the largest set is as small as can be.
    """
    order_P = np.argsort(-np.asarray(tokens_P), kind="stable")
    sorted_P = np.asarray(tokens_P)[order_P]
    wanted = min(-(-len(_cuts(sorted_P, most)) // world) * world, len(sorted_P))
    low, high = int(sorted_P[0]), most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_cuts(sorted_P, middle)) <= wanted else (middle + 1, high)
    cuts = _cuts(sorted_P, high)
    while len(cuts) < wanted:
        at = max((i for i in range(len(cuts)) if cuts[i][1] - cuts[i][0] > 1), key=lambda i: _size(sorted_P, *cuts[i]))
        first, last = cuts[at]
        cuts[at : at + 1] = [(first, (first + last) // 2), ((first + last) // 2, last)]
    return [order_P[first:last] for first, last in cuts]


def _cuts(sorted_P: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Neighbours from the longest on, as many to a set as its first, the longest of it, leaves room for."""
    cuts, first = [], 0
    while first < len(sorted_P):
        last = min(first + most // max(1, int(sorted_P[first])), len(sorted_P))
        cuts.append((first, last))
        first = last
    return cuts


def _size(sorted_P: np.ndarray, first: int, last: int) -> int:
    return int(sorted_P[first]) * (last - first)


def deal(work_M: np.ndarray, world: int) -> list[list[int]]:
    """M pieces of work for each of `world` processes: none has more than M / world, rounded up, and sums are alike."""
    most = -(-len(work_M) // world)
    shares: list[list[int]] = [[] for _ in range(world)]
    loads = [0.0] * world
    # the largest first, each to who has least to do
    for m in np.argsort(-np.asarray(work_M), kind="stable").tolist():
        who = min((w for w in range(world) if len(shares[w]) < most), key=lambda w: (loads[w], len(shares[w]), w))
        shares[who].append(m)
        loads[who] += float(work_M[m])
    return shares


# --- hybrid supervision ----------------------------------------------------------------------------------------


def hybrid_weights(
    hbb: float = 1, obb: float = 1, mask: float = 1, prompt_assisted: float = 1, geometry_guided: float = 1
) -> dict[str, float]:
    """Weights of tasks for GeoGround's hybrid supervision: every task of the table by the signal that it teaches.

    `hbb`, `obb` and `mask` are tasks that ask for that form outright (referring, several objects or none, detection).
    `prompt_assisted` ones give a sparser shape and ask for a denser one (PAL: HBB to OBB, HBB to mask, OBB to mask),
    `geometry_guided` ones the reverse (GGL: OBB to HBB, mask to HBB, mask to OBB). Tasks of none are not named.

    GeoGround's paper (arXiv 2411.11904) prints no mixing ratio. The sample generator that its author published with
    AirSpatialBot makes one sample of each kind of every object (HBB, OBB, 3D box, two PAL, two GGL), all weighing the
    same; so each is 1 here.
    """
    outright = {BOX: hbb, OBB_FORM: obb, OUTLINE: mask}
    weights: Mapping[str, float] = {
        name: (prompt_assisted if task.needs_image else geometry_guided)
        if isinstance(task, Given)
        else outright[task.form]
        for name, task in TASKS.items()
        if isinstance(task, Given | REC | Detection | Phrase)
    }
    return dict(weights)

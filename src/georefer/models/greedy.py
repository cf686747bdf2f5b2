"""Greedy answers of any family: every image is encoded and attended once, its questions continue from its cache."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy, deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from georefer.models.families.base import Family, ImageFeatures
from georefer.models.packed import Layout, Prefix, following_positions, run_decoder


@torch.inference_mode()
def greedy_answers(
    family: Family,
    images: Sequence[np.ndarray],
    prefixes: Sequence[Prefix],
    questions: Sequence[Sequence[int]],
    image_of_question: Sequence[int],
    *,
    end_ids: frozenset[int],
    max_new_tokens: int,
    rows_at_once: int = 16,
) -> list[list[int]]:
    """Ids that the model says to each question (ids) about its image, the ending one left out.

    Rows are padded on the left; padding is hidden and counts in no position, so a batch says what each row would
    say alone. More questions than `rows_at_once` are answered in turns, from the same cache of the images.
    """
    features = family.image_features(family.pixels(images))
    shared = not prefixes[0].takes_question
    begun = _Run(family, features, prefixes) if shared else None
    said: list[list[int]] = []
    for start in range(0, len(questions), rows_at_once):
        turn = slice(start, start + rows_at_once)
        of_image = image_of_question[turn]
        asked = [prefixes[i] for i in of_image]
        if begun is None:
            alone = [prefix.asked(ids) for prefix, ids in zip(asked, questions[turn], strict=True)]
            if family.is_encoder_decoder:
                said += family.generated(features.of(of_image), alone, max_new_tokens)
                continue
            run = _Run(family, features.of(of_image), alone)
            scores_RV = run.scores_RV
        else:
            run = begun if turn.stop >= len(questions) else begun.copy()
            run.select(torch.tensor(of_image))
            scores_RV = run.ask(questions[turn], asked)
        said += _say(run, scores_RV, end_ids, max_new_tokens)
    return said


def _say(run: _Run, scores_RV: Tensor, end_ids: frozenset[int], max_new_tokens: int) -> list[list[int]]:
    rows = list(range(len(scores_RV)))
    said: list[list[int]] = [[] for _ in rows]
    for step in range(max_new_tokens):
        chosen = scores_RV.argmax(dim=-1).tolist()
        going = [n for n, token in enumerate(chosen) if token not in end_ids]
        for n in going:
            said[rows[n]].append(chosen[n])
        if not going or step + 1 == max_new_tokens:
            break
        if len(going) < len(rows):
            run.select(torch.tensor(going))
            rows = [rows[n] for n in going]
        scores_RV = run.say([chosen[n] for n in going])
    return said


class _Run:
    """A cache with the layout of what is in it; begins with prefixes and the features of the image of each, one a row."""

    def __init__(self, family: Family, features: ImageFeatures, prefixes: Sequence[Prefix]):
        self.family = family
        # without a configuration all layers keep everything: what a sliding layer may see is for the mask to say
        self.cache: Any = DynamicCache()
        self.layout: Layout | None = None
        self.next_R = torch.tensor([prefix.next_position for prefix in prefixes])
        self.length_R = torch.tensor([len(prefix) for prefix in prefixes])
        rows = [list(prefix.ids) for prefix in prefixes]
        ids_RT, real_RT = _left_padded(rows)
        block_RT, _ = _left_padded([prefix.block_P.tolist() for prefix in prefixes], -1)
        layout = Layout(real_RT.long() - 1, torch.zeros_like(ids_RT), _places(real_RT), block_RT)
        positions = [prefix.positions_AP for prefix in prefixes]
        self.scores_RV = self._forward(family.embed(ids_RT.to(family.device), features), positions, layout)

    def copy(self) -> _Run:
        """The same once more, so that one can go on and the other begin again."""
        other = copy(self)
        other.cache = deepcopy(self.cache)
        return other

    def select(self, index_R: Tensor) -> None:
        """Keep these rows only, in this order, repeats allowed."""
        if self.layout is None or torch.equal(index_R, torch.arange(len(self.next_R))):
            return
        self.cache.batch_select_indices(index_R.to(self.family.device))
        self.layout = self.layout.rows(index_R)
        self.next_R, self.length_R = self.next_R[index_R], self.length_R[index_R]

    def ask(self, questions: Sequence[Sequence[int]], prefixes: Sequence[Prefix]) -> Tensor:
        """Scores (R, V) of the first token of the answers."""
        ids_RT, real_RT = _left_padded([list(ids) for ids in questions])
        place_RT = _places(real_RT) + self.length_R[:, None]
        layout = Layout(real_RT.long() - 1, torch.ones_like(ids_RT), place_RT, torch.full_like(ids_RT, -1))
        asked_R = real_RT.sum(dim=1)
        pairs = zip(prefixes, asked_R.tolist(), strict=True)
        scores = self._forward(
            self.family.embed(ids_RT.to(self.family.device), None),
            [following_positions(*pair) for pair in pairs],
            layout,
        )
        self.next_R, self.length_R = self.next_R + asked_R, self.length_R + asked_R
        return scores

    def say(self, tokens: Sequence[int]) -> Tensor:
        """Scores (R, V) after one more token in every row."""
        ids_R1 = torch.tensor(tokens)[:, None]
        one_R1 = torch.ones_like(ids_R1)
        layout = Layout(0 * one_R1, one_R1, self.length_R[:, None], -one_R1)
        embedded = self.family.embed(ids_R1.to(self.family.device), None)
        axes = self.axes
        scores = self._forward(embedded, [n.expand(axes, 1) for n in self.next_R], layout)
        self.next_R, self.length_R = self.next_R + 1, self.length_R + 1
        return scores

    def _forward(self, embedded: dict[str, Any], positions: Sequence[Tensor], layout: Layout) -> Tensor:
        self.axes = len(positions[0])
        self.layout = layout if self.layout is None else self.layout.then(layout)
        longest = layout.place_BT.shape[1]
        padded = [torch.nn.functional.pad(p, (longest - p.shape[1], 0)) for p in positions]
        device = self.family.device
        hidden_RTD = run_decoder(
            self.family,
            embedded,
            torch.stack(padded, dim=1).to(device),
            layout.to(device),
            self.layout.to(device),
            self.cache,
        )
        return self.family.logits(hidden_RTD[:, -1])


def _left_padded(rows: Sequence[list[int]], fill: int = 0) -> tuple[Tensor, Tensor]:
    """Ids (R, T), and where they are real."""
    longest = max(map(len, rows))
    padded = torch.tensor([[fill] * (longest - len(row)) + row for row in rows])
    real = torch.tensor([[False] * (longest - len(row)) + [True] * len(row) for row in rows])
    return padded, real


def _places(real_RT: Tensor) -> Tensor:
    """Index of each token among the real ones of its row; padding has the places before its own."""
    place_RT: Tensor = real_RT.long().cumsum(dim=1) - 1
    return place_RT.clamp(min=0)

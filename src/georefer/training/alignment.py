"""An auxiliary loss that teaches image tokens to speak: a patch must say what covers it and where that lies.

Each image token's projected feature is scored, by dot product with the very embeddings the text part reads and
writes, against the words of the object under it and its four box numbers. From scratch this is what turns hours
into minutes: the text part finds in the image tokens the words it already has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from georefer.models.families.base import Family

_NOTHING = -1


@dataclass(frozen=True)
class AlignmentTargets:
    """What the image tokens of one image should say; K of its tokens are covered by an object.

    `token_K` is the index of the image token, `words_K` the word ids of the object there (several, all right),
    `box_K4` its x1, y1, x2, y2 in the numbers that the model would say.
    """

    token_K: NDArray[np.int64]
    words_K: tuple[tuple[int, ...], ...]
    box_K4: NDArray[np.int64]


@dataclass(frozen=True)
class Numerals:
    """How a model says a number: at each of `places`, the least first, one of the tokens `ids` for 0, 1, and so on.

    One place where every number is a token of its own; digits, zeros before the number included, where it is spelled.
    """

    ids: tuple[int, ...]
    places: int = 1

    @property
    def largest(self) -> int:
        return int(len(self.ids) ** self.places - 1)


class AlignmentSlots(nn.Module):
    """The questions asked of a feature: one linear map for its words and one for each box number.

    The places of a number share its map, each under signs of its own (`turns_PD`, fixed; none at the least): a map for
    each would be gigabytes in a large model, and so they can still say anything. Slots live only in training and are
    saved with its state, not with the model.
    """

    turns_PD: Tensor

    def __init__(self, width: int, places: int = 1):
        super().__init__()
        # near the identity: a feature first says the word it already resembles
        noise_5DD = torch.randn(5, width, width) * 0.02 / width**0.5
        self.maps_5DD = nn.Parameter(torch.eye(width) + noise_5DD)
        signs_PD = torch.randint(0, 2, (places, width), generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
        signs_PD[0] = 1.0
        self.register_buffer("turns_PD", signs_PD, persistent=False)

    def forward(self, features_KD: Tensor) -> tuple[Tensor, Tensor]:
        """Word queries (K, D) and number queries (K, 4, D)."""
        # The text part normalises what it reads, so the length of a feature carries no meaning here either.
        asked_5KD = F.rms_norm(features_KD, features_KD.shape[-1:]) @ self.maps_5DD.to(features_KD.dtype)
        return asked_5KD[0], asked_5KD[1:].transpose(0, 1)


class AlignmentLoss:
    """The loss in a run: `slots` are trained with the model, over whose image tokens it sums."""

    def __init__(self, family: Family, numerals: Numerals, seed: int):
        torch.manual_seed(seed)
        self.family, self.numerals = family, numerals
        self.slots = AlignmentSlots(family.bare.get_input_embeddings().weight.shape[1], numerals.places)

    def counts(self, targets: Sequence[AlignmentTargets]) -> dict[str, float]:
        return alignment_counts(targets)

    def sums(self, features: Sequence[Tensor], targets: Sequence[AlignmentTargets]) -> dict[str, Tensor]:
        """Of images by their features, (N, D) each."""
        embedding_VD = self.family.bare.get_input_embeddings().weight
        return alignment_sums(features, targets, embedding_VD, self.numerals, self.slots)


def alignment_targets(
    cells_M4: NDArray[np.floating],
    words: Sequence[Sequence[int]],
    grid: tuple[int, int],
    numbers_M4: NDArray[np.integer],
) -> AlignmentTargets:
    """Targets of one image from its objects' boxes x1, y1, x2, y2, counted in cells and in the numbers to say.

    `grid` is (columns, rows) of image tokens. An object claims the tokens whose cell's centre lies in its box, and
    always the one its own centre lies in, so that none is too small; the smallest object wins a cell. One that lies
    beyond the grid, where the image was cropped, claims nothing.
    """
    columns, rows = grid
    owner_RC = np.full((rows, columns), _NOTHING, dtype=np.int64)
    cells_M4 = np.asarray(cells_M4, dtype=np.float64).reshape(-1, 4)
    seen_M = np.all((cells_M4[:, :2] < grid) & (cells_M4[:, 2:] > 0), axis=1)
    sides_M2 = cells_M4[:, 2:] - cells_M4[:, :2]
    for index in np.argsort(-sides_M2.prod(axis=1), kind="stable"):  # the smallest writes last
        left, top, right, bottom = cells_M4[index]
        if seen_M[index]:
            owner_RC[slice(*_centres(top, bottom, rows)), slice(*_centres(left, right, columns))] = index
    token_K = np.flatnonzero(owner_RC.ravel() != _NOTHING)
    object_K = owner_RC.ravel()[token_K]
    numbers_M4 = np.asarray(numbers_M4, dtype=np.int64).reshape(-1, 4)
    return AlignmentTargets(token_K, tuple(tuple(words[k]) for k in object_K), numbers_M4[object_K])


def alignment_sums(
    features: Sequence[Tensor],
    targets: Sequence[AlignmentTargets],
    embedding_VD: Tensor,
    numerals: Numerals,
    slots: AlignmentSlots,
) -> dict[str, Tensor]:
    """Sums of the word losses of the covered image tokens and of their box numbers' losses, in nats.

    `features` holds (N, D) for every image, N unlike where their shapes are. Words are scored against the whole
    vocabulary with equal shares for an object's words; numbers against the tokens of numbers only, the sum over their
    places being the loss of the number. Zero, still differentiable, where no token is covered. Over how many each sums
    says `alignment_counts`.
    """
    covered = zip(features, targets, strict=True)
    features_KD = torch.cat([image_ND[torch.from_numpy(t.token_K).to(image_ND.device)] for image_ND, t in covered])
    if not len(features_KD):
        nothing = torch.cat(list(features)).sum() * 0.0
        return {"alignment_words": nothing, "alignment_boxes": nothing}
    words_KD, numbers_K4D = slots(features_KD)
    spoken_VD = embedding_VD.to(features_KD.dtype)
    device, base = features_KD.device, len(numerals.ids)
    said_PRD = slots.turns_PD.to(spoken_VD)[:, None] * spoken_VD[torch.tensor(numerals.ids, device=device)]
    scores_K4PR = (numbers_K4D @ said_PRD.flatten(0, 1).T).unflatten(-1, (numerals.places, base))
    box_K4 = torch.from_numpy(np.concatenate([t.box_K4 for t in targets])).to(device)
    digits_K4P = box_K4[:, :, None] // base ** torch.arange(numerals.places, device=device) % base
    return {
        "alignment_words": _words_sum(words_KD @ spoken_VD.T, [words for t in targets for words in t.words_K]),
        "alignment_boxes": F.cross_entropy(scores_K4PR.flatten(0, 2).float(), digits_K4P.flatten(), reduction="sum"),
    }


def alignment_counts(targets: Sequence[AlignmentTargets]) -> dict[str, float]:
    """Over how many image tokens, and over how many box numbers, `alignment_sums` sums."""
    covered = float(sum(len(t.token_K) for t in targets))
    return {"alignment_words": covered, "alignment_boxes": 4 * covered}


def _words_sum(scores_KV: Tensor, words_K: Sequence[Sequence[int]]) -> Tensor:
    device = scores_KV.device
    row = torch.tensor([k for k, words in enumerate(words_K) for _ in words], dtype=torch.long, device=device)
    word = torch.tensor([word for words in words_K for word in words], dtype=torch.long, device=device)
    share = torch.tensor([1.0 / len(words) for words in words_K for _ in words], device=device)
    return -(scores_KV.float().log_softmax(-1)[row, word] * share).sum()


def _centres(low: float, high: float, grid: int) -> tuple[int, int]:
    """First and last-plus-one cell whose centre lies between `low` and `high`, at least the cell of the middle."""
    middle = int(np.clip(np.floor((low + high) / 2), 0, grid - 1))
    first, last = int(np.ceil(low - 0.5)), int(np.floor(high - 0.5))
    return max(min(first, middle), 0), min(max(last, middle), grid - 1) + 1

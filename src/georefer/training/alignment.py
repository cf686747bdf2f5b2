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

_NOTHING = -1


@dataclass(frozen=True)
class AlignmentTargets:
    """What the image tokens of one image should say; K of its tokens are covered by an object.

    `token_K` is the index of the image token, `words_K` the word ids of the object there (several, all right),
    `box_K4` its x1, y1, x2, y2 in the numbers of the frame.
    """

    token_K: NDArray[np.int64]
    words_K: tuple[tuple[int, ...], ...]
    box_K4: NDArray[np.int64]


class AlignmentSlots(nn.Module):
    """The questions asked of a feature: one linear map for its words and one for each box number.

    They live only in training and are saved with its state, not with the model.
    """

    def __init__(self, width: int):
        super().__init__()
        # near the identity: a feature first says the word it already resembles
        noise_5DD = torch.randn(5, width, width) * 0.02 / width**0.5
        self.maps_5DD = nn.Parameter(torch.eye(width) + noise_5DD)

    def forward(self, features_KD: Tensor) -> tuple[Tensor, Tensor]:
        """Word queries (K, D) and number queries (K, 4, D)."""
        # The text part normalises what it reads, so the length of a feature carries no meaning here either.
        asked_5KD = F.rms_norm(features_KD, features_KD.shape[-1:]) @ self.maps_5DD
        return asked_5KD[0], asked_5KD[1:].transpose(0, 1)


def alignment_targets(
    boxes_M4: NDArray[np.floating], words: Sequence[Sequence[int]], grid: int, numbers: int
) -> AlignmentTargets:
    """Targets of one image from its objects' boxes (x1, y1, x2, y2 in frame numbers 0..`numbers`) and word ids.

    `grid` is the number of image tokens along a side. An object claims the tokens whose patch centre lies in its
    box, and always the one its own centre lies in, so that none is too small; the smallest object wins a patch.
    """
    owner_GG = np.full((grid, grid), _NOTHING, dtype=np.int64)
    boxes_M4 = np.asarray(boxes_M4, dtype=np.float64).reshape(-1, 4)
    sides_M2 = boxes_M4[:, 2:] - boxes_M4[:, :2]
    step = numbers / grid
    for index in np.argsort(-sides_M2.prod(axis=1), kind="stable"):  # the smallest writes last
        left, top, right, bottom = boxes_M4[index] / step
        rows = slice(*_centres(top, bottom, grid))
        columns = slice(*_centres(left, right, grid))
        owner_GG[rows, columns] = index
    token_K = np.flatnonzero(owner_GG.ravel() != _NOTHING)
    object_K = owner_GG.ravel()[token_K]
    numbers_M4 = np.clip(np.rint(boxes_M4), 0, numbers).astype(np.int64)
    return AlignmentTargets(token_K, tuple(tuple(words[k]) for k in object_K), numbers_M4[object_K])


def alignment_sums(
    features_BND: Tensor,
    targets: Sequence[AlignmentTargets],
    embedding_VD: Tensor,
    number_ids: Tensor,
    slots: AlignmentSlots,
) -> dict[str, Tensor]:
    """Sums of the word losses of the covered image tokens and of their box numbers' losses, in nats.

    Words are scored against the whole vocabulary with equal shares for an object's words; numbers against the
    number tokens only (`number_ids`, in order). Zero, still differentiable, where no token is covered. Over how many
    each sums says `alignment_counts`.
    """
    covered = [torch.from_numpy(t.token_K) + image * features_BND.shape[1] for image, t in enumerate(targets)]
    features_KD = features_BND.flatten(0, 1)[torch.cat(covered).to(features_BND.device)]
    if not len(features_KD):
        nothing = features_BND.sum() * 0.0
        return {"alignment_words": nothing, "alignment_boxes": nothing}
    words_KD, numbers_K4D = slots(features_KD)
    scores_KR = (numbers_K4D @ embedding_VD[number_ids].T).flatten(0, 1)
    box_K4 = torch.from_numpy(np.concatenate([t.box_K4 for t in targets])).to(features_BND.device)
    return {
        "alignment_words": _words_sum(words_KD @ embedding_VD.T, [words for t in targets for words in t.words_K]),
        "alignment_boxes": F.cross_entropy(scores_KR, box_K4.flatten(), reduction="sum"),
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
    return -(scores_KV.log_softmax(-1)[row, word] * share).sum()


def _centres(low: float, high: float, grid: int) -> tuple[int, int]:
    """First and last-plus-one cell whose centre lies between `low` and `high`, at least the cell of the middle."""
    middle = int(np.clip(np.floor((low + high) / 2), 0, grid - 1))
    first, last = int(np.ceil(low - 0.5)), int(np.floor(high - 0.5))
    return max(min(first, middle), 0), min(max(last, middle), grid - 1) + 1

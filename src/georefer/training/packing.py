"""Many questions of one image in one row: the image is encoded and attended once, each question sees only itself.

A row is the image's prefix followed by its segments (a question with its answer). Positions restart after the
prefix for every segment and a mask hides the segments from each other, so loss and gradients are exactly those of
one row per question, at a small part of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NOT_LEARNED = -100
_PADDING = -1


@dataclass(frozen=True)
class Segment:
    """One question with its answer: token ids, and for each whether the model learns to say it."""

    ids: Sequence[int]
    learn: Sequence[bool]


@dataclass(frozen=True)
class PackedBatch:
    """Rows ready for a model.

    `ids_BT` and `positions_BT` are long; `mask_B1TT` is additive float (0 seen, the lowest float hidden);
    `targets_BT` holds at each token the id to be predicted *from* it (already shifted), or -100;
    `pixels_I3HW` are the distinct images and `image_of_row_B` says which of them each row begins with.
    """

    ids_BT: Tensor
    positions_BT: Tensor
    mask_B1TT: Tensor
    targets_BT: Tensor
    pixels_I3HW: Tensor | None = None
    image_of_row_B: Tensor | None = None

    @property
    def targets_M(self) -> Tensor:
        """The learned targets alone, in the order of the logits `forward_packed` returns."""
        return self.targets_BT[self.targets_BT != NOT_LEARNED]

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same batch on another device."""
        moved: dict[str, Any] = {
            name: None if value is None else value.to(device) for name, value in vars(self).items()
        }
        return replace(self, **moved)


def pack(
    prefix: Sequence[int],
    rows: Sequence[Sequence[Segment]],
    *,
    pad_id: int,
    pixels_I3HW: Tensor | None = None,
    image_of_row_B: Sequence[int] | None = None,
) -> PackedBatch:
    """One row per entry of `rows`: the shared `prefix` (the image's placeholder ids), then that row's segments.

    `image_of_row_B` defaults to row i showing image i; pass it to spread one image's questions over several rows
    while it is still encoded once.
    """
    packed = [_pack_row(prefix, segments) for segments in rows]
    length = max(len(ids) for ids, *_ in packed)
    columns = [torch.tensor([_pad(row[part], length, fill) for row in packed])
               for part, fill in enumerate((pad_id, 0, _PADDING, NOT_LEARNED))]  # fmt: skip
    ids_BT, positions_BT, segment_BT, targets_BT = columns
    image_of_row = range(len(rows)) if image_of_row_B is None else image_of_row_B
    return PackedBatch(
        ids_BT,
        positions_BT,
        attention_mask(segment_BT),
        targets_BT,
        pixels_I3HW,
        None if pixels_I3HW is None else torch.tensor(list(image_of_row)),
    )


def attention_mask(segment_BT: Tensor) -> Tensor:
    """Additive mask (B, 1, T, T) from each token's segment: 0 the prefix, 1.. the questions, -1 padding.

    A token sees itself and what stands before it in the prefix or in its own segment. So does padding, which
    nobody sees: a softmax over nothing would not be a number.
    """
    asks_BT1, seen_B1T = segment_BT[:, :, None], segment_BT[:, None, :]
    before_TT = torch.ones(segment_BT.shape[1], segment_BT.shape[1], dtype=torch.bool).tril()
    visible_BTT = before_TT & ((seen_B1T == 0) | (seen_B1T == asks_BT1))
    hidden = torch.finfo(torch.float32).min
    return torch.zeros(visible_BTT.shape).masked_fill_(~visible_BTT, hidden)[:, None]


def forward_packed(model: Any, batch: PackedBatch) -> tuple[Tensor, Tensor | None]:
    """Logits (M, V) at the learned tokens only, and the projected image features (I, N, D), each image encoded once.

    Works for any model of transformers in the LLaVA layout, bare or wrapped by PEFT.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    embedded_BTD = base.get_input_embeddings()(batch.ids_BT)
    features_IND = None
    if batch.pixels_I3HW is not None:
        features_IND = torch.stack(list(base.get_image_features(pixel_values=batch.pixels_I3HW).pooler_output))
        placeholder_BT1 = (batch.ids_BT == base.config.image_token_id)[:, :, None]
        shown_BND = features_IND[batch.image_of_row_B]
        embedded_BTD = embedded_BTD.masked_scatter(placeholder_BT1, shown_BND)
    outputs = base.model(
        inputs_embeds=embedded_BTD,
        attention_mask=batch.mask_B1TT,
        position_ids=batch.positions_BT,
        use_cache=False,
    )
    # Only a fifth of the tokens is learned: scoring the vocabulary for the others would be thrown away.
    learned_MD = outputs.last_hidden_state[batch.targets_BT != NOT_LEARNED]
    return base.lm_head(learned_MD), features_IND


def packed_loss(logits_MV: Tensor, batch: PackedBatch) -> Tensor:
    """Mean cross-entropy over the learned tokens of the batch, in nats."""
    return F.cross_entropy(logits_MV, batch.targets_M)


def _pack_row(prefix: Sequence[int], segments: Sequence[Segment]) -> tuple[list[int], list[int], list[int], list[int]]:
    ids, positions, segment_of = list(prefix), list(range(len(prefix))), [0] * len(prefix)
    targets = [NOT_LEARNED] * len(prefix)
    for number, segment in enumerate(segments, start=1):
        size = len(segment.ids)
        ids += segment.ids
        positions += range(len(prefix), len(prefix) + size)
        segment_of += [number] * size
        following = zip(segment.ids[1:], segment.learn[1:], strict=True)
        # The last token of a segment predicts nothing: what stands after it is another question.
        targets += [token if learn else NOT_LEARNED for token, learn in following] + [NOT_LEARNED]
    return ids, positions, segment_of, targets


def _pad(values: list[int], length: int, fill: int) -> list[int]:
    return values + [fill] * (length - len(values))

"""Rows of tokens in which questions share the image before them: who sees whom, and one pass through any decoder.

A row holds groups; a group is the prefix of one image (chat header and image tokens) followed by segments, each a
question with its answer. A token sees the prefix of its group and its own segment before it, and its position counts
on from the prefix, so every segment is computed exactly as if it stood alone behind its image. Training packs whole
groups into one row; answering puts the prefix into the cache and the questions behind it. Both use the same rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from georefer.models.attention import FLEX, PIECES, carrying, split_of, way

if TYPE_CHECKING:
    from georefer.models.families.base import Family

NOT_LEARNED = -100

_BLOCK = 128
"""Tokens along a side of the blocks of FlexAttention."""
_PAIRS = 2**26
"""Of tokens, looked at together when blocks are sorted: 64 MB."""


@dataclass(frozen=True)
class Segment:
    """One question with its answer: token ids, and for each whether the model learns to say it."""

    ids: Sequence[int]
    learn: Sequence[bool]


@dataclass(frozen=True, eq=False)
class Prefix:
    """All tokens before a question about one image.

    `positions_AP` are the rotary positions, one row for a plain model and three (time, height, width) for Qwen's;
    the first token behind stands at `next_position` on every axis. `block_P` numbers the stretches of image tokens
    that see each other in both directions, -1 for all other tokens. Where it `takes_question`, the question belongs to
    the last of these stretches; what stands before it then differs from question to question and cannot be shared.
    """

    ids: tuple[int, ...]
    positions_AP: Tensor
    next_position: int
    block_P: Tensor
    takes_question: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def asked(self, question: Sequence[int]) -> Prefix:
        """The prefix that ends with this question, in its last stretch."""
        count = len(question)
        return Prefix(
            (*self.ids, *question),
            torch.cat([self.positions_AP, following_positions(self, count)], dim=1),
            self.next_position + count,
            torch.cat([self.block_P, self.block_P[-1:].expand(count)]),
        )


@dataclass(frozen=True, eq=False)
class Group:
    """Questions of one image: its prefix, its segments, and which of the batch's images it is."""

    prefix: Prefix
    segments: Sequence[Segment]
    image: int

    def apart(self) -> list[Group]:
        """Itself, or a group for every segment where the prefix takes the question."""
        if not (self.prefix.takes_question and self.segments):
            return [self]
        return [self._alone(segment) for segment in self.segments]

    def _alone(self, segment: Segment) -> Group:
        begin = next((n for n, learn in enumerate(segment.learn) if learn), len(segment.ids))
        answer = Segment(segment.ids[begin:], segment.learn[begin:])
        return Group(self.prefix.asked(segment.ids[:begin]), [answer], self.image)


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each token of (B, T) stands.

    `group_BT` is its group in the row, -1 for padding; `segment_BT` 0 for the prefix, 1.. for the questions;
    `place_BT` its index in the row it would have alone; `block_BT` as in Prefix.
    """

    group_BT: Tensor
    segment_BT: Tensor
    place_BT: Tensor
    block_BT: Tensor

    def rows(self, index_R: Tensor) -> Layout:
        """Some of the rows, in the order of the index."""
        return Layout(*(value[index_R] for value in vars(self).values()))

    def columns(self, part: slice) -> Layout:
        """Some of the tokens of all rows."""
        return Layout(*(value[:, part] for value in vars(self).values()))

    def to(self, device: torch.device | str) -> Layout:
        """The same on another device."""
        return Layout(*(value.to(device) for value in vars(self).values()))

    def then(self, later: Layout) -> Layout:
        """The same rows with more tokens behind."""
        pairs = zip(vars(self).values(), vars(later).values(), strict=True)
        return Layout(*(torch.cat(pair, dim=1) for pair in pairs))


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """Rows ready for a model.

    `positions_ABT` are rotary positions as in Prefix; `targets_BT` holds at each token the id to be predicted
    *from* it (already shifted), or -100. `pixels` are the distinct images as the family's processor gives them and
    `image_of_group_G` says which of them each group shows, groups counted row by row.
    """

    ids_BT: Tensor
    positions_ABT: Tensor
    layout: Layout
    targets_BT: Tensor
    pixels: Mapping[str, Tensor]
    image_of_group_G: Tensor

    @property
    def targets_M(self) -> Tensor:
        """The learned targets alone, in the order of the logits `forward_packed` returns."""
        return self.targets_BT[self.targets_BT != NOT_LEARNED]

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same batch on another device."""
        return PackedBatch(
            self.ids_BT.to(device),
            self.positions_ABT.to(device),
            self.layout.to(device),
            self.targets_BT.to(device),
            {name: value.to(device) for name, value in self.pixels.items()},
            self.image_of_group_G.to(device),
        )


def pack(rows: Sequence[Sequence[Group]], pixels: Mapping[str, Tensor], *, pad_id: int) -> PackedBatch:
    """Rows of groups, padded on the right to the longest; an image may appear in several groups."""
    rows = [[part for group in groups for part in group.apart()] for groups in rows]
    packed = [_pack_row(groups) for groups in rows]
    length = max(len(row.ids) for row in packed)

    def columns(name: str, fill: int) -> Tensor:
        return torch.tensor([getattr(r, name) + [fill] * (length - len(r.ids)) for r in packed])

    layout = Layout(columns("group", -1), columns("segment", 0), columns("place", 0), columns("block", -1))
    return PackedBatch(
        columns("ids", pad_id),
        torch.stack([_right_padded(torch.cat(r.positions_AT, dim=1), length) for r in packed], dim=1),
        layout,
        columns("targets", NOT_LEARNED),
        pixels,
        torch.tensor([group.image for groups in rows for group in groups]),
    )


def visible(asking: Layout, seen: Layout, window: int | None = None) -> Tensor:
    """Bool (B, Q, K): whether each asking token sees each seen one, at most `window` places back where given.

    Tokens of one block see each other however far apart they are. Padding sees padding, as a softmax over nothing
    would not be a number.
    """
    return _sees(
        [value[:, :, None] for value in vars(asking).values()],
        [value[:, None, :] for value in vars(seen).values()],
        window,
    )


def _sees(asks: Sequence[Tensor], keys: Sequence[Tensor], window: int | Tensor | None) -> Tensor:
    """The rule itself, for the columns of two layouts in any shapes that fit each other."""
    (group_q, segment_q, place_q, block_q), (group_k, segment_k, place_k, block_k) = asks, keys
    together = (block_q == block_k) & (block_q >= 0)
    near = place_k <= place_q
    if window is not None:
        near = near & (place_q - place_k < window)
    return (group_q == group_k) & ((segment_k == 0) | (segment_k == segment_q)) & (near | together)


def block_mask(asking: Layout, seen: Layout, window: int | None = None) -> BlockMask:
    """The same for FlexAttention, which leaves out whole blocks of pairs that do not see each other.

    It is never laid out in full, as torch's own would be before it is sorted into blocks: a batch of long rows has
    billions of pairs.
    """
    asks, keys = (torch.stack(list(vars(layout).values())) for layout in (asking, seen))
    # a number would be a constant of the kernel
    limit = None if window is None else torch.tensor(window, device=asks.device)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return _sees([asks[n, batch, query] for n in range(4)], [keys[n, batch, key] for n in range(4)], limit)

    (rows, queries), count = asking.group_BT.shape, seen.group_BT.shape[1]
    step = max(1, _PAIRS // (rows * count * _BLOCK)) * _BLOCK
    parts = (asking.columns(slice(start, start + step)) for start in range(0, queries, step))
    pairs_BQK = torch.cat([_in_blocks(visible(part, seen, window)) for part in parts], dim=1)
    whole_BQK = pairs_BQK == _BLOCK**2
    partly, whole = (_listed(blocks_BQK) for blocks_BQK in ((pairs_BQK > 0) & ~whole_BQK, whole_BQK))
    return BlockMask.from_kv_blocks(*partly, *whole, _BLOCK, sees, seq_lengths=(queries, count))


def _in_blocks(seen_BQK: Tensor) -> Tensor:
    """How many pairs of each block see each other; beyond the rows nobody does."""
    queries, keys = seen_BQK.shape[1:]
    padded_BQK = torch.nn.functional.pad(seen_BQK, (0, -keys % _BLOCK, 0, -queries % _BLOCK))
    return padded_BQK.unflatten(2, (-1, _BLOCK)).unflatten(1, (-1, _BLOCK)).sum(dim=(2, 4))


def _listed(blocks_BQK: Tensor) -> tuple[Tensor, Tensor]:
    """Blocks as FlexAttention wants them, for all heads alike: how many of a line are meant, and these first."""
    order_BQK = blocks_BQK.int().argsort(dim=-1, descending=True, stable=True)
    return blocks_BQK.sum(dim=-1, dtype=torch.int32)[:, None], order_BQK.int()[:, None]


def attention_masks(config: Any, asking: Layout, seen: Layout, dtype: torch.dtype) -> Any:
    """What the decoder of this text configuration takes: a mask, or one for every type of layer.

    Additive (B, 1, Q, K), or, where no keys come from a cache, what `attention.way` wants: a BlockMask for
    FlexAttention, a stand-in for rows that are attended to in pieces.
    """
    has_questions = bool((asking.segment_BT > 0).any())
    chosen = way(config, asking.segment_BT.device, has_questions=has_questions) if asking is seen else ""

    def mask(window: int | None) -> Tensor | BlockMask:
        if chosen == FLEX:
            return block_mask(asking, seen, window)
        if chosen == PIECES and window is None and (split := split_of(asking, visible)):
            return carrying(split, len(asking.group_BT), dtype, asking.group_BT.device)
        seen_BQK = visible(asking, seen, window)
        hidden_BQK = torch.zeros(seen_BQK.shape, dtype=dtype, device=seen_BQK.device)
        return hidden_BQK.masked_fill_(~seen_BQK, torch.finfo(dtype).min)[:, None]

    window, types = getattr(config, "sliding_window", None), set(getattr(config, "layer_types", None) or ())
    if not types:
        return mask(window)
    if types == {"full_attention"}:
        return mask(None)
    if unknown := types - {"full_attention", "sliding_attention"}:
        raise ValueError(f"layers of type {sorted(unknown)} were found where full and sliding attention are known")
    return {kind: mask(window if kind == "sliding_attention" else None) for kind in types}


def run_decoder(
    family: Family, embedded: Mapping[str, Any], positions_ABT: Tensor, asking: Layout, seen: Layout, cache: Any = None
) -> Tensor:
    """Last hidden states (B, T, D) of tokens that `Family.embed` embedded; `seen` ends with `asking` itself."""
    dtype = embedded["inputs_embeds"].dtype
    outputs = family.decoder(
        **embedded,
        attention_mask=attention_masks(family.decoder.config, asking, seen, dtype),
        position_ids=positions_ABT[0] if len(positions_ABT) == 1 else positions_ABT,
        past_key_values=cache,
        use_cache=cache is not None,
    )
    hidden_BTD: Tensor = outputs.last_hidden_state
    return hidden_BTD


def forward_packed(family: Family, batch: PackedBatch) -> tuple[Tensor, list[Tensor]]:
    """Logits (M, V) at the learned tokens only, and the features of each image (N_i, D), each encoded once."""
    features = family.image_features(batch.pixels)
    shown = features.of(batch.image_of_group_G.tolist())
    # Only a fifth of the tokens is learned: scoring the vocabulary for the others would be thrown away.
    return family.logits(family.learned_hidden(batch, shown)), features.tokens


@dataclass(frozen=True, eq=False)
class _Row:
    ids: list[int]
    positions_AT: list[Tensor]
    group: list[int]
    segment: list[int]
    place: list[int]
    block: list[int]
    targets: list[int]


def _pack_row(groups: Sequence[Group]) -> _Row:
    row = _Row([], [], [], [], [], [], [])
    for number, group in enumerate(groups):
        prefix = group.prefix
        _append(row, list(prefix.ids), prefix.positions_AP, number, 0, range(len(prefix)))
        row.block.extend(prefix.block_P.tolist())
        row.targets.extend([NOT_LEARNED] * (len(prefix) - 1))
        row.targets.append(_first_target(group.segments))
        for count, segment in enumerate(group.segments, start=1):
            size = len(segment.ids)
            places = range(len(prefix), len(prefix) + size)
            _append(row, list(segment.ids), following_positions(prefix, size), number, count, places)
            row.block.extend([-1] * size)
            next_ones = zip(segment.ids[1:], segment.learn[1:], strict=True)
            # The last token of a segment predicts nothing: what stands after it is another question.
            row.targets.extend([*(token if learn else NOT_LEARNED for token, learn in next_ones), NOT_LEARNED])
    return row


def _first_target(segments: Sequence[Segment]) -> int:
    """What the end of the prefix predicts: one token only where a lone segment begins with its answer."""
    lone = segments[0] if len(segments) == 1 else None
    return lone.ids[0] if lone and lone.learn and lone.learn[0] else NOT_LEARNED


def following_positions(prefix: Prefix, count: int) -> Tensor:
    """Rotary positions (A, count) of text right behind a prefix."""
    axes = len(prefix.positions_AP)
    return (torch.arange(count) + prefix.next_position).expand(axes, -1)


def _append(row: _Row, ids: list[int], positions_AT: Tensor, group: int, segment: int, places: range) -> None:
    row.ids.extend(ids)
    row.positions_AT.append(positions_AT)
    row.group.extend([group] * len(ids))
    row.segment.extend([segment] * len(ids))
    row.place.extend(places)


def _right_padded(positions_AT: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(positions_AT, (0, length - positions_AT.shape[1]))

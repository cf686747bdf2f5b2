"""One row of keys and values an image: its prefix once, and behind it the tokens of all its questions.

Nothing of an image is copied for its questions. They lie behind one another in the image's row, and the layout says
who sees whom, as in training (`packed`): a decoding step appends one token or more of every question to the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from georefer.models.families.base import Family, ImageFeatures
from georefer.models.lean import LeanDecoder
from georefer.models.packed import Layout, Prefix, attention_masks, run_decoder

_SPARE = 256
"""Columns that a buffer is made larger than needed."""


@dataclass(frozen=True)
class Chunk:
    """Next ids of one question: number `segment` (from 1) of image number `row`; `place` behind the prefix."""

    row: int
    segment: int
    place: int
    ids: Sequence[int]


class SharedRows:
    """Prefixes in a cache, ready for questions, each with the features of its image."""

    def __init__(self, family: Family, features: ImageFeatures, prefixes: Sequence[Prefix]):
        self.family = family
        self.prefixes = prefixes
        # every layer keeps everything: what a sliding layer may see is for the mask to say
        self.cache: Any = Cache(layer_class_to_replicate=_GrowingLayer)
        self._lean = LeanDecoder.of(family.decoder)
        longest = max(map(len, prefixes))

        def column(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
            return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows]).to(family.device)

        counted = [range(len(prefix)) for prefix in prefixes]
        self.layout = Layout(
            column([[0] * len(prefix) for prefix in prefixes], -1),
            column([[0]] * len(prefixes), 0),
            column(counted, 0),
            column([prefix.block_P.tolist() for prefix in prefixes], -1),
        )
        positions = [torch.nn.functional.pad(p.positions_AP, (0, longest - len(p))) for p in prefixes]
        embedded = family.embed(column([prefix.ids for prefix in prefixes], 0), features)
        hidden_BTD = self._run(embedded, torch.stack(positions, dim=1), self.layout)
        self.ends = [row[len(p) - 1 : len(p)] for row, p in zip(hidden_BTD, prefixes, strict=True)]
        """Last hidden state (1, D) of each prefix."""
        self._columns = longest

    def feed(self, chunks: Sequence[Chunk]) -> list[Tensor]:
        """Last hidden states (n, D) of the tokens of each chunk, which are then in the cache."""
        self._tidy()
        if not any(chunk.ids for chunk in chunks):
            return [self.ends[chunk.row][:0] for chunk in chunks]
        rows, ids_BT, positions_ABT, layout = self._laid(chunks)
        self.layout = self.layout.then(layout)
        return _parted(chunks, rows, self._run(self.family.embed(ids_BT, None), positions_ABT, layout))

    def _laid(self, chunks: Sequence[Chunk]) -> tuple[list[list[Chunk]], Tensor, Tensor, Layout]:
        """Chunks by row, and their ids (B, T), rotary positions (A, B, T) and layout, padded on the right."""
        rows: list[list[Chunk]] = [[] for _ in self.prefixes]
        for chunk in chunks:
            rows[chunk.row].append(chunk)
        made = [self._columns_of(row) for row in rows]
        longest = max(len(row) for row in made)
        padded = [row + [(0, -1, 0, 0, 0)] * (longest - len(row)) for row in made]
        ids_BT, group_BT, segment_BT, place_BT, position_BT = torch.tensor(padded).to(self.family.device).unbind(-1)
        layout = Layout(group_BT, segment_BT, place_BT, torch.full_like(ids_BT, -1))
        return rows, ids_BT, position_BT.expand(len(self.prefixes[0].positions_AP), -1, -1), layout

    def _columns_of(self, chunks: Sequence[Chunk]) -> list[tuple[int, int, int, int, int]]:
        """(id, group, segment, place, rotary position) of the tokens of one row."""
        columns = []
        for chunk in chunks:
            prefix = self.prefixes[chunk.row]
            places = range(chunk.place, chunk.place + len(chunk.ids))
            columns += [
                (token, 0, chunk.segment, len(prefix) + n, prefix.next_position + n)
                for token, n in zip(chunk.ids, places, strict=True)
            ]
        return columns

    def hide(self, row: int, segment: int, place: int = 0) -> None:
        """Nobody sees the tokens of a question from that place on any more."""
        late_T = self.layout.place_BT[row] >= place + len(self.prefixes[row])
        self.layout.group_BT[row] = self.layout.group_BT[row].masked_fill(
            late_T & (self.layout.segment_BT[row] == segment), -1
        )

    def forget(self) -> None:
        """Back to the images alone."""
        self.layout = Layout(*(value[:, : self._columns] for value in vars(self.layout).values()))
        for layer in self.cache.layers:
            layer.length = self._columns

    def _tidy(self) -> None:
        """Moves what is seen together once most columns behind the images are hidden."""
        live_BT = self.layout.group_BT[:, self._columns :] >= 0
        total = live_BT.shape[1]
        if total < _SPARE or total < 2 * (kept := int(live_BT.sum(dim=1).max())):
            return
        order_BK = live_BT.int().argsort(dim=1, descending=True, stable=True)[:, :kept]
        values = [value.split([self._columns, total], dim=1) for value in vars(self.layout).values()]
        self.layout = Layout(*(torch.cat([one, behind.gather(1, order_BK)], dim=1) for one, behind in values))
        for layer in self.cache.layers:
            layer.keep(self._columns, order_BK)

    def _run(self, embedded: dict[str, Any], positions_ABT: Tensor, layout: Layout) -> Tensor:
        positions_ABT = positions_ABT.to(self.family.device)
        if self._lean and layout is not self.layout:
            hidden_BTD = embedded["inputs_embeds"]
            masks = attention_masks(self._lean.config, layout, self.layout, hidden_BTD.dtype)
            if isinstance(masks, Tensor):
                return self._lean(hidden_BTD, positions_ABT[0], masks, self.cache)
        return run_decoder(self.family, embedded, positions_ABT, layout, self.layout, self.cache)


def _parted(chunks: Sequence[Chunk], rows: Sequence[Sequence[Chunk]], hidden_BTD: Tensor) -> list[Tensor]:
    """Hidden states of rows as those of each chunk, in the order of the chunks."""
    parts: dict[int, Tensor] = {}
    for row, hidden_TD in zip(rows, hidden_BTD, strict=True):
        sizes = [len(chunk.ids) for chunk in row]
        split = hidden_TD[: sum(sizes)].split(sizes)
        parts |= {id(chunk): part for chunk, part in zip(row, split, strict=True)}
    return [parts[id(chunk)] for chunk in chunks]


class _GrowingLayer(DynamicLayer):
    """Keys and values in a buffer with room: a step writes its own columns and copies nothing."""

    keys: Any
    values: Any
    length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.length = self.length, self.length + key_states.shape[2]
        self.keys = _written(self.keys, start, key_states)
        self.values = _written(self.values, start, value_states)
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def get_seq_length(self) -> int:
        return self.length

    def keep(self, start: int, order_BK: Tensor) -> None:
        """Of the columns from `start` on only these, counted from there."""
        for buffer in (self.keys, self.values):
            index_BHKD = order_BK[:, None, :, None].expand(-1, buffer.shape[1], -1, buffer.shape[3])
            kept = buffer[:, :, start : self.length].gather(2, index_BHKD)
            buffer[:, :, start : start + kept.shape[2]] = kept
        self.length = start + order_BK.shape[1]


def _written(buffer: Tensor, start: int, new: Tensor) -> Tensor:
    """The buffer with `new` (B, H, n, D) from column `start` on; a larger one where it has no room."""
    rows, heads, count, width = new.shape
    if start + count > buffer.shape[2]:
        larger = new.new_empty(rows, heads, start + count + max(_SPARE, start // 8), width)
        larger[:, :, :start] = buffer[:, :, :start]
        buffer = larger
    buffer[:, :, start : start + count] = new
    return buffer

"""Attention of packed rows: no token is scored against tokens that it does not see.

A dense mask of a row costs its length squared, though a question sees its image and itself only. In pieces, the prefix
attends to itself as plain causal attention does, and questions attend, some at a time, to the prefix and to each other
under a small mask. By FlexAttention, one kernel leaves out the blocks of pairs that do not see each other; it wants
CUDA, and takes rows of any kind. `way` chooses. Registered with transformers under the names below; without a
`Split` or a `BlockMask` all are its own `sdpa`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from georefer.models.packed import Layout

PACKED = "georefer_packed"
"""What the device is best at; the other two are for comparing them: `set_attn_implementation(FLEX)` of a decoder."""
PIECES, FLEX = "georefer_pieces", "georefer_flex"

_LEAST_WIDTH = 16
"""Of a head: the kernels of FlexAttention multiply no narrower ones."""
_KERNELS = 64
_QUESTION_TOKENS = 384
"""Asked at once: enough to fill the processor, few enough that little is scored in vain."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Tokens `start` to `end` of all rows, which see the prefix and, under a mask (B, 1, Q, K), from `first` on."""

    start: int
    end: int
    first: int
    mask_B1QK: Tensor


@dataclass(frozen=True, eq=False)
class Split:
    """How rows of one group each are attended to: a causal prefix of equal length, then pieces."""

    prefix: int
    pieces: tuple[Piece, ...]


def way(config: Any, device: torch.device, *, has_questions: bool) -> str:
    """PIECES or FLEX, or what else the model of this text configuration is set to.

    The one place where it is chosen: FlexAttention on CUDA for rows with questions in them, where it can do what the
    model asks (it drops no attention, and wants heads of some width), pieces everywhere else.
    """
    asked: str = config._attn_implementation
    if asked != PACKED:
        return asked
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    can = device.type == "cuda" and width >= _LEAST_WIDTH and not getattr(config, "attention_dropout", 0.0)
    # images alone are plain causal attention, for which there are better kernels
    return FLEX if can and has_questions else PIECES


def split_of(layout: Layout, visible: Callable[[Layout, Layout], Tensor]) -> Split | None:
    """The split of these rows; None where they are not alike: several images a row, tokens that see ahead."""
    in_prefix_BT = (layout.segment_BT == 0) & (layout.group_BT == 0)
    prefix = int(in_prefix_BT[0].sum())
    is_alike = in_prefix_BT[:, :prefix].all() and not in_prefix_BT[:, prefix:].any()
    if not is_alike or (layout.group_BT > 0).any() or (layout.block_BT >= 0).any():
        return None
    length = layout.segment_BT.shape[1]
    # a token's segment begins where its place counts from the prefix on
    begin_BT = torch.arange(length, device=layout.place_BT.device) - (layout.place_BT - prefix)
    begin_BT = torch.where(layout.group_BT == 0, begin_BT, length)
    pieces = []
    for start in range(prefix, length, _QUESTION_TOKENS):
        end = min(start + _QUESTION_TOKENS, length)
        first = min(start, int(begin_BT[:, start:end].min()))
        keys = torch.cat([torch.arange(prefix), torch.arange(first, end)])
        seen = type(layout)(*(value[:, keys.to(value.device)] for value in vars(layout).values()))
        pieces.append(Piece(start, end, first, visible(layout.columns(slice(start, end)), seen)[:, None]))
    return Split(prefix, tuple(pieces))


def carrying(split: Split, rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A stand-in for a mask that takes no memory and brings the split through the decoder to its attention.

    It is no number: whatever read it as a mask would be found out at once.
    """
    length = split.pieces[-1].end if split.pieces else split.prefix
    mask = torch.full((1, 1, 1, 1), torch.nan, dtype=dtype, device=device).expand(rows, 1, length, length)
    mask.split_of_rows = split  # type: ignore[attr-defined]
    return mask


def packed_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | BlockMask | None,
    dropout: float = 0.0, scaling: float | None = None, **more: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """What transformers calls in every layer: (B, H, T, d) to (B, T, H, d)."""
    if isinstance(attention_mask, BlockMask):
        return _by_flex(query, key, value, attention_mask, dropout, scaling, more.get("softcap")), None
    split: Split | None = getattr(attention_mask, "split_of_rows", None)
    if split is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **more)
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    prefix = slice(0, split.prefix)

    def attend(asking: slice, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        return scaled_dot_product_attention(
            query[:, :, asking], keys, values, attn_mask=mask, dropout_p=dropout, scale=scaling, is_causal=mask is None
        )

    parts = [attend(prefix, key[:, :, prefix], value[:, :, prefix], None)]
    for piece in split.pieces:
        own = slice(piece.first, piece.end)
        keys, values = (torch.cat([kv[:, :, prefix], kv[:, :, own]], dim=2) for kv in (key, value))
        parts.append(attend(slice(piece.start, piece.end), keys, values, piece.mask_B1QK))
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _by_flex(
    query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, dropout: float, scale: float | None, cap: Any
) -> Tensor:
    """The same by FlexAttention; scores are capped at `cap` where a model (Gemma 2) caps them."""
    if dropout:
        raise ValueError(f"FlexAttention was asked for a dropout of {dropout}, where it knows none; set it to 0")

    def capped(score: Tensor, *_: Tensor) -> Tensor:
        return torch.tanh(score / cap) * cap

    # without a kernel of its own it scores all pairs: right, and slow, which is enough to compare with
    attend: Any = _kernel() if query.is_cuda and not torch.compiler.is_compiling() else flex_attention
    has_groups = query.shape[1] != key.shape[1]
    found: Tensor = attend(
        query, key, value, score_mod=capped if cap else None, block_mask=mask, scale=scale, enable_gqa=has_groups
    )
    return found.transpose(1, 2).contiguous()


@cache
def _kernel() -> Callable[..., Any]:
    # numbers of rows, windows, caps and gradients each want a kernel; beyond the limit all pairs would be scored
    limits = torch._dynamo.config
    limits.recompile_limit = max(_KERNELS, limits.recompile_limit)
    compiled: Callable[..., Any] = torch.compile(flex_attention)
    return compiled


for _name in (PACKED, PIECES, FLEX):
    AttentionInterface.register(_name, packed_attention)
    AttentionMaskInterface.register(_name, sdpa_mask)

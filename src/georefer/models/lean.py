"""Decoders of Llama's kind in fewer calls, for passes over a few tokens behind what is cached.

Such a pass is so short that the calls around its arithmetic cost as much: transformers makes some sixty for every
layer, and copies the cache where several heads share keys and values. Here the same weights are used in half as many,
nothing of the cache is copied, and other decoders are left to transformers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention

from georefer.models.attention import PACKED

_KINDS = {f"transformers.models.{name}.modeling_{name}" for name in ("llama", "mistral", "qwen2", "qwen3")}
"""Modules whose layers are alike, but for norms of queries and keys that some have."""


class LeanDecoder:
    """The layers of a decoder, applied to embedded tokens that see others by a mask."""

    def __init__(self, decoder: Any):
        self._decoder = decoder

    @classmethod
    def of(cls, decoder: Any) -> LeanDecoder | None:
        """None where the decoder is of another kind, or something waits for a call that would not be made here."""
        layers = [part for layer in decoder.layers for part in _passed_by(layer)]
        passed = [decoder, decoder.norm, *layers]
        known = all(type(module).__module__ in _KINDS and not _is_changed(module) for module in passed)
        return cls(decoder) if known and decoder.config._attn_implementation == PACKED else None

    def __call__(self, embedded_BTD: Tensor, position_BT: Tensor, mask_B1TK: Tensor, cache: Any) -> Tensor:
        """Last hidden states (B, T, D), as the decoder itself would give them; the tokens are then in the cache."""
        decoder, hidden_BTD = self._decoder, embedded_BTD
        turns = _turns(*decoder.rotary_emb(embedded_BTD, position_ids=position_BT))
        # heads that share keys and values ask together, as more tokens would
        sharing = decoder.layers[0].self_attn.num_key_value_groups
        mask_B1QK = mask_B1TK.repeat(1, 1, sharing, 1) if sharing > 1 else mask_B1TK
        for layer, kept in zip(decoder.layers, cache.layers, strict=True):
            asked = _normed(layer.input_layernorm, hidden_BTD)
            hidden_BTD = hidden_BTD + _attended(layer.self_attn, asked, turns, mask_B1QK, kept)
            hidden_BTD = hidden_BTD + layer.mlp(_normed(layer.post_attention_layernorm, hidden_BTD))
        return _normed(decoder.norm, hidden_BTD)


def _passed_by(layer: Any) -> list[nn.Module]:
    """What of a layer is not called as a module."""
    attention = layer.self_attn
    norms = [getattr(attention, name) for name in ("q_norm", "k_norm") if hasattr(attention, name)]
    return [layer, attention, layer.input_layernorm, layer.post_attention_layernorm, *norms]


def _is_changed(module: nn.Module) -> bool:
    """Whether hooks or another forward were put in: layers spread over devices, shards, kernels."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _normed(norm: Any, values: Tensor) -> Tensor:
    """In half precision transformers rounds before it scales, which a fused norm does not."""
    if values.dtype == norm.weight.dtype == torch.float32:
        return rms_norm(values, norm.weight.shape, norm.weight, norm.variance_epsilon)
    made: Tensor = norm(values)
    return made


def _turns(cos_BTd: Tensor, sin_BTd: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of a value and of the one half a head away from it, for all heads."""
    half = cos_BTd.shape[-1] // 2
    signed = torch.cat([-sin_BTd[..., :half], sin_BTd[..., half:]], dim=-1)
    return cos_BTd[:, :, None], signed[:, :, None]


def _attended(attention: Any, asked_BTD: Tensor, turns: tuple[Tensor, Tensor], mask: Tensor, kept: Any) -> Tensor:
    """What a layer's attention adds (B, T, D)."""
    rows, tokens, width = *asked_BTD.shape[:2], attention.head_dim
    query, key, value = (project(asked_BTD) for project in (attention.q_proj, attention.k_proj, attention.v_proj))
    own, shared = key.shape[-1] // width, attention.num_key_value_groups
    if hasattr(attention, "q_norm"):
        query = _normed(attention.q_norm, query.view(rows, tokens, -1, width)).flatten(2)
        key = _normed(attention.k_norm, key.view(rows, tokens, -1, width)).flatten(2)
    both = torch.cat([query, key], dim=-1).view(rows, tokens, -1, width)
    cos, sin = turns
    both = both * cos + both.roll(width // 2, dims=-1) * sin
    query, key = both.split([own * shared, own], dim=2)
    keys, values = kept.update(key.transpose(1, 2), value.view(rows, tokens, own, width).transpose(1, 2))
    query = query.view(rows, tokens, own, shared, width).permute(0, 2, 3, 1, 4).reshape(rows, own, -1, width)
    seen = scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=attention.scaling)
    seen = seen.view(rows, own, shared, tokens, width).permute(0, 3, 1, 2, 4).reshape(rows, tokens, -1)
    added: Tensor = attention.o_proj(seen)
    return added

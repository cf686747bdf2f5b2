"""Decoders of Llama's kind in fewer calls, for passes over a few tokens behind what is cached.

Such a pass is so short that the calls around its arithmetic cost as much: transformers makes some sixty for every
layer, and copies the cache where several heads share keys and values. Here the same weights are used in half as many,
nothing of the cache is copied, and other decoders are left to transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention

from georefer.models.attention import PACKED

_KINDS = {f"transformers.models.{name}.modeling_{name}" for name in ("llama", "mistral", "qwen2", "qwen3")}
"""Modules whose layers are alike, but for norms of queries and keys that some have."""
_Function = Callable[[Tensor], Tensor]


class LeanDecoder:
    """The layers of a decoder, applied to embedded tokens that see others by a mask; made anew when weights move."""

    def __init__(self, decoder: Any):
        self.config = decoder.config
        self._turned_by, self._norm = decoder.rotary_emb, _norm(decoder.norm)
        self._layers = [_Layer(layer) for layer in decoder.layers]
        self._sharing = decoder.layers[0].self_attn.num_key_value_groups

    @classmethod
    def of(cls, decoder: Any) -> LeanDecoder | None:
        """None where the decoder is of another kind, or something waits for a call that would not be made here."""
        layers = [part for layer in decoder.layers for part in _passed_by(layer)]
        passed = [decoder, decoder.norm, *layers]
        known = all(type(module).__module__ in _KINDS and not _is_changed(module) for module in passed)
        return cls(decoder) if known and decoder.config._attn_implementation == PACKED else None

    def __call__(self, hidden_BTD: Tensor, position_BT: Tensor, mask_B1TK: Tensor, cache: Any) -> Tensor:
        """Last hidden states (B, T, D), as the decoder itself would give them; the tokens are then in the cache."""
        cos_BTd, sin_BTd = self._turned_by(hidden_BTD, position_ids=position_BT)
        half = cos_BTd.shape[-1] // 2
        # factors of a value and of the one half a head away from it, for all heads
        signed_BTd = torch.cat([-sin_BTd[..., :half], sin_BTd[..., half:]], dim=-1)
        turns = cos_BTd[:, :, None], signed_BTd[:, :, None]
        # heads that share keys and values ask together, as more tokens would
        mask_B1QK = mask_B1TK.repeat(1, 1, self._sharing, 1) if self._sharing > 1 else mask_B1TK
        for layer, kept in zip(self._layers, cache.layers, strict=True):
            hidden_BTD = hidden_BTD + layer.attended(hidden_BTD, turns, mask_B1QK, kept)
            hidden_BTD = hidden_BTD + layer.transformed(hidden_BTD)
        return self._norm(hidden_BTD)


class _Layer:
    """What a layer computes with, looked up once."""

    def __init__(self, layer: Any):
        attention, mlp = layer.self_attn, layer.mlp
        self.width, self.scale = attention.head_dim, attention.scaling
        self.first, self.second = _norm(layer.input_layernorm), _norm(layer.post_attention_layernorm)
        self.query, self.key, self.value, self.out = (
            _matrix(getattr(attention, name)) for name in ("q_proj", "k_proj", "v_proj", "o_proj")
        )
        self.norms = [_norm(norm) for norm in _own_norms(attention)]
        self.gate, self.up, self.down = (_matrix(getattr(mlp, name)) for name in ("gate_proj", "up_proj", "down_proj"))
        self.act = mlp.act_fn

    def transformed(self, hidden_BTD: Tensor) -> Tensor:
        given = self.second(hidden_BTD)
        return self.down(self.act(self.gate(given)) * self.up(given))

    def attended(self, hidden_BTD: Tensor, turns: tuple[Tensor, Tensor], mask: Tensor, kept: Any) -> Tensor:
        """What attention adds (B, T, D)."""
        rows, tokens, width = *hidden_BTD.shape[:2], self.width
        given = self.first(hidden_BTD)
        query, key, value = self.query(given), self.key(given), self.value(given)
        own, shared = key.shape[-1] // width, query.shape[-1] // key.shape[-1]
        if self.norms:
            query, key = (
                norm(one.view(rows, tokens, -1, width)).flatten(2)
                for norm, one in zip(self.norms, (query, key), strict=True)
            )
        both = torch.cat([query, key], dim=-1).view(rows, tokens, -1, width)
        both = both * turns[0] + both.roll(width // 2, dims=-1) * turns[1]
        query, key = both[:, :, : own * shared], both[:, :, own * shared :]
        keys, values = kept.update(key.transpose(1, 2), value.view(rows, tokens, own, width).transpose(1, 2))
        query = query.view(rows, tokens, own, shared, width).permute(0, 2, 3, 1, 4).reshape(rows, own, -1, width)
        seen = scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=self.scale)
        seen = seen.view(rows, own, shared, tokens, width).permute(0, 3, 1, 2, 4)
        return self.out(seen.reshape(rows, tokens, -1))


def _own_norms(attention: Any) -> list[nn.Module]:
    return [getattr(attention, name) for name in ("q_norm", "k_norm") if hasattr(attention, name)]


def _passed_by(layer: Any) -> list[nn.Module]:
    """What of a layer is not called as a module, but for its matrices."""
    norms = [layer.input_layernorm, layer.post_attention_layernorm, *_own_norms(layer.self_attn)]
    return [layer, layer.self_attn, layer.mlp, *norms]


def _is_changed(module: nn.Module) -> bool:
    """Whether hooks or another forward were put in: layers spread over devices, shards, kernels."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _matrix(module: nn.Module) -> _Function:
    """A plain matrix without the module around it; adapters and quantised ones are called as they are."""
    if type(module) is not nn.Linear or _is_changed(module):
        return module
    return partial(linear, weight=module.weight, bias=module.bias)


def _norm(norm: Any) -> _Function:
    """In half precision transformers rounds before it scales, which a fused norm does not."""

    def normed(values: Tensor) -> Tensor:
        if values.dtype == weight.dtype == torch.float32:
            return rms_norm(values, shape, weight, epsilon)
        made: Tensor = norm(values)
        return made

    weight, shape, epsilon = norm.weight, norm.weight.shape, norm.variance_epsilon
    return normed

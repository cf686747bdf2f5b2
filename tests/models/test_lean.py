"""A lean decoder gives what the decoder itself gives, and steps aside where it cannot."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from georefer.models import shared_rows
from georefer.models.lean import LeanDecoder
from georefer.models.shared_rows import Chunk, SharedRows

SIZES = [(100, 60), (60, 130)]
LEAN = {"llava": False, "llava_onevision": False, "tiny": True}
"""Llama, Qwen2 (biases), Qwen3 (norms of queries and keys); in the first two several heads share keys and values."""
OTHERS = ["qwen2_vl", "qwen3_vl", "gemma3", "paligemma"]
"""Other rotary positions, features added between layers, other norms, attention that is no `sdpa`."""


def hidden_of(model):
    """Hidden states of tokens fed in several passes, rows and numbers, some hidden again, and the cached keys."""
    rng = np.random.default_rng(4)
    images = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in SIZES]
    features = model.family.image_features(model.pixels(images))
    rows = SharedRows(model.family, features, [model.prefix(size) for size in SIZES])
    made = rows.feed([Chunk(0, 1, 0, [7, 8, 9]), Chunk(0, 2, 0, [8]), Chunk(1, 1, 0, [9, 7])])
    rows.hide(0, 1, 2)
    made += rows.feed([Chunk(0, 1, 2, [10]), Chunk(1, 1, 2, [11, 12])])
    return rows, torch.cat(made)


@pytest.mark.parametrize("kind", LEAN)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_hidden_states_are_those_of_the_decoder(loaded, monkeypatch, kind, precision):
    model = loaded(kind)
    with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
        lean, found_ND = hidden_of(model)
        assert lean._lean is not None
        monkeypatch.setattr(shared_rows.LeanDecoder, "of", lambda decoder: None)
        plain, expected_ND = hidden_of(model)
    assert plain._lean is None and expected_ND.abs().max() > 0.1
    near = {"atol": 1e-4} if precision == torch.float32 else {"atol": 0.05, "rtol": 0.05}
    assert torch.allclose(found_ND.float(), expected_ND.float(), **near)
    length = plain.cache.layers[0].get_seq_length()
    for one, other in zip(lean.cache.layers, plain.cache.layers, strict=True):
        assert one.get_seq_length() == length
        assert torch.allclose(one.keys[:, :, :length].float(), other.keys[:, :, :length].float(), **near)


def test_heads_that_share_keys_do(loaded):
    """Or the case would not be looked at above."""
    assert loaded("llava").family.decoder.layers[0].self_attn.num_key_value_groups > 1
    assert loaded("llava_onevision").family.decoder.layers[0].self_attn.num_key_value_groups > 1
    assert hasattr(loaded("tiny").family.decoder.layers[0].self_attn, "q_norm")


@pytest.mark.parametrize("kind", OTHERS)
def test_other_decoders_are_left_to_transformers(loaded, kind):
    assert LeanDecoder.of(loaded(kind).family.decoder) is None


def replaced_forward(decoder):
    layer = decoder.layers[1]
    layer.forward = layer.forward


def another_norm(decoder):
    decoder.layers[1].input_layernorm = torch.nn.LayerNorm(decoder.config.hidden_size)


CHANGES = {
    "a hook before": lambda decoder: decoder.layers[1].self_attn.register_forward_pre_hook(lambda *_: None),
    "a hook behind": lambda decoder: decoder.layers[0].register_forward_hook(lambda *_: None),
    "a forward put in": replaced_forward,  # as accelerate spreads layers over devices
    "another norm": another_norm,
    "another attention": lambda decoder: decoder.set_attn_implementation("eager"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_waits_for_a_call_gets_it(loaded, change):
    decoder = deepcopy(loaded("llava").family.decoder)
    assert LeanDecoder.of(decoder) is not None
    CHANGES[change](decoder)
    assert LeanDecoder.of(decoder) is None


def test_an_adapter_of_matrices_is_heard(loaded):
    """Only calls of modules that have no matrices are left out."""
    model = loaded("llava")
    with torch.no_grad():
        _, before_ND = hidden_of(model)
        handle = model.family.decoder.layers[0].self_attn.o_proj.register_forward_hook(lambda *made: made[-1] * 2)
        try:
            lean, after_ND = hidden_of(model)
        finally:
            handle.remove()
    assert lean._lean is not None and not torch.allclose(before_ND, after_ND, atol=1e-2)

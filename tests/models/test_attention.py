"""Attention in pieces and by FlexAttention: what a dense mask gives, without scoring what nobody sees."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.data.checkpoints import KINDS
from torch.nn import functional as F

from georefer.models import attention
from georefer.models.attention import FLEX, PACKED, PIECES, split_of, way
from georefer.models.loading import load
from georefer.models.packed import block_mask, forward_packed, pack, visible

SIZE = (100, 60)
ASKED = [
    [("Where is it?", "[1, 2, 3, 4]"), ("Is there a ship?", "no"), ("Find every storage tank.", "none, none, none")],
    [("Where is the red building by the road, seen from above?", "[12, 40, 60, 88]")],
]
IN_PIECES = [*(kind for kind in KINDS if kind not in ("gemma3", "paligemma", "florence2")), "tiny"]
"""Families whose tokens all look back only, and that have a decoder alone."""


def batch_of(model, asked=ASKED):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8) for _ in asked]
    rows = [[model.group(SIZE, turns, n)] for n, turns in enumerate(asked)]
    return pack(rows, model.pixels(images), pad_id=model.speech.pad_id)


def learned(model, batch):
    model.family.model.zero_grad()
    logits_MV, _ = forward_packed(model.family, batch)
    loss = F.cross_entropy(logits_MV, batch.targets_M)
    loss.backward()
    found = {n: p.grad.clone() for n, p in model.family.model.named_parameters() if p.grad is not None}
    return loss.item(), found


@pytest.mark.parametrize("kind", IN_PIECES)
@pytest.mark.parametrize("tokens", [7, 10_000])  # cut within questions, and all of them at once
def test_loss_and_gradients_are_those_of_the_dense_mask(loaded, kind, tokens, monkeypatch):
    monkeypatch.setattr(attention, "_QUESTION_TOKENS", tokens)
    model = loaded(kind)
    model.family.model.eval()
    batch, decoder = batch_of(model), model.family.decoder
    assert split_of(batch.layout, visible) is not None
    decoder.set_attn_implementation("sdpa")
    dense_loss, dense = learned(model, batch)
    decoder.set_attn_implementation(PACKED)
    loss, found = learned(model, batch)
    assert loss == pytest.approx(dense_loss, rel=1e-5)
    scale = max(float(g.norm()) for g in dense.values())
    assert dense.keys() == found.keys()
    assert max(float((found[n] - g).norm() / (g.norm() + 1e-3 * scale)) for n, g in dense.items()) < 1e-5


@pytest.mark.parametrize("kind", ["llava", "qwen3_vl"])
def test_loaded_models_use_it(checkpoint, kind):
    # anew, as other tests change the attention of the shared ones
    assert load(checkpoint(kind)).family.decoder.config._attn_implementation == PACKED


CAPPED = "paligemma"
"""Gemma 2 caps its scores, which is for transformers' eager attention or FlexAttention."""
UNLIKE = [(100, 60), (70, 130)]
"""Sizes of two images, for which most families take unlike numbers of tokens."""


def ragged(model):
    """Three rows: two images of several questions each, one of them again, and the other again."""
    images = [np.random.default_rng(n).integers(0, 256, (h, w, 3), dtype=np.uint8) for n, (w, h) in enumerate(UNLIKE)]
    first, second = (model.group(size, ASKED[n], n) for n, size in enumerate(UNLIKE))
    return pack([[first, second], [second], [first]], model.pixels(images), pad_id=model.speech.pad_id)


@pytest.fixture
def taught_on_cpu(monkeypatch):
    """FlexAttention without its kernels, which refuses gradients on a CPU before it would compute them."""
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)
    monkeypatch.setattr("torch.nn.attention.flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)


@pytest.mark.parametrize(
    ("kind", "batch"),
    [
        ("llava", batch_of),  # rows alike
        ("llava_next", ragged),  # rows of unlike lengths, several images in one
        ("qwen2_5_vl", ragged),  # rotary positions on three axes, grouped heads
        ("gemma3", ragged),  # sliding windows, and tokens that see ahead
        (CAPPED, ragged),
    ],
)
def test_flex_attention_gives_the_same_loss_and_gradients(loaded, taught_on_cpu, kind, batch):
    model = loaded(kind)
    model.family.model.eval()
    made, decoder = batch(model), model.family.decoder
    assert made.ids_BT.shape[1] % 128  # the last block is cut
    other = "eager" if kind == CAPPED else PIECES
    decoder.set_attn_implementation(other)
    other_loss, expected = learned(model, made)
    decoder.set_attn_implementation(FLEX)
    loss, found = learned(model, made)
    decoder.set_attn_implementation("eager" if kind == CAPPED else PACKED)
    assert loss == pytest.approx(other_loss, rel=1e-5)
    scale = max(float(g.norm()) for g in expected.values())
    assert expected.keys() == found.keys()
    assert max(float((found[n] - g).norm() / (g.norm() + 1e-3 * scale)) for n, g in expected.items()) < 1e-5


@pytest.mark.parametrize(
    ("device", "questions", "config", "expected"),
    [
        ("cpu", True, {}, PIECES),
        ("cuda", True, {}, FLEX),
        ("cuda", False, {}, PIECES),  # an image alone, before it is asked about
        ("cuda", True, {"attention_dropout": 0.1}, PIECES),  # the kernel has none
        ("cuda", True, {"head_dim": 8}, PIECES),  # nor heads so narrow
        ("cuda", True, {"hidden_size": 32}, PIECES),
        ("cuda", True, {"_attn_implementation": PIECES}, PIECES),  # as it is told
        ("cpu", True, {"_attn_implementation": FLEX}, FLEX),
        ("cuda", True, {"_attn_implementation": "eager"}, "eager"),
    ],
)
def test_the_device_chooses(device, questions, config, expected):
    usual = {"_attn_implementation": PACKED, "hidden_size": 128, "num_attention_heads": 4, "attention_dropout": 0.0}
    found = way(SimpleNamespace(**{**usual, **config}), torch.device(device), has_questions=questions)
    assert found == expected


def test_flex_attention_refuses_dropout(loaded):
    layout = batch_of(loaded("llava")).layout
    heads = torch.ones(*layout.group_BT.shape, 4)[:, None]
    with pytest.raises(ValueError, match="a dropout"):
        attention.packed_attention(None, heads, heads, heads, block_mask(layout, layout), dropout=0.5)


def test_nothing_is_scored_that_nobody_sees(loaded, monkeypatch):
    """Of a question far behind, only the prefix and the questions beside it are keys."""
    monkeypatch.setattr(attention, "_QUESTION_TOKENS", 16)
    batch = batch_of(loaded("llava"), [ASKED[0] * 10])
    split = split_of(batch.layout, visible)
    longest = max(len(s.ids) for s in loaded("llava").group(SIZE, ASKED[0], 0).segments)
    assert all(piece.mask_B1QK.shape[-1] <= split.prefix + 16 + longest for piece in split.pieces)
    assert sum(piece.end - piece.start for piece in split.pieces) == batch.ids_BT.shape[1] - split.prefix


@pytest.mark.parametrize("rows", ["two images", "unlike sizes"])
def test_rows_that_are_not_alike_get_a_mask(loaded, rows):
    model = loaded("llava_next")
    sizes = [SIZE, SIZE if rows == "two images" else (60, 99)]
    groups = [model.group(size, ASKED[0], n) for n, size in enumerate(sizes)]
    packed_rows = [groups] if rows == "two images" else [[group] for group in groups]
    batch = pack(packed_rows, {}, pad_id=0)
    assert split_of(batch.layout, visible) is None


def test_whoever_reads_the_stand_in_as_a_mask_is_found_out(loaded):
    model = loaded("llava")
    batch = batch_of(model)
    mask = attention.carrying(split_of(batch.layout, visible), 2, torch.float32, torch.device("cpu"))
    assert mask.isnan().all() and mask.untyped_storage().nbytes() == 4
    scores = F.scaled_dot_product_attention(*[torch.ones(2, 1, mask.shape[-1], 4)] * 3, attn_mask=mask)
    assert scores.isnan().all()

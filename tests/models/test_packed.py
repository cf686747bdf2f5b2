"""Packing is exact for every family: questions that share an image's prefix give loss and gradients of plain rows."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.data.checkpoints import KINDS, PLAIN, build
from torch.nn import functional as F
from torch.nn.attention.flex_attention import create_block_mask, create_mask

from georefer.models import packed
from georefer.models.loading import load
from georefer.models.packed import (
    Group,
    Layout,
    Prefix,
    Segment,
    block_mask,
    forward_packed,
    pack,
    run_decoder,
    visible,
)

ASKED = [
    [("where is the tank?", "[1, 2, 30, 40]"), ("is there a ship?", "yes"), ("find every plane", "none")],
    [("find every tank", "[0, 0, 9, 9] [10, 10, 32, 32]"), ("is there a road by the building?", "no")],
]
SIZES = [(100, 60), (70, 130)]


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in SIZES]


def one_per_row(model, images):
    """The plain way, through the family's own forward: each question alone, no packing, no padding."""
    own = model.family.model
    total, learned = torch.zeros(()), 0
    for image, turns in zip(images, ASKED, strict=True):
        prefix = model.prefix((image.shape[1], image.shape[0]))
        for turn in turns:
            segment = model.segment(*turn)
            said = [n for n, learn in enumerate(segment.learn) if learn]
            if prefix.takes_question:
                total = total + by_labels(model, image, turn) * len(said)
                learned += len(said)
                continue
            ids_1T = torch.tensor([[*prefix.ids, *segment.ids]])
            more = {}
            if "qwen" in own.config.model_type:
                more["mm_token_type_ids"] = (ids_1T == model.family.image_token_id).int()
            if own.config.model_type == "gemma3":
                more["token_type_ids"] = (ids_1T == model.family.image_token_id).int()
            logits_TV = own(input_ids=ids_1T, **model.pixels([image]), **more).logits[0]
            from_T = torch.tensor(said) + len(prefix) - 1
            total = total + F.cross_entropy(logits_TV[from_T], torch.tensor(segment.ids)[said], reduction="sum")
            learned += len(said)
    return total / learned


def by_labels(model, image, turn):
    """The mean loss that a model without shared prefixes computes itself, all inputs and labels by its processor."""
    own, processor = model.family.model, model.family.processor
    (prompt, answer), images = turn, [image]
    if model.family.is_encoder_decoder:
        labels = processor.tokenizer(answer, return_tensors="pt")["input_ids"]
        return own(**processor(text=[prompt], images=images, return_tensors="pt"), labels=labels).loss
    made = processor(text=[f"<image>{prompt}"], images=images, suffix=[answer], return_tensors="pt")
    assert {0, 1} == set(made["token_type_ids"][0].tolist())
    return own(**made).loss


def gradients(model):
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def as_one_row(model):
    return [[model.group(size, turns, n) for n, (size, turns) in enumerate(zip(SIZES, ASKED, strict=True))]]


def as_two_rows(model):
    return [[group] for group in as_one_row(model)[0]]


def as_three_rows(model):
    """An image's questions over two rows, the other image among them: it is still encoded once."""
    ((first, second),) = as_one_row(model)
    return [[Group(first.prefix, first.segments[:1], 0)], [second, Group(first.prefix, first.segments[1:], 0)]]


def worst(actual, expected):
    """Largest difference of a parameter's gradient, relative to its length."""
    scale = max(float(g.norm()) for g in expected.values())
    return max(float((actual[n] - g).norm() / (g.norm() + 1e-3 * scale)) for n, g in expected.items())


@pytest.mark.parametrize("kind", [*KINDS, "tiny"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_loss_and_gradients_equal_one_question_per_row(loaded, images, kind, attention):
    model = loaded(kind)
    own = model.family.model.eval()
    if kind == "paligemma" and attention == "sdpa":
        pytest.skip("Gemma 2 caps its attention, which sdpa cannot")
    own.set_attn_implementation(attention)
    own.zero_grad()  # other tests learn on the same model
    plain = one_per_row(model, images)
    plain.backward()
    expected = gradients(own)
    for rows in (as_one_row, as_two_rows, as_three_rows):
        batch = pack(rows(model), model.pixels(images), pad_id=model.speech.pad_id)
        logits_MV, features = forward_packed(model.family, batch)
        loss = F.cross_entropy(logits_MV, batch.targets_M)
        loss.backward()
        actual = gradients(own)
        assert [len(f) for f in features] == [sum(i == model.family.image_token_id for i in g.prefix.ids)
                                              for g in as_one_row(model)[0]]  # fmt: skip
        assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
        assert actual.keys() == expected.keys() and len(actual) > 40
        difference = worst(actual, expected)
        print(f"{kind} {attention} {rows.__name__}: {difference:.1e}")
        assert difference < 1e-5


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in PLAIN])
def test_questions_would_disturb_each_other_without_the_mask(loaded, images, kind):
    """The equality above is the mask's doing and not that questions do not matter to each other."""
    model = loaded(kind)
    batch = pack(as_one_row(model), model.pixels(images), pad_id=0)
    layout = batch.layout
    leaky = type(batch)(**{**vars(batch), "layout": Layout(layout.group_BT, 0 * layout.segment_BT, layout.place_BT,
                                                           layout.block_BT)})  # fmt: skip
    right, wrong = (F.cross_entropy(forward_packed(model.family, b)[0], b.targets_M).item() for b in (batch, leaky))
    assert abs(right - wrong) > 1e-4


@pytest.mark.parametrize("window", [None, 3, 12])
@pytest.mark.parametrize("kind", ["qwen3_vl", "gemma3", "paligemma"])
def test_flex_attention_gets_the_same_mask(loaded, images, kind, window):
    model = loaded(kind)
    layout = pack(as_three_rows(model), model.pixels(images), pad_id=0).layout
    (rows, length), mask = layout.group_BT.shape, block_mask(layout, layout, window)
    dense_B1TT = create_mask(mask.mask_mod, rows, 1, length, length, device="cpu")
    assert torch.equal(dense_B1TT[:, 0], visible(layout, layout, window))


@pytest.mark.parametrize("window", [None, 40])
@pytest.mark.parametrize("pairs", [1, 2**26])  # looked at a block of lines at a time, and all together
def test_flex_attention_gets_the_same_blocks(window, pairs, monkeypatch):
    """Blocks that are seen whole, in part and not at all, as torch would find them from the whole mask."""
    monkeypatch.setattr(packed, "_PAIRS", pairs)
    prefix = Prefix(tuple(range(300)), torch.arange(300)[None], 300, torch.tensor([-1] * 10 + [0] * 150 + [-1] * 140))
    segments = [Segment([1] * length, [True] * length) for length in (30, 70, 5, 150)]
    rows = [[Group(prefix, segments, 0), Group(prefix, segments[:1], 0)], [Group(prefix, segments[2:], 0)]]
    layout = pack(rows, {}, pad_id=0).layout
    (count, length), found = layout.group_BT.shape, block_mask(layout, layout, window)
    expected = create_block_mask(found.mask_mod, count, None, length, length, device="cpu")
    assert found.seq_lengths == expected.seq_lengths and length % 128
    assert 0 < found.full_kv_num_blocks.sum() < found.kv_num_blocks.sum() < 49  # of 98
    for name in ("kv_num_blocks", "kv_indices", "q_num_blocks", "q_indices"):
        for kind in ("", "full_"):
            assert torch.equal(getattr(found, kind + name), getattr(expected, kind + name)), kind + name


def test_a_question_changes_the_image_tokens_of_a_prefix_language_model(loaded, images):
    """So the equality above is not that of a causal model; image features are shared all the same."""
    model = loaded("paligemma")
    batch = pack(as_one_row(model), model.pixels(images), pad_id=0)
    assert batch.image_of_group_G.tolist() == [0, 0, 0, 1, 1] and len(batch.pixels["pixel_values"]) == 2
    shown = model.family.image_features(batch.pixels).of(batch.image_of_group_G.tolist())
    hidden_TD = run_decoder(
        model.family, model.family.embed(batch.ids_BT, shown), batch.positions_ABT, batch.layout, batch.layout
    )[0]
    of_image_GTD = hidden_TD[batch.ids_BT[0] == model.family.image_token_id].reshape(5, 16, -1)
    assert (of_image_GTD[0] - of_image_GTD[1]).abs().max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_taken(loaded, images, kind):
    """As on an accelerator, where pixels stay float32: nothing in a family's path minds."""
    model = loaded(kind)
    half = type(model.family)(deepcopy(model.family.model).to(torch.bfloat16), model.family.processor)
    batch = pack(as_one_row(model), model.pixels(images), pad_id=0)
    losses = [F.cross_entropy(forward_packed(f, batch)[0].float(), batch.targets_M) for f in (half, model.family)]
    losses[0].backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=0.1)


def test_paligemma_1(tmp_path, images):
    """With Gemma, which has neither windows nor caps."""
    model = load(build("paligemma1", tmp_path))
    batch = pack(as_two_rows(model), model.pixels(images), pad_id=0)
    loss = F.cross_entropy(forward_packed(model.family, batch)[0], batch.targets_M)
    assert loss.item() == pytest.approx(one_per_row(model, images).item(), rel=1e-5)


def test_adapters_are_trained_through_the_packed_path(loaded, images):
    model = loaded("qwen3_vl")
    own = deepcopy(model.family.model)
    wrapped = get_peft_model(own, LoraConfig(r=2, target_modules=r".*language_model.*(q_proj|v_proj)"))
    family = type(model.family)(wrapped, model.family.processor)
    batch = pack(as_two_rows(model), family.pixels(images), pad_id=0)
    logits_MV, _ = forward_packed(family, batch)
    assert torch.allclose(logits_MV, forward_packed(model.family, batch)[0], atol=1e-5)  # adapters begin at nothing
    F.cross_entropy(logits_MV, batch.targets_M).backward()
    trained = [name for name, p in wrapped.named_parameters() if p.grad is not None and p.grad.norm() > 0]
    assert trained and all("lora_B" in name and "language_model" in name for name in trained)


def test_who_sees_whom():
    #                       prefix   first  second  other image  padding
    columns = ([0, 0, 0, 0, 0, 1, 1, -1], [0, 0, 1, 1, 2, 0, 1, 0], [0, 1, 2, 3, 2, 0, 1, 0], [7, 7] + 6 * [-1])
    layout = Layout(*(torch.tensor([column]) for column in columns))
    expected = [
        [1, 1, 0, 0, 0, 0, 0, 0],  # image tokens of one block see each other both ways
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],  # first question
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 0, 0],  # second question does not see the first
        [0, 0, 0, 0, 0, 1, 0, 0],  # another image in the same row
        [0, 0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 0, 1],  # padding sees padding only
    ]
    assert visible(layout, layout)[0].int().tolist() == expected
    near = visible(layout, layout, window=2)[0].int().tolist()
    assert near[3] == [0, 0, 1, 1, 0, 0, 0, 0]  # as far as in the row it would have alone
    assert near[4] == [0, 1, 0, 0, 1, 0, 0, 0]
    assert visible(layout, layout, window=1)[0].int().tolist()[:2] == expected[:2]  # a block is never cut

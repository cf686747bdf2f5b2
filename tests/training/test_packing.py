"""Packing is exact: many questions of one image in one row give the loss and gradients of one question per row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from georefer.models.tiny import TinySettings, create_tiny, encode_segment, image_prefix
from georefer.training.packing import NOT_LEARNED, Segment, attention_mask, forward_packed, pack, packed_loss

QUESTIONS = [
    [("where is the tank?", "[1, 2, 30, 40]"), ("is there a pool?", "yes"), ("find every plane", "none")],
    [("find every tank", "[0, 0, 9, 9] [10, 10, 32, 32]")],
    [("is there a tank?", "no"), ("where is the red pool by the tank?", "[3, 3, 7, 8]")],
]
SMALL = TinySettings(image_size=32, numbers=32, width=32, heads=2, text_layers=2, text_mlp=48,
                     stem_widths=(8, 8, 16), stem_blocks=(0, 1, 0))  # fmt: skip


@pytest.fixture
def tiny():
    """A small model whose batch norm uses its stored statistics, as those of a batch depend on what is in it."""
    made = create_tiny(SMALL, [text for rows in QUESTIONS for pair in rows for text in pair])
    made.model.eval()
    return made


@pytest.fixture
def pixels_I3HW():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def segments(tiny):
    return [[Segment(*encode_segment(tiny.tokenizer, *pair)) for pair in row] for row in QUESTIONS]


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def one_per_row_loss(tiny, pixels_I3HW):
    """The plain way, through transformers' own forward: each question its own row, no mask, no padding."""
    total, learned = torch.zeros(()), 0
    for image, row in enumerate(segments(tiny)):
        for segment in row:
            ids_1T = torch.tensor([image_prefix(tiny) + list(segment.ids)])
            logits_TV = tiny.model(input_ids=ids_1T, pixel_values=pixels_I3HW[image : image + 1]).logits[0]
            said = [n for n, learn in enumerate(segment.learn) if learn]
            from_T = torch.tensor(said) + len(image_prefix(tiny)) - 1
            wanted = torch.tensor(segment.ids)[said]
            total = total + F.cross_entropy(logits_TV[from_T], wanted, reduction="sum")
            learned += len(said)
    return total / learned


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    ("split", "image_of_row"),
    [
        (lambda rows: rows, None),  # one row per image
        (lambda rows: [rows[0][:2], rows[1], rows[2], rows[0][2:]], [0, 1, 2, 0]),  # an image over two rows
    ],
)
def test_loss_and_gradients_equal_one_question_per_row(tiny, pixels_I3HW, attention, split, image_of_row):
    tiny.model.set_attn_implementation(attention)
    plain = one_per_row_loss(tiny, pixels_I3HW)
    plain.backward()
    expected = gradients(tiny.model)
    tiny.model.zero_grad()

    batch = pack(image_prefix(tiny), split(segments(tiny)), pad_id=tiny.tokenizer.pad_token_id,
                 pixels_I3HW=pixels_I3HW, image_of_row_B=image_of_row)  # fmt: skip
    logits_MV, features_IND = forward_packed(tiny.model, batch)
    loss = packed_loss(logits_MV, batch)
    loss.backward()
    actual = gradients(tiny.model)

    assert features_IND.shape == (3, 16, 32)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    assert actual.keys() == expected.keys() and len(actual) > 40
    for name, expected_gradient in expected.items():
        norm = expected_gradient.norm()
        assert norm > 0, name
        # eager and sdpa sum in another order when a row is longer; 1e-5 of the gradient's length is float32 noise
        assert (actual[name] - expected_gradient).norm() < 1e-5 * norm + 1e-8, name


def test_without_the_mask_the_loss_would_differ(tiny, pixels_I3HW):
    """Shows that the equality above is the mask's doing and not that questions do not matter to each other."""
    batch = pack(image_prefix(tiny), segments(tiny), pad_id=tiny.tokenizer.pad_token_id, pixels_I3HW=pixels_I3HW)
    length = batch.ids_BT.shape[1]
    causal_TT = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)
    leaky = type(batch)(**{**vars(batch), "mask_B1TT": causal_TT.expand(3, 1, -1, -1)})
    right, wrong = (packed_loss(forward_packed(tiny.model, b)[0], b).item() for b in (batch, leaky))
    assert abs(right - wrong) > 1e-4


def test_row_layout():
    first, second = Segment([7, 8, 9], [False, True, True]), Segment([5, 6], [False, True])
    batch = pack([1, 1], [[first, second], [second]], pad_id=0)
    assert batch.ids_BT.tolist() == [[1, 1, 7, 8, 9, 5, 6], [1, 1, 5, 6, 0, 0, 0]]
    assert batch.positions_BT.tolist() == [[0, 1, 2, 3, 4, 2, 3], [0, 1, 2, 3, 0, 0, 0]]
    n = NOT_LEARNED
    assert batch.targets_BT.tolist() == [[n, n, 8, 9, n, 6, n], [n, n, 6, n, n, n, n]]
    assert batch.targets_M.tolist() == [8, 9, 6, 6]


def test_mask_shows_prefix_and_own_segment():
    seen = attention_mask(torch.tensor([[0, 1, 1, 2, -1]]))[0, 0] == 0
    expected = np.array(
        [
            [1, 0, 0, 0, 0],  # prefix
            [1, 1, 0, 0, 0],  # first question
            [1, 1, 1, 0, 0],
            [1, 0, 0, 1, 0],  # second question does not see the first
            [1, 0, 0, 0, 1],  # padding is seen by nobody else
        ],
        dtype=bool,
    )
    assert np.array_equal(seen.numpy(), expected)


def test_segment_lengths_must_agree():
    with pytest.raises(ValueError, match="zip"):
        pack([1], [[Segment([1, 2], [True])]], pad_id=0)

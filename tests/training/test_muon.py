"""Muon's step is orthogonal and of AdamW's size; AdamW's step is torch's own, to the last bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from georefer.training.muon import Muon, orthogonal, parameter_groups


@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8)])
def test_orthogonal_keeps_directions_and_evens_their_strength(shape):
    matrix = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    made = orthogonal(matrix)
    assert made.shape == matrix.shape
    strengths = torch.linalg.svdvals(made)
    assert strengths.min() > 0.5 and strengths.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    nearest = left @ right
    assert (made - nearest).norm() < 0.35 * nearest.norm()


def test_adam_part_equals_torch():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    groups = [{"params": list(ours.parameters()), "weight_decay": 0.1}]
    optimisers = (Muon(groups, 0.01), torch.optim.AdamW(theirs.parameters(), 0.01, (0.9, 0.98), weight_decay=0.1))
    for step in range(5):
        inputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(step))
        for model, optimiser in zip((ours, theirs), optimisers, strict=True):
            optimiser.zero_grad()
            model(inputs).square().sum().backward()
            optimiser.step()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, reference, atol=1e-6)


def test_first_muon_step():
    """From zero momentum the step is the orthogonalised gradient, scaled to a root mean square of 0.2 x rate."""
    weight = nn.Parameter(torch.zeros(8, 32))
    weight.grad = torch.randn(8, 32, generator=torch.Generator().manual_seed(1))
    Muon([{"params": [weight], "orthogonal": True}], lr=0.1).step()
    expected = -0.1 * 0.2 * 32**0.5 * orthogonal(weight.grad[None])[0]
    assert torch.allclose(weight, expected, atol=1e-3)
    assert weight.square().mean().sqrt().item() == pytest.approx(0.02, rel=0.2)


def test_kernels_are_matrices_and_decay_pulls_to_zero():
    kernel = nn.Parameter(torch.ones(8, 3, 3, 3))
    kernel.grad = torch.zeros_like(kernel)
    Muon([{"params": [kernel], "orthogonal": True, "weight_decay": 0.5}], lr=0.1).step()
    assert torch.allclose(kernel, torch.full_like(kernel, 0.95))


def test_groups_hold_every_trainable_parameter_once():
    from georefer.models.tiny import TinySettings, create_tiny

    small = TinySettings(image_size=32, width=32, heads=2, text_layers=1, text_mlp=48)
    model = create_tiny(small, ["a tank"]).family.model
    model.model.multi_modal_projector.linear_1.weight.requires_grad_(False)
    groups = parameter_groups(model.named_parameters(), 0.01)
    mixing, tables, scales = (group["params"] for group in groups)
    found = [id(p) for p in (*mixing, *tables, *scales)]
    assert sorted(found) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert {id(p) for p in tables} == {
        id(model.get_input_embeddings().weight), id(model.model.vision_tower.position_ND)
    }  # fmt: skip
    assert all(p.ndim in (2, 4) for p in mixing) and all(p.ndim == 1 for p in scales)
    assert [group.get("orthogonal", False) for group in groups] == [True, False, False]

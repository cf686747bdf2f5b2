"""What is learned behind images that were attended once, for drawing and for learning, is what packing gives."""

import numpy as np
import pytest
import torch
from tests.data.checkpoints import KINDS

from georefer.models.packed import Group, Segment, pack
from georefer.models.shared_rows import Chunk, SharedRows

SIZES = [(100, 60), (60, 130)]
FED = [(0, [7, 8, 9]), (0, [8, 10, 7, 11]), (1, [9, 7])]
"""Row and ids of each question."""


def gradients(family, hidden_ND):
    weight_ND = torch.randn(hidden_ND.shape, generator=torch.Generator().manual_seed(2))
    (hidden_ND * weight_ND).sum().backward()
    found = {name: p.grad.clone() for name, p in family.bare.named_parameters() if p.grad is not None}
    family.bare.zero_grad()
    return found


def packed_hidden(model, pixels):
    """The same tokens by packed rows, as training has them; learned are all but the last of each question."""
    segments = [(row, Segment(ids, [False] + [True] * (len(ids) - 1))) for row, ids in FED]
    groups = [
        [Group(model.prefix(size), [segment for r, segment in segments if r == row], row)]
        for row, size in enumerate(SIZES)
    ]
    batch = pack(groups, {}, pad_id=0)
    return model.family.learned_hidden(batch, model.family.image_features(pixels))


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("paligemma", "florence2")] + ["tiny"])
def test_gradients_are_those_of_packed_rows_whatever_was_drawn_between(loaded, kind):
    model = loaded(kind)
    rng = np.random.default_rng(4)
    images = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in SIZES]
    pixels = model.family.pixels(images)
    expected_ND = packed_hidden(model, pixels)
    expected = gradients(model.family, expected_ND)
    rows = SharedRows(model.family, model.family.image_features(pixels), [model.prefix(size) for size in SIZES])
    chunks = [Chunk(row, number, 0, ids) for number, (row, ids) in enumerate(FED, start=1)]
    with torch.no_grad():
        drawn = rows.feed(chunks)
        rows.hide(0, 1)
        rows.feed([Chunk(0, 2, 4, [9] * 300)])  # until the cache has grown
    learned = rows.behind(chunks)
    for one, other in zip(drawn, learned, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    found_ND = torch.cat([hidden[:-1] for hidden in learned])
    assert torch.allclose(found_ND, expected_ND, atol=1e-4)
    found = gradients(model.family, found_ND)
    assert found.keys() == expected.keys() and len(found) > 10
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-4 * max(1, float(gradient.abs().max()))), name

"""Which image token says which object, and that saying it right costs nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from georefer.training.alignment import AlignmentSlots, alignment_counts, alignment_sums, alignment_targets

NUMBERS = torch.arange(10, 27)  # ids of 0..16


def alignment_loss(features_BND, targets, *how):
    """Mean over covered tokens of the word loss, plus mean over their box numbers."""
    sums, counts = alignment_sums(features_BND, targets, *how), alignment_counts(targets)
    return sum(total / max(counts[name], 1) for name, total in sums.items())


def owners(boxes, grid=4, numbers=16):
    """Grid of object indices, -1 where none, read back from the word id, which is the object's index."""
    targets = alignment_targets(np.array(boxes, float), [[i] for i in range(len(boxes))], grid, numbers)
    owner = np.full(grid * grid, -1)
    owner[targets.token_K] = [words[0] for words in targets.words_K]
    return owner.reshape(grid, grid).tolist()


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        # two patches wide, one high (a patch is 4 numbers)
        ([[4, 0, 12, 4]], [[-1, 0, 0, -1], [-1] * 4, [-1] * 4, [-1] * 4]),
        # smaller than a patch: still claims the one its centre lies in
        ([[13, 13, 14, 14]], [[-1] * 4, [-1] * 4, [-1] * 4, [-1, -1, -1, 0]]),
        # the smaller of two overlapping wins, whatever the order
        ([[0, 0, 16, 16], [4, 4, 8, 8]], [[0] * 4, [0, 1, 0, 0], [0] * 4, [0] * 4]),
        ([[4, 4, 8, 8], [0, 0, 16, 16]], [[1] * 4, [1, 0, 1, 1], [1] * 4, [1] * 4]),
        # reaching over the edge of the image
        ([[-6, 9, 3, 30]], [[-1] * 4, [-1] * 4, [0, -1, -1, -1], [0, -1, -1, -1]]),
        # a patch whose centre is not covered is not claimed
        ([[0, 0, 5.9, 4]], [[0, -1, -1, -1], [-1] * 4, [-1] * 4, [-1] * 4]),
    ],
)
def test_owner_of_each_patch(boxes, expected):
    assert owners(boxes) == expected


def test_numbers_are_rounded_and_kept_in_range():
    targets = alignment_targets(np.array([[-3.0, 0.6, 7.4, 99.0]]), [[5, 6]], grid=4, numbers=16)
    assert np.unique(targets.box_K4, axis=0).tolist() == [[0, 1, 7, 16]]
    assert set(targets.words_K) == {(5, 6)}


def test_no_objects():
    targets = alignment_targets(np.zeros((0, 4)), [], grid=4, numbers=16)
    features = torch.randn(1, 16, 8, requires_grad=True)
    loss = alignment_loss(features, [targets], torch.randn(30, 8), NUMBERS, AlignmentSlots(8))
    assert loss.item() == 0.0
    loss.backward()


def test_loss_of_uniform_scores_is_the_entropy():
    """With embeddings of zero every word and number is as likely: log(vocabulary) plus log(numbers)."""
    targets = [alignment_targets(np.array([[0, 0, 8, 8.0]]), [[3, 4]], 4, 16)] * 2
    loss = alignment_loss(torch.randn(2, 16, 8), targets, torch.zeros(30, 8), NUMBERS, AlignmentSlots(8))
    assert loss.item() == pytest.approx(np.log(30) + np.log(17), rel=1e-5)


def test_features_learn_to_speak_and_only_the_covered():
    """Gradient descent on the features alone reaches the least loss there is: two words of equal share, log 2."""
    generator = torch.Generator().manual_seed(0)
    embedding_VD = torch.randn(30, 64, generator=generator)
    torch.manual_seed(0)
    slots = AlignmentSlots(64)
    features = torch.randn(1, 16, 64, generator=generator, requires_grad=True)
    before = features.detach().clone()
    targets = [alignment_targets(np.array([[4, 4, 8, 8.0]]), [[3, 5]], 4, 16)]
    optimizer = torch.optim.Adam([features, *slots.parameters()], 0.01)
    before_loss = alignment_loss(features, targets, embedding_VD, NUMBERS, slots).item()
    for _ in range(300):
        loss = alignment_loss(features, targets, embedding_VD, NUMBERS, slots)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert before_loss > 8 and np.log(2) - 1e-5 < loss.item() < np.log(2) + 0.2
    moved = (features.detach() - before).abs().sum(-1)[0].nonzero().flatten().tolist()
    assert moved == [5]

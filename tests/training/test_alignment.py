"""Which image token says which object, and that saying it right costs nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from georefer.training.alignment import (
    AlignmentSlots,
    Numerals,
    alignment_counts,
    alignment_sums,
    alignment_targets,
)

NUMBERS = Numerals(tuple(range(10, 27)))  # ids of 0..16


def alignment_loss(features_BND, targets, *how):
    """Mean over covered tokens of the word loss, plus mean over their box numbers."""
    sums, counts = alignment_sums(features_BND, targets, *how), alignment_counts(targets)
    return sum(total / max(counts[name], 1) for name, total in sums.items())


def targets_of(boxes, words, grid=4, numbers=16):
    boxes = np.array(boxes, float).reshape(-1, 4)
    return alignment_targets(boxes * grid / numbers, words, (grid, grid), boxes.round())


def owners(boxes, grid=4, numbers=16):
    """Grid of object indices, -1 where none, read back from the word id, which is the object's index."""
    targets = targets_of(boxes, [[i] for i in range(len(boxes))], grid, numbers)
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
        # beyond the edge of a cropped image
        ([[17, 4, 20, 8]], [[-1] * 4] * 4),
        # a patch whose centre is not covered is not claimed
        ([[0, 0, 5.9, 4]], [[0, -1, -1, -1], [-1] * 4, [-1] * 4, [-1] * 4]),
    ],
)
def test_owner_of_each_patch(boxes, expected):
    assert owners(boxes) == expected


def test_a_grid_of_unlike_sides():
    targets = alignment_targets(
        np.array([[4.0, 0, 6, 1], [0, 1, 1, 2]]), [[5], [6]], (6, 2), np.array([[1] * 4, [2] * 4])
    )
    assert targets.token_K.tolist() == [4, 5, 6] and targets.words_K == ((5,), (5,), (6,))
    assert targets.box_K4.tolist() == [[1] * 4, [1] * 4, [2] * 4]


def test_no_objects():
    targets = targets_of([], [])
    features = torch.randn(1, 16, 8, requires_grad=True)
    loss = alignment_loss(features, [targets], torch.randn(30, 8), NUMBERS, AlignmentSlots(8))
    assert loss.item() == 0.0
    loss.backward()


def test_loss_of_uniform_scores_is_the_entropy():
    """With embeddings of zero every word and number is as likely: log(vocabulary) plus log(numbers)."""
    targets = [targets_of([[0, 0, 8, 8]], [[3, 4]])] * 2
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
    targets = [targets_of([[4, 4, 8, 8]], [[3, 5]])]
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


def test_images_of_unlike_sizes():
    """Each is counted as it would be alone."""
    targets = [targets_of([[0, 0, 8, 8]], [[3, 4]]), alignment_targets(np.array([[0.0, 0, 2, 1]]), [[5]], (3, 2), ONE)]
    torch.manual_seed(0)
    features, embedding_VD, slots = [torch.randn(16, 8), torch.randn(6, 8)], torch.randn(30, 8), AlignmentSlots(8)
    together = alignment_sums(features, targets, embedding_VD, NUMBERS, slots)
    alone = [alignment_sums([f], [t], embedding_VD, NUMBERS, slots) for f, t in zip(features, targets, strict=True)]
    for name, total in together.items():
        assert total.item() == pytest.approx(sum(one[name].item() for one in alone), rel=1e-5)


ONE = np.array([[0, 1, 2, 3]])


def test_spelled_numbers_are_learned_place_by_place():
    """Digits of all places come from one map under other signs, and still can be any."""
    digits = Numerals(tuple(range(10, 20)), places=4)
    assert digits.largest == 9999
    generator = torch.Generator().manual_seed(0)
    embedding_VD = torch.randn(30, 64, generator=generator)
    numbers = np.array([[0, 47, 815, 9999], [1000, 7, 30, 6031]])
    cells = np.array([[0.0, 0, 1, 1], [1, 1, 2, 2]])
    targets = [alignment_targets(cells, [[3], [4]], (2, 2), numbers)]
    torch.manual_seed(0)
    slots = AlignmentSlots(64, digits.places)
    features = [torch.randn(4, 64, generator=generator)]
    optimizer = torch.optim.Adam(slots.parameters(), 0.01)
    for _ in range(100):
        sums = alignment_sums(features, targets, embedding_VD, digits, slots)
        optimizer.zero_grad()
        sums["alignment_boxes"].backward()
        optimizer.step()
    assert sums["alignment_boxes"].item() < 0.05
    # what was learned, read back: the digit that each place says best
    _, numbers_K4D = slots(features[0][targets[0].token_K])
    scores = torch.einsum("kcd,pd,rd->kcpr", numbers_K4D, slots.turns_PD, embedding_VD[10:20])
    assert (scores.argmax(-1) * 10 ** torch.arange(4)).sum(-1).tolist() == numbers.tolist()

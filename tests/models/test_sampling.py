"""Drawing itself; that its probabilities are those of every family is in `tests/training/test_rollouts.py`."""

import torch

from georefer.models.packed import Prefix
from georefer.models.sampling import log_probabilities, shared_start

QUESTION = [7, 8, 9]


def prefix(block=-1, takes_question=False):
    return Prefix((1, 2), torch.arange(2)[None], 2, torch.tensor([-1, block]), takes_question)


def test_a_question_stands_once_before_all_its_answers_but_for_its_last_token():
    shared, first = shared_start(prefix(), QUESTION)
    assert shared.ids == (1, 2, 7, 8) and first == [9] and shared.next_position == 4


def test_a_question_that_belongs_to_the_image_is_shared_whole():
    shared, first = shared_start(prefix(0, takes_question=True), QUESTION)
    assert shared.ids == (1, 2, 7, 8, 9) and not first and shared.block_P.tolist() == [-1, 0, 0, 0, 0]


def test_a_question_cannot_join_image_tokens_that_see_each_other():
    shared, first = shared_start(prefix(0), QUESTION)
    assert shared.ids == (1, 2) and first == QUESTION


def test_the_placeholder_of_images_is_never_likely(loaded):
    family = loaded("llava").family
    hidden_ND = torch.randn(3, family.bare.get_input_embeddings().weight.shape[1])
    logprob_NV = log_probabilities(family, hidden_ND, 0.5)
    assert (logprob_NV[:, family.image_token_id] == -torch.inf).all()
    assert torch.allclose(logprob_NV.exp().sum(-1), torch.ones(3), atol=1e-5)


def test_a_low_temperature_favours_what_is_likely(loaded):
    family = loaded("llava").family
    hidden_ND = torch.randn(1, family.bare.get_input_embeddings().weight.shape[1])
    assert log_probabilities(family, hidden_ND, 0.1).max() > log_probabilities(family, hidden_ND, 1.0).max()

"""The losses against TRL's own code, and the formulas against what is worked out by hand."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from georefer.training.policy import (
    METHODS,
    advantages,
    advantages_each,
    equal_groups,
    is_clipped,
    k3,
    overlong,
    policy_losses,
    ratios,
    summed,
    terms,
)

LENGTHS = [5, 1, 7, 3, 7, 2]
MOST = 9


def numbers():
    """Log-probabilities that have moved far enough that both clips act, and a reference."""
    generator = torch.Generator().manual_seed(0)
    old_BT = -torch.rand(6, 7, generator=generator, dtype=torch.float64) * 3
    new_BT = old_BT + 0.4 * torch.randn(6, 7, generator=generator, dtype=torch.float64)
    reference_BT = old_BT + 0.3 * torch.randn(6, 7, generator=generator, dtype=torch.float64)
    mask_BT = torch.arange(7)[None] < torch.tensor(LENGTHS)[:, None]
    advantage_B = torch.tensor([1.2, -0.4, 0.3, -1.5, 0.0, 0.7], dtype=torch.float64)
    return new_BT.requires_grad_(), old_BT, reference_BT, advantage_B, mask_BT


def ours(method, beta):
    new_BT, old_BT, reference_BT, advantage_B, mask_BT = numbers()
    ratio = ratios(new_BT, old_BT, mask_BT, whole=method.whole)
    loss_BT = policy_losses(ratio, advantage_B, method) + beta * k3(new_BT, reference_BT)
    loss = summed(loss_BT, mask_BT, method.mean) / terms(mask_BT, method.mean, MOST)
    loss.backward()
    return loss.detach(), new_BT.grad


def theirs(name, method, beta):
    """TRL's own `_compute_loss` on the same numbers; it asks its trainer for nothing else than what is given here."""
    trl = pytest.importorskip("trl")
    new_BT, old_BT, reference_BT, advantage_B, mask_BT = numbers()
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (new_BT, torch.zeros_like(new_BT), None),
        accelerator=SimpleNamespace(num_processes=1, gather=lambda value: value, reduce=lambda value, reduction: value),
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        model=SimpleNamespace(training=True), _metrics={"train": defaultdict(list)},
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False,
        importance_sampling_level="sequence" if method.whole else "token", beta=beta, _entropy_bonus_enabled=False,
        epsilon_low=method.clip_low, epsilon_high=method.clip_high, max_completion_length=MOST,
        current_gradient_accumulation_steps=1, entropy_coef=0.0, use_adaptive_entropy=False,
        loss_type={"gspo": "grpo", "gdpo": "grpo"}.get(name, name),
    )  # fmt: skip
    inputs = {
        "prompt_ids": torch.zeros(6, 1, dtype=torch.long), "prompt_mask": torch.ones(6, 1, dtype=torch.long),
        "completion_ids": torch.zeros(6, 7, dtype=torch.long), "completion_mask": mask_BT.long(),
        "advantages": advantage_B, "old_per_token_logps": old_BT, "ref_per_token_logps": reference_BT,
        "num_items_in_batch": mask_BT.sum(),
    }  # fmt: skip
    loss = trl.GRPOTrainer._compute_loss(trainer, None, inputs)
    loss.backward()
    return loss.detach(), new_BT.grad


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("name", METHODS)
def test_losses_and_gradients_are_those_of_trl(name, beta):
    loss, gradient_BT = ours(METHODS[name], beta)
    expected, expected_BT = theirs(name, METHODS[name], beta)
    assert torch.allclose(loss, expected, rtol=0, atol=1e-6)
    assert gradient_BT.abs().max() > 0.01
    assert torch.allclose(gradient_BT, expected_BT, rtol=0, atol=1e-6)


def test_methods_differ_from_each_other():
    losses = {name: round(float(ours(METHODS[name], 0.0)[0]), 9) for name in METHODS if name != "gdpo"}
    assert len(set(losses.values())) == len(losses)


# --- advantages ---------------------------------------------------------------------------------------------------


def test_one_wrong_of_eight_is_pushed_away_harder_than_the_others_are_drawn():
    reward_NG = torch.tensor([[1.0] * 7 + [0.0]])
    assert advantages(reward_NG)[0, [0, 7]].tolist() == pytest.approx([0.3534, -2.4741], abs=1e-3)


@pytest.mark.parametrize(
    "floor, largest",
    [
        (0.0, 2.16),  # noise of 0.02 as a signal of full size
        (0.1, 0.163),
    ],
)
def test_a_floor_keeps_noise_small(floor, largest):
    reward_NG = torch.tensor([[0.5] * 6 + [0.51, 0.52]])
    assert float(advantages(reward_NG, "group", floor).max()) == pytest.approx(largest, abs=0.03)


def test_scales():
    reward_NG = torch.tensor([[0.0, 1.0], [0.4, 0.6]])
    assert advantages(reward_NG, "none").tolist() == [[-0.5, 0.5], pytest.approx([-0.1, 0.1])]
    by_batch_NG = advantages(reward_NG, "batch")
    assert float(by_batch_NG[0, 1] / by_batch_NG[1, 1]) == pytest.approx(5)  # sizes of groups are kept
    by_group_NG = advantages(reward_NG)
    assert by_group_NG[0, 1] == pytest.approx(float(by_group_NG[1, 1]), rel=1e-2)


def test_gdpo_gives_a_reward_of_few_values_its_own_weight():
    # format right or wrong, and an IoU that hardly differs
    reward_NGK = torch.tensor([[[1.0, 0.50], [1.0, 0.52], [0.0, 0.51], [0.0, 0.53]]])
    found_NG = advantages_each(reward_NGK, torch.ones(1, 2))
    assert found_NG[0, 1] > found_NG[0, 0] and found_NG[0, 3] > found_NG[0, 2]
    both_NG = advantages(reward_NGK.sum(dim=2))
    # added first, the IoU is drowned
    assert (found_NG[0, 1] - found_NG[0, 0]) > 5 * (both_NG[0, 1] - both_NG[0, 0])


def test_gdpo_is_as_trl_writes_it():
    generator = torch.Generator().manual_seed(1)
    reward_NGK, weight_K = torch.rand(3, 4, 2, generator=generator), torch.tensor([1.0, 0.3])
    normal = (reward_NGK - reward_NGK.mean(1, keepdim=True)) / (reward_NGK.std(1, keepdim=True) + 1e-4)
    flat = (normal.reshape(-1, 2) * weight_K).sum(1)
    expected_NG = ((flat - flat.mean()) / (flat.std() + 1e-4)).view(3, 4)
    assert torch.allclose(advantages_each(reward_NGK, weight_K.expand(3, 2)), expected_NG, atol=1e-6)


def test_a_reward_that_a_group_lacks_changes_nothing_in_it():
    reward_NGK = torch.tensor([[[0.0, torch.nan], [1.0, torch.nan]], [[0.0, 1.0], [0.5, 0.0]]])
    found_NG = advantages_each(reward_NGK, torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    assert found_NG.isfinite().all() and found_NG[0].tolist() == pytest.approx(found_NG[1].tolist(), abs=1e-3)


def test_equal_groups():
    assert equal_groups(torch.tensor([[0.3, 0.3], [0.3, 0.31]])).tolist() == [True, False]


def test_overlong_answers_are_punished_softly():
    assert overlong(torch.tensor([10, 80, 90, 100]), 100, 20).tolist() == [0, 0, -0.5, -1]
    assert overlong(torch.tensor([100]), 100, 0).tolist() == [0]


def test_the_clip_takes_gradients_away_where_it_says():
    method = METHODS["dapo"]
    ratio_BT = torch.tensor([[1.27, 1.29], [0.79, 0.81]], requires_grad=True)
    advantage_B = torch.tensor([1.0, -1.0])
    policy_losses(ratio_BT, advantage_B, method).sum().backward()
    assert (
        (ratio_BT.grad == 0).tolist()
        == is_clipped(ratio_BT, advantage_B, method).tolist()
        == [[False, True], [True, False]]
    )


def test_k3_is_never_negative_and_bounded():
    change = torch.tensor([[-50.0, -1.0, 0.0, 1.0, 50.0]])
    found = k3(torch.zeros(1, 5), change)
    assert found.min() == 0 and found.isfinite().all() and found[0, 2] == 0


def test_padding_counts_for_nothing():
    mask_BT = torch.tensor([[True, False], [True, True]])
    loss_BT = torch.tensor([[1.0, torch.nan], [2.0, 4.0]])
    expected = {"answers": (4.0, 2.0), "tokens": (7.0, 3.0), "tokens of a part": (7 / 3, 1.0), "longest": (7.0, 10.0)}
    for mean, (total, count) in expected.items():
        assert float(summed(loss_BT, mask_BT, mean)) == pytest.approx(total) and terms(mask_BT, mean, 5) == count

"""Reinforcement by groups as pure functions: rewards to advantages, log-probabilities to losses, losses to one number.

B answers of T tokens (padded, `mask_BT` true where a token counts), in N groups of G answers to one question. Each
method of `METHODS` is a choice among these functions; nothing here knows a model. Sources: GRPO arXiv 2402.03300,
Dr. GRPO 2503.20783, DAPO 2503.14476, BNPO as TRL's `loss_type="bnpo"` has it, GSPO 2507.18071, GDPO 2601.05242;
k3 from Schulman's "Approximating KL Divergence". Losses and gradients equal TRL's on the same numbers (tested).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

EPSILON = 1e-4
"""Added to a spread before dividing by it, as TRL does."""
_EQUAL = 1e-6
"""Rewards nearer than this are the same."""
_FARTHEST = 20.0
"""Bound of a log-ratio to the reference: exp beyond it would drown every other token (verl has the same)."""

Scale = Literal["group", "batch", "none"]
Mean = Literal["answers", "tokens", "tokens of a part", "longest"]
Moments = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Mean and unbiased standard deviation of values, those that are NaN left out."""


@dataclass(frozen=True)
class Method:
    """One way from rewards to a loss.

    `scale`: the spread by which what an answer earned above its group's mean is divided. `each` (GDPO): every reward
    is normalised by itself before they are added. The ratio of new to old probability is clipped to
    1 - clip_low .. 1 + clip_high, for each token or, with `whole` (GSPO), for the geometric mean of an answer's. `mean`
    says over what losses are averaged: answers, each the mean of its tokens; all tokens of the step; the tokens of each
    micro-batch; or answers as if all had the greatest length.
    """

    scale: Scale = "group"
    mean: Mean = "answers"
    clip_low: float = 0.2
    clip_high: float = 0.2
    whole: bool = False
    each: bool = False


METHODS: dict[str, Method] = {
    "grpo": Method(),
    "dr_grpo": Method(scale="none", mean="longest"),
    "dapo": Method(mean="tokens", clip_high=0.28),
    "bnpo": Method(mean="tokens of a part"),
    "gspo": Method(clip_low=3e-4, clip_high=4e-4, whole=True),
    "gdpo": Method(each=True),
}
"""As published. What DAPO adds besides, other questions for equal groups and `overlong`, is a matter of the run."""


# --- rewards to advantages --------------------------------------------------------------------------------------


def moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased standard deviation of all values that are not NaN."""
    kept = values[~values.isnan()]
    return kept.mean(), kept.std() if len(kept) > 1 else kept.new_zeros(())


def advantages(reward_NG: Tensor, scale: Scale = "group", floor: float = 0.0, over: Moments = moments) -> Tensor:
    """What each answer earned above the mean of its group, (N, G), by `scale` divided by a spread.

    A spread counts as at least `floor`: without one, rewards that differ by 0.02 of IoU give the same signal as right
    and wrong. `over` finds the moments of the whole batch, of all processes where there are several.
    """
    above_NG = reward_NG - reward_NG.mean(dim=1, keepdim=True)
    if scale == "none":
        return above_NG
    spread = _spread_of_groups(reward_NG) if scale == "group" else over(reward_NG)[1]
    return above_NG / (spread.clamp(min=floor) + EPSILON)


def advantages_each(reward_NGK: Tensor, weight_NK: Tensor, floor: float = 0.0, over: Moments = moments) -> Tensor:
    """GDPO: each of K rewards normalised in its group, added by weight, and the sums normalised over the batch; (N, G).

    So a reward of few values (format) is not drowned by one of many (IoU). NaN stands for a reward that a group does
    not have.
    """
    has_NGK = ~reward_NGK.isnan()
    each_NGK = advantages_of_each(reward_NGK.nan_to_num(), floor)
    sum_NG = (each_NGK * has_NGK * weight_NK[:, None]).sum(dim=2)
    mean, spread = over(sum_NG)
    return (sum_NG - mean) / (spread.clamp(min=floor) + EPSILON)


def advantages_of_each(reward_NGK: Tensor, floor: float) -> Tensor:
    """Every reward of a group above its own mean, by its own spread."""
    spread_N1K = _spread_of_groups(reward_NGK)
    return (reward_NGK - reward_NGK.mean(dim=1, keepdim=True)) / (spread_N1K.clamp(min=floor) + EPSILON)


def _spread_of_groups(reward_NG: Tensor) -> Tensor:
    # torch warns of no groups at all, which an idle process has
    return reward_NG.std(dim=1, keepdim=True) if len(reward_NG) else reward_NG[:, :1]


def equal_groups(reward_NG: Tensor) -> Tensor:
    """Bool (N,): groups whose answers all earned the same, of which nothing can be learned."""
    return reward_NG.amax(dim=1) - reward_NG.amin(dim=1) <= _EQUAL


def overlong(length_B: Tensor, most: int, buffer: int) -> Tensor:
    """DAPO's soft punishment (B,): 0 up to `most` - `buffer` tokens, from there on falling to -1 at `most`."""
    return ((most - buffer - length_B) / buffer).clamp(-1.0, 0.0) if buffer else torch.zeros(len(length_B))


# --- log-probabilities to losses ----------------------------------------------------------------------------------


def ratios(logprob_BT: Tensor, old_BT: Tensor, mask_BT: Tensor, *, whole: bool = False) -> Tensor:
    """New by old probability of each token (B, T), or (B, 1) the geometric mean over an answer's tokens (GSPO)."""
    change_BT = logprob_BT - old_BT
    if whole:
        change_BT = _mean_of_answers(change_BT, mask_BT)[:, None]
    return change_BT.exp()


def policy_losses(ratio_BT: Tensor, advantage_B: Tensor, method: Method) -> Tensor:
    """The clipped loss of each token, of the shape of the ratios: low where better answers grow likelier."""
    clipped_BT = ratio_BT.clamp(1 - method.clip_low, 1 + method.clip_high)
    return -torch.minimum(ratio_BT * advantage_B[:, None], clipped_BT * advantage_B[:, None])


def is_clipped(ratio_BT: Tensor, advantage_B: Tensor, method: Method) -> Tensor:
    """Bool, of the shape of the ratios: where the clip takes the gradient away."""
    advantage_B1 = advantage_B[:, None]
    too_high_BT = (ratio_BT > 1 + method.clip_high) & (advantage_B1 > 0)
    return too_high_BT | ((ratio_BT < 1 - method.clip_low) & (advantage_B1 < 0))


def k3(logprob_BT: Tensor, reference_BT: Tensor) -> Tensor:
    """Estimate of the divergence from the reference at each token: never negative, unbiased, of little variance."""
    change_BT = (reference_BT - logprob_BT).clamp(-_FARTHEST, _FARTHEST)
    return change_BT.exp() - change_BT - 1


# --- losses to one number -----------------------------------------------------------------------------------------


def terms(mask_BT: Tensor, mean: Mean, most: int) -> float:
    """Over how many terms a part's losses are averaged; `most` is the greatest length of an answer."""
    counts = {"answers": float(mask_BT.any(dim=1).sum()), "tokens": float(mask_BT.sum())}
    counts |= {"tokens of a part": float(mask_BT.any()), "longest": counts["answers"] * most}
    return counts[mean]


def summed(loss_BT: Tensor, mask_BT: Tensor, mean: Mean) -> Tensor:
    """The sum that is averaged over `terms`; (B, 1) counts for all tokens of an answer."""
    if mean == "answers":
        return _mean_of_answers(loss_BT.expand_as(mask_BT), mask_BT).sum()
    total = torch.where(mask_BT, loss_BT, 0.0).sum()
    return total / mask_BT.sum().clamp(min=1) if mean == "tokens of a part" else total


def _mean_of_answers(value_BT: Tensor, mask_BT: Tensor) -> Tensor:
    return torch.where(mask_BT, value_BT, 0.0).sum(dim=1) / mask_BT.sum(dim=1).clamp(min=1)

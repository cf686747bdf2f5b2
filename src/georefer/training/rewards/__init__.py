"""Rewards: what an answer earns. The table, from outside "my_package.module:reward", and how trainers call them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from georefer.errors import ConfigError
from georefer.training.rewards import ours
from georefer.training.rewards.base import Answer, Guarded, Reward, Truth, answers_of, guarded, load_plug
from georefer.training.rewards.published.table import PUBLISHED, geo_r1_mask

_NONE = "1 for an explicit none, 0 for all else"
_WORDS = "as elsewhere"

OURS: dict[str, Reward] = {
    reward.name: reward
    for reward in (
        Reward(
            "f1", "one-to-one soft-IoU F1 of all shapes (boxes, oriented boxes, outlines, masks), too many cost more",
            ours.sets, _NONE, needs=ours.needs_shapes,
        ),
        Reward(
            "f1-tiny", "the same with closeness in place of IoU for truths up to 8 px, a mean of both up to 32 px",
            partial(ours.sets, fits=ours.closeness_of_pairs), _NONE, needs=ours.needs_shapes,
        ),
        Reward("iou", "IoU of the one shape; of several, the worst", ours.one, _NONE, needs=ours.needs_one, asks="one"),
        Reward(
            "iou-tiny", "the same with closeness for tiny truths", partial(ours.one, fits=ours.closeness_of_pairs),
            _NONE, needs=ours.needs_one, asks="one",
        ),
        Reward(
            "consistency", "box, oriented box and mask of one object agree with each other and with the truth",
            ours.consistency, _NONE, needs=ours.needs_signals, asks="signals",
        ),
        Reward(
            "graph", "one-to-one soft F1 of relations, both ends and all names right", ours.graph, _NONE,
            needs=ours.needs_graph, asks="graph",
        ),
        Reward(
            "relation", "F1 of the predicates between two places, with the right classes", ours.relation,
            "1 where no known predicate is said", needs=ours.needs_relation, asks="relation",
        ),
        Reward(
            "count", "the smaller by the larger of the number said and the true one", ours.count, _WORDS,
            needs=ours.needs_number, asks="number",
        ),
        Reward("format", "exactly as the dialect writes, thought included", ours.form, _WORDS, needs=ours.needs_shapes),
        Reward("length", "1 up to 1.5 times the true answer and some, falling to 0 at twice that", ours.length, _WORDS),
    )
}  # fmt: skip

REWARDS: dict[str, Reward] = {**OURS, **PUBLISHED}
"""Every reward by name; one from outside is named by where it lies, see `load_reward`."""


def load_reward(name: str) -> Reward:
    """A reward of the table, or what "my_package.module:reward" or "./reward.py:score" names.

    That is a Reward, or a function of an Answer whose values lie within 0 and 1. ConfigError where there is none.
    """
    if name in REWARDS:
        return REWARDS[name]
    if ":" not in name:
        raise ConfigError(
            f"the reward {name!r} was found; one of {', '.join(REWARDS)}, package.module:thing or ./file.py:thing is "
            "expected"
        )
    found: Reward | Callable[[Answer], float] = load_plug(name)
    if isinstance(found, Reward):
        return found
    says = next(iter((found.__doc__ or "").strip().splitlines()), "a reward from outside")
    return Reward(name, says, found, "as it says", source=name)


__all__ = [
    "OURS", "PUBLISHED", "REWARDS", "Answer", "Guarded", "Reward", "Truth", "answers_of", "geo_r1_mask", "guarded",
    "load_reward",
]  # fmt: skip

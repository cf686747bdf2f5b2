"""The optimiser of a run: which parameter takes which step, at which share of the learning rate."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from georefer.errors import ConfigError
from georefer.training.muon import Muon, parameter_groups
from georefer.training.schedule import LoopSettings


def make_optimiser(named: Mapping[str, nn.Parameter], settings: LoopSettings) -> torch.optim.Optimizer:
    """AdamW or Muon over trained parameters; `share` of each group multiplies the learning rate.

    ConfigError where `rates` names a part that no trained parameter belongs to.
    """
    groups = [piece for group in _kinds(named, settings) for piece in _by_rate(group, named, settings.rates)]
    if settings.optimiser == "muon":
        return Muon(groups, settings.learning_rate, beta1=settings.beta1, beta2=settings.beta2)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(settings.beta1, settings.beta2))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Gives every group its share of the learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["share"]


def _kinds(named: Mapping[str, nn.Parameter], settings: LoopSettings) -> list[dict]:
    if settings.optimiser == "muon":
        return parameter_groups(named.items(), settings.weight_decay)
    # norms and biases are scales and offsets; pulling them to zero only hurts
    matrices = [p for p in named.values() if p.ndim > 1]
    others = [p for p in named.values() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]


def _by_rate(group: dict, named: Mapping[str, nn.Parameter], rates: Mapping[str, float]) -> list[dict]:
    """The group split by share of the learning rate, largest share first."""
    if unused := [part for part in rates if not any(_holds(name, part) for name in named)]:
        raise ConfigError(
            f"rates names {', '.join(unused)}, where no trained parameter has that in its path; the trained ones are "
            f"such as {', '.join(list(named)[:3])}"
        )
    share_of = {id(parameter): _share(name, rates) for name, parameter in named.items()}
    shares = sorted({share_of[id(p)] for p in group["params"]}, reverse=True)
    return [
        {**group, "params": [p for p in group["params"] if share_of[id(p)] == share], "share": share}
        for share in shares
    ]


def _share(name: str, rates: Mapping[str, float]) -> float:
    fitting = [part for part in rates if _holds(name, part)]
    return rates[max(fitting, key=len)] if fitting else 1.0


def _holds(name: str, part: str) -> bool:
    return f".{part}." in f".{name}."

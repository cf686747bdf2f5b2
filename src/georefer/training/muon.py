"""Muon for matrices, AdamW for the rest, in one optimiser: the steps that teach a small model several times faster.

Muon (Jordan 2024) replaces a matrix's momentum by the nearest orthogonal matrix, so that every direction of the
weights moves at the same pace instead of the few that dominate the gradient.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

# Newton-Schulz coefficients of Jordan's Muon: five rounds bring all singular values to between 0.7 and 1.2.
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Groups with `orthogonal` true take Muon's step, the others AdamW's; one learning rate suits both.

    Muon's step is scaled to the root mean square of an AdamW step (0.2 per weight, Liu et al. 2025). Weight decay
    is decoupled in both. Kernels of convolutions are matrices of (output, input x height x width).
    """

    def __init__(
        self, groups: Iterable[dict], lr: float, momentum: float = 0.95, beta1: float = 0.9, beta2: float = 0.98
    ):
        defaults = {"lr": lr, "momentum": momentum, "beta1": beta1, "beta2": beta2, "weight_decay": 0.0}
        super().__init__(groups, {**defaults, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step from the gradients at hand; parameters without one stay as they are."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for parameter in parameters:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
            if group["orthogonal"]:
                self._muon(parameters, group)
            else:
                for parameter in parameters:
                    self._adam(parameter, group)

    def _muon(self, parameters: list[nn.Parameter], group: dict) -> None:
        alike = defaultdict(list)
        for parameter in parameters:
            update_RC = self._momentum(parameter, group).flatten(1)
            alike[update_RC.shape].append((parameter, update_RC))
        for shape, members in alike.items():
            # matrices of one shape go through together: a small model has many, and each call costs
            steps_NRC = orthogonal(torch.stack([update_RC for _, update_RC in members]))
            pace = group["lr"] * 0.2 * max(shape) ** 0.5
            for (parameter, _), step_RC in zip(members, steps_NRC, strict=True):
                parameter.add_(step_RC.view_as(parameter), alpha=-pace)

    def _momentum(self, parameter: nn.Parameter, group: dict) -> Tensor:
        """Nesterov momentum: the running mean of gradients, looked at one step ahead."""
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        return gradient.lerp(state["momentum"], group["momentum"])

    def _adam(self, parameter: nn.Parameter, group: dict) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - group["beta1"])
        state["square"].mul_(group["beta2"]).addcmul_(gradient, gradient, value=1 - group["beta2"])
        number = float(state["step"])
        pace = group["lr"] / (1 - group["beta1"] ** number)
        root = (state["square"] / (1 - group["beta2"] ** number)).sqrt_().add_(1e-8)
        parameter.addcdiv_(state["mean"], root, value=-pace)


def orthogonal(matrices_NRC: Tensor, rounds: int = 5) -> Tensor:
    """About the nearest matrices with orthonormal rows or columns (whichever are fewer), by Newton-Schulz."""
    a, b, c = _NEWTON_SCHULZ
    is_tall = matrices_NRC.shape[-2] > matrices_NRC.shape[-1]
    x_NRC = matrices_NRC.mT if is_tall else matrices_NRC
    x_NRC = x_NRC / (x_NRC.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram_NRR = x_NRC @ x_NRC.mT
        x_NRC = a * x_NRC + (b * gram_NRR + c * gram_NRR @ gram_NRR) @ x_NRC
    return x_NRC.mT if is_tall else x_NRC


def parameter_groups(named: Iterable[tuple[str, nn.Parameter]], weight_decay: float) -> list[dict]:
    """Which parameters take which step; frozen ones are left out.

    Matrices that mix features take Muon's. Tables that are looked up (embeddings, positions) and stacks of maps
    are no such matrices and take AdamW's, like norms and biases, which decay does not touch either.
    """
    mixing: list[nn.Parameter] = []
    tables: list[nn.Parameter] = []
    scales: list[nn.Parameter] = []
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        is_table = parameter.ndim == 3 or any(part in name for part in ("embed", "lm_head", "position"))
        (scales if parameter.ndim <= 1 else tables if is_table else mixing).append(parameter)
    return [
        {"params": mixing, "weight_decay": weight_decay, "orthogonal": True},
        {"params": tables, "weight_decay": weight_decay},
        {"params": scales, "weight_decay": 0.0},
    ]

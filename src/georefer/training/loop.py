"""The training loop: steps, schedule, metrics, and a state that a killed run continues from bit by bit."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from georefer.errors import CheckpointError
from georefer.runlog import JsonLines, progress, swap_folder
from georefer.training.muon import Muon, parameter_groups

StepLosses = Mapping[str, Tensor]
"""Named losses of one step; "loss" is the one that is minimised, the others are recorded."""


@dataclass(frozen=True)
class LoopSettings:
    """Optimisation of any method."""

    steps: int = 2000
    max_minutes: float | None = None
    """Stop after so much training time even if steps are left; the schedule then ends with the time."""
    learning_rate: float = 2e-3
    final_rate: float = 0.02
    """Share of the learning rate that is left at the end of the cosine."""
    warmup_steps: int = 50
    optimiser: Literal["adamw", "muon"] = "adamw"
    """"muon" teaches a small model from random weights several times faster; see `training/muon.py`."""
    weight_decay: float = 0.01
    beta2: float = 0.98
    clip_norm: float = 1.0
    save_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.save_every < 1:
            raise ValueError("steps and save_every must be at least 1")


@dataclass(frozen=True)
class Progress:
    """Where a run stands when a step begins; `share` goes from 0 to 1 over the run."""

    step: int
    minutes: float
    share: float


def train(
    modules: Mapping[str, nn.Module],
    step: Callable[[Progress], StepLosses],
    settings: LoopSettings,
    folder: Path,
    identity: Mapping[str, Any],
) -> Progress:
    """Minimises `step(progress)["loss"]` over the parameters of `modules`, and returns where it ended.

    A step draws all its randomness from (seed, step), so the state holds weights, optimiser moments and the
    step number alone, and a resumed run equals an uninterrupted one bitwise, unless `max_minutes` ends it or the
    sums themselves differ: on several threads two uninterrupted runs already part in the fifth digit.
    The state lies in `folder`/state; it is refused where `identity` (data and settings) differs.
    """
    names, parameters = _trainable(modules)
    optimiser = _optimiser(names, parameters, settings)
    state = _State(folder / "state", modules, names, optimiser, dict(identity))
    first, minutes_before = state.load()
    metrics = JsonLines(folder / "metrics.jsonl")
    metrics.cut_tail()
    started = time.monotonic()

    def now(number: int) -> Progress:
        minutes = minutes_before + (time.monotonic() - started) / 60
        by_time = minutes / settings.max_minutes if settings.max_minutes else 0.0
        return Progress(number, minutes, min(1.0, max(number / settings.steps, by_time)))

    at = now(first)
    for number in progress(range(first, settings.steps), "training", settings.steps - first, "step"):
        at = now(number)
        if at.share >= 1.0:
            break
        losses = _take_step(step, at, optimiser, parameters, settings)
        if number % 20 == 0:
            metrics.append([{"step": number, "minutes": round(at.minutes, 3), **losses}])
        at = now(number + 1)
        if at.step % settings.save_every == 0:
            state.save(at)
    state.save(at)
    return at


def _take_step(
    step: Callable[[Progress], StepLosses],
    at: Progress,
    optimiser: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    settings: LoopSettings,
) -> dict[str, float]:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(at, settings)
    torch.manual_seed(settings.seed * 1_000_003 + at.step)
    losses = step(at)
    value = float(losses["loss"].detach())
    if not math.isfinite(value):
        raise CheckpointError(
            f"the loss became {value} at step {at.step}, where a number is expected; lower learning_rate and "
            "start again from the last saved state"
        )
    optimiser.zero_grad(set_to_none=True)
    losses["loss"].backward()
    torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
    optimiser.step()
    return {name: round(float(loss.detach()), 5) for name, loss in losses.items()}


def learning_rate(at: Progress, settings: LoopSettings) -> float:
    """Linear warm-up, then a cosine down to `final_rate` of the peak."""
    warmup = min(1.0, (at.step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    cosine = 0.5 * (1 + math.cos(math.pi * at.share))
    return settings.learning_rate * warmup * (settings.final_rate + (1 - settings.final_rate) * cosine)


def _trainable(modules: Mapping[str, nn.Module]) -> tuple[list[str], list[nn.Parameter]]:
    found = {
        f"{prefix}.{name}": parameter
        for prefix, module in modules.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
    return list(found), list(found.values())


def _optimiser(names: list[str], parameters: list[nn.Parameter], settings: LoopSettings) -> torch.optim.Optimizer:
    if settings.optimiser == "muon":
        named = parameter_groups(zip(names, parameters, strict=True), settings.weight_decay)
        return Muon(named, settings.learning_rate, beta2=settings.beta2)
    # norms and biases are scales and offsets; pulling them to zero only hurts
    matrices = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, settings.beta2))


@dataclass
class _State:
    """What lies in the state folder: tensors as safetensors, the rest as JSON; nothing is pickled."""

    folder: Path
    modules: Mapping[str, nn.Module]
    names: list[str]
    optimiser: torch.optim.Optimizer
    identity: dict[str, Any]

    def save(self, at: Progress) -> None:
        """Written beside, then swapped in; a kill leaves the old state or the new one."""
        partial = self.folder.with_name("state.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(self._tensors(), partial / "state.safetensors")
        values = {"step": at.step, "minutes": at.minutes, "identity": self.identity}
        (partial / "state.json").write_text(json.dumps(values, indent=1, default=str), encoding="utf-8")
        swap_folder(partial, self.folder)

    def load(self) -> tuple[int, float]:
        """Step and minutes to go on from: zero where there is no state yet."""
        old = self.folder.with_name("state.old")
        if not self.folder.exists() and old.exists():  # killed between the two renames of `save`
            old.rename(self.folder)
        if not self.folder.exists():
            return 0, 0.0
        try:
            values = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
            tensors = load_file(self.folder / "state.safetensors")
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise CheckpointError(
                f"{self.folder} is damaged ({error}); remove the run folder and train again"
            ) from error
        ours = json.loads(json.dumps(self.identity, default=str))
        if different := sorted(k for k in {*ours, *values["identity"]} if ours.get(k) != values["identity"].get(k)):
            raise CheckpointError(
                f"{self.folder} was made with another {', '.join(different)}; continue with the same recipe and data, "
                "or choose another output folder"
            )
        self._restore(tensors)
        return int(values["step"]), float(values["minutes"])

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {
            f"module/{prefix}.{name}": tensor
            for prefix, module in self.modules.items()
            for name, tensor in module.state_dict().items()
        }
        for name, moments in zip(self.names, self._moments(), strict=True):
            tensors.update({f"optimiser/{name}/{key}": value for key, value in moments.items()})
        # tied weights share memory, which safetensors refuses
        return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}

    def _moments(self) -> list[dict[str, Tensor]]:
        by_parameter = self.optimiser.state
        parameters = dict(_named(self.modules))
        return [by_parameter.get(parameters[name], {}) for name in self.names]

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        for prefix, module in self.modules.items():
            head = f"module/{prefix}."
            module.load_state_dict({n.removeprefix(head): t for n, t in tensors.items() if n.startswith(head)})
        parameters = dict(_named(self.modules))
        for name in self.names:
            head = f"optimiser/{name}/"
            moments = {n.removeprefix(head): t for n, t in tensors.items() if n.startswith(head)}
            if moments:
                self.optimiser.state[parameters[name]] = moments


def _named(modules: Mapping[str, nn.Module]):
    return ((f"{prefix}.{n}", p) for prefix, m in modules.items() for n, p in m.named_parameters())

"""The training loop of all methods: steps, metrics, validation, and a state that a killed run goes on from."""

from __future__ import annotations

import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from georefer.config import to_plain
from georefer.errors import CheckpointError, ConfigError, DatasetError
from georefer.runlog import progress, say, swap_folder
from georefer.training.optimisers import set_rate
from georefer.training.processes import Processes, judging, start
from georefer.training.schedule import LoopSettings, learning_rate
from georefer.training.state import Standing, State, make_whole, recover, whole_weights
from georefer.training.tracking import Metrics, Taken, open_metrics
from georefer.training.work import Part, Progress, Work

__all__ = ["LoopSettings", "Part", "Progress", "Work", "learning_rate", "train"]

Validate = Callable[[], Mapping[str, float]]
SaveBest = Callable[[Path], None]


def train(
    modules: Mapping[str, nn.Module],
    step: Callable[[Progress], Work],
    settings: LoopSettings,
    folder: Path,
    identity: Mapping[str, Any],
    validate: Validate | None = None,
    save_best: SaveBest | None = None,
) -> Progress:
    """Minimises what `step` asks for over the trained parameters of `modules`, and returns where it ended.

    Under `accelerate launch` every process calls this alike, with modules that hold the same frozen weights; the
    gradient is that of one process with all parts, whatever their number. Modules are moved to the device of their
    process; a step puts its inputs there. Torch's random numbers are set from (seed, step, rank) before each step, so
    the state holds trained weights, buffers, moments and the step alone, and a resumed run equals an uninterrupted
    one bitwise, unless `max_minutes` ends it or the sums themselves differ (several threads).

    The state lies in `folder`/state; it is refused where `identity` (data, settings, frozen weights) differs.
    `validate` runs in every process, with modules in evaluation mode and without gradients; the mean over processes
    counts, and `save_best(partial)` writes `folder`/best (in the first process) when the score is the best so far.
    At the end the modules of the first process hold the trained weights whole: that one saves.
    Interrupt (Ctrl-C) and terminate signals end the run after the step, saved: KeyboardInterrupt.
    CheckpointError where a loss or gradient is not finite; DatasetError where a step has nothing to learn.
    """
    processes = start(modules, settings)
    if processes.is_main:
        folder.mkdir(parents=True, exist_ok=True)
    state = State(folder / "state", processes, dict(identity))
    processes.same_start()
    standing = state.load()
    metrics = open_metrics(folder, standing.step, settings.track, to_plain(settings)) if processes.is_main else None
    run = _Run(processes, step, settings, folder, state, metrics, standing, validate, save_best)
    try:
        with _stopping() as stop:
            at = run.go(stop)
        make_whole(processes)
    finally:
        if metrics:
            metrics.close()
    return at


@dataclass
class _Run:
    processes: Processes
    step: Callable[[Progress], Work]
    settings: LoopSettings
    folder: Path
    state: State
    metrics: Metrics | None
    standing: Standing
    validate: Validate | None
    save_best: SaveBest | None
    started: float = field(default_factory=time.monotonic)
    shown: tuple[str, float] = ("loss", math.nan)

    def __post_init__(self) -> None:
        self.minutes_before = self.standing.minutes
        if self.processes.is_main:
            recover(self.folder / "best")

    def go(self, stop: _Stop) -> Progress:
        first, steps = self.standing.step, self.settings.steps
        at = self.now(first)
        for number in progress(
            range(first, steps), "training", steps, "step",
            done=first, is_shown=self.processes.is_main, note=lambda: f"{self.shown[0]} {self.shown[1]:.4g}",
        ):  # fmt: skip
            at = self.now(number)
            if at.share >= 1.0:
                break
            self.take(at)
            at = self.now(number + 1)
            if any(self.processes.tell(stop.is_asked)) and at.step < steps:
                self.leave(at)
            self.look(at)
        if at.step > self.standing.validated:
            self.judge(at)
        self.save(at)
        if self.metrics and self.metrics.window.taken:
            self.metrics.write(at.step, at.minutes)
        return at

    def now(self, number: int) -> Progress:
        minutes = self.minutes_before + (time.monotonic() - self.started) / 60
        if self.settings.max_minutes:
            # clocks differ, and a schedule must not
            minutes = self.processes.tell(minutes)[0]
        by_time = minutes / self.settings.max_minutes if self.settings.max_minutes else 0.0
        share = min(1.0, max(number / self.settings.steps, by_time))
        return Progress(number, minutes, share, self.processes.rank, self.processes.world)

    def take(self, at: Progress) -> None:
        rate = learning_rate(at, self.settings)
        set_rate(self.processes.optimiser, rate)
        torch.manual_seed(_seed(self.settings.seed, at))
        work = self.step(at)
        taken = take_step(work, at, self.processes, self.settings)
        self.shown = (work.shows, taken.losses.get(work.shows, taken.total))
        if self.metrics:
            self.metrics.add(taken)
            done = at.step + 1
            if done == 1 or done % self.settings.metrics_every == 0:
                self.metrics.write(done, at.minutes, learning_rate=rate)

    def look(self, at: Progress) -> None:
        """Whatever is due between two steps."""
        if self.settings.validate_every and at.step % self.settings.validate_every == 0:
            self.judge(at)
        if at.step % self.settings.save_every == 0:
            self.save(at)

    def leave(self, at: Progress) -> None:
        self.save(at)
        if self.processes.is_main:
            say(f"stopped after step {at.step} of {self.settings.steps}; saved, the same command goes on from there")
        raise KeyboardInterrupt

    def save(self, at: Progress) -> None:
        self.standing = replace(self.standing, step=at.step, minutes=at.minutes)
        self.state.save(self.standing)

    def judge(self, at: Progress) -> None:
        """Validates, and keeps the model where it is the best so far."""
        self.standing = replace(self.standing, validated=at.step)
        if not self.validate:
            return
        self.processes.even_buffers()
        with judging(self.processes.together):
            scores = _mean_scores(self.processes.tell(dict(self.processes.run(self.validate))))
        if self.metrics:
            self.metrics.record(at.step, at.minutes, {f"validation/{name}": v for name, v in scores.items()})
        score = _one_score(scores, self.settings.best)
        best = self.standing.best_score
        if not math.isfinite(score) or (best is not None and score <= best):
            return
        self.standing = replace(self.standing, best_score=score, best_step=at.step)
        self.keep_best()

    def keep_best(self) -> None:
        if not self.save_best:
            return
        with whole_weights(self.processes):
            if self.processes.is_main:
                partial = self.folder / "best.partial"
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                self.save_best(partial)
                swap_folder(partial, self.folder / "best")
        self.processes.wait()


def take_step(work: Work, at: Progress, processes: Processes, settings: LoopSettings) -> Taken:
    """One optimiser step over the parts of all processes."""
    told = processes.tell({"counts": _counts(work), "parts": len(work.parts), "weights": dict(work.weights)})
    counts = _added(one["counts"] for one in told)
    if not any(counts.values()):
        raise DatasetError(
            f"step {at.step} has nothing to learn: all its losses sum over 0 terms, where at least one is expected; "
            "look for questions without an answer or answers that were cut off"
        )
    weights = {name: w for one in told for name, w in one["weights"].items()}
    processes.optimiser.zero_grad(set_to_none=True)
    names = sorted(name for name, count in counts.items() if count)
    sums = torch.zeros(len(names), dtype=torch.float64, device=processes.accelerator.device)
    parts = _padded(work, [one["parts"] for one in told], processes, at)
    for number, (part, is_real) in enumerate(parts):
        found = processes.run(part.sums)
        _expect_names(part, found, at)
        shares = [weights.get(n, 1.0) / counts[n] * found[n] for n in names if n in found]
        loss = torch.stack([share.float() for share in shares]).sum() * float(is_real)
        if loss.requires_grad:
            processes.backward(loss, is_last=number == len(parts) - 1)
        for place, name in enumerate(names):
            if is_real and name in found:
                sums[place] += found[name].detach()
    added = dict(zip(names, processes.total(sums).tolist(), strict=True))
    return _finish(added, counts, weights, at, processes, settings)


def _finish(
    sums: Mapping[str, float],
    counts: Mapping[str, float],
    weights: Mapping[str, float],
    at: Progress,
    processes: Processes,
    settings: LoopSettings,
) -> Taken:
    losses = {name: value / counts[name] for name, value in sums.items()}
    total = sum(weights.get(name, 1.0) * loss for name, loss in losses.items())
    _expect_finite("loss", total, at)
    processes.collect_gradients()
    norm = processes.clip(settings.clip_norm)
    _expect_finite("gradient norm", norm, at)
    processes.optimiser.step()
    return Taken(losses, total, {name: counts[name] for name in losses}, norm)


def _padded(work: Work, parts_of_rank: list[int], processes: Processes, at: Progress) -> list[tuple[Part, bool]]:
    """The parts to run, and whether each counts: shards exchange in every pass, so all must run equally many."""
    if not processes.in_step:
        return [(part, True) for part in work.parts if any(part.counts.values())]
    if not all(parts_of_rank):
        raise DatasetError(
            f"step {at.step} has {parts_of_rank} parts for the processes, where each needs at least one under FSDP and "
            "DeepSpeed; use larger batches or fewer processes"
        )
    extra = max(parts_of_rank) - len(work.parts)
    # the real ones last: whatever happens at the last pass then happens with a loss
    return [(work.parts[0], False)] * extra + [(part, True) for part in work.parts]


def _counts(work: Work) -> dict[str, float]:
    return _added(part.counts for part in work.parts)


def _added(several: Any) -> dict[str, float]:
    total: dict[str, float] = {}
    for counts in several:
        for name, count in counts.items():
            total[name] = total.get(name, 0.0) + float(count)
    return total


def _expect_names(part: Part, found: Mapping[str, Tensor], at: Progress) -> None:
    if found.keys() != part.counts.keys():
        raise ValueError(f"step {at.step}: a part counts {sorted(part.counts)} and sums {sorted(found)}")


def _expect_finite(what: str, value: float, at: Progress) -> None:
    if not math.isfinite(value):
        raise CheckpointError(
            f"the {what} became {value} at step {at.step}, where a number is expected; lower learning_rate and "
            "start again from the last saved state"
        )


def _seed(seed: int, at: Progress) -> int:
    """One number from three, without the collisions of sums."""
    return int(np.random.SeedSequence([seed, at.step, at.rank]).generate_state(1, np.uint64)[0] >> 1)


def _mean_scores(told: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(one[name] for one in told) / len(told) for name in told[0]}


def _one_score(scores: Mapping[str, float], best: str) -> float:
    if best and best not in scores:
        raise ConfigError(f"best is '{best}', where the validation gives {', '.join(scores)}; name one of these")
    return scores[best] if best else sum(scores.values()) / max(len(scores), 1)


@dataclass
class _Stop:
    is_asked: bool = False
    asked_at: float = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        # a launcher repeats the signal that its children already have; only a person's second one means at once
        if self.is_asked and now - self.asked_at > 2:
            raise KeyboardInterrupt
        if not self.is_asked:
            self.asked_at = now
        self.is_asked = True


@contextmanager
def _stopping() -> Iterator[_Stop]:
    """Inside, interrupt and terminate signals are noted in place of breaking a step in two."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

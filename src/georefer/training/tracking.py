"""Where the metrics of a run go: `metrics.jsonl` always, TensorBoard and trackio where asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from georefer.errors import MissingExtra
from georefer.runlog import JsonLines


@dataclass(frozen=True)
class Taken:
    """What one step was: mean of each loss that had terms, their weighted sum, terms of each, gradient norm."""

    losses: Mapping[str, float]
    total: float
    terms: Mapping[str, float]
    gradient_norm: float


class Tracker(Protocol):
    """A place that metrics go to."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


@dataclass
class Window:
    """Means over the steps since the last row; its size does not depend on their number."""

    sums: dict[str, float] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    terms: dict[str, float] = field(default_factory=dict)
    taken: int = 0
    since: float = field(default_factory=time.monotonic)

    def add(self, taken: Taken) -> None:
        means = {"loss": taken.total, **taken.losses, "gradient_norm": taken.gradient_norm}
        for name, value in means.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.steps[name] = self.steps.get(name, 0) + 1
        for name, count in taken.terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + count
        self.taken += 1

    def values(self) -> dict[str, float]:
        """Mean of each loss over the steps that had it, seconds per step, and terms per second of each loss."""
        seconds = max(time.monotonic() - self.since, 1e-9)
        means = {name: self.sums[name] / self.steps[name] for name in self.sums}
        speeds = {f"{name}_terms_per_second": count / seconds for name, count in self.terms.items()}
        return {**means, "seconds_per_step": seconds / max(self.taken, 1), **speeds}


@dataclass
class Metrics:
    """The writer of a run; a process that is not the first has none."""

    lines: JsonLines
    trackers: Sequence[Tracker]
    window: Window = field(default_factory=Window)

    def add(self, taken: Taken) -> None:
        self.window.add(taken)

    def write(self, step: int, minutes: float, **more: float) -> None:
        """One row of the steps since the last one."""
        self.record(step, minutes, {**self.window.values(), **more})
        self.window = Window()

    def record(self, step: int, minutes: float, values: Mapping[str, float]) -> None:
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        self.lines.append([{"step": step, "minutes": round(minutes, 3), **rounded}])
        for tracker in self.trackers:
            tracker.log(step, rounded)

    def close(self) -> None:
        for tracker in self.trackers:
            tracker.close()


def open_metrics(folder: Path, done: int, kinds: Sequence[str], settings: Mapping[str, Any]) -> Metrics:
    """Metrics of a run that goes on after `done` steps: rows of later ones are written anew.

    `step` in a row is the number of steps done; the row covers those since the row before.
    """
    lines = JsonLines(folder / "metrics.jsonl")
    lines.cut_tail()
    lines.cut_from("step", done + 1)
    makers: dict[str, Callable[..., Tracker]] = {"tensorboard": _TensorBoard, "trackio": _Trackio}
    return Metrics(lines, [makers[kind](folder, done, settings) for kind in kinds])


class _TensorBoard:
    def __init__(self, folder: Path, done: int, settings: Mapping[str, Any]):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("TensorBoard metrics", "track") from error
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1 if done else None)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class _Trackio:
    def __init__(self, folder: Path, done: int, settings: Mapping[str, Any]):
        try:
            import trackio
        except ImportError as error:
            raise MissingExtra("trackio metrics", "track") from error
        self.finish = trackio.finish
        # results alone go to standard output
        with redirect_stdout(sys.stderr):
            # a run is named by its folder, so that going on adds to the same one
            self.run = trackio.init(
                project="georefer", name=folder.resolve().name, config=dict(settings), resume="allow", embed=False,
                auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        with redirect_stdout(sys.stderr):
            self.finish()

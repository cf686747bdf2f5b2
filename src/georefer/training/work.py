"""What a training method hands to the loop at each step: losses as sums over counted terms.

Sums and counts, not means: parts of a step, and processes, hold unequal numbers of terms, and only the sum of all
sums over the sum of all counts is the loss that one process would see with everything at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Progress:
    """Where a run stands when a step begins; `share` goes from 0 to 1 over the run.

    A step prepares share `rank` of `world` of its batch, and draws its randomness from (seed, step) alone.
    """

    step: int
    minutes: float
    share: float
    rank: int = 0
    world: int = 1


@dataclass(frozen=True)
class Part:
    """A micro-batch: computed and back-propagated by itself, so that only one lies in memory at a time.

    `counts`: over how many terms each loss sums (learned tokens, say), known before anything is computed.
    `sums`: computes the sums themselves, scalars under the same names. A part whose counts are all 0 may be skipped.
    """

    counts: Mapping[str, float]
    sums: Callable[[], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Work:
    """This process's share of a step; it may be empty as long as another process has some.

    The step minimises the sum over names of weight x (all sums) / (all counts), over all parts of all processes. A
    weight is 1 where not named; a loss of weight 0 is recorded only. Weights are the same in every process. `shows` is
    the one that people watch, by default all that is minimised.
    """

    parts: Sequence[Part]
    weights: Mapping[str, float] = field(default_factory=dict)
    shows: str = "loss"

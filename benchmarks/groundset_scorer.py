"""GroundSet's scorer, rows a second, against what the original did on the same rows.

The original is not at hand here; its figures were recorded once, on two busy cores with start-up included (the README
of ../shared/golden/groundset), so a ratio says how much faster, not to the digit. Rows are repeated until a table has
the length of a real test set.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pandas

from georefer.evaluation.protocols.groundset import MODELS, score_table
from georefer.evaluation.protocols.groundset_tables import read_table

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden" / "groundset"
RECORDED = {"detection": 680, "rec": 1100, "phrase": 980, "segment": 755, "vqa": 6160}
"""Rows a second of the original."""

ROWS = 5000
REPEATS = 5


def main() -> None:
    if not GOLDEN.is_dir():
        print("the reference tables (../shared/golden/groundset) are absent; nothing to time")
        return
    print(f"medians of {REPEATS}, one thread, reading included; the original's figures are recorded, not run here")
    for task, recorded in RECORDED.items():
        speed = statistics.median(rows_a_second(task) for _ in range(REPEATS))
        print(f"{task:<10}{speed:>9,.0f} rows/s  {speed / recorded:5.1f}x the recorded {recorded:,}")


def rows_a_second(task: str) -> float:
    rows = seconds = 0.0
    for model in MODELS:
        if not list((GOLDEN / model).glob(f"{task}_*")):
            continue
        start = time.perf_counter()
        table = read_table(GOLDEN / model, task)
        reading = time.perf_counter() - start
        times = max(1, ROWS // len(table))
        long = pandas.concat([table] * times, ignore_index=True)
        start = time.perf_counter()
        score_table(long, task, model)
        seconds += time.perf_counter() - start + reading * times
        rows += len(long)
    return rows / seconds


if __name__ == "__main__":
    main()

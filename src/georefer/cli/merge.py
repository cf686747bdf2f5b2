"""Work an adapter into its base model: a plain checkpoint for any tool, checked to score every token the same."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="folder of an adapter, or of the run that trained it")
    parser.add_argument("out", type=Path, help="folder to make")


def run(options: argparse.Namespace) -> int:
    from georefer.models import require_models

    require_models("merging an adapter")
    from georefer.models.merging import BOUND, merge

    made = merge(options.source, options.out)
    print(f"scores differ by {made.difference:.1e} of the largest in float32 (at most {BOUND:.0e} is kept)")
    if made.precision != "float32":
        print(f"stored as {made.precision}, as the base is; rounding makes it {made.stored_difference:.1e}")
    print(f"wrote {made.folder}")
    return 0

"""Ways to learn from the same few examples side by side: from one start, judged alike, over several seeds.

georefer grid recipes/few-shot-grid/grid.toml runs/grid

The tables end in OUT/grid.md; an interrupted grid goes on."""

from __future__ import annotations

import argparse
from pathlib import Path

from georefer.cli.options import add_recipe, settings_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    parser.add_argument("out", type=Path, help="folder of all runs")


def run(options: argparse.Namespace) -> int:
    from georefer.models import require_models

    require_models("a grid of trainings")
    from georefer.evaluation.grid import GridSettings, grid

    print(grid(settings_of(GridSettings, options), options.out))
    return 0

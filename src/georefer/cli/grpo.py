"""Reinforce a model by rewards for answers that it draws itself.

The model ends in OUT/model, what it said on the way in OUT/rollouts.html; an interrupted run goes on.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from georefer.cli.options import add_recipe, settings_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    parser.add_argument("out", type=Path, help="run folder")
    parser.add_argument("--dataset", type=Path, action="append", default=[], help="instead of the recipe's; repeatable")
    parser.add_argument("--start", help="model to go on from, instead of the recipe's")


def run(options: argparse.Namespace) -> int:
    from georefer.models import require_models
    from georefer.runlog import say

    require_models("reinforcement")
    from georefer.training.grpo import grpo
    from georefer.training.grpo_settings import GrpoSettings

    settings = settings_of(GrpoSettings, options)
    if options.dataset:
        settings = replace(settings, dataset=tuple(options.dataset))
    if options.start:
        settings = replace(settings, start=options.start)
    say(f"wrote {grpo(settings, options.out)}")
    return 0

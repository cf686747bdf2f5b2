"""Fine-tune a model on one or more datasets. The model ends in OUT/model; an interrupted run goes on."""

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

    require_models("fine-tuning")
    from georefer.training.sft import SftSettings, sft

    settings = settings_of(SftSettings, options)
    if options.dataset:
        settings = replace(settings, dataset=tuple(options.dataset))
    if options.start:
        settings = replace(settings, start=options.start)
    say(f"wrote {sft(settings, options.out)}")
    return 0

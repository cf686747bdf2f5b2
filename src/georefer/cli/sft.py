"""Fine-tune a model on one or more datasets. The model ends in OUT/model; an interrupted run goes on."""

from __future__ import annotations

import argparse

from georefer.cli.options import add_training, training_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_training(parser)


def run(options: argparse.Namespace) -> int:
    from georefer.models import require_models
    from georefer.runlog import say

    require_models("fine-tuning")
    from georefer.training.sft import SftSettings, sft

    say(f"wrote {sft(training_settings(SftSettings, options), options.out)}")
    return 0

"""Reinforce a model by rewards for answers that it draws itself.

The model ends in OUT/model, what it said on the way in OUT/rollouts.html; an interrupted run goes on.
"""

from __future__ import annotations

import argparse

from georefer.cli.options import add_training, training_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_training(parser)


def run(options: argparse.Namespace) -> int:
    from georefer.models import require_models
    from georefer.runlog import say

    require_models("reinforcement")
    from georefer.training.grpo import grpo
    from georefer.training.grpo_settings import GrpoSettings

    say(f"wrote {grpo(training_settings(GrpoSettings, options), options.out)}")
    return 0

"""Ask a model a dataset's held-out questions, with the image and blind; scores, intervals and a report.

The model 'fake' answers with the truth (spoiled by --noise-px, --miss, --malformed), to try a pipeline out."""

from __future__ import annotations

import argparse
from pathlib import Path

from georefer.cli.options import add_model, add_recipe, settings_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("dataset", type=Path, help="dataset folder")
    parser.add_argument("out", type=Path, help="folder for answers.jsonl, scores.json, report.html")
    add_recipe(parser, required=False)
    for dial, unit in (("noise-px", "standard deviation"), ("miss", "probability"), ("malformed", "probability")):
        parser.add_argument(f"--{dial}", type=float, default=0.0, help=f"of the fake model, {unit} (default 0)")


def run(options: argparse.Namespace) -> int:
    from georefer.evaluation import BLIND, EvaluateSettings, evaluate, read_scores, summary_table
    from georefer.scenes import open_dataset

    settings = settings_of(EvaluateSettings, options)
    dataset = open_dataset(options.dataset)
    scores = evaluate(_model(options, dataset, settings.split), dataset, settings, options.out)
    blind = read_scores(options.out / BLIND) if settings.blind else None
    print(summary_table(scores, blind))
    print(f"wrote {options.out / 'report.html'}")
    return 0


def _model(options: argparse.Namespace, dataset, split: str):
    from georefer.evaluation import truth_from
    from georefer.models import FakeModel, load_model

    if options.model != "fake":
        return load_model(options.model)
    return FakeModel(truth_from(dataset, split), options.noise_px, options.miss, options.malformed)

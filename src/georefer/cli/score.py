"""Score kept answers again, without a model: scores.json, rows.jsonl and report.html are written anew."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("answers", type=Path, help="folder of 'georefer evaluate'")
    parser.add_argument("--dataset", type=Path, help="where the dataset lies now, if it moved")
    parser.add_argument("--partial", action="store_true", help="score what is there although answers are missing")


def run(options: argparse.Namespace) -> int:
    from georefer.evaluation import BLIND, read_run, score_answers, summary_table, write_report
    from georefer.scenes import open_dataset

    dataset = open_dataset(options.dataset or read_run(options.answers)["dataset"])
    blind_folder = options.answers / BLIND
    scores = score_answers(options.answers, dataset, partial=options.partial)
    blind = score_answers(blind_folder, dataset, partial=options.partial) if blind_folder.is_dir() else None
    print(summary_table(scores, blind))
    print(f"wrote {write_report(options.answers, dataset)}")
    return 0

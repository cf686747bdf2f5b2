"""Compare two runs on the same questions: which is better, by how much, and whether that could be chance.

georefer compare runs/base/evaluation runs/tuned/evaluation
georefer compare runs/a runs/b --common --json difference.json      only the questions that both answered
georefer compare theirs.jsonl mine.jsonl --by strict                two answer files, as a published scorer took them

RUN is a folder of 'georefer evaluate' that was scored, or a file of 'georefer score --protocol NAME --rows FILE'; the
second is held against the first."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, metavar="RUN", help="run A, the one to compare with")
    parser.add_argument("second", type=Path, metavar="RUN", help="run B")
    parser.add_argument("--dataset", type=Path, help="score both anew against this dataset first")
    parser.add_argument("--common", action="store_true", help="take the questions that both answered, not refuse")
    parser.add_argument("--by", choices=["published", "strict"], default="published",
                        help="of two files of rows: which value to compare (default: published)")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to this file, too")


def run(options: argparse.Namespace) -> int:
    from georefer.runlog import write_json

    found, table = _rows(options) if options.first.is_file() else _runs(options)
    print(table)
    if options.json:
        write_json(options.json, found.as_dict())
        print(f"wrote {options.json}")
    return 0


def _runs(options: argparse.Namespace):
    from georefer.evaluation.compare import compare_runs, comparison_table
    from georefer.scenes import open_dataset

    dataset = open_dataset(options.dataset) if options.dataset else None
    found = compare_runs(options.first, options.second, dataset=dataset, common=options.common)
    return found, comparison_table(found)


def _rows(options: argparse.Namespace):
    from georefer.evaluation.compare_rows import compare_rows, rows_table

    found = compare_rows(options.first, options.second, options.by, common=options.common)
    return found, rows_table(found)

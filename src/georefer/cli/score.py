"""Score kept answers again, without a model; or score somebody's answer files as a published scorer does.

georefer score runs/demo/evaluation                                  scores.json, rows.jsonl, report.html written anew
georefer score answers/llava --protocol groundset --task detection   the published scorer's own numbers, printed
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

PROTOCOLS = {"groundset": ("detection", "phrase", "rec", "segment", "vqa")}
"""Published scorers and the tasks of each."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("answers", type=Path, help="folder of 'georefer evaluate', or of a protocol's answer files")
    parser.add_argument("--dataset", type=Path, help="where the dataset lies now, if it moved")
    parser.add_argument("--partial", action="store_true", help="score what is there although answers are missing")
    published = parser.add_argument_group("published scorers")
    published.add_argument("--protocol", choices=sorted(PROTOCOLS), help="reproduce this one, bug for bug")
    published.add_argument("--task", choices=sorted({t for tasks in PROTOCOLS.values() for t in tasks}))
    published.add_argument("--model", help="whose numbers these are (default: the name of the folder)")
    published.add_argument("--tree", type=Path, help="GroundSet's tree.json, for scores by group")
    published.add_argument("--exclude-noise", action="store_true", help="leave out rows marked as noise")


def run(options: argparse.Namespace) -> int:
    if options.protocol:
        return _published(options)
    from georefer.evaluation import BLIND, read_run, score_answers, summary_table, write_report
    from georefer.scenes import open_dataset

    dataset = open_dataset(options.dataset or read_run(options.answers)["dataset"])
    blind_folder = options.answers / BLIND
    scores = score_answers(options.answers, dataset, partial=options.partial)
    blind = score_answers(blind_folder, dataset, partial=options.partial) if blind_folder.is_dir() else None
    print(summary_table(scores, blind))
    print(f"wrote {write_report(options.answers, dataset)}")
    return 0


def _published(options: argparse.Namespace) -> int:
    from georefer.errors import InputError
    from georefer.evaluation.protocols.groundset import groups_of_tree, read_table, score_table

    if options.task is None:
        raise InputError(f"--protocol {options.protocol} needs --task: {', '.join(PROTOCOLS[options.protocol])}")
    try:
        tree = json.loads(options.tree.read_text(encoding="utf-8")) if options.tree else {}
    except (OSError, ValueError) as error:
        raise InputError(f"{options.tree} is no readable JSON ({error}); give GroundSet's tree.json") from error
    model = options.model or options.answers.resolve().name
    scores = score_table(
        read_table(options.answers, options.task), options.task, model, groups_of_tree(tree),
        exclude_noise=options.exclude_noise,
    )  # fmt: skip
    names = list(scores.groups["ALL"])
    print(f"{'group':<34}" + "".join(f"{name:>9}" for name in names))
    for group, values in scores.groups.items():
        print(f"{group:<34}" + "".join(f"{values[name]:>9.2f}" for name in names))
    if scores.differs:
        print(f"\nthe published scorer stops at {len(scores.differs)} rows, here counted: {list(scores.differs)[:10]}")
    return 0

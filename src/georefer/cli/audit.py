"""Find images that occur in more than one dataset, or in two splits of one: by pixels, looks, names and ground.

georefer audit data/train data/test                     two datasets that georefer built, or folders of images
georefer audit data/mine FIT=images/fit --json leaks.json --fail-on-leak
georefer audit data/mine --labels                       look at objects, questions and answers instead of images
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "datasets", nargs="+", metavar="DATASET",
        help="dataset folder, or folder of images (in which train, val and test are splits); NAME=PATH names it",
    )  # fmt: skip
    parser.add_argument("--split", action="append", help="look at this split only; may be repeated")
    parser.add_argument(
        "--by", action="append", choices=("content", "looks", "name", "footprint"),
        help="compare by this only; may be repeated (default: all four)",
    )  # fmt: skip
    parser.add_argument("--as-is", action="store_true", help="do not look for turned and mirrored pictures (8x faster)")
    parser.add_argument(
        "--labels", action="store_true",
        help="of georefer datasets: tiny, huge, misplaced and duplicate objects, contradictions, answers that do not "
        "score full or are too long, balance of classes",
    )  # fmt: skip
    parser.add_argument("--dialect", default="georefer", help="with --labels: how answers are written")
    parser.add_argument("--budget", type=int, default=1024, help="with --labels: tokens an answer may have")
    parser.add_argument("--json", type=Path, help="file to write everything to")
    parser.add_argument("--list", type=int, default=10, dest="listed", help="how many pairs to print (default 10)")
    parser.add_argument(
        "--fail-on-leak", action="store_true",
        help="exit with code 1 where an image is found twice (with --labels: where a label is wrong)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    if options.labels:
        return _labels(options)
    from georefer.evaluation.audit import REASONS, audit, audit_table
    from georefer.evaluation.image_sets import read_sets
    from georefer.runlog import say, write_json

    sets = []
    for name, path in _named(options.datasets):
        say(f"reading {path}")
        sets += read_sets(path, name, options.split)
    found = audit(sets, reasons=options.by or REASONS, turns=not options.as_is)
    print(audit_table(found, max(0, options.listed)))
    if options.json:
        write_json(options.json, found.to_json())
        print(f"wrote {options.json}")
    return 1 if options.fail_on_leak and found.leaks else 0


def _labels(options: argparse.Namespace) -> int:
    from georefer.errors import InputError
    from georefer.evaluation.label_audit import LabelSettings, audit_labels, label_table
    from georefer.runlog import say, write_json
    from georefer.scenes import open_dataset

    try:
        settings = LabelSettings(dialect=options.dialect, budget=options.budget)
    except ValueError as error:
        raise InputError(str(error)) from error
    found = {}
    for name, path in _named(options.datasets):
        say(f"reading {path}")
        found[name] = audit_labels(open_dataset(path), settings, options.split or ())
        print(label_table(found[name], max(0, options.listed)))
    if options.json:
        write_json(options.json, {name: one.to_json() for name, one in found.items()})
        print(f"wrote {options.json}")
    return 1 if options.fail_on_leak and any(one.errors for one in found.values()) else 0


def _named(datasets: list[str]) -> list[tuple[str, Path]]:
    """(name, path); two folders of one name are told apart by the folder they lie in."""
    from georefer.errors import InputError

    found: list[tuple[str, Path]] = []
    for text in datasets:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            resolved = Path(text).resolve()
            name, path = resolved.name, text
            if name in dict(found):
                name = f"{resolved.parent.name}/{name}"
        if Path(path).resolve() in {other.resolve() for _, other in found}:
            raise InputError(
                f"{path} is given twice where different datasets are compared; give its copy or leave it out"
            )
        if not name or name in dict(found):
            raise InputError(f"{text} gives no name of its own where datasets are told apart by names; write NAME=PATH")
        found.append((name, Path(path)))
    return found

"""Ask a language model to reword the expressions of a dataset; what changes a fact is refused and counted.

georefer reword data/mine data/mine-reworded --url http://localhost:8000/v1 --model some-model
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=Path, help="dataset folder")
    parser.add_argument("out", type=Path, help="dataset folder to make, with the added questions")
    parser.add_argument("--url", required=True, help='OpenAI-compatible endpoint, as "http://localhost:8000/v1"')
    parser.add_argument("--model", required=True, help="model to be asked, by the endpoint's name for it")
    parser.add_argument("--key-variable", default="", metavar="NAME", help="environment variable that holds the key")
    parser.add_argument("--per-phrase", type=int, default=2, metavar="N", help="rewordings of each phrase (default 2)")
    parser.add_argument("--batch", type=int, default=20, metavar="N", help="phrases in one request (default 20)")
    parser.add_argument("--budget", type=int, default=1000, metavar="N", help="requests at most (default 1000)")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--cache", type=Path, help="file that keeps every answer (default: beside OUT)")
    parser.add_argument("--split", action="append", default=[], help="split to reword; may be repeated (default train)")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset that is there")


def run(options: argparse.Namespace) -> int:
    from georefer.building.reword import reword
    from georefer.building.rewriter import RewriteSettings
    from georefer.errors import InputError
    from georefer.scenes import open_dataset

    cache = options.cache or options.out.with_name(f"{options.out.name}.rewordings.jsonl")
    try:
        settings = RewriteSettings(
            options.url, options.model, options.key_variable, options.per_phrase, options.batch, options.budget,
            temperature=options.temperature, cache=cache,
        )  # fmt: skip
    except ValueError as error:
        raise InputError(str(error)) from error
    splits = tuple(options.split) or ("train",)
    dataset = reword(open_dataset(options.dataset), options.out, settings, splits, overwrite=options.overwrite)
    done = dataset.manifest["reworded"]
    for key, count in {**done["counts"], **done["unanswered"]}.items():
        print(f"{count:>9,}  {key}")
    print(f"wrote {dataset.folder} (answers are kept in {cache})")
    return 0

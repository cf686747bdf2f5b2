"""Show a dataset: what it holds, what the rules dropped, and a page of scenes with their questions."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=Path, help="dataset folder")
    parser.add_argument("--out", type=Path, help="page to write (default: inspect.html beside the dataset)")
    parser.add_argument("--split", default="train", help="train (default) or test")
    parser.add_argument("--scenes", type=int, default=24, help="how many scenes to show (default 24)")


def run(options: argparse.Namespace) -> int:
    from georefer.evaluation.inspect import write_inspection
    from georefer.scenes import open_dataset

    dataset = open_dataset(options.dataset)
    for name, count in {**dataset.manifest.get("features", {}), **dataset.manifest.get("counts", {})}.items():
        print(f"{count:>9,}  {name}")
    out = options.out or options.dataset.with_name(options.dataset.name + "-inspect.html")
    print(f"wrote {write_inspection(dataset, options.split, options.scenes, out)}")
    return 0

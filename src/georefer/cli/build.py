"""Build a dataset of scenes and questions from imagery and vector layers, as a recipe says."""

from __future__ import annotations

import argparse
from pathlib import Path

from georefer.cli.options import add_recipe, settings_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    parser.add_argument("out", type=Path, help="dataset folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset that is there")


def run(options: argparse.Namespace) -> int:
    from georefer.building.build import BuildSettings, build

    dataset = build(settings_of(BuildSettings, options), options.out, overwrite=options.overwrite)
    for key, count in {**dataset.manifest["features"], **dataset.manifest["counts"]}.items():
        print(f"{count:>9,}  {key}")
    print(f"wrote {dataset.folder} (classes: {', '.join(dataset.manifest['labels'])})")
    return 0

"""Build a dataset of scenes and questions from imagery and vector layers, as a recipe says."""

from __future__ import annotations

import argparse
from pathlib import Path

from georefer.cli.options import add_recipe, settings_of
from georefer.engine import ENGINES, engine_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    parser.add_argument("out", type=Path, help="dataset folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset that is there")
    parser.add_argument(
        "--strict", action="store_true", help="refuse layers with anything wrong, rather than report it"
    )
    parser.add_argument("--engine", choices=ENGINES, default="serial", help="where the work is done; same bytes out")
    parser.add_argument("--workers", type=int, metavar="N", help="processes or Ray actors (default: one a core)")


def run(options: argparse.Namespace) -> int:
    from georefer.building.build import build
    from georefer.building.recipe import BuildSettings

    engine = engine_of(options.engine, options.workers)
    settings = settings_of(BuildSettings, options)
    dataset = build(settings, options.out, overwrite=options.overwrite, engine=engine, strict=options.strict)
    for key, count in {**dataset.manifest["features"], **dataset.manifest["counts"]}.items():
        print(f"{count:>9,}  {key}")
    print(f"wrote {dataset.folder} (classes: {', '.join(dataset.manifest['labels'])})")
    return 0

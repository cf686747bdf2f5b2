"""Sweep a whole raster: ask every window for every class, merge across seams, write a map layer."""

from __future__ import annotations

import argparse
from pathlib import Path

from georefer.cli.options import add_answering, add_model, add_recipe, answering_overrides, asked_model, settings_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("out", type=Path, help="folder for found.gpkg, found.geojson, overlay.png, sweep.json")
    add_recipe(parser, required=False)
    parser.add_argument("--imagery", type=Path, action="append", default=[], help="raster, folder or several of them")
    parser.add_argument("--label", action="append", default=[], help="class to look for; may be repeated")
    add_answering(parser)


def run(options: argparse.Namespace) -> int:
    import json

    from georefer.inference.sweep import SweepSettings, sweep_recipe

    extra = [*answering_overrides(options)]
    if options.imagery:
        extra.append(f"imagery={json.dumps([str(p.absolute()) for p in options.imagery])}")
    if options.label:
        extra.append(f"labels={json.dumps(options.label)}")
    settings = settings_of(SweepSettings, options, tuple(extra))
    result = sweep_recipe(asked_model(options.model, options.out), settings, options.out)
    print(result.summary())
    return 0

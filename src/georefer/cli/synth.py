"""Make a synthetic area: an orthophoto (OUT/image.tif) and the vector layers that are exactly true of it
(OUT/layers.gpkg). The same seed gives the same area."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--seed", type=int, default=0, help="which area (default 0)")
    parser.add_argument("--size", type=int, default=4096, help="side in pixels (default 4096)")
    parser.add_argument("--gsd", type=float, default=0.2, help="ground size of a pixel in metres (default 0.2)")


def run(options: argparse.Namespace) -> int:
    from georefer.building.synthetic import synthesize

    area = synthesize(options.out, seed=options.seed, size=options.size, gsd_m=options.gsd)
    print(f"{area.image}: {area.size} x {area.size} px at {area.gsd_m:g} m")
    print(f"{area.layers}: " + ", ".join(f"{count} {name}" for name, count in area.counts.items() if count))
    return 0

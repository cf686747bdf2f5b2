"""A synthetic area on disk: image, layers and manifest, complete or not there at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from georefer.building.synthetic.layers import grid_of, layers_of
from georefer.building.synthetic.layout import compose
from georefer.building.synthetic.paint import Painter
from georefer.errors import InputError
from georefer.imagery.write import write_layers, write_raster

VERSION = 1  # raise it when the same seed gives another area
IMAGE, LAYERS, MANIFEST = "image.tif", "layers.gpkg", "manifest.json"
LEAST_PX, MOST_PX = 128, 40_000
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SyntheticArea:
    """A finished area; `counts` is the number of features per layer."""

    folder: Path
    seed: int
    size: int
    gsd_m: float
    counts: dict[str, int]

    @property
    def image(self) -> Path:
        return self.folder / IMAGE

    @property
    def layers(self) -> Path:
        return self.folder / LAYERS


def synthesize(
    out: Path, *, seed: int = 0, size: int = 4096, gsd_m: float = 0.2, progress: Progress | None = None
) -> SyntheticArea:
    """Make an area of `size` by `size` pixels, because tests and demos need imagery whose truth is exact.

    Writes OUT/image.tif (8-bit RGB GeoTIFF), OUT/layers.gpkg (one layer per kind) and OUT/manifest.json. The
    same seed, size and ground sampling distance (metres) give the same area. Everything is written beside and
    renamed at the end, so OUT is either complete or absent; a complete one with these parameters is returned
    as it is. `progress` is called with (tiles done, tiles in all). Raises InputError where OUT holds anything
    else.
    """
    out = Path(out)
    _check(size, gsd_m)
    found = _finished(out, seed, size, gsd_m)
    if found is not None:
        return found
    beside = out.with_name(f".partial-{out.name}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        counts = _write(beside, seed, size, gsd_m, progress)
        if out.exists():
            out.rmdir()
        beside.replace(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return SyntheticArea(out, seed, size, gsd_m, counts)


def _check(size: int, gsd_m: float) -> None:
    if not LEAST_PX <= size <= MOST_PX:
        raise InputError(f"size is {size} pixels, expected {LEAST_PX} to {MOST_PX}; choose another size")
    if not 0.05 <= gsd_m <= 2.0:
        raise InputError(f"gsd is {gsd_m} m, expected 0.05 to 2 m per pixel; choose another gsd")


def _finished(out: Path, seed: int, size: int, gsd_m: float) -> SyntheticArea | None:
    """The area already at OUT, None where there is nothing; InputError where there is something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        manifest = json.loads((out / MANIFEST).read_text())
        same = [manifest[k] for k in ("version", "seed", "size", "gsd_m")] == [VERSION, seed, size, gsd_m]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{out} holds something that is not a synthetic area; expected an empty or new folder, choose another"
        ) from None
    if not same:
        raise InputError(
            f"{out} holds an area of seed {manifest['seed']}, {manifest['size']} px, {manifest['gsd_m']} m (version "
            f"{manifest['version']}), expected seed {seed}, {size} px, {gsd_m} m (version {VERSION}); choose another "
            "folder or remove this one"
        )
    return SyntheticArea(out, seed, size, gsd_m, manifest["counts"])


def _write(folder: Path, seed: int, size: int, gsd_m: float, progress: Progress | None) -> dict[str, int]:
    layout = compose(seed, size * gsd_m)
    grid = grid_of(seed, size, gsd_m)
    painter = Painter(layout, gsd_m)
    write_raster(folder / IMAGE, grid, 3, "uint8", _counted(painter, progress))
    write_layers(folder / LAYERS, layers_of(layout, grid))
    counts = {layer: len(found) for layer, found in layout.features.items()}
    manifest = {
        "version": VERSION,
        "seed": seed,
        "size": size,
        "gsd_m": gsd_m,
        "counts": counts,
        "image": IMAGE,
        "layers": LAYERS,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return counts


def _counted(painter: Painter, progress: Progress | None) -> Iterator[tuple[int, int, np.ndarray]]:
    for done, block in enumerate(painter.tiles(), start=1):
        yield block
        if progress is not None:
            progress(done, painter.tile_count)

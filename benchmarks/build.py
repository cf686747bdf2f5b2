"""Building a dataset: against a clip per chip, against encoding images alone, and how both grow.

Prints three things in one run: how much faster the objects of chips are found and clipped than by `geopandas.clip`
chip after chip, on 100,000 polygons; how long whole builds take beside encoding their images alone; and from builds
of growing size, each in a process of its own, the slopes of time and memory, and what they come to for 510,000 chips
with 3.8 million objects.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import shapely
from affine import Affine
from pyproj import CRS

from georefer.building.build import AskSettings, BuildSettings, _chips, build
from georefer.building.chips import SplitSettings, Windows
from georefer.building.features import LayerSettings, read_features
from georefer.building.targets import TargetSettings, chip_objects
from georefer.engine import Processes
from georefer.geometry import GeoGrid, Window
from georefer.imagery.encode import encode_image
from georefer.imagery.write import write_layers, write_raster

OBJECTS_PER_CHIP = 3_800_000 / 510_000
GOAL_CHIPS = 510_000
LARGE, SMALL = 672, 64
"""Sides of chips, pixels: that of the GroundSet dataset for time; a small one for memory, as there can be many."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        compare_clipping(Path(folder) / "clip", 100_000)
        for chip_px, sides in ((LARGE, (14, 16, 18)), (SMALL, (30, 60, 90))):
            compare_sizes(Path(folder), chip_px, sides)
        compare_workers(Path(folder) / f"{SMALL}-60")


# --- clipping --------------------------------------------------------------------------------------------


def compare_clipping(folder: Path, count: int, chips: int = 400) -> None:
    """Both find the objects of the same chips in a table that is in memory and indexed."""
    grid = make_layer(folder, SMALL, round((count / OBJECTS_PER_CHIP) ** 0.5), count)
    settings = (LayerSettings(folder / "layers.gpkg", "houses", label="house", attributes=("roof",)),)
    features = read_features(settings, grid)
    table = pyogrio.read_dataframe(folder / "layers.gpkg", layer="houses")
    side = grid.width // SMALL
    windows = Windows.of(Window(i % side * SMALL, i // side * SMALL, SMALL, SMALL) for i in range(chips))
    boxes = [grid.crop(window).footprint for window in windows]
    table.sindex.query(boxes[0])
    times = {"loop": [], "ours": []}
    for start in range(0, chips, 50):  # in turn, so that a busy machine slows both
        started = time.perf_counter()
        plain = sum(len(geopandas.clip(table, box)) for box in boxes[start : start + 10])
        between = time.perf_counter()
        part = _chips("train", windows[start : start + 50], features)
        found = [chip_objects(part.features, window, (SMALL, SMALL), TargetSettings(0, 0)) for window in part.windows]
        times["ours"].append((time.perf_counter() - between) / 50)
        times["loop"].append((between - started) / 10)
        assert plain == sum(len(f.targets) for f in found[:10]), "both must find the same objects"
    loop, ours = (float(np.median(times[name])) * 1000 for name in ("loop", "ours"))
    print(f"{count:,} polygons: {loop / ours:.1f}x geopandas.clip per chip ({loop:.2f} ms -> {ours:.2f} ms a chip)")
    command = [sys.executable, __file__, "--read", str(folder), str(grid.width)]
    held_kb = float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout) * 1024 / count
    # the one thing that is not bounded: the first process reads all features at once
    print(
        f"reading features: {held_kb:.1f} KB a feature at its peak, {held_kb * 3.8 / 1.024**2:.1f} GB for 3.8 million"
    )


def read_one(folder: Path, side_px: int) -> None:
    """Peak of reading in this process, which is fresh, megabytes above what its imports take."""
    grid = GeoGrid(CRS("EPSG:2154"), Affine(0.2, 0, 650_000, 0, -0.2, 6_860_000), side_px, side_px)
    before_mb = peak_mb()
    read_features((LayerSettings(folder / "layers.gpkg", "houses", label="house", attributes=("roof",)),), grid)
    print(peak_mb() - before_mb)


# --- whole builds ----------------------------------------------------------------------------------------


def compare_sizes(folder: Path, chip_px: int, sides: tuple[int, ...]) -> None:
    print(f"\nchips of {chip_px} pixels, {OBJECTS_PER_CHIP:.2f} objects a chip, one process")
    rows = []
    for side in sides:
        area = folder / f"{chip_px}-{side}"
        make_area(area, chip_px, side)
        command = [sys.executable, __file__, "--one", str(area), str(chip_px)]
        # GDAL keeps blocks up to a share of the machine's memory, which would look like growth until it is full
        env = {**os.environ, "GDAL_CACHEMAX": "64"}
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, env=env)
        row = json.loads(done.stdout)
        rows.append(row)
        print(
            f"  {row['chips']:>6} chips {row['objects']:>7} objects: {row['seconds']:6.1f} s, "
            f"{row['seconds'] / row['encoding']:.2f}x encoding alone, {row['rss_mb']:.0f} MB"
        )
    chips_S = np.array([row["chips"] for row in rows], dtype=float)
    for name, unit, scale in (("seconds", "h", 3600), ("rss_mb", "GB", 1024)):
        values_S = np.array([row[name] for row in rows])
        slope, start = np.polyfit(chips_S, values_S, 1)
        off = np.abs(values_S - (slope * chips_S + start)).max() / values_S.max()
        total = (start + slope * GOAL_CHIPS) / scale
        print(
            f"  {name}: {start:.1f} + {slope:.4g} a chip, at most {off:.1%} off that line; "
            f"{total:.1f} {unit} for {GOAL_CHIPS:,} chips"
        )


def build_one(area: Path, chip_px: int) -> None:
    """One build in this process, which is fresh, so that its memory is the build's."""
    started = time.perf_counter()
    dataset = build(recipe(area, chip_px), area / "dataset", overwrite=True)
    seconds = time.perf_counter() - started
    rss_mb = peak_mb()
    chips, encoding = 0, 0.0
    for split in ("train", "test"):
        for scene in dataset.scenes(split):
            pixels = scene.pixels()
            started = time.perf_counter()
            encode_image(pixels)
            encoding += time.perf_counter() - started
            chips += 1
    objects = sum(n for key, n in dataset.manifest["counts"].items() if key.endswith(": objects"))
    print(json.dumps({"chips": chips, "objects": objects, "seconds": seconds, "encoding": encoding, "rss_mb": rss_mb}))


def peak_mb() -> float:
    """Of this program alone: getrusage would also count what its parent held when it started it."""
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def compare_workers(area: Path) -> None:
    for workers in (1, 2):
        started = time.perf_counter()
        build(recipe(area, SMALL), area / "dataset", overwrite=True, engine=Processes(workers))
        print(f"over {workers} processes: {time.perf_counter() - started:.1f} s, their start included")


def recipe(area: Path, chip_px: int) -> BuildSettings:
    return BuildSettings(
        imagery=(area / "image.tif",),
        layers=(LayerSettings(area / "layers.gpkg", "houses", label="house", attributes=("roof",)),),
        chip_px=chip_px, stride=1.0, split=SplitSettings(chip_px * 0.2 * 4, 0.1, 0), ask=AskSettings(absent=1),
    )  # fmt: skip


# --- made-up areas ---------------------------------------------------------------------------------------


def make_layer(folder: Path, chip_px: int, side: int, count: int) -> GeoGrid:
    """`layers.gpkg` with `count` outlines of eight corners over `side` x `side` chips of pixels of 0.2 m."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    grid = GeoGrid(CRS("EPSG:2154"), Affine(0.2, 0, 650_000, 0, -0.2, 6_860_000), side * chip_px, side * chip_px)
    centre_N12 = rng.uniform(0, grid.width, (count, 1, 2))
    angle_N8 = np.sort(rng.uniform(0, 2 * np.pi, (count, 8)), axis=1)
    radius_N11 = rng.uniform(0.04, 0.15, (count, 1, 1)) * chip_px
    shapes_N = shapely.polygons(centre_N12 + radius_N11 * np.stack([np.cos(angle_N8), np.sin(angle_N8)], axis=-1))
    roofs = rng.choice(["red", "grey", "blue"], count)
    houses = geopandas.GeoDataFrame({"roof": roofs}, geometry=grid.geometry_to_world(shapes_N), crs=grid.crs)
    write_layers(folder / "layers.gpkg", {"houses": houses})
    return grid


def make_area(folder: Path, chip_px: int, side: int) -> None:
    """A layer and an image with detail at every scale, as photographs have."""
    grid = make_layer(folder, chip_px, side, round(side * side * OBJECTS_PER_CHIP))
    rng = np.random.default_rng(1)
    texture_HW3 = np.full((512, 512, 3), 110.0)
    for step in (1, 2, 4, 8, 16, 32, 64):
        coarse = rng.normal(0, 3 + step**0.7, (512 // step, 512 // step, 3))
        texture_HW3 += np.repeat(np.repeat(coarse, step, axis=0), step, axis=1)
    texture_HW3 = texture_HW3.clip(0, 255).astype(np.uint8)
    blocks = (
        (y, x, np.roll(texture_HW3, (x + y) // 7, axis=1)[: grid.height - y, : grid.width - x])
        for y in range(0, grid.height, 512)
        for x in range(0, grid.width, 512)
    )
    write_raster(folder / "image.tif", grid, 3, "uint8", blocks, compress="zstd", overviews=False)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        build_one(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["--read"]:
        read_one(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()

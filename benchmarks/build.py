"""Building a dataset: against a clip per chip, against encoding images alone, and how both grow.

Prints three things in one run: how much faster the objects of chips are found and clipped than by `geopandas.clip`
chip after chip, on 100,000 polygons; how long whole builds take beside encoding their images alone; and from builds
of growing size, each in a process of its own, the slopes of time and memory, and what they come to for 510,000 chips
with 3.8 million objects. Time is the processor's, which a busy machine changes less than the clock's.
"""

from __future__ import annotations

import json
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

from georefer.building.build import build
from georefer.building.chips import PlaceSettings, SplitSettings, Windows
from georefer.building.features import read_features
from georefer.building.layers import LayerSettings
from georefer.building.recipe import AskSettings, BuildSettings
from georefer.building.relations import RelationIndex
from georefer.building.targets import TargetSettings, chip_objects
from georefer.building.work import chips_of
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
        compare_reading(Path(folder), (100_000, 200_000, 400_000))
        for chip_px, sides in ((LARGE, (8, 12, 16)), (SMALL, (80, 100, 120))):
            compare_sizes(Path(folder), chip_px, sides)
        compare_workers(Path(folder) / "workers")


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
        started = time.process_time()
        plain = sum(len(geopandas.clip(table, box)) for box in boxes[start : start + 10])
        between = time.process_time()
        part = chips_of("train", 0, windows[start : start + 50], features, RelationIndex(()))
        found = [
            chip_objects(part.features, window, (SMALL, SMALL), TargetSettings(min_px=0, min_visible=0))
            for window in part.windows
        ]
        times["ours"].append((time.process_time() - between) / 50)
        times["loop"].append((between - started) / 10)
        assert plain == sum(len(f.targets) for f in found[:10]), "both must find the same objects"
    loop, ours = (float(np.median(times[name])) * 1000 for name in ("loop", "ours"))
    print(f"{count:,} polygons: {loop / ours:.1f}x geopandas.clip per chip ({loop:.2f} ms -> {ours:.2f} ms a chip)")


def compare_reading(folder: Path, counts: tuple[int, ...]) -> None:
    """Layers of growing size, each read in a process of its own."""
    print("\nreading a layer into features")
    rows = []
    for count in counts:
        grid = make_layer(folder / f"read-{count}", SMALL, round((count / OBJECTS_PER_CHIP) ** 0.5), count)
        command = [sys.executable, __file__, "--read", str(folder / f"read-{count}"), str(grid.width)]
        row = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        rows.append(row)
        print(f"  {count:>7} features: {row['seconds']:5.1f} s, {row['held_mb']:.0f} MB at its peak")
    (seconds, _), (held_mb, start_mb) = (np.polyfit(counts, [r[n] for r in rows], 1) for n in ("seconds", "held_mb"))
    print(f"  slope: {seconds * 1e6:.0f} us and {held_mb * 1024:.3f} KB a feature", end="")
    print(f" -> {seconds * 3.8e6:.0f} s and {max(start_mb + held_mb * 3.8e6, 0) / 1024:.2f} GB for 3.8 million")


def read_one(folder: Path, side_px: int) -> None:
    """Time and peak of reading in this process, which is fresh; megabytes above what its imports take."""
    grid = GeoGrid(CRS("EPSG:2154"), Affine(0.2, 0, 650_000, 0, -0.2, 6_860_000), side_px, side_px)
    before_mb, started = peak_mb(), time.process_time()
    read_features((LayerSettings(folder / "layers.gpkg", "houses", label="house", attributes=("roof",)),), grid)
    print(json.dumps({"held_mb": peak_mb() - before_mb, "seconds": time.process_time() - started}))


# --- whole builds ----------------------------------------------------------------------------------------


def compare_sizes(folder: Path, chip_px: int, sides: tuple[int, ...]) -> None:
    print(f"\nchips of {chip_px} pixels, {OBJECTS_PER_CHIP:.2f} objects a chip, one process")
    rows = []
    for side in sides:
        area = folder / f"{chip_px}-{side}"
        make_area(area, chip_px, side)
        command = [sys.executable, __file__, "--one", str(area), str(chip_px)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        row = json.loads(done.stdout)
        rows.append(row)
        print(
            f"  {row['chips']:>6} chips {row['objects']:>7} objects: {row['seconds']:6.1f} s, "
            f"{row['seconds'] / row['encoding']:.2f}x encoding alone, {row['rss_mb']:.0f} MB"
        )
    chips_S = np.array([row["chips"] for row in rows], dtype=float)
    # few large chips do not fill what is bounded: GDAL's blocks, a group of rows of a file
    fits = (("seconds", "h", 3600), ("rss_mb", "GB", 1024))[: 1 if chip_px == LARGE else 2]
    for name, unit, scale in fits:
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
    started = time.process_time()
    dataset = build(recipe(area, chip_px), area / "dataset", overwrite=True)
    seconds = time.process_time() - started
    rss_mb = peak_mb()
    chips, encoding = 0, 0.0
    for split in ("train", "test"):
        for scene in dataset.scenes(split):
            pixels = scene.pixels()
            started = time.process_time()
            encode_image(pixels)
            encoding += time.process_time() - started
            chips += 1
    objects = sum(n for key, n in dataset.manifest["counts"].items() if key.endswith(": objects"))
    print(json.dumps({"chips": chips, "objects": objects, "seconds": seconds, "encoding": encoding, "rss_mb": rss_mb}))


def peak_mb() -> float:
    """Of this program alone: getrusage would also count what its parent held when it started it."""
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def compare_workers(area: Path) -> None:
    make_area(area, SMALL, 40)
    print()
    for workers in (1, 2):
        started = time.perf_counter()
        build(recipe(area, SMALL), area / "dataset", overwrite=True, engine=Processes(workers))
        print(f"over {workers} processes: {time.perf_counter() - started:.1f} s, their start included")


def recipe(area: Path, chip_px: int) -> BuildSettings:
    return BuildSettings(
        imagery=(area / "image.tif",),
        layers=(LayerSettings(area / "layers.gpkg", "houses", label="house", attributes=("roof",)),),
        chip_px=chip_px, place=PlaceSettings(stride=1.0), ask=AskSettings(absent=1),
        split=SplitSettings(block_m=chip_px * 0.2 * 4, test=0.1, buffer_m=0),
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

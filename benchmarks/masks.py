"""Masks against the obvious ways: grid text per cell, pycocotools, and one shapely intersection per cell.

Both ways of each line are timed in turn in one process; ratios above 1 mean that ours is faster. The grids
are turned rectangles, ellipses and L-shapes that fill their boxes, every one different.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import shapely
import shapely.affinity

from georefer.dialects.runs import CompactRuns, GeoGroundRuns, to_tokens
from georefer.geometry.mask import Mask, mask_iou
from georefer.geometry.raster_grid import coverage, coverages, grid_to_geometry, pooled

MASKS, REPEATS = 2_000, 5


def main() -> None:
    rng = np.random.default_rng(0)
    print("R-RLE is a grid over the whole image, as GeoGround writes it; the second line of each: shapes that fill it")
    for side in (16, 24, 32):
        for make in (image_grids, grids):
            grid_text(rng, side, make)
    token_counts(rng)
    against_pycocotools(rng)
    against_shapely(rng)


def shapes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Turned rectangles, ellipses and L-shapes of random proportions, in turn."""
    made = []
    for i in range(count):
        wide, high = rng.uniform(10, 60), rng.uniform(10, 60)
        if i % 3 == 0:
            shape = shapely.box(0, 0, wide, high)
        elif i % 3 == 1:
            shape = shapely.affinity.scale(shapely.Point(0, 0).buffer(1), wide, high)
        else:
            corner = shapely.box(0, 0, wide * rng.uniform(0.3, 0.7), high * rng.uniform(0.3, 0.7))
            shape = shapely.box(0, 0, wide, high).difference(corner)
        made.append(shapely.affinity.rotate(shape, rng.uniform(0, 180)))
    return np.array(made, dtype=object)


def grids(rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    made_N = shapes(rng, count)
    return pooled(coverages(made_N, shapely.bounds(made_N), side, side))


def image_grids(rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    """Objects of 10 to 60 % of an image at any place in it, any covered cell set."""
    made_N = shapes(rng, count)
    reach_N = np.ptp(shapely.bounds(made_N).reshape(-1, 2, 2), axis=1).max(axis=1)
    width_N = reach_N / rng.uniform(0.1, 0.6, count)
    corner_N2 = shapely.bounds(made_N)[:, :2] - rng.uniform(0, 1, (count, 2)) * (width_N - reach_N)[:, None]
    return pooled(coverages(made_N, np.hstack((corner_N2, corner_N2 + width_N[:, None])), side, side), "any")


# --- text ------------------------------------------------------------------------------------------------


def write_by_cell(grid_RC: np.ndarray) -> str:
    rows, columns = grid_RC.shape
    texts = []
    for r in range(rows):
        runs, value, count = [], int(grid_RC[r, 0]), 0
        for c in range(columns):
            if int(grid_RC[r, c]) == value:
                count += 1
            else:
                runs.append(f"{value} *{count}")
                value, count = int(grid_RC[r, c]), 1
        runs.append(f"{value} *{count}")
        texts.append(", ".join(runs))
    return "; ".join(texts) + ";"


def read_by_cell(text: str) -> np.ndarray:
    rows = []
    for row in text.rstrip(";").split("; "):
        cells = []
        for run in row.split(", "):
            value, count = run.split(" *")
            for _ in range(int(count)):
                cells.append(int(value))
        rows.append(cells)
    return np.array(rows, dtype=np.uint8)


def grid_text(rng: np.random.Generator, side: int, make: Callable[..., np.ndarray]) -> None:
    names = ("loop", "batch, new codec", "batch, new masks", "batch, seen masks", "one by one, new masks")
    rounds = [grid_text_round(make(rng, MASKS, side), make(rng, MASKS, side), (side, side)) for _ in range(REPEATS)]
    times = {name: [one[name] for one in rounds] for name in rounds[0]}
    loop = statistics.median(times["loop"])
    where = "over the image" if make is image_grids else "filled"
    print(f"R-RLE {side} x {side} {where}, write and read, loop over cells {loop / MASKS * 1e6:.0f} us a mask")
    print(f"  {'(the loop over plain lists)':<28} {loop / statistics.median(times['lists']):6.1f}x")
    for name in names[1:]:
        ours = statistics.median(times[name])
        print(f"  {name:<28} {loop / ours:6.1f}x   {ours / MASKS * 1e6:6.2f} us a mask")


def grid_text_round(grids_NRC: np.ndarray, other_NRC: np.ndarray, size: tuple[int, int]) -> dict[str, float]:
    """Seconds of each way for the same grids; `other_NRC` warms the codec that has never seen them."""
    texts = GeoGroundRuns().write_many(grids_NRC)
    assert texts[:50] == [write_by_cell(grid) for grid in grids_NRC[:50]]
    part_NRC = grids_NRC[: MASKS // 4]  # the loop is slow; a quarter is enough to time it
    lists = [Listed(grid.tolist()) for grid in part_NRC.astype(np.uint8)]

    def batch(codec: GeoGroundRuns):
        return codec.read_many(codec.write_many(grids_NRC), size)

    def warmed() -> GeoGroundRuns:
        codec = GeoGroundRuns()
        codec.read_many(codec.write_many(other_NRC), size)
        return codec

    fresh, warm, single = GeoGroundRuns(), warmed(), warmed()
    times = {
        "loop": 4 * seconds(lambda: [read_by_cell(write_by_cell(grid)) for grid in part_NRC]),
        "lists": 4 * seconds(lambda: [read_by_cell(write_by_cell(grid)) for grid in lists]),
        "batch, new codec": seconds(lambda: batch(fresh)),
        "batch, seen masks": seconds(lambda: batch(fresh)),
        "batch, new masks": seconds(lambda: batch(warm)),
        "one by one, new masks": seconds(lambda: [single.read(single.write(grid), size) for grid in grids_NRC]),
    }
    assert all((a == b).all() for a, b in zip(batch(warm)[0], grids_NRC, strict=True))
    return times


class Listed:
    """A list of rows that is indexed like an array: what a careful author of the loop would use."""

    def __init__(self, rows: list[list[int]]):
        self.rows, self.shape = rows, (len(rows), len(rows[0]))

    def __getitem__(self, place: tuple[int, int]) -> int:
        return self.rows[place[0]][place[1]]


def token_counts(rng: np.random.Generator) -> None:
    for where, make in (("over the image", image_grids), ("in the object's box", grids)):
        tokens_of(make(rng, 500, 16), where)


def tokens_of(made_NRC: np.ndarray, where: str) -> None:
    geoground = GeoGroundRuns().write_many(made_NRC)
    compact = [CompactRuns().write(grid) for grid in made_NRC]
    runs = sum(1 + (row[1:] != row[:-1]).sum() for grid in made_NRC for row in grid) / len(made_NRC)
    led = sum(row[0] for grid in made_NRC for row in grid) / len(made_NRC)
    print(f"16 x 16 {where}, averages of 500 masks")
    marked = np.mean([4 * (text.count(",") + text.count(";")) for text in geoground])
    print(f"  GeoGround's value, star, count, separator as a token each {marked:.1f}")
    print(f"  characters: GeoGround {np.mean([*map(len, geoground)]):.0f}, compact {np.mean([*map(len, compact)]):.0f}")
    print(f"  compact, each number and each sign as one token {np.mean([*map(signs, compact)]):.1f}")
    print(f"  one token a run: with a separator a row {runs + 16:.1f}, without {runs + led:.1f}", end="")
    print(f", with 'row as above' {np.mean([len(to_tokens(grid)) for grid in made_NRC]):.1f}")


def signs(text: str) -> int:
    """Tokens where each number, '=', '.' and '/' is one (spaces belong to the number behind them)."""
    return len(text.replace("/", " / ").replace("=", " = ").split())


# --- against libraries -----------------------------------------------------------------------------------


def against_pycocotools(rng: np.random.Generator) -> None:
    try:
        from pycocotools import mask as coco
    except ImportError:
        print("pycocotools is not installed; its lines are left out")
        return
    made_N = shapes(rng, 200)
    for side in (128, 1024):
        rle_lines(coco, made_N, side)


def rle_lines(coco, made_N: np.ndarray, side: int) -> None:
    moved = [shapely.affinity.translate(g, *(-np.array(g.bounds[:2]))) for g in made_N]
    masks = [
        Mask.of_geometry(shapely.affinity.scale(g, side / 128, side / 128, origin=(0, 0)), (side, side)) for g in moved
    ]
    dense = [mask.dense().astype(np.uint8, order="F") for mask in masks]
    rles = [coco.encode(d) for d in dense]
    rows = {
        "encode": (lambda: [coco.encode(d) for d in dense], lambda: [Mask.from_dense(d).to_coco() for d in dense]),
        "decode": (lambda: [coco.decode(r) for r in rles], lambda: [Mask.from_coco(r).dense() for r in rles]),
        "IoU 200 x 200": (lambda: coco.iou(rles, rles, [0] * 200), lambda: mask_iou(masks, masks)),
    }
    for name, (theirs, ours) in rows.items():
        ratio, us = compared(theirs, ours)
        print(f"{side} px {name:<14} against pycocotools {ratio:5.2f}x   {us / 200:8.2f} us a mask")


def against_shapely(rng: np.random.Generator) -> None:
    made_N = shapes(rng, 200)
    for side in (16, 32):
        coverage_lines(made_N, side)


def coverage_lines(made_N: np.ndarray, side: int) -> None:
    boxes_N4 = shapely.bounds(made_N)
    few = list(zip(boxes_N4[:20], made_N[:20], strict=True))

    def per_cell(box_4, shape):
        x, y = np.linspace(box_4[0], box_4[2], side + 1), np.linspace(box_4[1], box_4[3], side + 1)
        cells = shapely.box(x[None, :-1], y[:-1, None], x[None, 1:], y[1:, None])
        return shapely.area(shapely.intersection(cells, shape)) / shapely.area(cells)

    assert all(np.abs(per_cell(b, g) - coverage(g, b, side, side)).max() < 1e-12 for b, g in few)
    ratio, us = compared(lambda: [per_cell(b, g) for b, g in few], lambda: [coverage(g, b, side, side) for b, g in few])
    batch = seconds(lambda: coverages(made_N, boxes_N4, side, side)) / 200 * 1e6
    print(f"coverage {side} x {side} against shapely per cell {ratio:5.1f}x   {us / 20:.0f} us, batch {batch:.0f} us")
    set_NRC = pooled(coverages(made_N, boxes_N4, side, side))[:20]
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    cells = shapely.box(x, y, x + 1, y + 1)
    ratio, us = compared(
        lambda: [shapely.union_all(cells[grid]) for grid in set_NRC],
        lambda: [grid_to_geometry(grid, (0, 0, side, side)) for grid in set_NRC],
    )
    print(f"outline  {side} x {side} against shapely's union    {ratio:5.1f}x   {us / 20:.0f} us")


def compared(theirs: Callable, ours: Callable) -> tuple[float, float]:
    """How many times faster ours is, and microseconds of ours: medians, both ways in turn."""
    pairs = [(seconds(theirs), seconds(ours)) for _ in range(REPEATS)]
    one, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    return one / other, other * 1e6


def seconds(work: Callable) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

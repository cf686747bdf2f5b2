"""Chips: where scenes are cut from an area, and which of them may be trained on.

The area is divided into square blocks on the ground; some blocks are held out. A chip is a test chip when it
lies wholly inside one held-out block, a training chip when it keeps a distance from every held-out block, and
unused otherwise. So no ground pixel is in both splits, whatever the stride of the chips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from georefer.errors import ConfigError
from georefer.geometry import GeoGrid, Window
from georefer.geometry.window import starts


@dataclass(frozen=True)
class SplitSettings:
    """Held-out blocks of an area."""

    block_m: float = 256.0
    """Side of a block on the ground, metres (pixels where the imagery has no georeference)."""
    test: float = 0.25
    """Share of blocks held out; at least one is, and at least one is not."""
    buffer_m: float = 8.0
    """Ground between any training chip and any held-out block, metres."""


@dataclass(frozen=True)
class ChipPlan:
    """Windows of the source raster for each split, and how many candidates were left out between them."""

    train: tuple[Window, ...]
    test: tuple[Window, ...]
    unused: int
    test_blocks: tuple[Window, ...]


def chip_window_px(grid: GeoGrid, chip_px: int, gsd_m: float | None) -> tuple[int, int]:
    """(width, height) in source pixels of a chip of `chip_px` pixels of `gsd_m` metres.

    Both axes are measured on the ground, so pixels that are not square there still give square chips.
    """
    if gsd_m is None or not grid.is_georeferenced:
        return chip_px, chip_px
    size_x, size_y = grid.pixel_size_m
    return max(1, round(chip_px * gsd_m / size_x)), max(1, round(chip_px * gsd_m / size_y))


def plan_chips(grid: GeoGrid, chip: tuple[int, int], split: SplitSettings, stride: float, seed: int) -> ChipPlan:
    """Chips of `chip` = (width, height) source pixels.

    Training chips start every `stride` chip sides; test chips tile their block without overlap, so that no
    test object is counted twice more than its position demands.
    """
    block, buffer = _metres_to_px(grid, split.block_m), _metres_to_px(grid, split.buffer_m)
    if block[0] < chip[0] or block[1] < chip[1]:
        raise ConfigError(
            f"blocks of {split.block_m:g} m are smaller than the chips of {chip[0]}x{chip[1]} source pixels; "
            "raise split.block_m or lower chip_px or gsd_m"
        )
    blocks = _blocks(grid, block)
    held_out = _choose_blocks(blocks, split.test, seed)
    test = [w for b in held_out for w in _tile_inside(b, chip)]
    candidates = _grid_windows(grid, chip, stride)
    train = [w for w in candidates if not any(_near(w, b, buffer) for b in held_out)]
    return ChipPlan(tuple(train), tuple(test), len(candidates) - len(train), tuple(held_out))


def windows_overlap(a: Sequence[Window], b: Sequence[Window]) -> bool:
    """Whether any pixel lies in a window of both lists."""
    return any(_near(x, y, (0, 0)) for x in a for y in b)


def _metres_to_px(grid: GeoGrid, length_m: float) -> tuple[int, int]:
    if not grid.is_georeferenced:
        return round(length_m), round(length_m)
    size_x, size_y = grid.pixel_size_m
    return round(length_m / size_x), round(length_m / size_y)


def _blocks(grid: GeoGrid, block: tuple[int, int]) -> list[Window]:
    """Blocks of about equal size that cover the raster; none is smaller than asked unless the raster is."""
    edges_x = _edges(grid.width, block[0])
    edges_y = _edges(grid.height, block[1])
    return [Window(x1, y1, x2 - x1, y2 - y1) for y1, y2 in pairwise(edges_y) for x1, x2 in pairwise(edges_x)]


def _edges(length: int, block: int) -> list[int]:
    count = max(1, length // block)
    return [round(i * length / count) for i in range(count + 1)]


def _choose_blocks(blocks: list[Window], share: float, seed: int) -> list[Window]:
    if not 0 < share < 1:
        raise ConfigError(f"split.test is {share}; expected a share between 0 and 1, such as 0.25")
    if len(blocks) < 2:
        raise ConfigError("the area holds a single block, so nothing can be held out; lower split.block_m")
    count = min(max(1, round(share * len(blocks))), len(blocks) - 1)
    chosen = np.random.default_rng(seed).choice(len(blocks), count, replace=False)
    return [blocks[i] for i in sorted(chosen)]


def _tile_inside(block: Window, chip: tuple[int, int]) -> list[Window]:
    columns, rows = block.width // chip[0], block.height // chip[1]
    return [Window(block.x + i * chip[0], block.y + j * chip[1], *chip) for j in range(rows) for i in range(columns)]


def _grid_windows(grid: GeoGrid, chip: tuple[int, int], stride: float) -> list[Window]:
    if grid.width < chip[0] or grid.height < chip[1]:
        raise ConfigError(
            f"the imagery of {grid.width}x{grid.height} pixels is smaller than one chip of {chip[0]}x{chip[1]}; "
            "lower chip_px or gsd_m"
        )
    overlap = [min(side - 1, max(0, side - round(side * stride))) for side in chip]
    xs, ys = starts(grid.width, chip[0], overlap[0]), starts(grid.height, chip[1], overlap[1])
    return [Window(x, y, *chip) for y in ys for x in xs]


def _near(a: Window, b: Window, distance: tuple[int, int]) -> bool:
    ax1, ay1, ax2, ay2 = a.box
    bx1, by1, bx2, by2 = b.box
    dx, dy = distance
    return ax1 < bx2 + dx and bx1 < ax2 + dx and ay1 < by2 + dy and by1 < ay2 + dy

"""Chips: where scenes are cut from an area, and which of them may be trained on.

The area is divided into square blocks on the ground; some blocks are held out. A chip is a test chip when it
lies wholly inside one held-out block, a training chip when it keeps a distance from every held-out block, and
unused otherwise. So no ground pixel is in both splits, whatever the stride of the chips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from georefer.errors import ConfigError
from georefer.geometry import GeoGrid, Window
from georefer.geometry.window import starts

_CHUNK = 2**14
"""Boxes compared at a time, which bounds memory."""


@dataclass(frozen=True)
class SplitSettings:
    """Held-out blocks of an area."""

    block_m: float = 256.0
    """Side of a block on the ground, metres (pixels where the imagery has no georeference)."""
    test: float = 0.25
    """Share of blocks held out; at least one is, and at least one is not."""
    buffer_m: float = 8.0
    """Ground between any training chip and any held-out block, metres."""


@dataclass(frozen=True, eq=False)
class Windows(Sequence[Window]):
    """Many windows in 16 bytes each: a country has millions. `x_y_width_height_N4` is int32."""

    x_y_width_height_N4: np.ndarray

    @classmethod
    def of(cls, windows: Iterable[Window]) -> Windows:
        rows = [(w.x, w.y, w.width, w.height) for w in windows]
        return cls(np.array(rows, dtype=np.int32).reshape(-1, 4))

    @property
    def boxes_N4(self) -> np.ndarray:
        """(x1, y1, x2, y2) outer edges, int64."""
        start_N2 = self.x_y_width_height_N4[:, :2].astype(np.int64)
        return np.hstack([start_N2, start_N2 + self.x_y_width_height_N4[:, 2:]])

    def __len__(self) -> int:
        return len(self.x_y_width_height_N4)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice | np.ndarray):
            return Windows(self.x_y_width_height_N4[index])
        return Window(*self.x_y_width_height_N4[index].tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Windows) and np.array_equal(self.x_y_width_height_N4, other.x_y_width_height_N4)


@dataclass(frozen=True)
class ChipPlan:
    """Windows of the source raster for each split, and how many candidates were left out between them."""

    train: Windows
    test: Windows
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
    test = Windows.of(w for b in held_out for w in _tile_inside(b, chip))
    candidates = _grid_windows(grid, chip, stride)
    train = candidates[~_meets_any(candidates.boxes_N4, Windows.of(held_out).boxes_N4, buffer)]
    return ChipPlan(train, test, len(candidates) - len(train), tuple(held_out))


def windows_overlap(a: Iterable[Window], b: Iterable[Window]) -> bool:
    """Whether any pixel lies in a window of both lists."""
    a_N4, b_N4 = (w.boxes_N4 if isinstance(w, Windows) else Windows.of(w).boxes_N4 for w in (a, b))
    return bool(_meets_any(a_N4, b_N4, (0, 0)).any())


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


def _grid_windows(grid: GeoGrid, chip: tuple[int, int], stride: float) -> Windows:
    if grid.width < chip[0] or grid.height < chip[1]:
        raise ConfigError(
            f"the imagery of {grid.width}x{grid.height} pixels is smaller than one chip of {chip[0]}x{chip[1]}; "
            "lower chip_px or gsd_m"
        )
    overlap = [min(side - 1, max(0, side - round(side * stride))) for side in chip]
    xs, ys = starts(grid.width, chip[0], overlap[0]), starts(grid.height, chip[1], overlap[1])
    rows_N4 = np.empty((len(xs) * len(ys), 4), dtype=np.int32)
    rows_N4[:, 0], rows_N4[:, 1], rows_N4[:, 2:] = np.tile(xs, len(ys)), np.repeat(ys, len(xs)), chip
    return Windows(rows_N4)


def _meets_any(a_N4: np.ndarray, b_M4: np.ndarray, distance: tuple[int, int]) -> np.ndarray:
    """For each box of a, whether any box of b, grown by `distance` on every side, shares ground with it (N,)."""
    meets_N = np.zeros(len(a_N4), dtype=bool)
    if not len(a_N4) or not len(b_M4):
        return meets_N
    grown_M4 = b_M4 + np.array([-1, -1, 1, 1]) * np.array([*distance, *distance])
    # cells at least as large as any box: a box lies in at most four, and only boxes of one cell can meet
    cell_2 = np.maximum((a_N4[:, 2:] - a_N4[:, :2]).max(axis=0), (grown_M4[:, 2:] - grown_M4[:, :2]).max(axis=0))
    keys_K, box_K = _cells(grown_M4, cell_2)
    for start in range(0, len(a_N4), _CHUNK):
        some_C4 = a_N4[start : start + _CHUNK]
        wanted_W, asker_W = _cells(some_C4, cell_2)
        first_W = np.searchsorted(keys_K, wanted_W)
        count_W = np.searchsorted(keys_K, wanted_W, side="right") - first_W
        asker_P = np.repeat(asker_W, count_W)
        offset_P = np.arange(len(asker_P)) - np.repeat(np.cumsum(count_W) - count_W, count_W)
        one_P4, two_P4 = some_C4[asker_P], grown_M4[box_K[np.repeat(first_W, count_W) + offset_P]]
        shares_P = ((one_P4[:, :2] < two_P4[:, 2:]) & (two_P4[:, :2] < one_P4[:, 2:])).all(axis=1)
        meets_N[start + asker_P[shares_P]] = True
    return meets_N


def _cells(boxes_N4: np.ndarray, cell_2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys of the grid cells of the boxes' corners in order, and the box that each belongs to."""
    corners = [(boxes_N4[:, i] // cell_2[0] + 1) * 2**32 + boxes_N4[:, j] // cell_2[1] for i in (0, 2) for j in (1, 3)]
    keys_K, box_K = np.concatenate(corners), np.tile(np.arange(len(boxes_N4)), 4)
    order_K = np.argsort(keys_K, kind="stable")
    return keys_K[order_K], box_K[order_K]

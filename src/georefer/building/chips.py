"""Chips: where scenes are cut from an area, and which of them may be trained on.

The area is divided into square blocks on the ground; some blocks are held out. A chip is a test chip when it
lies wholly inside one held-out block, a training chip when it keeps a distance from every held-out block, and
unused otherwise. So no ground pixel is in both splits, whatever the stride of the chips. Where there are many areas,
whole areas may be held out instead (`building.areas`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from georefer.errors import ConfigError
from georefer.geometry import GeoGrid, Window
from georefer.geometry.window import starts

_CHUNK = 2**14
"""Boxes compared at a time, which bounds memory."""


@dataclass(frozen=True)
class SplitSettings:
    """What is held out for the test: blocks of the area, or whole areas."""

    block_m: float = 256.0
    """Side of a block on the ground, metres (pixels where the imagery has no georeference)."""
    test: float = 0.25
    """Share of blocks, or of areas, held out; at least one is, and at least one is not."""
    buffer_m: float = 8.0
    """Ground between any training chip and any held-out block or area, metres."""
    by: Literal["block", "area"] = "block"
    """Whether blocks of every area are held out, or whole areas (a recipe with `apart` has many)."""
    test_areas: tuple[str, ...] = ()
    """Areas held out by name, such as "santa_monica_*", instead of by `test`."""


@dataclass(frozen=True)
class PlaceSettings:
    """Where training chips lie. Test chips always tile what is held out, so that no object is counted twice."""

    by: Literal["grid", "objects", "random"] = "grid"
    """In rows; around objects, until each object that fits a chip is wholly in one; or anywhere."""
    stride: float = 0.5
    """Distance between chips in rows, in chip sides; below 1 they overlap."""
    most: int = 0
    """At most so many training chips of an area, drawn at random; 0: all (which "random" has not)."""

    def __post_init__(self) -> None:
        if not 0 < self.stride <= 1:
            raise ValueError(f"stride is {self.stride}; expected above 0 and at most 1")
        if self.most < 0 or (self.by == "random" and not self.most):
            raise ValueError(f"most is {self.most}; expected a number of chips, which random places need")


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


def plan_chips(
    grid: GeoGrid,
    chip: tuple[int, int],
    split: SplitSettings,
    place: PlaceSettings,
    seed: int,
    objects_N4: np.ndarray | None = None,
    *,
    held_out: bool | None = None,
    imagery_F4: np.ndarray | None = None,
) -> ChipPlan:
    """Chips of `chip` = (width, height) source pixels; `objects_N4` are the boxes that chips are placed around.

    With `held_out` the whole area is tested on, or trained on; left out, blocks of it are held out. Where
    `imagery_F4` gives the boxes of its files, blocks and chips that meet none of them are left out.
    """
    whole = Window(0, 0, grid.width, grid.height)
    _check_size(grid, chip)
    if held_out is True:
        return ChipPlan(Windows.of(()), Windows.of(_tile_inside(whole, chip)), 0, (whole,))
    files_F4 = np.array([whole.box]) if imagery_F4 is None else imagery_F4
    blocks = () if held_out is False else tuple(_held_out_blocks(grid, chip, split, seed, files_F4))
    rng = np.random.default_rng([seed, 1])
    boxes_N4 = np.empty((0, 4)) if objects_N4 is None else objects_N4
    if place.by == "random":
        candidates = _random_windows(grid, chip, place.most, rng)
    elif place.by == "objects":
        candidates = _near_objects(grid, chip, boxes_N4, rng)
    else:
        candidates = _grid_windows(grid, chip, place.stride)
    shown_N = _meets_any(candidates.boxes_N4, files_F4, (0, 0))
    candidates, boxes_N4 = candidates[shown_N], boxes_N4[shown_N] if place.by == "objects" else boxes_N4
    free_N = ~_meets_any(candidates.boxes_N4, Windows.of(blocks).boxes_N4, _metres_to_px(grid, split.buffer_m))
    train = candidates[free_N]
    if place.by == "objects":
        train = train[_needed(train, boxes_N4[free_N], rng)]
    train = train if place.by == "grid" else _distinct(train)
    if place.most and len(train) > place.most:
        train = train[np.sort(rng.choice(len(train), place.most, replace=False))]
    test = Windows.of(w for b in blocks for w in _tile_inside(b, chip))
    return ChipPlan(train, test, int((~free_N).sum()), blocks)


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


def _held_out_blocks(
    grid: GeoGrid, chip: tuple[int, int], split: SplitSettings, seed: int, files_F4: np.ndarray
) -> list[Window]:
    block = _metres_to_px(grid, split.block_m)
    if block[0] < chip[0] or block[1] < chip[1]:
        raise ConfigError(
            f"blocks of {split.block_m:g} m are smaller than the chips of {chip[0]}x{chip[1]} source pixels; "
            "raise split.block_m or lower chip_px or gsd_m"
        )
    blocks = Windows.of(_blocks(grid, block))
    return _choose_blocks(list(blocks[_meets_any(blocks.boxes_N4, files_F4, (0, 0))]), split.test, seed)


def _check_size(grid: GeoGrid, chip: tuple[int, int]) -> None:
    if grid.width < chip[0] or grid.height < chip[1]:
        raise ConfigError(
            f"the imagery of {grid.width}x{grid.height} pixels is smaller than one chip of {chip[0]}x{chip[1]}; "
            "lower chip_px or gsd_m"
        )


def _random_windows(grid: GeoGrid, chip: tuple[int, int], count: int, rng: np.random.Generator) -> Windows:
    """More than `count`, since some will lie too near to what is held out."""
    x_N = rng.integers(0, grid.width - chip[0] + 1, 4 * count)
    y_N = rng.integers(0, grid.height - chip[1] + 1, 4 * count)
    return Windows.of(Window(x, y, *chip) for x, y in zip(x_N.tolist(), y_N.tolist(), strict=True))


def _near_objects(grid: GeoGrid, chip: tuple[int, int], boxes_N4: np.ndarray, rng: np.random.Generator) -> Windows:
    """For every object a chip that has it somewhere near its middle."""
    shift_N2 = rng.uniform(-0.25, 0.25, (len(boxes_N4), 2)) + 0.5
    start_N2 = np.rint((boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2 - np.array(chip) * shift_N2)
    start_N2 = start_N2.clip(0, np.array([grid.width, grid.height]) - chip).astype(np.int32)
    return Windows(np.hstack([start_N2, np.full((len(boxes_N4), 2), chip, dtype=np.int32)]))


def _needed(windows: Windows, boxes_N4: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which of the windows, one for each object, show an object that no other chosen before shows whole (N,)."""
    needed_N = np.zeros(len(windows), dtype=bool)
    # by the cell of its corner: a window that shows a box starts in the box's cell, or in the one left or above
    chosen: dict[tuple[int, int], list[tuple[int, int]]] = {}
    boxes, rows = boxes_N4.tolist(), windows.x_y_width_height_N4.tolist()
    for i in rng.permutation(len(windows)).tolist():
        (x1, y1, x2, y2), (x, y, width, height) = boxes[i], rows[i]
        column, row = int(x1 // width), int(y1 // height)
        near = (start for dc in (0, 1) for dr in (0, 1) for start in chosen.get((column - dc, row - dr), ()))
        if not any(a <= x1 and b <= y1 and x2 <= a + width and y2 <= b + height for a, b in near):
            needed_N[i] = True
            chosen.setdefault((x // width, y // height), []).append((x, y))
    return needed_N


def _distinct(windows: Windows) -> Windows:
    """Each window once, in order: in a small area chance finds the same place twice."""
    return windows[np.sort(np.unique(windows.x_y_width_height_N4, axis=0, return_index=True)[1])]


def _grid_windows(grid: GeoGrid, chip: tuple[int, int], stride: float) -> Windows:
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

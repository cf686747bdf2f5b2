"""Refining what a sweep found: each object in a window that shows it with its surroundings, at the sweep's scale."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from math import ceil

import numpy as np

from georefer.geometry import GeoGrid, Objects, Window
from georefer.imagery.raster import Imagery
from georefer.inference.refine import KEPT_BECAUSE, Outcome, Refiner, applied
from georefer.runlog import progress

MAX_SIDE_PX = 2048
"""Of an image that shows an object larger than the sweep's windows; larger ones are kept as they are."""

AROUND = 1.25
"""Side of such an image over that of the object."""


def refine_found(
    refiner: Refiner, imagery: Imagery, found: Objects, windows: tuple[Window, ...], size: tuple[int, int]
) -> Objects:
    """The objects (raster pixels) with their shapes refined, in the same order.

    Each is looked at in the window of the sweep in which it lies farthest from the border, together with others that
    lie there; one that lies whole in none gets a window of its own. `size` is (width, height) of the image that a
    window is shown as.
    """
    if not len(found):
        return found
    places: dict[Window, list[int]] = defaultdict(list)
    for n, window in enumerate(_windows(found.hbb_N4, windows, imagery)):
        places[window].append(n)
    scale = windows[0].width / size[0], windows[0].height / size[1]
    parts, order = [], []
    for window, rows in progress(places.items(), "refining", len(places), "window"):
        parts.append(_refined(refiner, imagery, found[np.array(rows)], window, scale))
        order += rows
    return replace(Objects.concat(parts)[np.argsort(order)], ids_N=found.ids_N)


def _refined(
    refiner: Refiner, imagery: Imagery, objects: Objects, window: Window, scale: tuple[float, float]
) -> Objects:
    size = max(1, round(window.width / scale[0])), max(1, round(window.height / scale[1]))
    if max(size) > MAX_SIDE_PX:
        why = f"it is larger than the {MAX_SIDE_PX} pixels that are looked at together"
        return applied(objects, [Outcome(None, why_kept=why)] * len(objects), refiner.name)
    shown = objects.crop(window).scale(size[0] / window.width, size[1] / window.height)
    refined = refiner(imagery.read(window, size).image_HW3, shown)
    on_raster = refined.scale(window.width / size[0], window.height / size[1]).crop(Window(-window.x, -window.y, 0, 0))
    # a shape that was kept is kept to the last bit
    is_kept_N = [KEPT_BECAUSE in attributes for attributes in refined.attributes_N]
    return on_raster.replaced(np.where(is_kept_N, objects.geometries_N, on_raster.geometries_N))


def _windows(boxes_N4: np.ndarray, windows: tuple[Window, ...], imagery: Imagery) -> list[Window]:
    """For each object the window of the sweep that shows most around it, or one of its own."""
    width, height = windows[0].width, windows[0].height
    xs, ys = (np.array(sorted({getattr(window, axis) for window in windows})) for axis in "xy")
    left_N, room_x_N = _roomiest(boxes_N4[:, 0], boxes_N4[:, 2], xs, width)
    top_N, room_y_N = _roomiest(boxes_N4[:, 1], boxes_N4[:, 3], ys, height)
    inside_N = np.minimum(room_x_N, room_y_N) >= 0
    return [
        Window(int(left), int(top), width, height) if inside else _around(box_4, (width, height), imagery.grid)
        for box_4, left, top, inside in zip(boxes_N4, left_N, top_N, inside_N, strict=True)
    ]


def _roomiest(low_N: np.ndarray, high_N: np.ndarray, starts_S: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis, the start of the window in which a span lies farthest from both ends, and how far."""
    room_NS = np.minimum(low_N[:, None] - starts_S, starts_S + side - high_N[:, None])
    best_N = room_NS.argmax(axis=1)
    return starts_S[best_N], room_NS[np.arange(len(low_N)), best_N]


def _around(box_4: np.ndarray, least: tuple[int, int], grid: GeoGrid) -> Window:
    """A window with an object in its middle, moved into the raster where it fits there."""
    x, width = _span(box_4[0], box_4[2], least[0], grid.width)
    y, height = _span(box_4[1], box_4[3], least[1], grid.height)
    return Window(x, y, width, height)


def _span(low: float, high: float, least: int, whole: int) -> tuple[int, int]:
    side = max(least, ceil(AROUND * (high - low)))
    return int(np.clip(round((low + high - side) / 2), 0, max(0, whole - side))), side

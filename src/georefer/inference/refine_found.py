"""Refining what a sweep found: each object in a window that shows it with its surroundings, at the sweep's scale."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from georefer.geometry import Objects, Window
from georefer.imagery.raster import Imagery
from georefer.inference.refine import Outcome, Refiner, applied

MAX_SIDE_PX = 2048
"""Of an image that shows an object larger than the sweep's windows; larger ones are kept as they are."""

AROUND = 1.25
"""Side of such an image over that of the object."""


def refine_found(
    refiner: Refiner, imagery: Imagery, found: Objects, windows: tuple[Window, ...], size: tuple[int, int]
) -> Objects:
    """The objects (raster pixels) with their shapes refined, in the same order.

    Each is looked at in the window of the sweep in which it lies farthest from the border, together with others that
    lie there; one that lies whole in none gets a window of its own. `size` is (width, height) of the image that a window
    is shown as.
    """
    if not len(found):
        return found
    places: dict[Window, list[int]] = defaultdict(list)
    for n, window in enumerate(_windows(found.hbb_N4, windows, imagery)):
        places[window].append(n)
    scale = windows[0].width / size[0], windows[0].height / size[1]
    parts, order = [], []
    for window, rows in places.items():
        parts.append(_refined(refiner, imagery, found[np.array(rows)], window, scale))
        order += rows
    together = Objects.concat(parts)[np.argsort(order)]
    return together.with_new_ids(list(found.ids_N))


def _windows(boxes_N4: np.ndarray, windows: tuple[Window, ...], imagery: Imagery) -> list[Window]:
    """For each object the window of the sweep that shows most around it, or one of its own."""
    width, height = windows[0].width, windows[0].height
    xs, ys = (np.array(sorted({getattr(window, axis) for window in windows})) for axis in "xy")
    left_N, room_x_N = _roomiest(boxes_N4[:, 0], boxes_N4[:, 2], xs, width)
    top_N, room_y_N = _roomiest(boxes_N4[:, 1], boxes_N4[:, 3], ys, height)
    inside_N = np.minimum(room_x_N, room_y_N) >= 0
    return [
        Window(int(left), int(top), width, height) if inside else _around(box_4, width, height)
        for box_4, left, top, inside in zip(boxes_N4, left_N, top_N, inside_N, strict=True)
    ]


def _roomiest(low_N: np.ndarray, high_N: np.ndarray, starts_S: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis, the start of the window in which a span lies farthest from both ends, and how far."""
    room_NS = np.minimum(low_N[:, None] - starts_S, starts_S + side - high_N[:, None])
    best_N = room_NS.argmax(axis=1)
    return starts_S[best_N], room_NS[np.arange(len(low_N)), best_N]

"""Pixels of a layout: any window of the image, painted alone, equals that window of the whole.

The image is made of canonical tiles on a fixed grid. A tile is painted with a margin for blur, and everything
random about it is anchored to the ground or drawn from a feature's own seed, so neighbours agree at their seams.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from georefer.building.synthetic.canvas import Canvas
from georefer.building.synthetic.craft import (
    paint_court,
    paint_plane,
    paint_pool,
    paint_ship,
    paint_tank,
    paint_vehicle,
    paint_wake,
)
from georefer.building.synthetic.crowns import Crown, crowns, paint_tree
from georefer.building.synthetic.features import Feature, Layout, Marking, Surface
from georefer.building.synthetic.ground import (
    MATERIALS,
    Material,
    framed,
    paint_field,
    paint_surface,
    paint_water,
    texture,
    whole,
)
from georefer.building.synthetic.noise import Noise
from georefer.building.synthetic.roofs import paint_roof
from georefer.building.synthetic.shadows import cast, reach_per_m, shadow_mask

TILE_PX = 1024
_TALLEST_M = 32.0
_BLUR_PX = 0.55
_READ_NOISE = 1.5
_SATURATION = 0.86
_HAZE = np.array([6.0, 7.0, 9.0], np.float32)
_DASH_GAP = 1.6  # gap after a dash, in dash lengths


@dataclass(frozen=True)
class Found:
    """Things with bounds, to be asked for those that touch a window, in their own order."""

    things: Sequence
    tree: STRtree

    @staticmethod
    def among(things: Sequence, margin_m: float = 0.0) -> Found:
        shapes = [thing.geometry for thing in things]
        return Found(things, STRtree([shapely.box(*s.buffer(margin_m).bounds) if margin_m else s for s in shapes]))

    def touching(self, bounds: tuple[float, float, float, float], reach_m: float = 0.0) -> list:
        west, north, east, south = bounds
        box = shapely.box(west - reach_m, north - reach_m, east + reach_m, south + reach_m)
        return [self.things[i] for i in sorted(self.tree.query(box).tolist())]


class Painter:
    """A layout with its indexes, stamps and noise; made once, then asked for tiles."""

    def __init__(self, layout: Layout, gsd_m: float) -> None:
        self.layout = layout
        self.gsd_m = gsd_m
        self.noise = Noise.seeded(layout.seed)
        self.stamps: dict[str, list[Crown]] = crowns(layout.seed, layout.sun)
        self.layers = {name: Found.among(found) for name, found in layout.features.items() if name != "trees"}
        self.trees = Found.among(layout.features["trees"])
        self.surfaces = Found.among(layout.surfaces)
        self.markings = Found.among(layout.markings)
        self.shape = round(layout.height_m / gsd_m), round(layout.width_m / gsd_m)

    @property
    def tile_count(self) -> int:
        rows, cols = self.shape
        return -(-rows // TILE_PX) * -(-cols // TILE_PX)

    def window(self, row: int, col: int, height: int, width: int) -> np.ndarray:
        """Any window of the image, (H, W, 3) uint8, put together from canonical tiles."""
        out = np.zeros((height, width, 3), np.uint8)
        for r in range(row // TILE_PX * TILE_PX, row + height, TILE_PX):
            for c in range(col // TILE_PX * TILE_PX, col + width, TILE_PX):
                tile = self.tile(r, c)
                top, left = max(r, row), max(c, col)
                bottom, right = min(r + tile.shape[0], row + height), min(c + tile.shape[1], col + width)
                part = tile[top - r : bottom - r, left - c : right - c]
                out[top - row : bottom - row, left - col : right - col] = part
        return out

    def tiles(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """Every canonical tile with its row and column, in reading order."""
        rows, cols = self.shape
        for row in range(0, rows, TILE_PX):
            for col in range(0, cols, TILE_PX):
                yield row, col, self.tile(row, col)

    def tile(self, row: int, col: int, size_px: int = TILE_PX) -> np.ndarray:
        """One tile from its top-left pixel, cut at the edge of the image; (H, W, 3) uint8."""
        height, width = min(size_px, self.shape[0] - row), min(size_px, self.shape[1] - col)
        pad = 4 + math.ceil(0.9 / self.gsd_m)  # as far as any blur reaches
        full = (height + 2 * pad, width + 2 * pad, 3)
        canvas = Canvas(np.zeros(full, np.float32), col - pad, row - pad, self.gsd_m, self.noise)
        self._ground(canvas)
        self._low(canvas)
        self._high(canvas)
        return self._developed(canvas)[pad:-pad, pad:-pad]

    def _near(self, canvas: Canvas, layer: str, reach_m: float = 0.0) -> list[Feature]:
        return self.layers[layer].touching(canvas.bounds_m, reach_m)

    def _ground(self, canvas: Canvas) -> None:
        base = whole(canvas)
        canvas.pixels_HW3[:] = texture(canvas, base, MATERIALS["meadow"])
        surfaces: list[Surface] = self.surfaces.touching(canvas.bounds_m, 3.0)
        for surface in surfaces:
            if surface.material != "hedge":
                paint_surface(canvas, surface)
        for field in self._near(canvas, "fields"):
            paint_field(canvas, field)
        self._water(canvas)
        self._roads(canvas)
        for marking in self.markings.touching(canvas.bounds_m, 2.0):
            _mark(canvas, marking)
        for surface in surfaces:
            if surface.material == "hedge":
                _hedge(canvas, surface, self.layout)

    def _water(self, canvas: Canvas) -> None:
        paint_water(canvas, self.layout.shores)
        docks = self._near(canvas, "docks", _TALLEST_M)
        cast(canvas, shadow_mask(canvas, docks, self.layout.sun), 0.8)
        for dock in docks:
            patch = canvas.cover(dock.geometry)
            if patch is not None:
                canvas.blend(patch, texture(canvas, patch, Material(dock.look.rgb, 2, 3, 4, 3)))

    def _roads(self, canvas: Canvas) -> None:
        frame = framed(canvas, 9.0)
        for shape, name in ((self.layout.pavement, "sidewalk"), (self.layout.carriageway, "asphalt")):
            part: BaseGeometry = shapely.clip_by_rect(shape, *frame)
            patch = None if part.is_empty else canvas.cover(part)
            if patch is not None:
                canvas.blend(patch, texture(canvas, patch, MATERIALS[name], 1.0))

    def _low(self, canvas: Canvas) -> None:
        """Things near the ground, under their own short shadows."""
        sun = self.layout.sun
        for paint, layer in ((paint_court, "courts"), (paint_pool, "pools")):
            for thing in self._near(canvas, layer):
                paint(canvas, thing, sun)
        ships = self._near(canvas, "ships", 250.0)
        for thing in ships:
            if thing.attributes["state"] == "under way":
                paint_wake(canvas, thing)
        low = [*ships, *self._near(canvas, "planes", 12), *self._near(canvas, "vehicles", 8)]
        cast(canvas, shadow_mask(canvas, low, sun), 0.95)
        for paint, layer in ((paint_ship, "ships"), (paint_plane, "planes"), (paint_vehicle, "vehicles")):
            for thing in self._near(canvas, layer):
                paint(canvas, thing, sun)

    def _high(self, canvas: Canvas) -> None:
        """Buildings, tanks and trees: first all their shadows, then themselves."""
        sun = self.layout.sun
        reach = _TALLEST_M * float(np.hypot(*reach_per_m(sun)))
        solid = [*self._near(canvas, "buildings", reach), *self._near(canvas, "tanks", reach)]
        trees = self.trees.touching(canvas.bounds_m, 24.0)
        cast(canvas, shadow_mask(canvas, [*solid, *trees], sun))
        for building in self._near(canvas, "buildings"):
            paint_roof(canvas, building, sun)
        for tank in self._near(canvas, "tanks"):
            paint_tank(canvas, tank, sun)
        for tree in trees:
            paint_tree(canvas, tree, self.stamps)

    def _developed(self, canvas: Canvas) -> np.ndarray:
        """What a camera makes of it: uneven light, haze, a soft lens, noise; (H, W, 3) uint8."""
        pixels = canvas.pixels_HW3
        light = 1 + 0.018 * canvas.smooth(whole(canvas), 190.0, 22)
        pixels *= light[..., None]
        pixels = cv2.GaussianBlur(pixels, (0, 0), _BLUR_PX)
        height, width = pixels.shape[:2]
        grain = self.noise.grain(canvas.col, canvas.row, height, width, 2)
        grey = pixels.mean(axis=2, keepdims=True)
        pixels = grey + np.float32(_SATURATION) * (pixels - grey)
        pixels = pixels * np.float32(0.965) + _HAZE
        pixels += grain * (np.float32(_READ_NOISE) + np.float32(0.004) * pixels)
        return np.clip(pixels + 0.5, 0, 255).astype(np.uint8)


def _mark(canvas: Canvas, marking: Marking) -> None:
    """A line on the ground, as its dashes."""
    width = max(marking.width_m, 0.7 * canvas.gsd_m)
    strength = marking.strength * min(1.0, marking.width_m / width + 0.25)
    points = shapely.get_coordinates(marking.geometry)
    for a, b in itertools.pairwise(points):
        length = float(np.hypot(*(b - a)))
        if length < 1e-6:
            continue
        along, across = (b - a) / length, np.array([a[1] - b[1], b[0] - a[0]]) / length * width / 2
        dash = marking.dash_m or length
        for s in np.arange(0, length, dash * (1 + _DASH_GAP)) if marking.dash_m else [0.0]:
            start, end = a + along * s, a + along * min(s + dash, length)
            canvas.fill(np.stack([start - across, end - across, end + across, start + across]), marking.rgb, strength)


def _hedge(canvas: Canvas, surface: Surface, layout: Layout) -> None:
    shade = reach_per_m(layout.sun) * 1.3
    ring = shapely.get_coordinates(surface.geometry.exterior)
    patch = canvas.cover_points(ring + shade)
    if patch is not None:
        canvas.dim(patch, 0.6)
    paint_surface(canvas, surface)

"""A tile being painted: pixels, where they lie, and fills with exact coverage at the edges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from georefer.building.synthetic.features import RGB
from georefer.building.synthetic.noise import Noise

_FINE = 4  # subsamples per pixel side for things up to _FINE_PX across; less for larger ones
_FINE_PX = 700
_SHIFT = 6


@dataclass(frozen=True)
class Patch:
    """A rectangle of a canvas with the share of each pixel that a shape covers (0 to 1)."""

    rows: slice
    cols: slice
    cover_HW: np.ndarray


@dataclass(frozen=True)
class Canvas:
    """RGB float pixels of a window; `col` and `row` are its top-left pixel in the area."""

    pixels_HW3: np.ndarray
    col: int
    row: int
    gsd_m: float
    noise: Noise

    @property
    def bounds_m(self) -> tuple[float, float, float, float]:
        height, width = self.pixels_HW3.shape[:2]
        west, north = self.col * self.gsd_m, self.row * self.gsd_m
        return west, north, west + width * self.gsd_m, north + height * self.gsd_m

    def xy(self, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
        """Metres of the pixel centres of a patch: x (W,), y (H,)."""
        cols = np.arange(patch.cols.start, patch.cols.stop) + self.col + 0.5
        rows = np.arange(patch.rows.start, patch.rows.stop) + self.row + 0.5
        return cols * self.gsd_m, rows * self.gsd_m

    def cover(self, shape: BaseGeometry) -> Patch | None:
        """The patch a polygon (with holes, or several) covers; None outside the canvas."""
        return self._covered(list(_rings(shape)), shape.bounds)

    def cover_points(self, ring_N2: np.ndarray) -> Patch | None:
        """As `cover`, for one ring of (x, y) metres."""
        return self._covered([ring_N2], (*ring_N2.min(axis=0), *ring_N2.max(axis=0)))

    def _covered(self, rings: list[np.ndarray], bounds: tuple[float, ...]) -> Patch | None:
        height, width = self.pixels_HW3.shape[:2]
        left, top, right, bottom = (v / self.gsd_m for v in bounds)
        c0, c1 = max(int(np.floor(left)) - self.col, 0), min(int(np.ceil(right)) - self.col + 1, width)
        r0, r1 = max(int(np.floor(top)) - self.row, 0), min(int(np.ceil(bottom)) - self.row + 1, height)
        if c0 >= c1 or r0 >= r1:
            return None
        fine = _FINE if max(right - left, bottom - top) <= _FINE_PX else 2
        origin = np.array([self.col + c0, self.row + r0])
        scale = fine * (1 << _SHIFT)
        contours = [
            np.round((ring / self.gsd_m - origin) * scale - (1 << (_SHIFT - 1))).astype(np.int32) for ring in rings
        ]
        mask = np.zeros(((r1 - r0) * fine, (c1 - c0) * fine), np.uint8)
        cv2.fillPoly(mask, contours, 255, shift=_SHIFT)
        cv2.polylines(mask, contours, True, 128, shift=_SHIFT)  # fillPoly takes the whole border; half is fair
        small = cv2.resize(mask, (c1 - c0, r1 - r0), interpolation=cv2.INTER_AREA)
        return Patch(slice(r0, r1), slice(c0, c1), small.astype(np.float32) * np.float32(1 / 255))

    def blend(self, patch: Patch, colour: np.ndarray | RGB, strength: float | np.ndarray = 1.0) -> None:
        """Mix a colour, (3,) or (H, W, 3), into the covered pixels."""
        view = self.pixels_HW3[patch.rows, patch.cols]
        alpha = (patch.cover_HW * strength)[..., None]
        view += alpha * (np.asarray(colour, dtype=np.float32) - view)

    def fill(self, ring_N2: np.ndarray, colour: RGB | np.ndarray, strength: float = 1.0) -> None:
        patch = self.cover_points(ring_N2)
        if patch is not None:
            self.blend(patch, colour, strength)

    def dim(self, patch: Patch, factor: np.ndarray | float) -> None:
        """Multiply the covered pixels by a factor where covered."""
        view = self.pixels_HW3[patch.rows, patch.cols]
        view *= 1 + patch.cover_HW[..., None] * (np.asarray(factor, dtype=np.float32) - 1)

    def smooth(self, patch: Patch, scale_m: float, layer: int = 0) -> np.ndarray:
        return self.noise.smooth(*self.xy(patch), scale_m, layer)

    def grain(self, patch: Patch, layer: int = 0) -> np.ndarray:
        """One channel of white noise over a patch, (H, W)."""
        height, width = patch.cover_HW.shape
        where = (self.col + patch.cols.start, self.row + patch.rows.start, height, width, layer)
        return self.noise.grain(*where)[..., 0]


def _rings(shape: BaseGeometry) -> Iterable[np.ndarray]:
    for part in shapely.get_parts(shape).tolist():
        if part.geom_type == "Polygon" and not part.is_empty:
            yield shapely.get_coordinates(part.exterior)
            for hole in part.interiors:
                yield shapely.get_coordinates(hole)

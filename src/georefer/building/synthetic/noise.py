"""Noise anchored to the ground: any window of an area sees the same grain, so tiles meet without a seam."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_LATTICE = 256
_GRAIN = 1024


@dataclass(frozen=True)
class Noise:
    """Smooth noise at any scale in metres, and white grain per pixel; zero mean, unit variance."""

    lattice: np.ndarray
    grain_HW3: np.ndarray

    @staticmethod
    def seeded(seed: int) -> Noise:
        rng = np.random.default_rng([seed, 77])
        lattice = rng.standard_normal((_LATTICE, _LATTICE), dtype=np.float32)
        return Noise(lattice, rng.standard_normal((_GRAIN, _GRAIN, 3), dtype=np.float32))

    def smooth(self, x_W: np.ndarray, y_H: np.ndarray, scale_m: float, layer: int = 0) -> np.ndarray:
        """Smooth noise with features about `scale_m` across, at the pixel centres given in metres; (H, W) float32.

        Cubic B-splines over a periodic lattice: two small matrix products, which is what makes it cheap.
        """
        rows, row_weights = _spline(y_H / scale_m + 37.7 * layer)
        cols, col_weights = _spline(x_W / scale_m + 91.3 * layer)
        table = np.roll(self.lattice, 53 * layer, axis=1)[np.ix_(rows, cols)]
        # OpenCV's product, not NumPy's: it stays on one thread, where BLAS threads waiting for each other cost twice
        nothing = np.empty((0, 0), np.float32)
        rows_done = cv2.gemm(row_weights, np.ascontiguousarray(table), 2.1, nothing, 0.0)
        return np.asarray(cv2.gemm(rows_done, col_weights, 1.0, nothing, 0.0, flags=cv2.GEMM_2_T))

    def grain(self, col: int, row: int, height: int, width: int, layer: int = 0) -> np.ndarray:
        """White noise of the pixels from (row, col) on; (H, W, 3) float32."""
        rows = (np.arange(row, row + height) + 389 * layer) % _GRAIN
        cols = (np.arange(col, col + width) + 211 * layer) % _GRAIN
        return self.grain_HW3[np.ix_(rows, cols)]


def _spline(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lattice indices needed for the positions, and the cubic B-spline weight of each; (N,), (P, N)."""
    cell = np.floor(position).astype(int)
    t = (position - cell).astype(np.float32)
    first, last = cell.min() - 1, cell.max() + 2
    weights = np.zeros((len(position), last - first + 1), dtype=np.float32)
    at = np.arange(len(position))
    parts = ((1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6)
    for k, part in enumerate(parts):
        weights[at, cell - first - 1 + k] = part
    return np.arange(first, last + 1) % _LATTICE, weights

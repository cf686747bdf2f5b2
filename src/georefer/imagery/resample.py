"""Resampling that knows which pixels are real."""

from __future__ import annotations

import cv2
import numpy as np


def resampled(bands_HWB: np.ndarray, valid_HW: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Float32 bands and validity at `size` = (width, height).

    Area averaging along an axis that shrinks, linear along one that grows; only valid pixels count, so that
    nodata never bleeds into its neighbours. A pixel is valid where at least half of what it is made of was.
    """
    bands_HWB = bands_HWB.astype(np.float32, copy=False)
    if (valid_HW.shape[1], valid_HW.shape[0]) == size:
        return bands_HWB, valid_HW
    if valid_HW.all():
        return _resize(bands_HWB, size), np.ones((size[1], size[0]), dtype=bool)
    weight_HW = _resize(valid_HW.astype(np.float32), size)
    sums_HWB = _resize(np.where(valid_HW[..., None], bands_HWB, 0).astype(np.float32, copy=False), size)
    # half of the weight, less a little for float32 sums
    valid = weight_HW >= 0.5 - 1e-4
    return sums_HWB / np.where(weight_HW > 0, weight_HW, 1)[..., None], valid


def _resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """One axis after the other: OpenCV averages by area only where no axis grows."""
    height, width = array.shape[:2]
    across = cv2.resize(array, (size[0], height), interpolation=_method(width, size[0]))
    both = cv2.resize(across, size, interpolation=_method(height, size[1]))
    return both.reshape(size[1], size[0], *array.shape[2:])


def _method(before: int, after: int) -> int:
    return cv2.INTER_AREA if after <= before else cv2.INTER_LINEAR

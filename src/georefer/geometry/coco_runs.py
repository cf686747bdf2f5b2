"""COCO's own conventions for masks: the compressed string of run lengths, and the fill of polygons.

Byte for byte what pycocotools does, written anew in numpy; mask.py is what to use.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from georefer.geometry.raster_grid import ranges

MAX_DIGITS = 7
"""Base-32 digits of one run length; 7 hold 34 bits with a sign, more than MAX_PIXELS needs."""

MAX_WALK = 1 << 22
"""Steps of 1/5 pixel along the rings of one COCO polygon, 800,000 pixels; more is a mistake or an attack."""


def counts_to_text(counts_R: np.ndarray) -> str:
    """COCO's compressed string: from the fourth run on the change against two runs before, in base 32."""
    rest_R = np.array(counts_R, dtype=np.int64)
    rest_R[3:] -= rest_R[1:-2].copy()
    digits_RD = np.zeros((len(rest_R), MAX_DIGITS), dtype=np.uint8)
    used_RD = np.zeros(digits_RD.shape, dtype=bool)
    going_R = np.ones(len(rest_R), dtype=bool)
    for d in range(MAX_DIGITS):
        low_R, rest_R = rest_R & 31, rest_R >> 5
        more_R = np.where(low_R & 16, rest_R != -1, rest_R != 0)
        digits_RD[:, d], used_RD[:, d] = low_R + 32 * more_R + 48, going_R
        going_R &= more_R
        if not going_R.any():
            break
    return digits_RD[used_RD].tobytes().decode("ascii")


def counts_from_text(text: str | bytes) -> np.ndarray:
    """Inverse of `counts_to_text`; ValueError on anything that it cannot have written."""
    data = text if isinstance(text, bytes) else text.encode("ascii", "replace")
    code_K = np.frombuffer(data, dtype=np.uint8).astype(np.int64) - 48
    # "?" (what "replace" writes) is a digit of this alphabet, so other letters are looked for by themselves
    if ((code_K < 0) | (code_K > 63)).any() or (isinstance(text, str) and not text.isascii()):
        raise ValueError("a compressed mask holds other characters than COCO's '0' to 'o'; check the annotation")
    if not len(code_K):
        return code_K
    more_K = code_K & 32 > 0
    if more_K[-1]:
        raise ValueError("a compressed mask ends in the middle of a number; it was cut off, load it again")
    end_R = np.flatnonzero(~more_K)
    start_R = np.concatenate(([0], end_R[:-1] + 1))
    digits_R = end_R - start_R + 1
    if digits_R.max() > MAX_DIGITS:
        raise ValueError(f"a compressed mask holds a number of {digits_R.max()} digits; at most {MAX_DIGITS} are valid")
    shift_K = 5 * (np.arange(len(code_K)) - np.repeat(start_R, digits_R))
    counts_R = np.add.reduceat((code_K & 31) << shift_K, start_R)
    counts_R -= np.where(code_K[end_R] & 16, 1 << (5 * digits_R), 0)
    counts_R[1::2] = np.cumsum(counts_R[1::2])
    counts_R[2::2] = np.cumsum(counts_R[2::2])
    return counts_R


def ring_ends(ring: Sequence[float], height: int, width: int) -> np.ndarray:
    """Sorted pixel numbers where the inside of one ring starts or ends, by COCO's rule; then height x width.

    The ring is rounded to fifths of a pixel and walked one fifth at a time along the longer side of each edge;
    wherever the walk passes the middle of a pixel column, the row below the point reached is an end.
    """
    flat = np.asarray(ring, dtype=np.float64)
    if flat.ndim != 1 or len(flat) % 2 or len(flat) < 6 or not np.isfinite(flat).all():
        raise ValueError("a COCO polygon ring needs three or more finite points as x1, y1, x2, y2, ...; check it")
    # casts go towards zero, as in C
    from_E2 = np.trunc(5 * flat.reshape(-1, 2) + 0.5)
    delta_E2 = np.roll(from_E2, -1, axis=0) - from_E2
    steps_E = np.abs(delta_E2).max(axis=1)
    if steps_E.sum() + len(steps_E) > MAX_WALK:
        raise ValueError(f"a COCO polygon ring is longer than {MAX_WALK // 5} pixels; check its units")
    edge_P, step_P = ranges(np.zeros(len(steps_E), dtype=np.int64), steps_E.astype(np.int64) + 1)
    # an edge is drawn from its lower end along the longer side, so that both directions give the same points
    wide_E = np.abs(delta_E2[:, 0]) >= np.abs(delta_E2[:, 1])
    flip_E = np.where(wide_E, delta_E2[:, 0], delta_E2[:, 1]) < 0
    origin_E2 = np.where(flip_E[:, None], from_E2 + delta_E2, from_E2)
    slope_E2 = np.where(flip_E[:, None], -delta_E2, delta_E2) / np.maximum(steps_E, 1)[:, None]
    along_P = np.where(flip_E[edge_P], steps_E[edge_P] - step_P, step_P)
    exact_P2 = origin_E2[edge_P] + slope_E2[edge_P] * along_P[:, None]
    walk_P2 = np.trunc(exact_P2 + 0.5)
    # the longer side counts whole fifths, also below zero, where adding a half and cutting would be off by one
    walk_P2 = np.where(np.stack((wide_E, ~wide_E), axis=1)[edge_P], np.rint(exact_P2), walk_P2)
    moved_Q = np.flatnonzero(walk_P2[1:, 0] != walk_P2[:-1, 0])
    low_Q2 = np.minimum(walk_P2[1:], walk_P2[:-1])[moved_Q]
    middle_Q2 = (low_Q2 + 0.5) / 5 - 0.5
    column_Q = middle_Q2[:, 0]
    kept_Q = (np.floor(column_Q) == column_Q) & (column_Q >= 0) & (column_Q <= width - 1)
    row_Q = np.ceil(np.clip(middle_Q2[:, 1], 0, height))
    ends_Q = np.sort((column_Q[kept_Q] * height + row_Q[kept_Q]).astype(np.int64))
    return np.append(ends_Q, height * width)

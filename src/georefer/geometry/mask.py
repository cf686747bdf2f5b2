"""Masks: sets of pixels as COCO run lengths. Counting, joining and comparing work on the runs, in numpy.

Runs go down the columns, left column first, and alternate between unset and set, starting with unset (a count
of 0 where the first pixel is set). The compressed string is COCO's, byte for byte.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import shapely

from georefer.geometry.coco_runs import MAX_DIGITS, counts_from_text, counts_to_text, ring_ends
from georefer.geometry.raster_grid import outline, pixel_runs, ranges
from georefer.geometry.shapes import HBB

MAX_PIXELS = 1 << 28
"""Largest height x width; a few bytes of runs can claim any size, and somebody will decode them."""

MANY_PAIRS = 0.1
"""Above this share of pairs whose bounds meet, all are compared together, which costs less a pair."""

PAIR_BATCH = 1 << 20
"""Run ends compared at once; bounds the memory of large IoU matrices."""


@dataclass(frozen=True, eq=False)
class Mask:
    """A binary mask of `height` x `width` pixels; equal pixels are equal masks.

    `counts_R` holds the run lengths without empty runs (except a leading 0), so that there is one form of
    each mask; make masks by the constructors below, which check.
    """

    height: int
    width: int
    counts_R: np.ndarray

    # --- making ------------------------------------------------------------------------------------------

    @classmethod
    def from_dense(cls, mask_HW: np.ndarray) -> Mask:
        """Of an array (height, width): pixels that are not 0 are set."""
        mask_HW = np.asarray(mask_HW)
        if mask_HW.ndim != 2:
            raise ValueError(f"a mask of shape {mask_HW.shape} was given; pass one of shape (height, width)")
        height, width = _checked_size(mask_HW.shape)
        flat = (mask_HW if mask_HW.dtype == bool else mask_HW != 0).ravel(order="F")
        turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        ends_R = np.insert(turns, 0, 0) if flat[:1].any() else turns
        return cls(height, width, np.diff(ends_R, prepend=0, append=flat.size))

    @classmethod
    def from_counts(cls, counts_R: Sequence[int] | np.ndarray, size: tuple[int, int]) -> Mask:
        """Of run lengths and (height, width); ValueError where they do not fill the mask exactly."""
        height, width = _checked_size(size)
        try:
            given_R = np.asarray(counts_R)
        except ValueError:  # lists of several lengths
            given_R = np.zeros(1)
        if given_R.ndim != 1 or (given_R.size and given_R.dtype.kind not in "iu"):
            raise ValueError("the counts of a mask are not a flat list of whole numbers; pass run lengths")
        counts_R = given_R.astype(np.int64)
        total = height * width
        # each is checked before the sum is, which could otherwise wrap around to the right number
        if ((counts_R < 0) | (counts_R > total)).any() or counts_R.sum() != total:
            raise ValueError(
                f"the run lengths of a mask sum to {sum(counts_R.tolist())} with a smallest of "
                f"{counts_R.min(initial=0)}, and {height} x {width} = {total} was expected; check size and counts"
            )
        return cls._of_ends(np.cumsum(counts_R), height, width)

    @classmethod
    def from_coco(cls, rle: Mapping[str, Any]) -> Mask:
        """Of {"size": [height, width], "counts": compressed str or bytes, or a list of run lengths}."""
        try:
            (height, width), counts = rle["size"], rle["counts"]
        except (KeyError, TypeError, ValueError):
            raise ValueError('a COCO mask needs "size": [height, width] and "counts"; check the annotation') from None
        height, width = _checked_size((height, width))
        if isinstance(counts, str | bytes):
            # even with every pixel a run of its own, no text is longer; more cannot be right and costs memory
            counts = counts_from_text(counts[: MAX_DIGITS * (height * width + 2) + 1])
        return cls.from_counts(counts, (height, width))

    @classmethod
    def of_geometry(cls, geometry: shapely.Geometry, size: tuple[int, int]) -> Mask:
        """Of an area in pixels: exactly the pixels whose centre is inside, with holes and several parts.

        A centre exactly on an edge belongs to the area right of or below it, so neighbours share no pixel.
        Invalid shapes are repaired first, see `overlap.repaired`.
        """
        height, width = _checked_size(size)
        if height * width == 0:
            return cls.from_counts([], size)
        column_K, start_K, end_K = pixel_runs(geometry, width, height)
        ends_K2 = np.column_stack((start_K, end_K)) + (column_K * height)[:, None]
        return cls._of_ends(np.append(ends_K2.ravel(), height * width), height, width)

    @classmethod
    def of_coco_polygons(cls, rings: Sequence[Sequence[float]], size: tuple[int, int]) -> Mask:
        """Of flat rings [x1, y1, x2, y2, ...] by COCO's own rule, byte for byte; the union of all rings.

        That rule rounds corners to fifths of a pixel and walks between them, so along slanted edges a pixel
        here and there differs from `of_geometry` (a box of 15 x 8 loses 0.3 on average). It cannot say holes.
        Use it for scores that must equal published ones, and `of_geometry` for everything else.
        """
        height, width = _checked_size(size)
        parts = [cls._of_ends(ring_ends(ring, height, width), height, width) for ring in rings]
        return union(parts) if parts else cls.from_counts([height * width], size)

    @classmethod
    def _of_ends(cls, ends_R: np.ndarray, height: int, width: int) -> Mask:
        """Of the sorted ends of alternating runs (the last one is height x width); empty runs are merged away."""
        total, ends_R = height * width, ends_R[:-1]
        # an even number of ends at one place changes nothing there, an odd number is one end
        first_R = np.flatnonzero(np.diff(ends_R, prepend=-1))
        times_R = np.diff(first_R, append=len(ends_R))
        ends_R = ends_R[first_R[times_R % 2 == 1]]
        ends_R = ends_R[ends_R < total]
        return cls(height, width, np.diff(ends_R, prepend=0, append=total))

    def __post_init__(self) -> None:
        self.counts_R.setflags(write=False)

    # --- reading -----------------------------------------------------------------------------------------

    def dense(self) -> np.ndarray:
        """The pixels as a new bool array (height, width), columns contiguous in memory."""
        states_R = np.arange(len(self.counts_R)) % 2 == 1
        return np.repeat(states_R, self.counts_R).reshape(self.width, self.height).T

    def to_coco(self) -> dict[str, Any]:
        """{"size": [height, width], "counts": compressed string}, as pycocotools writes it (str, not bytes)."""
        return {"size": [self.height, self.width], "counts": counts_to_text(self.counts_R)}

    def to_geometry(self) -> shapely.Geometry:
        """The exact outline of the set pixels: a valid Polygon or MultiPolygon, corners on pixel edges."""
        if not self.area:
            return shapely.Polygon()
        column_K, start_K, end_K = self._column_runs()
        stride = self.height + 1
        # every end of a run is a corner on the left and on the right of its column ...
        key_K = (column_K[:, None] * stride + np.column_stack((start_K, end_K))).ravel()
        key_D = np.concatenate((key_K, key_K + stride))
        is_end_D = np.tile(np.arange(len(key_K)) % 2 == 1, 2)
        is_left_D = np.arange(len(key_D)) >= len(key_K)
        order_D = np.argsort(key_D, kind="stable")
        key_D, is_end_D, is_left_D = key_D[order_D], is_end_D[order_D], is_left_D[order_D]
        # ... unless the run beside it ends (or starts) there too; one that starts where the other ends stays
        twin_D = key_D[1:] == key_D[:-1]
        straight_D = twin_D & (is_end_D[1:] == is_end_D[:-1])
        kept_D = ~(np.append(straight_D, False) | np.append(False, straight_D))
        cross_D = np.append(twin_D, False) | np.append(False, twin_D)
        rising_K = (cross_D & (is_end_D != is_left_D))[kept_D]
        key_K = key_D[kept_D]
        x_K, y_K = key_K // stride, key_K % stride
        run_K = np.searchsorted(np.cumsum(self.counts_R), x_K * self.height + y_K, side="right")
        set_K = (run_K % 2 == 1) & (y_K < self.height)
        box_4 = np.array([0.0, 0.0, self.width, self.height])
        crossed = bool(cross_D[kept_D].any())
        return outline(x_K, y_K, rising_K if crossed else None, set_K, box_4, self.width, self.height)

    @cached_property
    def area(self) -> int:
        """Number of set pixels."""
        return int(self.counts_R[1::2].sum())

    @cached_property
    def bounds(self) -> HBB:
        """Outer edges of the set pixels, in pixels; all 0 where none is set (pycocotools' toBbox as corners)."""
        starts_K, ends_K = self.runs
        if not len(starts_K):
            return HBB(0.0, 0.0, 0.0, 0.0)
        left_K, top_K = np.divmod(starts_K, self.height)
        right_K, bottom_K = np.divmod(ends_K - 1, self.height)
        over = (left_K < right_K).any()  # a run that goes on in the next column touches bottom and top
        top, bottom = (0, self.height) if over else (top_K.min(), bottom_K.max() + 1)
        return HBB(float(left_K[0]), float(top), float(right_K[-1] + 1), float(bottom))

    @cached_property
    def runs(self) -> tuple[np.ndarray, np.ndarray]:
        """First and end pixel number of every set run, counted down the columns."""
        ends_R = np.cumsum(self.counts_R)
        pairs = len(ends_R) // 2
        return ends_R[: 2 * pairs : 2], ends_R[1 : 2 * pairs : 2]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        same_size = (self.height, self.width) == (other.height, other.width)
        return same_size and np.array_equal(self.counts_R, other.counts_R)

    def __hash__(self) -> int:
        return hash((self.height, self.width, self.counts_R.tobytes()))

    def __repr__(self) -> str:
        return f"<Mask {self.height} x {self.width}, {self.area} set>"

    def _column_runs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Set runs cut at the foot of each column: column, first row, end row."""
        starts_K, ends_K = self.runs
        first_K, last_K = starts_K // self.height, (ends_K - 1) // self.height
        count_K = last_K - first_K + 1
        run_C = np.repeat(np.arange(len(count_K)), count_K)
        column_C = np.arange(len(run_C)) - (np.cumsum(count_K) - count_K - first_K)[run_C]
        foot_C = column_C * self.height
        start_C = np.maximum(starts_K[run_C] - foot_C, 0)
        return column_C, start_C, np.minimum(ends_K[run_C] - foot_C, self.height)


# --- several masks ---------------------------------------------------------------------------------------


def union(masks: Sequence[Mask]) -> Mask:
    """Pixels set in at least one of the masks (one or more, all of one size)."""
    return _where_set(masks, at_least=1)


def intersection(masks: Sequence[Mask]) -> Mask:
    """Pixels set in all of the masks (one or more, all of one size)."""
    return _where_set(masks, at_least=len(masks))


def _where_set(masks: Sequence[Mask], at_least: int) -> Mask:
    height, width = _common_size(masks)
    places_K = np.concatenate([ends for mask in masks for ends in mask.runs])
    steps_K = np.concatenate(
        [np.full(len(ends), way) for mask in masks for ends, way in zip(mask.runs, (1, -1), strict=True)]
    )
    order_K = np.argsort(places_K, kind="stable")
    is_set_K = np.cumsum(steps_K[order_K]) >= at_least
    # the state changes at these places, perhaps back and forth at one place: that cancels
    ends_K = places_K[order_K][np.diff(is_set_K, prepend=False)]
    return Mask._of_ends(np.append(ends_K, height * width), height, width)


def mask_iou(masks_N: Sequence[Mask], masks_M: Sequence[Mask], *, crowd: bool = False) -> np.ndarray:
    """Pairwise IoU (N, M). With `crowd`, COCO's rule for crowd regions M: the part of each N inside them.

    Two empty masks give 0, as pycocotools does. Pairs whose bounds do not meet cost nothing.
    """
    iou_NM = np.zeros((len(masks_N), len(masks_M)))
    if iou_NM.size == 0:
        return iou_NM
    _common_size([*masks_N, *masks_M])
    a_N4, b_M4 = _bounds(masks_N), _bounds(masks_M)
    low_NM2 = np.maximum(a_N4[:, None, :2], b_M4[None, :, :2])
    high_NM2 = np.minimum(a_N4[:, None, 2:], b_M4[None, :, 2:])
    meet_NM = (low_NM2 < high_NM2).all(axis=2)
    n_P, m_P = np.nonzero(meet_NM)
    if len(n_P) < MANY_PAIRS * iou_NM.size:
        iou_NM[n_P, m_P] = _iou_of(masks_N, masks_M, n_P, m_P, crowd)
        return iou_NM
    area_N, area_M = np.array([m.area for m in masks_N]), np.array([m.area for m in masks_M])
    inter_NM = _shared_pixels_of_all(masks_N, masks_M)
    whole_NM = np.broadcast_to(area_N[:, None], inter_NM.shape) if crowd else area_N[:, None] + area_M - inter_NM
    return inter_NM / np.maximum(whole_NM, 1)


def mask_iou_pairs(masks_P: Sequence[Mask], others_P: Sequence[Mask], *, crowd: bool = False) -> np.ndarray:
    """IoU (P,) of each mask with the other at the same place; see `mask_iou`."""
    if len(masks_P) != len(others_P):
        raise ValueError(f"{len(masks_P)} masks came with {len(others_P)} others; pass as many of each")
    for mask, other in zip(masks_P, others_P, strict=True):
        _common_size([mask, other])
    pair_P = np.arange(len(masks_P))
    return _iou_of(masks_P, others_P, pair_P, pair_P, crowd)


def _iou_of(masks_N: Sequence[Mask], masks_M: Sequence[Mask], n_P, m_P, crowd: bool) -> np.ndarray:
    area_N, area_M = np.array([m.area for m in masks_N] or [0]), np.array([m.area for m in masks_M] or [0])
    inter_P = _shared_pixels(masks_N, masks_M, n_P, m_P)
    whole_P = area_N[n_P] if crowd else area_N[n_P] + area_M[m_P] - inter_P
    return inter_P / np.maximum(whole_P, 1)


def _shared_pixels(masks_N: Sequence[Mask], masks_M: Sequence[Mask], n_P: np.ndarray, m_P: np.ndarray) -> np.ndarray:
    """Pixels set in both masks of each pair: how many set pixels of the one lie within the runs of the other.

    The pairs of a batch stand one after another on one line, so that a single sorted search answers them all.
    """
    ends_N, ends_M = _run_ends(masks_N), _run_ends(masks_M)
    stride = 1 + max((mask.height * mask.width for mask in masks_N), default=0)
    shared_P = np.zeros(len(n_P), dtype=np.int64)
    batch_P = np.cumsum(ends_N[1][n_P] + ends_M[1][m_P]) // PAIR_BATCH
    edges = [0, *(np.flatnonzero(np.diff(batch_P)) + 1).tolist(), len(n_P)]
    for low, high in pairwise(edges):
        asked_K, pair_K = _on_one_line(*ends_N, n_P[low:high], stride)
        line_K, _ = _on_one_line(*ends_M, m_P[low:high], stride)
        before_R = np.concatenate(([0], np.cumsum(line_K[1::2] - line_K[::2])))
        passed_K = np.searchsorted(line_K, asked_K, side="right")
        # every mask has an even number of ends, so an odd number passed means: inside a run
        started_K = np.append(line_K, 0)[passed_K - 1]
        set_before_K = before_R[passed_K // 2] + np.where(passed_K % 2 == 1, asked_K - started_K, 0)
        in_run_K = set_before_K[1::2] - set_before_K[::2]
        shared_P[low:high] = np.bincount(pair_K[::2], in_run_K, high - low)  # float64 counts exactly up to 2**53
    return shared_P


def _shared_pixels_of_all(masks_N: Sequence[Mask], masks_M: Sequence[Mask]) -> np.ndarray:
    """Pixels set in both, (N, M), where most pairs meet: all run ends of N are sorted once for all of M."""
    ends_K, count_N, start_N = _run_ends(masks_N)
    shared_NM = np.zeros((len(masks_N), len(masks_M)), dtype=np.int64)
    some_N = np.flatnonzero(count_N)
    if not len(some_N):
        return shared_NM
    order_K = np.argsort(ends_K, kind="stable")
    sorted_K = ends_K[order_K]
    place_K = np.empty(len(order_K), dtype=np.int64)
    place_K[order_K] = np.arange(len(order_K))
    starts_K, stops_K = place_K[::2], place_K[1::2]
    for m, mask in enumerate(masks_M):
        turns_R = np.cumsum(mask.counts_R)[: len(mask.counts_R) // 2 * 2]
        # set pixels before a place: constant between the runs of this mask, one more a pixel within them
        times_R = np.diff(np.searchsorted(sorted_K, turns_R), prepend=0, append=len(sorted_K))
        before_R = np.concatenate(([0], np.cumsum(turns_R[1::2] - turns_R[::2])))
        level_R = np.repeat(before_R, 2)[: len(turns_R) + 1]
        level_R[1::2] -= turns_R[::2]
        slope_R = np.arange(len(level_R)) % 2
        passed_K = np.repeat(slope_R, times_R) * sorted_K + np.repeat(level_R, times_R)
        shared_NM[some_N, m] = np.add.reduceat(passed_K[stops_K] - passed_K[starts_K], start_N[some_N] // 2)
    return shared_NM


def _run_ends(masks: Sequence[Mask]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and end pixel of all set runs, alternating, of all masks; how many of each mask; where they start."""
    ends = [np.cumsum(mask.counts_R)[: len(mask.counts_R) // 2 * 2] for mask in masks]
    count_N = np.array([len(e) for e in ends], dtype=np.int64)
    return np.concatenate(ends) if ends else np.zeros(0, dtype=np.int64), count_N, np.cumsum(count_N) - count_N


def _on_one_line(ends_K, count_N, start_N, n_P: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    pair_K, place_K = ranges(start_N[n_P], start_N[n_P] + count_N[n_P])
    return ends_K[place_K] + pair_K * stride, pair_K


def _bounds(masks: Sequence[Mask]) -> np.ndarray:
    return np.array([(b.x1, b.y1, b.x2, b.y2) for b in (mask.bounds for mask in masks)])


def _common_size(masks: Sequence[Mask]) -> tuple[int, int]:
    sizes = {(mask.height, mask.width) for mask in masks}
    if len(sizes) != 1:
        found = ", ".join(f"{h} x {w}" for h, w in sorted(sizes)[:4]) or "no mask"
        raise ValueError(f"masks of one size are needed and {found} came; bring them to one image first")
    return sizes.pop()


def _checked_size(size: Sequence[int]) -> tuple[int, int]:
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        raise ValueError(f"a mask of size {size!r} was given; pass (height, width) as two whole numbers") from None
    if min(height, width) < 0 or height * width > MAX_PIXELS:
        raise ValueError(f"a mask of {height} x {width} pixels was given; 0 to {MAX_PIXELS} pixels are possible")
    return height, width

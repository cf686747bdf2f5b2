"""Non-maximum suppression by true shapes: of shapes that overlap too much, the one with the best score stays.

Only pairs whose bounds meet are ever compared, and shapes are taken in blocks, best first: what a block suppresses
is gone before the next one looks, so that ten thousand answers on one spot cost neither time nor memory.
Looks from several windows at one object are another matter: see `georefer.geometry.merge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import shapely

from georefer.geometry.overlap import Areas

BLOCK = 1024
"""Shapes that are compared among themselves in one go; at worst half a million pairs."""


def suppress(
    shapes_N: np.ndarray,
    scores_N: np.ndarray,
    *,
    threshold: float = 0.5,
    measure: Literal["iou", "contained"] = "iou",
    kinds: Sequence[str] | str = "polygon",
    labels_N: Sequence[str] | np.ndarray | None = None,
) -> np.ndarray:
    """Rows of the shapes that stay (K,), best score first: greedy suppression; see `suppressed_by` for its rules."""
    by_N = suppressed_by(
        shapes_N, scores_N, threshold=threshold, measure=measure, kinds=kinds, labels_N=labels_N
    )  # fmt: skip
    order_N = _best_first(np.asarray(scores_N, dtype=np.float64))
    return order_N[by_N[order_N] == order_N]


def suppressed_by(
    shapes_N: np.ndarray,
    scores_N: np.ndarray,
    *,
    threshold: float = 0.5,
    measure: Literal["iou", "contained"] = "iou",
    kinds: Sequence[str] | str = "polygon",
    labels_N: Sequence[str] | np.ndarray | None = None,
) -> np.ndarray:
    """For each shape (N,) the row of the one that it gave way to; its own row if it stays.

    Taken from the best score down, each shape that is still there suppresses the later ones that overlap it by more
    than `threshold`: by IoU, or ("contained") by the part of the later one that lies inside it, which also removes
    small parts of large shapes. Equal scores are taken in the order given, NaN last. With labels, only shapes of
    the same label compare. Kinds as in `overlap`; shapes without area suppress nothing and stay.
    """
    if measure not in ("iou", "contained"):
        raise ValueError(f"unknown measure {measure!r}; known: iou, contained")
    areas, scores_N = Areas.of(shapes_N, kinds), np.asarray(scores_N, dtype=np.float64)
    class_N = np.zeros(len(areas), dtype=int) if labels_N is None else np.unique(labels_N, return_inverse=True)[1]
    if not len(areas) == len(scores_N) == len(class_N):
        raise ValueError(f"{len(areas)} shapes came with {len(scores_N)} scores and {len(class_N)} labels")
    order_N = _best_first(scores_N)
    areas, class_N = areas[order_N], class_N[order_N]
    boxes_N = shapely.box(*areas.boxes_N4.T)
    tree = shapely.STRtree(boxes_N)
    # from here on rows are ranks; -1 is a shape that is still there and has not been taken
    by_N = np.full(len(areas), -1)
    for start in range(0, len(areas), BLOCK):
        block = start + np.flatnonzero(by_N[start : start + BLOCK] < 0)
        first, second = shapely.STRtree(boxes_N[block]).query(boxes_N[block])
        first, second = _above(areas, class_N, block[first], block[second], measure, threshold)
        _take_greedily(by_N, block, first, second)
        taken = block[by_N[block] == block]
        first, second = tree.query(boxes_N[taken])
        first = taken[first]
        open_P = (by_N[second] < 0) & (second >= start + BLOCK)
        first, second = _above(areas, class_N, first[open_P], second[open_P], measure, threshold)
        # the best of those that suppress one: written last, in falling order
        worst_first = np.argsort(-first, kind="stable")
        by_N[second[worst_first]] = first[worst_first]
    result_N = np.empty(len(areas), dtype=int)
    result_N[order_N] = order_N[by_N]
    return result_N


def _best_first(scores_N: np.ndarray) -> np.ndarray:
    """Rows by falling score; numpy puts NaN last, and a stable sort keeps equal ones in order."""
    return np.argsort(-scores_N, kind="stable")


def _above(
    areas: Areas, class_N: np.ndarray, first: np.ndarray, second: np.ndarray, measure: str, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of ranks, better one first, of one class that overlap by more than the threshold."""
    wanted_P = (first < second) & (class_N[first] == class_N[second])
    first, second = first[wanted_P], second[wanted_P]
    if measure == "iou":
        above_P = areas.measure_pairs(first, areas, second, "iou") > threshold
    else:
        above_P = areas.measure_pairs(second, areas, first, "ioa") > threshold
    return first[above_P], second[above_P]


def _take_greedily(by_N: np.ndarray, block: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    """Decides the shapes of a block by the pairs among them; each decision depends on those before it."""
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    starts = np.searchsorted(first, block)
    ends = np.searchsorted(first, block, side="right")
    for rank, start, end in zip(block.tolist(), starts.tolist(), ends.tolist(), strict=True):
        if by_N[rank] >= 0:
            continue
        by_N[rank] = rank
        if end > start:
            rest = second[start:end]
            by_N[rest[by_N[rest] < 0]] = rank

"""Average precision and graph recall as FIT-RSFG's scorer of complex comprehension computes them, for all rows at once.

The rules are those of its eval_map.py and sgg_eval (derived from mmdetection and Scene-Graph-Benchmark): rows are
collected first, then every pair of boxes that may meet is measured in one go instead of one call a row and class.
Numbers are float32 where the original's are, so that the last printed digit is the same.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from georefer.evaluation.protocols.fit_reading import CLASSES, PREDICATES, Box, Boxes, Graph
from georefer.geometry.rotated import obb_iou_pairs

THRESHOLD = 0.25
"""IoU from which two boxes are the same, in all tasks."""

KS = (1000, 1500, 2000)
"""Numbers of first triplets of an answer that are looked at."""

MOST_PAIRS = 500_000
"""Pairs of boxes measured in one go, which bounds memory whatever an answer holds."""

_LEVELS = np.arange(0, 1 + 1e-3, 0.1)
_EPS = np.finfo(np.float32).eps


def overlaps(boxes_P5: np.ndarray, others_P5: np.ndarray) -> np.ndarray:
    """IoU (P,) as float32, of numbers rounded to float32, as the original's call gives it."""
    pairs = (np.asarray(boxes, dtype=np.float32).reshape(-1, 5) for boxes in (boxes_P5, others_P5))
    with np.errstate(over="ignore"):
        return obb_iou_pairs(*pairs).astype(np.float32)


# --- average precision ------------------------------------------------------------------------------------


@dataclass
class DetectionTable:
    """Boxes of all images (rows) of a task that have a truth; images without one do not count, nor their answers."""

    images: int = 0
    truth_keys: list[int] = field(default_factory=list)
    truths: list[Box] = field(default_factory=list)
    said_keys: list[int] = field(default_factory=list)
    said: list[Box] = field(default_factory=list)

    def add(self, boxes: Boxes) -> int | None:
        """Place of the image among those counted, or None. Unknown classes of answers are filed under the last."""
        if not boxes.truth:
            return None
        # an image's keys: one for each class, one behind them for truths of unknown class, which are never looked up
        key = self.images * (len(CLASSES) + 1)
        for label, box in boxes.truth:
            self.truth_keys.append(key + label % (len(CLASSES) + 1))
            self.truths.append(box)
        for label, box in boxes.said:
            self.said_keys.append(key + label % len(CLASSES))
            self.said.append(box)
        self.images += 1
        return self.images - 1

    def hits(self) -> np.ndarray:
        """Whether each answer (D,) is true: it is the first whose best truth (the first of equals) is that one."""
        truth_T, said_D = np.array(self.truth_keys, dtype=np.int64), np.array(self.said_keys, dtype=np.int64)
        order_T = np.argsort(truth_T, kind="stable")
        low_D, high_D = (np.searchsorted(truth_T[order_T], said_D, side=side) for side in ("left", "right"))
        boxes_T5 = np.array(self.truths, dtype=np.float64).reshape(-1, 5)[order_T]
        boxes_D5 = np.array(self.said, dtype=np.float64).reshape(-1, 5)
        best_D, place_D = np.zeros(len(said_D), dtype=np.float32), np.zeros(len(said_D), dtype=np.int64)
        some_D = np.flatnonzero(high_D > low_D)
        for d in _blocks(some_D, (high_D - low_D)[some_D]):
            best_D[d], place_D[d] = _best(boxes_D5[d], low_D[d], high_D[d], boxes_T5)
        hits_D = np.zeros(len(said_D), dtype=bool)
        reaching = np.flatnonzero(best_D >= THRESHOLD)
        hits_D[reaching[np.unique(place_D[reaching], return_index=True)[1]]] = True
        return hits_D

    def report(self, hits_D: np.ndarray) -> dict[str, Any]:
        """Mean AP, images, and for each class with a truth or an answer its AP, numbers and last recall."""
        class_D = np.array(self.said_keys, dtype=np.int64) % (len(CLASSES) + 1)
        truths_C = np.bincount(np.array(self.truth_keys, dtype=np.int64) % (len(CLASSES) + 1), minlength=len(CLASSES))
        aps, lines = [], {}
        for label in np.flatnonzero(np.bincount(class_D, minlength=len(CLASSES)) + truths_C[: len(CLASSES)]).tolist():
            truths = int(truths_C[label])
            ap, recall_R = _average_precision(hits_D[class_D == label], truths)
            if truths:
                aps.append(ap)
            last = float(recall_R[-1]) if len(recall_R) else None
            lines[CLASSES[label]] = {"ap": float(ap), "gts": truths, "dets": len(recall_R), "recall_last": last}
        mean = np.array(aps).mean().item() if aps else 0.0
        return {"mean_ap": mean, "images": self.images, "per_class": lines}

    def counts(self, hits_D: np.ndarray) -> np.ndarray:
        """True positives, answers and truths of each image, (images, 3)."""
        image_D = np.array(self.said_keys, dtype=np.int64) // (len(CLASSES) + 1)
        image_T = np.array(self.truth_keys, dtype=np.int64) // (len(CLASSES) + 1)
        columns = (image_D[hits_D], image_D, image_T)
        return np.column_stack([np.bincount(column, minlength=self.images) for column in columns])


def _blocks(places: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
    """Places in runs of not many more than MOST_PAIRS pairs."""
    if not len(places):
        return []
    return np.split(places, np.flatnonzero(np.diff(np.cumsum(sizes) // MOST_PAIRS)) + 1)


def _best(
    boxes_K5: np.ndarray, low_K: np.ndarray, high_K: np.ndarray, truths_T5: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Largest IoU of each box with truths low ... high - 1, and the first of those that have it."""
    count_K = high_K - low_K
    start_K = np.cumsum(count_K) - count_K
    box_P = np.repeat(np.arange(len(count_K)), count_K)
    truth_P = np.arange(len(box_P)) - start_K[box_P] + low_K[box_P]
    iou_P = overlaps(boxes_K5[box_P], truths_T5[truth_P])
    best_K = np.maximum.reduceat(iou_P, start_K)
    first_K = np.minimum.reduceat(np.where(iou_P == best_K[box_P], truth_P, len(truths_T5)), start_K)
    return best_K, first_K


def _average_precision(hits_R: np.ndarray, truths: int) -> tuple[np.float32, np.ndarray]:
    """AP at eleven levels of recall, and recall at each rank; the order of the file is that of the ranks."""
    if not len(hits_R):
        return np.float32(0), np.zeros(0)
    found_R = np.cumsum(hits_R, dtype=np.float32)
    recall_R = found_R.astype(np.float64) / max(float(truths), float(_EPS))
    precision_R = found_R / np.arange(1, len(found_R) + 1, dtype=np.float32)
    envelope_R = np.append(np.maximum.accumulate(precision_R[::-1])[::-1], np.float32(0))
    levels_L = envelope_R[np.searchsorted(recall_R, _LEVELS, side="left")]
    return np.cumsum(levels_L, dtype=np.float32)[-1] / np.float32(11), recall_R


# --- graphs -----------------------------------------------------------------------------------------------


@dataclass
class GraphTable:
    """Truths of all images (rows) of a task, and when each is first said; images with nothing said are passed over."""

    given: int = 0
    scored: list[int] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    predicates: list[int] = field(default_factory=list)
    _first: list[np.ndarray] = field(default_factory=list)
    _pairs: list[tuple[int, int]] = field(default_factory=list)
    _ends: list[tuple[Box, Box, Box, Box]] = field(default_factory=list)

    def add(self, truth: Graph, said: Graph) -> int | None:
        """Place of the image among those scored, or None; every triplet said may hit any number of truths."""
        place = self.given
        self.given += 1
        if not truth.triplets or not said.triplets:
            return None
        begin = len(self.images)
        self.scored.append(place)
        self.images += [len(self.scored) - 1] * len(truth.triplets)
        by_name: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        for t, triplet in enumerate(truth.triplets):
            self.predicates.append(triplet[1])
            by_name[triplet].append(t)
        for p, triplet in enumerate(said.triplets[: KS[-1]]):
            for t in by_name.get(triplet, ()):
                self._pairs.append((begin + t, p))
                self._ends.append((*truth.ends[t], *said.ends[p]))
            if len(self._pairs) > MOST_PAIRS:
                self._measure()
        return len(self.scored) - 1

    def _measure(self) -> None:
        """Keep those of the collected pairs whose boxes meet at both ends."""
        ends_P45 = np.array(self._ends, dtype=np.float64).reshape(-1, 4, 5)
        pairs_P2 = np.array(self._pairs, dtype=np.int64).reshape(-1, 2)
        for end in (0, 1):
            meets_P = overlaps(ends_P45[:, end], ends_P45[:, end + 2]) >= THRESHOLD
            ends_P45, pairs_P2 = ends_P45[meets_P], pairs_P2[meets_P]
        self._first.append(pairs_P2)
        self._pairs, self._ends = [], []

    def report(self) -> dict[str, Any]:
        """The original's results at every K; `recall_per_scored_image` at the smallest."""
        self._measure()
        first_T = np.full(len(self.images), KS[-1])
        for pairs_P2 in self._first:
            np.minimum.at(first_T, pairs_P2[:, 0], pairs_P2[:, 1])
        image_T = np.array(self.images, dtype=np.int64)
        recalls = {k: self._recalls(first_T < k, image_T) for k in KS}
        lists = {str(k): self._by_predicate(first_T < k, image_T) for k in KS}
        recall_I = recalls[KS[0]]
        return {
            "returned_recall": float(np.mean(recall_I)) if len(recall_I) else None,
            "images_given": self.given,
            "images_scored": len(self.scored),
            "recall_per_scored_image": [list(pair) for pair in zip(self.scored, recall_I.tolist(), strict=True)],
            "mean_recall": {
                "sgdet_mean_recall": {k: float(np.cumsum(values)[-1]) / len(values) for k, values in lists.items()}
            },
            "mean_recall_lists": {"sgdet_mean_recall_list": lists},
            "_at": {k: float(np.mean(values)) if len(values) else float("nan") for k, values in recalls.items()},
        }

    def _recalls(self, hit_T: np.ndarray, image_T: np.ndarray) -> np.ndarray:
        count = len(self.scored)
        return np.bincount(image_T, hit_T, count) / np.bincount(image_T, minlength=count) if count else np.zeros(0)

    def _by_predicate(self, hit_T: np.ndarray, image_T: np.ndarray) -> list[float]:
        """Mean recall of each line of the original's table, which is one line off.

        The line of index 0, "over", is the one left out; the last belongs to unknown predicates, whose index -1
        Python takes for it. Lines without a truth count 0.
        """
        slots = len(PREDICATES) + 1
        key_T = image_T * slots + np.array(self.predicates, dtype=np.int64) % slots
        keys_U, place_T = np.unique(key_T, return_inverse=True)
        ratio_U = np.bincount(place_T, hit_T, len(keys_U)) / np.bincount(place_T, minlength=len(keys_U))
        slot_U = keys_U % slots
        found = {slot: float(np.mean(ratio_U[slot_U == slot])) for slot in np.unique(slot_U).tolist()}
        return [found.get(slot, 0.0) for slot in range(1, slots)]


# --- sets of predicates -----------------------------------------------------------------------------------


@dataclass
class SetTable:
    """Counts of true and false members over all rows."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def add(self, truth: set[str], said: set[str]) -> float:
        """Count one row; its F1, 1 where nothing is asked and nothing said."""
        tp, fp, fn = len(truth & said), len(said - truth), len(truth - said)
        self.tp, self.fp, self.fn = self.tp + tp, self.fp + fp, self.fn + fn
        return f1(tp, tp + fp, tp + fn)

    def ratios(self) -> tuple[float, float, float]:
        """Precision, recall and F1, each 0 where nothing was counted."""
        precision = self.tp / (self.tp + self.fp) if self.tp + self.fp else 0.0
        recall = self.tp / (self.tp + self.fn) if self.tp + self.fn else 0.0
        return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    def report(self) -> dict[str, Any]:
        precision, recall, value = self.ratios()
        return {"precision": precision, "recall": recall, "f1": value, "tp": self.tp, "fp": self.fp, "fn": self.fn}


def f1(hits: int, said: int, true: int) -> float:
    """F1 of one row, 1 where there is nothing and nothing was said."""
    return 2 * hits / (said + true) if said + true else 1.0

"""Average precision beyond one number: its interval, COCO's twelve with sizes, and mAP_nc for answers without scores.

Average precision ranks the predictions of all images together, so it is no ratio of sums over answers and has a
bootstrap of its own: matching stays within an image and is done once, a draw of images only repeats what was matched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from georefer.scoring.detection import COCO_THRESHOLDS, ApMethod, Ranked, TieRule, sorted_average_precisions
from georefer.scoring.greedy import IGNORED, MISSED, by_score, match_coco, match_unranked
from georefer.scoring.ratio import Estimate

NC_CUTOFFS = (0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.7)
"""Scores from which a detector's predictions are kept for mAP_nc (LMMRotate, arXiv 2501.09720)."""

COCO_SIZES: Mapping[str, tuple[float, float]] = {
    "": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10),
}  # fmt: skip
"""Areas in squared pixels, both ends included as in pycocotools."""

COCO_LIMITS = (1, 10, 100)
"""Predictions of one class in one image that count."""


# --- intervals -------------------------------------------------------------------------------------------


def estimate_average_precision(
    classes: Mapping[str, Sequence[Ranked]], images: Sequence[str], *, method: ApMethod = "coco101",
    ties: TieRule = "expected", level: float = 0.95, draws: int = 1000, seed: int = 0,
) -> Estimate:  # fmt: skip
    """`mean_average_precision` with a percentile bootstrap interval clustered by image.

    Each class comes with one `Ranked` for each of `images`, in that order. A class that has no truth in the images
    drawn does not count in that draw. (Of few images a draw with repeats holds fewer different truths than the whole
    set, and ranks false predictions that occur twice twice, so the value need not lie in the middle.)
    """
    if wrong := sorted(name for name, parts in classes.items() if len(parts) != len(images)):
        raise ValueError(
            f"class {wrong[0]!r} came with {len(classes[wrong[0]])} parts for {len(images)} images; "
            "pass one of each image, empty ones too"
        )
    pools = [_Pool.of(parts, method, ties) for parts in classes.values() if sum(part.truths for part in parts)]
    if not pools:
        return Estimate(np.nan, np.nan, np.nan)
    names, cluster_I = np.unique(np.asarray(images, dtype=str), return_inverse=True)
    value = _mean([pool.value(np.ones(len(images), dtype=np.int64)) for pool in pools])
    rng, count, values = np.random.default_rng(seed), len(names), []
    for _ in range(draws):
        times_C = np.bincount(rng.integers(0, count, count), minlength=count)
        values.append(_mean([pool.value(times_C[cluster_I]) for pool in pools]))
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


@dataclass(frozen=True, eq=False)
class _Pool:
    """Predictions of one class in all images by descending score; at each threshold those left out are gone."""

    ranked: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]
    """scores_R, hits_LR and image_R, a triple for the thresholds at which the same predictions are left out."""
    truths_I: np.ndarray
    method: ApMethod
    ties: TieRule

    @classmethod
    def of(cls, parts: Sequence[Ranked], method: ApMethod, ties: TieRule) -> _Pool:
        whole = Ranked.pooled(parts)
        image_P = np.repeat(np.arange(len(parts)), [len(part.scores_P) for part in parts])
        order_R = by_score(whole.scores_P)
        left_out: dict[bytes, list[int]] = {}
        for level, ignored_P in enumerate(whole.ignored_LP):
            left_out.setdefault(ignored_P.tobytes(), []).append(level)
        ranked = []
        for levels in left_out.values():
            kept_R = order_R[~whole.ignored_LP[levels[0], order_R]]
            ranked.append((whole.scores_P[kept_R], whole.hits_LP[np.ix_(levels, kept_R)], image_P[kept_R]))
        return cls(ranked, np.array([part.truths for part in parts]), method, ties)

    def value(self, times_I: np.ndarray) -> float:
        """Mean over thresholds where each image counts so many times; NaN without truths."""
        truths = int(self.truths_I @ times_I)
        if not truths:
            return np.nan
        found = []
        for scores_R, hits_LR, image_R in self.ranked:
            again = np.repeat(np.arange(len(image_R)), times_I[image_R])
            found.append(sorted_average_precisions(scores_R[again], hits_LR[:, again], truths, self.method, self.ties))
        return float(np.concatenate(found).mean())


def _mean(values: Sequence[float]) -> float:
    """Mean of the values that are there, NaN where none is."""
    there = [value for value in values if not np.isnan(value)]
    return float(np.mean(there)) if there else np.nan


# --- COCO ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class CocoImage:
    """Predictions and truths of one class in one image, as COCO judges them.

    In `iou_PT` the columns of crowds hold the part of each prediction inside the crowd (IoA). Areas are in squared
    pixels: `areas_T` those of the annotations (of the mask, where there is one), `areas_P` those of the predictions'
    boxes or masks. Crowds are ignored.
    """

    iou_PT: np.ndarray
    scores_P: np.ndarray
    areas_P: np.ndarray
    areas_T: np.ndarray
    crowd_T: np.ndarray

    def ranked(
        self, thresholds: Sequence[float] = COCO_THRESHOLDS, *, size: tuple[float, float] = COCO_SIZES[""],
        limit: int = COCO_LIMITS[-1],
    ) -> Ranked:  # fmt: skip
        """Judged for truths of one range of areas: others are ignored, and so are predictions that find none of the
        range and lie outside it themselves. The limit holds before that, for predictions of all sizes."""
        low, high = size
        outside_T = np.asarray(self.crowd_T, dtype=bool) | (self.areas_T < low) | (self.areas_T > high)
        kept = by_score(self.scores_P)[:limit]
        scores_P, areas_P = self.scores_P[kept], self.areas_P[kept]
        outside_P = (areas_P < low) | (areas_P > high)
        matched_LP = np.full((len(thresholds), len(kept)), MISSED)
        for level, threshold in enumerate(thresholds):
            matched_LP[level] = match_coco(
                self.iou_PT[kept], scores_P, threshold, ignored_T=outside_T, crowd_T=self.crowd_T
            )
        ignored_LP = (matched_LP == IGNORED) | ((matched_LP == MISSED) & outside_P)
        return Ranked(scores_P, matched_LP >= 0, ignored_LP, int((~outside_T).sum()))


def coco_scores(classes: Mapping[str, Sequence[CocoImage]]) -> dict[str, float]:
    """The twelve numbers of COCO's table, equal scores in the order given, as pycocotools; NaN where nothing counts.

    "AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge", then mean recall over thresholds "AR1", "AR10", "AR100",
    "ARsmall", "ARmedium", "ARlarge". Each class comes as its images, in one order for all classes.
    """
    at = {name: _by_class(classes, size, COCO_LIMITS[-1]) for name, size in COCO_SIZES.items()}
    precisions = {name: [pooled.average_precisions(ties="given") for pooled in found] for name, found in at.items()}
    scores = {"AP": _mean([float(ap_L.mean()) for ap_L in precisions[""]])}
    for name, level in (("AP50", 0), ("AP75", 5)):
        scores[name] = _mean([float(ap_L[level]) for ap_L in precisions[""]])
    sizes = [name for name in COCO_SIZES if name]
    scores |= {f"AP{name}": _mean([float(ap_L.mean()) for ap_L in precisions[name]]) for name in sizes}
    for limit in COCO_LIMITS:
        scores[f"AR{limit}"] = _mean([_recall(pooled) for pooled in _by_class(classes, COCO_SIZES[""], limit)])
    return scores | {f"AR{name}": _mean([_recall(pooled) for pooled in at[name]]) for name in sizes}


def _by_class(classes: Mapping[str, Sequence[CocoImage]], size: tuple[float, float], limit: int) -> list[Ranked]:
    pooled = [Ranked.pooled([image.ranked(size=size, limit=limit) for image in images]) for images in classes.values()]
    return [found for found in pooled if found.truths]


def _recall(pooled: Ranked) -> float:
    """Mean recall over thresholds."""
    return float(pooled.hits_LP.sum(axis=1).mean() / pooled.truths)


# --- without confidences ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unranked:
    """mAP_nc, and the score from which predictions were kept for it: None where none was tried."""

    value: float
    cutoff: float | None


def unranked_average_precision(
    classes: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray | None]]],
    thresholds: Sequence[float] = (0.5,),
    *,
    method: ApMethod = "area",
    cutoffs: Sequence[float] = NC_CUTOFFS,
) -> Unranked:
    """mAP_nc: mean average precision with all scores dropped, so that models with and without them compare.

    Each class comes as (iou_PT, scores_P) of its images. Where all scores are None the predictions are as they are;
    where a detector gave some, the best of `cutoffs` is taken: the same for all classes and images, since choosing
    per class would fit the test set more closely. Equal scores have no order: with "area" each class then has
    precision x recall, at the best pairing.
    """
    parts = [part for images in classes.values() for part in images]
    if all(scores_P is None for _, scores_P in parts):
        return Unranked(_without_scores(classes, None, thresholds, method), None)
    tried = [(_without_scores(classes, cutoff, thresholds, method), cutoff) for cutoff in cutoffs]
    value, cutoff = max(tried, key=lambda pair: (-np.inf if np.isnan(pair[0]) else pair[0], -pair[1]))
    return Unranked(value, cutoff)


def _without_scores(
    classes: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray | None]]],
    cutoff: float | None,
    thresholds: Sequence[float],
    method: ApMethod,
) -> float:
    judge = partial(Ranked.of_image, thresholds=thresholds, match=match_unranked)
    values = []
    for images in classes.values():
        ranked = []
        for iou_PT, scores_P in images:
            kept_P = np.ones(len(iou_PT), dtype=bool) if cutoff is None or scores_P is None else scores_P >= cutoff
            ranked.append(judge(iou_PT[kept_P], np.ones(int(kept_P.sum()))))
        if sum(part.truths for part in ranked):
            values.append(float(Ranked.pooled(ranked).average_precisions(method=method).mean()))
    return _mean(values)

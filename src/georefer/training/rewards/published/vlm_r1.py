"""VLM-R1's rewards over boxes: the IoU of one box, AP of one image in four ways, a weighted sum.

Source: github.com/om-ai-lab/VLM-R1 at 90052f4, src/open-r1-multimodal/src/open_r1/grpo_jsonl.py and
vlm_modules/qwen_module.py; the quirks are listed in `georefer.evaluation.protocols.vlm_r1`. The original builds a COCO
data set for each answer; here an image is a few lists, and equal matchings at several thresholds are scored once.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from georefer.scoring.detection import COCO_THRESHOLDS
from georefer.training.rewards.published.reading import answers, fences, inset_iou, last, load, whole_boxes
from georefer.training.rewards.published.vlm_r1_text import clean

UNUSABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError)
"""What the original raises, or catches with a bare except, at answers or solutions of another form."""

_ANSWER_AFTER = re.compile(r"</think>\s*<answer>")
_ANY_BOX = re.compile(r"\[\d+,\s*\d+,\s*\d+,\s*\d+\]")
_LEVELS = np.linspace(0, 1, 101).tolist()
_THRESHOLDS = [min(t, 1 - 1e-10) for t in COCO_THRESHOLDS]
_MOST = 100
_FEW = 40
"""Pairs of boxes up to which plain numbers are faster than arrays."""
_ROUNDING = float(np.spacing(1))
_MOST_PX = 1e15
_NONE = (-1.0, -1)


# --- one box ---------------------------------------------------------------------------------------------


def iou_reward(content: str, solution: str, image_size: Sequence[float], grid: Sequence[float]) -> float:
    """IoU of the first box, scaled from the processor's image (14 px a cell of `grid` t, h, w) to the real one.

    Raises IndexError or ValueError, as the original does, where the solution has no answer that is JSON.
    """
    truth = load((last(answers(solution)) or _missing()).strip())
    if (box := first_box(content, image_size, grid)) is None:
        return 0.0
    try:
        return inset_iou(box, truth)
    except UNUSABLE:
        return 0.0


def first_box(content: str, image_size: Sequence[float], grid: Sequence[float]) -> list[float] | None:
    """The first whole-number box of the first answer in pixels of the image, or None."""
    match = next(whole_boxes(next(answers(content), "")), None)
    if match is None or len(match[0]) > 4000:
        return None
    width, height = grid[2] * 14, grid[1] * 14
    x1, y1, x2, y2 = (int(v) for v in match.groups())
    across, down = image_size
    try:
        return [x1 / width * across, y1 / height * down, x2 / width * across, y2 / height * down]
    except OverflowError:
        return None


def format_reward_rec(content: str) -> float:
    """1 where thought and answer tags, a brace, a box, a brace and the closing tag follow each other, with any gaps."""
    place = content.find("<think>")
    tag = _ANSWER_AFTER.search(content, place + 7) if place >= 0 else None
    brace = content.find("{", tag.end()) if tag else -1
    box = _ANY_BOX.search(content, brace + 1) if brace >= 0 else None
    brace = content.find("}", box.end()) if box else -1
    return float(brace >= 0 and content.find("</answer>", brace + 1) >= 0)


def _missing() -> str:
    raise IndexError("the solution has no answer tags")


# --- detection -------------------------------------------------------------------------------------------


def map_reward(content: str, solution: str, *, half: bool = False, by_length: bool = False) -> float:
    """COCO's AP of the last fenced list (at IoU 0.5 with `half`); 1 where neither side has boxes.

    `by_length` multiplies by truths / boxes where there are more boxes. Raises ValueError and the like where the
    solution's fence is no list of labelled boxes.
    """
    truths, boxes = solution_items(solution), said_items(content)
    reward = items_reward(boxes, solution, half=half)
    return reward * min(1.0, len(truths) / len(boxes)) if by_length and boxes else reward


def items_reward(boxes: Sequence[Any], solution: str, *, half: bool = False) -> float:
    """COCO's AP of boxes that were read against the last fenced list of a solution; 1 where there are none on both."""
    if boxes and solution_items(solution):
        return _image_ap(boxes, _solution_targets(solution), half)
    return float(not boxes and not solution_items(solution))


def od_reward(content: str, solution: str, *, half: bool = False, by_length: bool = False) -> float:
    """`map_reward` of the last answer against the solution's first; 1 for "None" on both sides, 0 without an answer."""
    truth, answer = next(answers(solution), None), last(answers(content))
    if answer is None:
        return 0.0
    if truth is None:
        raise TypeError("the solution has no answer tags")
    if truth.strip() == answer.strip() == "None":
        return 1.0
    return map_reward(answer, truth, half=half, by_length=by_length)


def fenced_items(text: str) -> list[Any]:
    """What the last fenced JSON holds, one by one; letters of a text, keys of an object."""
    fenced = (last(fences(text)) or "").strip()
    return list(load(fenced)) if fenced else []


def said_items(content: str) -> list[Any]:
    """`fenced_items`; none where the fence cannot be read."""
    try:
        return fenced_items(content)
    except UNUSABLE:
        return []


@lru_cache(maxsize=256)
def solution_items(solution: str) -> list[Any]:
    """`fenced_items` of a solution, kept for the other answers of its group."""
    return fenced_items(solution)


@lru_cache(maxsize=256)
def _solution_targets(solution: str) -> dict[str, _Targets]:
    return _by_label(solution_items(solution))


def image_ap(boxes: Sequence[Any], truths: Sequence[Mapping[str, Any]], *, half: bool = False) -> float:
    """COCO's AP of one image with equal scores; 0 where no box has a label of the truths."""
    return _image_ap(boxes, _by_label(truths), half)


def _image_ap(boxes: Sequence[Any], targets_of: Mapping[str, _Targets], half: bool) -> float:
    said_of: dict[str, list[list[float]]] = defaultdict(list)
    for item in boxes:
        try:
            if item["label"] in targets_of:
                sides = _sides(item["bbox_2d"])
                said_of[item["label"]].append(sides)
        except UNUSABLE:
            continue
    if not said_of:
        return 0.0
    thresholds = _THRESHOLDS[:1] if half else _THRESHOLDS
    values = [ap for label, of in targets_of.items() for ap in _class_aps(said_of[label][:_MOST], of, thresholds)]
    return sum(values) / len(values) if values else -1.0


def _sides(box: Any) -> list[float]:
    """(x, y, width, height) of the first four numbers; numbers beyond measure become a box of nothing."""
    x1, y1, x2, y2 = box[0] + 0, box[1] + 0, box[2] + 0, box[3] + 0
    w, h = x2 - x1, y2 - y1
    is_measured = -_MOST_PX < x1 < _MOST_PX and -_MOST_PX < y1 < _MOST_PX and -_MOST_PX < w < _MOST_PX
    return [x1, y1, w, h] if is_measured and -_MOST_PX < h < _MOST_PX else [0, 0, 0, 0]


@dataclass(frozen=True, eq=False)
class _Targets:
    """True boxes (x, y, width, height) of one class; those without an area from 0 to 1e10 are ignored."""

    sides: list[list[float]]

    @cached_property
    def ignored(self) -> set[int]:
        return {t for t, (_, _, w, h) in enumerate(self.sides) if not 0 <= w * h <= 1e10}

    @cached_property
    def weights(self) -> list[int]:
        """How many of 101 recall levels the k-th truth that is found is the first to reach."""
        count = len(self.sides) - len(self.ignored)
        reached = [0] + [bisect_right(_LEVELS, k / count) for k in range(1, count + 1)]
        return [b - a for a, b in pairwise(reached)]

    @cached_property
    def corners_4T(self) -> np.ndarray:
        return _corners(self.sides)


def _corners(sides: list[list[float]]) -> np.ndarray:
    """Low and high corners (4, N)."""
    corners_4N = np.array(sides, dtype=np.float64).T.copy()
    corners_4N[2:] += corners_4N[:2]
    return corners_4N


def _by_label(truths: Sequence[Mapping[str, Any]]) -> dict[str, _Targets]:
    found: dict[str, list[list[float]]] = {}
    for item in truths:
        found.setdefault(item["label"], []).append(_sides(item["bbox_2d"]))
    return {label: _Targets(sides) for label, sides in found.items()}


def _class_aps(boxes: list[list[float]], targets: _Targets, thresholds: Sequence[float]) -> list[float]:
    """AP at each threshold; none where no truth counts."""
    if not (weights := targets.weights):
        return []
    ignored = targets.ignored
    near = _near(boxes, targets, thresholds[0])
    ious = sorted(iou for row in near for iou, _ in row)
    outside = [not 0 <= w * h <= 1e10 for _, _, w, h in boxes]
    rivals = Counter([t for row in near for _, t in row])
    contested = [p for p, row in enumerate(near) if len(row) > 1 or (row and rivals[row[0][1]] > 1)]
    # a box without a rival has its truth as soon as it is near enough
    alone = [row[0] if row else _NONE for row in near]
    for p in contested:
        alone[p] = _NONE
    rest = [near[p] for p in contested]
    done: dict[int, float] = {}
    values = []
    for threshold in thresholds:
        key = bisect_left(ious, threshold)
        if key not in done:
            found = [t if iou >= threshold else -1 for iou, t in alone]
            for p, t in zip(contested, greedy(rest, threshold, ignored, set()), strict=True):
                found[p] = t
            if ignored or any(outside):
                found = [t for t, o in zip(found, outside, strict=True) if t not in ignored and (t >= 0 or not o)]
            done[key] = _ap(found, weights)
        values.append(done[key])
    return values


def _near(boxes: list[list[float]], targets: _Targets, threshold: float) -> list[list[tuple[float, int]]]:
    """(IoU, truth) of the truths near each box, in their order."""
    truths = targets.sides
    if len(boxes) * len(truths) <= _FEW:
        return [[(iou, t) for t, b in enumerate(truths) if (iou := _iou(a, b)) >= threshold] for a in boxes]
    (west_P, north_P, east_P, south_P), (west_T, north_T, east_T, south_T) = _corners(boxes), targets.corners_4T
    across_PT = np.minimum(east_P[:, None], east_T) - np.maximum(west_P[:, None], west_T)
    down_PT = np.minimum(south_P[:, None], south_T) - np.maximum(north_P[:, None], north_T)
    meet_P, meet_T = np.nonzero((across_PT > 0) & (down_PT > 0))
    inter_M = across_PT[meet_P, meet_T] * down_PT[meet_P, meet_T]
    area_P, area_T = (np.array([w * h for _, _, w, h in of], dtype=np.float64) for of in (boxes, truths))
    iou_M = inter_M / (area_P[meet_P] + area_T[meet_T] - inter_M)
    near_M = iou_M >= threshold
    found: list[list[tuple[float, int]]] = [[] for _ in boxes]
    for p, t, iou in zip(meet_P[near_M].tolist(), meet_T[near_M].tolist(), iou_M[near_M].tolist(), strict=True):
        found[p].append((iou, t))
    return found


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if across <= 0 or down <= 0:
        return 0.0
    return across * down / (a[2] * a[3] + b[2] * b[3] - across * down)


def _ap(found: list[int], weights: Sequence[int]) -> float:
    """Mean precision at 101 recall levels, of truths found (or -1) in the order of the answer."""
    hits, precisions = 0, []
    for asked, truth in enumerate(found, 1):
        if truth >= 0:
            hits += 1
            precisions.append(hits / (asked + _ROUNDING))
    total, best = 0.0, 0.0
    for precision, weight in zip(reversed(precisions), reversed(weights[:hits]), strict=True):
        if precision > best:
            best = precision
        total += best * weight
    return total / len(_LEVELS)


def greedy(
    near: Sequence[Sequence[tuple[float, int]]], threshold: float, ignored: Set[int], crowds: Set[int]
) -> list[int]:
    """Truth of each prediction by COCO's rule, or -1: `scoring.match_coco` over lists of the pairs that are near.

    Candidates are (IoU, truth) in the order of the truths; predictions come by falling score.
    """
    taken: set[int] = set()
    found = []
    for row in near:
        best, truth, rests = threshold, -1, True
        for iou, t in row:
            rest = t in ignored
            if iou < threshold or t in taken or (rest and not rests):
                continue
            # one that counts goes before any that is ignored; of equal overlaps COCO keeps the last
            if iou >= best or (rests and not rest):
                best, truth, rests = iou, t, rest
        if truth >= 0 and truth not in crowds:
            taken.add(truth)
        found.append(truth)
    return found


def weighted_sum_reward(content: str, solution: str, *, lenient: bool = False) -> float:
    """0.7 of the summed IoU of pairs with one label by truths, 0.3 of one minus the mean of misses and alarms.

    Raises UnboundLocalError, as the original does, where the first pair's box has no label; `lenient` takes an empty
    one.
    """
    content, solution = clean(content), clean(solution)
    if solution == "none":
        return float(content == "none")
    truths = _firstfenced_items(clean(solution))
    try:
        boxes = _firstfenced_items(clean(content))
    except UNUSABLE:
        boxes = []
    if not truths or not boxes:
        return float(not truths and not boxes)
    pairs = sorted(
        (-iou, p, t) for p, a in enumerate(boxes) for t, b in enumerate(truths) if (iou := _pair_iou(a, b)) >= 0.5
    )
    said: str | None = "" if lenient else None
    total, free_boxes, free_truths = 0.0, set(range(len(boxes))), set(range(len(truths)))
    for negative, p, t in pairs:
        if p in free_boxes and t in free_truths:
            free_boxes.remove(p)
            free_truths.remove(t)
            said = _label(boxes[p], "" if lenient else said)
            if said is None:
                raise UnboundLocalError("the first pair's box has no label")
            total -= negative if said == _label(truths[t], "") else 0
    complete = 1.0 - (len(free_truths) / len(truths) + len(free_boxes) / len(boxes)) / 2.0
    return (0.7 * (total / len(truths)) + 0.3 * complete) / (0.7 + 0.0 + 0.3)


def _firstfenced_items(text: str) -> list[Any]:
    fenced = next(fences(text), "").strip()
    return list(load(fenced)) if fenced else []


def _pair_iou(box: Any, truth: Any) -> float:
    try:
        return inset_iou(box["bbox_2d"], truth["bbox_2d"])
    except UNUSABLE:
        return 0.0


def _label(item: Any, otherwise: str | None) -> str | None:
    try:
        return item["label"].lower()
    except UNUSABLE:
        return otherwise

"""VLM-R1's rewards over boxes: the IoU of one box, AP of one image in four ways, a weighted sum.

Source: github.com/om-ai-lab/VLM-R1 at 90052f4, src/open-r1-multimodal/src/open_r1/grpo_jsonl.py and
vlm_modules/qwen_module.py; the quirks are listed in `georefer.evaluation.protocols.vlm_r1`. The original builds a COCO
data set for each answer; here an image is a few lists, and equal matchings at several thresholds are scored once.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
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
    truths = fenced_items(solution)
    try:
        boxes = fenced_items(content)
    except UNUSABLE:
        boxes = []
    empty = float(not boxes and not truths)
    reward = image_ap(boxes, truths, half=half) if boxes and truths else empty
    return reward * min(1.0, len(truths) / len(boxes)) if by_length and boxes else reward


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


def image_ap(boxes: Sequence[Any], truths: Sequence[Mapping[str, Any]], *, half: bool = False) -> float:
    """COCO's AP of one image with equal scores; 0 where no box has a label of the truths."""
    truth_of: dict[str, list[list[float]]] = {}
    for item in truths:
        truth_of.setdefault(item["label"], []).append(_sides(item["bbox_2d"]))
    said_of: dict[str, list[list[float]]] = defaultdict(list)
    for item in boxes:
        try:
            if item["label"] in truth_of:
                sides = _sides(item["bbox_2d"])
                said_of[item["label"]].append(sides)
        except UNUSABLE:
            continue
    if not said_of:
        return 0.0
    thresholds = _THRESHOLDS[:1] if half else _THRESHOLDS
    values = [ap for label, of in truth_of.items() for ap in _class_aps(said_of[label][:_MOST], of, thresholds)]
    return sum(values) / len(values) if values else -1.0


def _sides(box: Any) -> list[float]:
    """(x, y, width, height) of the first four numbers; numbers beyond measure become a box of nothing."""
    x1, y1, x2, y2 = box[0] + 0, box[1] + 0, box[2] + 0, box[3] + 0
    sides = [x1, y1, x2 - x1, y2 - y1]
    return sides if all(abs(v) < 1e15 for v in sides) else [0, 0, 0, 0]


def _class_aps(boxes: list[list[float]], truths: list[list[float]], thresholds: Sequence[float]) -> list[float]:
    """AP at each threshold; none where no truth has an area from 0 to 1e10 (others are ignored)."""
    ignored = {t for t, (_, _, w, h) in enumerate(truths) if not 0 <= w * h <= 1e10}
    count = len(truths) - len(ignored)
    if not count:
        return []
    near = _near(boxes, truths, thresholds[0])
    ious = sorted(iou for row in near for iou, _ in row)
    outside = [not 0 <= w * h <= 1e10 for _, _, w, h in boxes]
    done: dict[int, float] = {}
    values = []
    for threshold in thresholds:
        key = bisect_left(ious, threshold)
        if key not in done:
            done[key] = _ap(greedy(near, threshold, ignored, set()), outside, ignored, count)
        values.append(done[key])
    return values


def _near(boxes: list[list[float]], truths: list[list[float]], threshold: float) -> list[list[tuple[float, int]]]:
    """(IoU, truth) of the truths near each box, in their order."""
    if len(boxes) * len(truths) <= _FEW:
        return [[(iou, t) for t, b in enumerate(truths) if (iou := _iou(a, b)) >= threshold] for a in boxes]
    a_4P, b_4T = (np.array(of, dtype=np.float64).T for of in (boxes, truths))
    low_2P, low_2T, high_2P, high_2T = a_4P[:2], b_4T[:2], a_4P[:2] + a_4P[2:], b_4T[:2] + b_4T[2:]
    side_2PT = np.minimum(high_2P[:, :, None], high_2T[:, None]) - np.maximum(low_2P[:, :, None], low_2T[:, None])
    meet_P, meet_T = np.nonzero((side_2PT > 0).all(axis=0))
    inter_M = side_2PT[0, meet_P, meet_T] * side_2PT[1, meet_P, meet_T]
    iou_M = inter_M / (np.prod(a_4P[2:], axis=0)[meet_P] + np.prod(b_4T[2:], axis=0)[meet_T] - inter_M)
    found: list[list[tuple[float, int]]] = [[] for _ in boxes]
    for p, t, iou in zip(meet_P.tolist(), meet_T.tolist(), iou_M.tolist(), strict=True):
        if iou >= threshold:
            found[p].append((iou, t))
    return found


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if across <= 0 or down <= 0:
        return 0.0
    return across * down / (a[2] * a[3] + b[2] * b[3] - across * down)


def _ap(found: list[int], outside: list[bool], ignored: set[int], count: int) -> float:
    """Mean precision at 101 recall levels, of truths found (or -1) in the order of the answer."""
    hits, asked, precisions = 0, 0, []
    for truth, out in zip(found, outside, strict=True):
        if truth in ignored or (truth < 0 and out):
            continue
        asked += 1
        if truth >= 0:
            hits += 1
            precisions.append(hits / (asked + _ROUNDING))
    total, best = 0.0, 0.0
    for k in range(hits, 0, -1):
        best = max(best, precisions[k - 1])
        below = bisect_right(_LEVELS, (k - 1) / count) if k > 1 else 0
        total += best * (bisect_right(_LEVELS, k / count) - below)
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

"""Geo-R1's rewards from its equations, over what its own scripts read in an answer.

Source: arXiv 2509.21976, equations 4 to 7; parsers of github.com/Geo-R1/geo-r1 at c2f2131, run_scripts/test_*_eval.py.
The training code was never published, so what the equations leave open is taken from VLM-R1, on which it was built:
mAP is that of one image with equal scores, and two empty lists earn 1. Numbers are taken as pixels of the image, as
all of their scripts do, though the model says pixels of Qwen's resized one. The rewards of form and of boxes are added
without weights by whoever trains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from georefer.training.rewards.published.reading import answers, fences, load, whole_boxes
from georefer.training.rewards.published.vlm_r1 import items_reward, said_items, solution_items


def read_rl(content: str) -> list[int]:
    """The last whole-number box within braces of the first answer; four zeros where there is none."""
    answer = next(answers(content), "").strip()
    opened, closed = answer.find("{"), answer.rfind("}")
    boxes = [m for m in whole_boxes(answer, opened + 1) if m.end() <= closed] if opened >= 0 else []
    return [int(v) for v in boxes[-1].groups()] if boxes else [0, 0, 0, 0]


def read_gres(content: str, lenient: bool = False) -> list[dict[str, Any]]:
    """Boxes with both key points, of the first fenced JSON, else of the list in the first answer."""
    text = next(fences(content), None)
    if text is None:
        answer = next(answers(content), "").strip()
        text = fenced_or(answer, "[", "]") or answer
    data = json_or_none(text.strip())
    parsed = []
    for item in data if isinstance(data, list) else ():
        if not isinstance(item, dict):
            if not lenient:
                raise AttributeError(f"{str(item)[:40]!r} has no keys")
            continue
        box, points = item.get("bbox_2d"), [item.get("keypoint1"), item.get("keypoint2")]
        if list_of(box, 4) and all(list_of(point, 2) for point in points):
            parsed.append({"box": box, "points": points})
    return parsed


def clip_to_box(mask_HW: np.ndarray, box: Sequence[Any]) -> np.ndarray:
    """The mask within a box, whose numbers (or texts of whole numbers) are cut to whole pixels."""
    x1, y1, x2, y2 = (int(v) for v in box)
    kept_HW = np.zeros_like(mask_HW, dtype=bool)
    inside = (slice(max(y1, 0), max(y2, 0)), slice(max(x1, 0), max(x2, 0)))
    kept_HW[inside] = mask_HW[inside]
    return kept_HW


def list_of(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count


def fenced_or(text: str, opening: str, closing: str) -> str:
    """The first fenced JSON of a text, else all between its first and last bracket, else nothing."""
    if (fenced := next(fences(text), None)) is not None:
        return fenced.strip()
    start, end = text.find(opening), text.rfind(closing)
    return text[start : end + 1].strip() if 0 <= start < end else ""


def json_or_none(text: str) -> Any:
    try:
        return load(text)
    except ValueError:
        return None


# --- rewards ---------------------------------------------------------------------------------------------

MaskOf = Callable[[Sequence[float], Sequence[Sequence[float]]], np.ndarray]
"""What SAM is to them: a box and its two points, both positive, to a mask (height, width) of the image."""


def format_reward(content: str) -> float:
    """1 where both pairs of tags are there, wherever they stand."""
    return float(all(_has_pair(content, name) for name in ("think", "answer")))


def _has_pair(content: str, name: str) -> bool:
    start = content.find(f"<{name}>")
    return start >= 0 and content.find(f"</{name}>", start) >= 0


def iou_reward(content: str, truth_4: Sequence[float]) -> float:
    """IoU of the box that their parser of reinforced answers reads, the last one, with the true one."""
    said = read_rl(content)
    across = min(said[2], truth_4[2]) - max(said[0], truth_4[0])
    down = min(said[3], truth_4[3]) - max(said[1], truth_4[1])
    if across <= 0 or down <= 0:
        return 0.0
    try:
        inter = float(across * down)
        return inter / ((said[2] - said[0]) * (said[3] - said[1]) + _area(truth_4) - inter)
    except OverflowError:
        return 0.0


def _area(box_4: Sequence[float]) -> float:
    return float((box_4[2] - box_4[0]) * (box_4[3] - box_4[1]))


def map_penalty_reward(content: str, solution: str) -> float:
    """min(1, sqrt(truths / boxes)) x mAP of the first answer; 1 where both sides have no box."""
    answer, truth = next(answers(content), ""), next(answers(solution), solution)
    boxes, count = said_items(answer), len(solution_items(truth))
    reward = items_reward(boxes, truth)
    return reward * min(1.0, (count / len(boxes)) ** 0.5) if boxes else reward


def mask_reward(content: str, truth_HW: np.ndarray, mask_of: MaskOf) -> float:
    """IoU of the union of masks, each cut to its box, with the true mask; 0 where both are empty."""
    said_HW = np.zeros(truth_HW.shape, dtype=bool)
    for item in read_gres(content, lenient=True)[:_MOST_MASKS]:
        try:
            x1, y1, x2, y2 = (max(int(v), 0) for v in item["box"])
            said_HW[y1:y2, x1:x2] |= mask_of(item["box"], item["points"])[y1:y2, x1:x2].astype(bool)
        except (TypeError, ValueError, OverflowError):  # what says no numbers makes no mask
            continue
    union = int((said_HW | truth_HW).sum())
    return int((said_HW & truth_HW).sum()) / union if union else 0.0


def box_mask(size: tuple[int, int]) -> MaskOf:
    """A mask function without a model, for images of (width, height): all of the box, whatever the points."""

    everywhere_HW = np.ones(size[::-1], dtype=bool)  # what is outside the box is cut off by the reward
    return lambda box, points: everywhere_HW


_MOST_MASKS = 200
"""Objects of an answer that are segmented."""

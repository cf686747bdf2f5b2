"""Rex-Omni's F1 of boxes and Visual-RFT's two rewards, as published.

Sources: IDEA-Research/Rex-Omni, finetuning/verl/configs/reward_func.py (read in a copy of the repository);
Liuziyu77/Visual-RFT, src/virft/src/open_r1/grpo.py (likewise). Visual-RFT first asks a computer algebra system whether
answer and solution are equal as mathematics, and gives 1 then; that step is left out here.

What they do that a strict scorer would not, all kept here:

- Rex-Omni: recall is the mean best IoU of each truth and precision that of each box, so one box may serve several
  truths and duplicates of a hit cost nothing; coordinates are divided by 1000 though written in steps of 999.
- Rex-Omni: anything without a labelled box, "banana" too, is a right "nothing".
- Visual-RFT: exact repetitions are dropped; IoU of 0.5 or less is none; a right empty answer earns 0.
- Visual-RFT: the confidence reward pays 1 - confidence for a false alarm, so junk said with confidence 0 earns all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from georefer.geometry.overlap import hbb_iou
from georefer.training.rewards.published.reading import answers

_COORDINATE = re.compile(r"<(\d{1,18})>")
MOST_BOXES = 1_000


# --- Rex-Omni --------------------------------------------------------------------------------------------


def rex_omni_reward(content: str, truth: Mapping[str, Sequence[Sequence[float]]], size: tuple[float, float]) -> float:
    """F1 of mean best IoUs; `truth` are boxes in pixels by class, of the resized image of `size` (width, height)."""
    said = rex_omni_boxes(content, size)
    boxes_P4, labels_P = _flat(said)
    truths_T4, labels_T = _flat(truth)
    if not len(truths_T4):
        return float(not len(boxes_P4))
    if not len(boxes_P4):
        return 0.0
    iou_PT = np.where(labels_P[:, None] == labels_T[None], hbb_iou(boxes_P4, truths_T4), 0.0)
    recall, precision = float(iou_PT.max(axis=0).mean()), float(iou_PT.max(axis=1).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def rex_omni_boxes(content: str, size: tuple[float, float]) -> dict[str, list[list[float]]]:
    """Boxes in pixels by class: every four numbers between the marks, what is left over and what is empty dropped."""
    text, found = content.replace("\n", "").strip(), dict[str, list[list[float]]]()
    begin, between, end = "<|object_ref_start|>", "<|object_ref_end|><|box_start|>", "<|box_end|>"
    start, count = text.find(begin), 0
    while start >= 0 and count < MOST_BOXES:
        middle = text.find(between, start + len(begin))
        stop = text.find(end, middle + len(between)) if middle >= 0 else -1
        if stop < 0:
            break
        boxes = found.setdefault(text[start + len(begin) : middle].strip(), [])
        numbers = [int(n) / 1000.0 for n in _COORDINATE.findall(text, middle + len(between), stop)]
        for k in range(0, len(numbers) - 3, 4):
            x, y = (sorted((numbers[k + i] * size[i], numbers[k + i + 2] * size[i])) for i in (0, 1))
            if x[0] < x[1] and y[0] < y[1]:
                boxes.append([x[0], y[0], x[1], y[1]])
                count += 1
        start = text.find(begin, stop + len(end))
    return found


def _flat(boxes: Mapping[str, Sequence[Sequence[float]]]) -> tuple[np.ndarray, np.ndarray]:
    labels = [label for label, of in boxes.items() for _ in of]
    return np.array([b for of in boxes.values() for b in of], dtype=np.float64).reshape(-1, 4), np.array(labels, object)


# --- Visual-RFT ------------------------------------------------------------------------------------------


def visual_rft_iou_reward(content: str, solution: str) -> float:
    """IoU of greedily paired boxes (those above 0.5) by the larger number of boxes."""
    found = _paired(content, solution)
    if found is None:
        return 0.0
    ious, _, truths = found
    return min(sum(ious) / max(len(ious), truths), 1.0)


def visual_rft_confidence_reward(content: str, solution: str) -> float:
    """Mean of the confidence of hits and of one minus the confidence of false alarms."""
    found = _paired(content, solution)
    if found is None:
        return 0.0
    earned = [said if iou else 1 - said for iou, said in zip(*found[:2], strict=True)]
    return min(max(sum(earned) / len(earned), 0.0), 1.0)


def _paired(content: str, solution: str) -> tuple[list[float], list[float], int] | None:
    """IoU of each box, 0 without a pair, and its confidence, by falling confidence, and the number of truths."""
    closed = next((answer for line in content.split("\n") for answer in answers(line)), content)
    inside = closed.strip().replace("[[", "[").replace("]]", "]").replace("\n", "")
    try:
        said, truths = visual_rft_items(f"<answer>{inside}</answer>"), visual_rft_items(solution.strip())
        if not isinstance(said[0], dict):
            return None
        first_of: dict[tuple[Any, ...], Any] = {}
        for item in said:
            first_of.setdefault(tuple(item["Position"]), item)
        said = sorted(first_of.values(), key=lambda item: item["Confidence"], reverse=True)
        ious = _greedy(_boxes(said), _boxes(truths)) if truths else [0.0] * len(said)
        return ious, [item["Confidence"] + 0.0 for item in said], len(truths)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError):
        return None


def visual_rft_items(text: str) -> list[Any]:
    """The list between the first tags, its quotes made JSON's and its end put right; ValueError where it is none."""
    start = text.find("<answer>")
    if start < 0:
        raise ValueError("no answer")
    end = text.find("</answer>")
    inside = text[start + len("<answer>") : len(text) if end < 0 else end]
    if not inside.endswith("]"):
        inside = inside.rsplit("},", 1)[0] + "}]"
    return json.loads(inside.replace("'", '"'))


def _boxes(items: Sequence[Any]) -> np.ndarray:
    boxes_N4 = np.array([item["Position"] for item in items])
    if boxes_N4.ndim != 2 or boxes_N4.shape[1] != 4 or boxes_N4.dtype.kind not in "if":
        raise ValueError("a position is no list of four numbers")
    return boxes_N4.astype(np.float64)


def _greedy(boxes_P4: np.ndarray, truths_T4: np.ndarray) -> list[float]:
    """IoU of each box with the free truth it overlaps most, or 0 where that is 0.5 or less, in the order given."""
    iou_PT = hbb_iou(boxes_P4, truths_T4)
    found = []
    for row_T in iou_PT:
        best = int(row_T.argmax())
        found.append(float(row_T[best]) if row_T[best] > 0.5 else 0.0)
        if found[-1]:
            iou_PT[:, best] = -1.0
    return found

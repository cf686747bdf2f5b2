"""VLM-R1's rewards as published: one box, detection in six ways, choices, form, length, repetition.

Source: github.com/om-ai-lab/VLM-R1 at 90052f4, src/open-r1-multimodal/src/open_r1/grpo_jsonl.py and
vlm_modules/qwen_module.py. Input: `rewards_rec.jsonl` (with image_size and image_grid_thw), `rewards_od.jsonl` and
`rewards_text.jsonl` (with method), rows of `content` and `solution`.

What they do that a strict scorer would not, all kept here:

- One box: the first whole-number box of the first answer counts, others cost nothing; overlap of one pixel is none.
- mAP of one image with equal scores: the answer's order decides, false alarms behind the last hit are free, boxes of
  labels that the truth does not have are dropped. odLength multiplies by truths / boxes, which duplicates may fill.
- Where nothing is to be found, any text without a fence of boxes earns 1.
- map reads the last fence, weighted_sum the first one; od_ap the last answer, and the solution's first.
- weighted_sum: 0.7 of the IoU of pairs with equal labels, 0.3 for few misses and alarms, whatever the labels.
- Choices are letters before a mark or the end of text; "yes" and "no" count within words ("I know" is a no).
- Length is rewarded as if every answer were right.

weighted_sum stops where the first pair's prediction has no label that is a text, and repetition where a list holds
something else than objects; listed here, with the value that an empty label has. A later label that is missing is
taken from the pair before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from georefer.errors import InputError
from georefer.evaluation.protocols.base import Beside, Protocol, Row, Scores, Stop
from georefer.evaluation.protocols.geo_r1_read import deserved, files_of, mean, reward_rows, said, soft_f1, told
from georefer.geometry import Frame
from georefer.scoring.choice import read_choice
from georefer.training.rewards.published.reading import answers, last, load, numbers_of, think_answer_form
from georefer.training.rewards.published.vlm_r1 import (
    UNUSABLE,
    fenced_items,
    first_box,
    format_reward_rec,
    image_ap,
    iou_reward,
    map_reward,
    od_reward,
    weighted_sum_reward,
)
from georefer.training.rewards.published.vlm_r1_text import (
    TEXT_REWARDS,
    all_match_reward,
    cosine_reward,
    repetition_reward,
)

REC, OD, TEXT = "rewards_rec.jsonl", "rewards_od.jsonl", "rewards_text.jsonl"

QUIRKS = {
    "one-pixel": "boxes that share one pixel or less along a side have IoU 0",
    "swapped-corners": "a box whose corners are swapped has IoU 0",
    "no-clipping": "what a box claims outside the image counts against it, though nothing is there",
    "first-box": "only the first box of the first answer counts; further ones cost and help nothing",
    "whole-numbers": "only whole numbers without a sign, in brackets, between answer tags, are a box",
    "any-numbers": "any four whole numbers in brackets are a box, whatever they are called",
    "file-order": "boxes have equal scores, so the order in which an answer says them decides its AP",
    "unknown-labels-free": "boxes whose label the truth does not have are dropped and cost nothing",
    "late-alarms-free": "false alarms behind the last hit cost nothing",
    "steps-of-iou": "AP counts a pair at ten IoUs from 0.5, and nothing below",
    "fence-and-tags": "only the last ```json fence in the last answer is read",
    "anything-is-none": "where nothing is to be found, any text without boxes in a fence earns 1",
    "letters": "a choice is a capital letter before a mark or the end of the text, by words nearby",
    "yes-within-words": "the first yes or no counts, also within a word",
}


# --- files -----------------------------------------------------------------------------------------------

OD_REWARDS: Mapping[str, Callable[[str, str], float]] = {
    "map": map_reward,
    "od_ap": od_reward,
    "od_ap50": lambda content, solution: od_reward(content, solution, half=True),
    "odLength": lambda content, solution: od_reward(content, solution, by_length=True),
    "weighted_sum": weighted_sum_reward,
    "all_match": all_match_reward,
    "repetition": lambda content, _: repetition_reward(content),
    "cosine_with_whitespace_tokens": lambda content, _: cosine_reward(len(content.split())),
    "format": lambda content, _: think_answer_form(content),
}
"""The detection rewards of an answer and its solution; the length reward with words for tokens."""


def _score(path: Path, settings: Mapping[str, str], beside: bool) -> Scores:
    files = files_of(path, (REC, OD, TEXT), f"{REC}, {OD}, {TEXT} or the folder that holds them")
    numbers: dict[str, Any] = {}
    rows: list[Row] = []
    stops: list[Stop] = []
    measures = []
    for name, part, score in ((REC, "vlmr1_rec", _rec), (OD, "vlmr1_od", _od), (TEXT, "vlmr1_text", _text)):
        if name in files:
            asked = reward_rows(files[name], settings)
            numbers[part], headline_N = score(asked, files[name], stops)
            found = [Row(part, row["id"], value) for row, value in zip(asked, headline_N, strict=True)]
            if beside:
                found = [_BESIDE[part](row, one) for row, one in zip(asked, found, strict=True)]
                published, strict = mean(r.published for r in found), mean(r.strict for r in found)
                measures.append(Beside(part, "mean reward", published, strict))
            rows += found
    return Scores(numbers, tuple(rows), tuple(stops), tuple(measures))


Found = tuple[Any, list[float | None]]
"""A part's numbers, and the headline reward of each row."""


def _rec(rows: Sequence[Mapping[str, Any]], path: Path, stops: list[Stop]) -> Found:
    rewards: list[float | None] = []
    for row in rows:
        size, grid = _sizes(row, path)
        try:
            rewards.append(iou_reward(row["content"], row["solution"], size, grid))
        except UNUSABLE as error:
            rewards.append(None)
            stops.append(Stop("vlmr1_rec", row["id"], f"the solution cannot be read ({error})"))
    forms = {"format_reward_rec": format_reward_rec, "format_reward": think_answer_form}
    numbers = {"rows": len(rows), "iou_reward": rewards}
    return numbers | {name: [form(row["content"]) for row in rows] for name, form in forms.items()}, rewards


def _sizes(row: Mapping[str, Any], path: Path) -> tuple[list[float], list[float]]:
    size, grid = numbers_of(row.get("image_size"), 2), numbers_of(row.get("image_grid_thw"), 3)
    if size is None or grid is None or min(*size, *grid) < 1:
        raise InputError(f"{path}: row {row['id']!r} lacks image_size [width, height] or image_grid_thw [t, h, w]")
    return size, grid


def _od(rows: Sequence[Mapping[str, Any]], path: Path, stops: list[Stop]) -> Found:
    numbers: dict[str, Any] = {"rows": len(rows)}
    for name, reward in OD_REWARDS.items():
        numbers[name] = []
        for row in rows:
            try:
                numbers[name].append(reward(row["content"], row["solution"]))
            except (*UNUSABLE, UnboundLocalError) as error:
                numbers[name].append({"exception": type(error).__name__})
                why = f"{name} raises {type(error).__name__}: {error}"
                if isinstance(error, UnboundLocalError):
                    empty = weighted_sum_reward(row["content"], row["solution"], lenient=True)
                    why += f"; with an empty label it is {empty}"
                stops.append(Stop("vlmr1_od", row["id"], why))
    return numbers, [None if isinstance(value, dict) else value for value in numbers["od_ap"]]


def _text(rows: Sequence[Mapping[str, Any]], path: Path, stops: list[Stop]) -> Found:
    rewards: list[float | None] = []
    for row in rows:
        if (reward := TEXT_REWARDS.get(str(row.get("method")))) is None:
            rewards.append(None)
            stops.append(
                Stop("vlmr1_text", row["id"], f"the method {row.get('method')!r} asks a model or an algebra system")
            )
        else:
            rewards.append(reward(row["content"], row["solution"]))
    return rewards, rewards


# --- strict ----------------------------------------------------------------------------------------------


def _beside(row: Row, strict: float, steps: list[tuple[str, float]]) -> Row:
    apart = row.published is None or abs(row.published - strict) > 1e-6
    return Row(row.part, row.id, row.published, strict, told(steps, strict) if apart and steps else ())


def _rec_beside(asked: Mapping[str, Any], row: Row) -> Row:
    """What the answer's boxes deserve, clipped to the image; steps by the box that was read."""
    content, (size, grid) = asked["content"], (asked["image_size"], asked["image_grid_thw"])
    frame = Frame.resize((int(size[0]), int(size[1])), (int(grid[2] * 14), int(grid[1] * 14)))
    if row.published is None:
        return row
    truth = numbers_of(load((last(answers(asked["solution"])) or "").strip()), 4)
    truths = [truth] if truth and truth[0] < truth[2] and truth[1] < truth[3] else []
    strict = deserved(content, truths, "geo-r1", frame=frame)
    box = first_box(content, size, grid)
    if box is None:
        return _beside(row, strict, [("whole-numbers", row.published)])
    same = soft_f1([[min(max(v, 0.0), size[k % 2]) for k, v in enumerate(box)]], truths)
    swapped = box[0] > box[2] or box[1] > box[3]
    why = "swapped-corners" if swapped else "one-pixel" if row.published == 0 else "no-clipping"
    lost = "first-box" if len(said(content, "geo-r1", frame)[0]) else "any-numbers"
    return _beside(row, strict, [(why, row.published), (lost, same)])


def _od_beside(asked: Mapping[str, Any], row: Row) -> Row:
    """What the answer's boxes deserve by label; what decides is tried on the boxes that were read."""
    if row.published is None:
        return row
    content, truths = asked["content"], _items_or_none(next(answers(asked["solution"]), ""))
    boxes_T4, labels_T = _columns(truths)
    strict = deserved(content, boxes_T4, "geo-r1", labels_T)
    read = _items_or_none(last(answers(content)) or "")
    boxes_P4, labels_P = _columns(read)
    same = soft_f1(boxes_P4, boxes_T4, labels_P, labels_T)
    if abs(row.published - strict) <= 1e-6:
        return _beside(row, strict, [])
    reasons = set()
    if abs(row.published - same) > 1e-9:
        reasons = _tried(read, truths, row.published) if read and truths else set()
        reasons = reasons or {"steps-of-iou" if truths and read else "fence-and-tags"}
    if abs(same - strict) > 1e-9:
        reasons.add("fence-and-tags" if truths else "anything-is-none")
    return Row(row.part, row.id, row.published, strict, tuple(sorted(reasons)))


def _items_or_none(text: str) -> list[Any]:
    try:
        return fenced_items(text)
    except UNUSABLE:
        return []


def _tried(read: list[Any], truths: list[Any], published: float) -> set[str]:
    """Quirks of AP that change the reward of these boxes when tried."""
    known = {item["label"] for item in truths}
    named = [item for item in read if isinstance(item, dict) and item.get("label") in known]
    reasons = set()
    if len(named) < len(read):
        reasons.add("unknown-labels-free")
    if abs(image_ap(named[::-1], truths) - published) > 1e-9:
        reasons.add("file-order")
    if any(abs(image_ap(named[:k], truths) - published) < 1e-9 for k in range(len(named))[-20:]):
        reasons.add("late-alarms-free")
    return reasons | {"steps-of-iou"} if 0 < published < 1 or not reasons else reasons


def _columns(items: Sequence[Any]) -> tuple[list[list[float]], list[str]]:
    """Readable boxes of labelled items, and their labels in small letters."""
    pairs = [(numbers_of(i.get("bbox_2d"), 4), i.get("label")) for i in items if isinstance(i, dict)]
    kept = [(box, str(label).lower()) for box, label in pairs if box is not None]
    return [box for box, _ in kept], [label for _, label in kept]


def _text_beside(asked: Mapping[str, Any], row: Row) -> Row:
    """The choice as `scoring.read_choice` reads it, yes and no as whole words; equal texts are what they are."""
    method, content, truth = (
        asked.get("method"),
        asked["content"],
        (last(answers(asked["solution"])) or asked["solution"]),
    )
    answer = last(answers(content)) or content
    if method == "mcq":
        right = read_choice(truth, _CHOICES).index
        strict = float(right >= 0 and read_choice(answer, _CHOICES).index == right)
        return _beside(row, strict, [("letters", row.published or 0.0)])
    if method == "yes_no":
        words, right_words = ({*_YES_NO.findall(text.lower())} for text in (answer, truth))
        return _beside(
            row, float(len(right_words) == 1 and words == right_words), [("yes-within-words", row.published or 0.0)]
        )
    return row if row.published is None else _beside(row, row.published, [])


_YES_NO = re.compile(r"\b(?:yes|no)\b")
_CHOICES = 8
"""Letters from A on that a choice may be: the files do not say how many were offered."""

_BESIDE: Mapping[str, Callable[[Mapping[str, Any], Row], Row]] = {
    "vlmr1_rec": _rec_beside,
    "vlmr1_od": _od_beside,
    "vlmr1_text": _text_beside,
}

PROTOCOL = Protocol(
    name="vlm-r1",
    source="github.com/om-ai-lab/VLM-R1 at 90052f4, open_r1/grpo_jsonl.py and vlm_modules/qwen_module.py",
    reads=f"{REC}, {OD}, {TEXT}: rows of content and solution; or a folder with any of them",
    quirks=QUIRKS,
    score=_score,
)

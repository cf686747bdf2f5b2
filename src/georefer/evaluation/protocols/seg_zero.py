"""Seg-Zero's rewards as published: form, and whether one box and two points are near enough (at most 5).

Source: github.com/dvlab-research/Seg-Zero at 42a3345, verl/utils/reward_score/seg.py and seg_restrict.py. Input:
`rewards_segzero.jsonl`, rows of `content` and `solution` (`<box>(x1,y1),(x2,y2)</box><points>(..),(..)</points>`).

What they do that a strict scorer would not, all kept here:

- Two of five points are for the form of the answer, whatever it says; no box is needed for the first.
- The first text in braces counts, even in the thought; a second object is not looked at and costs nothing.
- IoU above 0.5, box corners nearer than 10 px and points nearer than 100 px are steps: exactness earns nothing.
- IoU counts the last pixel in (+1), and a question without a target can earn the form alone.
- seg asks for keys that hold "bbox" and "point", but for the points' nearness for "points"; seg_restrict for
  `bbox`, `points_1` and `points_2`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from georefer.evaluation.protocols.base import Beside, Protocol, Row, Scores
from georefer.evaluation.protocols.geo_r1_read import deserved, files_of, mean, reward_rows, soft_f1, told
from georefer.training.rewards.published.seg_zero import (
    BOX_PATTERN,
    MOST,
    PARTS,
    first_object,
    four_numbers,
    free_keys,
    seg_reward,
)

FILE = "rewards_segzero.jsonl"

QUIRKS = {
    "form": "two of five points are for the form, whatever the answer says",
    "points": "box corners within 10 px and two points within 100 px count as much as the IoU",
    "steps": "IoU above 0.5 counts in full and any other not at all, with the last pixel counted in",
    "first-braces": "only the first text in braces is read, even in the thought, and only under the keys expected",
    "no-target": "a question without a target earns the form and nothing for a right empty answer",
}


def _score(path: Path, settings: Mapping[str, str], beside: bool) -> Scores:
    rows = reward_rows(files_of(path, (FILE,), f"{FILE} or the folder that holds it")[FILE], settings)
    free = [seg_reward(row["content"], row["solution"]) for row in rows]
    strict = [seg_reward(row["content"], row["solution"], restrict=True) for row in rows]
    numbers = {
        "rows": len(rows),
        **{
            name: {part: [reward[part] for reward in rewards] for part in PARTS}
            for name, rewards in (("seg", free), ("seg_restrict", strict))
        },
    }
    if not beside:
        scored = [Row("segzero", row["id"], reward["total"] / MOST) for row, reward in zip(rows, free, strict=True)]
        return Scores({"segzero": numbers}, tuple(scored))
    scored = [_beside(row, reward) for row, reward in zip(rows, free, strict=True)]
    measure = Beside(
        "segzero", "reward by its maximum", mean(r.published for r in scored), mean(r.strict for r in scored)
    )
    return Scores({"segzero": numbers}, tuple(scored), beside=(measure,))


def _beside(row: Mapping[str, Any], reward: Mapping[str, float]) -> Row:
    """The reward by its maximum beside what the answer's boxes deserve."""
    content, box = row["content"], four_numbers(BOX_PATTERN, row["solution"])
    truths = [box] if box else []
    strict = deserved(content, truths, "visionreasoner")
    said = first_object(content)
    key = free_keys(said)[0]
    read = [said[key]] if key is not None and _numbers(said[key]) else []
    same = soft_f1(read, truths) if truths else 0.0
    steps = [
        ("form", reward["total"] / MOST),
        ("points", (reward["iou"] + reward["box_l1"] + reward["point_l1"]) / 3),
        ("steps", reward["iou"]),
        ("first-braces" if truths else "no-target", same),
    ]
    published = steps[0][1]
    reasons = told(steps, strict) if abs(published - strict) > 1e-6 else ()
    return Row("segzero", row["id"], published, strict, reasons)


def _numbers(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(type(v) in (int, float) and abs(v) < 1e15 for v in box)


PROTOCOL = Protocol(
    name="seg-zero",
    source="github.com/dvlab-research/Seg-Zero at 42a3345, verl/utils/reward_score/{seg,seg_restrict}.py",
    reads=f"{FILE}: rows of content and solution",
    quirks=QUIRKS,
    score=_score,
)

"""VisionReasoner's reward as published: form, matched boxes and points, no repeated sentences (at most 7).

Source: github.com/dvlab-research/Seg-Zero at 42a3345, verl/utils/reward_score/vision_reasoner.py. Input:
`rewards_visionreasoner.jsonl`, rows of `content` and `solution`, a JSON list of `bbox_2d` and `point_2d`.

What it does that a strict scorer would not, all kept here:

- Four of seven points are for form and for not repeating sentences, whatever the answer says.
- A pair earns IoU > 0.5 (last pixel counted in), mean corner distance < 10 px and point distance < 30 px within the
  box that was said, one point each; all are steps.
- A right empty answer earns the form alone: its arrays cannot be compared, and that ends in nothing.
- One object without box or point, a fence, or a single object in place of a list, and nothing of the answer counts.
- The first answer counts; objects beyond 120 are not looked at and cost nothing, on either side.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from georefer.evaluation.protocols.base import Beside, Protocol, Row, Scores
from georefer.evaluation.protocols.geo_r1_read import deserved, files_of, mean, reward_rows, soft_f1, told
from georefer.training.rewards.published.reading import answers, load
from georefer.training.rewards.published.visionreasoner import MOST, PARTS, columns_of, vision_reward
from georefer.training.rewards.published.vlm_r1 import UNUSABLE

FILE = "rewards_visionreasoner.jsonl"

QUIRKS = {
    "form": "four of seven points are for form and unrepeated sentences, whatever the answer says",
    "steps": "IoU above 0.5, corners within 10 px and points within 30 px count in full, nearer or farther the same",
    "empty-is-nothing": "a right empty answer earns nothing for being right",
    "whole-json": "the first answer counts if it is a bare JSON list, all of whose objects have a box and a point",
}


def _score(path: Path, settings: Mapping[str, str], beside: bool) -> Scores:
    rows = reward_rows(files_of(path, (FILE,), f"{FILE} or the folder that holds it")[FILE], settings)
    rewards = [vision_reward(row["content"], row["solution"]) for row in rows]
    numbers = {"visionreasoner": {"rows": len(rows), **{part: [r[part] for r in rewards] for part in PARTS}}}
    if not beside:
        scored = [Row("visionreasoner", row["id"], r["total"] / MOST) for row, r in zip(rows, rewards, strict=True)]
        return Scores(numbers, tuple(scored))
    scored = [_beside(row, reward) for row, reward in zip(rows, rewards, strict=True)]
    published, strict = mean(r.published for r in scored), mean(r.strict for r in scored)
    return Scores(
        numbers, tuple(scored), beside=(Beside("visionreasoner", "reward by its maximum", published, strict),)
    )


def _beside(row: Mapping[str, Any], reward: Mapping[str, float]) -> Row:
    """The reward by its maximum beside what the answer's boxes deserve."""
    truths, read = _boxes(row["solution"]), _boxes(next(answers(row["content"]), "").strip())
    strict = deserved(row["content"], truths or [], "visionreasoner")
    same = soft_f1(read, truths) if read is not None and truths is not None else 0.0
    steps = [
        ("form", reward["total"] / MOST),
        ("steps" if truths else "empty-is-nothing", reward["accuracy"] / 3),
        ("whole-json", same),
    ]
    published = steps[0][1]
    reasons = told(steps, strict) if abs(published - strict) > 1e-6 else ()
    return Row("visionreasoner", row["id"], published, strict, reasons)


def _boxes(text: str) -> list[list[float]] | None:
    """Finite boxes of a JSON list as the reward reads it, [] for an empty list, None where it reads nothing."""
    try:
        items = load(text)
        if items == []:
            return []
        columns = columns_of(items)
    except UNUSABLE:
        return None
    if columns is None or not np.isfinite(columns.boxes_4N).all() or np.abs(columns.boxes_4N).max() > 1e15:
        return None
    return columns.boxes_4N.T.tolist()


PROTOCOL = Protocol(
    name="visionreasoner",
    source="github.com/dvlab-research/Seg-Zero at 42a3345, verl/utils/reward_score/vision_reasoner.py",
    reads=f"{FILE}: rows of content and solution",
    quirks=QUIRKS,
    score=_score,
)

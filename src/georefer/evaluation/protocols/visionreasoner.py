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
from georefer.training.rewards.published.visionreasoner import MOST, PARTS, vision_rewards
from georefer.training.rewards.published.visionreasoner_read import read_objects

FILE = "rewards_visionreasoner.jsonl"

QUIRKS = {
    "form": "four of seven points are for form and unrepeated sentences, whatever the answer says",
    "steps": "IoU above 0.5, corners within 10 px and points within 30 px count in full, nearer or farther the same",
    "empty-is-nothing": "a right empty answer earns nothing for being right",
    "whole-json": "the first answer counts if it is a bare JSON list, all of whose objects have a box and a point",
}


def _score(path: Path, settings: Mapping[str, str], beside: bool) -> Scores:
    rows = reward_rows(files_of(path, (FILE,), f"{FILE} or the folder that holds it")[FILE], settings)
    found = vision_rewards([row["content"] for row in rows], [row["solution"] for row in rows])
    rewards = {part: found[part].tolist() for part in PARTS}
    numbers = {"visionreasoner": {"rows": len(rows), **rewards}}
    earned = zip(rows, rewards["total"], rewards["accuracy"], strict=True)
    if not beside:
        return Scores(numbers, tuple(Row("visionreasoner", row["id"], total / MOST) for row, total, _ in earned))
    scored = [_beside(*each) for each in earned]
    published, strict = mean(r.published for r in scored), mean(r.strict for r in scored)
    return Scores(
        numbers, tuple(scored), beside=(Beside("visionreasoner", "reward by its maximum", published, strict),)
    )


def _beside(row: Mapping[str, Any], total: float, accuracy: float) -> Row:
    """The reward by its maximum beside what the answer's boxes deserve."""
    truths, read = _boxes(row["solution"]), _boxes(next(answers(row["content"]), "").strip())
    strict = deserved(row["content"], truths or [], "visionreasoner")
    same = soft_f1(read, truths) if read is not None and truths is not None else 0.0
    steps = [
        ("form", total / MOST),
        ("steps" if truths else "empty-is-nothing", accuracy / 3),
        ("whole-json", same),
    ]
    published = steps[0][1]
    reasons = told(steps, strict) if abs(published - strict) > 1e-6 else ()
    return Row("visionreasoner", row["id"], published, strict, reasons)


def _boxes(text: str) -> list[list[float]] | None:
    """Finite boxes of a JSON list as the reward reads it, [] for an empty list, None where it reads nothing."""
    boxes_4N = read_objects([text])[0].rows_6N[:4]
    if boxes_4N.size:
        return boxes_4N.T.tolist() if (np.abs(boxes_4N) <= 1e15).all() else None
    try:
        return [] if load(text) == [] else None
    except ValueError:
        return None


PROTOCOL = Protocol(
    name="visionreasoner",
    source="github.com/dvlab-research/Seg-Zero at 42a3345, verl/utils/reward_score/vision_reasoner.py",
    reads=f"{FILE}: rows of content and solution",
    quirks=QUIRKS,
    score=_score,
)

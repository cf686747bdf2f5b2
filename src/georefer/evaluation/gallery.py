"""The answers worth looking at: which ones, and their pictures."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from georefer.dialects import Reading
from georefer.evaluation.score import ScoredAnswer
from georefer.geometry import Objects
from georefer.imagery.render import Colour, draw_objects
from georefer.scenes import Question, Scene
from georefer.tasks import truth

TRUTH: Colour = (64, 224, 255)
PREDICTION: Colour = (255, 150, 30)
"""Cyan and orange: told apart with any colour vision, and rare in imagery."""

PICTURE_PX = 480
LARGEST_SCALE = 3
WHOLE_CHROMA = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
UNREADABLE = "unreadable"
"""An answer in which nothing was found that was asked for: a problem beside those that reading notes."""

QUALITIES = (88, 75, 60, 45, 30)


@dataclass(frozen=True)
class Case:
    """One answer as the report shows it; `picture` is a data URI, `problems` are kinds of them."""

    scene_id: str
    prompt: str
    answer: str
    expected: str
    verdict: str
    problems: tuple[str, ...]
    picture: str
    description: str


def choose(rows: Sequence[ScoredAnswer], count: int, *, worst: bool) -> list[ScoredAnswer]:
    """The `count` worst (or best) answers of one task, from as many scenes as there are before any comes twice.

    Fully right answers are never among the worst, fully wrong ones never among the best, and answers that add
    nothing to the headline measure are in neither.
    """
    eligible = [row for row in rows if (score := _headline(row)) is not None and (score < 1 if worst else score > 0)]
    eligible.sort(key=lambda row: _rank(row, worst))
    times_seen: dict[str, int] = {}
    rounds = []
    for row in eligible:
        rounds.append(times_seen.get(row.scene_id, 0))
        times_seen[row.scene_id] = rounds[-1] + 1
    order = sorted(range(len(eligible)), key=lambda index: rounds[index])
    chosen = [eligible[index] for index in order[:count]]
    return sorted(chosen, key=lambda row: _rank(row, worst))


def choose_troubled(rows: Sequence[ScoredAnswer], count: int) -> list[ScoredAnswer]:
    """At most `count` answers with problems: every kind once before any comes twice, rare ones first."""
    by_kind: dict[str, list[ScoredAnswer]] = {}
    for row in sorted(rows, key=lambda row: zlib.crc32(row.id.encode())):
        for kind in _problems(row):
            by_kind.setdefault(kind, []).append(row)
    kinds = sorted(by_kind, key=lambda kind: (len(by_kind[kind]), kind))
    chosen: dict[str, ScoredAnswer] = {}
    for place in range(count):
        for kind in kinds:
            if len(chosen) < count and place < len(by_kind[kind]):
                chosen.setdefault(by_kind[kind][place].id, by_kind[kind][place])
    return list(chosen.values())


def make_case(
    scored: ScoredAnswer,
    question: Question,
    scene: Scene,
    *,
    prompt: str,
    reading: Reading,
    expected: str,
    most_bytes: int,
) -> Case:
    """The case of one answer, with truth and prediction drawn into its picture of at most `most_bytes`.

    Where the answer is in words, the objects of the class asked about are drawn as the truth.
    """
    has_shapes = question.answer_text is None
    gold = truth(question, scene) if has_shapes else scene.objects.labelled(str(question.params.get("label", "")))
    said = reading.objects if has_shapes else Objects.none()
    verdict = _verdict(scored)
    return Case(
        scene.id,
        _shortened(prompt, 600),
        _shortened(reading.text),
        _shortened(expected),
        verdict,
        _problems(scored),
        _picture(scene.pixels(), gold, said, most_bytes),
        f"Scene {scene.id}: {len(gold)} true and {len(said)} predicted shapes; {verdict}",
    )


def _headline(row: ScoredAnswer) -> float | None:
    return next(iter(row.scores.values()))


def _rank(row: ScoredAnswer, worst: bool) -> tuple[list[float], int]:
    # later measures break ties of the headline; among equals a hash, so that stored order does not choose.
    # "readable" does not: answers that could not be read would fill the gallery with one kind of mistake
    values = [value or 0.0 for name, value in row.scores.items() if name != "readable"]
    return [value if worst else -value for value in values], zlib.crc32(row.id.encode())


def _problems(scored: ScoredAnswer) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*([] if scored.readable else [UNREADABLE]), *scored.problems]))


def _verdict(scored: ScoredAnswer) -> str:
    counts = scored.counts
    if not scored.readable:
        return UNREADABLE
    if "iou" in counts:
        return f"IoU {counts['iou']:.2f}"
    if "tp" in counts:
        return f"{counts['tp']:.0f} found, {counts['fn']:.0f} missed, {counts['fp']:.0f} false"
    return "right" if _headline(scored) == 1 else "wrong"


def _shortened(text: str, length: int = 280) -> str:
    return text if len(text) <= length else f"{text[:length]} … ({len(text)} characters)"


def _picture(image_HW3: np.ndarray, gold: Objects, said: Objects, most_bytes: int) -> str:
    """A JPEG data URI of at most `most_bytes` before base64: first quality gives way, then size."""
    scale = min(LARGEST_SCALE, PICTURE_PX / max(image_HW3.shape[:2]))
    if scale > 1:
        # whole pixels stay squares of one size: what the model saw, not what a filter made of it
        scale = max(1, int(scale))
    while True:
        picture_HW3 = _drawn(image_HW3, gold, said, scale)
        for quality in QUALITIES:
            data = _to_jpeg(picture_HW3, quality)
            if len(data) <= most_bytes:
                return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
        if max(picture_HW3.shape[:2]) < 32:
            return ""
        scale *= 0.7


def _drawn(image_HW3: np.ndarray, gold: Objects, said: Objects, scale: float) -> np.ndarray:
    # the prediction runs inside the truth's wider line, so that both are seen where they agree; its own halo
    # has to lie below that line
    scaled = said.scale(scale, scale)
    below_HW3 = draw_objects(draw_objects(image_HW3, Objects.none(), TRUTH, scale=scale), scaled, PREDICTION)
    gold_HW3 = draw_objects(below_HW3, gold.scale(scale, scale), TRUTH, width=4)
    return draw_objects(gold_HW3, scaled, PREDICTION, halo=0)


def _to_jpeg(picture_HW3: np.ndarray, quality: int) -> bytes:
    # whole chroma: thin coloured lines on imagery would lose their colour otherwise
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, WHOLE_CHROMA]
    return cv2.imencode(".jpg", picture_HW3[:, :, ::-1], options)[1].tobytes()


def rows_by_task(rows: Sequence[ScoredAnswer]) -> Mapping[str, list[ScoredAnswer]]:
    """The rows of each task that has some."""
    grouped: dict[str, list[ScoredAnswer]] = {}
    for row in rows:
        grouped.setdefault(row.task, []).append(row)
    return grouped

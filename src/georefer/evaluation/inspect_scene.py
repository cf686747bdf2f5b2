"""One scene of an inspection: the picture a model sees, every question as it is learned, and what the tokens say.

Shapes come from the learned text alone, read back by the dialect; the dataset's objects are only what it is compared
with.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely

from georefer.dialects import Reading
from georefer.evaluation.inspect_check import differences
from georefer.evaluation.inspect_seen import Learned, Sight, Token, true_frame
from georefer.geometry import Frame, Objects
from georefer.imagery.encode import encode_image
from georefer.scenes import Question, Scene
from georefer.tasks import TASKS, Turn, render

EXACT_PX = 256
"""Pictures up to this side are shown to the bit; larger ones as JPEG."""

MAX_SIDE_PX = 1024
"""Larger pictures are shrunk to this side, so that a page stays one that a browser opens."""

SHOWN_QUESTIONS = 60
"""Questions about one scene that are shown and checked, spread over its tasks."""

MAX_POINTS = 4_000
"""Points of one question's shapes that are drawn: a page must stay one that a browser shows."""


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI; `width` and `height` are its own, also where a smaller one stands for it."""

    data: str
    width: int
    height: int


@dataclass(frozen=True)
class Asked:
    """One question: its text, what is drawn of it, and what is wrong with it.

    `seen` and `whole` are SVG paths of what the answer says, in the model's picture and in the scene; `given` those
    of places that the question names. `unsaid` says why there is no text.
    """

    id: str
    task: str
    colour: str
    learned: Learned | None
    tokens: tuple[Token, ...] = ()
    shapes: int = 0
    seen: str = ""
    whole: str = ""
    given: str = ""
    given_whole: str = ""
    differs: tuple[str, ...] = ()
    unsaid: str = ""


@dataclass(frozen=True)
class Card:
    """A scene as the page shows it; `scene` is its own picture where the model sees another one."""

    id: str
    about: str
    frame: str
    frame_wrong: str
    seen: Picture
    scene: Picture | None
    asked: tuple[Asked, ...]
    hidden: int


def card(scene: Scene, questions: Sequence[Question], sight: Sight) -> Card:
    """What there is to see of a scene."""
    image_HW3 = scene.pixels()
    seen_HW3 = sight.seen(image_HW3)
    frame, wrong = true_frame(sight, scene.size)
    chosen = _spread_over_tasks(questions, SHOWN_QUESTIONS)
    turns = turns_of(scene, chosen, sight)
    asked = tuple(
        _asked(question, turn, number, scene, sight, frame)
        for number, (question, turn) in enumerate(zip(chosen, turns, strict=True))
    )
    same = seen_HW3.shape == image_HW3.shape and bool((seen_HW3 == image_HW3).all())
    return Card(
        scene.id, _about(scene), in_words(frame, sight), wrong, _picture(seen_HW3),
        None if same else _picture(image_HW3), asked, len(questions) - len(chosen),
    )  # fmt: skip


def in_words(frame: Frame, sight: Sight) -> str:
    """How a scene is shown, and what a number is worth."""
    (across, down), (step, _) = sight.dialect.steps.tops(frame), sight.dialect.steps.step_px(frame)
    numbers = f"0–{across}" if across == down else f"0–{across} and 0–{down}"
    return (
        f"{frame.scene_width} × {frame.scene_height} px seen at {frame.width} × {frame.height} ({frame.rule}), "
        f"numbers {numbers}, one is {step:.3g} px"
    )


def _about(scene: Scene) -> str:
    gsd = f"{scene.grid.gsd_m:.2f} m a pixel" if scene.grid.gsd_m else "no georeference"
    return f"{scene.size[0]} × {scene.size[1]} px, {gsd}, {len(scene.objects)} objects"


def _spread_over_tasks(questions: Sequence[Question], most: int) -> list[Question]:
    """At most so many questions, first of each task before a second of any, in stored order."""
    times: dict[str, int] = {}
    rounds = []
    for question in questions:
        rounds.append(times.get(question.task, 0))
        times[question.task] = rounds[-1] + 1
    kept = sorted(range(len(questions)), key=lambda i: rounds[i])[:most]
    return [questions[i] for i in sorted(kept)]


def turns_of(scene: Scene, questions: Sequence[Question], sight: Sight) -> list[Turn | str]:
    """Prompts and answers as training renders them; where one cannot be said, why."""
    frame = sight.frame_for(scene.size)

    def rendered(some: Sequence[Question]) -> tuple[Turn, ...]:
        return render(scene, some, TASKS, sight.dialect, frame).turns

    try:
        return list(rendered(questions))
    except (ValueError, KeyError, AssertionError):
        turns: list[Turn | str] = []
        for question in questions:
            try:
                turns += rendered([question])
            except (ValueError, KeyError, AssertionError) as error:
                turns.append(f"there is no task {question.task}" if question.task not in TASKS else str(error))
        return turns


def _asked(question: Question, turn: Turn | str, number: int, scene: Scene, sight: Sight, frame: Frame) -> Asked:
    # neighbours in the list get hues far apart
    colour = f"hsl({round(number * 137.508) % 360} 95% 62%)"
    if isinstance(turn, str):
        return Asked(question.id, question.task, colour, None, unsaid=turn)
    learned, task = sight.learned(turn, scene.size), TASKS[question.task]
    reading = sight.dialect.read(learned.answer, frame)
    try:
        differs = differences(learned, reading, turn.answer, question, scene, sight.dialect, frame)
    except (ValueError, KeyError, AssertionError) as error:
        differs = [f"it cannot be compared with the truth: {error}"]
    said = _drawn(reading) if question.answer_text is None and task.form is not None else Objects.none()
    given = _drawn(sight.dialect.read(learned.asked, frame))
    return Asked(
        question.id, question.task, colour, learned, learned.tokens, len(said),
        path(said, frame), path(said), path(given, frame), path(given), tuple(differs),
    )  # fmt: skip


def _drawn(reading: Reading) -> Objects:
    points_N = np.cumsum(shapely.get_num_coordinates(reading.objects.geometries_N))
    return reading.objects[points_N <= MAX_POINTS]


def path(objects: Objects, frame: Frame | None = None) -> str:
    """Outlines as an SVG path, in the pixels of a frame's picture, else of the scene."""
    parts = []
    for geometry in objects.geometries_N:
        for part in shapely.get_parts(geometry):
            if part.geom_type == "Point":
                part = part.buffer(3, quad_segs=3)
            is_area = part.geom_type == "Polygon"
            for line in shapely.get_rings(part) if is_area else [part]:
                xy_N2 = shapely.get_coordinates(line)
                xy_N2 = frame.to_model(xy_N2) if frame else xy_N2
                points = [f"{x:.2f} {y:.2f}" for x, y in (xy_N2[:-1] if is_area else xy_N2).tolist()]
                if points:
                    parts.append(f"M{'L'.join(points)}{'Z' if is_area else ''}")
    return "".join(parts)


def _picture(image_HW3: np.ndarray) -> Picture:
    height, width = image_HW3.shape[:2]
    shrink = MAX_SIDE_PX / max(height, width)
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        image_HW3 = cv2.resize(image_HW3, size, interpolation=cv2.INTER_AREA)
    return Picture(data_uri(image_HW3, is_exact=max(height, width) <= EXACT_PX), width, height)


def data_uri(image_HW3: np.ndarray, *, is_exact: bool) -> str:
    """A picture as text that a page can hold."""
    kind = "PNG" if is_exact else "JPEG"
    return f"data:image/{kind.lower()};base64,{base64.b64encode(encode_image(image_HW3, kind)).decode()}"

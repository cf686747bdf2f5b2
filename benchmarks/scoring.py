"""How long a reward takes: one answer read and scored, as a reinforcement loop does it; and detection rows a second.

The issue asks for less than 0.2 ms a reward call on one answer. `scoring.py DIALECT ...` tries other dialects.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from georefer.dialects import DIALECTS, Dialect
from georefer.geometry import Frame, GeoGrid, Objects, hbb_iou
from georefer.scenes import Question, Scene
from georefer.scoring import COCO_THRESHOLDS, count_matches, count_matches_at, detection_ratios, estimate
from georefer.tasks import TASKS

LIMIT_MS = 0.2
SIDE_PX = 1024
BOXES = (1, 5, 20)


def main() -> None:
    names = sys.argv[1:] or ["georefer", "qwen3-vl"]
    print(f"milliseconds a reward call (limit {LIMIT_MS}): read the answer, score it\n")
    print(f"{'dialect':<15}{'task':<11}{'boxes':>6}{'read':>9}{'score':>9}{'both':>9}")
    for name in names:
        for task, boxes in [("presence", 0), ("rec", 1), *(("detection", count) for count in BOXES)]:
            print_reward(DIALECTS[name], task, boxes)
    print_rows()


def print_reward(dialect: Dialect, task_name: str, boxes: int) -> None:
    """One line: a model's answer, a few pixels off, to a question about a scene of 30 objects."""
    rng = np.random.default_rng(0)
    scene, question = asked(rng, task_name, boxes)
    task, frame = TASKS[task_name], dialect.frame_for((SIDE_PX, SIDE_PX))
    text = "yes" if task_name == "presence" else spoken(rng, scene, question, dialect, frame)
    reading = dialect.read(text, frame)
    read = timed(lambda: dialect.read(text, frame))
    score = timed(lambda: task.score(reading, question, scene))
    both = timed(lambda: task.score(dialect.read(text, frame), question, scene))
    mark = "" if both < LIMIT_MS else "  above the limit"
    print(f"{dialect.name:<15}{task_name:<11}{boxes:>6}{read:>9.3f}{score:>9.3f}{both:>9.3f}{mark}", flush=True)


def asked(rng: np.random.Generator, task: str, boxes: int) -> tuple[Scene, Question]:
    """A scene of 30 objects, `boxes` of them asked for."""
    corners_N2, sides_N2 = rng.uniform(0, SIDE_PX - 130, (30, 2)), rng.uniform(15, 120, (30, 2))
    objects = Objects.from_hbb(np.hstack([corners_N2, corners_N2 + sides_N2]), ["ship"] * 30)
    scene = Scene("scene", b"", objects, GeoGrid.none(SIDE_PX, SIDE_PX), "train")
    text = "yes" if task == "presence" else None
    return scene, Question("q", "scene", task, {"label": "ship"}, tuple(objects.ids_N[:boxes]), text)


def spoken(rng: np.random.Generator, scene: Scene, question: Question, dialect: Dialect, frame: Frame) -> str:
    right = scene.objects.with_ids(question.answer_ids)
    moved_N4 = np.clip(right.hbb_N4 + rng.normal(0, 3, (len(right), 4)), 0, SIDE_PX)
    return dialect.write(Objects.from_hbb(moved_N4, right.labels_N.tolist()), frame, labelled=dialect.labelled)


def print_rows() -> None:
    """Detection rows a second, ten truths and ten predictions each, and the interval over all of them."""
    rng = np.random.default_rng(1)
    pairs = []
    for _ in range(300):
        corners_N2 = rng.uniform(0, 900, (10, 2))
        truth_N4 = np.hstack([corners_N2, corners_N2 + rng.uniform(15, 120, (10, 2))])
        pairs.append((truth_N4 + rng.normal(0, 5, (10, 4)), truth_N4))
    print("\ndetection, 10 predictions and 10 truths a row")
    at_half = timed(lambda: [count_matches(hbb_iou(*pair)) for pair in pairs], 1) / len(pairs)
    print(f"  IoU and counts at 0.5:        {1000 / at_half:>9,.0f} rows/s")
    at_ten = timed(lambda: [count_matches_at(hbb_iou(*pair)) for pair in pairs], 1) / len(pairs)
    print(f"  IoU and counts at 0.5:0.95:   {1000 / at_ten:>9,.0f} rows/s")
    rows = [count_matches_at(hbb_iou(*pair), COCO_THRESHOLDS) for pair in pairs] * 10
    f1, images = detection_ratios()["f1@mean"], [str(row // 3) for row in range(len(rows))]
    print(f"  F1 and interval of 3,000 rows:{timed(lambda: estimate(f1, rows, images), 1):>9.1f} ms")


def timed(call: Callable[[], object], repeats: int = 5) -> float:
    """Milliseconds a call, the best of many short rounds (another process may have the core)."""
    rounds = []
    for _ in range(200 if repeats > 1 else 40):
        started = time.perf_counter()
        for _ in range(repeats):
            call()
        rounds.append(1000 * (time.perf_counter() - started) / repeats)
    return min(rounds)


if __name__ == "__main__":
    main()

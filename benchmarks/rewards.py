"""How fast rewards are: ours and the published ones against plain copies of how VLM-R1 and VisionReasoner compute.

The plain functions are written by us as those projects work, not with their code: VLM-R1 reads tags and fences by
regular expressions, builds a COCO data set for each answer and evaluates it with pycocotools; VisionReasoner parses the
answer's JSON for its form and again for its accuracy, fills three matrices with numpy and pairs them with scipy. All
run in one process, in turn, on the same answers: groups of eight to one truth, all groups of a step in one call.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from georefer.dialects import DIALECTS, Dialect
from georefer.geometry import Objects
from georefer.training.rewards import REWARDS, Truth

SIDE, GROUP = 840, 8
ROUNDS = 5


def main() -> None:
    print(f"milliseconds an answer, groups of {GROUP}; ratio of the plain function to each reward\n")
    for boxes in (1, 5, 20, 60):
        answers = 400 if boxes < 60 else 160
        compare(boxes, answers, "geo-r1", "VLM-R1's mAP, plain", plain_map, ("vlm-r1-od-ap", "geo-r1-map", "f1"))
        names = ("visionreasoner", "f1")
        compare(boxes, answers, "visionreasoner", "VisionReasoner, plain", plain_vision, names)
    print("\n10,000 answers of 60 boxes, read and scored (limit 5 s)")
    for name, dialect, labelled in (
        ("f1", "georefer", False), ("f1", "qwen2.5-vl", False), ("f1-tiny", "georefer", False),
        ("f1", "georefer", True), ("vlm-r1-od-ap", "geo-r1", True),
    ):  # fmt: skip
        truths, texts = asked(DIALECTS[dialect], 60, 2_000, labelled)
        took = 5 * timed(lambda name=name, of=(texts, truths): REWARDS[name].of(*of), 3)
        how = "with labels" if labelled else "of one class, as our tasks ask"
        print(f"{name:<14}{dialect:<12}{how:<32}{took:>6.2f} s{'' if took < 5 else '  above the limit'}")


def compare(
    boxes: int, answers: int, dialect: str, title: str, plain: Callable[[str, str], float], names: Sequence[str]
) -> None:
    """One line: the plain function and some rewards on the same answers; equal where they compute the same."""
    truths, texts = asked(DIALECTS[dialect], boxes, answers)
    solutions = [truth.spoken if dialect == "geo-r1" else rows_of(truth) for truth in truths]
    theirs = timed(lambda: [plain(*pair) for pair in zip(texts, solutions, strict=True)], ROUNDS) / answers * 1e3
    line = f"{title:<23}{boxes:>3} boxes{theirs:>9.3f}"
    for name in names:
        ours = timed(lambda name=name: REWARDS[name].of(texts, truths), ROUNDS) / answers * 1e3
        line += f"   {name} {ours:.3f} ({theirs / ours:.1f}x)"
    same = REWARDS[names[0]].of(texts[:40], truths[:40])
    assert np.allclose(same, [plain(*pair) for pair in zip(texts[:40], solutions[:40], strict=True)], atol=1e-9)
    print(line, flush=True)


def asked(dialect: Dialect, boxes: int, answers: int, labelled: bool = True) -> tuple[list[Truth], list[str]]:
    """A truth for each group, and answers a few pixels off, one box in ten missed and one in ten invented."""
    rng = np.random.default_rng(0)
    frame = dialect.frame_for((SIDE, SIDE))
    truths, texts = [], []
    for _ in range(answers // GROUP):
        true_N4 = made(rng, boxes)
        truth = Truth(
            Objects.from_hbb(true_N4, ["ship"] * boxes), dialect, frame, labelled=labelled and dialect.labelled
        )
        for _ in range(GROUP):
            kept_N = rng.random(boxes) > 0.1
            kept_N[0] = True
            off_N4 = true_N4[kept_N] + rng.normal(0, 4, (kept_N.sum(), 4))
            said_N4 = np.clip(np.concatenate([off_N4, made(rng, int(rng.binomial(boxes, 0.1)))]), 0, SIDE)
            text = dialect.write(Objects.from_hbb(said_N4, ["ship"] * len(said_N4)), frame, labelled=truth.labelled)
            truths.append(truth)
            texts.append(f"<think>I look. There are some.</think>{text}" if "<answer>" in text else text)
    return truths, texts


def made(rng: np.random.Generator, count: int) -> np.ndarray:
    corners_N2 = rng.uniform(0, SIDE - 130, (count, 2))
    return np.hstack([corners_N2, corners_N2 + rng.uniform(30, 120, (count, 2))]).round()


def rows_of(truth: Truth) -> str:
    rows = [
        {"bbox_2d": b, "point_2d": [(b[0] + b[2]) // 2, (b[1] + b[3]) // 2]}
        for b in truth.boxes_T4.astype(int).tolist()
    ]
    return json.dumps(rows)


def timed(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the processor, the best of some rounds: others may have the cores."""
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


# --- as VLM-R1 works -------------------------------------------------------------------------------------


def plain_map(content: str, solution: str) -> float:
    """AP of one image by pycocotools, from the fence in the last answer."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    said, true = (fenced_list(text) for text in (content, solution))
    if not said or not true:
        return float(not said and not true)
    labels = {label: k for k, label in enumerate(sorted({row["label"] for row in true}), 1)}
    truth = {
        "images": [{"id": 0, "width": 2048, "height": 2048}],
        "annotations": [
            {"id": k, "image_id": 0, "category_id": labels[row["label"]], "bbox": sides(row), "iscrowd": 0,
             "area": sides(row)[2] * sides(row)[3]}
            for k, row in enumerate(true, 1)
        ],
        "categories": [{"id": k, "name": label} for label, k in labels.items()],
    }  # fmt: skip
    found = [
        {"image_id": 0, "category_id": labels[row["label"]], "bbox": sides(row), "score": 1.0}
        for row in said
        if row["label"] in labels
    ]
    if not found:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def fenced_list(text: str) -> list[dict]:
    answers = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
    fences = re.findall(r"```json(.*?)```", answers[-1], re.DOTALL) if answers else []
    return json.loads(fences[-1]) if fences else []


def sides(row: dict) -> list[float]:
    x1, y1, x2, y2 = row["bbox_2d"]
    return [x1, y1, x2 - x1, y2 - y1]


# --- as VisionReasoner works -----------------------------------------------------------------------------


def plain_vision(content: str, solution: str) -> float:
    """Form, accuracy and unrepeated sentences, each from the text again."""
    form = float(re.fullmatch(r"<think>.*?</think>\s*<answer>.*?</answer>", content, re.DOTALL) is not None)
    answer = re.search(r"<answer>\s*(.*?)\s*</answer>", content, re.DOTALL)
    rows = json.loads(answer[1]) if answer else []
    for row in rows:
        for key, size in (("bbox_2d", 4), ("point_2d", 2)):
            form += float(key in row and isinstance(row[key], list) and len(row[key]) == size) / len(rows)
    sentences = [s.strip() for s in content.split(".") if s.strip()]
    return form + plain_accuracy(content, solution) + float(len(sentences) - len(set(sentences)) < 2)


def plain_accuracy(content: str, solution: str) -> float:
    true, answer = json.loads(solution), re.search(r"<answer>\s*(.*?)\s*</answer>", content, re.DOTALL)
    said = json.loads(answer[1]) if answer else []
    a, b = (np.array([row["bbox_2d"] for row in rows[:120]]) for rows in (said, true))
    p, q = (np.array([row["point_2d"] for row in rows[:120]]) for rows in (said, true))
    ax1, ay1, ax2, ay2 = np.split(a, 4, axis=1)
    bx1, by1, bx2, by2 = np.split(b, 4, axis=1)
    across = np.maximum(0, np.minimum(ax2, bx2.T) - np.maximum(ax1, bx1.T) + 1)
    down = np.maximum(0, np.minimum(ay2, by2.T) - np.maximum(ay1, by1.T) + 1)
    inter = across * down
    iou = inter / ((ax2 - ax1 + 1) * (ay2 - ay1 + 1) + ((bx2 - bx1 + 1) * (by2 - by1 + 1)).T - inter)
    near = np.mean(np.abs(a[:, np.newaxis, :] - b[np.newaxis, :, :]), axis=2)
    apart = np.sqrt(np.sum((p[:, np.newaxis, :] - q[np.newaxis, :, :]) ** 2, axis=2))
    inside = (p[:, 0] >= a[:, 0]) & (p[:, 0] <= a[:, 2]) & (p[:, 1] >= a[:, 1]) & (p[:, 1] <= a[:, 3])
    earned = (iou > 0.5).astype(float) + (near < 10).astype(float)
    earned += ((apart < 30) & inside[:, np.newaxis]).astype(float)
    cost = 3.0 - earned
    rows, columns = linear_sum_assignment(cost)
    return float((len(rows) * 3.0 - cost[rows, columns].sum()) / max(cost.shape))


if __name__ == "__main__":
    main()

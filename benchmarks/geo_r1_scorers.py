"""Geo-R1's scorers and the grounding rewards against the speeds recorded for the originals.

The originals need models or a GPU's libraries and are not run here: theirs were recorded when the reference results
were made (two busy cores, Python 3.11, pycocotools 2.0.11), so read the ratios as sizes, not as a race on one machine.
Where pycocotools is installed, COCO's numbers are also timed against it in turn, in this process.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from georefer.evaluation.protocols.geo_r1 import rec_iou
from georefer.evaluation.protocols.geo_r1_ovd import Pool, coco_scores, pooled, voc_scores
from georefer.evaluation.protocols.vlm_r1 import OD_REWARDS
from georefer.training.rewards.published.seg_zero import seg_reward
from georefer.training.rewards.published.visionreasoner import vision_rewards
from georefer.training.rewards.published.vlm_r1 import iou_reward

REPEATS = 5
RECORDED = {
    "REC rows": 103_594,
    "OVD VOC, constant scores": 7_301,
    "OVD COCO, constant scores": 2_427,
    "OVD VOC, mixed scores": 11_510,
    "OVD COCO, mixed scores": 3_499,
    "VLM-R1 iou": 29_055,
    "VLM-R1 map": 235,
    "VLM-R1 od_ap": 226,
    "VLM-R1 od_ap50": 207,
    "VLM-R1 odLength": 196,
    "VLM-R1 weighted_sum": 4_039,
    "VLM-R1 all_match": 10_201,
    "Seg-Zero seg": 19_292,
    "Seg-Zero seg_restrict": 23_109,
    "VisionReasoner": 4_628,
}
"""Answers, rows or predictions a second that the originals did. Seg-Zero's two were recorded over two passes."""


def main() -> None:
    rng = np.random.default_rng(0)
    print("a second: ours (median of five), recorded for the original, ratio; a reward call in ms")
    detections(rng)
    boxes = [box(rng) for _ in range(2_000)]
    near = [[*map(int, np.add(b, rng.integers(-20, 21, 4)))] for b in boxes]
    line("REC rows", 2_000, lambda: [rec_iou(a, b) for a, b in zip(near, boxes, strict=True)])
    rewards(rng, boxes, near)


def line(name: str, count: int, work: Callable[[], object]) -> None:
    took = statistics.median(seconds(work) for _ in range(REPEATS))
    rate = count / took
    print(f"{name:<28}{rate:>12,.0f}{RECORDED[name]:>12,}{rate / RECORDED[name]:>8.1f}x   {1000 / rate:.4f}")


def box(rng: np.random.Generator, side: int = 800) -> list[int]:
    x, y, w, h = rng.integers(0, side - 200), rng.integers(0, side - 200), *rng.integers(10, 200, 2)
    return [int(x), int(y), int(x + w), int(y + h)]


# --- detection -------------------------------------------------------------------------------------------


def detections(rng: np.random.Generator) -> None:
    """Files like those recorded: 50 images, ten classes, some 180 truths and 300 predictions with near duplicates."""
    for name, scored in (("constant scores", False), ("mixed scores", True)):
        truth, said = detection_files(rng, scored)
        line(f"OVD VOC, {name}", len(said), partial(ours, truth, said, voc_scores))
        line(f"OVD COCO, {name}", len(said), partial(ours, truth, said, partial(coco_scores, predictions=len(said))))
        against_pycocotools(truth, said)


def ours(truth: dict, said: list[dict], score: Callable[[Pool], dict]) -> dict:
    return score(pooled(truth, said))


def detection_files(rng: np.random.Generator, scored: bool) -> tuple[dict, list[dict]]:
    annotations, said = [], []
    for image in range(1, 51):
        for _ in range(rng.integers(2, 6)):
            x1, y1, x2, y2 = box(rng)
            kind, sides = int(rng.integers(1, 11)), [x1, y1, x2 - x1, y2 - y1]
            annotations.append({"image_id": image, "category_id": kind, "bbox": sides, "area": sides[2] * sides[3]})
            for _ in range(rng.integers(0, 4)):
                moved = [*(np.array(sides) + rng.integers(-8, 9, 4)).clip(1).astype(float).tolist()]
                score = float(np.round(rng.random(), 1)) if scored else 1.0
                said.append({"image_id": image, "category_id": kind, "bbox": moved, "score": score})
    rows = [{**row, "id": k, "iscrowd": 0} for k, row in enumerate(annotations, 1)]
    categories = [{"id": k, "name": f"class {k}"} for k in range(1, 11)]
    return {"images": [{"id": k} for k in range(1, 51)], "annotations": rows, "categories": categories}, said


def against_pycocotools(truth: dict, said: list[dict]) -> None:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        print("  pycocotools is not installed; its line is left out")
        return

    def theirs() -> list[float]:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO()
            coco.dataset = json.loads(json.dumps(truth))
            coco.createIndex()
            evaluation = COCOeval(coco, coco.loadRes(json.loads(json.dumps(said))), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return evaluation.stats.tolist()

    assert np.allclose(coco_scores(pooled(truth, said), len(said))["stats12"], theirs(), atol=1e-9)
    pairs = [(seconds(theirs), seconds(lambda: coco_scores(pooled(truth, said), len(said)))) for _ in range(REPEATS)]
    one, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"  against pycocotools in this process {one / other:.1f}x")


# --- rewards ---------------------------------------------------------------------------------------------


def rewards(rng: np.random.Generator, boxes: list[list[int]], near: list[list[int]]) -> None:
    answers = [f'<think>t</think><answer>{{"bbox_2d": {b}, "label": "ship"}}</answer>' for b in near]
    truths = [f"<answer> {b} </answer>" for b in boxes]
    pairs = list(zip(answers, truths, strict=True))
    line("VLM-R1 iou", len(pairs), lambda: [iou_reward(a, t, (800, 800), (1, 58, 58)) for a, t in pairs])
    detected = [detection_pair(rng) for _ in range(500)]
    for name in ("map", "od_ap", "od_ap50", "odLength", "weighted_sum", "all_match"):
        line(f"VLM-R1 {name}", len(detected), partial(all_of, OD_REWARDS[name], detected))
    segmented = [segmentation_pair(a, b) for a, b in zip(near, boxes, strict=True)]
    line("Seg-Zero seg", len(segmented), lambda: [seg_reward(a, t) for a, t in segmented])
    line("Seg-Zero seg_restrict", len(segmented), lambda: [seg_reward(a, t, True) for a, t in segmented])
    reasoned = [reasoning_pair(rng) for _ in range(500)]
    line("VisionReasoner", len(reasoned), lambda: vision_rewards(*zip(*reasoned, strict=True)))


def all_of(reward: Callable[[str, str], float], pairs: list[tuple[str, str]]) -> list[float]:
    return [reward(answer, truth) for answer, truth in pairs]


def detection_pair(rng: np.random.Generator) -> tuple[str, str]:
    named = [(box(rng), str(rng.choice(["ship", "car", "plane"]))) for _ in range(6)]
    truths = [{"bbox_2d": b, "label": label} for b, label in named]
    moved = [([int(v) for v in np.add(b, rng.integers(-8, 9, 4))], label) for b, label in named[:5]]
    said = [{"bbox_2d": b, "label": label} for b, label in moved]
    fence = "<answer>\n```json\n{}\n```\n</answer>"
    return "<think>t</think>" + fence.format(json.dumps(said)), fence.format(json.dumps(truths))


def segmentation_pair(near: list[int], truth: list[int]) -> tuple[str, str]:
    one, two = [near[0] + 5, near[1] + 5], [near[2] - 5, near[3] - 5]
    said = json.dumps({"bbox": near, "points_1": one, "points_2": two})
    x1, y1, x2, y2 = truth
    points = f"<points>({x1},{y1}),({x2},{y2})</points>"
    return f"<think>t</think><answer>{said}</answer>", f"<box>({x1},{y1}),({x2},{y2})</box>{points}"


def reasoning_pair(rng: np.random.Generator) -> tuple[str, str]:
    boxes = [box(rng) for _ in range(5)]
    near = [[int(v) for v in np.add(b, rng.integers(-8, 9, 4))] for b in boxes]
    texts = [
        json.dumps([{"bbox_2d": b, "point_2d": [(b[0] + b[2]) // 2, (b[1] + b[3]) // 2]} for b in some])
        for some in (near, boxes)
    ]
    return f"<think>t</think>\n<answer>{texts[0]}</answer>", texts[1]


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

"""The published rewards as values of the table: what each is given is made from a truth, in its authors' own form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from georefer.geometry import Mask, Objects
from georefer.training.rewards.base import Answer, Reward, Together, Truth
from georefer.training.rewards.ours import needs_one, needs_shapes
from georefer.training.rewards.published import geo_r1, others, seg_zero, visionreasoner, vlm_r1
from georefer.training.rewards.published.reading import think_answer_form

_CELL = 14
"""Pixels along a side of Qwen2.5-VL's patches, in which VLM-R1 counts an image."""


# --- what they are given ---------------------------------------------------------------------------------


def _one_box(truth: Truth) -> str:
    """VLM-R1's solution of an expression: pixels of the image itself."""
    return truth.kept("one box", lambda: f"<answer> {truth.boxes_T4[0].tolist()} </answer>")


def _fenced(truth: Truth) -> str:
    """VLM-R1's solution of detection: a fenced list with labels, in pixels of the processor's image."""

    def make() -> str:
        if not len(truth.objects):
            return "<answer>\n```json\n[]\n```\n</answer>"
        return truth.dialect.write(truth.objects.to_hbb(), truth.frame, labelled=True)

    return truth.kept("fenced", make)


def _steps(objects: Objects, truth: Truth) -> list[list[int]]:
    return truth.dialect.steps.write_boxes(objects.hbb_N4, truth.frame).tolist()


def _vision_rows(truth: Truth) -> str:
    """VisionReasoner's solution: boxes and their middles in pixels of 840 x 840."""

    def make() -> str:
        boxes = _steps(truth.objects, truth)
        rows = [{"bbox_2d": b, "point_2d": [(b[0] + b[2]) // 2, (b[1] + b[3]) // 2]} for b in boxes]
        return json.dumps(rows)

    return truth.kept("vision rows", make)


def _two_points(box: Sequence[int]) -> list[list[int]]:
    x1, y1, x2, y2 = box
    return [[(3 * x1 + x2) // 4, (y1 + y2) // 2], [(x1 + 3 * x2) // 4, (y1 + y2) // 2]]


def _segzero_solution(truth: Truth) -> str:
    def make() -> str:
        if not len(truth.objects):
            return ""
        x1, y1, x2, y2 = box = _steps(truth.objects, truth)[0]
        points = ",".join(f"({x},{y})" for x, y in _two_points(box))
        return f"<box>({x1},{y1}),({x2},{y2})</box><points>{points}</points>"

    return truth.kept("seg-zero", make)


def _write_segzero(objects: Objects, truth: Truth) -> str:
    rows = []
    for box in _steps(objects, truth):
        first, second = _two_points(box)
        rows.append(json.dumps({"bbox": box, "points_1": first, "points_2": second}))
    return f"<answer>{' '.join(rows) or '[]'}</answer>"


def _write_keypoints(objects: Objects, truth: Truth) -> str:
    """Geo-R1's list for segmentation: a box and two points of each object."""
    rows: list[dict[str, Any]] = []
    for box in _steps(objects, truth):
        first, second = _two_points(box)
        rows.append({"bbox_2d": box, "keypoint1": first, "keypoint2": second})
    return f"<answer>```json\n{json.dumps(rows)}\n```</answer>" if rows else truth.dialect.nothing


def _rex_truth(truth: Truth) -> dict[str, list[list[float]]]:
    """Boxes by class in pixels of the image that the model sees."""

    def make() -> dict[str, list[list[float]]]:
        boxes_N4 = truth.frame.to_model(truth.boxes_T4.reshape(-1, 2)).reshape(-1, 4)
        found: dict[str, list[list[float]]] = {}
        for label, box in zip(truth.objects.labels_N, boxes_N4.tolist(), strict=True):
            found.setdefault(str(label), []).append(box)
        return found

    return truth.kept("rex-omni", make)


def _rft_rows(truth: Truth) -> str:
    def make() -> str:
        rows = [{"Position": box, "Confidence": 1.0} for box in _steps(truth.objects, truth)]
        return f"<answer>{rows!s}</answer>"

    return truth.kept("visual-rft", make)


def _write_rex(objects: Objects, truth: Truth) -> str:
    """With labels, which the reward needs, whatever was asked."""
    return truth.dialect.write(objects, truth.frame, labelled=True)


def _mask(truth: Truth) -> np.ndarray:
    def make() -> np.ndarray:
        width, height = truth.frame.scene_width, truth.frame.scene_height
        filled_HW = np.zeros((height, width), dtype=bool)
        for shape in truth.objects.geometries_N:
            filled_HW |= Mask.of_geometry(shape, (height, width)).dense()
        return filled_HW

    return truth.kept("mask", make)


# --- the scores ------------------------------------------------------------------------------------------


def _vlm_iou(answer: Answer) -> float:
    truth, frame = answer.truth, answer.truth.frame
    if not len(truth.objects):
        return 0.0
    grid = (1, frame.height / _CELL, frame.width / _CELL)
    return vlm_r1.iou_reward(answer.text, _one_box(truth), (frame.scene_width, frame.scene_height), grid)


def _geo_iou(answer: Answer) -> float:
    if not len(answer.truth.objects):
        return 0.0
    return geo_r1.iou_reward(answer.text, answer.truth.boxes_T4[0].tolist())


def _geo_mask(answer: Answer, mask_of: geo_r1.MaskOf | None = None) -> float:
    truth = answer.truth
    segment = mask_of or geo_r1.box_mask((truth.frame.scene_width, truth.frame.scene_height))
    return geo_r1.mask_reward(answer.text, _mask(truth), segment)


def _vision(answers: Sequence[Answer]) -> np.ndarray:
    texts, rows = [a.text for a in answers], [_vision_rows(a.truth) for a in answers]
    return visionreasoner.vision_rewards(texts, rows)["total"]


def geo_r1_mask(mask_of: geo_r1.MaskOf) -> Reward:
    """Geo-R1's mask reward with a segmenter of yours in SAM's place; the one of the table fills the boxes."""
    return replace(PUBLISHED["geo-r1-mask"], score=partial(_geo_mask, mask_of=mask_of))


_VLM, _SEG = "github.com/om-ai-lab/VLM-R1 at 90052f4", "github.com/dvlab-research/Seg-Zero at 42a3345"
_GEO, _RFT = "arXiv 2509.21976, eqs 4-7", "github.com/Liuziyu77/Visual-RFT"
_ANYTHING = "1 for any text without boxes in a fence"
_detection = partial(Reward, none=_ANYTHING, source=_VLM, needs=needs_shapes, reads="geo-r1")
_PUBLISHED = (
    Reward(
        "geo-r1-format", "both pairs of tags are there, wherever they stand",
        lambda a: geo_r1.format_reward(a.text), "as elsewhere", _GEO, reads="geo-r1",
    ),
    Reward(
        "geo-r1-iou", "IoU of the last box", _geo_iou, "0 for all", _GEO, needs=needs_one, reads="geo-r1", asks="one",
    ),
    Reward(
        "geo-r1-map", "min(1, sqrt(truths / boxes)) x mAP",
        lambda a: geo_r1.map_penalty_reward(a.text, _fenced(a.truth)), _ANYTHING, _GEO, needs=needs_shapes,
        reads="geo-r1",
    ),
    Reward(
        "geo-r1-mask", "IoU of the union of SAM's masks (here: of the boxes) with the union of the true ones",
        _geo_mask, "0 for all", _GEO, needs=needs_shapes, reads="geo-r1", write=_write_keypoints,
    ),
    Reward(
        "vlm-r1-iou", "IoU of the first box", _vlm_iou, "0 for all", _VLM, needs=needs_one, reads="geo-r1", asks="one",
    ),
    Reward(
        "vlm-r1-format-rec", "tags, a brace and a box of whole numbers follow each other, with any gaps",
        lambda a: vlm_r1.format_reward_rec(a.text), "0 for none, 1 for a box", _VLM, reads="geo-r1", asks="one",
    ),
    Reward(
        "vlm-r1-format", "the whole text is a thought and an answer, whatever is in them; Visual-RFT's too",
        lambda a: think_answer_form(a.text), "as elsewhere", _VLM, reads="geo-r1",
    ),
    _detection("vlm-r1-map", "mAP at IoU 0.5:0.95 of one image", lambda a: vlm_r1.map_reward(a.text, _fenced(a.truth))),
    _detection("vlm-r1-od-ap", "mAP within the answer tags", lambda a: vlm_r1.od_reward(a.text, _fenced(a.truth))),
    _detection(
        "vlm-r1-od-ap50", "AP at IoU 0.5", lambda a: vlm_r1.od_reward(a.text, _fenced(a.truth), half=True)
    ),
    _detection(
        "vlm-r1-odlength", "mAP x truths / boxes, at most 1",
        lambda a: vlm_r1.od_reward(a.text, _fenced(a.truth), by_length=True),
    ),
    _detection(
        "vlm-r1-weighted-sum", "0.7 of summed IoU, 0.3 of completeness (a label that is missing is empty here)",
        lambda a: vlm_r1.weighted_sum_reward(a.text, _fenced(a.truth), lenient=True),
    ),
    Reward(
        "visionreasoner", "form (3), no repeated sentence (1), matched boxes and points (3)",
        Together(_vision), "form and sentences only", _SEG, high=visionreasoner.MOST, needs=needs_shapes,
        reads="visionreasoner",
    ),
    Reward(
        "seg-zero", "form (2), IoU above 0.5, box and points near (1 each)",
        lambda a: seg_zero.seg_reward(a.text, _segzero_solution(a.truth))["total"], "form only", _SEG,
        high=seg_zero.MOST, needs=needs_one, reads="visionreasoner", asks="one", write=_write_segzero,
    ),
    Reward(
        "seg-zero-restrict", "the same, under its three keys only",
        lambda a: seg_zero.seg_reward(a.text, _segzero_solution(a.truth), restrict=True)["total"], "form only", _SEG,
        high=seg_zero.MOST, needs=needs_one, reads="visionreasoner", asks="one", write=_write_segzero,
    ),
    Reward(
        "rex-omni", "F1 of mean best IoUs, by label",
        lambda a: others.rex_omni_reward(a.text, _rex_truth(a.truth), a.truth.frame.size),
        "1 for any text without labelled boxes", "github.com/IDEA-Research/Rex-Omni, finetuning", needs=needs_shapes,
        reads="rex-omni", write=_write_rex,
    ),
    Reward(
        "visual-rft-iou", "IoU above 0.5 of pairs by the larger number of boxes",
        lambda a: others.visual_rft_iou_reward(a.text, _rft_rows(a.truth)), "0 for all", _RFT, needs=needs_shapes,
        reads="visual-rft",
    ),
    Reward(
        "visual-rft-confidence", "confidence of hits, 1 - confidence of false alarms",
        lambda a: others.visual_rft_confidence_reward(a.text, _rft_rows(a.truth)),
        "0 for none, else 1 - confidence", _RFT, needs=needs_shapes, reads="visual-rft",
    ),
)  # fmt: skip

PUBLISHED: dict[str, Reward] = {reward.name: reward for reward in _PUBLISHED}
"""Published rewards, exact; what each pays for that it should not is in docs/reference/rewards.md."""

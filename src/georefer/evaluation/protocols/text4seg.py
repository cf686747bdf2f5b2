"""Text4Seg's referring segmentation and comprehension, from the texts that a model wrote.

Source: github.com/mc-lan/Text4Seg at d6540b6, ms-swift/text4seg/{infer_refer_seg,utils,eval_refer_seg,
eval_refer_comprehen}.py (the copy under llava/ does not run: its decoder is called with an argument too few). The
original reads the text while it infers and leaves pictures behind, so there is no file of answers. Ours is JSON lines:

    {"id": 7, "image": "a.png", "answer": "... <seg>others *16\\n ...</seg>", "ground_truth": COCO RLE}

`image` may be missing; answers about one image are summed up before they join the rest, as in the original. What SAM
made of a mask is not in the text, so the `sam_mask` half of the output is left out. No reference results were at hand:
this file was checked against the published definition only. What it does that a strict scorer would not:

- The answer becomes one long row of cells: a row that is too short or too long shifts all that follow.
- Too few cells are filled up with the last label, surplus ones are cut; after any error everything is background.
- Any label but the first is the object, whatever was asked; "others" comes first, and where it is missing the first
  label said is the background. A "|" in a label makes several cells of each.
- The mask is stretched by torch's nearest, which takes the left neighbour and not the cell of the pixel's centre.
- gIoU divides by union + 1e-5, in float32, where sums over 16 million pixels lose digits, in the order of files.
- Boxes end at the last pixel instead of behind it, so an object one pixel wide has none; acc counts IoU > 0.5.

Memory bounds what the original can decode; here an answer that asks for more than `MAX_CELLS` cells fails as it would
there, and is listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from georefer.dialects.grid_reader import MAX_SIDE, MAX_TEXT
from georefer.dialects.runs import RESERVED, Text4SegRuns
from georefer.errors import InputError
from georefer.evaluation.protocols.base import (
    Beside,
    Protocol,
    Row,
    Scores,
    Stop,
    find,
    partial,
    plain_name,
    read_json_lines,
    refuse_repeated,
)
from georefer.geometry import Mask, hbb_iou
from georefer.scoring.masks import mask_counts

SIDE, OTHERS, MAX_CELLS, MAX_LABELS = 16, "others", 1 << 31, 255

QUIRKS = {
    "unreadable": "after any error in a text the whole mask is background",
    "shifted-rows": "rows are not kept: one that is too short or too long shifts all cells after it",
    "filled-up": "cells that are missing at the end get the last label, which may be the object",
    "first-label": "without 'others' the first label that is said is the background",
    "bar-in-label": "a '|' in a label makes several cells of each one",
    "odd-text": "labels that hold '*' or line breaks, and texts of any length, are taken as they are",
    "left-neighbour": "the grid is stretched by torch's nearest, not by the cell in which a pixel's centre lies",
    "epsilon": "the IoU is divided by union + 1e-5 and rounded to float32",
    "short-box": "boxes end at the last pixel instead of behind it, and acc counts IoU > 0.5",
}


@dataclass(frozen=True)
class Decoded:
    """A text as cells (side * side,) that are the object, and what was met on the way (names of `QUIRKS`)."""

    cells_C: np.ndarray
    met: frozenset[str] = frozenset()
    too_large: bool = False


def score(path: Path, settings: Mapping[str, str], beside: bool) -> Scores:
    """{name of the file without its ending: {giou, ciou (0-1), acc (percent), samples, unreadable, printed}}."""
    side = _side(settings)
    file = _file(Path(path))
    answers = list(read_json_lines(file))
    if not answers:
        raise InputError(f"{file} holds no answers; expected rows with id, answer and ground_truth")
    if not partial(settings):
        refuse_repeated((str(row.get("id", number)) for number, row in enumerate(answers)), file)
    part = plain_name(file).rsplit(".", 1)[0]
    rows, stops, counts, sums = [], [], [], _Sums()
    for number, answer in enumerate(answers):
        id_, truth = answer.get("id", number), _truth(answer, f"{file} row {number}")
        text = answer["answer"] if isinstance(answer.get("answer"), str) else ""
        decoded = decode(text, side)
        if not isinstance(answer.get("answer"), str):
            stops.append(Stop(part, id_, "answer is missing or no text; it counts as an empty mask"))
        if decoded.too_large:
            stops.append(Stop(part, id_, "the counts ask for more cells than memory holds"))
        truth_HW = truth.dense()
        found_HW = stretched(decoded.cells_C, side, truth)
        image = answer.get("image", id_)
        row = Row(part, id_, sums.add(image, found_HW, truth_HW, "unreadable" in decoded.met), image=image)
        if beside:
            counts.append(_strict_counts(strict_mask(text, side, truth), truth))
            row = replace(row, strict=counts[-1][0])
            row = replace(row, reasons=_reasons(row, decoded, side, found_HW, truth)) if row.differs else row
        rows.append(row)
    numbers = sums.numbers()
    return Scores({part: numbers}, tuple(rows), tuple(stops), tuple(_beside(part, numbers, counts)))


# --- files -----------------------------------------------------------------------------------------------


def _side(settings: Mapping[str, str]) -> int:
    side = settings.get("side", str(SIDE))
    if not side.isdecimal() or not 1 <= int(side) <= MAX_SIDE:
        raise InputError(f"side={side} is no side of a grid; set one of 1 to {MAX_SIDE} (published models: 16 or 24)")
    return int(side)


def _file(path: Path) -> Path:
    """The file itself, answers.jsonl of a folder, or the only *.jsonl in it."""
    if path.is_file():
        return path
    files = sorted(path.glob("*.jsonl")) + sorted(path.glob("*.jsonl.gz"))
    if (named := find(path, "answers.jsonl")) or len(files) == 1:
        return named or files[0]
    raise InputError(f"{path} holds {len(files)} *.jsonl where one file of answers is expected; give the file itself")


def _truth(row: Mapping[str, Any], where: str) -> Mask:
    said: Any = row.get("ground_truth")
    try:
        mask = Mask.from_coco(said)
    except ValueError as error:
        raise InputError(f"{where}: ground_truth is no COCO run-length mask ({error})") from error
    if not mask.height * mask.width:
        raise InputError(f"{where}: ground_truth is a mask without pixels; expected one of the image's size")
    return mask


# --- the original's decoder ------------------------------------------------------------------------------


def decode(text: str, side: int) -> Decoded:
    """The cells of an answer as the original has them, without ever holding more than the grid."""
    nothing_C = np.zeros(side * side, dtype=bool)
    try:
        said = text.strip().split("<seg>", 2)[1].split("</seg>", 1)[0]
        rows = [[_run(token) for token in row.split("| ")] for row in said.strip("\n").split("\n ")]
    except (ValueError, IndexError):
        return Decoded(nothing_C, frozenset({"unreadable"}))
    runs = [run for row in rows for run in row if run[1] > 0]
    if sum(count for _, count in runs) > MAX_CELLS:
        return Decoded(nothing_C, frozenset({"unreadable"}), too_large=True)
    # labels are joined by "|" and split there again: one with a bar says several cells, one without any an empty one
    said_by = [([name.strip() for name in label.split("|")], count) for label, count in runs] or [([""], 1)]
    names = dict.fromkeys(name for labels, _ in said_by for name in labels)
    background = OTHERS if OTHERS in names else next(iter(names))
    cells: list[bool] = []
    for labels, count in said_by:
        room = side * side - len(cells)
        times = min(count, -(-room // len(labels)))
        cells += ([name != background for name in labels] * times)[:room]
    met = {
        "shifted-rows": any(sum(max(count, 0) for _, count in row) != side for row in rows) or len(rows) != side,
        "filled-up": len(cells) < side * side,
        "first-label": background != OTHERS,
        "bar-in-label": any(len(labels) > 1 for labels, _ in said_by),
    }
    last = said_by[-1][0][-1] != background
    filled_C = np.array(cells + [last] * (side * side - len(cells)), dtype=bool)
    return Decoded(filled_C, frozenset(name for name, true in met.items() if true))


def _run(token: str) -> tuple[str, int]:
    label, count = token.split(" *")
    return label, int(count)


def stretched(cells_C: np.ndarray, side: int, truth: Mask, centres: bool = False) -> np.ndarray:
    """Cells as a mask (height, width) like the truth's: by torch's nearest, or by the cell of each pixel's centre.

    torch 2 works the place out in float64 and rounds it to float32 before it cuts the decimals off.
    """
    places = []
    for size in (truth.height, truth.width):
        place = (np.arange(size) + 0.5) * (side / size) if centres else (np.arange(size) * (side / size))
        cut = place.astype(np.float64 if centres else np.float32).astype(np.int64)
        places.append(np.minimum(cut, side - 1))
    return cells_C.reshape(side, side)[places[0]][:, places[1]]


# --- the original's measures -----------------------------------------------------------------------------


class _Sums:
    """Answers so far, image by image, to be added up in float32 as the original's meters do."""

    def __init__(self) -> None:
        self.images: dict[str, list[np.ndarray]] = {}
        self.samples = self.hits = self.unreadable = 0

    def add(self, image: Any, found_HW: np.ndarray, truth_HW: np.ndarray, unreadable: bool) -> float:
        """Counts one answer and gives its IoU."""
        inter, union = (np.float32(part.sum()) for part in (found_HW & truth_HW, found_HW | truth_HW))
        iou = inter / (union + np.float32(1e-5)) + np.float32(union == 0)
        self.images.setdefault(str(image), []).append(np.array([inter, union, iou], dtype=np.float32))
        self.samples += 1
        self.unreadable += unreadable
        self.hits += bool(_short_box_iou(found_HW, truth_HW) > np.float32(0.5))
        return float(iou)

    def numbers(self) -> dict[str, Any]:
        total_3 = np.zeros(3, dtype=np.float32)
        for answers in self.images.values():
            image_3 = np.zeros(3, dtype=np.float32)
            for answer_3 in answers:
                image_3 += answer_3
            image_3[2] = image_3[2] / np.float32(len(answers)) * np.float32(len(answers))  # a mean, and back again
            total_3 += image_3
        giou, ciou = float(total_3[2] / np.float32(self.samples)), float(total_3[0] / (total_3[1] + np.float32(1e-10)))
        acc = self.hits / self.samples * 100
        printed = [f"mllm_mask:  giou: {giou:.4f}, ciou: {ciou:.4f}", f"mllm_mask:  acc: {acc:.4f}"]
        found = {"giou": giou, "ciou": ciou, "acc": acc}
        return {**found, "samples": self.samples, "unreadable": self.unreadable, "printed": printed}


def _short_box_iou(found_HW: np.ndarray, truth_HW: np.ndarray) -> np.float32:
    """IoU of the boxes from the first pixel to the last, NaN where both are lines; an empty mask meets nothing."""
    if not found_HW.any() or not truth_HW.any():
        return np.float32(0)
    boxes = []
    for mask_HW in (found_HW, truth_HW):
        rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
        boxes.append(np.array([columns[0], rows[0], columns[-1], rows[-1]], dtype=np.float32))
    a_4, b_4 = boxes
    wide, high = np.maximum(np.minimum(a_4[2:], b_4[2:]) - np.maximum(a_4[:2], b_4[:2]), np.float32(0))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in boxes]
    with np.errstate(invalid="ignore"):
        return np.float32(wide * high / (areas[0] + areas[1] - wide * high))


# --- strict ----------------------------------------------------------------------------------------------


def strict_mask(text: str, side: int, truth: Mask) -> Mask:
    """Every cell that has a label other than "others", each row for itself, by the centres of pixels."""
    _, opened, rest = text.partition("<seg>")
    said = (rest if opened else text).partition("</seg>")[0]
    labels = dict.fromkeys([OTHERS])
    for token in said[:MAX_TEXT].replace("\n", "|").split("|"):
        label = token.rpartition("*")[0].strip()
        if label and len(labels) < MAX_LABELS and not RESERVED.search(label):
            labels[label] = None
    grid_RC, _ = Text4SegRuns(tuple(labels)).read(said, (side, side)) if opened else (None, [])
    cells_C = np.zeros(side * side, dtype=bool) if grid_RC is None else (grid_RC != 0).ravel()
    return Mask.from_dense(stretched(cells_C, side, truth, centres=True))


def _strict_counts(found: Mask, truth: Mask) -> tuple[float, int, int, bool]:
    """IoU, pixels in both and in either, and whether the boxes, to their outer edges, have IoU >= 0.5."""
    inter, union = mask_counts(found, truth)
    boxes = [np.array([[box.x1, box.y1, box.x2, box.y2]]) for box in (found.bounds, truth.bounds)]
    return inter / union if union else 1.0, inter, union, bool(hbb_iou(*boxes)[0, 0] >= 0.5)


def _beside(part: str, numbers: Mapping[str, Any], counts: Sequence[tuple[float, int, int, bool]]) -> list[Beside]:
    if not counts:
        return []
    ious, inters, unions, hits = zip(*counts, strict=True)
    ciou = sum(inters) / sum(unions) if sum(unions) else None
    strict = {"giou": sum(ious) / len(ious), "ciou": ciou, "acc": 100 * sum(hits) / len(hits)}
    return [Beside(part, name, numbers[name], value) for name, value in strict.items()]


def _reasons(row: Row, decoded: Decoded, side: int, found_HW: np.ndarray, truth: Mask) -> tuple[str, ...]:
    """What was met in the text, if it made other cells; and the two rules of measuring, each put right alone."""
    truth_HW = truth.dense()

    def iou(mask_HW: np.ndarray) -> float:
        union = int((mask_HW | truth_HW).sum())
        return int((mask_HW & truth_HW).sum()) / union if union else 1.0

    centred = iou(stretched(decoded.cells_C, side, truth, centres=True))
    names = set(decoded.met or {"odd-text"}) if abs(centred - (row.strict or 0.0)) > 1e-12 else set()
    if abs(iou(found_HW) - (row.published or 0.0)) > 1e-6:
        names.add("epsilon")
    if abs(iou(found_HW) - centred) > 1e-12:
        names.add("left-neighbour")
    return tuple(name for name in QUIRKS if name in names)


PROTOCOL = Protocol(
    name="text4seg",
    source="github.com/mc-lan/Text4Seg at d6540b6, ms-swift/text4seg",
    reads="JSON lines {id, answer, ground_truth: COCO run-length mask} (the original has no file of answers)",
    quirks=QUIRKS,
    score=score,
    settings={"side": f"cells along a side of the grid (default {SIDE}, as in the published scripts)"},
)

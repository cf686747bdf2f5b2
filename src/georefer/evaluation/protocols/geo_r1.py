"""Geo-R1's scripts as published: referring expressions (REC), detection (OVD, see `geo_r1_ovd`), segmentation (GRES).

Source: github.com/Geo-R1/geo-r1 at c2f2131, run_scripts/. Input: `rec_results.json` (with the test list beside it or
by `--set testset=FILE`), pairs `<name>_gt.json` and `<name>_pred.json` (or one file and `--set gt=FILE`) and
`gres_results.jsonl`; of `rewards_rec.jsonl` and `rewards_od.jsonl`, what its three parsers read in each answer.

What it does that a strict scorer would not, all kept here:

- REC counts IoU > threshold; boxes that share one pixel or less along a side share nothing; a box with swapped corners
  is worth 0; rows that the test list does not name are left out of "unique" and "non-unique" without a word.
- The parser of RL answers takes the last box of the first answer, that of SFT answers the first box anywhere.
- OVD gives every box the score 1.0, so the order of the file decides what AP is: duplicates and false alarms behind
  the hits are free. VOC's AP counts crowds as truths, looks only at the best truth of a prediction and takes a class
  without truth for 0; COCO's passes over such classes and over false alarms in them, and never finds a truth with id 0.
- GRES gives IoU 0 to a right "there is nothing" (the union is empty).

The original stops where a number of a box is no number, where a parsed list holds anything but objects, and at
predictions on images that the truth does not name (COCO only, which leaves those out here; VOC counts them as false).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from georefer.errors import InputError
from georefer.evaluation.protocols import geo_r1_beside as strict_side
from georefer.evaluation.protocols.base import (
    Beside,
    Protocol,
    Row,
    Scores,
    Stop,
    find,
    partial,
    plain_name,
    read_json,
    read_json_lines,
    refuse_repeated,
)
from georefer.evaluation.protocols.geo_r1_ovd import Pool, coco_scores, pooled, voc_scores
from georefer.evaluation.protocols.geo_r1_parsers import read_ovd, read_sft
from georefer.evaluation.protocols.geo_r1_read import reward_rows
from georefer.training.rewards.published.geo_r1 import list_of, read_rl
from georefer.training.rewards.published.reading import inset_iou

THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
"""The IoUs at which boxes are counted (the script names 0.5 and 0.7 in its text)."""

QUIRKS = {
    "strictly-above": "REC counts IoU > 0.5, so a box of exactly 0.5 is wrong",
    "one-pixel": "boxes that share one pixel or less along a side have IoU 0",
    "swapped-corners": "a box whose corners are swapped has IoU 0",
    "union-empty": "GRES gives IoU 0 where nothing is asked for and nothing is said",
    "crowd-as-truth": "VOC counts a crowd as one truth, which one prediction may hit",
    "best-truth-only": "VOC's rule looks only at the best truth of a prediction, even where it is taken",
    "file-order": "of predictions with equal scores, those that come first in the file take the truths",
    "first-or-last-box": "of several boxes the parser of RL answers takes the last one, that of SFT answers the first",
    "whole-numbers": "the parser of RL answers reads whole numbers without a sign, in braces, between answer tags",
    "any-numbers": "the parsers take any four numbers in brackets for a box, whatever they are called",
    "empty-class": "in VOC a class without truth counts as AP 0",
    "id-zero": "COCO's code takes a truth with the id 0 for none: what hits it is a false alarm",
    "late-alarms-free": "all scores are 1.0, and false alarms behind the last hit of the file cost nothing",
}

_SPLIT = ("unique", "non_unique")
_TITLES = {
    "unique": "✅ **唯一目标 (is_unique = True)** 的情况",
    "non_unique": "❌ **非唯一目标 (is_unique = False)** 的情况",
}


@dataclass
class Part:
    """What one file, or pair of files, adds to the scores."""

    numbers: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    beside: list[Beside] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


# --- REC -------------------------------------------------------------------------------------------------


def rec_iou(predicted: Any, truth: Any) -> float:
    """IoU as the script has it; TypeError or ValueError where a number is none."""
    if not (list_of(predicted, 4) and list_of(truth, 4)):
        return 0.0
    try:
        return max(inset_iou([float(v) for v in predicted], [float(v) for v in truth]), 0.0)
    except ZeroDivisionError:
        return 0.0


def score_rec(path: Path, settings: Mapping[str, str], beside: bool) -> Part:
    """The counts of `recal_rec_acc_unique.py` and the IoU of each row."""
    data = read_json(path)
    results = data.get("results") if isinstance(data, dict) else None
    if not isinstance(results, list) or not all(isinstance(row, dict) for row in results):
        raise InputError(
            f"{path} has no list 'results' of objects; the file that Geo-R1's REC script writes is expected"
        )
    keys = [(str(row.get("image")), str(row.get("question"))) for row in results]
    if not partial(settings):
        refuse_repeated(keys, path)
    ious, stops = [], []
    for number, row in enumerate(results):
        try:
            ious.append(rec_iou(row.get("extracted_answer"), row.get("ground_truth")))
        except (TypeError, ValueError, OverflowError) as error:
            ious.append(0.0)
            stops.append(Stop("rec", number, f"a box holds something that is no number ({error}); counted as IoU 0"))
    iou_N = np.array(ious, dtype=np.float64)
    numbers: dict[str, Any] = {"rows": len(results), "thresholds": list(THRESHOLDS), "comparison": ">"}
    numbers["all"] = _counts(iou_N)
    notes: list[str] = []
    if (testset := _testset(path, settings)) is not None:
        unique_N = [testset.get(key) for key in keys]
        printed = []
        for name, wanted in zip(_SPLIT, (True, False), strict=True):
            part_N = iou_N[[flag is wanted for flag in unique_N]]
            numbers[name] = {"n": len(part_N), **_counts(part_N)}
            printed += [f"{_TITLES[name]} (共 {len(part_N)} 例):", *_printed(part_N)]
        numbers |= {"iou_per_row": ious, "printed_unique": printed}
        if unknown := unique_N.count(None):
            notes.append(f"rec: {unknown} rows are not in the test list and stand in neither half")
    numbers |= {"iou_per_row": ious, "printed_all": _printed(iou_N)}
    rows = [Row("rec", number, float(iou > 0.5)) for number, iou in enumerate(ious)]
    part = Part(numbers, rows, stops, [], notes)
    if beside:
        part.rows, part.beside = strict_side.rec(results, iou_N, THRESHOLDS)
    return part


def _testset(path: Path, settings: Mapping[str, str]) -> dict[tuple[str, str], bool | None] | None:
    file = Path(settings["testset"]) if "testset" in settings else find(path.parent, "rec_testset.json")
    if file is None:
        return None
    items = read_json(file)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError(f"{file} is no list of objects; the test list with image, problem and is_unique is expected")
    flags = {(str(i.get("image")), str(i.get("problem"))): i.get("is_unique", False) for i in items}
    return {key: None if flag is None else bool(flag) for key, flag in flags.items()}


def _counts(iou_N: np.ndarray) -> dict[str, Any]:
    counts = {threshold: int((iou_N > threshold).sum()) for threshold in THRESHOLDS}
    share = {t: n / len(iou_N) * 100 if len(iou_N) else 0.0 for t, n in counts.items()}
    return {str(t): {"accuracy": share[t], "correct": counts[t]} for t in THRESHOLDS}


def _printed(iou_N: np.ndarray) -> list[str]:
    return [
        f"- Acc @ IoU > {t:.2f} :  {row['accuracy']:.2f}%  ({row['correct']} / {len(iou_N)})"
        for t, row in zip(THRESHOLDS, _counts(iou_N).values(), strict=True)
    ]


# --- OVD -------------------------------------------------------------------------------------------------


def score_ovd(part: str, truth_path: Path, path: Path, beside: bool) -> Part:
    """VOC's and COCO's numbers of one pair of files, under the name of the pair."""
    truth, predictions = read_json(truth_path), read_json(path)
    try:
        pool = pooled(truth, predictions)
    except InputError as error:
        raise InputError(f"{path} with {truth_path}: {error}") from error
    numbers = {
        "images": len(truth["images"]),
        "annotations": len(truth["annotations"]),
        "predictions": len(predictions),
        "voc": voc_scores(pool),
        "coco": coco_scores(pool, len(predictions)),
    }
    scored = Part(numbers, stops=_ovd_stops(part, pool))
    if unnamed := len(predictions) - len(pool.kept_P):
        scored.notes.append(f"{part}: {unnamed} predictions of classes that the truth does not name are passed over")
    if empty := [name for k, name in enumerate(pool.names) if k not in set((pool.cell_T % pool.classes).tolist())]:
        scored.notes.append(f"{part}: no truth for {', '.join(empty)}, which VOC counts as AP 0 and COCO leaves out")
    hits_P = strict_side.voc_hits(pool)
    scored.rows = [Row(part, k, float(hit)) for k, hit in zip(pool.kept_P.tolist(), hits_P, strict=True)]
    if beside:
        scored.rows, scored.beside = strict_side.ovd(part, pool, hits_P, numbers)
    return scored


def _ovd_stops(part: str, pool: Pool) -> list[Stop]:
    stray = "the image is not in the truth: COCO's loader stops; left out there, a false alarm in VOC"
    broken = "the box or the score is no list of four numbers or no number; counted as an empty box"
    strays = [Stop(part, int(k), stray) for k in pool.kept_P[pool.stray_P]]
    return strays + [Stop(part, int(k), broken) for k in pool.broken]


# --- GRES ------------------------------------------------------------------------------------------------


def score_gres(path: Path, settings: Mapping[str, str], beside: bool) -> Part:
    """gIoU and cIoU of pixel counts, over all and by category, as `run_final_evaluation` gives them."""
    results = list(read_json_lines(path))
    inter_N, union_N = (np.array([_pixels(path, row, name) for row in results]) for name in ("intersection", "union"))
    ids = [row.get("id", number) for number, row in enumerate(results)]
    if not partial(settings):
        refuse_repeated(map(str, ids), path)
    if not results:
        raise InputError(f"{path} holds no row; id, category, intersection and union are expected")
    iou_N = np.divide(inter_N, union_N, out=np.zeros(len(results)), where=union_N > 0)
    category_N = np.array([str(row.get("category")) for row in results])

    def means(of_N: np.ndarray) -> tuple[float, float]:
        union = union_N[of_N].sum()
        return float(np.mean(iou_N[of_N])), float(inter_N[of_N].sum() / union) if union > 0 else 0.0

    giou, ciou = means(np.ones(len(results), dtype=bool))
    by_category = {}
    for name in sorted(set(category_N.tolist())):
        of_N = category_N == name
        mean, cumulative = means(of_N)
        by_category[name] = {"count": float(of_N.sum()), "gIoU": mean, "cIoU": cumulative}
    numbers = {
        "rows": len(results),
        "overall_gIoU": giou,
        "overall_cIoU": ciou,
        "printed": [f"** 总体 gIoU: {giou:.4f} **", f"** 总体 cIoU: {ciou:.4f} **"],
        "per_category": by_category,
    }
    scored = Part(numbers, [Row("gres", id_, float(iou)) for id_, iou in zip(ids, iou_N, strict=True)])
    if beside:
        scored.rows, scored.beside = strict_side.gres(ids, iou_N, inter_N, union_N, numbers)
    return scored


def _pixels(path: Path, row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        raise InputError(f"{path}: {name} of row {row.get('id')!r} is {value!r}; a number of pixels is expected")
    if not row.get("intersection", 0) <= row.get("union", 0):
        raise InputError(f"{path}: row {row.get('id')!r} has a larger intersection than union; check their order")
    return float(value)


# --- parsers over reward files ---------------------------------------------------------------------------


def score_parsers(part: str, path: Path, settings: Mapping[str, str], beside: bool) -> Part:
    """What the three parsers read in each answer; {"exception": its kind} where the original raises."""
    rows = reward_rows(path, settings)
    names = ("rl", "sft", "ovd") if part == "extract_answer" else ("ovd", "sft")
    parsers: dict[str, tuple[str, Callable[[str], Any]]] = {
        "rl": ("test_rec_r1_eval", read_rl),
        "sft": ("test_rec_baseline_eval", read_sft),
        "ovd": ("test_ovd_nwpu_eval", read_ovd),
    }
    stops: list[Stop] = []
    numbers: dict[str, Any] = {"on": plain_name(path)}
    for title, parse in map(parsers.__getitem__, names):
        found = []
        for row in rows:
            try:
                found.append(parse(row["content"]))
            except (TypeError, ValueError) as error:
                found.append({"exception": type(error).__name__})
                stops.append(Stop(part, row["id"], f"{title} raises {type(error).__name__}: {error}"))
        numbers[title] = found
    scored = Part(numbers, stops=stops)
    if beside and part == "extract_answer":
        scored.rows = strict_side.parsed(part, rows, numbers["test_rec_r1_eval"])
    return scored


# --- the protocol ----------------------------------------------------------------------------------------


def _score(path: Path, settings: Mapping[str, str], beside: bool) -> Scores:
    parts: dict[str, Part] = {}
    if rec := _named(path, "rec_results.json"):
        parts["rec"] = score_rec(rec, settings, beside)
    for part, truth_path, file in _pairs(path, settings):
        parts[part] = score_ovd(part, truth_path, file, beside)
    if gres := _named(path, "gres_results.jsonl"):
        parts["gres"] = score_gres(gres, settings, beside)
    for part, name in (("extract_answer", "rewards_rec.jsonl"), ("extract_answer_od", "rewards_od.jsonl")):
        if said := _named(path, name):
            parts[part] = score_parsers(part, said, settings, beside)
    if not parts and path.is_file():
        parts = _by_content(path, settings, beside)
    if not parts:
        raise InputError(
            f"{path} holds no rec_results.json, <name>_gt.json with <name>_pred.json or gres_results.jsonl; "
            "give such a file or the folder that holds them"
        )
    return Scores(
        {name: part.numbers for name, part in parts.items()},
        tuple(row for part in parts.values() for row in part.rows),
        tuple(stop for part in parts.values() for stop in part.stops),
        tuple(measure for part in parts.values() for measure in part.beside),
        tuple(note for part in parts.values() for note in part.notes),
    )


def _named(path: Path, name: str) -> Path | None:
    if path.is_dir():
        return find(path, name)
    return path if path.is_file() and plain_name(path) == name else None


def _pairs(path: Path, settings: Mapping[str, str]) -> list[tuple[str, Path, Path]]:
    """(part, truth, predictions) of a folder's pairs, or of one file whose truth is beside it or given."""
    if path.is_dir():
        files = sorted({plain_name(p).removesuffix("_pred.json") for p in path.glob("*_pred.json*") if p.is_file()})
    else:
        files = [plain_name(path).removesuffix("_pred.json")] if plain_name(path).endswith("_pred.json") else []
    folder = path if path.is_dir() else path.parent
    found = []
    for name in files:
        predictions = path if path.is_file() else find(folder, f"{name}_pred.json")
        truth = Path(settings["gt"]) if "gt" in settings else find(folder, f"{name}_gt.json")
        if truth and predictions:
            found.append((name, truth, predictions))
        elif predictions and path.is_file():
            raise InputError(f"{path} has no {name}_gt.json beside it; give the truth by --set gt=FILE")
    return found


def _by_content(path: Path, settings: Mapping[str, str], beside: bool) -> dict[str, Part]:
    """One file of any name: predictions with `--set gt=FILE`, else REC results or GRES rows by their look."""
    if "gt" in settings:
        return {"ovd": score_ovd("ovd", Path(settings["gt"]), path, beside)}
    if plain_name(path).endswith(".jsonl"):
        return {"gres": score_gres(path, settings, beside)}
    return {"rec": score_rec(path, settings, beside)}


PROTOCOL = Protocol(
    name="geo-r1",
    source="github.com/Geo-R1/geo-r1 at c2f2131, run_scripts/{recal_rec_acc_unique,ovd_*_evaluation,test_*_eval}.py",
    reads="rec_results.json, <name>_gt.json with <name>_pred.json, gres_results.jsonl, or a folder with any of them",
    quirks=QUIRKS,
    score=_score,
    settings={
        "testset": "REC's test list with is_unique (default: rec_testset.json beside the results)",
        "gt": "the COCO truth of detections (default: <name>_gt.json beside <name>_pred.json)",
    },
)

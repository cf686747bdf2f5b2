"""GroundSet's scorer as published: detection, multi-class detection (phrase), REC, segmentation and presence (vqa).

Source: github.com/rogerferrod/GroundSet at 84aeed1, src/eval/eval_{detection,phrase,rec,segment,vqa}.py. Input
are its tables `<task>_<n>.csv`, tab separated, with ID, PREDICTION, GROUND_TRUTH, CLASS and NOISE.

What it does that a strict scorer would not, all kept here:

- The name of the model decides the scale of its numbers (`MODELS`). Gemini's and LLaVA's are divided by 1000 as soon
  as one of a box's numbers is whole, so a right answer in 0-1 that touches the image's edge counts as nearly empty.
- The first of four patterns that matches anything is used alone; what cannot be read is dropped, not a false positive.
- Each prediction looks only at its best truth, in the order of the answer; a truth that is taken makes it false.
- mIoU is the mean over predictions of the best IoU: missed objects cost nothing, duplicates count in full.
- "acc0.5" adds up objects and empty images; a box without width is a false positive, one that is a point is dropped.
- `phrase` ignores the classes that it asks for; `segment` passes over some classes, and a ring that crosses itself
  keeps one lobe and is not clipped to the image.
- `vqa` looks at the first letters: "not sure" is a right no, "I see no building" a wrong yes.

The original stops with an exception where a truth spans no area and there is a prediction; here that prediction has
IoU 0 with it, and the row is listed in `differs`.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas
import shapely
import shapely.affinity

from georefer.errors import InputError

Task = Literal["detection", "phrase", "rec", "segment", "vqa"]

SIDE_PX = 672
"""The square to which all boxes are scaled and clipped; overlap does not depend on it."""

COLUMNS = ("ID", "PREDICTION", "GROUND_TRUTH", "CLASS", "NOISE")

NOT_SEGMENTED = frozenset(
    (
        "vegetation", "forests & woodlands", "forest", "woodland", "industrial zone",
        "industrial, agricultural or commercial zone", "public space",
    )
)  # fmt: skip
"""Classes that the scorer of segments passes over."""

PUNCTUATION = string.punctuation

_N = r"-?[0-9]+(?:\.[0-9]+)?"
_NUMBER = re.compile(_N)
_LIST = re.compile(rf"\[\s*+({_N}(?:\s*+,\s*+{_N})*+)\s*+\]")
_BRACES = re.compile(rf"\{{\s*+((?:<\s*+{_N}\s*+>\s*+)++)\}}")
_TURNED = re.compile(rf"\{{\s*+((?:<\s*+{_N}\s*+>\s*+)++)\|\s*+<\s*+({_N})\s*+>\s*+\}}")
_LOCATIONS = re.compile(r"(?:<loc[0-9]{4}>\s*+){4}")


@dataclass(frozen=True)
class Scale:
    """How a model's numbers become parts of the image: divided, y first, or by the look of them (see the module).

    `turned` says what `{<a><b><c><d>|<angle>}` means: corners or middle and sides, turned; None ignores the angle.
    """

    divisor: float
    y_first: bool = False
    by_look: bool = False
    turned: Literal["corners", "middle"] | None = None


MODELS: dict[str, Scale] = {
    "finetune": Scale(1000),
    "ferret": Scale(1000),
    "minigpt": Scale(100),
    "vrsbench": Scale(100),
    "geochat": Scale(100, turned="corners"),
    "skysense": Scale(100, turned="middle"),
    "paligemma": Scale(1024, y_first=True),
    "gemini": Scale(1000, by_look=True),
    "llava": Scale(1000, by_look=True),
    "llava-next": Scale(1000, by_look=True),
    "gemma": Scale(1),
}


@dataclass(frozen=True)
class RowScore:
    """What one row added, and the best IoU of each prediction that was kept."""

    id: Any
    group: str
    tp: int
    fp: int
    fn: int
    tn: int
    best_iou: tuple[float, ...]


@dataclass(frozen=True)
class GroundSetScores:
    """Percent per group (lower case; "ALL" is all rows), the rows, and the ids at which the original would stop."""

    groups: dict[str, dict[str, float]]
    rows: tuple[RowScore, ...]
    differs: tuple[Any, ...] = field(default=())


def read_table(folder: Path, task: Task) -> pandas.DataFrame:
    """All parts `<task>_<n>.csv` of a folder, by number, as pandas reads them by default.

    "None", "NA", "nan" and the like become blank, as in the original. InputError where there is no part, or one
    that is no such table.
    """
    parts = [p for p in Path(folder).glob(f"{task}_*.csv*") if re.fullmatch(rf"{task}_\d+\.csv(\.gz)?", p.name)]
    if not parts:
        raise InputError(f"{folder} holds no {task}_<number>.csv; give the folder into which the answers were written")
    tables = []
    for path in sorted(parts, key=lambda p: int(p.name.split("_")[1].split(".")[0])):
        try:
            table = pandas.read_csv(path, sep="\t")
        except (ValueError, OSError) as error:
            raise InputError(f"{path} is no table separated by tabs ({str(error).splitlines()[0]})") from error
        if missing := [name for name in COLUMNS if name not in table]:
            raise InputError(f"{path} has no column {', '.join(missing)}; the header is {' '.join(COLUMNS)}")
        tables.append(table)
    return pandas.concat(tables, ignore_index=True)


def score_table(
    table: pandas.DataFrame,
    task: Task,
    model: str,
    group_of: Mapping[str, str] | None = None,
    *,
    exclude_noise: bool = False,
) -> GroundSetScores:
    """The published scores. `group_of` leads from a class in lower case to its group, others are "other".

    With `exclude_noise`, rows whose NOISE is anything but False are left out (a blank cell counts as noise).
    """
    if model not in MODELS:
        raise InputError(f"the GroundSet scorer knows no model '{model}', which decides the scale: {', '.join(MODELS)}")
    if exclude_noise and task in ("phrase", "segment"):
        raise InputError(f"the published scorer of {task} cannot leave out noise; score all rows")
    if exclude_noise:
        table = table[table["NOISE"].astype(str) == "False"]
    rows, differs = [], []
    for id_, prediction, truth, label in table[["ID", "PREDICTION", "GROUND_TRUTH", "CLASS"]].itertuples(index=False):
        group = (group_of or {}).get(str(label).lower(), "other")
        if task == "vqa":
            rows.append(_score_answer(id_, group, prediction, truth))
            continue
        if task == "segment" and str(label).lower() in NOT_SEGMENTED:
            continue
        found_P = _predictions(prediction, task, MODELS[model])
        true_T = _truths(truth, task)
        rows.append(_score_row(id_, group, found_P, true_T))
        if len(found_P) and any(shape is None for shape in true_T):
            differs.append(id_)
    percent = _percent_of_answers if task == "vqa" else _percent
    groups = {"ALL": percent(rows)}
    if task != "phrase":
        groups |= {name: percent([r for r in rows if r.group == name]) for name in sorted({r.group for r in rows})}
    return GroundSetScores(groups, tuple(rows), tuple(differs))


def groups_of_tree(tree: Mapping[str, Any]) -> dict[str, str]:
    """Class in lower case to group in lower case, from GroundSet's `tree.json`.

    Groups are the nodes two levels below the root. A class with two parents belongs to the one that comes first.
    """
    groups: dict[str, str] = {}

    def walk(node: Any, path: tuple[str, ...]) -> None:
        names = node.items() if isinstance(node, Mapping) else [(name, None) for name in node or ()]
        for name, below in names:
            here = (*path, str(name).lower())
            if len(here) >= 3:
                groups.setdefault(here[-1], here[2])
            walk(below, here)

    walk(tree, ())
    return groups


def _score_row(
    id_: Any, group: str, found_P: list[shapely.Geometry], true_T: list[shapely.Geometry | None]
) -> RowScore:
    """Greedy in the order of the answer, each prediction with its one best truth."""
    iou_PT = np.zeros((len(found_P), len(true_T)))
    if iou_PT.size:
        p_P = np.array(found_P, dtype=object)
        t_T = np.array([shapely.Polygon() if t is None else t for t in true_T], dtype=object)
        inter_PT = shapely.area(shapely.intersection(p_P[:, None], t_T[None]))
        union_PT = shapely.area(p_P)[:, None] + shapely.area(t_T)[None] - inter_PT
        np.divide(inter_PT, union_PT, out=iou_PT, where=union_PT > 0)
    best_P = iou_PT.max(axis=1, initial=0.0)
    taken: set[int] = set()
    for best, truth in zip(best_P, iou_PT.argmax(axis=1) if iou_PT.size else (), strict=False):
        if best >= 0.5:
            taken.add(int(truth))
    tp = len(taken)
    return RowScore(
        id_, group, tp, len(found_P) - tp, len(true_T) - tp, int(not found_P and not true_T), tuple(best_P.tolist())
    )


def _score_answer(id_: Any, group: str, prediction: Any, truth: Any) -> RowScore:
    """Yes or no by the first letters: "not sure" is a right no, "I see no building" a wrong yes."""
    said = prediction.lower().strip(PUNCTUATION).strip() if isinstance(prediction, str) else ""
    if isinstance(truth, str) and truth.lower() == "yes":
        right = said.startswith("yes")
        return RowScore(id_, group, int(right), 0, int(not right), 0, ())
    right = said.startswith("no")
    return RowScore(id_, group, 0, int(not right), 0, int(right), ())


def _percent_of_answers(rows: list[RowScore]) -> dict[str, float]:
    found = _percent(rows)
    return {"P": found["P@0.5"], "R": found["R0.5"], "F1": found["F1@0.5"], "acc": found["acc0.5"]}


def _percent(rows: list[RowScore]) -> dict[str, float]:
    tp, fp, fn, tn = (sum(getattr(r, name) for r in rows) for name in ("tp", "fp", "fn", "tn"))
    iou_P = [iou for r in rows for iou in r.best_iou]
    precision, recall = tp / (tp + fp) if tp + fp else 0.0, tp / (tp + fn) if tp + fn else 0.0
    return {
        "mIoU": 100 * float(np.mean(iou_P)) if iou_P else 0.0,
        "P@0.5": 100 * precision,
        "R0.5": 100 * recall,
        "F1@0.5": 200 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "acc0.5": 100 * (tp + tn) / (tp + tn + fp + fn) if tp + tn + fp + fn else 0.0,
    }


def _truths(text: Any, task: Task) -> list[shapely.Geometry | None]:
    """Boxes of the ground truth, in 0-1; None for one that spans nothing within the image."""
    lists = [_floats(m[1]) for m in _LIST.finditer(text)] if isinstance(text, str) else []
    if task == "segment":
        return [_ring(np.array(v)) for v in lists]
    return [_shape(np.array(v[:4])) for v in lists if len(v) == 4 or (len(v) == 5 and task != "rec")]


def _predictions(text: Any, task: Task, scale: Scale) -> list[shapely.Geometry]:
    """Boxes that the scorer reads in an answer, within the image."""
    found = []
    if task == "segment" and isinstance(text, str) and text.count("<seg") > 1:
        return []  # taken for mask codes, which need weights that were not at hand
    said = _said(text.replace("(", "[").replace(")", "]") if isinstance(text, str) else "", braces=task != "segment")
    for values, angle in said:
        turned = angle is not None and scale.turned is not None
        numbers = values if angle is None else [*values, angle]
        count = len(values) if turned else len(numbers)
        if task == "segment":
            whole = any(float(v).is_integer() for v in values)
            ring = np.array(values) / (1 if scale.by_look and not whole else scale.divisor)
            if scale.y_first and len(ring) < 4:
                continue  # the original stops here
            if scale.y_first:
                ring = ring[[1, 0, 3, 2]]  # whatever was said, its first four numbers are taken for a box
            if (shape := _ring(ring)) is not None:
                found.append(shape)
            continue
        if count < 4 or (task == "rec" and count != 4) or (count > 5 and not scale.y_first):
            continue
        look = any(float(v).is_integer() for v in numbers)
        box_4 = np.array(numbers[:4]) / (1 if scale.by_look and not look else scale.divisor)
        if scale.y_first:
            box_4 = box_4[[1, 0, 3, 2]]
        if turned and scale.turned == "middle":
            box_4 = np.concatenate([box_4[:2] - box_4[2:] / 2, box_4[:2] + box_4[2:] / 2])
        if (shape := _shape(box_4, angle or 0.0 if turned else 0.0)) is not None:
            found.append(shape)
    return found


def _said(text: str, braces: bool) -> list[tuple[list[float], float | None]]:
    """(numbers, angle or None) of the first pattern that matches anything."""
    for pattern in (_LIST, _BRACES) if braces else (_LIST,):
        if matches := pattern.findall(text):
            return [(_floats(m), None) for m in matches]
    if braces and (pairs := _TURNED.findall(text)):
        return [(_floats(m), float(angle)) for m, angle in pairs]
    return [([float(v) for v in re.findall(r"[0-9]{4}", m)], None) for m in _LOCATIONS.findall(text)]


def _ring(numbers_K: np.ndarray) -> shapely.Geometry | None:
    """A ring x1, y1, ... of image parts, or a box of four; one that crosses itself keeps what buffer(0) keeps."""
    if not np.isfinite(numbers_K * SIDE_PX).all():
        return None
    if len(numbers_K) == 4:
        x1, y1, x2, y2 = numbers_K
        numbers_K = np.array([x1, y1, x2, y1, x2, y2, x1, y2])
    xy_N2 = numbers_K[: len(numbers_K) // 2 * 2].reshape(-1, 2) * SIDE_PX
    if len(xy_N2) < 3:
        return None
    shape = shapely.Polygon(xy_N2)
    if not shape.is_valid:
        return shape.buffer(0)
    inside = shapely.intersection(shape, shapely.box(0, 0, SIDE_PX, SIDE_PX))
    return None if inside.is_empty else inside


def _shape(box_4: np.ndarray, angle: float = 0.0) -> shapely.Geometry | None:
    """A box of image parts as what is left of it in the square; None for nothing, or a single point."""
    x1, y1, x2, y2 = (box_4 * SIDE_PX).tolist()
    if not all(map(math.isfinite, (x1, y1, x2, y2, angle))):
        return None  # four hundred nines are infinite; there is no box to keep
    if x1 == x2 and y1 == y2:
        return None
    shape = shapely.box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    if angle:
        shape = shapely.affinity.rotate(shape, angle, origin="center")
    inside = shapely.intersection(shape, shapely.box(0, 0, SIDE_PX, SIDE_PX))
    return None if inside.is_empty or inside.geom_type == "Point" else inside


def _floats(text: str) -> list[float]:
    return [float(v) for v in _NUMBER.findall(text)]

"""VRSBench's referring metrics as published: horizontal boxes and two kinds of oriented ones.

Source: github.com/lx709/VRSBench at d38cee1, eval_fianl/compute_metrics.ipynb and eval_utils.py, with BboxToolkit at
99475e4. Input: JSON lines `rsbench_referring_v2.json` with image_id, is_unique, ground_truth and answer, and obb_v1
or obb_v2 in the folder of that name: the name of the folder chooses the mode, as in the original. VRSBench scores
captions and VQA by asking GPT-4 and an external caption scorer; what a service said cannot be computed again, so only
the referring metrics are here.

What it does that a strict scorer would not, all kept here:

- Only digits are read: "0.20" is 0 and 20, and a minus sign vanishes, which mirrors angles.
- Any digits of the answer count, also those of "box1" or "2 objects"; surplus ones are dropped (v1: score 0).
- hbb adds 1 to every side although a step is a hundredth of the image; corners in another order are left so.
- obb: angles are degrees, and used as radians; v2 makes sides from the diagonal times cosine and sine of the angle.
- v1 takes eight numbers for four corners. Unions are float32; boxes whose bounds do not meet have a union of 1e-6.
- What cannot be read counts 0 in accuracy and meanIoU, and is left out of cumIoU and rot_err.
- Rows whose is_unique is neither 0 nor 1 are skipped. The ground truth is cut to whole hundredths before scoring.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from shapely.errors import ShapelyError

from georefer.errors import InputError
from georefer.evaluation.protocols import vrsbench_boxes as boxes
from georefer.evaluation.protocols.base import (
    Beside,
    Protocol,
    Row,
    Scores,
    Stop,
    find,
    partial,
    read_json_lines,
    refuse_repeated,
)
from georefer.geometry.rotated import obb_intersection_pairs

MODES = ("hbb", "obb_v1", "obb_v2")
NAMES = ("rsbench_referring_v2.json", "rsbench_referring_v1.json", "rsbench_referring.json")
THRESHOLDS = (0.5, 0.7)

_DIGITS = re.compile(r"\d+")

SAFE, MAX_DIGITS = 1 << 25, 4300
"""Smaller numbers have areas that float64 holds exactly; longer ones Python refuses to read: the original stops."""

SLIVER, NEAR = 1e-6, 1e-6
"""Boxes thinner than this part of their length, and IoUs this near to a threshold, are left to GEOS as published."""


@dataclass
class _Table:
    """The rows of one file in columns: the numbers as the original reads them, and the texts they came from.

    `unique` is True, False, or None where the row is skipped; `messages` say why a row has no score ("" where the
    original says nothing), and are None where it has one; `rot` holds errors of angles, NaN where there is none.
    """

    mode: str
    unique: list[bool | None] = field(default_factory=list)
    known: list[bool] = field(default_factory=list)
    truths: list[list[int]] = field(default_factory=list)
    said: list[list[int]] = field(default_factory=list)
    truth_texts: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    ious: list[float] = field(default_factory=list)
    inters: list[Any] = field(default_factory=list)
    unions: list[Any] = field(default_factory=list)
    messages: list[str | None] = field(default_factory=list)
    rots: list[float] = field(default_factory=list)


def score(path: Path, settings: Mapping[str, str], beside: bool) -> Scores:
    """The numbers of every mode that the path holds: {mode: {all, unique, non_unique, per_row}}."""
    numbers: dict[str, Any] = {}
    rows: list[Row] = []
    stops: list[Stop] = []
    besides: list[Beside] = []
    notes: list[str] = []
    for mode, file in _files(Path(path), settings).items():
        table = _read(file, mode, partial(settings))
        _score_table(table)
        numbers[mode], printing_stops = _numbers(table)
        stops += table.stops + printing_stops
        mine = _rows(table, beside)
        rows += mine
        if skipped := [u for u, known in zip(table.unique, table.known, strict=True) if u is None and known]:
            notes.append(f"{mode}: {len(skipped)} rows are skipped, as their is_unique is neither 0 nor 1")
        if beside:
            besides += _beside(mode, mine)
            notes.append(f"{mode}: {boxes.QUIRKS['floored']}")
    return Scores(numbers, tuple(rows), tuple(stops), tuple(besides), tuple(notes))


# --- files -----------------------------------------------------------------------------------------------


def _files(path: Path, settings: Mapping[str, str]) -> dict[str, Path]:
    """Answer files by mode, in the order of `MODES`."""
    wanted = settings.get("mode")
    if wanted is not None and wanted not in MODES:
        raise InputError(f"mode={wanted} is no mode of VRSBench; set one of {', '.join(MODES)}")
    if path.is_file():
        return {wanted or _mode_of(path.resolve().parent.name): path}
    if not path.is_dir():
        raise InputError(f"{path} does not exist; give VRSBench's answer file, or the folder that holds it")
    if file := _answer_file(path):
        return {wanted or _mode_of(path.resolve().name): file}
    found: dict[str, Path] = {}
    for folder in sorted(p for p in path.iterdir() if p.is_dir()):
        if file := _answer_file(folder):
            mode = _mode_of(folder.name)
            if mode in found:
                raise InputError(f"{path} holds two folders of mode {mode} ({folder.name}); give one of them alone")
            found[mode] = file
    if not (chosen := {m: found[m] for m in MODES if m in found and wanted in (None, m)}):
        raise InputError(f"{path} and its folders hold no {NAMES[0]}; give the folder into which answers were written")
    return chosen


def _answer_file(folder: Path) -> Path | None:
    return next((file for name in NAMES if (file := find(folder, name))), None)


def _mode_of(folder: str) -> str:
    mode = next((mode for mode in MODES[1:] if mode in folder), "hbb")
    if mode == "hbb" and "obb" in folder:
        raise InputError(f"the folder {folder} names neither obb_v1 nor obb_v2; say which with --set mode=obb_v1")
    return mode


def _read(path: Path, mode: str, repeated: bool) -> _Table:
    table, ids, truth_key = _Table(mode), [], "ground_truth" if mode == "hbb" else mode
    for number, row in enumerate(read_json_lines(path)):
        if "question_id" in row:
            ids.append((str(row.get("image_id")), str(row["question_id"])))
        unique, truth, said = row.get("is_unique"), row.get(truth_key), row.get("answer")
        fine = type(unique) is int and "image_id" in row
        if not (fine and isinstance(truth, str) and isinstance(said, str) and len(truth) + len(said) <= MAX_DIGITS):
            unique, truth, said = _repaired(table, number, row, truth_key)
        table.unique.append(unique == 1 if unique in (0, 1) else None)
        table.known.append("is_unique" in row)
        table.images.append(row.get("image_id"))
        table.truth_texts.append(truth)
        table.texts.append(said)
        table.truths.append(list(map(int, _DIGITS.findall(truth))))
        table.said.append(list(map(int, _DIGITS.findall(said))))
    if not table.unique:
        raise InputError(f"{path} holds no answers; expected one JSON object a line")
    if not repeated:
        refuse_repeated(ids, path)
    return table


def _repaired(table: _Table, number: int, row: Mapping[str, Any], truth_key: str) -> tuple[int | None, str, str]:
    """Whether a row is unique, its truth and answer, of a row at which the original may stop; and the stops."""
    why = [] if "image_id" in row else ["image_id is missing"]
    if "is_unique" not in row:
        why.append("is_unique is missing (`unique` is taken where it is there)")
    unique = row.get("is_unique", row.get("unique"))
    # as `in [1, 0]` does: True and 1.0 are 1
    unique = int(unique) if isinstance(unique, int | float) and unique in (0, 1) else None
    texts = []
    for key in (truth_key, "answer"):
        text = row.get(key)
        if not isinstance(text, str):
            reason = f"{key} is {'missing' if key not in row else f'{text!r:.40} and no text'}"
        elif max(map(len, _DIGITS.findall(text)), default=0) > MAX_DIGITS:
            reason = f"{key} has a number of more than {MAX_DIGITS} digits"
        else:
            texts.append(text)
            continue
        texts.append("")
        if unique is not None or "is_unique" not in row:
            why.append(reason)
    table.stops.extend(Stop(table.mode, number, reason) for reason in why)
    return unique, texts[0], texts[1]


# --- as published ----------------------------------------------------------------------------------------


def _score_table(table: _Table) -> None:
    count = len(table.said)
    table.ious, table.rots = [np.nan] * count, [np.nan] * count
    table.inters, table.unions, table.messages = [0.0] * count, [0.0] * count, [""] * count
    with np.errstate(all="ignore"):
        _score_hbb(table) if table.mode == "hbb" else _score_obb(table)


def _put(table: _Table, places: Iterable[int], ious: Iterable, inters: Iterable, unions: Iterable) -> None:
    for i, iou, inter, union in zip(places, ious, inters, unions, strict=True):
        table.ious[i], table.inters[i], table.unions[i], table.messages[i] = iou, inter, union, None


def _score_hbb(table: _Table) -> None:
    plain = []
    for i, (truth, said) in enumerate(zip(table.truths, table.said, strict=True)):
        box, other = truth[:4], said[:4]
        if len(box) < 4 or len(other) < 4:
            size = len(box) if len(box) < 4 else len(other)
            table.messages[i] = f"not enough values to unpack (expected 4, got {size})"
        elif max(truth) < SAFE and max(said) < SAFE:
            plain.append(i)
        else:
            _hbb_of_large(table, i, *(np.array(numbers)[:4].tolist() for numbers in (truth, said)))
    t_4P = np.array([table.truths[i][:4] for i in plain], dtype=np.int64).reshape(-1, 4).T
    s_4P = np.array([table.said[i][:4] for i in plain], dtype=np.int64).reshape(-1, 4).T
    inter_P, union_P = boxes.plus_one_areas(t_4P, s_4P, np.minimum, np.maximum)
    for k in np.flatnonzero(union_P == 0).tolist():
        table.messages[plain[k]] = "division by zero"
    kept = np.flatnonzero(union_P != 0)
    ious = (inter_P[kept] / union_P[kept]).tolist()
    _put(table, [plain[k] for k in kept.tolist()], ious, inter_P[kept].tolist(), union_P[kept].tolist())


def _hbb_of_large(table: _Table, i: int, box: list[int], other: list[int]) -> None:
    """Numbers of any size, as Python divides them: whole ones, unless NumPy made floats of them (from 2 ** 63)."""
    inter, union = boxes.plus_one_areas(box, other, min, max)
    try:
        _put(table, [i], [inter / union], [inter], [union])
    except (ZeroDivisionError, OverflowError) as error:
        table.messages[i] = str(error)


def _score_obb(table: _Table) -> None:
    """Rows of two honest rectangles together, all others one by one as the original would."""
    first = table.mode == "obb_v1"
    plain = []
    for i, (truth, said) in enumerate(zip(table.truths, table.said, strict=True)):
        if len(said) < 5:
            continue
        exact = len(truth) == len(said) == 5 if first else len(truth) >= 5
        if exact and max(truth) < SAFE and max(said) < SAFE:
            table.rots[i] = said[4] % 180 - truth[4] % 180
            plain.append(i)
        else:
            _obb_alone(table, i)
    both = []
    for lists in (table.truths, table.said):
        rows_P5 = np.array([lists[i][:5] for i in plain], dtype=np.float64).reshape(-1, 5)
        both.append(rows_P5 if first else boxes.from_diagonal(rows_P5))
    t_P5, s_P5 = both
    t_P4, s_P4 = boxes.bounds(t_P5), boxes.bounds(s_P5)
    sides_P2 = np.clip(np.minimum(t_P4[:, 2:], s_P4[:, 2:]) - np.maximum(t_P4[:, :2], s_P4[:, :2]), 0, np.inf)
    meet = np.flatnonzero(sides_P2[:, 0] * sides_P2[:, 1])
    inter_P, union_P = np.zeros(len(plain)), np.full(len(plain), boxes.EPS)
    a_K5, b_K5 = t_P5[meet], s_P5[meet]
    inter_P[meet] = obb_intersection_pairs(boxes.in_degrees(a_K5), boxes.in_degrees(b_K5))
    union_P[meet] = np.clip(a_K5[:, 2] * a_K5[:, 3] + b_K5[:, 2] * b_K5[:, 3] - inter_P[meet], boxes.EPS, np.inf)
    iou_P = inter_P / union_P
    unsure_K = np.zeros(len(meet), dtype=bool)
    for side_K2 in (a_K5[:, 2:4], b_K5[:, 2:4]):
        unsure_K |= side_K2.min(axis=1) <= SLIVER * side_K2.max(axis=1)
    for threshold in THRESHOLDS:
        unsure_K |= np.abs(iou_P[meet] - threshold) < NEAR
    _put(table, plain, iou_P.tolist(), inter_P.tolist(), union_P.tolist())
    for k in meet[unsure_K].tolist():
        _by_geos(table, plain[k], *(boxes.corners_of(box_P5[k : k + 1])[0] for box_P5 in (t_P5, s_P5)))


def _obb_alone(table: _Table, i: int) -> None:
    """A row of unusual counts or sizes of numbers, which NumPy may hold as objects or let overflow."""
    first, size = table.mode == "obb_v1", len(table.truths[i])
    if size < 5:
        table.messages[i] = f"index {4 if first else size} is out of bounds for axis 1 with size {size}"
        return
    rows = [np.array([numbers]) for numbers in (table.truths[i], table.said[i])]
    giant = any(row.dtype == object and (not first or row.shape[1] == 5) for row in rows)
    if first or not giant:
        table.rots[i] = float(rows[1][0, 4] % 180 - rows[0][0, 4] % 180)
    if first and not all(row.shape[1] in (5, 8) for row in rows):
        return
    if giant:
        name = "cos" if first else "radians"
        table.messages[i] = f"loop of ufunc does not support argument 0 of type int which has no callable {name} method"
        return
    fives = rows if first else [boxes.from_diagonal(row[:, :5]) for row in rows]
    rings = [row.astype(float).reshape(4, 2) if row.shape[1] == 8 else boxes.corners_of(row)[0] for row in fives]
    _by_geos(table, i, *rings)


def _by_geos(table: _Table, i: int, truth_42: np.ndarray, said_42: np.ndarray) -> None:
    try:
        inter, union = boxes.areas_by_geos(truth_42, said_42)
        _put(table, [i], [inter / float(union)], [inter], [union])  # a quotient with a float32 would be one
    except (ShapelyError, ValueError) as error:
        table.ious[i], table.messages[i] = np.nan, str(error)


# --- sums ------------------------------------------------------------------------------------------------


def _numbers(table: _Table) -> tuple[dict[str, Any], list[Stop]]:
    counted = [u is not None or not known for u, known in zip(table.unique, table.known, strict=True)]
    numbers: dict[str, Any] = {}
    stops = []
    for name, wanted in (("all", None), ("unique", True), ("non_unique", False)):
        members = counted if wanted is None else [u is wanted for u in table.unique]
        numbers[name] = _part(table, [i for i, member in enumerate(members) if member])
        if name == "all" and numbers[name]["cumIoU"] is None:
            stops.append(Stop(table.mode, name, "no row has a score: the last line divides by zero"))
    numbers["per_row"] = [
        [i, float(table.ious[i]), _as_float(table.inters[i]), _as_float(table.unions[i])]
        for i, member in enumerate(counted)
        if member and table.messages[i] is None
    ]
    return numbers, stops


def _part(table: _Table, places: list[int]) -> dict[str, Any]:
    total, valid = len(places), [i for i in places if table.messages[i] is None]
    iou_V = np.array([table.ious[i] for i in valid])
    counts = {str(t): int((iou_V >= t).sum()) for t in THRESHOLDS}
    acc = {t: count / total * 100 if total else None for t, count in counts.items()}
    mean = _running(iou_V) / total * 100 if total else None
    rot_R = np.array([table.rots[i] for i in places])
    rot_R = rot_R[~np.isnan(rot_R)]
    rot = float(np.mean(np.abs(rot_R))) if len(rot_R) else None
    inters, unions = [table.inters[i] for i in valid], [table.unions[i] for i in valid]
    if table.mode == "hbb":
        top, bottom = sum(inters), sum(unions)
    else:
        # the notebook adds unions up in float32, one by one
        top, bottom = _running(np.array(inters, float)), _running(np.array(unions, np.float32))
    cum = _as_float(top / bottom * 100) if bottom else None
    printed = [f"number of total/valid samples: {total} {len(valid)}"]
    printed += [f"Acc at iou_{t}: {'nan' if acc[str(t)] is None else acc[str(t)]}" for t in THRESHOLDS]
    if mean is not None and cum is not None:
        said = (mean, cum) if table.mode == "hbb" else (np.array([mean]), np.array([cum]))
        printed.append(f"meanIoU: {said[0]}, cumIoU: {said[1]}, rot_err: {'nan' if rot is None else rot}")
    return {
        "total": total,
        "valid": len(valid),
        "counts": counts,
        "acc": acc,
        "meanIoU": mean,
        "cumIoU": cum,
        "rot_err": rot,
        "printed": printed,
        "invalid_lines": total - len(valid),
        "other_messages": sorted({m for i in places if (m := table.messages[i])}),
    }


def _running(values: np.ndarray) -> Any:
    """The sum in the order and the precision of a loop."""
    return np.add.accumulate(values)[-1].item() if len(values) else 0.0


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


# --- strict ----------------------------------------------------------------------------------------------


def _rows(table: _Table, beside: bool) -> list[Row]:
    published = [
        None if u is None and known else 0.0 if message is not None else float(iou)
        for u, known, message, iou in zip(table.unique, table.known, table.messages, table.ious, strict=True)
    ]
    if not beside:
        return [Row(table.mode, i, value, image=table.images[i]) for i, value in enumerate(published)]
    size = 4 if table.mode == "hbb" else 5
    truths = [boxes.box_in(text, size) for text in table.truth_texts]
    ious = boxes.strict_ious(table.mode, truths, [boxes.box_in(text, size) for text in table.texts])
    strict = [None if truth is None else iou for truth, iou in zip(truths, ious, strict=True)]
    plain = (Row(table.mode, i, value, strict[i], image=table.images[i]) for i, value in enumerate(published))
    return [replace(row, reasons=_reasons(table, row, size)) if row.differs else row for row in plain]


def _reasons(table: _Table, row: Row, size: int) -> tuple[str, ...]:
    """What makes this row differ: where its numbers differ, and which rules change its IoU."""
    if row.published is None:
        return ("skipped",)
    if row.strict is None:
        return ("truth-unreadable",)
    truth, said = table.truths[row.id], table.said[row.id]
    names = boxes.reading_reasons(truth, table.truth_texts[row.id], size)
    names |= boxes.reading_reasons(said, table.texts[row.id], size)
    if min(len(truth), len(said)) >= size:
        names |= boxes.rule_reasons(table.mode, truth[:size], said[:size], row.published)
    return tuple(name for name in boxes.QUIRKS if name in names)


def _beside(mode: str, rows: Sequence[Row]) -> list[Beside]:
    """Acc and meanIoU over all rows that the original counts, and over those with a truth, in percent."""
    published = np.array([r.published for r in rows if r.published is not None])
    strict = np.array([r.strict for r in rows if r.strict is not None])

    def percent(values: np.ndarray) -> float | None:
        return 100 * float(values.mean()) if len(values) else None

    found = [Beside(mode, f"acc {t}", percent(published >= t), percent(strict >= t)) for t in THRESHOLDS]
    return [*found, Beside(mode, "meanIoU", percent(published), percent(strict))]


PROTOCOL = Protocol(
    name="vrsbench",
    source="github.com/lx709/VRSBench at d38cee1, eval_fianl/compute_metrics.ipynb and eval_utils.py",
    reads=f"{NAMES[0]} (JSON lines), its folder (named hbb, obb_v1 or obb_v2), or a folder of such folders",
    quirks=boxes.QUIRKS,
    score=score,
    settings={"mode": f"one of {', '.join(MODES)}, where the folder's name does not say it"},
)

"""GroundSet's scorers as published: detection, phrase, rec, segment, vqa, classification and caption.

Source: github.com/rogerferrod/GroundSet at 84aeed1, src/eval/eval_*.py. Input are its tables `<task>_<n>.csv`, tab
separated, with ID, PREDICTION, GROUND_TRUTH, CLASS and NOISE, in a folder that bears the name of the model, which
decides the scale of its numbers (`MODELS`). What a strict scorer would not do stands in `QUIRKS`.

Besides those: "acc0.5" adds up objects and empty images, a leading blank keeps quotes from being stripped, "N/A" and
the like are blank cells, and "yes." as a truth is a no. `classification` is the share of exact labels; the published
acc@0.8 needs the sentence embeddings of all-mpnet-base-v2 and is not reproduced, nor is the language model that
picked labels out of sentences. Mask codes of PaliGemma need its decoder and read as nothing.

Where the original stops with an exception (a truth that spans nothing beside a prediction, a list too short for
PaliGemma, four numbers and no more where REC turns a box), the row is scored all the same and listed.
"""

from __future__ import annotations

import re
import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from georefer.errors import InputError
from georefer.evaluation.protocols import groundset_caption
from georefer.evaluation.protocols.base import Beside, Protocol, Row, Scores, Stop, partial, read_json, refuse_repeated
from georefer.evaluation.protocols.groundset_shapes import Claims, Scale, boxes, claims, outlines, overlaps
from georefer.evaluation.protocols.groundset_tables import (
    TASKS,
    groundset_groups,
    groups_of_tree,
    read_table,
    tables_of,
)

NOT_SEGMENTED = frozenset(
    (
        "vegetation", "forests & woodlands", "forest", "woodland", "industrial zone",
        "industrial, agricultural or commercial zone", "public space",
    )
)  # fmt: skip
"""Classes that the scorer of segments passes over."""

SHALLOW = frozenset(("elements", "artificial features", "nature"))
"""Nodes of the taxonomy above its groups, in lower case."""

STRIPPED = ("'", ",", ".", "`", '"')
"""Marks in the order in which they are stripped, each once. The original's order is that of a set, which differs from
run to run; this is the one of PYTHONHASHSEED=0, with which the reference numbers were made."""

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

QUIRKS: dict[str, str] = {
    "first-pattern": "only the first of four ways to write boxes that matches anything is read, the others are ignored",
    "by-look": "each box is per mille as soon as one of its numbers is whole, else 0-1; strictly, a run has one scale",
    "fifth": "a fifth number is swallowed, of PaliGemma's all beyond four; strictly, such a list is no box",
    "dropped": "a list that is no box, a point, a box off the image cost nothing; strictly, each is a false positive",
    "own-best": "a prediction looks only at its one best truth; strictly, as many pairs count as can be made",
    "one-lobe": "a ring that crosses itself keeps one lobe and is not clipped; strictly, it keeps all it encloses",
    "empty-truth": "a truth that spans nothing counts as missed; strictly, it is left out",
    "excluded": "rows of some classes (vegetation, industrial zones, public space) are passed over in segmentation",
    "first-letters": "an answer is what its first letters are: 'not sure' is a right no, 'I see no pond' a wrong yes",
    "exact-yes": "only the very word 'yes' as a truth means yes; strictly, 'yes.' and ' yes' do too",
    "exact-label": "a label must be the very text; strictly, articles, quotes and plural do not matter",
    "over-predictions": "mIoU is the mean over predictions: misses cost nothing; strictly, it is the mean over truths",
}

_FOR_TASK: dict[str, tuple[str, ...]] = {
    "vqa": ("first-letters", "exact-yes"),
    "classification": ("exact-label",),
    "segment": ("first-pattern", "by-look", "dropped", "own-best", "one-lobe", "empty-truth", "excluded"),
}
_FOR_BOXES = ("first-pattern", "by-look", "fifth", "dropped", "own-best", "empty-truth")


@dataclass(frozen=True)
class RowScore:
    """What one row added, the best IoU of each prediction that was kept and, of strict scores, of each truth."""

    id: Any
    group: str
    tp: int
    fp: int
    fn: int
    tn: int
    best_iou: tuple[float, ...] = ()
    truth_iou: tuple[float, ...] = ()

    @property
    def value(self) -> float:
        """F1 of the row; 1 where nothing was there and nothing was said."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp + self.fp + self.fn else 1.0


@dataclass(frozen=True)
class GroundSetScores:
    """Percent per group (lower case; "ALL" is all rows), the rows (None: passed over), and where the original stops."""

    groups: dict[str, dict[str, float]]
    all_rows: tuple[RowScore | None, ...]
    stops: dict[Any, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[RowScore]:
        """The rows that count."""
        return [row for row in self.all_rows if row is not None]


def score_table(
    table: pandas.DataFrame,
    task: str,
    model: str,
    group_of: Mapping[str, str] | None = None,
    *,
    exclude_noise: bool = False,
    quirks: Collection[str] = tuple(QUIRKS),
) -> GroundSetScores:
    """The published scores; with fewer `quirks`, stricter ones.

    `group_of` leads from a class in lower case to its group, by default GroundSet's own; others are "other". With
    `exclude_noise`, rows whose NOISE is anything but False are left out (a blank cell counts as noise).
    """
    if model not in MODELS:
        raise InputError(f"the GroundSet scorer knows no model '{model}', which decides the scale: {', '.join(MODELS)}")
    if exclude_noise and task in ("phrase", "segment"):
        raise InputError(f"the published scorer of {task} cannot leave out noise; score all rows")
    if exclude_noise:
        table = table[table["NOISE"].astype(str) == "False"]
    group_of = groundset_groups() if group_of is None else group_of
    labels = [str(label).lower() for label in table["CLASS"]]
    groups = [group_of.get(label, "other") for label in labels]
    stops: dict[Any, str] = {}
    if task in ("vqa", "classification"):
        judge = _score_presence if task == "vqa" else _score_label
        texts = zip(table["ID"], groups, table["PREDICTION"], table["GROUND_TRUTH"], strict=True)
        rows: list[RowScore | None] = [judge(*text, quirks) for text in texts]
    else:
        rows, stops = _score_shapes(table, task, MODELS[model], groups, quirks)
        if task == "segment" and "excluded" in quirks:
            rows = [None if label in NOT_SEGMENTED else row for label, row in zip(labels, rows, strict=True)]
            skipped = {id_ for id_, row in zip(table["ID"], rows, strict=True) if row is None}
            stops = {id_: why for id_, why in stops.items() if id_ not in skipped}
    if task != "phrase":
        ids = table["ID"].tolist()
        stops |= {ids[i]: f"the class '{label}', which has no group above it" for i, label in enumerate(labels)
                  if label in SHALLOW and rows[i] is not None}  # fmt: skip
    if len(table) and pandas.api.types.is_numeric_dtype(table["PREDICTION"]) and table["PREDICTION"].notna().any():
        stops["all"] = "a column of predictions that holds numbers alone, where text is expected"
    counted = [row for row in rows if row is not None]
    percent = {"vqa": _percent_of_answers, "classification": _percent_exact}.get(task, _percent)
    scores = {"ALL": percent(counted)}
    if task != "phrase":
        by_group: dict[str, list[RowScore]] = {}
        for row in counted:
            by_group.setdefault(row.group, []).append(row)
        scores |= {name: percent(by_group[name]) for name in sorted(by_group)}
    return GroundSetScores(scores, tuple(rows), stops)


# --- rows -------------------------------------------------------------------------------------------------


def _score_shapes(
    table: pandas.DataFrame, task: str, scale: Scale, groups: Sequence[str], quirks: Collection[str]
) -> tuple[list[RowScore | None], dict[Any, str]]:
    segments, count = task == "segment", len(table)
    said = claims(table["PREDICTION"].tolist(), segments, quirks)
    truths = claims(table["GROUND_TRUTH"].tolist(), segments, quirks, truth=True)
    if segments:
        (found, void), (true, void_truths) = outlines(said, scale, quirks), outlines(truths, None, quirks)
    else:
        found, void = boxes(said, scale, task == "rec", quirks)
        true, void_truths = boxes(truths, None, task == "rec", quirks)
    stops = _stops(table, said, scale, task, np.intersect1d(found.row_K, void_truths))
    if "empty-truth" not in quirks:
        true = true.those(~np.isnan(true.bounds_K4[:, 0]))
    over = overlaps(found, true, count, quirks)
    fp_R = over.predictions_R - over.tp_R
    if "dropped" not in quirks:
        fp_R = fp_R + np.bincount(void, minlength=count)
    fn_R = over.truths_R - over.tp_R
    tn_R = (over.predictions_R + over.truths_R + fp_R == 0).astype(int)
    ends_P, ends_T = np.cumsum(over.predictions_R), np.cumsum(over.truths_R)
    best_P, best_T = over.best_P.tolist(), over.best_T.tolist()
    columns = zip(
        table["ID"].tolist(), groups, over.tp_R.tolist(), fp_R.tolist(), fn_R.tolist(), tn_R.tolist(),
        (ends_P - over.predictions_R).tolist(), ends_P.tolist(), (ends_T - over.truths_R).tolist(), ends_T.tolist(),
        strict=True,
    )  # fmt: skip
    return [
        RowScore(id_, group, tp, fp, fn, tn, tuple(best_P[a:b]), tuple(best_T[c:d]))
        for id_, group, tp, fp, fn, tn, a, b, c, d in columns
    ], stops


def _stops(table: pandas.DataFrame, said: Claims, scale: Scale, task: str, empty: np.ndarray) -> dict[Any, str]:
    """Ids of the rows at which the original raises, and over what."""
    ids, stops = table["ID"].tolist(), {}
    for row in empty.tolist():
        stops[ids[row]] = "a truth that spans nothing beside a prediction"
    short_K = (said.count_K < 4) & (scale.y_first and task != "rec")
    odd_K = said.barred_K & (said.count_K != 5) & (scale.turned is not None and task == "rec")
    for k in np.flatnonzero(short_K | odd_K):
        count, id_ = int(said.count_K[k]), ids[said.row_K[k]]
        turned = f"a turned box of {count - 1} numbers, where four are unpacked"
        stops[id_] = turned if odd_K[k] else f"a list of {count} numbers, where four are indexed"
    return stops


def _score_presence(id_: Any, group: str, prediction: Any, truth: Any, quirks: Collection[str]) -> RowScore:
    said = prediction.lower() if isinstance(prediction, str) else ""
    if "first-letters" in quirks:
        for mark in STRIPPED:
            said = said.strip(mark)
        said = said.strip()
        yes, no = said.startswith("yes"), said.startswith("no")
    else:
        words = re.findall(r"[a-z]+", said)
        # what an answer opens with is the answer; "there is no pond" says no without opening with it
        yes = words[:1] in (["yes"], ["true"]) or (words[:2] == ["there", "is"] and "no" not in words[2:3])
        no = not yes and bool({"no", "not", "none", "false"} & set(words)) and words[:2] != ["not", "sure"]
    meant = truth.lower() if isinstance(truth, str) else ""
    meant = meant if "exact-yes" in quirks else meant.strip(string.punctuation + string.whitespace)
    if meant == "yes":
        return RowScore(id_, group, int(yes), 0, int(not yes), 0)
    return RowScore(id_, group, 0, int(not no), 0, int(no))


def _score_label(id_: Any, group: str, prediction: Any, truth: Any, quirks: Collection[str]) -> RowScore:
    said, meant = (str(v).lower() if isinstance(v, str) else " " for v in (prediction, truth))
    if "exact-label" in quirks:
        for mark in STRIPPED:
            said = said.strip(mark)
        right = said.strip() == meant
    else:
        right = _plain_label(said) == _plain_label(meant) != ""
    return RowScore(id_, group, int(right), int(not right), int(not right), 0)


def _plain_label(text: str) -> str:
    words = [word for word in re.findall(r"[\w&'/()-]+", text.strip("\"'`.,: \t")) if word not in ("a", "an", "the")]
    plain = " ".join(word.strip("\"'`.,") for word in words)
    return plain[:-1] if plain.endswith("s") and not plain.endswith("ss") else plain


# --- measures ---------------------------------------------------------------------------------------------


def _percent_of_answers(rows: Sequence[RowScore]) -> dict[str, float]:
    found = _percent(rows)
    return {"P": found["P@0.5"], "R": found["R0.5"], "F1": found["F1@0.5"], "acc": found["acc0.5"]}


def _percent_exact(rows: Sequence[RowScore]) -> dict[str, float]:
    return {"Accuracy": 100 * sum(row.tp for row in rows) / len(rows) if rows else 0.0}


def _percent(rows: Sequence[RowScore]) -> dict[str, float]:
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


def _strict_percent(rows: Sequence[RowScore], task: str) -> dict[str, float]:
    """The same measures, mIoU over truths."""
    if task == "classification":
        return _percent_exact(rows)
    if task == "vqa":
        return _percent_of_answers(rows)
    iou_T = [iou for r in rows for iou in r.truth_iou]
    return _percent(rows) | {"mIoU": 100 * float(np.mean(iou_T)) if iou_T else 0.0}


# --- the protocol -----------------------------------------------------------------------------------------


def score(path: Path, settings: Mapping[str, str], beside: bool = False) -> Scores:
    """Scores of one table, of a model's folder, or of a folder of models' folders."""
    parts = list(tables_of(Path(path), settings, MODELS))
    if not parts:
        raise InputError(
            f"{path} holds no table of {', '.join(TASKS)} (as detection_0.csv) in a folder named after one of "
            f"{', '.join(MODELS)}; give such a folder, or name the model with --set model=NAME"
        )
    numbers: dict[str, Any] = {}
    rows: list[Row] = []
    stops: list[Stop] = []
    besides: list[Beside] = []
    group_of = groups_of_tree(read_json(Path(settings["tree"]))) if "tree" in settings else None
    for where, model, task in parts:
        name, table = f"{model}/{task}", read_table(where, task)
        if not partial(settings):
            # ids of several processes may meet; the same id with another truth is another question
            refuse_repeated(
                table[["ID", "GROUND_TRUTH", "CLASS"]].astype(str).itertuples(index=False, name=None), where
            )
        if task == "caption":
            numbers[name], found_rows = groundset_caption.score_captions(table, name)
            if beside:
                found_rows, more_besides = groundset_caption.compare_captions(table, name)
                besides += more_besides
            rows += found_rows
            stops += [Stop(name, id_, why) for id_, why in groundset_caption.stops_of(table).items()]
            continue
        found = score_table(table, task, model, group_of)
        numbers[name] = {"default": found.groups}
        if task in ("detection", "rec", "vqa", "classification"):
            numbers[name]["exclude_noise"] = score_table(table, task, model, group_of, exclude_noise=True).groups
        stops += [Stop(name, id_, why) for id_, why in found.stops.items()]
        if beside:
            more_rows, more_besides = _beside(table, task, model, name, found)
            rows, besides = rows + more_rows, besides + more_besides
        else:
            ids = table["ID"].tolist()
            rows += [Row(name, id_, None if r is None else r.value) for id_, r in zip(ids, found.all_rows, strict=True)]
    return Scores(numbers, tuple(rows), tuple(stops), tuple(besides))


def _beside(
    table: pandas.DataFrame, task: str, model: str, name: str, found: GroundSetScores
) -> tuple[list[Row], list[Beside]]:
    """Rows with their strict values and the reasons, and the measures of both."""
    quirks = _FOR_TASK.get(task, _FOR_BOXES)
    strict = score_table(table, task, model, {}, quirks=())
    published_R, strict_R = found.all_rows, strict.all_rows
    differing = [i for i, (a, b) in enumerate(zip(published_R, strict_R, strict=True)) if _value(a) != _value(b)]
    some = table.iloc[differing]
    # by the look of a set: the scale of the few rows must be that of all
    alone = {q: _values(some, table, task, model, (q,), differing) for q in quirks}
    without = {q: _values(some, table, task, model, tuple(set(quirks) - {q}), differing) for q in quirks}
    reasons: dict[int, tuple[str, ...]] = {}
    for place, i in enumerate(differing):
        full = [q for q in quirks if alone[q][place] == _value(published_R[i])]
        moving = [
            q for q in quirks
            if alone[q][place] != _value(strict_R[i]) or without[q][place] != _value(published_R[i])
        ]  # fmt: skip
        reasons[i] = tuple(full[:1] or moving or quirks)
    rows = [
        Row(name, id_, _value(a), _value(b), reasons.get(i, ()))
        for i, (id_, a, b) in enumerate(zip(table["ID"].tolist(), published_R, strict_R, strict=True))
    ]
    measures = _strict_percent(strict.rows, task)
    return rows, [Beside(name, key, value, measures[key]) for key, value in found.groups["ALL"].items()]


def _values(
    some: pandas.DataFrame, table: pandas.DataFrame, task: str, model: str, quirks: Collection[str], rows: list[int]
) -> list[float | None]:
    if MODELS[model].by_look and "by-look" not in quirks:  # the scale comes from all rows
        all_rows = score_table(table, task, model, {}, quirks=quirks).all_rows
        return [_value(all_rows[i]) for i in rows]
    return [_value(row) for row in score_table(some, task, model, {}, quirks=quirks).all_rows]


def _value(row: RowScore | None) -> float | None:
    return None if row is None else row.value


PROTOCOL = Protocol(
    name="groundset",
    source="github.com/rogerferrod/GroundSet at 84aeed1, src/eval",
    reads="a folder <model>/ of <task>_<n>.csv tables, one such table, or a folder of models' folders",
    quirks=QUIRKS | groundset_caption.QUIRKS,
    score=score,
    settings={
        "model": f"whose numbers these are, by default the folder's name: {', '.join(MODELS)}",
        "task": "score this task only",
        "tree": "another tree.json that groups the classes",
    },
)

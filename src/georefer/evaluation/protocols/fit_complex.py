"""FIT-RSFG's complex comprehension (tasks 1 to 6), with the numbers and the printed lines of its scorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from georefer.evaluation.protocols.base import Row, Stop
from georefer.evaluation.protocols.fit_graphs import KS, DetectionTable, GraphTable, SetTable, f1
from georefer.evaluation.protocols.fit_reading import (
    Boxes,
    Stops,
    angled,
    between,
    read_image,
    read_region,
    read_task1,
    read_task4,
)

PART = "complex_comprehension"
TASKS = tuple(f"task{number}" for number in range(1, 7))


@dataclass
class Tables:
    """All that the six tasks count, and for each row of the file where its value will be found."""

    task1: DetectionTable = field(default_factory=DetectionTable)
    task2: SetTable = field(default_factory=SetTable)
    task3: SetTable = field(default_factory=SetTable)
    task4: DetectionTable = field(default_factory=DetectionTable)
    task5: GraphTable = field(default_factory=GraphTable)
    task6: GraphTable = field(default_factory=GraphTable)
    task6_map: DetectionTable = field(default_factory=DetectionTable)
    places: list[int | None] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)


def score_complex(rows: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], list[Row], list[Stop]]:
    """Numbers, rows and stops. A row's value: F1 of its boxes (tasks 1, 4) or predicates (2, 3), recall (5, 6)."""
    tables = Tables()
    for row in rows:
        stops = Stops()
        place, value = _add(tables, row["category"], row["ground_truth"], row["answer"], stops)
        tables.places.append(place)
        tables.values.append(value)
        if stops.why:
            tables.stops.append(Stop(PART, row.get("question_id"), stops.why))
    for name in ("task1", "task4", "task6"):
        if not (tables.task6_map if name == "task6" else getattr(tables, name)).images:
            tables.stops.append(Stop(PART, None, f"no row of {name} has a true box to be detected"))
    numbers, values = _report(tables, rows)
    scored = [
        Row(PART, row.get("question_id"), value, image=row.get("image_id"))
        for row, value in zip(rows, values, strict=True)
    ]
    return numbers, scored, tables.stops


def is_cut(truth: str) -> bool:
    """Whether a truth says that it is not complete, which the scorer passes over."""
    return "due to the context length" in truth or "..." in truth


def _add(tables: Tables, task: str, truth: str, answer: str, stops: Stops) -> tuple[int | None, float | None]:
    """Count one row: its place in the table of its task, or its value where that is known at once."""
    if is_cut(truth):
        return None, None
    if task == "task1":
        boxes = read_task1(truth, answer, stops)
        return (None if boxes is None else tables.task1.add(boxes)), None
    if task == "task2":
        return None, tables.task2.add(set(angled(truth)), set(angled(answer)))
    if task == "task3":
        return None, _add_task3(tables.task3, truth, answer)
    if task == "task4":
        return tables.task4.add(read_task4(truth, answer, stops)), None
    if task in ("task5", "task6") and between(truth, "{", "}", 1):
        if task == "task5":
            return tables.task5.add(read_region(truth, stops), read_region(answer, stops)), None
        if "sorry" not in truth:
            true, said = read_image(truth, stops, truth=True), read_image(answer, stops)
            tables.task6_map.add(Boxes(true.detected, said.detected))
            return tables.task6.add(true, said), None
    return None, None


def read_task3(text: str) -> tuple[str, str, list[str]] | None:
    """Subject, object and predicates of "subject: x, object: y, ... <rel>p</rel>"; None where one is missing."""
    subjects, objects = between(text, "subject: ", ",", 1), between(text, "object: ", ",", 1)
    predicates = between(text, "<rel>", "</rel>")
    return (subjects[0], objects[0], predicates) if subjects and objects and predicates else None


def _add_task3(table: SetTable, truth: str, answer: str) -> float | None:
    """Count only where both classes are right: the penalty for wrong ones is computed and never added."""
    true, said = read_task3(truth), read_task3(answer)
    if true is None or said is None or true[:2] != said[:2]:
        return None
    return table.add(set(true[2]), set(said[2]))


# --- report -----------------------------------------------------------------------------------------------


def _report(tables: Tables, rows: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], list[float | None]]:
    """The numbers under the original's names, and the rows' values."""
    found: dict[str, Any] = {"rows": len(rows)}
    by_task: dict[str, list[float]] = {}
    for name, table in (("task1", tables.task1), ("task4", tables.task4), ("task6_map", tables.task6_map)):
        hits_D = table.hits()
        found[name] = table.report(hits_D)
        by_task[name] = [f1(hit, said, true) for hit, said, true in table.counts(hits_D).tolist()]
    for name, graphs in (("task5", tables.task5), ("task6", tables.task6)):
        found[name] = graphs.report()
        by_task[name] = [recall for _, recall in found[name]["recall_per_scored_image"]]
    found["task2"], found["task3"] = tables.task2.report(), tables.task3.report()
    values = [
        value if place is None else by_task[row["category"]][place]
        for row, place, value in zip(rows, tables.places, tables.values, strict=True)
    ]
    found["task6_sgg"] = found.pop("task6")
    printed = _printed(found)
    order = ("rows", "task1", "task2", "task3", "task4", "task5", "task6_sgg", "task6_map")
    return {name: found[name] for name in order} | {"printed": printed}, values


def _printed(found: dict[str, Any]) -> list[str]:
    """The lines that the original prints, its tables left out."""
    lines = ["=======iou thr: 0.25========", f"Task-Object Detection mean ap: {found['task1']['mean_ap']}"]
    for name, title in (("task2", "Detection"), ("task3", "Reasoning")):
        for key, what in (("precision", "Average Precision"), ("recall", "Average Recall"), ("f1", "F1 score")):
            lines.append(f"Task-Relation {title} {what}: {found[name][key]:.4f}")
    lines.append(f"Task-Object Reasoning mean ap: {found['task4']['mean_ap']}")
    for name, title in (("task5", "Region"), ("task6_sgg", "Image")):
        lines += [f"Task-{title}-level SGG result:", *_printed_graphs(found[name])]
    return [*lines, f"Task-Image-level SGG mean ap: {found['task6_map']['mean_ap']}"]


def _printed_graphs(found: dict[str, Any]) -> list[str]:
    recalls, means = found.pop("_at"), found["mean_recall"]["sgdet_mean_recall"]
    r = "".join(f"    R @ {k}: {recalls[k]:.4f}; " for k in KS)
    m = "".join(f"   mR @ {k}: {means[str(k)]:.4f}; " for k in KS)
    a = "".join(f"    A @ {k}: nan; " for k in KS)
    return [
        f"SGG eval: {r} for mode=sgdet, type=Recall(Main).",
        f"SGG eval: {m} for mode=sgdet, type=Mean Recall.",
        f"SGG eval: {a} for mode=sgdet, type=TopK Accuracy.",
    ]

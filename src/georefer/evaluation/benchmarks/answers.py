"""A run's answers in the files that a benchmark's published scorer reads, so that both scores come of one run.

Words are handed over as the model wrote them. Shapes are read in the model's own dialect and frame and written in the
one that the published scorer expects: what it then gets wrong is its own doing, not a mix-up of conventions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import shapely

from georefer.dialects import DIALECTS, Reading
from georefer.evaluation.benchmarks.prepare import SPLIT, question_ids
from georefer.evaluation.run import read_run
from georefer.evaluation.score import run_dialect, run_frame
from georefer.geometry import Frame, Mask, Objects
from georefer.geometry.repair import repaired
from georefer.runlog import JsonLines, write_json, written_beside
from georefer.scenes import Dataset, Scene
from georefer.scenes.readers.base import Asked, Published


@dataclass(frozen=True, eq=False)
class Answered:
    """One published question with the model's answer, as text and as read."""

    asked: Asked
    scene: Scene
    text: str
    reading: Reading


def published_answers(published: Published, dataset: Dataset, folder: Path) -> Path | None:
    """Writes a run's answers for the benchmark's published scorer; None for benchmarks without one.

    `folder` is that of the run; the files lie in `folder`/published, to be given to `georefer score --protocol`.
    """
    write = WRITERS.get(published.name.lower())
    if write is None:
        return None
    out = folder / "published"
    out.mkdir(exist_ok=True)
    write(list(_answered(published, dataset, folder)), out)
    return out


def _answered(published: Published, dataset: Dataset, folder: Path) -> Iterator[Answered]:
    run = read_run(folder)
    dialect, asked = run_dialect(run), dict(question_ids(published))
    scene_of = {question.id: question.scene_id for question in dataset.questions(SPLIT)}
    texts: dict[str, list[tuple[str, str]]] = {}
    for row in JsonLines(folder / "answers.jsonl").read():
        texts.setdefault(scene_of[row["id"]], []).append((row["id"], row["text"]))
    for scene in dataset.scenes(SPLIT):
        for id_, text in texts.get(scene.id, ()):
            yield Answered(asked[id_], scene, text, dialect.read(text, run_frame(run, scene)))


# --- one function a benchmark -----------------------------------------------------------------------------


def _groundset(answers: list[Answered], out: Path) -> None:
    """`finetune/<task>_0.csv`, numbers per mille."""
    rows: dict[str, list[list[Any]]] = {}
    for one in answers:
        task = str(one.asked.params.get("task", one.asked.asks))
        said = one.text
        if one.asked.asks in ("detection", "rec", "phrase", "segment"):
            objects = one.reading.areas
            objects = objects.to_polygon() if one.asked.asks == "segment" else objects.to_hbb()
            said = DIALECTS["groundset"].write(objects, Frame.groundset(one.scene.size), labelled=False)
        params = one.asked.params
        row = [one.asked.id, said, one.asked.answer, params.get("class"), bool(params.get("noise", False))]
        rows.setdefault(task, []).append(row)
    for task, table in rows.items():
        columns = ["ID", "PREDICTION", "GROUND_TRUTH", "CLASS", "NOISE"]
        with written_beside(out / "finetune" / f"{task}_0.csv") as partial:
            pandas.DataFrame(table, columns=columns).to_csv(partial, sep="\t", index=False)


def _vrsbench(answers: list[Answered], out: Path) -> None:
    """`hbb/rsbench_referring_v2.json`: whole hundredths of the side, as the published models say them."""
    rows = []
    for one in answers:
        if one.asked.asks == "rec":
            said = _written(one.reading.areas.to_hbb(), "vrsbench", one.scene)
            unique = one.asked.params.get("is_unique")
            rows.append(
                {"image_id": one.asked.image, "is_unique": unique, "ground_truth": one.asked.answer, "answer": said}
            )
    _lines(out / "hbb" / "rsbench_referring_v2.json", rows)


def _fit(answers: list[Answered], out: Path) -> None:
    """One file for each kind of question; choices are rows that share their `question_id`."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for one in answers:
        row = {
            "question_id": one.asked.params.get("question_id", one.asked.id), "image_id": one.asked.image,
            "answer": one.text, "ground_truth": one.asked.answer, "category": one.asked.params.get("category"),
        }  # fmt: skip
        rows.setdefault("fit_rsrc" if one.asked.asks == "choice" else f"fit_{one.asked.asks}", []).append(row)
    for name, found in rows.items():
        _lines(out / f"{name}.jsonl", found)


def _geo_r1(answers: list[Answered], out: Path) -> None:
    """Of expressions `rec_results.json` and the test list, of masks `gres_results.jsonl`, of classes `ovd_*.json`."""
    by_kind = {kind: [one for one in answers if one.asked.asks == kind] for kind in ("rec", "res", "detection")}
    for kind, write in (("rec", _geo_r1_rec), ("res", _geo_r1_gres), ("detection", _geo_r1_ovd)):
        if by_kind[kind]:
            write(by_kind[kind], out)


def _geo_r1_rec(answers: list[Answered], out: Path) -> None:
    """Boxes in pixels; the first box where several are said."""
    results, tests = [], []
    for one in answers:
        gold = one.scene.objects.with_ids(one.asked.object_ids).hbb_N4[0].tolist()
        said = one.reading.areas.hbb_N4
        # the scorer knows a row by its image and question, and lets none come twice
        question = f"{one.asked.text} [{one.asked.id}]"
        results.append(
            {"image": one.asked.image, "question": question, "ground_truth": gold,
             "extracted_answer": said[0].tolist() if len(said) else None}
        )  # fmt: skip
        tests.append(
            {"image": one.asked.image, "problem": question, "solution": gold,
             "is_unique": one.asked.params.get("is_unique")}
        )  # fmt: skip
    write_json(out / "rec_results.json", {"results": results})
    write_json(out / "rec_testset.json", tests)


def _geo_r1_gres(answers: list[Answered], out: Path) -> None:
    """Pixels that the areas of an answer, as they were said, share with the truth: no SAM comes in between."""
    rows = []
    for number, one in enumerate(answers):
        said_HW, true_HW = (
            Mask.of_geometry(shapely.union_all(repaired(objects.geometries_N)), one.scene.size).dense()
            for objects in (one.reading.areas, one.scene.objects.with_ids(one.asked.object_ids))
        )
        both, either = int((said_HW & true_HW).sum()), int((said_HW | true_HW).sum())
        rows.append(
            {"id": f"{one.asked.id}#{number}", "category": one.asked.params.get("category"), "intersection": both,
             "union": either}
        )  # fmt: skip
    _lines(out / "gres_results.jsonl", rows)


def _geo_r1_ovd(answers: list[Answered], out: Path) -> None:
    """COCO's truth and predictions, every score 1.0 and every label the class that was asked for, as published."""
    scenes = {one.scene.id: one.scene for one in answers}
    numbers = {id_: n for n, id_ in enumerate(scenes, 1)}
    labels = {str(label) for scene in scenes.values() for label in scene.objects.labels_N}
    labels |= {str(one.asked.params["class"]) for one in answers}
    classes = {label: n for n, label in enumerate(sorted(labels), 1)}
    truths = [
        {"image_id": numbers[id_], "category_id": classes[str(thing.label)], **_coco_box(box)}
        for id_, scene in scenes.items()
        for thing, box in zip(scene.objects, scene.objects.hbb_N4.tolist(), strict=True)
    ]
    said = [
        {"image_id": numbers[one.scene.id], "category_id": classes[str(one.asked.params["class"])], "score": 1.0,
         **_coco_box(box)}
        for one in answers
        for box in one.reading.areas.hbb_N4.tolist()
    ]  # fmt: skip
    images = [
        {"id": numbers[id_], "file_name": id_, "width": scene.size[0], "height": scene.size[1]}
        for id_, scene in scenes.items()
    ]
    categories = [{"id": n, "name": label} for label, n in classes.items()]
    annotations = [{"id": n, "iscrowd": 0, **truth} for n, truth in enumerate(truths, 1)]
    write_json(out / "ovd_gt.json", {"images": images, "categories": categories, "annotations": annotations})
    write_json(out / "ovd_pred.json", said)


def _coco_box(box: list[float]) -> dict[str, Any]:
    width, height = box[2] - box[0], box[3] - box[1]
    return {"bbox": [box[0], box[1], width, height], "area": width * height}


WRITERS: Mapping[str, Callable[[list[Answered], Path], None]] = {
    "groundset": _groundset,
    "vrsbench": _vrsbench,
    "fit-rsrc": _fit,
    "fit-rsfg": _fit,
    "geo-r1": _geo_r1,
    "vrsbench-fs": _geo_r1,
    "nwpu-fs": _geo_r1,
    "earthreason-fs": _geo_r1,
}
"""By the name of the published dataset, in lower case."""

_SCORER = dict.fromkeys(("vrsbench-fs", "nwpu-fs", "earthreason-fs"), "geo-r1")


def scorer_of(published: Published) -> str:
    """The protocol that reads what `published_answers` writes."""
    return _SCORER.get(published.name.lower(), published.name.lower())


def _written(objects: Objects, dialect: str, scene: Scene) -> str:
    speaks = DIALECTS[dialect]
    return speaks.write(objects, speaks.frame_for(scene.size), labelled=False)


def _lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with written_beside(path) as partial:
        partial.touch()
        JsonLines(partial).append(dict(row) for row in rows)
